//! Trials begin and end. Several that begin or end at the same moment are one transaction.
//!
//! A trial begins in memory first, since the next one may see it as pending, and runs only when it is stored; if that
//! fails, it never began. It ends in the storage first, and counts only then.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::study::objective::{Stop, Values};
use crate::study::record::{TrialRecord, TrialState};
use crate::study::space::Value;
use crate::study::storage::{Claim, Lease, Write, Wrote};
use crate::study::time_limit::TimeLimit;
use crate::study::trial::{Trial, TrialError};

use super::{DRAWN_BY, FAIL_REASON, Progress, Study, StudyError, fixed_params};

/// A trial that has begun in memory and is not stored.
pub(super) struct Begun {
    trial: Trial,
    drawn: Result<(), TrialError>,
    /// What was known of it before.
    before: Option<Arc<TrialRecord>>,
    /// The lease that it is begun under, and the one that is taken over.
    lease: Option<(Lease, Option<Lease>)>,
}

/// A trial that ran, what it came to, and when.
pub(super) type Ran = (Trial, Result<Values, Stop>, Timestamp);

impl Study {
    /// Begins trial `self.next`. `None` when it failed at once, because an enqueued value does not fit, or when another
    /// process took it.
    pub(super) fn begin(&mut self) -> Result<Option<Trial>, StudyError> {
        if !self.may_begin(self.next) {
            return Err(self.window_error());
        }
        let begun = self.prepare()?;
        Ok(self.store_begun(vec![begun])?.pop())
    }

    /// Begins trial `self.next`, which may begin, in memory. What is returned must be stored by
    /// [`Study::store_begun`].
    pub(super) fn prepare(&mut self) -> Result<Begun, StudyError> {
        let number = self.next;
        // Waiting, or running when an earlier process died.
        let before = self.trials.get(number as usize).cloned();
        let mut record = TrialRecord::waiting(number);
        if let Some(before) = &before {
            record.user_attrs.clone_from(&before.user_attrs);
            record.system_attrs.clone_from(&before.system_attrs);
        }
        record.state = TrialState::Running;
        record.started = Some(self.clock.now());

        let view = self.view(number);
        let context = view.context(number);
        let proposed = view.sampler.propose(&context);
        if let Some(how) = view.sampler.explain(&context) {
            record.system_attrs.insert(DRAWN_BY.to_owned(), how.into());
        }
        let fixed = fixed_params(&record);
        let mut trial = Trial::new(record, view, proposed, fixed);
        trial.limit = self
            .trial_timeout
            .map(|limit| TimeLimit::new(Arc::clone(&self.clock), limit));
        self.look_ahead(&mut trial);
        let drawn = match &self.space {
            Some(space) => space.suggest(&mut trial).map(drop),
            None => Ok(()),
        };
        if let Some(before) = &before {
            self.check_same_params(before, &trial)?;
        }

        self.put(trial.record.clone());
        self.live.insert(number);
        let shown = self.shown_of(&trial);
        self.show(number, shown);
        self.advance();
        Ok(Begun {
            trial,
            drawn,
            before,
            lease: self.sharing.as_mut().map(|s| s.lease(number)),
        })
    }

