//! Several processes run one study.
//!
//! **Contract.** Trials are those of one process, whatever processes come, go and die: what a trial may see is a matter of
//! the sequence, so whoever begins it draws the same parameters. A trial in flight is held under a [`Lease`] that its
//! process renews; when it is not renewed in time, another process begins the trial again, and only the later one can
//! end it.
//!
//! A lease has lapsed when the storage's clock says so, when it was not renewed while this process watched for as long as
//! it lasts (clocks may go backwards), or when its owner is known to be gone.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::study::record::{Attrs, TrialRecord, TrialState};
use crate::study::storage::{Held, Lease, Storage, StorageError};

use super::{Study, StudyError};

/// How a process takes part in a study that others run too; see the module `engine::share`.
#[derive(Clone)]
pub struct Share {
    /// The name of this process, which no other process has.
    pub owner: String,
    /// How long a trial stays with a process that is silent. It is renewed three times as often.
    pub lease: Duration,
    /// How many trials this process runs at the same moment, at least 1; the study's concurrency is another limit.
    pub at_once: usize,
    /// How long to wait at most before looking what the others have done. A process that has enough to do looks 40 times
    /// less often.
    pub poll: Duration,
    /// For how long a storage that does not answer is asked again.
    pub patience: Duration,
    /// How many trials this process begins at most.
    pub most: Option<u64>,
    /// Whether this process decides when the study ends before it has all its trials; the others follow.
    pub leads: bool,
    /// Whether trials that ran without a lease when the study was opened, or run under one that never lapses, are begun
    /// again: only right when nobody can be running them. Those that begin without one later are another program's, such
    /// as Optuna's, and are waited for.
    pub take_unleased: bool,
    /// Whether the owner of this name is known to have ended. When unsure: `false`.
    pub gone: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Share {
    /// With a lease of 30 s, one trial at a time, a look every 50 ms and no patience; of nobody it is known that they are
    /// gone.
    pub fn new(owner: impl Into<String>) -> Self {
        Share {
            owner: owner.into(),
            lease: Duration::from_secs(30),
            at_once: 1,
            poll: Duration::from_millis(50),
            patience: Duration::ZERO,
            most: None,
            leads: false,
            take_unleased: false,
            gone: Arc::new(|_| false),
        }
    }
}

/// What a process knows of those that it shares a study with.
pub(super) struct Sharing {
    pub(super) share: Share,
    /// How many trials there were when this process opened the study.
    found: u64,
    /// The leases under which this process runs trials.
    held: Arc<Mutex<BTreeMap<u64, Lease>>>,
    /// The latest lease of each trial that runs elsewhere, and since when it has not been renewed.
    seen: BTreeMap<u64, (Held, Instant)>,
    /// Leases that have lapsed, of trials to begin again; `None` for a trial without one.
    lapsed: BTreeMap<u64, Option<Lease>>,
    /// Whether others have done something that is not known here.
    pub(super) must_look: bool,
    /// When this process last looked.
    looked: Instant,
    /// When it last looked at leases.
    leases_looked: Option<Instant>,
    /// How many trials it has begun.
    pub(super) begun: u64,
    /// Why the process that leads has ended the study.
    pub(super) ended: Option<String>,
    /// Ends the thread that renews leases when dropped.
    renewal: Option<Sender<()>>,
}

impl Sharing {
    pub(super) fn new(share: Share, found: u64) -> Self {
        Sharing {
            share,
            found,
            held: Arc::default(),
            seen: BTreeMap::new(),
            lapsed: BTreeMap::new(),
            must_look: false,
            looked: Instant::now(),
            leases_looked: None,
            begun: 0,
            ended: None,
            renewal: None,
        }
    }

    /// A new lease of a trial, and the one that it takes over.
    pub(super) fn lease(&mut self, number: u64) -> (Lease, Option<Lease>) {
        let over = self.lapsed.remove(&number).flatten();
        let lease = Lease {
            owner: self.share.owner.clone(),
            token: over.as_ref().map_or(1, |over| over.token + 1),
            seconds: self.share.lease.as_secs_f64(),
        };
        (lease, over)
    }

