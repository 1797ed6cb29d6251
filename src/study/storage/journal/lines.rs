//! Calls as lines of a journal. All lines of a call say how many of it follow, so that a reader takes the call as a
//! whole.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use crate::study::space::Assignment;

use super::super::json;
use super::fields::{LEFT, NO_TIME, state_code};
use super::replay::{Holding, LEASE, REPLACED, Trial};

/// The lines of one call.
pub(super) struct Lines {
    worker: String,
    /// Without the closing brace.
    lines: Vec<String>,
}

impl Lines {
    pub fn new(worker: &str) -> Self {
        Lines {
            worker: text(worker),
            lines: Vec::new(),
        }
    }

    /// The bytes for the file.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut left = self.lines.len();
        let several = left > 1;
        let mut out = String::new();
        for line in self.lines {
            left -= 1;
            out.push_str(&line);
            if several {
                let _ = write!(out, ",\"{LEFT}\":{left}");
            }
            out.push_str("}\n");
        }
        out.into_bytes()
    }

    /// One operation; `fields` are the pairs after the first two.
    fn push(&mut self, op: u8, fields: &str) {
        let worker = &self.worker;
        let line = format!("{{\"op_code\":{op},\"worker_id\":{worker},{fields}");
        self.lines.push(line);
    }

    pub fn create_study(&mut self, id: usize, study: &StudyRecord) {
        let directions = study.directions.iter().map(|direction| match direction {
            Direction::Minimize => "1",
            Direction::Maximize => "2",
        });
        let directions: Vec<&str> = directions.collect();
        let name = text(&study.name);
        let directions = directions.join(",");
        self.push(
            0,
            &format!("\"study_name\":{name},\"directions\":[{directions}]"),
        );
        self.annotate_study(id, &study.user_attrs, &study.system_attrs);
    }

    pub fn annotate_study(&mut self, id: usize, user_attrs: &Attrs, system_attrs: &Attrs) {
        for (op, kind, attrs) in [
            (2, "user_attr", user_attrs),
            (3, "system_attr", system_attrs),
        ] {
            for (key, value) in attrs {
                let key = text(key);
                self.push(
                    op,
                    &format!("\"study_id\":{id},\"{kind}\":{{{key}:{value}}}"),
                );
            }
        }
    }

    /// A new trial with everything.
    pub fn create_trial(&mut self, study: usize, trial: &TrialRecord, lease: Option<&Holding>) {
        let mut line = format!(
            "\"study_id\":{study},\"datetime_start\":{},\"state\":{}",
            time(trial.started),
            state_code(trial.state)
        );
        if trial.finished.is_some() {
            let _ = write!(line, ",\"datetime_complete\":{}", time(trial.finished));
        }
        let params = &trial.params.0;
        let domains = params
            .iter()
            .map(|a| (&a.name, text(&json::write_domain(&a.domain))));
        let internals = params.iter().map(|a| (&a.name, json::number(a.internal)));
        let reports = trial.intermediate.iter();
        let reports = reports.map(|(step, value)| (step.to_string(), json::number(*value)));
        let mut system: Vec<(&str, String)> = shown(&trial.system_attrs)
            .map(|(key, value)| (key.as_str(), value.to_string()))
            .collect();
        if let Some(lease) = lease {
            system.push((LEASE, holding(lease)));
        }
        let user = trial.user_attrs.iter();
        let user = user.map(|(key, value)| (key, value.to_string()));
        for (key, pairs) in [
            ("distributions", object(domains)),
            ("params", object(internals)),
            ("user_attrs", object(user)),
            ("system_attrs", object(system)),
            ("intermediate_values", object(reports)),
        ] {
            let _ = write!(line, ",\"{key}\":{pairs}");
        }
        let _ = write!(line, ",\"values\":{}", values(trial));
        self.push(4, &line);
    }

    /// What leads from `before` to `after`. A state comes last, so that a trial is finished when all of it is there.
    pub fn update_trial(&mut self, before: &Trial, after: &TrialRecord, lease: Option<&Holding>) {
        let id = before.id;
        let mut state = before.record.state;
        let emptied = TrialRecord::waiting(after.number);
        let base = match keeps(&before.record, after) {
            true => &before.record,
            false => {
                self.system_attr(id, REPLACED, "true");
                &emptied
            }
        };
        if after.started != base.started {
            if state == TrialState::Running {
                // One that runs cannot begin; one that waits can.
                self.set_state(id, TrialState::Waiting, after);
            }
            self.set_state(id, TrialState::Running, after);
            state = TrialState::Running;
        }
        for assignment in &after.params.0 {
            let known = base.params.assignment(&assignment.name);
            if !known.is_some_and(|known| same(known, assignment)) {
                self.set_param(id, assignment);
            }
        }
        for (step, value) in &after.intermediate {
            let known = base.intermediate.get(step);
            if known.map(|v| v.to_bits()) != Some(value.to_bits()) {
                let value = json::number(*value);
                self.push(
                    7,
                    &format!("\"trial_id\":{id},\"step\":{step},\"intermediate_value\":{value}"),
                );
            }
        }
        for (key, value) in &after.user_attrs {
            if base.user_attrs.get(key) != Some(value) {
                let key = text(key);
                self.push(
                    8,
                    &format!("\"trial_id\":{id},\"user_attr\":{{{key}:{value}}}"),
                );
            }
        }
        for (key, value) in shown(&after.system_attrs) {
            if base.system_attrs.get(key) != Some(value) {
                self.system_attr(id, key, &value.to_string());
            }
        }
        match lease {
            Some(lease) => self.set_lease(id, lease),
            // A finished trial has none anyway.
            None if before.lease.is_some() && !after.state.is_finished() => {
                self.system_attr(id, LEASE, "null");
            }
            None => {}
        }
        if state != after.state {
            self.set_state(id, after.state, after);
        }
    }

    pub fn set_lease(&mut self, trial: usize, lease: &Holding) {
        self.system_attr(trial, LEASE, &holding(lease));
    }

    fn system_attr(&mut self, trial: usize, key: &str, value: &str) {
        let key = text(key);
        self.push(
            9,
            &format!("\"trial_id\":{trial},\"system_attr\":{{{key}:{value}}}"),
        );
    }

    fn set_param(&mut self, trial: usize, assignment: &Assignment) {
        let (name, internal) = (text(&assignment.name), json::number(assignment.internal));
        let domain = text(&json::write_domain(&assignment.domain));
        self.push(
            5,
            &format!(
                "\"trial_id\":{trial},\"param_name\":{name},\"param_value_internal\":{internal},\
                 \"distribution\":{domain}"
            ),
        );
    }

    fn set_state(&mut self, trial: usize, state: TrialState, of: &TrialRecord) {
        let mut line = format!("\"trial_id\":{trial},\"state\":{}", state_code(state));
        let values = match state {
            TrialState::Complete => values(of),
            _ => "null".to_owned(),
        };
        let _ = write!(line, ",\"values\":{values}");
        let at = match state {
            TrialState::Waiting => None,
            TrialState::Running => Some(("datetime_start", of.started)),
            _ => Some(("datetime_complete", of.finished)),
        };
        if let Some((key, at)) = at {
            // Optuna does not open a journal in which it is missing.
            let shown = time(Some(at.unwrap_or(Timestamp(0))));
            let _ = write!(line, ",\"{key}\":{shown}");
            if at.is_none() {
                let _ = write!(line, ",\"{NO_TIME}\":true");
            }
        }
        self.push(6, &line);
    }
}

