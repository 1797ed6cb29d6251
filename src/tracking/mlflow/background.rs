//! Sending beside a study: finished trials go into a mailbox, one thread brings them to the server.
//!
//! **Contract.** Telling the mailbox costs a copy of the record and no wait. The mailbox holds [`Pace::mailbox`] trials at most;
//! beyond that it only remembers that some were missed, and the sender reads those from the store when the server is there
//! again. Errors are kept for the end and never reach the study. At the end [`Background::finish`] waits for what is left,
//! for a bounded time, and says what is still unsent; the thread may then be in the middle of a call, which is the same as
//! being killed there.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::db::DbError;
use crate::study::record::TrialRecord;
use crate::study::{Observer, Progress};
use crate::tracking::Store;

use super::client::Limits;
use super::publish::model_item;
use super::run::{ModelFacts, RunStatus};
use super::send::{BATCH, Sender, unsent};
use super::spool::{self, Ending, PARENT, Spool, Target, trial_item};
use super::{MlflowError, run};

/// The most trials that wait in memory, unless a [`Pace`] says otherwise.
const MAILBOX: usize = 1000;

/// How patient the sender is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long calls may take.
    pub limits: Limits,
    /// The pause between two rounds, so that trials that finish quickly share a transaction.
    pub gather: Duration,
    /// The first pause after a failure; each further one is twice as long, up to 60 times this.
    pub backoff: Duration,
    /// The most trials that wait in memory.
    pub mailbox: usize,
    /// How long [`Background::finish`] waits without progress; a third of it when the server did not answer before.
    pub silence: Duration,
    /// How long it waits in all.
    pub farewell: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            limits: Limits::default(),
            gather: Duration::from_millis(300),
            backoff: Duration::from_millis(500),
            mailbox: MAILBOX,
            silence: Duration::from_secs(3),
            farewell: Duration::from_secs(10),
        }
    }
}

/// What a server does not have yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Finished trials.
    pub trials: usize,
    /// Finished trials that the server refused, with the first reason.
    pub refused: usize,
    /// Versions.
    pub models: usize,
    /// Whether the study's own run is behind.
    pub study: bool,
    /// What went wrong last.
    pub why: Option<String>,
    /// Where the study can be looked at.
    pub page: Option<String>,
}

impl Left {
    /// Whether the server has everything.
    pub fn is_nothing(&self) -> bool {
        self.trials == 0 && self.models == 0 && !self.study
    }
}

/// What the server of a study does not have, from the store alone.
///
/// # Errors
/// The store cannot be read; [`MlflowError::NoServer`].
pub fn left(store: &Store, study: &str, models: &[ModelFacts]) -> Result<Left, MlflowError> {
    let noted = spool::noted(store.db(), study)?.ok_or_else(|| MlflowError::NoServer {
        study: study.to_owned(),
    })?;
    let spool = Spool {
        db: store.db(),
        server: &noted.target.server,
        origin: &noted.origin,
    };
    let items = spool.items()?;
    let storage = store.storage();
    let Some(record) = storage.load_study(study)? else {
        return Ok(Left::default());
    };
    let trials = storage.load_trials(study)?;
    let open = unsent(&items, &trials);
    let refused = open.iter().filter_map(|t| {
        let item = items.get(&trial_item(t.number))?;
        item.refused.clone()
    });
    let refused: Vec<String> = refused.collect();
    let ending = noted.ending.unwrap_or_else(|| guess(&trials));
    let facts = run::study_run(
        &noted.origin,
        &record,
        &trials,
        models,
        ending.status,
        ending.ended.map(run::millis),
    );
    let digest = |name: &str| items.get(name).and_then(|i| i.digest.clone());
    let missing = |m: &&ModelFacts| digest(&model_item(m)) != Some(m.digest());
    Ok(Left {
        trials: open.len(),
        refused: refused.len(),
        models: models.iter().filter(missing).count(),
        study: digest(PARENT) != Some(facts.digest()),
        why: refused.into_iter().next(),
        page: None,
    })
}

/// How a study stands that nobody told about: by its trials.
pub fn guess(trials: &[TrialRecord]) -> Ending {
    let ended = trials.iter().filter_map(|t| t.finished).max();
    match trials.iter().all(|t| t.state.is_finished()) && ended.is_some() {
        true => Ending {
            status: RunStatus::Finished,
            ended,
        },
        false => Ending {
            status: RunStatus::Running,
            ended: None,
        },
    }
}

