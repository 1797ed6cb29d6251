//! Logged models, registered models, their versions and aliases.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::MlflowError;
use super::{Client, tags};

/// A logged model as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// Its key.
    pub model_id: String,
    /// Where its files are.
    pub artifact_uri: String,
}

impl Client {
    /// Creates a logged model, as MLflow 3 has them; it is pending until [`Client::finish_model`].
    pub fn create_model(
        &self,
        experiment: &str,
        run_id: &str,
        name: &str,
        params: &[(String, String)],
        given: &BTreeMap<String, String>,
    ) -> Result<KnownModel, MlflowError> {
        let call = "mlflow/logged-models";
        let params: Vec<Json> = params
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        let body = json!({
            "experiment_id": experiment, "source_run_id": run_id, "name": name, "model_type": "",
            "params": params, "tags": tags(given),
        });
        let made = self.post(call, &body)?;
        self.known_model(call, &made["model"])
    }

    fn known_model(&self, call: &str, model: &Json) -> Result<KnownModel, MlflowError> {
        Ok(KnownModel {
            model_id: self.word(call, model, "/info/model_id")?,
            artifact_uri: self.word(call, model, "/info/artifact_uri")?,
        })
    }

    /// The logged model of a run whose tag has this value.
    pub fn model_with_tag(
        &self,
        experiment: &str,
        tag: &str,
        value: &str,
    ) -> Result<Option<KnownModel>, MlflowError> {
        let call = "mlflow/logged-models/search";
        let body = json!({
            "experiment_ids": [experiment], "filter": format!("tags.`{tag}` = '{value}'"), "max_results": 1,
        });
        let found = self.post(call, &body)?;
        match found["models"].get(0) {
            Some(model) => self.known_model(call, model).map(Some),
            None => Ok(None),
        }
    }

    /// Says that all files of a logged model are there, and that a run made it.
    pub fn finish_model(&self, run_id: &str, model_id: &str) -> Result<(), MlflowError> {
        self.say(
            "PATCH",
            &format!("mlflow/logged-models/{model_id}"),
            &json!({"model_id": model_id, "status": "LOGGED_MODEL_READY"}),
        )?;
        self.post(
            "mlflow/runs/outputs",
            &json!({"run_id": run_id, "models": [{"model_id": model_id, "step": 0}]}),
        )?;
        Ok(())
    }

    /// Tells a server from before MLflow 3 that a run has a model.
    pub fn log_model(&self, run_id: &str, model: &Json) -> Result<(), MlflowError> {
        let body = json!({"run_id": run_id, "model_json": model.to_string()});
        self.post("mlflow/runs/log-model", &body)?;
        Ok(())
    }

    /// Makes sure that a registered model of this name exists.
    pub fn registered_model(&self, name: &str) -> Result<(), MlflowError> {
        match self.post("mlflow/registered-models/create", &json!({"name": name})) {
            Err(MlflowError::Refused { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Registers a version and tells its number.
    pub fn create_version(
        &self,
        name: &str,
        source: &str,
        run_id: &str,
        model_id: Option<&str>,
        given: &BTreeMap<String, String>,
    ) -> Result<String, MlflowError> {
        let call = "mlflow/model-versions/create";
        let mut body =
            json!({"name": name, "source": source, "run_id": run_id, "tags": tags(given)});
        if let Some(model) = model_id {
            body["model_id"] = json!(model);
        }
        let made = self.post(call, &body)?;
        self.word(call, &made, "/model_version/version")
    }

    /// The version of a run whose tag has this value.
    pub fn version_with_tag(
        &self,
        name: &str,
        run_id: &str,
        tag: &str,
        value: &str,
    ) -> Result<Option<String>, MlflowError> {
        let call = "mlflow/model-versions/search";
        let filter = format!("run_id='{run_id}'");
        let found = self.get(call, &[("filter", &filter), ("max_results", "1000")])?;
        let versions = found["model_versions"].as_array();
        let same = versions.into_iter().flatten().find(|version| {
            let tags = version["tags"].as_array();
            version["name"] == name
                && tags
                    .into_iter()
                    .flatten()
                    .any(|t| t["key"] == tag && t["value"] == value)
        });
        match same {
            Some(version) => self.word(call, version, "/version").map(Some),
            None => Ok(None),
        }
    }

    /// Moves a version to a stage.
    pub fn stage(&self, name: &str, version: &str, stage: &str) -> Result<(), MlflowError> {
        let body = json!({
            "name": name, "version": version, "stage": stage, "archive_existing_versions": false,
        });
        self.post("mlflow/model-versions/transition-stage", &body)?;
        Ok(())
    }

    /// The aliases of a registered model with the versions that they name.
    pub fn aliases(&self, name: &str) -> Result<Vec<(String, String)>, MlflowError> {
        let call = "mlflow/registered-models/get";
        let found = self.get(call, &[("name", name)])?;
        let listed = found["registered_model"]["aliases"].as_array();
        listed
            .into_iter()
            .flatten()
            .map(|a| {
                Ok((
                    self.word(call, a, "/alias")?,
                    self.word(call, a, "/version")?,
                ))
            })
            .collect()
    }

    /// Lets an alias name a version.
    pub fn set_alias(&self, name: &str, alias: &str, version: &str) -> Result<(), MlflowError> {
        let body = json!({"name": name, "alias": alias, "version": version});
        self.post("mlflow/registered-models/alias", &body)?;
        Ok(())
    }

    /// Takes an alias away.
    pub fn delete_alias(&self, name: &str, alias: &str) -> Result<(), MlflowError> {
        let body = json!({"name": name, "alias": alias});
        self.say("DELETE", "mlflow/registered-models/alias", &body)?;
        Ok(())
    }
}
