//! What a run says of a study or a trial, as plain data: the one description that every way out writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use crate::clock::Timestamp;
use crate::fsio;
use crate::study::engine::{DRAWN_BY, FAIL_REASON};
use crate::study::record::{Direction, StudyRecord, TrialRecord, TrialState};
use crate::tracking::Artifact;

/// The tag by which a run is found again: the origin of the study, and for a trial its number after a slash.
pub const ID_TAG: &str = "automl.id";
/// The tag with the name of the study.
pub const STUDY_TAG: &str = "automl.study";

/// The attribute with the most memory that the process had held.
const MEMORY: &str = "peak_memory_bytes";

/// The most characters of a name of a parameter, metric or tag.
const KEY: usize = 250;
/// The most characters of a parameter's value; MLflow cuts longer ones silently.
const PARAM: usize = 6000;
/// The most characters of a tag's value: 8000 on a server, 5000 in the file that we write.
const TAG: usize = 5000;

/// How a run ended, in MLflow's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// It goes on.
    Running,
    /// It did what it should.
    Finished,
    /// It ended in an error.
    Failed,
    /// It was ended on purpose: a pruned trial, an interrupted study. MLflow's own storage for Optuna says the same.
    Killed,
}

impl RunStatus {
    /// MLflow's word.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Running => "RUNNING",
            RunStatus::Finished => "FINISHED",
            RunStatus::Failed => "FAILED",
            RunStatus::Killed => "KILLED",
        }
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The metric's name.
    pub key: String,
    /// The value; NaN and infinities are allowed.
    pub value: f64,
    /// Fold, round or trial that it belongs to; 0 for a value of the whole run.
    pub step: i64,
    /// When, in milliseconds since 1970.
    pub time: i64,
}

/// The data of a study, as an input of its run.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetFacts {
    /// Its name.
    pub name: String,
    /// The beginning of its sha256, at most 36 characters.
    pub digest: String,
    /// Where it came from, JSON as text.
    pub source: String,
    /// Its columns, JSON as text, in MLflow's form.
    pub schema: String,
    /// Its size, JSON as text.
    pub profile: String,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// Unique among all runs of the world; the value of [`ID_TAG`].
    pub id: String,
    /// The name that people see.
    pub name: String,
    /// How it ended.
    pub status: RunStatus,
    /// In milliseconds since 1970.
    pub started: i64,
    /// In milliseconds since 1970.
    pub ended: Option<i64>,
    /// Parameters, by their order; names are unique.
    pub params: Vec<(String, String)>,
    /// Metrics.
    pub metrics: Vec<Metric>,
    /// Tags by name, [`ID_TAG`] among them.
    pub tags: BTreeMap<String, String>,
    /// The data it was made from.
    pub dataset: Option<DatasetFacts>,
}

impl RunFacts {
    /// A hash of everything it says.
    pub fn digest(&self) -> String {
        fsio::sha256(format!("{self:?}").as_bytes())
    }
}

/// A registered version that came out of a study, as the registry tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// The model's name.
    pub model: String,
    /// The version's number in our registry.
    pub version: u64,
    /// `candidate`, `staging`, `production` or `archived`.
    pub stage: String,
    /// The trial that it was refit from.
    pub trial: Option<u64>,
    /// When it was registered.
    pub created: Timestamp,
    /// Its metrics, mostly on the holdout.
    pub metrics: BTreeMap<String, f64>,
    /// Learner and hyperparameters.
    pub params: Json,
    /// The model file.
    pub file: Artifact,
}

