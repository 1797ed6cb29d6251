//! Pruners stop trials that are not worth their cost.
//!
//! An objective reports how far it has come with [`Trial::report`](super::Trial::report), asks
//! [`Trial::should_prune`](super::Trial::should_prune) and ends with [`Stop::Pruned`](super::Stop::Pruned).
//!
//! **Contract.** A decision is a pure function of its [`Context`]: the trial's own reports and the finished trials that
//! it may see by the sequence rule. Trials in flight are never looked at, so pruning is the same on any number of
//! threads, interrupted or not. Reports may be NaN or infinite. Decisions are those of Optuna 5 on the same facts, for
//! every pruner that it has.
//!
//! **Several directions.** A report is one number; it counts as a value of the first direction. [`wilcoxon`] and
//! [`racing`], which need a best trial, stop nothing when there are several.

pub mod conformance;
pub mod halving;
pub mod patient;
pub mod percentile;
pub mod racing;
mod table;
#[cfg(test)]
mod tests;
pub mod threshold;
pub mod wilcoxon;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::seed::Seed;

pub use table::{PRUNERS, PrunerEntry, PrunerError, by_name};

use super::record::{Attrs, Direction, TrialRecord, TrialState};

/// What a pruner may know when it decides about one trial.
pub struct Context<'a> {
    /// The number of the trial.
    pub trial: u64,
    /// What it reported so far, by step.
    pub reports: &'a BTreeMap<i64, f64>,
    /// Finished trials that this trial may see, by number; whether complete, pruned or failed.
    pub history: &'a [Arc<TrialRecord>],
    /// One per objective value, at least one.
    pub directions: &'a [Direction],
    /// The seed of the study's pruner, the same for every trial.
    pub seed: Seed,
}

impl<'a> Context<'a> {
    /// The latest report.
    pub fn last(&self) -> Option<(i64, f64)> {
        self.reports.last_key_value().map(|(s, v)| (*s, *v))
    }

    /// The direction that reports are read in.
    pub fn direction(&self) -> Direction {
        self.directions
            .first()
            .copied()
            .unwrap_or(Direction::Minimize)
    }

    /// The complete trials of the history.
    pub fn complete(&self) -> impl Iterator<Item = &'a TrialRecord> + use<'a> {
        let trials = self.history.iter().map(AsRef::as_ref);
        trials.filter(|t| t.state == TrialState::Complete)
    }

    /// The best complete and feasible trial of the history, of equals the one with the smallest number; none with
    /// several directions.
    pub fn best(&self) -> Option<&'a TrialRecord> {
        let &[direction] = self.directions else {
            return None;
        };
        self.complete()
            .filter(|t| t.is_feasible())
            .filter_map(|t| Some((t, t.value()?)))
            .reduce(|best, next| {
                if direction.better(next.1, best.1) {
                    next
                } else {
                    best
                }
            })
            .map(|(trial, _)| trial)
    }
}

/// Decides whether a trial goes on; see the module for the contract. Object-safe.
pub trait Pruner: Send + Sync {
    /// The name in the table of pruners, as in `median`.
    fn name(&self) -> &'static str;

    /// The parameters of the pruner itself. A study refuses to go on with others. The default has none.
    fn params(&self) -> Json {
        Json::Null
    }

    /// Whether the trial should stop now; asked after each report. What later decisions need beyond the reports goes
    /// into `notes`, the system attributes of the trial, which are stored when it ends: the rungs that a trial reached,
    /// and [`ESTIMATE`] when the pruner knows what the trial would have been worth.
    fn prune(&self, ctx: &Context<'_>, notes: &mut Attrs) -> bool;

    /// Whether a report is the score of one block of a fixed set (a fold, an instance) whose mean is the trial's
    /// value, rather than how far the trial as a whole has come.
    fn blocks(&self) -> bool {
        false
    }
}

/// The system attribute of a pruned trial with the value that it can be expected to have reached; see
/// [`TrialRecord::expected`].
pub const ESTIMATE: &str = "automl:estimate";

impl TrialRecord {
    /// What the trial teaches about its parameters in a study of one direction: its value when complete, and what its
    /// pruner expected of it when it was stopped early and the pruner can tell. Always finite for a pruned trial.
    pub fn expected(&self) -> Option<f64> {
        if self.state == TrialState::Pruned {
            let estimate = self.system_attrs.get(ESTIMATE).and_then(Json::as_f64);
            return estimate.filter(|v| v.is_finite());
        }
        self.value()
    }
}

macro_rules! pruner_behind {
    ($($pointer:ty),*) => {$(
        impl<P: Pruner + ?Sized> Pruner for $pointer {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn params(&self) -> Json {
                (**self).params()
            }

            fn prune(&self, ctx: &Context<'_>, notes: &mut Attrs) -> bool {
                (**self).prune(ctx, notes)
            }

            fn blocks(&self) -> bool {
                (**self).blocks()
            }
        }
    )*};
}
pruner_behind!(Box<P>, Arc<P>);

/// Stops nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPruner;

impl Pruner for NoPruner {
    fn name(&self) -> &'static str {
        "none"
    }

    fn prune(&self, _: &Context<'_>, _: &mut Attrs) -> bool {
        false
    }
}

/// Whether a check is due at `step`: the first report in its interval, counted from `warmup`.
fn due(reports: &BTreeMap<i64, f64>, step: i64, warmup: u64, interval: u64) -> bool {
    let (warmup, interval) = (as_step(warmup), as_step(interval.max(1)));
    if step < warmup {
        return false;
    }
    let since = step.saturating_sub(warmup);
    let begin = step - since % interval;
    // A negative step before does not count, as in Optuna.
    let before = reports.range(..step).next_back().map_or(-1, |(s, _)| *s);
    before.max(-1) < begin
}

fn as_step(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
