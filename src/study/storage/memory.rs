//! Studies in the memory of this process: for tests, and for studies that nobody needs to resume.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::study::record::{Attrs, StudyRecord, TrialRecord};

use super::{Claim, Held, Lease, Storage, StorageError, Write, Wrote};

/// A [`Storage`] that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Studies>);

#[derive(Debug, Default)]
struct Studies {
    by_name: BTreeMap<String, Kept>,
    /// Names in the order of creation.
    order: Vec<String>,
}

#[derive(Debug)]
struct Kept {
    study: StudyRecord,
    trials: Vec<TrialRecord>,
    /// By number: the lease, how often it was renewed, and when last.
    leases: BTreeMap<u64, (Lease, u64, Instant)>,
}

impl Studies {
    fn study(&mut self, name: &str) -> Result<&mut Kept, StorageError> {
        self.by_name
            .get_mut(name)
            .ok_or_else(|| StorageError::NoStudy {
                name: name.to_owned(),
            })
    }
}

impl Memory {
    /// A storage without studies.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Studies> {
        // No call below can panic half-way through a change, so a poisoned lock still guards whole data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Memory {
    fn create_study(&self, study: &StudyRecord) -> Result<(), StorageError> {
        let mut all = self.lock();
        if all.by_name.contains_key(&study.name) {
            return Err(StorageError::StudyExists {
                name: study.name.clone(),
            });
        }
        all.order.push(study.name.clone());
        let kept = Kept {
            study: study.clone(),
            trials: Vec::new(),
            leases: BTreeMap::new(),
        };
        all.by_name.insert(study.name.clone(), kept);
        Ok(())
    }

    fn load_study(&self, name: &str) -> Result<Option<StudyRecord>, StorageError> {
        Ok(self.lock().by_name.get(name).map(|kept| kept.study.clone()))
    }

    fn load_studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        let all = self.lock();
        let in_order = all.order.iter().filter_map(|name| all.by_name.get(name));
        Ok(in_order.map(|kept| kept.study.clone()).collect())
    }

    fn annotate_study(
        &self,
        name: &str,
        user_attrs: &Attrs,
        system_attrs: &Attrs,
    ) -> Result<(), StorageError> {
        let mut all = self.lock();
        let study = &mut all.study(name)?.study;
        study.user_attrs.extend(user_attrs.clone());
        study.system_attrs.extend(system_attrs.clone());
        Ok(())
    }

    fn load_trials_from(&self, study: &str, from: u64) -> Result<Vec<TrialRecord>, StorageError> {
        let mut all = self.lock();
        let trials = &all.study(study)?.trials;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(trials.get(from..).unwrap_or_default().to_vec())
    }

    fn write(&self, study: &str, writes: &[Write<'_>]) -> Result<Vec<Wrote>, StorageError> {
        let mut all = self.lock();
        let kept = all.study(study)?;
        kept.check(study, writes)?;
        Ok(writes.iter().map(|write| kept.write(write)).collect())
    }

    fn leases(&self, study: &str) -> Result<Vec<Held>, StorageError> {
        let mut all = self.lock();
        let leases = all.study(study)?.leases.iter();
        let held = leases.map(|(&number, (lease, beat, renewed))| Held {
            number,
            lease: lease.clone(),
            beat: *beat,
            age: renewed.elapsed().as_secs_f64(),
        });
        Ok(held.collect())
    }

    fn renew(&self, study: &str, held: &[(u64, Lease)]) -> Result<Vec<u64>, StorageError> {
        let mut all = self.lock();
        let leases = &mut all.study(study)?.leases;
        let mut lost = Vec::new();
        for (number, lease) in held {
            match leases.get_mut(number) {
                Some((kept, beat, renewed)) if kept.is(lease) => {
                    *beat += 1;
                    *renewed = Instant::now();
                }
                _ => lost.push(*number),
            }
        }
        Ok(lost)
    }
}

impl Kept {
    /// Whether all of the writes can be tried: what is wrong with one keeps the others from being written.
    fn check(&self, study: &str, writes: &[Write<'_>]) -> Result<(), StorageError> {
        let mut next = self.trials.len() as u64;
        for Write { trial, claim } in writes {
            let number = trial.number;
            let study = || study.to_owned();
            if number > next {
                let study = study();
                return Err(StorageError::NumberGap {
                    study,
                    number,
                    next,
                });
            }
            let before = self.trials.get(number as usize);
            let finished = before.is_some_and(|t| t.state.is_finished());
            if finished && matches!(claim, Claim::Alone) {
                let study = study();
                return Err(StorageError::TrialFinished { study, number });
            }
            next = next.max(number + 1);
        }
        Ok(())
    }

    fn write(&mut self, write: &Write<'_>) -> Wrote {
        let Write { trial, claim } = write;
        let number = trial.number;
        let before = self.trials.get(number as usize);
        let held = self.leases.get(&number).map(|(lease, _, _)| lease);
        if !write.holds(before, held) {
            return Wrote::Refused;
        }
        match claim {
            Claim::Begin { lease, .. } => {
                let new = ((*lease).clone(), 0, Instant::now());
                self.leases.insert(number, new);
            }
            _ => drop(self.leases.remove(&number)),
        }
        match self.trials.get_mut(number as usize) {
            Some(slot) => slot.clone_from(trial),
            None => self.trials.push((*trial).clone()),
        }
        Wrote::Done
    }
}
