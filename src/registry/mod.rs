//! The model registry: numbered versions of named models, the stage each is in, and who moved it there and why.
//!
//! A version is a set of files with their hashes, and what is known of how they came about. It begins as a
//! `candidate` and moves `candidate → staging → production → archived`; any stage may go to `archived`, and only a
//! [rollback](Registry::rollback) brings a version back from there.
//!
//! **Contract.** A model has at most one production version. Registering the same bytes again makes no new version.
//! Files are written before the version is recorded, so a crash leaves at most a folder that the next registration
//! replaces. Every move is a row of a log that the database refuses to change or shorten from within, and whose
//! rows are chained by hash, so [`Registry::verify_log`] finds changes made from without. Nothing moves to `staging`
//! or `production` unless its files still have their hashes.

mod gate;
mod log;
mod moves;
mod register;
mod resolve;
mod tables;
#[cfg(test)]
mod tests;
mod version;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::db::DbError;
use crate::fsio::{FileError, Lock, host};
use crate::tracking::{Store, TrackingError};

pub use gate::{Comparison, Gate, GateReport, GateRow, Rule, evaluate};
pub use log::{Action, LogEntry, LogState};
pub use moves::Moved;
pub use register::check_name;
pub use version::{
    DatasetRef, FileRecord, NewVersion, Primary, Registered, Source, Stage, VersionRecord,
};

/// How long a change waits for one of another process to the same model.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can go wrong with a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A model name that could not be part of a path or of `NAME@STAGE`.
    #[error(
        "`{name}` cannot name a model: use up to 100 letters, digits, `-`, `_` and `.`, beginning with a letter or \
         digit, as in `churn`"
    )]
    ModelName {
        /// The name given.
        name: String,
    },
    /// A version without files, or with two of one name.
    #[error("model `{model}` cannot be registered: {what}")]
    Files {
        /// The model.
        model: String,
        /// What is wrong with its files.
        what: String,
    },
    /// No model of this name.
    #[error("there is no model `{name}`; {hint}")]
    NoModel {
        /// The name asked for.
        name: String,
        /// Which models exist.
        hint: String,
    },
    /// No version of this number.
    #[error("model `{model}` has no version {version}; {hint}")]
    NoVersion {
        /// The model.
        model: String,
        /// The number asked for.
        version: u64,
        /// Which versions exist.
        hint: String,
    },
    /// No version is in the stage.
    #[error("model `{model}` has no version in {stage}; {hint}")]
    NoneInStage {
        /// The model.
        model: String,
        /// The stage asked for.
        stage: Stage,
        /// Which versions exist, and what to type.
        hint: String,
    },
    /// A word that is no stage.
    #[error("there is no stage `{stage}`; stages are candidate, staging, production, archived")]
    NoStage {
        /// The word.
        stage: String,
    },
    /// A text that names no version.
    #[error(
        "`{spec}` does not say which version; write `{model}@production`, `{model}@staging` or `{model}:3`"
    )]
    Spec {
        /// The text given.
        spec: String,
        /// The model in it, or an example.
        model: String,
    },
    /// A move that the order of stages does not have.
    #[error("version {version} of model `{model}` cannot go from {from} to {to}; {hint}")]
    NotAllowed {
        /// The model.
        model: String,
        /// The version.
        version: u64,
        /// Where it is.
        from: Stage,
        /// Where it was to go.
        to: Stage,
        /// What to do instead.
        hint: String,
    },
    /// The gate said no. The refusal is in the log.
    #[error(
        "version {version} of model `{model}` was not promoted to {to}: its gate refused\n{report}"
    )]
    Refused {
        /// The model.
        model: String,
        /// The version.
        version: u64,
        /// Where it was to go.
        to: Stage,
        /// Every rule with its values.
        report: GateReport,
    },
    /// A gate report of another version.
    #[error(
        "the gate was evaluated for version {found} of `{found_model}`, not for version {version} of `{model}`"
    )]
    ReportOfAnother {
        /// The model to be moved.
        model: String,
        /// The version to be moved.
        version: u64,
        /// The model in the report.
        found_model: String,
        /// The version in the report.
        found: u64,
    },
    /// There is nothing to roll back to.
    #[error(
        "model `{model}` has no earlier production version to return to; see `automl registry log {model}`"
    )]
    NoPrevious {
        /// The model.
        model: String,
    },
    /// Files are missing or changed, so the version stays where it is.
    #[error(
        "version {version} of model `{model}` stays in {stage}, because its files are not those that were \
         registered: {source}"
    )]
    FilesChanged {
        /// The model.
        model: String,
        /// The version.
        version: u64,
        /// Where it is.
        stage: Stage,
        /// Which file, and how.
        #[source]
        source: TrackingError,
    },
    /// A gate rule that cannot be read.
    #[error(
        "the gate rule `{rule}` cannot be read: {what}; write it like `roc_auc >= 0.84`, `log_loss <= 0.45` or \
         `beats: production`"
    )]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        what: String,
    },
    /// The log is not what was written.
    #[error("the registry log was changed from outside: entry {seq} {what}")]
    LogBroken {
        /// The first entry that is wrong.
        seq: u64,
        /// How.
        what: String,
    },
    /// What is stored cannot be understood.
    #[error("the registry in `{}` holds something unreadable: {what}", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What and where.
        what: String,
    },
    /// Another process is changing the same model.
    #[error("model `{model}` is being changed by another process; try again")]
    Busy {
        /// The model.
        model: String,
    },
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The registry of a store; see the module.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    clock: Arc<dyn Clock>,
    actor: String,
}

