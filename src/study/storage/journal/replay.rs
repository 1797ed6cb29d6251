//! What the lines of a journal come to, by the rules of Optuna: ids count studies and trials in the order of their
//! lines; studies of a name that is taken, and changes of what is finished or not there, are passed over.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::clock::Timestamp;
use crate::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use crate::study::space::{Assignment, Domain};

use super::super::{Lease, json};
use super::fields::{agree, field, holding, id, numbers, one_attr, state_of, time};

/// The system attribute of a trial with its lease, `null` when that has ended. Not shown in records.
pub(super) const LEASE: &str = "automl:lease";
/// The system attribute that says that what the trial had before counts no more. Not shown in records.
pub(super) const REPLACED: &str = "automl:replaced";
/// What the `worker_id` of this program begins with.
pub(super) const WORKER: &str = "automl/";

/// Distinct domains that are remembered by their text. A study has a few; one whose ranges move has one per trial.
const DOMAINS: usize = 10_000;

/// Studies and trials as the lines so far say.
#[derive(Debug, Default)]
pub(super) struct State {
    /// By id; none where one was deleted.
    studies: Vec<Option<Kept>>,
    /// By id: the study's id, and the number there.
    trials: Vec<(usize, usize)>,
    domains: HashMap<String, Domain>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub study: StudyRecord,
    pub trials: Vec<Trial>,
}

#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub id: usize,
    pub record: TrialRecord,
    pub lease: Option<Holding>,
}

/// A lease, how often it was renewed, and when last.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub lease: Lease,
    pub beat: u64,
    pub renewed: Timestamp,
}

impl State {
    /// The study of this name and its id.
    pub fn find(&self, name: &str) -> Option<(usize, &Kept)> {
        let mut all = self.studies.iter().enumerate();
        all.find_map(|(id, kept)| {
            let kept = kept.as_ref()?;
            (kept.study.name == name).then_some((id, kept))
        })
    }

    /// All studies in the order of creation.
    pub fn studies(&self) -> impl Iterator<Item = &Kept> {
        self.studies.iter().flatten()
    }

    /// The id that a new study gets.
    pub fn next_study(&self) -> usize {
        self.studies.len()
    }

    /// The id that a new trial gets.
    pub fn next_trial(&self) -> usize {
        self.trials.len()
    }

    /// Follows one line. On an error nothing has changed.
    pub fn apply(&mut self, line: &Json) -> Result<(), String> {
        match field(line, "op_code", Json::as_u64)? {
            0 => self.create_study(line),
            1 => {
                let id = id(line, "study_id")?;
                if let Some(study) = self.studies.get_mut(id) {
                    *study = None;
                }
                Ok(())
            }
            2 => self.annotate_study(line, "user_attr"),
            3 => self.annotate_study(line, "system_attr"),
            4 => self.create_trial(line),
            5 => self.set_param(line),
            6 => self.set_state(line),
            7 => {
                let step = field(line, "step", Json::as_i64)?;
                let value = field(line, "intermediate_value", json::real)?;
                if let Some(trial) = self.unfinished(line)? {
                    trial.record.intermediate.insert(step, value);
                }
                Ok(())
            }
            8 => {
                let (key, value) = one_attr(line, "user_attr")?;
                if let Some(trial) = self.unfinished(line)? {
                    trial.record.user_attrs.insert(key, value);
                }
                Ok(())
            }
            9 => {
                let (key, value) = one_attr(line, "system_attr")?;
                if let Some(trial) = self.unfinished(line)? {
                    trial.set_system_attr(key, value);
                }
                Ok(())
            }
            // Another program's, which Optuna passes over.
            10 => Ok(()),
            other => Err(format!(
                "the operation {other} is unknown; was it written by a later release?"
            )),
        }
    }

    fn create_study(&mut self, line: &Json) -> Result<(), String> {
        let name = field(line, "study_name", Json::as_str)?;
        let directions = field(line, "directions", Json::as_array)?;
        let directions = directions.iter().map(|code| match code.as_u64() {
            // Optuna minimizes when nothing was said.
            Some(0 | 1) => Ok(Direction::Minimize),
            Some(2) => Ok(Direction::Maximize),
            _ => Err(format!("the direction {code}")),
        });
        let directions: Vec<Direction> = directions.collect::<Result<_, _>>()?;
        if directions.is_empty() {
            return Err("a study without a direction".to_owned());
        }
        if self.find(name).is_none() {
            let study = StudyRecord {
                name: name.to_owned(),
                directions,
                user_attrs: Attrs::new(),
                system_attrs: Attrs::new(),
            };
            let trials = Vec::new();
            self.studies.push(Some(Kept { study, trials }));
        }
        Ok(())
    }

    fn annotate_study(&mut self, line: &Json, kind: &str) -> Result<(), String> {
        let (key, value) = one_attr(line, kind)?;
        let id = id(line, "study_id")?;
        if let Some(Some(kept)) = self.studies.get_mut(id) {
            let attrs = match kind {
                "user_attr" => &mut kept.study.user_attrs,
                _ => &mut kept.study.system_attrs,
            };
            attrs.insert(key, value);
        }
        Ok(())
    }

