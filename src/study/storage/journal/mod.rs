//! Studies in one append-only file of JSON lines, in the format of Optuna's journal, for network file systems: nothing
//! is needed of them but that a symbolic link is made once and that a file can be appended to. Optuna may work on the
//! same file at the same time.
//!
//! **Contract.** That of [`Storage`]. One call is one write at the end of the file, under a lock and synchronized to the
//! disk before the call returns. Readers take no lock, read only what is new, and see a call as a whole or not at all.
//! What a crash left at the end of the file is passed over by readers, and set aside by the next writer, see
//! [`JournalStorage::repairs`]. Leases age by the clocks of the machines, which should agree to within a few seconds.
//!
//! Optuna sees leases as the system attribute `automl:lease` of a trial, and knows no way to take a parameter or an
//! attribute back.

mod call;
mod fields;
mod lines;
mod lock;
mod log;
mod replay;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock as _, SystemClock};
use crate::study::record::{Attrs, StudyRecord, TrialRecord, TrialState};

use super::{Held, Lease, Storage, StorageError, Write, Wrote};
use call::{Call, begun};
use lines::Lines;
use lock::FileLock;
use log::View;
use replay::{Kept, State};

pub use log::Repair;

/// A [`Storage`] in one file; see the module.
pub struct JournalStorage {
    path: PathBuf,
    /// How this storage signs its lines.
    worker: String,
    grace: Duration,
    /// Taken before the lock of the file: threads of one process need not wait for each other there.
    turn: Mutex<()>,
    view: Mutex<View>,
    repairs: Mutex<Vec<Repair>>,
    repaired: Mutex<Option<Listener<Repair>>>,
    waits: Mutex<Option<Listener<Path>>>,
}

type Listener<T> = Box<dyn Fn(&T) + Send>;

impl fmt::Debug for JournalStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JournalStorage").field(&self.path).finish()
    }
}

impl JournalStorage {
    /// Opens the journal at `path`, and makes one when there is none. Its folder must exist.
    ///
    /// # Errors
    /// The file cannot be made or read, or holds something else.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        Self::open_with(path, lock::GRACE)
    }

    /// [`JournalStorage::open`] with a time other than 30 s after which a lock that has not changed is taken for that
    /// of a dead process: longer than any write to the file takes, above zero.
    ///
    /// # Errors
    /// As [`JournalStorage::open`].
    pub fn open_with(path: &Path, grace: Duration) -> Result<Self, StorageError> {
        log::create(path)?;
        let (host, process) = (crate::fsio::host(), std::process::id());
        let storage = JournalStorage {
            path: path.to_owned(),
            worker: format!(
                "{}{host}/{process}/{:x}",
                replay::WORKER,
                SystemClock.now().0
            ),
            grace,
            turn: Mutex::new(()),
            view: Mutex::new(View::default()),
            repairs: Mutex::new(Vec::new()),
            repaired: Mutex::new(None),
            waits: Mutex::new(None),
        };
        hold(&storage.view).refresh(path)?;
        Ok(storage)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this storage set aside at the end of the file, in order.
    pub fn repairs(&self) -> Vec<Repair> {
        hold(&self.repairs).clone()
    }

    /// Has `listener` told of every repair from now on.
    pub fn on_repair(&self, listener: impl Fn(&Repair) + Send + 'static) {
        *hold(&self.repaired) = Some(Box::new(listener));
    }

    /// Has `listener` told of the lock whenever a write has to wait for it for more than 3 s.
    pub fn on_wait(&self, listener: impl Fn(&Path) + Send + 'static) {
        *hold(&self.waits) = Some(Box::new(listener));
    }

    /// Sets aside what a crash left at the end of the file now, rather than at the next write.
    ///
    /// # Errors
    /// As a write.
    pub fn mend(&self) -> Result<(), StorageError> {
        if hold(&self.view).refresh(&self.path)? == 0 {
            return Ok(());
        }
        let _turn = hold(&self.turn);
        let _lock = self.lock()?;
        let mut view = hold(&self.view);
        match view.refresh(&self.path)? {
            0 => Ok(()),
            _ => self.repair(&view),
        }
    }

    fn lock(&self) -> Result<FileLock, StorageError> {
        FileLock::acquire(&self.path, self.grace, |lock| {
            if let Some(listener) = &*hold(&self.waits) {
                listener(lock);
            }
        })
    }

    fn repair(&self, view: &View) -> Result<(), StorageError> {
        let repair = log::repair(&self.path, view.offset)?;
        if let Some(listener) = &*hold(&self.repaired) {
            listener(&repair);
        }
        hold(&self.repairs).push(repair);
        Ok(())
    }

    /// Reads what is new.
    fn look<T>(
        &self,
        f: impl FnOnce(&State) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut view = hold(&self.view);
        view.refresh(&self.path)?;
        f(&view.state)
    }

    /// Appends the lines that `f` makes of the current state; none when it fails.
    fn change<T>(
        &self,
        f: impl FnOnce(&State, &mut Lines) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let _turn = hold(&self.turn);
        let mut lock = self.lock()?;
        let mut view = hold(&self.view);
        let mut torn = view.refresh(&self.path)?;
        while !lock.is_held() {
            // This process slept, and others went on.
            lock = self.lock()?;
            torn = view.refresh(&self.path)?;
        }
        let mut lines = Lines::new(&self.worker);
        let out = f(&view.state, &mut lines)?;
        let bytes = lines.into_bytes();
        if bytes.is_empty() {
            return Ok(out);
        }
        if torn > 0 {
            self.repair(&view)?;
        }
        log::append(&self.path, view.offset, &bytes)?;
        view.absorb(&self.path, &bytes)?;
        Ok(out)
    }
}

