//! Experiments and runs.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::MlflowError;
use super::super::run::{DatasetFacts, Metric, RunFacts, RunStatus};
use super::{Client, tags, user};

/// The most values of each kind in one `log-batch`, and the most bytes; MLflow takes 1 MB.
const BATCH_METRICS: usize = 1000;
const BATCH_PARAMS: usize = 100;
const BATCH_TOTAL: usize = 1000;
const BATCH_BYTES: usize = 800_000;

/// A run as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRun {
    /// Its key.
    pub run_id: String,
    /// Where its files are.
    pub artifact_uri: String,
    /// Whether it was deleted.
    pub deleted: bool,
}

impl Client {
    /// The experiment of this name, which is made when there is none.
    ///
    /// # Errors
    /// [`MlflowError`], as for every call below.
    pub fn experiment(&self, name: &str) -> Result<String, MlflowError> {
        let find = || {
            let call = "mlflow/experiments/get-by-name";
            let found = self.get(call, &[("experiment_name", name)])?;
            let gone = found["experiment"]["lifecycle_stage"] == "deleted";
            let id = self.word(call, &found, "/experiment/experiment_id")?;
            if gone {
                return Err(MlflowError::DeletedExperiment {
                    name: name.to_owned(),
                    id,
                });
            }
            Ok::<_, MlflowError>(id)
        };
        match find() {
            Err(error) if error.is_missing() => {}
            other => return other,
        }
        let call = "mlflow/experiments/create";
        match self.post(call, &json!({"name": name})) {
            Ok(made) => self.word(call, &made, "/experiment_id"),
            // Somebody was faster.
            Err(MlflowError::Refused { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => find(),
            Err(error) => Err(error),
        }
    }

    /// Creates a run with its tags; it is running.
    pub fn create_run(
        &self,
        experiment: &str,
        run: &RunFacts,
        parent: Option<&str>,
    ) -> Result<KnownRun, MlflowError> {
        let call = "mlflow/runs/create";
        let user = user();
        let mut tags = tags(&run.tags);
        tags.push(json!({"key": "mlflow.user", "value": user}));
        tags.push(json!({"key": "mlflow.runName", "value": run.name}));
        if let Some(parent) = parent {
            tags.push(json!({"key": "mlflow.parentRunId", "value": parent}));
        }
        let body = json!({
            "experiment_id": experiment,
            "user_id": user,
            "run_name": run.name,
            "start_time": run.started,
            "tags": tags,
        });
        let made = self.post(call, &body)?;
        self.known_run(call, &made["run"])
    }

    fn known_run(&self, call: &str, run: &Json) -> Result<KnownRun, MlflowError> {
        Ok(KnownRun {
            run_id: self.word(call, run, "/info/run_id")?,
            artifact_uri: self.word(call, run, "/info/artifact_uri")?,
            deleted: run["info"]["lifecycle_stage"] == "deleted",
        })
    }

    /// A run by its key.
    pub fn run(&self, run_id: &str) -> Result<KnownRun, MlflowError> {
        let call = "mlflow/runs/get";
        let found = self.get(call, &[("run_id", run_id)])?;
        self.known_run(call, &found["run"])
    }

    /// The runs with this value of a tag that are not deleted, oldest first; of two values that differ from each other none
    /// has both.
    pub fn runs_with_tag(
        &self,
        experiment: &str,
        tag: &str,
        value: &str,
    ) -> Result<Vec<KnownRun>, MlflowError> {
        let call = "mlflow/runs/search";
        let body = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`{tag}` = '{value}'"),
            "order_by": ["attributes.start_time ASC"],
            "max_results": 100,
        });
        let found = self.post(call, &body)?;
        let runs = found["runs"].as_array().map_or(&[][..], Vec::as_slice);
        runs.iter().map(|run| self.known_run(call, run)).collect()
    }

    /// Hides a run, as its owner would in the pages of MLflow.
    pub fn delete_run(&self, run_id: &str) -> Result<(), MlflowError> {
        self.post("mlflow/runs/delete", &json!({"run_id": run_id}))?;
        Ok(())
    }