impl ModelFacts {
    /// The alias that says in MLflow what the stage says here.
    pub fn alias(&self) -> Option<&'static str> {
        match self.stage.as_str() {
            "candidate" => Some("candidate"),
            "staging" => Some("challenger"),
            "production" => Some("champion"),
            _ => None,
        }
    }

    /// MLflow's stage.
    pub fn mlflow_stage(&self) -> &'static str {
        match self.stage.as_str() {
            "staging" => "Staging",
            "production" => "Production",
            "archived" => "Archived",
            _ => "None",
        }
    }

    /// A hash of everything that is sent of it.
    pub fn digest(&self) -> String {
        fsio::sha256(format!("{self:?}").as_bytes())
    }

    /// Learner and hyperparameters as parameters of a run.
    pub fn flat_params(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        flatten("", &self.params, &mut out);
        named(out, PARAM)
    }

    /// Its metrics under names that MLflow takes; those of the holdout say so.
    pub fn named_metrics(&self) -> Vec<(String, f64)> {
        let name = |key: &String| match key.starts_with("cv_") {
            true => key.clone(),
            false => format!("holdout_{key}"),
        };
        let found = self.metrics.iter().map(|(key, value)| (name(key), *value));
        let mut taken = BTreeSet::new();
        found.map(|(k, v)| (key(&k, &mut taken), v)).collect()
    }
}

/// Every alias that we set.
pub const ALIASES: [&str; 3] = ["candidate", "challenger", "champion"];

/// The identity of a trial's run.
pub fn trial_id(origin: &str, number: u64) -> String {
    format!("{origin}/{number}")
}

/// The run of a finished trial.
pub fn trial_run(origin: &str, study: &StudyRecord, trial: &TrialRecord) -> RunFacts {
    let learner = trial.user_attrs.get("learner").map(text);
    let mut params: Vec<(String, String)> = trial
        .params
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect();
    if let Some(learner) = &learner
        && !params.iter().any(|(name, _)| name == "learner")
    {
        params.insert(0, ("learner".to_owned(), learner.clone()));
    }

    let ended = trial.finished.map(millis);
    let time = ended.or(trial.started.map(millis)).unwrap_or(0);
    let metric = metric_name(study);
    let mut metrics = Vec::new();
    let mut add = |key: String, value: f64, step: i64| {
        metrics.push(Metric {
            key,
            value,
            step,
            time,
        });
    };
    match &trial.values[..] {
        [value] => add(metric.clone(), *value, 0),
        several => {
            for (at, value) in several.iter().enumerate() {
                add(format!("values_{at}"), *value, 0);
            }
        }
    }
    let folds: Vec<f64> = match trial.user_attrs.get("folds") {
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_f64).collect(),
        _ => Vec::new(),
    };
    for (fold, score) in folds.iter().enumerate() {
        add(format!("{metric}_fold"), *score, fold as i64 + 1);
    }
    // Without a pruner, what a trial of folds reports is the score of each fold.
    let reports = trial.intermediate.values();
    if trial.intermediate.len() != folds.len() || !reports.eq(folds.iter()) {
        for (step, value) in &trial.intermediate {
            add("intermediate_value".to_owned(), *value, *step);
        }
    }
    for (at, value) in trial.constraints().into_iter().enumerate() {
        add(format!("constraint_{at}"), value, 0);
    }
    if let (Some(started), Some(finished)) = (trial.started, trial.finished) {
        add(
            "duration_seconds".to_owned(),
            finished.seconds_since(started),
            0,
        );
    }

    if let Some(bytes) = trial.user_attrs.get(MEMORY).and_then(Json::as_f64) {
        add(MEMORY.to_owned(), bytes, 0);
    }

    let mut tags = vec![
        ("automl.trial".to_owned(), trial.number.to_string()),
        ("automl.state".to_owned(), state(trial.state).to_owned()),
    ];
    if let Some(learner) = learner {
        tags.push(("automl.learner".to_owned(), learner));
    }
    for (attr, tag) in [
        (DRAWN_BY, "automl.drawn_by"),
        (FAIL_REASON, "automl.fail_reason"),
    ] {
        if let Some(value) = trial.system_attrs.get(attr) {
            tags.push((tag.to_owned(), text(value)));
        }
    }
    for (name, value) in &trial.user_attrs {
        if !matches!(name.as_str(), "learner" | "folds" | "dataset" | MEMORY) {
            tags.push((format!("automl.attr.{name}"), text(value)));
        }
    }
    RunFacts {
        id: trial_id(origin, trial.number),
        name: format!("trial {}", trial.number),
        status: match trial.state {
            TrialState::Complete => RunStatus::Finished,
            TrialState::Pruned => RunStatus::Killed,
            TrialState::Fail => RunStatus::Failed,
            TrialState::Running | TrialState::Waiting => RunStatus::Running,
        },
        started: trial.started.map_or(time, millis),
        ended,
        params: named(params, PARAM),
        metrics: with_names(metrics),
        tags: tagged(trial_id(origin, trial.number), &study.name, tags),
        dataset: None,
    }
}

