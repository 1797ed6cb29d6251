//! What is known of a study and of its trials: plain data, the same in memory and in every storage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::clock::Timestamp;

use super::space::Params;

/// The system attribute with the values of a trial's constraints, a list of numbers, as Optuna reads it.
pub const CONSTRAINTS: &str = "constraints";

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

    /// The values of the trial's constraints; each at most 0 holds. Empty when it has none.
    ///
    /// Read from the system attribute [`CONSTRAINTS`], and from those that Optuna 5 writes for constraints with names. What is
    /// no number counts as NaN, which does not hold.
    pub fn constraints(&self) -> Vec<f64> {
        let noted = self.system_attrs.range(CONSTRAINTS.to_owned()..);
        let noted = noted.take_while(|(key, _)| key.starts_with(CONSTRAINTS));
        let mut values = Vec::new();
        for (key, value) in noted {
            match (&key[CONSTRAINTS.len()..], value) {
                ("", Json::Null) => {}
                ("", Json::Array(list)) => values.extend(list.iter().map(constraint)),
                (name, value) if name.is_empty() || name.starts_with(':') => {
                    values.push(constraint(value));
                }
                _ => {}
            }
        }
        values
    }

    /// By how much the trial breaks its constraints: the sum of the values above 0, infinite if one is NaN.
    pub fn violation(&self) -> f64 {
        let beyond = |value: f64| match value.is_nan() {
            true => f64::INFINITY,
            false => value.max(0.0),
        };
        self.constraints().into_iter().map(beyond).sum()
    }

    /// Whether all constraints of the trial hold; a trial without any is feasible.
    pub fn is_feasible(&self) -> bool {
        self.constraints().into_iter().all(|value| value <= 0.0)
    }

    /// Whether the trial is complete and all its constraints hold: only such trials can be the best.
    pub fn is_eligible(&self) -> bool {
        self.state == TrialState::Complete && self.is_feasible()
    }

    /// The value of a single-objective trial, when complete.
    pub fn value(&self) -> Option<f64> {
        (self.state == TrialState::Complete)
            .then(|| self.values.first().copied())
            .flatten()
    }
}

/// The value of a constraint as it is stored. Python writes infinities that JSON has no word for.
fn constraint(stored: &Json) -> f64 {
    match stored.as_str() {
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => stored.as_f64().unwrap_or(f64::NAN),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constraints_are_read_as_optuna_writes_them() {
        let with = |attrs: &[(&str, Json)]| {
            let mut trial = TrialRecord::waiting(0);
            let attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
            trial.system_attrs = attrs.collect();
            trial
        };
        let none = with(&[
            ("constraint", json!([1.0])),
            ("constraints_of", json!([1.0])),
        ]);
        assert!(none.constraints().is_empty() && none.is_feasible());
        assert!(with(&[("constraints", Json::Null)]).is_feasible());
        let list = with(&[("constraints", json!([-1, 0.0, 2.5, 0.5]))]);
        assert_eq!(list.constraints(), [-1.0, 0.0, 2.5, 0.5]);
        assert_eq!(list.violation(), 3.0);
        assert!(!list.is_feasible());
        assert!(with(&[("constraints", json!([0.0, -0.5]))]).is_feasible());
        let named = with(&[
            ("constraints:memory", json!(2.0)),
            ("constraints:time", json!(-9.0)),
        ]);
        assert_eq!((named.violation(), named.is_feasible()), (2.0, false));
        for (bare, violation) in [
            ("Infinity", f64::INFINITY),
            ("-Infinity", 0.0),
            ("NaN", f64::INFINITY),
        ] {
            let trial = with(&[("constraints", json!([bare]))]);
            assert_eq!(
                (trial.violation(), trial.is_feasible()),
                (violation, violation == 0.0)
            );
        }
    }
}
