//! What can go wrong with a study as a whole. What goes wrong inside a trial is a failed trial.

use crate::study::space::Value;
use crate::study::storage::StorageError;

/// Why a study cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// A trial of another study that cannot be added.
    #[error("trial {number} cannot be added: {why}")]
    Add {
        /// Its number in the other study.
        number: u64,
        /// Why not.
        why: String,
    },
    /// A setting that no study can have.
    #[error("study `{study}`: {what}")]
    Setting {
        /// The study's name.
        study: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The stored study was made with another setting.
    #[error(
        "study `{study}` was begun with {what} {stored}, not {now}; go on with {stored} or choose another study name"
    )]
    Differs {
        /// The study's name.
        study: String,
        /// The setting, as `seed`.
        what: &'static str,
        /// Its stored value.
        stored: String,
        /// Its value now.
        now: String,
    },
    /// The stored study was made with another declared space.
    #[error(
        "the search space of study `{study}` changed: `{name}` was {stored}, now it is {now}; restore it or choose another study name"
    )]
    SpaceDiffers {
        /// The study's name.
        study: String,
        /// The first parameter that differs, by name.
        name: String,
        /// What it was.
        stored: String,
        /// What it is.
        now: String,
    },
    /// A trial that is run again after a crash got other parameters.
    #[error(
        "trial {number} of study `{study}` began with `{name}` = {stored}, now it is {now}; was it begun by another version? Choose another study name"
    )]
    Diverged {
        /// The study's name.
        study: String,
        /// The trial.
        number: u64,
        /// The parameter.
        name: String,
        /// The stored value.
        stored: Value,
        /// The value now, null when the parameter is not drawn.
        now: Value,
    },
    /// Asked for a trial that may not begin yet.
    #[error(
        "trial {number} cannot begin before trial {oldest} is finished, because {concurrency} run at once; tell the result of trial {oldest} first, or open the study with a higher concurrency"
    )]
    Window {
        /// The trial asked for.
        number: u64,
        /// The oldest unfinished trial.
        oldest: u64,
        /// How many trials run at once.
        concurrency: u64,
    },
    /// Asked for a trial of a discrete space of which every point was tried.
    #[error(
        "every point of the search space of study `{study}` was tried; widen the space, or open the study with `on_exhausted(Exhausted::Repeat)` to try points again"
    )]
    Exhausted {
        /// The study's name.
        study: String,
    },
    /// Told a trial that is not in flight.
    #[error("trial {number} is not in flight in this study; tell each trial of `ask` once")]
    NotAsked {
        /// The trial.
        number: u64,
    },
    /// Told a trial that another process has taken over, because its lease had lapsed.
    #[error(
        "trial {number} was taken over by another process, and this result of it does not count"
    )]
    TakenOver {
        /// The trial.
        number: u64,
    },
    /// Told a trial that is finished.
    #[error("trial {number} of study `{study}` is told already and cannot change")]
    Told {
        /// The trial.
        number: u64,
        /// The study's name.
        study: String,
    },
    /// An enqueued value that cannot be.
    #[error("cannot enqueue `{name}`: {why}")]
    Enqueue {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The storage failed. Trials in flight were run to their end; what could not be written is run again when
    /// the study is opened again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
