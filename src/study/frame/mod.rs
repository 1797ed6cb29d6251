//! The trials of a study as a table with typed columns, for other programs.
//!
//! **Contract.** Columns are named and ordered as in Optuna's `trials_dataframe`: `number`, `value` (or `values_0`,
//! `values_1`, … for several directions), `datetime_start`, `datetime_complete`, `duration`, one `params_NAME` per
//! parameter in the order in which names first appear, one `user_attrs_NAME` per attribute by name, `state`. The
//! duration is in seconds, times are UTC. A cell is empty where a trial has nothing, and where it has `null`. The type
//! of a column is the narrowest that keeps every cell: truth values, whole numbers, numbers, else text. Infinities and
//! NaN are numbers, also as the words that Python's JSON has for them. Rows are made as they are written.

mod csv;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::clock::Timestamp;

use super::record::{StudyRecord, TrialRecord, TrialState};
use super::space::Value;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Truth values.
    Bool,
    /// Whole numbers of 64 bits.
    Int,
    /// Floating-point numbers of 64 bits.
    Float,
    /// Text.
    Text,
    /// Moments, to the microsecond.
    Time,
}

/// One cell; its column's [`Kind`] says what it may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Text`].
    Text(Cow<'a, str>),
    /// Of [`Kind::Time`].
    Time(Timestamp),
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: Kind,
    source: Source,
}

/// What of a trial is in a column.
#[derive(Clone, Debug)]
enum Source {
    Number,
    Value(usize),
    Started,
    Finished,
    Duration,
    Param(String),
    Attr(String),
    State,
}

impl Column {
    /// Its name, unique in its table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cell of `trial`.
    pub fn cell<'t>(&self, trial: &'t TrialRecord) -> Cell<'t> {
        let float = |v: Option<f64>| v.map_or(Cell::Null, Cell::Float);
        let time = |t: Option<Timestamp>| t.map_or(Cell::Null, Cell::Time);
        match &self.source {
            Source::Number => i64::try_from(trial.number).map_or(Cell::Null, Cell::Int),
            Source::Value(at) => float(trial.values.get(*at).copied()),
            Source::Started => time(trial.started),
            Source::Finished => time(trial.finished),
            Source::Duration => float(seconds(trial)),
            Source::Param(name) => match trial.params.assignment(name) {
                Some(assigned) => of_value(assigned.value(), self.kind),
                None => Cell::Null,
            },
            Source::Attr(name) => match trial.user_attrs.get(name) {
                Some(json) => of_json(json, self.kind),
                None => Cell::Null,
            },
            Source::State => Cell::Text(state_name(trial.state).into()),
        }
    }
}

/// The trials of a study as a table; see the module.
#[derive(Debug)]
pub struct Frame<'a> {
    columns: Vec<Column>,
    directions: usize,
    trials: &'a [TrialRecord],
}

impl<'a> Frame<'a> {
    /// The table of `trials`, all of `study`.
    pub fn new(study: &StudyRecord, trials: &'a [TrialRecord]) -> Self {
        let directions = study.directions.len();
        let column = |name: &str, kind, source| Column {
            name: name.to_owned(),
            kind,
            source,
        };
        let mut columns = vec![column("number", Kind::Int, Source::Number)];
        for at in 0..directions {
            let name = value_name(at, directions);
            columns.push(column(&name, Kind::Float, Source::Value(at)));
        }
        columns.push(column("datetime_start", Kind::Time, Source::Started));
        columns.push(column("datetime_complete", Kind::Time, Source::Finished));
        columns.push(column("duration", Kind::Float, Source::Duration));

        let mut params: Vec<(&str, Seen)> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut attrs: BTreeMap<&str, Seen> = BTreeMap::new();
        for trial in trials {
            for (name, value) in trial.params.iter() {
                let place = *places.entry(name).or_insert_with(|| {
                    params.push((name, Seen::default()));
                    params.len() - 1
                });
                params[place].1.value(&value);
            }
            for (name, json) in &trial.user_attrs {
                attrs.entry(name).or_default().json(json);
            }
        }
        for (name, seen) in params {
            let source = Source::Param(name.to_owned());
            columns.push(column(&format!("params_{name}"), seen.kind(), source));
        }
        for (name, seen) in attrs {
            let source = Source::Attr(name.to_owned());
            columns.push(column(&format!("user_attrs_{name}"), seen.kind(), source));
        }
        columns.push(column("state", Kind::Text, Source::State));
        Frame {
            columns,
            directions,
            trials,
        }
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The trials, one per row.
    pub fn trials(&self) -> &'a [TrialRecord] {
        self.trials
    }

