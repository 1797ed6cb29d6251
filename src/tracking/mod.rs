//! The tracking store: one folder that holds everything a study leaves behind.
//!
//! ```text
//! automl-store/
//!   automl.db     studies, trials, the model registry (SQLite)
//!   artifacts/    files, each replaced atomically and known by its sha256
//!   predictions/  out-of-fold predictions of complete trials; safe to delete, they are made again when needed
//!   locks/        who runs which study; empty files, safe to delete when nothing runs
//! ```
//!
//! [`mlflow`] brings studies to MLflow.
//!
//! **Contract.** A [`Store`] has one database connection type and so one writer per process. An artifact is either
//! absent or whole. A [`StudyLock`] ends with its process, however that ends.

mod artifacts;
pub mod mlflow;
mod predictions;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::db::{Db, DbError};
use crate::fsio::{self, FileError, Lock};
use crate::study::storage::sqlite::SqliteStorage;

pub use artifacts::{Artifact, Artifacts};
pub use predictions::Predictions;

/// The folder that is used when none is named.
pub const DEFAULT_FOLDER: &str = "automl-store";

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackingError {
    /// A place that is not a folder of this machine.
    #[error(
        "the store `{url}` is a URL, which is not supported yet: only folders are; hint: `--store automl-store`"
    )]
    Url {
        /// The URL, without a password in it.
        url: String,
    },
    /// There is no store where one is to be read.
    #[error(
        "there is no store in `{}`; hint: name the folder with `--store`, or make one with `automl study FILE`",
        folder.display()
    )]
    NoStore {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process runs the study.
    #[error(
        "study `{study}` is being run by another process (lock `{}`); wait for it or stop it, then try again",
        lock.display()
    )]
    StudyLocked {
        /// The study's name.
        study: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// A name that leads out of the store, or cannot be a file name everywhere.
    #[error(
        "`{path}` cannot name an artifact: {what}; use a relative path such as `models/churn/model.json`"
    )]
    Path {
        /// The path given.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An artifact's bytes are not those that were written.
    #[error("`{}` has changed since it was written: its sha256 is {found}, not {expected}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The sha256 that was recorded.
        expected: String,
        /// The sha256 of the bytes that are there.
        found: String,
    },
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// An open store; see the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    db: Arc<Db>,
    storage: Arc<SqliteStorage>,
}

impl Store {
    /// Opens the store in `folder` and makes one when there is none.
    ///
    /// # Errors
    /// [`TrackingError::Url`]; a folder that cannot be created; a database that cannot be opened.
    pub fn open(folder: impl AsRef<Path>) -> Result<Store, TrackingError> {
        let folder = folder.as_ref();
        refuse_url(folder)?;
        for sub in ["artifacts", "locks"] {
            fsio::create_dir(&folder.join(sub))?;
        }
        let db = Arc::new(Db::open(&folder.join("automl.db"))?);
        let storage = Arc::new(SqliteStorage::with_db(Arc::clone(&db))?);
        Ok(Store {
            folder: folder.to_owned(),
            db,
            storage,
        })
    }

