//! What is known of a study and of its trials: plain data, the same in memory and in every storage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::clock::Timestamp;

use super::space::Params;

/// Attributes by name, sorted, so that they print and hash alike everywhere.
pub type Attrs = BTreeMap<String, Json>;

/// Whether smaller or larger is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smaller is better.
    Minimize,
    /// Larger is better.
    Maximize,
}

impl Direction {
    /// Whether `a` is strictly better than `b`. NaN is worse than everything.
    pub fn better(self, a: f64, b: f64) -> bool {
        match self {
            Direction::Minimize => a < b || (b.is_nan() && !a.is_nan()),
            Direction::Maximize => a > b || (b.is_nan() && !a.is_nan()),
        }
    }

    /// `value` turned so that smaller is better.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Direction::Minimize => value,
            Direction::Maximize => -value,
        }
    }
}

/// Where a trial is in its life. The names are those of Optuna.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TrialState {
    /// Enqueued with fixed parameters, not begun.
    Waiting,
    /// Begun and not finished; after a crash it is begun again with the same parameters.
    Running,
    /// Finished with a value.
    Complete,
    /// Stopped early, on purpose.
    Pruned,
    /// Ended in an error.
    Fail,
}

impl TrialState {
    /// Whether nothing about the trial will change any more.
    pub fn is_finished(self) -> bool {
        matches!(
            self,
            TrialState::Complete | TrialState::Pruned | TrialState::Fail
        )
    }
}

/// One trial, whatever its state.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// Position in the study, from 0; the only public key of a trial.
    pub number: u64,
    /// Where the trial is in its life.
    pub state: TrialState,
    /// Parameters in the order in which they were drawn.
    pub params: Params,
    /// One value per direction when complete, else empty. Never NaN; may be infinite.
    pub values: Vec<f64>,
    /// Reported values by step, sorted by step; may be NaN or infinite.
    pub intermediate: BTreeMap<i64, f64>,
    /// What the objective noted.
    pub user_attrs: Attrs,
    /// What the engine noted, as `fixed_params` and `fail_reason`.
    pub system_attrs: Attrs,
    /// When it began; `None` while waiting.
    pub started: Option<Timestamp>,
    /// When it finished; `None` before.
    pub finished: Option<Timestamp>,
}

impl TrialRecord {
    /// A trial that has not begun.
    pub fn waiting(number: u64) -> Self {
        TrialRecord {
            number,
            state: TrialState::Waiting,
            params: Params::default(),
            values: Vec::new(),
            intermediate: BTreeMap::new(),
            user_attrs: Attrs::new(),
            system_attrs: Attrs::new(),
            started: None,
            finished: None,
        }
    }

    /// The value of a single-objective trial, when complete.
    pub fn value(&self) -> Option<f64> {
        (self.state == TrialState::Complete)
            .then(|| self.values.first().copied())
            .flatten()
    }
}

/// One study without its trials.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyRecord {
    /// Unique in its storage, at most 512 characters.
    pub name: String,
    /// One per objective value, at least one.
    pub directions: Vec<Direction>,
    /// What the user noted.
    pub user_attrs: Attrs,
    /// What the engine noted, as the seed and the sampler.
    pub system_attrs: Attrs,
}