    fn create_trial(&mut self, line: &Json) -> Result<(), String> {
        let study = id(line, "study_id")?;
        let mut record = TrialRecord::waiting(0);
        record.state = match line.get("state") {
            None => TrialState::Running,
            Some(code) => state_of(code)?,
        };
        record.started = time(line, "datetime_start")?;
        record.finished = time(line, "datetime_complete")?;
        let nothing = Map::new();
        let object = |key: &str| line.get(key).and_then(Json::as_object).unwrap_or(&nothing);
        let domains = object("distributions");
        for (name, internal) in object("params") {
            let text = domains.get(name).and_then(Json::as_str);
            let text = text.ok_or_else(|| format!("the parameter `{name}` has no distribution"))?;
            let assignment = self.assignment(name, text, internal)?;
            record.params.0.push(assignment);
        }
        for (step, value) in object("intermediate_values") {
            let step = step.parse().map_err(|_| format!("the step `{step}`"))?;
            let value = json::real(value).ok_or_else(|| format!("the report {value}"))?;
            record.intermediate.insert(step, value);
        }
        for (key, value) in object("user_attrs") {
            record.user_attrs.insert(key.clone(), json::plain(value));
        }
        let mut trial = Trial {
            id: self.trials.len(),
            record,
            lease: None,
        };
        for (key, value) in object("system_attrs") {
            trial.set_system_attr(key.clone(), json::plain(value));
        }
        let values = match line.get("values") {
            None | Some(Json::Null) => match line.get("value") {
                None | Some(Json::Null) => None,
                Some(value) => Some(numbers(std::slice::from_ref(value))?),
            },
            Some(_) => Some(numbers(field(line, "values", Json::as_array)?)?),
        };
        trial.set_values(values)?;
        if let Some(Some(kept)) = self.studies.get_mut(study) {
            trial.record.number = kept.trials.len() as u64;
            self.trials.push((study, kept.trials.len()));
            kept.trials.push(trial);
        }
        Ok(())
    }

    fn set_param(&mut self, line: &Json) -> Result<(), String> {
        let name = field(line, "param_name", Json::as_str)?;
        let text = field(line, "distribution", Json::as_str)?;
        let internal = line.get("param_value_internal").unwrap_or(&Json::Null);
        let assignment = self.assignment(name, text, internal)?;
        let ours = line.get("worker_id").and_then(Json::as_str);
        let ours = ours.is_some_and(|worker| worker.starts_with(WORKER));
        let Some(&(study, _)) = self.trials.get(id(line, "trial_id")?) else {
            return Ok(());
        };
        if let Some(Some(kept)) = self.studies.get(study) {
            let mut trials = kept.trials.iter();
            let first = trials.find_map(|trial| trial.record.params.assignment(name));
            // The range of a study of ours may have become another.
            if !ours && first.is_some_and(|first| !agree(&first.domain, &assignment.domain)) {
                return Ok(());
            }
        }
        if let Some(trial) = self.unfinished(line)? {
            let params = &mut trial.record.params.0;
            match params.iter_mut().find(|a| a.name == assignment.name) {
                Some(before) => *before = assignment,
                None => params.push(assignment),
            }
        }
        Ok(())
    }

    fn set_state(&mut self, line: &Json) -> Result<(), String> {
        let state = state_of(line.get("state").unwrap_or(&Json::Null))?;
        let values = match line.get("values") {
            None | Some(Json::Null) => None,
            Some(_) => Some(numbers(field(line, "values", Json::as_array)?)?),
        };
        let (started, finished) = (
            time(line, "datetime_start")?,
            time(line, "datetime_complete")?,
        );
        let Some(trial) = self.unfinished(line)? else {
            return Ok(());
        };
        let running = state == TrialState::Running;
        if running && trial.record.state == state {
            // Two took the trial from the queue, and the other was first.
            return Ok(());
        }
        let mut after = trial.clone();
        after.record.state = state;
        after.set_values(values)?;
        if running {
            after.record.started = started;
        } else {
            after.lease = None;
        }
        if state.is_finished() {
            after.record.finished = finished;
        }
        *trial = after;
        Ok(())
    }

    /// The trial of a line, unless it is finished or its study is gone.
    fn unfinished(&mut self, line: &Json) -> Result<Option<&mut Trial>, String> {
        let place = self.trials.get(id(line, "trial_id")?);
        let trial = place.and_then(|&(study, number)| {
            let kept = self.studies.get_mut(study)?.as_mut()?;
            kept.trials.get_mut(number)
        });
        Ok(trial.filter(|trial| !trial.record.state.is_finished()))
    }

    fn assignment(
        &mut self,
        name: &str,
        text: &str,
        internal: &Json,
    ) -> Result<Assignment, String> {
        let domain = match self.domains.get(text) {
            Some(domain) => domain.clone(),
            None => {
                let domain = json::read_domain(text)
                    .map_err(|what| format!("the parameter `{name}`: {what}"))?;
                if self.domains.len() >= DOMAINS {
                    self.domains.clear();
                }
                self.domains.insert(text.to_owned(), domain.clone());
                domain
            }
        };
        let internal = json::real(internal)
            .filter(|v| !matches!(domain, Domain::Categorical { .. }) || domain.contains(*v))
            .ok_or_else(|| format!("the value {internal} of the parameter `{name}`"))?;
        let name = name.to_owned();
        Ok(Assignment {
            name,
            domain,
            internal,
        })
    }
}

impl Trial {
    fn set_system_attr(&mut self, key: String, value: Json) {
        match key.as_str() {
            LEASE => self.lease = holding(&value),
            REPLACED if value == Json::Bool(true) => {
                let state = self.record.state;
                self.record = TrialRecord::waiting(self.record.number);
                self.record.state = state;
            }
            REPLACED => {}
            _ => drop(self.record.system_attrs.insert(key, value)),
        }
    }

    /// Optuna copies the last report into the value of a pruned trial; a record has values when complete.
    fn set_values(&mut self, values: Option<Vec<f64>>) -> Result<(), String> {
        if self.record.state != TrialState::Complete {
            return Ok(());
        }
        match values {
            Some(values) if !values.is_empty() && !values.iter().any(|v| v.is_nan()) => {
                self.record.values = values;
                Ok(())
            }
            _ => Err("a complete trial without a value".to_owned()),
        }
    }
}