impl Registry {
    /// Opens the registry of `store` and creates its tables when there are none.
    ///
    /// # Errors
    /// [`DbError`]: a later release wrote the tables, or the database cannot be written.
    pub fn open(store: &Store) -> Result<Registry, RegistryError> {
        store.db().migrate(&tables::TABLES)?;
        Ok(Registry {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            actor: format!("{}@{}", user(), host()),
        })
    }

    /// Takes the times of the log from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Logs moves as made by `actor` instead of `user@host`.
    #[must_use]
    pub fn with_actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    /// The names of all models, sorted.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn models(&self) -> Result<Vec<String>, RegistryError> {
        self.store.db().read(tables::models)
    }

    /// All versions, by model and number; those of one model when it is named.
    ///
    /// # Errors
    /// [`RegistryError::NoModel`]; the database cannot be read.
    pub fn list(&self, model: Option<&str>) -> Result<Vec<VersionRecord>, RegistryError> {
        self.store.db().read(|tx| {
            let names = match model {
                Some(name) => {
                    tables::model_id(tx, name)?;
                    vec![name.to_owned()]
                }
                None => tables::models(tx)?,
            };
            let mut out = Vec::new();
            for name in names {
                out.extend(tables::versions(tx, &name, self.store.db().path())?);
            }
            Ok(out)
        })
    }

    /// One version.
    ///
    /// # Errors
    /// [`RegistryError::NoModel`], [`RegistryError::NoVersion`]; the database cannot be read.
    pub fn show(&self, model: &str, version: u64) -> Result<VersionRecord, RegistryError> {
        let versions = self.list(Some(model))?;
        let hint = resolve::stages_of(&versions);
        versions
            .into_iter()
            .find(|v| v.version == version)
            .ok_or_else(|| RegistryError::NoVersion {
                model: model.to_owned(),
                version,
                hint,
            })
    }

    /// The production version of a model, if it has one.
    ///
    /// # Errors
    /// [`RegistryError::NoModel`]; the database cannot be read.
    pub fn production(&self, model: &str) -> Result<Option<VersionRecord>, RegistryError> {
        let versions = self.list(Some(model))?;
        Ok(versions.into_iter().find(|v| v.stage == Stage::Production))
    }

    /// The bytes of a file of a version, checked against its hash.
    ///
    /// # Errors
    /// The file is missing, or [`TrackingError::Changed`].
    pub fn read_file(&self, file: &FileRecord) -> Result<Vec<u8>, RegistryError> {
        Ok(self.store.artifacts().read(&file.path, &file.sha256)?)
    }

    /// Keeps other processes from changing the same model.
    fn lock(&self, model: &str) -> Result<Lock, RegistryError> {
        self.store
            .wait_for_lock("model", model, PATIENCE)?
            .ok_or_else(|| RegistryError::Busy {
                model: model.to_owned(),
            })
    }

    /// Checks that every file of a version is there and has its hash.
    fn verify_files(&self, version: &VersionRecord) -> Result<(), RegistryError> {
        let artifacts = self.store.artifacts();
        for file in &version.files {
            artifacts.read(&file.path, &file.sha256).map_err(|source| {
                RegistryError::FilesChanged {
                    model: version.model.clone(),
                    version: version.version,
                    stage: version.stage,
                    source,
                }
            })?;
        }
        Ok(())
    }
}

/// The name of the user, as far as the environment tells.
fn user() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|key| std::env::var(key).ok().filter(|v| !v.is_empty()))
        .unwrap_or_else(|| "unknown".to_owned())
}
