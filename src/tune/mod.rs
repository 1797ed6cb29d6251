//! The lintel between the two columns: here a learner's hyperparameters become a search space, and cross-validation
//! becomes an objective.
//!
//! An [`experiment::Experiment`] is the file a person writes. A [`job::Job`] is that experiment with its data, split and
//! encoded once; it gives the study its space and its objective. An [`outcome::Outcome`] is what is left at the end: the
//! best trial refit, or an [`ensemble`] of trials.
//!
//! For an objective that is not a learner there is a [`space_file::SpaceFile`] and the [`program::Program`] that is run with it.

pub mod adopt;
pub mod curve;
pub mod ensemble;
pub mod experiment;
pub mod job;
mod limits;
pub mod named;
pub mod outcome;
pub mod params;
pub mod program;
pub mod search;
pub mod space_file;

pub(crate) mod yaml;