/// Whether nothing of `before` is gone or in another order in `after`, so that what is new says it all.
fn keeps(before: &TrialRecord, after: &TrialRecord) -> bool {
    let names = |t: &TrialRecord| -> Vec<String> {
        let names = t.params.0.iter().map(|a| a.name.clone());
        names.collect()
    };
    let steps = |t: &TrialRecord| -> Vec<i64> { t.intermediate.keys().copied().collect() };
    let (kept, now) = (steps(before), steps(after));
    names(after).starts_with(&names(before))
        && kept.iter().all(|step| now.binary_search(step).is_ok())
        && before
            .user_attrs
            .keys()
            .all(|k| after.user_attrs.contains_key(k))
        && before
            .system_attrs
            .keys()
            .all(|k| after.system_attrs.contains_key(k))
        && (before.started.is_none() || after.started.is_some())
}

fn same(a: &Assignment, b: &Assignment) -> bool {
    a.internal.to_bits() == b.internal.to_bits() && a.domain == b.domain
}

/// System attributes without those that have a meaning of their own here.
fn shown(attrs: &Attrs) -> impl Iterator<Item = (&String, &Json)> {
    let own = |key: &str| key == LEASE || key == REPLACED;
    attrs.iter().filter(move |(key, _)| !own(key))
}

fn holding(held: &Holding) -> String {
    let (owner, token) = (text(&held.lease.owner), held.lease.token);
    // JSON has no infinity.
    let seconds = json::number(held.lease.seconds.min(f64::MAX));
    let (beat, renewed) = (held.beat, held.renewed.0);
    format!(
        "{{\"owner\":{owner},\"token\":{token},\"seconds\":{seconds},\"beat\":{beat},\"renewed_us\":{renewed}}}"
    )
}

fn values(trial: &TrialRecord) -> String {
    if trial.state != TrialState::Complete {
        return "null".to_owned();
    }
    let values: Vec<String> = trial.values.iter().copied().map(json::number).collect();
    format!("[{}]", values.join(","))
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or("null".to_owned(), |at| text(&at.to_iso_offset()))
}

/// Pairs of a key and a value that is JSON already.
fn object<K: AsRef<str>>(pairs: impl IntoIterator<Item = (K, String)>) -> String {
    let pairs = pairs.into_iter();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{}:{value}", text(key.as_ref())))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// Quoting and escaping of text cannot fail.
fn text(text: &str) -> String {
    Json::from(text).to_string()
}
