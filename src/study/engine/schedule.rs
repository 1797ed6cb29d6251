//! Running trials in parallel, on whatever rayon pool is current.
//!
//! The calling thread owns the study: it asks, writes to the storage, sends trials to the pool and takes results
//! from a channel. Trials share nothing with it, and no lock is held while they run, so an objective may use rayon
//! itself, or even run a study.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::study::objective::{self, Stop, Values};
use crate::study::stopper;
use crate::study::trial::Trial;

use super::{Study, StudyError};

/// How long [`Study::optimize`] goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    trials: Option<u64>,
    time: Option<Duration>,
}

impl Budget {
    /// Until the study has `total` trials, those from before included: a larger number continues a study.
    pub fn trials(total: u64) -> Self {
        Budget {
            trials: Some(total),
            time: None,
        }
    }

    /// Until stopped by hand.
    pub fn unlimited() -> Self {
        Budget::default()
    }

    /// Also until `limit` has passed. Trials that run at that moment are finished.
    #[must_use]
    pub fn time(mut self, limit: Duration) -> Self {
        self.time = Some(limit);
        self
    }
}

/// Why [`Study::optimize`] came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The study has as many trials as wanted.
    Trials,
    /// The time is up.
    Time,
    /// A [`StopHandle`] was used.
    Stopped,
    /// A [`Stopper`](crate::study::stopper::Stopper) said so.
    Stopper {
        /// Its name.
        name: &'static str,
        /// Its reason.
        why: String,
    },
    /// Every point of a discrete space was tried; see [`Exhausted`](super::Exhausted).
    Exhausted,
}

/// Stops [`Study::optimize`]: no trial begins any more, those that run are finished and recorded.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(super) Arc<AtomicBool>);

impl StopHandle {
    /// Asks the study to stop. It stays stopped.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the study was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A trial that came back from the pool.
type Returned = (Trial, Result<Values, Stop>, Timestamp);

impl Study {
    /// Runs `objective` until the budget is used up, with as many trials at once as the study's concurrency, on
    /// the current rayon pool. An error or panic of the objective is a failed trial and the study goes on. The
    /// objective returns one number, or as many as the study has directions.
    ///
    /// # Errors
    /// When the storage fails: no trial begins any more, those that run are finished first.
    pub fn optimize<F, R>(&mut self, budget: Budget, objective: F) -> Result<Ended, StudyError>
    where
        F: Fn(&mut Trial) -> Result<R, Stop> + Sync,
        R: Into<Values>,
    {
        let objective = &objective;
        let begun_at = self.clock.now();
        let (sender, results) = mpsc::channel::<Returned>();
        // First in, first out: the oldest trial is what the others wait for.
        rayon::in_place_scope_fifo(|scope| {
            let mut outcome = None;
            let mut in_flight = 0_u64;
            loop {
                while outcome.is_none() && self.may_begin(self.next) {
                    if let Some(ended) = self.ended(budget, begun_at) {
                        outcome = Some(Ok(ended));
                        break;
                    }
                    match self.begin() {
                        // One at a time needs no other thread, and handing it over takes longer than to propose it.
                        Ok(Some(mut trial)) if self.concurrency == 1 => {
                            let values = objective::run(objective, &mut trial);
                            let finished = self.clock.now();
                            if let Err(error) = self.finish(trial, values, finished) {
                                outcome = Some(Err(error));
                            }
                        }
                        Ok(Some(mut trial)) => {
                            let (sender, clock) = (sender.clone(), Arc::clone(&self.clock));
                            scope.spawn_fifo(move |_| {
                                let values = objective::run(objective, &mut trial);
                                // The receiver outlives the scope.
                                let _ = sender.send((trial, values, clock.now()));
                            });
                            in_flight += 1;
                        }
                        // It failed at once and is recorded.
                        Ok(None) => {}
                        Err(error) => outcome = Some(Err(error)),
                    }
                }
                if in_flight == 0 {
                    // Without an outcome, trials of `ask` that were not told keep the next one from beginning.
                    let ended = outcome.or_else(|| self.ended(budget, begun_at).map(Ok));
                    return ended.unwrap_or_else(|| Err(self.window_error()));
                }
                let (trial, values, finished) = next(&results);
                in_flight -= 1;
                if let Err(error) = self.finish(trial, values, finished)
                    && !matches!(outcome, Some(Err(_)))
                {
                    outcome = Some(Err(error));
                }
            }
        })
    }

    /// The stopper that ends the study now, if one does.
    fn stopped_by(&self, seconds: f64) -> Option<Ended> {
        let visible = (self.next + 1).saturating_sub(self.concurrency) as usize;
        let context = stopper::Context {
            trial: self.next,
            history: &self.history[..visible.min(self.history.len())],
            directions: &self.directions,
            seconds,
        };
        let stoppers = self.stoppers.iter();
        let said = stoppers.map(|s| s.stop(&context).map(|why| (s.name(), why)));
        let (name, why) = said.flatten().next()?;
        Some(Ended::Stopper { name, why })
    }

    fn ended(&mut self, budget: Budget, begun_at: Timestamp) -> Option<Ended> {
        let passed = self.clock.now().seconds_since(begun_at);
        if self.stop.load(Ordering::SeqCst) {
            Some(Ended::Stopped)
        } else if budget.trials.is_some_and(|total| self.next >= total) {
            Some(Ended::Trials)
        } else if budget.time.is_some_and(|t| passed >= t.as_secs_f64()) {
            Some(Ended::Time)
        } else {
            self.exhausted()
                .then_some(Ended::Exhausted)
                .or_else(|| self.stopped_by(passed))
        }
    }
}

/// Waits for the next result. A thread of the pool must not sleep while there is work: with one thread nobody
/// else would do it.
fn next(results: &Receiver<Returned>) -> Returned {
    const ALIVE: &str = "the study keeps a sender, so the channel stays open";
    if rayon::current_thread_index().is_none() {
        return results.recv().expect(ALIVE);
    }
    loop {
        if let Ok(result) = results.try_recv() {
            return result;
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed)
            && let Ok(result) = results.recv_timeout(Duration::from_micros(100))
        {
            return result;
        }
    }
}
