//! What becomes of the refit model: a version in the registry, and the gate it has to pass.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value as Json, json};

use crate::data::table::Task;
use crate::fsio;
use crate::fsio::host;
use crate::learn::metric;
use crate::registry::{
    DatasetRef, Gate, GateReport, NewVersion, Primary, Registered, Registry, RegistryError, Rule,
    Source, Stage, check_name, evaluate,
};
use crate::study::record::TrialRecord;
use crate::tracking::Store;
use crate::tune::experiment::Experiment;
use crate::tune::job::Job;
use crate::tune::outcome::Outcome;
use crate::tune::yaml::plain;

/// The gate of the experiment, read before any work is done.
pub(super) fn gate(experiment: &Experiment, file: &str) -> anyhow::Result<Gate> {
    let part = &experiment.registry;
    let rules = part
        .gate
        .iter()
        .map(|rule| serde_json::from_value::<Rule>(rule.clone()));
    let rules: Result<Vec<Rule>, _> = rules.collect();
    let rules =
        rules.map_err(|e| anyhow::anyhow!("{file}: registry.gate: {}", plain(&e.to_string())))?;
    let model = part.model.as_ref().unwrap_or(&experiment.name);
    check_name(model).with_context(|| format!("{file}: registry.model"))?;
    let stage: Stage = part
        .stage
        .parse()
        .with_context(|| format!("{file}: registry.stage"))?;
    if !matches!(stage, Stage::Staging | Stage::Production) {
        bail!(
            "{file}: registry.stage: a new version can go to `staging` or `production`, not to `{stage}`"
        );
    }
    Ok(Gate { rules, stage })
}

/// A rule on a metric that the holdout will not have could never pass.
pub(super) fn check_gate(gate: &Gate, task: Task, file: &str) -> anyhow::Result<()> {
    for rule in &gate.rules {
        if let Rule::Compare { metric, .. } = rule {
            let place = || format!("{file}: registry.gate: `{rule}`");
            let plain = metric.strip_suffix(AT_THRESHOLD);
            let entry = metric::find_for(plain.unwrap_or(metric), task).with_context(place)?;
            if let Some(same) = entry.same_as {
                bail!(
                    "{}: `{}` is reported as `{same}`; write that",
                    place(),
                    entry.name
                );
            }
            if plain.is_some() && !(entry.on_labels && task == Task::Binary) {
                bail!(
                    "{}: `{}` does not depend on a threshold here; write it without `{AT_THRESHOLD}`",
                    place(),
                    entry.name
                );
            }
        }
    }
    Ok(())
}

/// Ending of the names of metrics that are measured at the model's own threshold instead of 0.5.
const AT_THRESHOLD: &str = "@threshold";

/// Where the model ended up.
pub(super) struct Version {
    pub model: String,
    pub registered: Registered,
    pub stage: Stage,
    pub path: PathBuf,
    pub sha256: String,
    pub report: Option<GateReport>,
}

/// Saves the model as a version, and promotes it if it is new and its gate lets it.
pub(super) fn register(
    job: &Job,
    store: &Store,
    best: &TrialRecord,
    outcome: &Outcome,
    gate: &Gate,
) -> anyhow::Result<Version> {
    let e = &job.experiment;
    let model = e.registry.model.clone().unwrap_or_else(|| e.name.clone());
    let bytes = outcome.pipeline.save()?;
    let sha256 = fsio::sha256(&bytes);
    let mut metrics: BTreeMap<String, f64> = outcome
        .holdout
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    for (name, value) in &outcome.holdout_at_threshold {
        metrics.insert(format!("{name}{AT_THRESHOLD}"), *value);
    }
    metrics.insert(format!("cv_{}", job.metric.name), outcome.cross_validated);
    let rows: Vec<u8> = job
        .split
        .test
        .iter()
        .flat_map(|r| r.to_le_bytes())
        .collect();
    let columns: Map<String, Json> = job
        .dataset
        .table
        .schema
        .fields
        .iter()
        .map(|f| (f.name.clone(), json!(f.kind)))
        .collect();
    let new = NewVersion {
        model: model.clone(),
        files: vec![("model.json".to_owned(), bytes)],
        metrics,
        primary: Primary {
            metric: job.metric.name.to_owned(),
            direction: job.direction(),
        },
        params: json!({"learner": outcome.learner, "hyperparameters": outcome.hyperparameters}),
        dataset: DatasetRef {
            name: job.dataset.name.clone(),
            sha256: job.dataset.sha256.clone(),
            holdout_sha256: Some(fsio::sha256(&rows)),
        },
        study: Some(e.name.clone()),
        trial: Some(best.number),
        gate: gate.rules.clone(),
        source: Source {
            automl: env!("CARGO_PKG_VERSION").to_owned(),
            seed: Some(e.seed),
            host: host(),
            task: format!("{:?}", job.dataset.target.task).to_lowercase(),
            schema: Json::Object(columns),
        },
    };
    let registry = Registry::open(store)?;
    let registered = registry.register(&new)?;
    let (record, path) = registry.resolve(&format!("{model}:{}", registered.version))?;
    let mut stage = record.stage;
    let mut report = None;
    // A version that is past the gate already, from an earlier run, stays where it is.
    if stage == Stage::Candidate && !gate.rules.is_empty() {
        let production = registry.production(&model)?;
        let rows = evaluate(gate, &record, production.as_ref(), &record.primary);
        let why = format!("study {} trial {}", e.name, best.number);
        // Production is reached through staging.
        let way = [Stage::Staging, Stage::Production];
        let steps = if gate.stage == Stage::Production {
            &way[..]
        } else {
            &way[..1]
        };
        for to in steps {
            match registry.promote(&model, registered.version, *to, &why, Some(&rows)) {
                Ok(moved) => stage = moved.to,
                Err(RegistryError::Refused { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        report = Some(rows);
    }
    Ok(Version {
        model,
        registered,
        stage,
        path,
        sha256,
        report,
    })
}