/// A study that is being sent; see the module.
pub struct Background {
    shared: Arc<Shared>,
    store: Store,
    study: String,
    pace: Pace,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<TrialRecord>,
    /// Whether the store has finished trials that were not put into the mailbox.
    missed: bool,
    closing: Option<Closing>,
    /// Whether the last attempt failed.
    failing: bool,
    why: Option<String>,
    /// Counts what was confirmed.
    progress: u64,
    /// Set by the thread when it has nothing more to do or gave up.
    ended: bool,
    page: Option<String>,
}

#[derive(Clone)]
struct Closing {
    models: Vec<ModelFacts>,
    ending: Ending,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Background {
    /// Notes where the study goes and starts the thread. `behind` says that the study has finished trials already.
    ///
    /// # Errors
    /// The store cannot be written. Whether the server is there is not asked.
    pub fn start(
        store: &Store,
        study: &str,
        target: &Target,
        behind: bool,
        pace: Pace,
    ) -> Result<Self, DbError> {
        let running = Ending {
            status: RunStatus::Running,
            ended: None,
        };
        spool::note(store.db(), study, target, Some(running))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                missed: behind,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            store: store.clone(),
            study: study.to_owned(),
            pace,
            sender: None,
            begun: false,
        };
        let thread = std::thread::Builder::new().name("mlflow".to_owned());
        if thread.spawn(move || worker.run()).is_err() {
            // Without a thread nothing is sent now; `sync` sends everything.
            let mut state = shared.lock();
            state.why = Some("no thread could be started".to_owned());
            state.ended = true;
        }
        Ok(Background {
            shared,
            store: store.clone(),
            study: study.to_owned(),
            pace,
        })
    }

    /// Puts every trial that finishes into the mailbox.
    pub fn observer(&self) -> impl Observer + 'static {
        Mailbox {
            shared: Arc::clone(&self.shared),
            most: self.pace.mailbox,
        }
    }

    /// Says that the search has ended and what came of it, and waits for what is left as long as [`Pace`] says.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn finish(self, ending: Ending, models: Vec<ModelFacts>) -> Result<Left, MlflowError> {
        if let Some(noted) = spool::noted(self.store.db(), &self.study)? {
            spool::note(self.store.db(), &self.study, &noted.target, Some(ending))?;
        }
        let begun = Instant::now();
        let mut state = self.shared.lock();
        let silence = match state.failing {
            true => self.pace.silence / 3,
            false => self.pace.silence,
        };
        state.closing = Some(Closing {
            models: models.clone(),
            ending,
        });
        self.shared.changed.notify_all();
        let (mut seen, mut since) = (state.progress, Instant::now());
        while !state.ended && since.elapsed() < silence && begun.elapsed() < self.pace.farewell {
            let wait = silence.saturating_sub(since.elapsed());
            let wait = wait.min(self.pace.farewell.saturating_sub(begun.elapsed()));
            let woken = self.shared.changed.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            if state.progress != seen {
                (seen, since) = (state.progress, Instant::now());
            }
        }
        let (why, page) = (state.why.clone(), state.page.clone());
        let silent = !state.ended && why.is_none();
        let went_on = since.elapsed() < silence;
        drop(state);
        let mut left = left(&self.store, &self.study, &models)?;
        left.page = page;
        let waited = || {
            let seconds = begun.elapsed().as_secs_f64();
            match went_on {
                true => format!("it took more than {seconds:.0} s"),
                false => format!("no answer within {seconds:.0} s"),
            }
        };
        left.why = left.why.or(why).or_else(|| silent.then(waited));
        Ok(left)
    }
}

struct Mailbox {
    shared: Arc<Shared>,
    most: usize,
}

impl Observer for Mailbox {
    fn trial_finished(&mut self, trial: &TrialRecord, _: &Progress) {
        let mut state = self.shared.lock();
        if state.waiting.len() < self.most && !state.ended {
            state.waiting.push_back(trial.clone());
        } else {
            state.missed = true;
        }
        self.shared.changed.notify_all();
    }
}

/// The thread.
struct Worker {
    shared: Arc<Shared>,
    store: Store,
    study: String,
    pace: Pace,
    sender: Option<Sender>,
    /// Whether the server knows that the study runs.
    begun: bool,
}

