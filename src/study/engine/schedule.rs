//! Running trials in parallel, on whatever rayon pool is current.
//!
//! The calling thread owns the study: it asks, writes to the storage, sends trials to the pool and takes results
//! from a channel. Trials share nothing with it, and no lock is held while they run, so an objective may use rayon
//! itself, or even run a study.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::study::objective::{self, Stop, Values};
use crate::study::stopper;
use crate::study::trial::Trial;

use super::share::Sharing;
use super::turn::{Begun, Ran};
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
    /// This process has begun as many trials as it may; see [`Share::most`](super::Share::most).
    Share,
    /// The process that leads the study has ended it.
    Elsewhere {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Ended {
    /// As the end of the sentence "the study ended: …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Trials => f.write_str("it has all its trials"),
            Ended::Time => f.write_str("the time is up"),
            Ended::Stopped => f.write_str("it was stopped"),
            Ended::Stopper { name, why } => write!(f, "`{name}`: {why}"),
            Ended::Exhausted => f.write_str("every point of the search space was tried"),
            Ended::Share => f.write_str("this process has run its share"),
            Ended::Elsewhere { why } => f.write_str(why),
        }
    }
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
        let (sender, results) = mpsc::channel::<Ran>();
        self.renew_leases();
        self.announce(None)?;
        let mut announced = false;
        // First in, first out: the oldest trial is what the others wait for.
        rayon::in_place_scope_fifo(|scope| {
            let mut outcome: Option<Result<Ended, StudyError>> = None;
            let mut in_flight = 0;
            let mut pause = SHORTEST_PAUSE;
            loop {
                let begun = match outcome {
                    Some(_) => Ok((Vec::new(), None)),
                    None => self.begin_all(budget, begun_at, in_flight),
                };
                match begun {
                    Ok((trials, ended)) => {
                        outcome = outcome.or(ended.map(Ok));
                        // One at a time needs no other thread, and handing it over takes longer than to propose it.
                        let alone = in_flight == 0 && self.at_once() == 1;
                        for mut trial in trials {
                            pause = SHORTEST_PAUSE;
                            if alone {
                                let values = objective::run(objective, &mut trial);
                                let ran = (trial, values, self.clock.now());
                                if let Err(error) = self.finish_all(vec![ran]) {
                                    outcome = Some(Err(error));
                                }
                                continue;
                            }
                            let (sender, clock) = (sender.clone(), Arc::clone(&self.clock));
                            scope.spawn_fifo(move |_| {
                                let values = objective::run(objective, &mut trial);
                                // The receiver outlives the scope.
                                let _ = sender.send((trial, values, clock.now()));
                            });
                            in_flight += 1;
                        }
                    }
                    Err(error) => outcome = Some(Err(error)),
                }
                if in_flight == 0 {
                    match outcome.take() {
                        Some(Ok(ended)) if self.waits_for_others(&ended, budget) => {
                            if !announced && ended != Ended::Trials {
                                announced = true;
                                self.announce(Some(&ended.to_string()))?;
                            }
                        }
                        Some(outcome) => return outcome,
                        // Some began and failed at once.
                        None if self.may_begin(self.next) => continue,
                        // Trials of `ask` that were not told keep the next one from beginning.
                        None if self.sharing.is_none() => {
                            let ended = self.ended(budget, begun_at);
                            return ended.map_or_else(|| Err(self.window_error()), Ok);
                        }
                        None => {
                            let ended = self.ended(budget, begun_at);
                            if let Some(ended @ (Ended::Stopped | Ended::Elsewhere { .. })) = ended
                            {
                                return Ok(ended);
                            }
                        }
                    }
                }
                // What others do is worth a look while there is room for another trial here.
                let look = self.sharing.is_some() && in_flight < self.at_once();
                let mut ran = Vec::new();
                if in_flight > 0 {
                    ran.extend(next(&results, look.then_some(pause)));
                    ran.extend(results.try_iter());
                } else {
                    std::thread::sleep(pause);
                }
                in_flight -= ran.len();
                let mut done = match ran.is_empty() {
                    true => Ok(false),
                    false => self.finish_all(ran).map(|_| true),
                };
                if look && outcome.is_none() && matches!(done, Ok(false)) {
                    done = self.catch_up();
                }
                match done {
                    Ok(true) => pause = SHORTEST_PAUSE,
                    Ok(false) => pause = (pause * 2).min(self.longest_pause()),
                    Err(error) if !matches!(outcome, Some(Err(_))) => outcome = Some(Err(error)),
                    Err(_) => {}
                }
            }
        })
    }

    /// Begins as many trials as may begin and have room beside `in_flight` others, and says why there are no more, if the
    /// study ends.
    fn begin_all(
        &mut self,
        budget: Budget,
        begun_at: Timestamp,
        in_flight: usize,
    ) -> Result<(Vec<Trial>, Option<Ended>), StudyError> {
        if self.sharing.as_ref().is_some_and(Sharing::is_due) {
            self.catch_up()?;
        }
        let mut begun: Vec<Begun> = Vec::new();
        let mut outcome = Ok(None);
        while in_flight + begun.len() < self.at_once() && self.may_begin(self.next) {
            let share = self.sharing.as_ref();
            if share.is_some_and(|s| !s.may_begin(begun.len() as u64)) {
                outcome = Ok(Some(Ended::Share));
                break;
            }
            if let Some(ended) = self.ended(budget, begun_at) {
                outcome = Ok(Some(ended));
                break;
            }
            match self.prepare() {
                Ok(trial) => begun.push(trial),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let trials = self.store_begun(begun)?;
        match outcome {
            Ok(ended) => Ok((trials, ended)),
            Err(error) if trials.is_empty() => Err(error),
            // Those that began run; the error comes again.
            Err(_) => Ok((trials, None)),
        }
    }

    /// How many trials this process runs at the same moment.
    fn at_once(&self) -> usize {
        let most = usize::try_from(self.concurrency).unwrap_or(usize::MAX);
        match &self.sharing {
            Some(sharing) => sharing.share.at_once.min(most),
            None => most,
        }
    }

    fn longest_pause(&self) -> Duration {
        let poll = self.sharing.as_ref().map(|s| s.share.poll);
        poll.map_or(SHORTEST_PAUSE, |poll| poll.max(SHORTEST_PAUSE))
    }

    /// Whether trials of other processes have to end before the study has.
    fn waits_for_others(&self, ended: &Ended, budget: Budget) -> bool {
        let running = !self.elsewhere.is_empty();
        match ended {
            // All of them, so that one whose process dies is begun again.
            Ended::Trials => budget
                .trials
                .is_some_and(|total| self.sharing.is_some() && (self.history.len() as u64) < total),
            Ended::Stopped | Ended::Share | Ended::Elsewhere { .. } => false,
            _ => self.sharing.is_some() && running,
        }
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

    /// Why the process that leads has ended the study, if another does.
    fn ended_elsewhere(&self) -> Option<String> {
        let sharing = self.sharing.as_ref().filter(|s| !s.share.leads);
        sharing.and_then(|s| s.ended.clone())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn ended(&mut self, budget: Budget, begun_at: Timestamp) -> Option<Ended> {
        let passed = self.clock.now().seconds_since(begun_at);
        if self.is_stopped() {
            Some(Ended::Stopped)
        } else if let Some(why) = self.ended_elsewhere() {
            Some(Ended::Elsewhere { why })
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

/// The first pause before another look at what other processes do; each one without news doubles it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Waits for the next result, not longer than `most`. A thread of the pool must not sleep while there is work: with one
/// thread nobody else would do it.
fn next(results: &Receiver<Ran>, most: Option<Duration>) -> Option<Ran> {
    const ALIVE: &str = "the study keeps a sender, so the channel stays open";
    if rayon::current_thread_index().is_none() {
        return match most {
            None => Some(results.recv().expect(ALIVE)),
            Some(most) => results.recv_timeout(most).ok(),
        };
    }
    let begun = Instant::now();
    loop {
        if let Ok(result) = results.try_recv() {
            return Some(result);
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed)
            && let Ok(result) = results.recv_timeout(Duration::from_micros(100))
        {
            return Some(result);
        }
        if most.is_some_and(|most| begun.elapsed() >= most) {
            return None;
        }
    }
}
