//! Where studies live. A [`Storage`] keeps studies and trials; it knows nothing about sampling.
//!
//! **Contract**, held by [`conformance::run`] for every implementation:
//! - A call that returned `Ok` is durable to the degree the storage promises; a call that failed changed nothing.
//! - A trial is written when it begins and when it finishes. What is written in one call is one transaction that carries
//!   everything.
//! - Trial numbers are dense from 0. A finished trial never changes again: writing it is [`StorageError::TrialFinished`].
//! - Numbers come back to the last bit, except that a storage may forget the sign of a zero (SQLite does). A storage may
//!   refuse a step or number beyond 2³¹ − 1 (PostgreSQL does, in Optuna's columns).
//! - Reads return copies; later writes do not change them.
//! - Several processes may share a study: a trial is held under a [`Lease`], and of two that claim it one gets it. A write
//!   under a lease may be repeated when nobody knows whether it succeeded: the second time it changes nothing.

pub mod conformance;
pub mod crashing;
pub mod journal;
mod json;
mod lease;
pub mod memory;
pub mod sqlite;

use std::path::PathBuf;

use crate::db::DbError;
use crate::fsio::FileError;

use super::record::{Attrs, StudyRecord, TrialRecord, TrialState};

pub use lease::{Claim, Held, Lease, Write, Wrote};

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
    /// A line of a journal cannot be understood, and it is not the end of a file that a crash left behind.
    #[error(
        "line {line} of `{}` is unreadable ({what}), and no crash explains it; restore the file from a backup, or put \
         a copy aside and delete that line, then try again",
        path.display()
    )]
    CorruptLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The lock of a file stayed taken.
    #[error(
        "the lock `{}` stayed taken by other processes for {seconds:.0} s; nothing was written: wait for them or stop them, \
         then try again",
        lock.display()
    )]
    Locked {
        /// The lock.
        lock: PathBuf,
        /// How long it was waited for.
        seconds: f64,
    },
    /// No space is left for a file.
    #[error(
        "there is no space left to write `{}` ({what}); nothing was written, free some space and try again",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        what: String,
    },
    /// A write failed and could not be taken back: it is there as a whole or not at all.
    #[error(
        "writing `{}` failed ({what}), and whether it was written is not known; look, as with `automl trials STUDY`, \
         before trying again",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        what: String,
    },
    /// A file failed. Nothing was written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl StorageError {
    /// Whether the same call may succeed later without anybody doing anything: a server that restarts, a lock.
    pub fn may_pass(&self) -> bool {
        match self {
            StorageError::Db(error) => error.may_pass(),
            StorageError::Locked { .. } | StorageError::Unknown { .. } => true,
            _ => false,
        }
    }
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

    /// The trials from number `from` on, by number, without holes.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`].
    fn load_trials_from(&self, study: &str, from: u64) -> Result<Vec<TrialRecord>, StorageError>;

    /// All trials by number, from 0, without holes.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`].
    fn load_trials(&self, study: &str) -> Result<Vec<TrialRecord>, StorageError> {
        self.load_trials_from(study, 0)
    }

    /// Those of the trials from number `from` on, by number, whose state is not the one in `known`, which begins with that of
    /// trial `from`. What is beyond `known` is new.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`].
    fn load_changed(
        &self,
        study: &str,
        from: u64,
        known: &[TrialState],
    ) -> Result<Vec<TrialRecord>, StorageError> {
        let mut trials = self.load_trials_from(study, from)?;
        trials.retain(|t| known.get((t.number - from) as usize) != Some(&t.state));
        Ok(trials)
    }

    /// Writes trials as they are, in order and in one transaction: a new one if its number is the next, else over an
    /// unfinished one. Says of each whether its claim held; what was refused changes nothing and does not keep the others
    /// from being written.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`], [`StorageError::NumberGap`] and, for a write of [`Claim::Alone`],
    /// [`StorageError::TrialFinished`]; then nothing is written.
    fn write(&self, study: &str, writes: &[Write<'_>]) -> Result<Vec<Wrote>, StorageError>;

    /// [`Storage::write`] of one trial by a process that runs the study alone.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`], [`StorageError::TrialFinished`], [`StorageError::NumberGap`].
    fn write_trial(&self, study: &str, trial: &TrialRecord) -> Result<(), StorageError> {
        let claim = Claim::Alone;
        self.write(study, &[Write { trial, claim }]).map(drop)
    }

    /// The leases of the trials that run, by number. A running trial without one was begun by a process that ran the
    /// study alone.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`].
    fn leases(&self, study: &str) -> Result<Vec<Held>, StorageError>;

    /// Renews leases of trials and returns the numbers of those that are not held under them any more.
    ///
    /// # Errors
    /// [`StorageError::NoStudy`].
    fn renew(&self, study: &str, held: &[(u64, Lease)]) -> Result<Vec<u64>, StorageError>;
}

/// Optuna asserts both when it reads, so such a record would make the whole study unreadable to it.
fn check_values(study: &str, trial: &TrialRecord, objectives: usize) -> Result<(), StorageError> {
    let what = if trial.values.iter().any(|v| v.is_nan()) {
        "its final value is NaN; record it as failed"
    } else if trial.state == TrialState::Complete && trial.values.len() != objectives {
        "it is complete and has not one value per direction of the study"
    } else {
        return Ok(());
    };
    Err(StorageError::InvalidTrial {
        study: study.to_owned(),
        number: trial.number,
        what,
    })
}
