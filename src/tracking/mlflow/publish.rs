//! Models: files, a logged model of the study's run, a version of a registered model with alias and stage.
//!
//! Every step can be done again: files are replaced, and what would be created twice is looked for by its tag when its
//! creation is in doubt. A server from before MLflow 3 has no logged models; there the files go to the run itself.

use std::collections::BTreeMap;

use crate::clock::{Clock as _, SystemClock};
use crate::study::record::StudyRecord;

use super::folder::{PATH, folder};
use super::run::{ALIASES, ID_TAG, Metric, ModelFacts, STUDY_TAG, millis};
use super::send::{Sender, Session};
use super::{MlflowError, spool::Item};

/// Stands for the key of a logged model where the files went to the run.
const IN_RUN: &str = "run";

/// The name of the row of a version.
pub(super) fn model_item(model: &ModelFacts) -> String {
    format!("model/{}/{}", model.model, model.version)
}

fn version_item(model: &ModelFacts) -> String {
    format!("version/{}/{}", model.model, model.version)
}

impl Sender {
    /// The versions of which the server does not have everything.
    pub fn unsent_models<'m>(&self, models: &'m [ModelFacts]) -> Vec<&'m ModelFacts> {
        let sent = |m: &&ModelFacts| self.item(&model_item(m)).digest == Some(m.digest());
        models.iter().filter(|m| !sent(m)).collect()
    }

    /// Sends versions, oldest first. Returns how many were sent now.
    ///
    /// # Errors
    /// [`MlflowError`]; what was sent before is recorded.
    pub fn send_models(
        &mut self,
        study: &StudyRecord,
        models: &[ModelFacts],
    ) -> Result<usize, MlflowError> {
        let unsent: Vec<ModelFacts> = self.unsent_models(models).into_iter().cloned().collect();
        if unsent.is_empty() {
            return Ok(0);
        }
        let session = self.connect(study)?;
        for model in &unsent {
            self.send_model(&session, model)?;
        }
        Ok(unsent.len())
    }

    fn send_model(&mut self, session: &Session, model: &ModelFacts) -> Result<(), MlflowError> {
        let (name, run_id) = (model_item(model), &session.parent.run_id);
        let id = format!("{}/{}/{}", self.noted.origin, model.model, model.version);
        let mut tags = BTreeMap::from([
            (ID_TAG.to_owned(), id.clone()),
            (STUDY_TAG.to_owned(), self.study.clone()),
            ("automl.version".to_owned(), model.version.to_string()),
            ("automl.sha256".to_owned(), model.file.sha256.clone()),
        ]);
        if let Some(trial) = model.trial {
            tags.insert("automl.trial".to_owned(), trial.to_string());
        }
        let mut item = self.item(&name);
        // A stage that changed needs no files again.
        if item.digest.is_none() {
            let uri = self.place(session, model, &id, &tags)?;
            item = self.item(&name);
            let logged = item.run_id.clone().filter(|key| key != IN_RUN);
            let bytes = self
                .store
                .artifacts()
                .read(&model.file.path, &model.file.sha256)?;
            let folder = folder(model, &bytes, run_id, logged.as_deref())?;
            for (path, bytes) in &folder.files {
                self.client.upload(&uri, path, bytes)?;
            }
            match &logged {
                Some(key) => {
                    let time = millis(model.created);
                    let metrics = model.named_metrics().into_iter();
                    let metrics: Vec<Metric> = metrics
                        .map(|(key, value)| Metric {
                            key,
                            value,
                            step: 0,
                            time,
                        })
                        .collect();
                    self.client.log(run_id, &[], &metrics, Some(key))?;
                    self.client.finish_model(run_id, key)?;
                }
                None => self.client.log_model(run_id, &folder.description)?,
            }
        }
        let logged = item.run_id.clone().filter(|key| key != IN_RUN);
        let version = self.register(session, model, logged.as_deref(), &id, &tags)?;
        self.client
            .stage(&model.model, &version, model.mlflow_stage())?;
        self.aliases(model, &version)?;
        item.digest = Some(model.digest());
        self.put(vec![(name, item)])
    }

    /// Where the files go: the logged model, found or made, or a folder of the run.
    fn place(
        &mut self,
        session: &Session,
        model: &ModelFacts,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, MlflowError> {
        let name = model_item(model);
        let mut item = self.item(&name);
        let in_run = format!("{}/{PATH}", session.parent.artifact_uri);
        if item.run_id.as_deref() == Some(IN_RUN) {
            return Ok(in_run);
        }
        if item.doubt.is_some() || item.run_id.is_some() {
            match self.client.model_with_tag(&session.experiment, ID_TAG, id) {
                Ok(Some(found)) => {
                    item.run_id = Some(found.model_id);
                    self.put(vec![(name, item)])?;
                    return Ok(found.artifact_uri);
                }
                Ok(None) => {}
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        item.doubt = Some(millis(SystemClock.now()));
        self.put(vec![(name.clone(), item.clone())])?;
        let params = model.flat_params();
        // Names of logged models are parts of addresses.
        let plain: String = model
            .model
            .chars()
            .map(|c| if "/:.%\"'".contains(c) { '-' } else { c })
            .collect();
        let made = self.client.create_model(
            &session.experiment,
            &session.parent.run_id,
            &plain,
            &params[..params.len().min(100)],
            tags,
        );
        let uri = match made {
            Ok(made) => {
                item.run_id = Some(made.model_id);
                made.artifact_uri
            }
            Err(error) if error.is_missing() => {
                item.run_id = Some(IN_RUN.to_owned());
                in_run
            }
            Err(error) => return Err(error),
        };
        item.doubt = None;
        self.put(vec![(name, item)])?;
        Ok(uri)
    }

    /// The number of the version on the server, found or made.
    fn register(
        &mut self,
        session: &Session,
        model: &ModelFacts,
        logged: Option<&str>,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, MlflowError> {
        let name = version_item(model);
        let mut item = self.item(&name);
        if let Some(version) = item.run_id {
            return Ok(version);
        }
        let run_id = &session.parent.run_id;
        self.client.registered_model(&model.model)?;
        let mut version = None;
        if item.doubt.is_some() {
            version = self
                .client
                .version_with_tag(&model.model, run_id, ID_TAG, id)?;
        }
        let version = match version {
            Some(version) => version,
            None => {
                item.doubt = Some(millis(SystemClock.now()));
                self.put(vec![(name.clone(), item)])?;
                let source = match logged {
                    Some(key) => format!("models:/{key}"),
                    None => format!("{}/{PATH}", session.parent.artifact_uri),
                };
                self.client
                    .create_version(&model.model, &source, run_id, logged, tags)?
            }
        };
        let item = Item {
            run_id: Some(version.clone()),
            ..Item::default()
        };
        self.put(vec![(name, item)])?;
        Ok(version)
    }

    /// Lets the alias of its stage name the version, and none of the others.
    fn aliases(&self, model: &ModelFacts, version: &str) -> Result<(), MlflowError> {
        let (name, wanted) = (&model.model, model.alias());
        let now = self.client.aliases(name)?;
        for (alias, of) in &now {
            let ours = ALIASES.contains(&alias.as_str());
            if ours && of == version && Some(alias.as_str()) != wanted {
                self.client.delete_alias(name, alias)?;
            }
        }
        let is = |alias: &str| now.iter().any(|(a, of)| a == alias && of == version);
        match wanted {
            Some(alias) if !is(alias) => self.client.set_alias(name, alias, version),
            _ => Ok(()),
        }
    }
}