impl Worker {
    fn run(mut self) {
        let mut pause = self.pace.backoff;
        loop {
            let closing = self.wait_for_work();
            let last_failed = self.shared.lock().failing;
            match self.round(closing.as_ref()) {
                Ok(done) => {
                    pause = self.pace.backoff;
                    self.note(|state| state.failing = false);
                    if done {
                        break;
                    }
                    self.sleep(self.pace.gather);
                }
                Err(error) => {
                    let text = error.to_string();
                    // At the end one more try is made with a server that did not answer before.
                    let last = closing.is_some() && last_failed;
                    self.note(|state| {
                        state.why = Some(text);
                        state.failing = true;
                        // What is in memory is in the store as well.
                        state.missed |= !state.waiting.is_empty();
                    });
                    if last || !error.is_temporary() {
                        break;
                    }
                    let asked = match &error {
                        MlflowError::Busy { wait, .. } => wait.map(Duration::from_secs),
                        _ => None,
                    };
                    self.sleep(pause.max(asked.unwrap_or_default().min(Duration::from_secs(60))));
                    pause = (pause * 2).min(self.pace.backoff * 60);
                }
            }
        }
        // The lock of the sender ends before anybody is told that the work is done.
        self.sender = None;
        self.note(|state| {
            state.ended = true;
            state.waiting.clear();
        });
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }

    /// Waits until there is something to send, or the end.
    fn wait_for_work(&self) -> Option<Closing> {
        let mut state = self.shared.lock();
        while state.waiting.is_empty() && !state.missed && state.closing.is_none() {
            let woken = self.shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.closing.clone()
    }

    /// Pauses, but not over the end.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.shared.lock();
        let ending = state.closing.is_some();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || (!ending && state.closing.is_some()) {
                return;
            }
            let woken = self.shared.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends what waits, at most one batch of it. Whether everything is done.
    fn round(&mut self, closing: Option<&Closing>) -> Result<bool, MlflowError> {
        let storage = self.store.storage();
        let Some(record) = storage.load_study(&self.study)? else {
            return Ok(false);
        };
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => Sender::open(&self.store, &self.study, self.pace.limits)?,
        };
        let shared = Arc::clone(&self.shared);
        let told = |n: usize, page: Option<String>| {
            let mut state = shared.lock();
            state.progress += n as u64;
            if page.is_some() {
                state.page = page;
            }
            shared.changed.notify_all();
        };
        let result = (|| {
            if let Some(closing) = closing {
                let trials = storage.load_trials(&self.study)?;
                let (models, ending) = (&closing.models, closing.ending);
                let mut progress = |n| told(n, None);
                let sent = sender.send_all(&record, &trials, models, ending, &mut progress);
                told(0, sender.page());
                return sent.map(|_| true);
            }
            if !self.begun {
                let running = Ending {
                    status: RunStatus::Running,
                    ended: None,
                };
                sender.send_study(&record, &[], &[], running)?;
                self.begun = true;
                told(1, sender.page());
            }
            let batch: Vec<TrialRecord> = {
                let mut state = shared.lock();
                let n = state.waiting.len().min(BATCH);
                state.waiting.drain(..n).collect()
            };
            if !batch.is_empty() {
                let sent = sender.send_trials(&record, &batch.iter().collect::<Vec<_>>());
                if sent.is_err() {
                    shared.lock().missed = true;
                }
                told(sent?, None);
            }
            let behind = {
                let mut state = shared.lock();
                // Cleared before the store is read: what is missed later is noted again.
                state.waiting.is_empty() && std::mem::take(&mut state.missed)
            };
            if behind {
                let trials = storage.load_trials(&self.study)?;
                let open = sender.unsent(&trials);
                // A trial that was refused is left to `sync`, else it would be sent for ever.
                let open: Vec<_> = open.into_iter().filter(|t| !sender.is_refused(t)).collect();
                let some = &open[..open.len().min(5 * BATCH)];
                let sent = sender.send_trials(&record, some);
                if sent.is_err() || some.len() < open.len() {
                    shared.lock().missed = true;
                }
                told(sent?, None);
            }
            Ok(false)
        })();
        self.sender = Some(sender);
        result
    }
}
