//! The lintel between the two columns: here a learner's hyperparameters become a search space, and cross-validation
//! becomes an objective.
//!
//! An [`experiment::Experiment`] is the file a person writes. A [`job::Job`] is that experiment with its data, split and
//! encoded once; it gives the study its space and its objective. An [`outcome::Outcome`] is what is left at the end: the
//! best trial refit, or an [`ensemble`] of trials.

pub mod ensemble;
pub mod experiment;
pub mod job;
pub mod outcome;
pub mod search;

pub(crate) mod yaml;