    /// How many rows there are of each state, without those that have none.
    pub fn states(&self) -> Vec<(&'static str, usize)> {
        let states: BTreeSet<TrialState> = self.trials.iter().map(|t| t.state).collect();
        let count = |state| self.trials.iter().filter(|t| t.state == state).count();
        let counted = states.into_iter().map(|s| (state_name(s), count(s)));
        counted.collect()
    }
}

/// As in Optuna: a single value has no number.
fn value_name(at: usize, directions: usize) -> String {
    match directions {
        1 => "value".to_owned(),
        _ => format!("values_{at}"),
    }
}

fn seconds(trial: &TrialRecord) -> Option<f64> {
    let both = trial.finished.zip(trial.started);
    both.map(|(finished, started)| finished.seconds_since(started))
}

fn state_name(state: TrialState) -> &'static str {
    match state {
        TrialState::Waiting => "WAITING",
        TrialState::Running => "RUNNING",
        TrialState::Complete => "COMPLETE",
        TrialState::Pruned => "PRUNED",
        TrialState::Fail => "FAIL",
    }
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    truth: bool,
    whole: bool,
    real: bool,
    text: bool,
    /// A number that JSON has no word for, as text.
    word: bool,
    /// A whole number that is none of the floating-point numbers.
    wide: bool,
}

impl Seen {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.truth = true,
            Value::Int(v) => self.int(*v),
            Value::Float(_) => self.real = true,
            Value::Str(_) => self.text = true,
        }
    }

    fn json(&mut self, json: &Json) {
        match json {
            Json::Null => {}
            Json::Bool(_) => self.truth = true,
            Json::Number(number) => match number.as_i64() {
                Some(v) => self.int(v),
                None => self.real = true,
            },
            Json::String(text) if word(text).is_some() => self.word = true,
            _ => self.text = true,
        }
    }

    fn int(&mut self, v: i64) {
        self.whole = true;
        self.wide |= (v as f64) as i128 != i128::from(v);
    }

    fn kind(self) -> Kind {
        let number = self.whole || self.real;
        match (self.truth, number, self.text, self.word) {
            (true, false, false, false) => Kind::Bool,
            (false, true, false, false) if !self.real => Kind::Int,
            (false, true, false, _) if !self.wide => Kind::Float,
            _ => Kind::Text,
        }
    }
}

/// The number that Python's JSON writes as this bare word.
fn word(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn of_value(value: Value, kind: Kind) -> Cell<'static> {
    match (value, kind) {
        (Value::Null, _) => Cell::Null,
        (Value::Bool(v), Kind::Bool) => Cell::Bool(v),
        (Value::Int(v), Kind::Int) => Cell::Int(v),
        (Value::Int(v), Kind::Float) => Cell::Float(v as f64),
        (Value::Float(v), Kind::Float) => Cell::Float(v),
        (Value::Str(v), _) => Cell::Text(v.into()),
        (Value::Float(v), _) => Cell::Text(real(v).into()),
        (other, _) => Cell::Text(other.to_string().into()),
    }
}

fn of_json(json: &Json, kind: Kind) -> Cell<'_> {
    match (json, kind) {
        (Json::Null, _) => Cell::Null,
        (Json::Bool(v), Kind::Bool) => Cell::Bool(*v),
        (Json::Number(v), Kind::Int) => v.as_i64().map_or(Cell::Null, Cell::Int),
        (Json::Number(v), Kind::Float) => v.as_f64().map_or(Cell::Null, Cell::Float),
        (Json::String(v), Kind::Float) => word(v).map_or(Cell::Null, Cell::Float),
        (Json::String(v), _) => Cell::Text(v.into()),
        (other, _) => Cell::Text(other.to_string().into()),
    }
}

/// A number as short as reads back to the same bits, as Python and Rust both read it.
fn real(v: f64) -> String {
    format!("{v:?}")
}
