//! The study: asks for trials, keeps their results, and holds the sequence rule.
//!
//! **The sequence rule.** A study is a sequence, not a race. With `c` trials at once, trial `k` sees exactly the
//! finished trials `0 ..= k − c`, and of the trials `k − c + 1 .. k` the parameters as they were known when those
//! were asked for, whether or not they have finished since. So trial `k` begins when all trials up to `k − c` are
//! finished. Its random numbers come from the study's seed and `k`. Hence the same seed gives the same trials on
//! any number of threads, interrupted or not: threads, time limits and crashes decide only how many there are.
//!
//! What is known of a trial when it is asked for: all parameters if the study has a declared [`Space`], since they
//! are drawn at that moment; otherwise what the sampler proposed together and what was enqueued.
//!
//! Every trial is written to the storage when it begins and when it ends. After a crash, trials that had begun and
//! not ended are run again under their numbers, with the same parameters.

mod builder;
mod error;
mod observer;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value as Json;

use crate::clock::{Clock, Timestamp};
use crate::seed::Seed;

use super::declared::Space;
use super::objective::{Stop, Values};
use super::record::{Attrs, Direction, TrialRecord, TrialState};
use super::sampler::Sampler;
use super::space::{Params, Value};
use super::storage::Storage;
use super::trial::{Trial, View};

pub use builder::StudyBuilder;
pub use error::StudyError;
pub use observer::{Observer, Progress};
pub use schedule::{Budget, Ended, StopHandle};

/// The system attribute with enqueued values, one JSON object from name to value, as Optuna reads it.
pub const FIXED_PARAMS: &str = "fixed_params";
/// The system attribute that tells why a trial failed.
pub const FAIL_REASON: &str = "fail_reason";

/// A study in progress. See the [module](self) for what it promises.
pub struct Study {
    name: String,
    directions: Arc<[Direction]>,
    seed: u64,
    concurrency: u64,
    sampler: Arc<dyn Sampler>,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    space: Option<Space>,
    observers: Vec<Box<dyn Observer>>,
    stop: Arc<AtomicBool>,

    /// Every trial, by number.
    trials: Vec<Arc<TrialRecord>>,
    /// The finished trials from 0 on up to the first unfinished one.
    history: Arc<Vec<Arc<TrialRecord>>>,
    /// The number of the trial that is begun next: the smallest that is neither finished nor live.
    next: u64,
    /// Trials begun by this process and not finished.
    live: BTreeSet<u64>,
    /// Parameters as known when asked, of the trials that a later trial may still see as pending.
    shown: BTreeMap<u64, Params>,
    progress: Progress,
}

impl Study {
    /// Begins the description of a study that is created or continued by [`StudyBuilder::open`].
    pub fn builder(name: impl Into<String>) -> StudyBuilder {
        StudyBuilder::new(name.into())
    }

    /// The study's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One per objective value.
    pub fn directions(&self) -> &[Direction] {
        &self.directions
    }

    /// The seed that every random decision of the study comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The declared space, if there is one.
    pub fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// Every trial by number, finished or not.
    pub fn trials(&self) -> &[Arc<TrialRecord>] {
        &self.trials
    }

    /// Counts, and the best trial so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The complete trial with the best value; of equals, the one with the smallest number. `None` when no trial
    /// is complete or the study has several directions.
    pub fn best(&self) -> Option<Arc<TrialRecord>> {
        self.progress.best.clone()
    }

    /// Adds an observer, which is told of trials from now on.
    pub fn observe(&mut self, observer: impl Observer + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// A handle that stops [`Study::optimize`] from another thread or a signal handler.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.stop))
    }