    pub(super) fn hold(&mut self, number: u64, lease: Lease) {
        lock(&self.held).insert(number, lease);
        self.begun += 1;
    }

    /// Whether it is time to look what the others have done.
    pub(super) fn is_due(&self) -> bool {
        self.must_look || self.looked.elapsed() > self.share.poll * 40
    }

    /// Whether it is time to look at the leases of others, which are many where many share a study.
    fn leases_are_due(&mut self) -> bool {
        let every = (self.share.lease / 4).min(self.share.poll * 20);
        let due = self.leases_looked.is_none_or(|at| at.elapsed() >= every);
        if due {
            self.leases_looked = Some(Instant::now());
        }
        due
    }

    /// Whether this process may begin another trial beside `more` that are about to begin.
    pub(super) fn may_begin(&self, more: u64) -> bool {
        self.share.most.is_none_or(|most| self.begun + more < most)
    }

    pub(super) fn held(&self, number: u64) -> Option<Lease> {
        lock(&self.held).get(&number).cloned()
    }

    pub(super) fn release(&mut self, number: u64) {
        lock(&self.held).remove(&number);
    }

    /// Whether a trial that runs elsewhere may be begun again, and under which lease it runs.
    fn lapsed(&mut self, number: u64, held: Option<&Held>) -> Option<Option<Lease>> {
        let Some(held) = held else {
            self.seen.remove(&number);
            let may_be_left = self.share.take_unleased && number < self.found;
            return may_be_left.then_some(None);
        };
        let now = Instant::now();
        let renewed =
            |(seen, _): &(Held, Instant)| (&seen.lease, seen.beat) != (&held.lease, held.beat);
        if self.seen.get(&number).is_none_or(renewed) {
            self.seen.insert(number, (held.clone(), now));
        }
        let silent = now.duration_since(self.seen[&number].1).as_secs_f64();
        let never = held.lease.seconds >= NEVER;
        let is_over = (never && self.share.take_unleased)
            || held.has_lapsed()
            || silent > held.lease.seconds
            || (self.share.gone)(&held.lease.owner);
        is_over.then(|| Some(held.lease.clone()))
    }

    /// Sees to it that leases are renewed from now on.
    fn keep_renewing(&mut self, storage: &Arc<dyn Storage>, study: &str) {
        let every = self.share.lease / 3;
        if self.renewal.is_some() || every.is_zero() {
            return;
        }
        let (sender, ended) = mpsc::channel::<()>();
        // Not held open by the thread: a database is closed in order when the study is dropped.
        let (storage, study) = (Arc::downgrade(storage), study.to_owned());
        let held = Arc::clone(&self.held);
        let renew = move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let Some(storage) = storage.upgrade() else {
                    return;
                };
                let leases: Vec<(u64, Lease)> = lock(&held).clone().into_iter().collect();
                if !leases.is_empty() {
                    // A storage that does not answer is asked again; a lease that was lost shows when its trial ends.
                    let _ = storage.renew(&study, &leases);
                }
            }
        };
        let thread = std::thread::Builder::new().name("leases".to_owned());
        // Without the thread, long trials are begun again by others, which wastes time and changes no result.
        if thread.spawn(renew).is_ok() {
            self.renewal = Some(sender);
        }
    }
}

/// A lease of so many seconds, 30 million years, never lapses.
const NEVER: f64 = 1e15;

/// The system attribute of a study that tells why it ended before it had all its trials.
const ENDED: &str = "automl:ended";