/// The parent run of a study. `status` and `ended` are those of the search.
pub fn study_run(
    origin: &str,
    study: &StudyRecord,
    trials: &[TrialRecord],
    models: &[ModelFacts],
    status: RunStatus,
    ended: Option<i64>,
) -> RunFacts {
    let mut params = Vec::new();
    for (name, value) in &study.system_attrs {
        let Some(name) = name.strip_prefix("automl:").filter(|n| *n != "space") else {
            continue;
        };
        match value {
            Json::Object(method) => {
                if let Some(named) = method.get("name") {
                    params.push((name.to_owned(), text(named)));
                }
            }
            other => params.push((name.to_owned(), text(other))),
        }
    }
    for (at, direction) in study.directions.iter().enumerate() {
        let word = match direction {
            Direction::Minimize => "minimize",
            Direction::Maximize => "maximize",
        };
        let key = match study.directions.len() {
            1 => "direction".to_owned(),
            _ => format!("direction_{at}"),
        };
        params.push((key, word.to_owned()));
    }
    if let Some(Json::Object(experiment)) = study.user_attrs.get("automl:experiment") {
        flatten("", &Json::Object(experiment.clone()), &mut params);
    }

    let finished: Vec<&TrialRecord> = trials.iter().filter(|t| t.state.is_finished()).collect();
    let last = finished.iter().filter_map(|t| t.finished).max();
    let last = last.map_or(0, millis);
    let mut metrics = Vec::new();
    if let [direction] = study.directions[..] {
        let key = format!("best_{}", metric_name(study));
        let mut best: Option<f64> = None;
        for trial in &finished {
            if let Some(value) = trial.value()
                && trial.is_feasible()
                && best.is_none_or(|b| direction.better(value, b))
            {
                best = Some(value);
                metrics.push(Metric {
                    key: key.clone(),
                    value,
                    step: trial.number as i64,
                    time: trial.finished.map_or(last, millis),
                });
            }
        }
    }
    for (key, wanted) in [
        ("trials_complete", TrialState::Complete),
        ("trials_pruned", TrialState::Pruned),
        ("trials_failed", TrialState::Fail),
    ] {
        let count = finished.iter().filter(|t| t.state == wanted).count();
        metrics.push(Metric {
            key: key.to_owned(),
            value: count as f64,
            step: finished.len() as i64,
            time: last,
        });
    }
    // What a later version measured replaces what an earlier one did.
    for model in models {
        for (key, value) in model.named_metrics() {
            metrics.push(Metric {
                key,
                value,
                step: 0,
                time: millis(model.created),
            });
        }
    }

    let mut tags = Vec::new();
    for name in ["automl_version", "host", "dataset", "dataset_sha256"] {
        if let Some(value) = study.user_attrs.get(name) {
            let name = name.strip_prefix("automl_").unwrap_or(name);
            tags.push((format!("automl.{name}"), text(value)));
        }
    }
    if let Some(command) = study.user_attrs.get("command") {
        tags.push(("automl.command".to_owned(), text(command)));
    }
    RunFacts {
        id: origin.to_owned(),
        name: study.name.clone(),
        status,
        started: trials
            .iter()
            .filter_map(|t| t.started)
            .min()
            .map_or(0, millis),
        ended,
        params: named(params, PARAM),
        metrics: with_names(metrics),
        tags: tagged(origin.to_owned(), &study.name, tags),
        dataset: dataset(study),
    }
}

