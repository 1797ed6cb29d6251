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

mod add;
mod ahead;
mod builder;
mod error;
mod observer;
mod schedule;
mod share;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value as Json;

use crate::clock::Clock;
use crate::seed::Seed;

use super::declared::Space;
use super::objective::{Stop, Values};
use super::pareto;
use super::pruner::Pruner;
use super::record::{Attrs, Direction, TrialRecord, TrialState};
use super::sampler::Sampler;
use super::space::{Params, Value};
use super::stopper::Stopper;
use super::storage::{Claim, Lease, Storage, StorageError, Write, Wrote};
use super::trial::{Trial, View, constrain};
use super::visited::Visited;

pub use add::ADDED;
pub use ahead::Exhausted;
pub use builder::StudyBuilder;
pub use error::StudyError;
pub use observer::{Observer, Progress};
pub use schedule::{Budget, Ended, StopHandle};
pub use share::Share;

use share::Sharing;
use turn::conclude;

/// The system attribute with enqueued values, one JSON object from name to value, as Optuna reads it.
pub const FIXED_PARAMS: &str = "fixed_params";
/// The system attribute that tells how a trial was drawn and why, when its sampler has a choice.
pub const DRAWN_BY: &str = "automl:drawn_by";
/// The system attribute that tells why a trial failed.
pub const FAIL_REASON: &str = "fail_reason";

/// A study in progress. See the [module](self) for what it promises.
pub struct Study {
    name: String,
    directions: Arc<[Direction]>,
    seed: u64,
    concurrency: u64,
    sampler: Arc<dyn Sampler>,
    pruner: Arc<dyn Pruner>,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    space: Option<Space>,
    observers: Vec<Box<dyn Observer>>,
    stoppers: Vec<Box<dyn Stopper>>,
    trial_timeout: Option<Duration>,
    on_exhausted: Exhausted,
    stop: Arc<AtomicBool>,

    /// Every trial, by number.
    trials: Vec<Arc<TrialRecord>>,
    /// The finished trials from 0 on up to the first unfinished one.
    history: Arc<Vec<Arc<TrialRecord>>>,
    /// The number of the trial that is begun next: the smallest that is neither finished nor live.
    next: u64,
    /// Trials begun by this process and not finished.
    live: BTreeSet<u64>,
    /// Trials that other processes have begun and may still end.
    elsewhere: BTreeSet<u64>,
    /// What is known of those processes, when there may be any.
    sharing: Option<Sharing>,
    /// Parameters as known when asked, of the trials that a later trial may still see as pending.
    shown: BTreeMap<u64, Shown>,
    /// Which points the trials of `history` tried.
    visited: Arc<RwLock<Visited>>,
    progress: Progress,
}

/// What later trials see of one that is pending for them.
struct Shown {
    params: Params,
    /// Whether these are all of its parameters.
    whole: bool,
    /// The trial before its first draw, when `params` are not all and may become known.
    trial: Option<Arc<Trial>>,
}

impl Shown {
    /// Of a trial all of whose parameters are known.
    fn whole(params: Params) -> Self {
        Shown {
            params,
            whole: true,
            trial: None,
        }
    }
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

    /// The complete trial with the best value of those whose constraints hold; of equals, the one with the smallest
    /// number. `None` when there is no such trial or the study has several directions.
    pub fn best(&self) -> Option<Arc<TrialRecord>> {
        self.progress.best.clone()
    }

    /// The complete trials that hold their constraints and that no other such trial beats, by number: nowhere worse and
    /// somewhere better. With one direction, those with the best value.
    pub fn pareto_front(&self) -> Vec<Arc<TrialRecord>> {
        let eligible: Vec<_> = self.trials.iter().filter(|t| t.is_eligible()).collect();
        let losses = |t: &&Arc<TrialRecord>| t.losses(&self.directions);
        let points: Vec<Vec<f64>> = eligible.iter().map(losses).collect();
        let front = pareto::front(&points).into_iter();
        front.map(|at| Arc::clone(eligible[at])).collect()
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
        self.add_waiting(&fixed)
    }