/// The map is whole whenever the lock is free.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Study {
    /// Begins to renew the leases of trials; needed for trials that take longer than a lease.
    pub(super) fn renew_leases(&mut self) {
        if let Some(sharing) = &mut self.sharing {
            sharing.keep_renewing(&self.storage, &self.name);
        }
    }

    /// Tells the processes that share the study why it has ended, or that it goes on, if this is the one that leads.
    pub(super) fn announce(&self, ended: Option<&str>) -> Result<(), StudyError> {
        if !self.sharing.as_ref().is_some_and(|s| s.share.leads) {
            return Ok(());
        }
        let attrs = Attrs::from([(ENDED.to_owned(), ended.into())]);
        self.patiently(|storage, name| storage.annotate_study(name, &Attrs::new(), &attrs))
    }

    /// Learns what other processes have done, and tells observers which trials these ended. Whether there was anything
    /// new. Does nothing when nobody shares the study.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn catch_up(&mut self) -> Result<bool, StudyError> {
        if self.sharing.is_none() {
            return Ok(false);
        }
        let study = self.patiently(|storage, name| storage.load_study(name))?;
        let ended = study.as_ref().and_then(|s| s.system_attrs.get(ENDED));
        let ended = ended.and_then(Json::as_str).map(str::to_owned);
        let from = self.history.len();
        let known: Vec<TrialState> = self.trials[from..].iter().map(|t| t.state).collect();
        let changed =
            self.patiently(|storage, name| storage.load_changed(name, from as u64, &known))?;
        let mut news = false;
        for record in changed {
            let (number, state) = (record.number, record.state);
            if self.live.contains(&number) {
                continue;
            }
            news = true;
            let record = self.put(record);
            // What a trial was shown is worked out from what it could see, so the history goes along.
            self.advance();
            if state != TrialState::Waiting && !self.shown.contains_key(&number) {
                let shown = self.known_again(number);
                self.show(number, shown);
            }
            match state {
                // Until its lease is looked at.
                TrialState::Running => drop(self.elsewhere.insert(number)),
                TrialState::Waiting => self.next = self.next.min(number),
                _ => {
                    self.elsewhere.remove(&number);
                    for observer in &mut self.observers {
                        observer.trial_finished(&record, &self.progress);
                    }
                }
            }
        }
        news |= self.look_at_leases()?;
        self.advance();
        if let Some(sharing) = &mut self.sharing {
            sharing.must_look = false;
            sharing.looked = Instant::now();
            sharing.ended = ended;
        }
        Ok(news)
    }

    /// Finds out, now and then, which of the trials that others run may be begun again. Whether there are new ones.
    fn look_at_leases(&mut self) -> Result<bool, StudyError> {
        let oldest = self.history.len() as u64;
        let Some(sharing) = &mut self.sharing else {
            return Ok(false);
        };
        if !sharing.leases_are_due() {
            return Ok(false);
        }
        sharing.seen = sharing.seen.split_off(&oldest);
        sharing.lapsed = sharing.lapsed.split_off(&oldest);
        let leases = self.patiently(|storage, name| storage.leases(name))?;
        let running = |t: &&Arc<TrialRecord>| t.state == TrialState::Running;
        let running = self.trials[oldest as usize..].iter().filter(running);
        let numbers: Vec<u64> = running.map(|t| t.number).collect();
        let mut news = false;
        for number in numbers.into_iter().filter(|n| !self.live.contains(n)) {
            let at = leases.binary_search_by_key(&number, |held| held.number);
            let lease = at.ok().map(|at| &leases[at]);
            let Some(sharing) = &mut self.sharing else {
                break;
            };
            match sharing.lapsed(number, lease) {
                Some(over) => {
                    sharing.lapsed.insert(number, over);
                    self.next = self.next.min(number);
                    news |= self.elsewhere.remove(&number);
                }
                None => {
                    sharing.lapsed.remove(&number);
                    self.elsewhere.insert(number);
                }
            }
        }
        Ok(news)
    }

    /// Calls the storage, again and again for a while where it may answer later. Every call may be repeated.
    pub(super) fn patiently<T>(
        &self,
        call: impl Fn(&dyn Storage, &str) -> Result<T, StorageError>,
    ) -> Result<T, StudyError> {
        let patience = self.sharing.as_ref().map(|s| s.share.patience);
        let begun = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            match call(&*self.storage, &self.name) {
                Err(error)
                    if error.may_pass()
                        && patience.is_some_and(|most| begun.elapsed() < most)
                        && !self.is_stopped() =>
                {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                other => return Ok(other?),
            }
        }
    }
}