/// A view is whole after every line, so a poisoned lock still guards whole data.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn existing<'a>(state: &'a State, name: &str) -> Result<(usize, &'a Kept), StorageError> {
    state.find(name).ok_or_else(|| StorageError::NoStudy {
        name: name.to_owned(),
    })
}

impl Storage for JournalStorage {
    fn create_study(&self, study: &StudyRecord) -> Result<(), StorageError> {
        self.change(|state, lines| {
            if state.find(&study.name).is_some() {
                return Err(StorageError::StudyExists {
                    name: study.name.clone(),
                });
            }
            lines.create_study(state.next_study(), study);
            Ok(())
        })
    }

    fn load_study(&self, name: &str) -> Result<Option<StudyRecord>, StorageError> {
        self.look(|state| Ok(state.find(name).map(|(_, kept)| kept.study.clone())))
    }

    fn load_studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        self.look(|state| Ok(state.studies().map(|kept| kept.study.clone()).collect()))
    }

    fn annotate_study(
        &self,
        name: &str,
        user_attrs: &Attrs,
        system_attrs: &Attrs,
    ) -> Result<(), StorageError> {
        self.change(|state, lines| {
            let (id, _) = existing(state, name)?;
            lines.annotate_study(id, user_attrs, system_attrs);
            Ok(())
        })
    }

    fn load_trials_from(&self, study: &str, from: u64) -> Result<Vec<TrialRecord>, StorageError> {
        self.look(|state| {
            let trials = &existing(state, study)?.1.trials;
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let trials = trials.get(from..).unwrap_or_default();
            Ok(trials.iter().map(|trial| trial.record.clone()).collect())
        })
    }

    fn load_changed(
        &self,
        study: &str,
        from: u64,
        known: &[TrialState],
    ) -> Result<Vec<TrialRecord>, StorageError> {
        self.look(|state| {
            let trials = &existing(state, study)?.1.trials;
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let trials = trials.get(from..).unwrap_or_default().iter();
            let changed = trials
                .enumerate()
                .filter(|(i, trial)| known.get(*i) != Some(&trial.record.state));
            Ok(changed.map(|(_, trial)| trial.record.clone()).collect())
        })
    }

    fn write(&self, study: &str, writes: &[Write<'_>]) -> Result<Vec<Wrote>, StorageError> {
        self.change(|state, lines| {
            let (id, kept) = existing(state, study)?;
            let mut call = Call::new(id, kept, state.next_trial(), lines);
            writes.iter().map(|write| call.write(write)).collect()
        })
    }

    fn leases(&self, study: &str) -> Result<Vec<Held>, StorageError> {
        self.look(|state| {
            let trials = existing(state, study)?.1.trials.iter();
            let running = trials.filter(|t| t.record.state == TrialState::Running);
            let now = SystemClock.now();
            let held = running.filter_map(|trial| {
                let holding = trial.lease.as_ref()?;
                Some(Held {
                    number: trial.record.number,
                    lease: holding.lease.clone(),
                    beat: holding.beat,
                    age: now.seconds_since(holding.renewed),
                })
            });
            Ok(held.collect())
        })
    }

    fn renew(&self, study: &str, held: &[(u64, Lease)]) -> Result<Vec<u64>, StorageError> {
        self.change(|state, lines| {
            let trials = &existing(state, study)?.1.trials;
            let mut lost = Vec::new();
            for (number, lease) in held {
                let trial = trials.get(usize::try_from(*number).unwrap_or(usize::MAX));
                let trial = trial.filter(|t| t.record.state == TrialState::Running);
                match trial.and_then(|t| Some((t.id, t.lease.as_ref()?))) {
                    Some((id, holding)) if holding.lease.is(lease) => {
                        lines.set_lease(id, &begun(&holding.lease, holding.beat + 1));
                    }
                    _ => lost.push(*number),
                }
            }
            Ok(lost)
        })
    }
}