    /// As [`Study::enqueue`], unless a trial of the study was enqueued with the same values, or has exactly these
    /// parameters and was not enqueued: then `None`. Numbers that differ by a hundred-thousandth are the same, as in
    /// Optuna's `skip_if_exists`.
    ///
    /// # Errors
    /// As [`Study::enqueue`].
    pub fn enqueue_if_new<N: Into<String>, V: Into<Value>>(
        &mut self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Option<u64>, StudyError> {
        let mut fixed = BTreeMap::new();
        for (name, value) in params {
            let (name, value) = (name.into(), value.into());
            self.check_fixed(&name, &value)?;
            fixed.insert(name, value);
        }
        if self.trials.iter().any(|trial| same_point(trial, &fixed)) {
            return Ok(None);
        }
        self.add_waiting(&fixed).map(Some)
    }

    fn add_waiting(&mut self, fixed: &BTreeMap<String, Value>) -> Result<u64, StudyError> {
        let number = self.trials.len() as u64;
        let mut record = TrialRecord::waiting(number);
        // Names and finite values always have a JSON form.
        let json = serde_json::to_value(fixed).unwrap_or_default();
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

    /// Leaves alone the trials that other processes asked for and have not told, for scripts that ask in one process
    /// and tell in another: [`Study::ask`] begins the next trial and counts those as in flight. Without this call they
    /// are taken for trials that a crash left behind, and begun again.
    pub fn leave_running(&mut self) {
        let running = |t: &&Arc<TrialRecord>| t.state == TrialState::Running;
        let numbers = self.trials.iter().filter(running).map(|t| t.number);
        self.elsewhere.extend(numbers);
        self.advance();
    }

    /// The lease under which this process runs a trial, if it does and shares the study.
    pub fn lease(&self, number: u64) -> Option<Lease> {
        self.sharing.as_ref()?.held(number)
    }

    /// Ends a trial that another process asked for, knowing no more than the storage does. What the study's settings
    /// are does not matter, since a result is no decision of the study. With a `token` it counts only if the trial's lease
    /// still has it, so only if nobody has taken the trial over. `constraints` are the values of its constraints,
    /// if it has any; see [`Trial::constrain`]. If one is NaN, the trial has failed.
    ///
    /// # Errors
    /// When there is no such study, or no such trial in flight; when the storage fails.
    pub fn tell_stored(
        storage: &dyn Storage,
        clock: &dyn Clock,
        study: &str,
        number: u64,
        token: Option<u64>,
        outcome: Result<Vec<f64>, Stop>,
        constraints: Option<Vec<f64>>,
    ) -> Result<TrialRecord, StudyError> {
        let no_study = || StorageError::NoStudy {
            name: study.to_owned(),
        };
        let stored = storage.load_study(study)?.ok_or_else(no_study)?;
        let mut trials = storage.load_trials(study)?;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if trials
            .get(at)
            .is_none_or(|t| t.state == TrialState::Waiting)
        {
            return Err(StudyError::NotAsked { number });
        }
        let mut record = trials.swap_remove(at);
        if record.state.is_finished() {
            return Err(StudyError::Told {
                number,
                study: study.to_owned(),
            });
        }
        let held = storage.leases(study)?.into_iter();
        let lease = held
            .map(|held| (held.number, held.lease))
            .find(|held| held.0 == number);
        let lease = lease.map(|(_, lease)| lease);
        let held = lease.as_ref().map(|lease| lease.token);
        if token.is_some() && token != held {
            return Err(StudyError::TakenOver { number });
        }
        let constrained = match constraints {
            Some(values) => constrain(&mut record, values),
            None => Ok(()),
        };
        let outcome = outcome.and_then(|values| Ok(constrained.map(|()| Values(values))?));
        conclude(&mut record, outcome, stored.directions.len(), clock.now());
        let write = Write {
            trial: &record,
            claim: lease.as_ref().map_or(Claim::Alone, Claim::End),
        };
        match storage.write(study, &[write])?[..] {
            [Wrote::Done] => Ok(record),
            _ => Err(StudyError::TakenOver { number }),
        }
    }

    /// Begins the next trial, to be run by the caller and given back to [`Study::tell`].
    ///
    /// # Errors
    /// [`StudyError::Window`] when the trial may not begin before an earlier one is told; [`StudyError::Exhausted`]
    /// when every point of a discrete space was tried; when the storage fails.
    pub fn ask(&mut self) -> Result<Trial, StudyError> {
        loop {
            if self.may_begin(self.next) && self.exhausted() {
                return Err(StudyError::Exhausted {
                    study: self.name.clone(),
                });
            }
            if let Some(trial) = self.begin()? {
                return Ok(trial);
            }
            self.catch_up()?;
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
        let number = trial.number();
        let ended = self.finish(trial, outcome.map(Values::from), now)?;
        ended.ok_or(StudyError::TakenOver { number })
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
        let number = trial.number();
        let ended = self.finish(trial, outcome.map(Values), now)?;
        ended.ok_or(StudyError::TakenOver { number })
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
    fn view(&mut self, number: u64) -> View {
        let visible = (number + 1).saturating_sub(self.concurrency);
        self.complete_shown(visible, number);
        let pending = || self.shown.range(visible..number).map(|(_, shown)| shown);
        let whole = pending().filter(|shown| shown.whole);
        let peers = match (visible, &self.space) {
            (0, None) => pending().filter_map(|s| s.trial.clone()).collect(),
            _ => Arc::default(),
        };
        View {
            history: Arc::clone(&self.history),
            // Only a study that another program wrote may have fewer.
            visible: (visible as usize).min(self.history.len()),
            pending: pending().map(|shown| shown.params.clone()).collect(),
            points: whole.map(|shown| shown.params.clone()).collect(),
            visited: Arc::clone(&self.visited),
            peers,
            directions: Arc::clone(&self.directions),
            sampler: Arc::clone(&self.sampler),
            pruner: Arc::clone(&self.pruner),
            seed: Seed::root(self.seed).child("trial", number),
            pruner_seed: Seed::root(self.seed).child("pruner", 0),
            study_seed: Seed::root(self.seed),
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

    fn show(&mut self, number: u64, shown: Shown) {
        self.shown.insert(number, shown);
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
            let visited = self.visited.write();
            let mut visited = visited.unwrap_or_else(PoisonError::into_inner);
            for trial in &self.trials[known..known + more] {
                let failed = trial.state == TrialState::Fail;
                visited.add(trial.number, &self.own_params(trial), failed);
            }
        }
        while let Some(trial) = self.trials.get(self.next as usize)
            && (trial.state.is_finished()
                || self.live.contains(&self.next)
                || self.elsewhere.contains(&self.next))
        {
            self.next += 1;
        }
    }
}

/// Whether a trial was enqueued with the values `fixed`, or has these parameters and was not enqueued.
fn same_point(trial: &TrialRecord, fixed: &BTreeMap<String, Value>) -> bool {
    let same = |a: &Value, b: &Value| match (number(a), number(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-5 * b.abs(),
        _ => a == b,
    };
    let before = match trial.system_attrs.contains_key(FIXED_PARAMS) {
        true => fixed_params(trial),
        false => {
            let params = trial.params.iter();
            params.map(|(n, v)| (n.to_owned(), v)).collect()
        }
    };
    before.len() == fixed.len()
        && before
            .iter()
            .all(|(name, value)| fixed.get(name).is_some_and(|new| same(new, value)))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        _ => None,
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