    /// Stores trials that began in memory, in one transaction, and returns those that run. If it fails, none began.
    pub(super) fn store_begun(&mut self, begun: Vec<Begun>) -> Result<Vec<Trial>, StudyError> {
        if begun.is_empty() {
            return Ok(Vec::new());
        }
        let write = |b: &'_ Begun| -> (TrialRecord, Option<(Lease, Option<Lease>)>) {
            (b.trial.record.clone(), b.lease.clone())
        };
        let rows: Vec<_> = begun.iter().map(write).collect();
        let writes: Vec<Write<'_>> = rows
            .iter()
            .map(|(trial, lease)| Write {
                trial,
                claim: match lease {
                    None => Claim::Alone,
                    Some((lease, over)) => Claim::Begin {
                        lease,
                        over: over.as_ref(),
                    },
                },
            })
            .collect();
        let wrote = match self.patiently(|storage, name| storage.write(name, &writes)) {
            Ok(wrote) => wrote,
            Err(error) => {
                self.undo(&begun);
                return Err(error);
            }
        };
        let mut running = Vec::with_capacity(begun.len());
        let mut failed = Vec::new();
        for (begun, wrote) in begun.into_iter().zip(wrote) {
            let number = begun.trial.record.number;
            let sharing = self.sharing.as_mut().zip(begun.lease);
            if wrote == Wrote::Refused {
                self.live.remove(&number);
                self.elsewhere.insert(number);
                if let Some((sharing, _)) = sharing {
                    sharing.must_look = true;
                }
                continue;
            }
            if let Some((sharing, (lease, _))) = sharing {
                sharing.hold(number, lease);
            }
            for observer in &mut self.observers {
                observer.trial_started(&begun.trial.record);
            }
            match begun.drawn {
                Ok(()) => running.push(begun.trial),
                Err(error) => failed.push((begun.trial, Err(error.into()), self.clock.now())),
            }
        }
        self.finish_all(failed)?;
        Ok(running)
    }

    /// Takes back trials that began in memory.
    fn undo(&mut self, begun: &[Begun]) {
        for begun in begun.iter().rev() {
            let number = begun.trial.record.number;
            self.live.remove(&number);
            self.shown.remove(&number);
            self.next = self.next.min(number);
            match &begun.before {
                Some(before) => self.trials[number as usize] = Arc::clone(before),
                None => self.trials.truncate(number as usize),
            }
        }
        self.progress = Progress::default();
        for trial in &self.trials {
            self.progress.count(None, trial, &self.directions);
        }
    }

    /// Ends a live trial. `None` when another process has taken it over.
    pub(super) fn finish(
        &mut self,
        trial: Trial,
        outcome: Result<Values, Stop>,
        finished: Timestamp,
    ) -> Result<Option<Arc<TrialRecord>>, StudyError> {
        let mut ended = self.finish_all(vec![(trial, outcome, finished)])?;
        Ok(ended.pop().flatten())
    }

    /// Ends live trials in one transaction. Of each its record, or `None` when another process has taken it over.
    pub(super) fn finish_all(
        &mut self,
        ran: Vec<Ran>,
    ) -> Result<Vec<Option<Arc<TrialRecord>>>, StudyError> {
        let mut records = Vec::with_capacity(ran.len());
        for (trial, outcome, finished) in ran {
            // The view goes first: while a trial holds it, adding to the history would copy it.
            let Trial {
                mut record,
                view,
                limit,
                ..
            } = trial;
            drop(view);
            let outcome = match limit.and_then(|l| l.exceeded(finished)) {
                // A trial that failed by itself keeps its own reason.
                Some(why) if !matches!(outcome, Err(Stop::Failed(_))) => Err(Stop::Failed(why)),
                _ => outcome,
            };
            if !self.live.contains(&record.number) {
                return Err(StudyError::NotAsked {
                    number: record.number,
                });
            }
            conclude(&mut record, outcome, self.directions.len(), finished);
            records.push(record);
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let sharing = self.sharing.as_ref();
        let leases: Vec<Option<Lease>> = records
            .iter()
            .map(|record| sharing.and_then(|s| s.held(record.number)))
            .collect();
        let write = |(trial, lease)| Write {
            trial,
            claim: Option::as_ref(lease).map_or(Claim::Alone, Claim::End),
        };
        let writes: Vec<Write<'_>> = records.iter().zip(&leases).map(write).collect();
        let wrote = self.patiently(|storage, name| storage.write(name, &writes))?;
        let mut ended = Vec::with_capacity(records.len());
        for (record, wrote) in records.into_iter().zip(wrote) {
            let number = record.number;
            self.live.remove(&number);
            if let Some(sharing) = &mut self.sharing {
                sharing.release(number);
            }
            if wrote == Wrote::Refused {
                self.elsewhere.insert(number);
                if let Some(sharing) = &mut self.sharing {
                    sharing.must_look = true;
                }
                ended.push(None);
                continue;
            }
            let record = self.put(record);
            self.advance();
            for observer in &mut self.observers {
                observer.trial_finished(&record, &self.progress);
            }
            ended.push(Some(record));
        }
        Ok(ended)
    }

    /// A trial that is run again must get the parameters that were stored when it first began.
    fn check_same_params(&self, before: &TrialRecord, trial: &Trial) -> Result<(), StudyError> {
        let now = trial.params();
        if before.state != TrialState::Running || before.params.0.is_empty() || self.space.is_none()
        {
            return Ok(());
        }
        let differs = before
            .params
            .0
            .iter()
            .find(|a| now.assignment(&a.name) != Some(a));
        match differs {
            None => Ok(()),
            Some(stored) => Err(StudyError::Diverged {
                study: self.name.clone(),
                number: before.number,
                name: stored.name.clone(),
                stored: stored.value(),
                now: now
                    .assignment(&stored.name)
                    .map_or(Value::Null, |a| a.value()),
            }),
        }
    }
}

/// Writes into `record` how its trial ended.
pub(super) fn conclude(
    record: &mut TrialRecord,
    outcome: Result<Values, Stop>,
    directions: usize,
    finished: Timestamp,
) {
    record.finished = Some(finished);
    match outcome.and_then(|values| check_values(values, directions)) {
        Ok(values) => {
            record.state = TrialState::Complete;
            record.values = values;
        }
        Err(Stop::Pruned) => record.state = TrialState::Pruned,
        Err(Stop::Failed(why)) => {
            record.state = TrialState::Fail;
            record
                .system_attrs
                .insert(FAIL_REASON.to_owned(), Json::String(why));
        }
    }
}

fn check_values(Values(values): Values, directions: usize) -> Result<Vec<f64>, Stop> {
    if values.len() != directions {
        return Err(Stop::Failed(format!(
            "the objective returned {} values, the study has {directions} directions",
            values.len(),
        )));
    }
    if values.iter().any(|v| v.is_nan()) {
        return Err(Stop::failed("the objective returned NaN"));
    }
    Ok(values)
}
