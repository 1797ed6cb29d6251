//! Watching a study: counts, the best trial, and who is told of them.

use std::sync::Arc;

use crate::study::record::{Direction, TrialRecord, TrialState};

/// How far a study is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Trials with a value.
    pub complete: u64,
    /// Trials ended early on purpose.
    pub pruned: u64,
    /// Trials ended in an error.
    pub failed: u64,
    /// Trials begun and not finished, those that a crash left behind included.
    pub running: u64,
    /// Trials enqueued and not begun.
    pub waiting: u64,
    /// The best complete and feasible trial of a study with one direction; of equals, the one with the smallest number.
    pub best: Option<Arc<TrialRecord>>,
}

impl Progress {
    /// Trials that will not change any more.
    pub fn finished(&self) -> u64 {
        self.complete + self.pruned + self.failed
    }

    /// Counts a record that replaces one in state `before`.
    pub(super) fn count(
        &mut self,
        before: Option<TrialState>,
        record: &Arc<TrialRecord>,
        directions: &[Direction],
    ) {
        if let Some(before) = before {
            *self.counter(before) -= 1;
        }
        *self.counter(record.state) += 1;
        if let [direction] = directions
            && let Some(value) = record.value()
            && record.is_feasible()
        {
            let better = self.best.as_ref().is_none_or(|best| {
                let best_value = best.values[0];
                direction.better(value, best_value)
                    || (value == best_value && record.number < best.number)
            });
            if better {
                self.best = Some(Arc::clone(record));
            }
        }
    }

    fn counter(&mut self, state: TrialState) -> &mut u64 {
        match state {
            TrialState::Waiting => &mut self.waiting,
            TrialState::Running => &mut self.running,
            TrialState::Complete => &mut self.complete,
            TrialState::Pruned => &mut self.pruned,
            TrialState::Fail => &mut self.failed,
        }
    }
}

/// Is told of a study's trials, on the thread that runs the study, in the order of what happens. A slow observer
/// holds up the start of trials, not those that run.
pub trait Observer: Send {
    /// A trial began and is stored.
    fn trial_started(&mut self, trial: &TrialRecord) {
        let _ = trial;
    }

    /// A trial ended and is stored; `progress` counts it.
    fn trial_finished(&mut self, trial: &TrialRecord, progress: &Progress);
}