    /// Logs parameters and metrics, in as many calls as the server's limits need. Doing it again changes nothing.
    pub fn log(
        &self,
        run_id: &str,
        params: &[(String, String)],
        metrics: &[Metric],
        model: Option<&str>,
    ) -> Result<(), MlflowError> {
        let mut batch = Batch::default();
        for (key, value) in params {
            let item = json!({"key": key, "value": value});
            if batch.is_full_for(&item, true) {
                self.log_batch(run_id, std::mem::take(&mut batch))?;
            }
            batch.add(item, true);
        }
        for metric in metrics {
            let mut item = json!({
                "key": metric.key, "value": number(metric.value), "timestamp": metric.time, "step": metric.step,
            });
            if let Some(model) = model {
                item["model_id"] = json!(model);
            }
            if batch.is_full_for(&item, false) {
                self.log_batch(run_id, std::mem::take(&mut batch))?;
            }
            batch.add(item, false);
        }
        match batch.params.is_empty() && batch.metrics.is_empty() {
            true => Ok(()),
            false => self.log_batch(run_id, batch),
        }
    }

    fn log_batch(&self, run_id: &str, batch: Batch) -> Result<(), MlflowError> {
        let body = json!({"run_id": run_id, "params": batch.params, "metrics": batch.metrics});
        self.post("mlflow/runs/log-batch", &body)?;
        Ok(())
    }

    /// Sets tags of a run.
    pub fn tag(&self, run_id: &str, given: &BTreeMap<String, String>) -> Result<(), MlflowError> {
        for tags in tags(given).chunks(100) {
            let body = json!({"run_id": run_id, "tags": tags});
            self.post("mlflow/runs/log-batch", &body)?;
        }
        Ok(())
    }

    /// Names a dataset as the input of a run.
    pub fn log_input(&self, run_id: &str, dataset: &DatasetFacts) -> Result<(), MlflowError> {
        let body = json!({
            "run_id": run_id,
            "datasets": [{
                "tags": [{"key": "mlflow.data.context", "value": "training"}],
                "dataset": {
                    "name": dataset.name, "digest": dataset.digest, "source_type": "local",
                    "source": dataset.source, "schema": dataset.schema, "profile": dataset.profile,
                },
            }],
        });
        self.post("mlflow/runs/log-inputs", &body)?;
        Ok(())
    }

    /// Sets how a run ended, or that it goes on.
    pub fn update_run(
        &self,
        run_id: &str,
        status: RunStatus,
        ended: Option<i64>,
    ) -> Result<(), MlflowError> {
        let mut body = json!({"run_id": run_id, "status": status.name()});
        if let Some(ended) = ended {
            body["end_time"] = json!(ended);
        }
        self.post("mlflow/runs/update", &body)?;
        Ok(())
    }
}

/// What goes into one `log-batch`.
#[derive(Default)]
struct Batch {
    params: Vec<Json>,
    metrics: Vec<Json>,
    bytes: usize,
}

impl Batch {
    fn is_full_for(&self, item: &Json, param: bool) -> bool {
        let (params, metrics) = (self.params.len(), self.metrics.len());
        params + metrics >= BATCH_TOTAL
            || (param && params >= BATCH_PARAMS)
            || (!param && metrics >= BATCH_METRICS)
            || (self.bytes > 0 && self.bytes + item.to_string().len() > BATCH_BYTES)
    }

    fn add(&mut self, item: Json, param: bool) {
        self.bytes += item.to_string().len() + 1;
        match param {
            true => self.params.push(item),
            false => self.metrics.push(item),
        }
    }
}

/// JSON has no word for what is not finite; MLflow reads these.
fn number(value: f64) -> Json {
    match value {
        v if v.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        v => json!(v),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_to_the_limits_of_the_server() {
        let mut batch = Batch::default();
        let param = json!({"key": "k", "value": "v"});
        for _ in 0..BATCH_PARAMS {
            assert!(!batch.is_full_for(&param, true));
            batch.add(param.clone(), true);
        }
        assert!(batch.is_full_for(&param, true));
        assert!(!batch.is_full_for(&param, false));
        let large = json!({"key": "k", "value": "v".repeat(6000)});
        let mut batch = Batch::default();
        while !batch.is_full_for(&large, false) {
            batch.add(large.clone(), false);
        }
        assert!(batch.bytes < 1_000_000 && batch.metrics.len() > 100);
    }

    #[test]
    fn numbers_that_json_has_not() {
        let all = [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(number);
        assert_eq!(json!(all), json!([1.5, "NaN", "Infinity", "-Infinity"]));
    }
}
