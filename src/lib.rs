//! From a CSV to a tuned, tracked and registered model: hyperparameter optimization in the spirit of Optuna, fast
//! histogram trees, cross-validation, a store that Optuna reads, and a model registry, in one crate.
//!
//! Two ideas carry everything. **A study is a sequence, not a race**: the same seed gives the same trials, scores and
//! model, bit for bit, on any number of threads, interrupted or not. **The data is binned once** and shared by every
//! trial, fold and tree.
//!
//! ```
//! use automl::study::{Budget, Study};
//!
//! let mut study = Study::builder("quadratic").seed(42).open()?;
//! study.optimize(Budget::trials(60), |trial| {
//!     let x = trial.float("x", -10.0..=10.0).uniform()?;
//!     let y = trial.float("y", 1e-3..=10.0).log()?;
//!     Ok((x - 2.0).powi(2) + (y - 1.0).powi(2))
//! })?;
//! let best = study.best().ok_or("no trial is complete")?;
//! println!("trial {} reached {:?}", best.number, best.values);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The rooms, from the ground up; a module imports only from lower floors:
//!
//! | floor | room | what lives there |
//! |---|---|---|
//! | 0 | [`seed`], [`clock`], [`fsio`], [`stats`] | the seed tree, time, files, special functions |
//! | 1 | [`db`], [`data`] | the database connection; tables, CSV, splits |
//! | 2 | [`study`], [`learn`] | black-box optimization; tabular learning |
//! | 3 | [`tune`], [`tracking`] | experiments: learners as a search space; the store, MLflow |
//! | 4 | [`registry`] | model versions, stages, gates, rollback |
//! | 7 | [`cli`] | the command line |

pub mod cli;
pub mod clock;
pub mod data;
pub mod db;
pub mod fsio;
pub mod learn;
pub(crate) mod names;
pub mod registry;
pub mod seed;
pub mod stats;
pub mod study;
pub mod tracking;
pub mod tune;

/// The examples of README.md, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
