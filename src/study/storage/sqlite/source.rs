//! A database of Optuna, or of ours, that is read and never changed.

use std::path::Path;

use crate::clock::Zone;
use crate::db::{Db, DbError};

use super::super::super::record::{StudyRecord, TrialRecord};
use super::super::{Storage as _, StorageError};
use super::{SqliteStorage, existing_study, read_study, read_trials, schema};

/// Studies to be copied from; see [`Source::open`].
#[derive(Debug)]
pub struct Source {
    storage: SqliteStorage,
    library_version: Option<String>,
}

impl Source {
    /// Reads the SQLite file at `path`, which another process may be writing.
    ///
    /// # Errors
    /// There is no such file; it is no database, or one without Optuna's tables in the revision known here.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        Self::with_db(Db::open_read_only(path)?)
    }

    /// Reads the database of a URL, as in [`Db::open_url`].
    ///
    /// # Errors
    /// As [`Db::open_url`] and [`Source::open`].
    pub fn open_url(url: &str) -> Result<Self, DbError> {
        Self::with_db(Db::open_url(url)?)
    }

    fn with_db(db: Db) -> Result<Self, DbError> {
        let library_version = db.read(|tx| {
            for table in ["studies", "version_info", "alembic_version"] {
                if !tx.has_table(table)? {
                    return Err(DbError::Foreign {
                        path: db.path().to_owned(),
                        what: format!("no table `{table}`, so no studies of Optuna"),
                        hint: "name the storage that `optuna.create_study` was given".to_owned(),
                    });
                }
            }
            schema::check(tx, &db)?;
            let version = tx.first("SELECT library_version FROM version_info", &[], |row| {
                Ok::<_, DbError>(row.opt_text(0)?.map(str::to_owned))
            })?;
            Ok(version.flatten())
        })?;
        Ok(Source {
            // Not through the checks of `SqliteStorage`, which would create tables.
            storage: SqliteStorage { db: db.into() },
            library_version,
        })
    }

    /// The version of Optuna that made the database or upgraded it last, as it says itself.
    pub fn library_version(&self) -> Option<&str> {
        self.library_version.as_deref()
    }

    /// Whether that version wrote local time, as every one before 5 did, into the columns where it is now UTC. Nothing in a
    /// row tells.
    pub fn has_local_times(&self) -> bool {
        let major = self.library_version().and_then(|v| v.split('.').next());
        major.is_some_and(|major| major.parse::<u32>().is_ok_and(|major| major < 5))
    }

    /// All studies in the order of creation.
    ///
    /// # Errors
    /// As [`Storage::load_studies`](super::Storage::load_studies).
    pub fn studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        self.storage.load_studies()
    }

    /// A study and its trials in one state of the database. The times are those that clocks of `zone` showed; as they
    /// are stored when there is none.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`], [`StorageError::Corrupt`]; the database cannot be read.
    pub fn load(
        &self,
        name: &str,
        zone: Option<&Zone>,
    ) -> Result<(StudyRecord, Vec<TrialRecord>), StorageError> {
        let (study, mut trials) = self.storage.db.read(|tx| {
            let id = existing_study(tx, name)?;
            let study = read_study(tx, id, name)?;
            Ok::<_, StorageError>((study, read_trials(tx, id, name, 0, u64::MAX)?))
        })?;
        if let Some(zone) = zone {
            for trial in &mut trials {
                trial.started = trial.started.map(|t| zone.moment(t));
                trial.finished = trial.finished.map(|t| zone.moment(t));
            }
        }
        Ok((study, trials))
    }
}
