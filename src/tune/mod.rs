//! The lintel between the two columns: here a learner's hyperparameters become a search space, and cross-validation
//! becomes an objective.
//!
//! An [`experiment::Experiment`] is the file a person writes. A [`job::Job`] is that experiment with its data, split and
//! encoded once; it gives the study its space and its objective, and refits the best trial.

pub mod experiment;
pub mod job;
pub mod search;

pub(crate) mod yaml;
