//! The table as JSON: an array of one object per trial and line. Values keep their own types, whatever the other cells of
//! their column are; what a trial has not is left out, so `null` is a value. Beside the columns of the other forms there
//! is an `intermediate_STEP` for every report. JSON has no word for infinities and NaN: they are the texts `inf`, `-inf`
//! and `NaN`, which Python's `float` reads.

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};

use super::super::record::TrialRecord;
use super::super::space::Value;
use super::{Frame, real, seconds, state_name, value_name};

impl Frame<'_> {
    /// Writes the table as JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for (at, trial) in self.trials().iter().enumerate() {
            out.write_all(if at == 0 { b"[" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, &self.document(trial))?;
        }
        out.write_all(if self.trials().is_empty() {
            b"[]\n"
        } else {
            b"]\n"
        })
    }

    fn document(&self, trial: &TrialRecord) -> Map<String, Json> {
        let mut document = Map::new();
        document.insert("number".to_owned(), trial.number.into());
        for at in 0..self.directions {
            let value = trial.values.get(at).copied().map(number);
            document.insert(value_name(at, self.directions), json!(value));
        }
        for (name, time) in [
            ("datetime_start", trial.started),
            ("datetime_complete", trial.finished),
        ] {
            document.insert(name.to_owned(), json!(time.map(|t| t.to_iso())));
        }
        document.insert("duration".to_owned(), json!(seconds(trial)));
        for (name, value) in trial.params.iter() {
            let value = match value {
                Value::Null => Json::Null,
                Value::Bool(v) => v.into(),
                Value::Int(v) => v.into(),
                Value::Float(v) => number(v),
                Value::Str(v) => v.into(),
            };
            document.insert(format!("params_{name}"), value);
        }
        for (name, json) in &trial.user_attrs {
            document.insert(format!("user_attrs_{name}"), json.clone());
        }
        for (step, value) in &trial.intermediate {
            document.insert(format!("intermediate_{step}"), number(*value));
        }
        document.insert("state".to_owned(), state_name(trial.state).into());
        document
    }
}

fn number(v: f64) -> Json {
    match v.is_finite() {
        true => v.into(),
        false => real(v).into(),
    }
}
