//! Black-box optimization. Knows nothing about data.
//!
//! A [`Study`] asks a [`sampler`](sampler::Sampler) for parameters, runs the user's objective and keeps every
//! trial in a [`storage`](storage::Storage).
//!
//! ```
//! use automl::study::{Budget, Study};
//!
//! let mut study = Study::builder("quadratic").seed(1).open()?;
//! study.optimize(Budget::trials(50), |trial| {
//!     let x = trial.float("x", -10.0..=10.0).uniform()?;
//!     Ok((x - 2.0) * (x - 2.0))
//! })?;
//! let best = study.best().expect("no trial failed");
//! assert!(best.values[0] < 1.0);
//! # Ok::<(), automl::study::StudyError>(())
//! ```

pub mod declared;
pub mod engine;
pub mod frame;
pub mod importance;
pub mod method;
pub mod objective;
pub mod pareto;
pub mod pruner;
pub mod record;
pub mod sampler;
mod sequence;
pub mod space;
pub mod stopper;
pub mod storage;
mod time_limit;
pub mod trial;
mod visited;

pub use declared::{Condition, Param, Space};
pub use engine::{
    Budget, Ended, Exhausted, Observer, Progress, StopHandle, Study, StudyBuilder, StudyError,
};
pub use objective::{Stop, Values};
pub use pareto::hypervolume;
pub use record::{Direction, TrialRecord, TrialState};
pub use space::{Domain, Params, Value};
pub use trial::Trial;
