//! Where studies live. A [`Storage`] keeps studies and trials; it knows nothing about sampling.
//!
//! **Contract**, held by [`conformance::run`] for every implementation:
//! - A call that returned `Ok` is durable to the degree the storage promises; a call that failed changed nothing.
//! - A trial is written when it begins and when it finishes. Each write is one transaction that carries everything.
//! - Trial numbers are dense from 0. A finished trial never changes again: writing it is [`StorageError::TrialFinished`].
//! - Numbers come back to the last bit, except that a storage may forget the sign of a zero (SQLite does). A storage may
//!   refuse a step or number beyond 2³¹ − 1 (PostgreSQL does, in Optuna's columns).
//! - Reads return copies; later writes do not change them.

pub mod conformance;
pub mod crashing;
pub mod memory;
pub mod sqlite;

use crate::db::DbError;

use super::record::{Attrs, StudyRecord, TrialRecord};

/// What can go wrong with a storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The name is taken.
    #[error("study `{name}` already exists")]
    StudyExists {
        /// The study's name.
        name: String,
    },
    /// No study of this name.
    #[error("there is no study `{name}`")]
    NoStudy {
        /// The name asked for.
        name: String,
    },
    /// A finished trial cannot change.
    #[error("trial {number} of study `{study}` is finished and cannot change")]
    TrialFinished {
        /// The study's name.
        study: String,
        /// The trial's number.
        number: u64,
    },
    /// A trial number that would leave a hole.
    #[error("trial {number} of study `{study}` does not follow the last one, {next} would")]
    NumberGap {
        /// The study's name.
        study: String,
        /// The number given.
        number: u64,
        /// The number that comes next.
        next: u64,
    },
    /// A record that breaks the rules of [`TrialRecord`].
    #[error("trial {number} of study `{study}` cannot be stored: {what}")]
    InvalidTrial {
        /// The study's name.
        study: String,
        /// The trial's number.
        number: u64,
        /// Which rule, and what to do.
        what: &'static str,
    },
    /// What is stored cannot be understood.
    #[error("study `{study}` holds something unreadable: {what}")]
    Corrupt {
        /// The study's name.
        study: String,
        /// What and where.
        what: String,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A place that keeps studies and trials; see the module for the contract. Object-safe.
pub trait Storage: Send + Sync {
    /// Adds a study without trials.
    fn create_study(&self, study: &StudyRecord) -> Result<(), StorageError>;

    /// The study of this name, if there is one.
    fn load_study(&self, name: &str) -> Result<Option<StudyRecord>, StorageError>;

    /// All studies in the order of creation.
    fn load_studies(&self) -> Result<Vec<StudyRecord>, StorageError>;

    /// Merges attributes into those of a study, replacing equal names.
    fn annotate_study(
        &self,
        name: &str,
        user_attrs: &Attrs,
        system_attrs: &Attrs,
    ) -> Result<(), StorageError>;

    /// All trials by number, from 0, without holes.
    fn load_trials(&self, study: &str) -> Result<Vec<TrialRecord>, StorageError>;

    /// Writes a trial as it is: a new one if its number is the next, else over an unfinished one.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`], [`StorageError::TrialFinished`], [`StorageError::NumberGap`].
    fn write_trial(&self, study: &str, trial: &TrialRecord) -> Result<(), StorageError>;
}