/// The data that the study's attributes name.
fn dataset(study: &StudyRecord) -> Option<DatasetFacts> {
    let attr = |key: &str| study.user_attrs.get(key);
    let name = attr("dataset")?.as_str()?;
    let sha256 = attr("dataset_sha256")?.as_str()?;
    let columns = match attr("dataset_schema") {
        Some(Json::Object(columns)) => columns.clone(),
        _ => Map::new(),
    };
    let colspec: Vec<Json> = columns
        .iter()
        .map(|(name, kind)| {
            let kind = if kind == "numeric" {
                "double"
            } else {
                "string"
            };
            json!({"type": kind, "name": name, "required": true})
        })
        .collect();
    let source = attr("dataset_source").map_or_else(|| name.to_owned(), text);
    let rows = attr("dataset_rows").and_then(Json::as_u64).unwrap_or(0);
    Some(DatasetFacts {
        name: cut(name, 500),
        digest: sha256.chars().take(32).collect(),
        source: json!({"uri": source}).to_string(),
        schema: json!({"mlflow_colspec": colspec}).to_string(),
        profile: json!({"num_rows": rows, "num_elements": rows * columns.len() as u64}).to_string(),
    })
}

fn metric_name(study: &StudyRecord) -> String {
    let name = study.user_attrs.get("metric").and_then(Json::as_str);
    name.unwrap_or("value").to_owned()
}

fn state(state: TrialState) -> &'static str {
    match state {
        TrialState::Waiting => "WAITING",
        TrialState::Running => "RUNNING",
        TrialState::Complete => "COMPLETE",
        TrialState::Pruned => "PRUNED",
        TrialState::Fail => "FAIL",
    }
}

/// Milliseconds since 1970, as MLflow counts.
pub fn millis(time: Timestamp) -> i64 {
    time.0.div_euclid(1000)
}

fn text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The leaves of an object under names with dots. Long lists say nothing in a table of parameters and are left out.
fn flatten(prefix: &str, value: &Json, out: &mut Vec<(String, String)>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                let name = match prefix {
                    "" => key.clone(),
                    _ => format!("{prefix}.{key}"),
                };
                flatten(&name, value, out);
            }
        }
        Json::Array(list) if list.len() > 20 => {}
        other => out.push((prefix.to_owned(), text(other))),
    }
}

/// A name that MLflow takes: letters of any language, digits and `_-. :/`, up to 250 characters, no two the same, and no
/// path that leads elsewhere.
fn key(name: &str, taken: &mut BTreeSet<String>) -> String {
    let allowed = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    let mut clean: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(KEY)
        .collect();
    // MLflow reads names as paths: `a//b`, `../x` and a slash at an end are not the path that they say.
    if clean.is_empty() || clean.split('/').any(|p| matches!(p, "" | "." | "..")) {
        clean = format!("_{}", clean.replace('/', "_").trim_start_matches('.'));
        clean = clean.chars().take(KEY).collect();
    }
    let mut unique = clean.clone();
    let mut n = 1;
    while !taken.insert(unique.clone()) {
        n += 1;
        unique = clean.chars().take(KEY - 8).collect();
        let _ = write!(unique, "_{n}");
    }
    unique
}

fn cut(value: &str, most: usize) -> String {
    match value.char_indices().nth(most) {
        None => value.to_owned(),
        Some(_) => value.chars().take(most - 1).chain(['…']).collect(),
    }
}

fn named(pairs: Vec<(String, String)>, most: usize) -> Vec<(String, String)> {
    let mut taken = BTreeSet::new();
    pairs
        .into_iter()
        .map(|(name, value)| (key(&name, &mut taken), cut(&value, most)))
        .collect()
}

/// Metrics under names that MLflow takes; the same name stays the same.
fn with_names(mut metrics: Vec<Metric>) -> Vec<Metric> {
    let (mut taken, mut known) = (BTreeSet::new(), BTreeMap::new());
    for metric in &mut metrics {
        let name = known
            .entry(metric.key.clone())
            .or_insert_with_key(|name| key(name, &mut taken));
        metric.key.clone_from(name);
    }
    metrics
}

fn tagged(id: String, study: &str, tags: Vec<(String, String)>) -> BTreeMap<String, String> {
    let own = [
        (ID_TAG.to_owned(), id),
        (STUDY_TAG.to_owned(), study.to_owned()),
        ("mlflow.source.name".to_owned(), "automl".to_owned()),
        ("mlflow.source.type".to_owned(), "LOCAL".to_owned()),
    ];
    named(own.into_iter().chain(tags).collect(), TAG)
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests;
