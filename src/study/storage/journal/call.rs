//! Writes of trials: which claims hold, and the lines of those that do.

use std::collections::BTreeMap;

use crate::clock::{Clock as _, SystemClock};

use super::super::{Claim, Lease, StorageError, Write, Wrote, check_values};
use super::lines::Lines;
use super::replay::{Holding, Kept, Trial};

/// A lease that is taken or renewed now.
pub(super) fn begun(lease: &Lease, beat: u64) -> Holding {
    Holding {
        lease: lease.clone(),
        beat,
        renewed: SystemClock.now(),
    }
}

/// A call of [`Storage::write`] while its lines are made.
pub(super) struct Call<'a> {
    study: usize,
    kept: &'a Kept,
    next_id: usize,
    next_number: u64,
    /// Trials as the earlier writes of the call left them.
    changed: BTreeMap<u64, Trial>,
    lines: &'a mut Lines,
}

impl<'a> Call<'a> {
    /// A call on the study `id`, where the next new trial gets the id `next_id`.
    pub fn new(id: usize, kept: &'a Kept, next_id: usize, lines: &'a mut Lines) -> Self {
        Call {
            study: id,
            kept,
            next_id,
            next_number: kept.trials.len() as u64,
            changed: BTreeMap::new(),
            lines,
        }
    }

    /// Makes the lines of one trial, if its claim holds.
    pub fn write(&mut self, write: &Write<'_>) -> Result<Wrote, StorageError> {
        let study = &self.kept.study;
        let name = || study.name.clone();
        let Write { trial, claim } = *write;
        let number = trial.number;
        check_values(&study.name, trial, study.directions.len())?;
        if number > self.next_number {
            return Err(StorageError::NumberGap {
                study: name(),
                number,
                next: self.next_number,
            });
        }
        let before = match self.changed.get(&number) {
            None => self.kept.trials.get(number as usize),
            changed => changed,
        };
        let record = before.map(|t| &t.record);
        let finished = record.is_some_and(|t| t.state.is_finished());
        if finished && matches!(claim, Claim::Alone) {
            return Err(StorageError::TrialFinished {
                study: name(),
                number,
            });
        }
        let holding = before.and_then(|t| t.lease.as_ref());
        if !write.holds(record, holding.map(|h| &h.lease)) {
            return Ok(Wrote::Refused);
        }
        if finished {
            // By this very write, and nobody knew.
            return Ok(Wrote::Done);
        }
        let lease = match claim {
            Claim::Begin { lease, .. } if !trial.state.is_finished() => Some(begun(lease, 0)),
            _ => None,
        };
        let id = match before {
            Some(before) => {
                self.lines.update_trial(before, trial, lease.as_ref());
                before.id
            }
            None => {
                self.lines.create_trial(self.study, trial, lease.as_ref());
                self.next_id += 1;
                self.next_number += 1;
                self.next_id - 1
            }
        };
        let record = trial.clone();
        self.changed.insert(number, Trial { id, record, lease });
        Ok(Wrote::Done)
    }
}
