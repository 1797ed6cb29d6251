//! Moving versions between stages.

use serde::Serialize;

use super::gate::GateReport;
use super::log::{Action, Move};
use super::version::{Stage, VersionRecord};
use super::{Registry, RegistryError, log, tables};

/// A move that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The model.
    pub model: String,
    /// The version that moved.
    pub version: u64,
    /// Where it was.
    pub from: Stage,
    /// Where it is.
    pub to: Stage,
    /// The production version that made room and is archived now.
    pub replaced: Option<u64>,
}

impl Registry {
    /// Moves a version to `to`: `candidate → staging → production`, and anything to `archived`. A move to production
    /// archives the version that was there. `report` is the outcome of the gate; it goes into the log.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when `report` did not pass, which is logged; [`RegistryError::NotAllowed`] for
    /// other moves, also to where the version is; [`RegistryError::FilesChanged`].
    pub fn promote(
        &self,
        model: &str,
        version: u64,
        to: Stage,
        why: &str,
        report: Option<&GateReport>,
    ) -> Result<Moved, RegistryError> {
        // The name is looked up before it becomes part of a lock file's name.
        self.show(model, version)?;
        let _lock = self.lock(model)?;
        let record = self.show(model, version)?;
        check_move(&record, to)?;
        if let Some(report) = report {
            self.check_report(&record, to, why, report)?;
        }
        if to != Stage::Archived {
            self.verify_files(&record)?;
        }
        let action = if to == Stage::Archived {
            Action::Archive
        } else {
            Action::Promote
        };
        self.apply(&record, to, action, why, report)
    }

    /// Returns to the production version before the current one, after checking its files. The current one is
    /// archived. When there is no current one, returns to the last that was not withdrawn.
    ///
    /// # Errors
    /// [`RegistryError::NoPrevious`]; [`RegistryError::FilesChanged`], and then nothing moved.
    pub fn rollback(&self, model: &str, why: &str) -> Result<Moved, RegistryError> {
        self.list(Some(model))?;
        let _lock = self.lock(model)?;
        let current = self.production(model)?.map(|v| v.version);
        let mut history = self
            .store
            .db()
            .read(|tx| log::production_history(tx, model))?;
        if current.is_some() && history.last() == current.as_ref() {
            history.pop();
        }
        let previous = history.pop().ok_or_else(|| RegistryError::NoPrevious {
            model: model.to_owned(),
        })?;
        let record = self.show(model, previous)?;
        self.verify_files(&record)?;
        self.apply(&record, Stage::Production, Action::Rollback, why, None)
    }

    fn check_report(
        &self,
        record: &VersionRecord,
        to: Stage,
        why: &str,
        report: &GateReport,
    ) -> Result<(), RegistryError> {
        let (model, version) = (&record.model, record.version);
        if report.model != *model || report.version != version {
            return Err(RegistryError::ReportOfAnother {
                model: model.clone(),
                version,
                found_model: report.model.clone(),
                found: report.version,
            });
        }
        if report.passed {
            return Ok(());
        }
        self.store.db().write(|tx| {
            log::append(
                tx,
                &Move {
                    at: &self.clock.now().to_sql(),
                    who: &self.actor,
                    action: Action::Refuse,
                    model,
                    version,
                    from: Some(record.stage),
                    to: Some(to),
                    why,
                    report: Some(report),
                },
            )
        })?;
        Err(RegistryError::Refused {
            model: model.clone(),
            version,
            to,
            report: report.clone(),
        })
    }

    /// One transaction: the former production version makes room, the version moves, both are logged.
    fn apply(
        &self,
        record: &VersionRecord,
        to: Stage,
        action: Action,
        why: &str,
        report: Option<&GateReport>,
    ) -> Result<Moved, RegistryError> {
        let now = self.clock.now().to_sql();
        let model = record.model.as_str();
        let former = if to == Stage::Production {
            self.production(model)?.map(|v| v.version)
        } else {
            None
        };
        self.store.db().write(|tx| {
            if let Some(former) = former {
                tables::set_stage(tx, model, former, Stage::Archived)?;
                let verb = if action == Action::Rollback {
                    "rolled back to"
                } else {
                    "replaced by"
                };
                log::append(
                    tx,
                    &Move {
                        at: &now,
                        who: &self.actor,
                        action: Action::Replace,
                        model,
                        version: former,
                        from: Some(Stage::Production),
                        to: Some(Stage::Archived),
                        why: &format!("{verb} version {}: {why}", record.version),
                        report: None,
                    },
                )?;
            }
            tables::set_stage(tx, model, record.version, to)?;
            log::append(
                tx,
                &Move {
                    at: &now,
                    who: &self.actor,
                    action,
                    model,
                    version: record.version,
                    from: Some(record.stage),
                    to: Some(to),
                    why,
                    report,
                },
            )
        })?;
        Ok(Moved {
            model: model.to_owned(),
            version: record.version,
            from: record.stage,
            to,
            replaced: former,
        })
    }
}

fn check_move(record: &VersionRecord, to: Stage) -> Result<(), RegistryError> {
    use Stage::{Archived, Candidate, Production, Staging};
    let model = &record.model;
    let version = record.version;
    let hint = match (record.stage, to) {
        (Candidate, Staging) | (Staging, Production) => return Ok(()),
        (from, to) if from == to => "it is there already".to_owned(),
        (_, Archived) => return Ok(()),
        (Candidate, Production) => {
            format!(
                "promote it to staging first: `automl registry promote {model}:{version} staging`"
            )
        }
        (Archived, _) => format!(
            "an archived version returns to production only by `automl registry rollback {model}`"
        ),
        _ => "stages go candidate, staging, production, archived".to_owned(),
    };
    Err(RegistryError::NotAllowed {
        model: model.clone(),
        version,
        from: record.stage,
        to,
        hint,
    })
}