    /// Notes something about the study under `key`.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn set_attr(
        &mut self,
        key: impl Into<String>,
        value: impl Into<Json>,
    ) -> Result<(), StudyError> {
        let attrs = Attrs::from([(key.into(), value.into())]);
        self.storage
            .annotate_study(&self.name, &attrs, &Attrs::new())?;
        Ok(())
    }

    /// Adds a trial with given values; parameters without one are drawn. It takes the next free number, which is
    /// returned, and runs in its turn.
    ///
    /// # Errors
    /// With a declared space, when a name is not in it or a value not in its domain; when a value is not finite;
    /// when the storage fails.
    pub fn enqueue<N: Into<String>, V: Into<Value>>(
        &mut self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Result<u64, StudyError> {
        let mut fixed = BTreeMap::new();
        for (name, value) in params {
            let (name, value) = (name.into(), value.into());
            self.check_fixed(&name, &value)?;
            fixed.insert(name, value);
        }
        let number = self.trials.len() as u64;
        let mut record = TrialRecord::waiting(number);
        // Names and finite values always have a JSON form.
        let json = serde_json::to_value(&fixed).unwrap_or_default();
        record.system_attrs.insert(FIXED_PARAMS.to_owned(), json);
        self.storage.write_trial(&self.name, &record)?;
        self.put(record);
        Ok(number)
    }

    fn check_fixed(&self, name: &str, value: &Value) -> Result<(), StudyError> {
        let refuse = |why: String| StudyError::Enqueue {
            name: name.to_owned(),
            why,
        };
        if let Value::Float(v) = value
            && !v.is_finite()
        {
            return Err(refuse(format!("{v} is not a finite number")));
        }
        let Some(space) = &self.space else {
            return Ok(());
        };
        let Some(param) = space.param(name) else {
            let known: Vec<&str> = space.params().iter().map(|p| p.name.as_str()).collect();
            return Err(refuse(format!(
                "the space has no such parameter; it has: {}",
                known.join(", ")
            )));
        };
        match param.domain.internal(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Begins the next trial, to be run by the caller and given back to [`Study::tell`].
    ///
    /// # Errors
    /// [`StudyError::Window`] when the trial may not begin before an earlier one is told; when the storage fails.
    pub fn ask(&mut self) -> Result<Trial, StudyError> {
        loop {
            if let Some(trial) = self.begin()? {
                return Ok(trial);
            }
        }
    }

    /// Ends a trial of [`Study::ask`] with its value or the reason why there is none.
    ///
    /// # Errors
    /// When the trial is not of this study or told already; when the storage fails.
    pub fn tell(
        &mut self,
        trial: Trial,
        outcome: Result<f64, Stop>,
    ) -> Result<Arc<TrialRecord>, StudyError> {
        let now = self.clock.now();
        self.finish(trial, outcome.map(Values::from), now)
    }

    /// [`Study::tell`] for several directions: one value per direction.
    ///
    /// # Errors
    /// As [`Study::tell`].
    pub fn tell_multi(
        &mut self,
        trial: Trial,
        outcome: Result<Vec<f64>, Stop>,
    ) -> Result<Arc<TrialRecord>, StudyError> {
        let now = self.clock.now();
        self.finish(trial, outcome.map(Values), now)
    }

    /// Begins trial `self.next`. `None` when it failed at once, because an enqueued value does not fit.
    fn begin(&mut self) -> Result<Option<Trial>, StudyError> {
        let number = self.next;
        if !self.may_begin(number) {
            return Err(self.window_error());
        }
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
        let proposed = view.sampler.propose(&view.context(number));
        let mut trial = Trial {
            fixed: fixed_params(&record),
            record,
            view,
            proposed,
        };
        let drawn = match &self.space {
            Some(space) => space.suggest(&mut trial).map(drop),
            None => Ok(()),
        };
        if let Some(before) = before {
            self.check_same_params(&before, &trial)?;
        }

        self.storage.write_trial(&self.name, &trial.record)?;
        let started = self.put(trial.record.clone());
        self.live.insert(number);
        self.show(number, self.known_when_asked(&trial));
        self.advance();
        for observer in &mut self.observers {
            observer.trial_started(&started);
        }
        match drawn {
            Ok(()) => Ok(Some(trial)),
            Err(error) => {
                let now = self.clock.now();
                self.finish(trial, Err(error.into()), now)?;
                Ok(None)
            }
        }
    }

    /// Ends a live trial.
    fn finish(
        &mut self,
        trial: Trial,
        outcome: Result<Values, Stop>,
        finished: Timestamp,
    ) -> Result<Arc<TrialRecord>, StudyError> {
        // The view goes first: while a trial holds it, adding to the history would copy it.
        let Trial {
            mut record, view, ..
        } = trial;
        drop(view);
        if !self.live.contains(&record.number) {
            return Err(StudyError::NotAsked {
                number: record.number,
            });
        }
        record.finished = Some(finished);
        match outcome.and_then(|values| self.check_values(values)) {
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
        self.storage.write_trial(&self.name, &record)?;
        self.live.remove(&record.number);
        let record = self.put(record);
        self.advance();
        for observer in &mut self.observers {
            observer.trial_finished(&record, &self.progress);
        }
        Ok(record)
    }

    fn check_values(&self, values: Values) -> Result<Vec<f64>, Stop> {
        let Values(values) = values;
        if values.len() != self.directions.len() {
            return Err(Stop::Failed(format!(
                "the objective returned {} values, the study has {} directions",
                values.len(),
                self.directions.len()
            )));
        }
        if values.iter().any(|v| v.is_nan()) {
            return Err(Stop::failed("the objective returned NaN"));
        }
        Ok(values)
    }

    /// Whether the sequence rule lets trial `number` begin.
    fn may_begin(&self, number: u64) -> bool {
        number < self.history.len() as u64 + self.concurrency
    }

    fn window_error(&self) -> StudyError {
        StudyError::Window {
            number: self.next,
            oldest: self.history.len() as u64,
            concurrency: self.concurrency,
        }
    }

    /// What trial `number` may see.
    fn view(&self, number: u64) -> View {
        let visible = (number + 1).saturating_sub(self.concurrency);
        let pending = self.shown.range(visible..number);
        View {
            history: Arc::clone(&self.history),
            // Only a study that another program wrote may have fewer.
            visible: (visible as usize).min(self.history.len()),
            pending: pending.map(|(_, params)| params.clone()).collect(),
            directions: Arc::clone(&self.directions),
            sampler: Arc::clone(&self.sampler),
            seed: Seed::root(self.seed).child("trial", number),
        }
    }

    /// What later trials see of a trial while it is pending for them.
    fn known_when_asked(&self, trial: &Trial) -> Params {
        if self.space.is_some() {
            return trial.record.params.clone();
        }
        let mut known = trial.proposed.clone();
        for assignment in &mut known.0 {
            if let Some(value) = trial.fixed.get(&assignment.name)
                && let Ok(internal) = assignment.domain.internal(value)
            {
                assignment.internal = internal;
            }
        }
        known
    }

    fn show(&mut self, number: u64, params: Params) {
        self.shown.insert(number, params);
        // No trial from the first unfinished one on sees this far back.
        let oldest = (self.history.len() as u64 + 1).saturating_sub(self.concurrency);
        if self
            .shown
            .first_key_value()
            .is_some_and(|(&n, _)| n < oldest)
        {
            self.shown = self.shown.split_off(&oldest);
        }
    }

    /// Puts a record in its place and counts it.
    fn put(&mut self, record: TrialRecord) -> Arc<TrialRecord> {
        let record = Arc::new(record);
        let at = record.number as usize;
        let before = self.trials.get(at).map(|t| t.state);
        self.progress.count(before, &record, &self.directions);
        if at < self.trials.len() {
            self.trials[at] = Arc::clone(&record);
        } else {
            self.trials.push(Arc::clone(&record));
        }
        record
    }

    /// Moves the end of the history and the next number over what is finished.
    fn advance(&mut self) {
        let finished = |t: &&Arc<TrialRecord>| t.state.is_finished();
        let known = self.history.len();
        let more = self.trials[known..].iter().take_while(finished).count();
        if more > 0 {
            let history = Arc::make_mut(&mut self.history);
            history.extend_from_slice(&self.trials[known..known + more]);
        }
        while let Some(trial) = self.trials.get(self.next as usize)
            && (trial.state.is_finished() || self.live.contains(&self.next))
        {
            self.next += 1;
        }
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

/// The values that were enqueued for a trial; none if the attribute is absent or no object.
fn fixed_params(record: &TrialRecord) -> BTreeMap<String, Value> {
    let Some(Json::Object(object)) = record.system_attrs.get(FIXED_PARAMS) else {
        return BTreeMap::new();
    };
    object
        .iter()
        .filter_map(|(name, json)| {
            let value = serde_json::from_value(json.clone()).ok()?;
            Some((name.clone(), value))
        })
        .collect()
}