    /// Opens the store in `folder`, which must be there: for commands that only read, so that a mistyped name
    /// leaves no empty folder behind.
    ///
    /// # Errors
    /// [`TrackingError::NoStore`], and those of [`Store::open`].
    pub fn open_existing(folder: impl AsRef<Path>) -> Result<Store, TrackingError> {
        let folder = folder.as_ref();
        refuse_url(folder)?;
        if !folder.join("automl.db").is_file() {
            return Err(TrackingError::NoStore {
                folder: folder.to_owned(),
            });
        }
        Self::open(folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database, for rooms that keep tables of their own in it.
    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// Studies and trials.
    pub fn storage(&self) -> Arc<SqliteStorage> {
        Arc::clone(&self.storage)
    }

    /// The files.
    pub fn artifacts(&self) -> Artifacts {
        Artifacts::new(self.folder.join("artifacts"))
    }

    /// The out-of-fold predictions of a study's trials. Nothing is created before the first is written.
    pub fn predictions(&self, study: &str) -> Predictions {
        Predictions::new(self.folder.join("predictions").join(safe_name(study)))
    }

    /// Makes this process the only one that runs a study, until the lock is dropped.
    ///
    /// # Errors
    /// [`TrackingError::StudyLocked`] at once when it is not the only one.
    pub fn lock_study(&self, study: &str) -> Result<StudyLock, TrackingError> {
        let path = self.lock_path("study", study);
        match Lock::try_acquire(&path)? {
            Some(lock) => Ok(StudyLock { _lock: lock }),
            None => Err(TrackingError::StudyLocked {
                study: study.to_owned(),
                lock: path,
            }),
        }
    }

    /// Waits for the lock `kind`-`name` of this store. `Ok(None)` when another process held it for all of
    /// `patience`.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn wait_for_lock(
        &self,
        kind: &str,
        name: &str,
        patience: Duration,
    ) -> Result<Option<Lock>, TrackingError> {
        let path = self.lock_path(kind, name);
        let begun = Instant::now();
        loop {
            if let Some(lock) = Lock::try_acquire(&path)? {
                return Ok(Some(lock));
            }
            if begun.elapsed() >= patience {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn lock_path(&self, kind: &str, name: &str) -> PathBuf {
        self.folder
            .join("locks")
            .join(format!("{kind}-{}.lock", safe_name(name)))
    }
}

/// Held while a process runs a study; see [`Store::lock_study`].
#[derive(Debug)]
pub struct StudyLock {
    _lock: Lock,
}

fn refuse_url(folder: &Path) -> Result<(), TrackingError> {
    let Some((scheme, rest)) = folder.to_str().and_then(|text| text.split_once("://")) else {
        return Ok(());
    };
    // `user:password@host`: the password is nobody's business.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    Err(TrackingError::Url {
        url: format!("{scheme}://{rest}"),
    })
}

/// A file name for any text: what is safe is kept, and a part of the hash tells apart what is not.
fn safe_name(name: &str) -> String {
    let kept: String = name
        .chars()
        .take(60)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut out = kept;
    // Case is part of a name and not of every file system, so the hash is always there.
    let _ = write!(out, "-{}", &fsio::sha256(name.as_bytes())[..12]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::storage::Storage;

    #[test]
    fn a_store_is_made_once_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("deep/automl-store");
        let error = Store::open_existing(&folder).unwrap_err();
        assert!(matches!(error, TrackingError::NoStore { .. }), "{error}");
        assert!(!folder.exists(), "a mistyped name leaves nothing behind");
        for _ in 0..2 {
            let store = Store::open(&folder).unwrap();
            assert!(store.storage().load_studies().unwrap().is_empty());
        }
        Store::open_existing(&folder).unwrap();
        for name in ["automl.db", "artifacts", "locks"] {
            assert!(folder.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn urls_are_refused_without_their_password() {
        let url = "postgres://me:secret@db.example/automl";
        for refused in [Store::open(url), Store::open_existing(url)] {
            let error = refused.unwrap_err();
            let text = error.to_string();
            assert!(text.contains("not supported yet: only folders"), "{text}");
            assert!(text.contains("postgres://db.example/automl"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn one_process_runs_a_study_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let one = Store::open(dir.path()).unwrap();
        let two = Store::open(dir.path()).unwrap();
        let held = one.lock_study("churn/über").unwrap();
        let error = two.lock_study("churn/über").unwrap_err().to_string();
        assert!(
            error.contains("`churn/über`") && error.contains("another process"),
            "{error}"
        );
        let _other = two.lock_study("churn/uber").unwrap();
        drop(held);
        two.lock_study("churn/über").unwrap();
        for odd in ["", "..", "a/../b", "C:\\con", &"x".repeat(600), "\0"] {
            one.lock_study(odd).unwrap();
        }
    }
}
