//! MLflow's REST interface, as far as studies need it: blocking calls with time limits, errors told apart by what helps.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value as Json, json};
use ureq::Agent;
use ureq::http::Response;

use super::MlflowError;
use super::run::{DatasetFacts, Metric, RunFacts, RunStatus};

/// The most values of each kind in one `log-batch`, and the most bytes; MLflow takes 1 MB.
const BATCH_METRICS: usize = 1000;
const BATCH_PARAMS: usize = 100;
const BATCH_TOTAL: usize = 1000;
const BATCH_BYTES: usize = 800_000;

/// The most bytes of an answer that are read.
const ANSWER: u64 = 32 << 20;

/// What in a path is not written as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until the answer is read.
    pub call: Duration,
    /// Until a file is sent and answered.
    pub upload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(3),
            call: Duration::from_secs(15),
            upload: Duration::from_secs(120),
        }
    }
}

/// A connection to one server. It has no `Debug`, since it knows the password.
pub struct Client {
    server: String,
    agent: Agent,
    limits: Limits,
    authorization: Option<String>,
}

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

/// A logged model as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// Its key.
    pub model_id: String,
    /// Where its files are.
    pub artifact_uri: String,
}

impl Client {
    /// A client of `server`, an address from [`super::address`]. User name, password and token come from the environment,
    /// as for MLflow's own client. No request is made.
    pub fn new(server: &str, limits: Limits) -> Self {
        let set = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
        let authorization = match (
            set("MLFLOW_TRACKING_USERNAME"),
            set("MLFLOW_TRACKING_TOKEN"),
        ) {
            (Some(user), _) => {
                let password = set("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
                Some(basic(&user, &password))
            }
            (None, Some(token)) => Some(format!("Bearer {token}")),
            (None, None) => None,
        };
        Self::with_authorization(server, limits, authorization)
    }

    /// As [`Client::new`], with the value of the header `Authorization` in place of what the environment says.
    pub fn with_authorization(server: &str, limits: Limits, authorization: Option<String>) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(limits.connect))
            .timeout_resolve(Some(limits.connect))
            .timeout_global(Some(limits.call))
            .http_status_as_error(false)
            // A redirected POST would lose its body, and credentials are for one server only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("automl/", env!("CARGO_PKG_VERSION")))
            .build();
        Client {
            server: server.to_owned(),
            agent: config.into(),
            limits,
            authorization,
        }
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    fn get(&self, call: &str, query: &[(&str, &str)]) -> Result<Json, MlflowError> {
        let mut request = self.agent.get(self.url(call)).query_pairs(query.to_vec());
        if let Some(secret) = &self.authorization {
            request = request.header("Authorization", secret);
        }
        self.answer(call, request.call())
    }

    /// A call with a JSON body.
    fn say(&self, method: &str, call: &str, body: &Json) -> Result<Json, MlflowError> {
        let url = self.url(call);
        let mut request = match method {
            "PATCH" => self.agent.patch(url),
            "DELETE" => self.agent.delete(url).force_send_body(),
            _ => self.agent.post(url),
        };
        request = request.header("Content-Type", "application/json");
        if let Some(secret) = &self.authorization {
            request = request.header("Authorization", secret);
        }
        let sent = request.send(body.to_string());
        self.answer(call, sent)
    }

    fn post(&self, call: &str, body: &Json) -> Result<Json, MlflowError> {
        self.say("POST", call, body)
    }

    fn url(&self, call: &str) -> String {
        format!("{}/api/2.0/{call}", self.server)
    }

    fn answer(
        &self,
        call: &str,
        sent: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Json, MlflowError> {
        let mut answer = sent.map_err(|e| self.unreachable(&e))?;
        let status = answer.status().as_u16();
        let header = |name: &str| {
            answer
                .headers()
                .get(name)?
                .to_str()
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let wait: Option<u64> = header("retry-after");
        let body = answer.body_mut().with_config().limit(ANSWER);
        let text = body.read_to_string().map_err(|e| self.unreachable(&e))?;
        let json: Option<Json> = match text.trim() {
            "" => Some(json!({})),
            text => serde_json::from_str(text).ok(),
        };
        let server = || self.server.clone();
        let said = |json: &Json| match json["message"].as_str() {
            Some(message) => short(message),
            None => short(&text),
        };
        match (status, json) {
            (200..=299, Some(json)) => Ok(json),
            // What does not even know the method will not learn it.
            (501, _) => Err(self.not_mlflow(call, "status 501")),
            (408 | 429 | 500..=599, json) => Err(MlflowError::Busy {
                server: server(),
                status,
                call: call.to_owned(),
                what: json.map_or_else(|| short(&text), |json| said(&json)),
                wait,
            }),
            (401 | 403, _) => Err(MlflowError::Denied {
                server: server(),
                status,
                what: short(&text),
            }),
            (_, Some(json)) if json["error_code"].is_string() => Err(MlflowError::Refused {
                server: server(),
                status,
                code: json["error_code"].as_str().unwrap_or("").to_owned(),
                call: call.to_owned(),
                what: said(&json),
            }),
            // A route that an older server does not have.
            (404, _) => Err(MlflowError::Refused {
                server: server(),
                status,
                code: "ENDPOINT_NOT_FOUND".to_owned(),
                call: call.to_owned(),
                what: short(&text),
            }),
            _ => Err(self.not_mlflow(call, &format!("status {status}: {}", short(&text)))),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> MlflowError {
        use std::io::ErrorKind;
        // Only what certainly never arrived counts as that.
        let arrived = match error {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => false,
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => false,
            ureq::Error::Io(e) => e.kind() != ErrorKind::ConnectionRefused,
            _ => true,
        };
        MlflowError::Unreachable {
            server: self.server.clone(),
            what: match error {
                ureq::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            },
            arrived,
        }
    }

    fn not_mlflow(&self, call: &str, what: &str) -> MlflowError {
        MlflowError::NotMlflow {
            server: self.server.clone(),
            call: call.to_owned(),
            what: what.to_owned(),
        }
    }

    fn word(&self, call: &str, answer: &Json, at: &str) -> Result<String, MlflowError> {
        match answer.pointer(at) {
            Some(Json::String(word)) => Ok(word.clone()),
            Some(Json::Number(number)) => Ok(number.to_string()),
            _ => Err(self.not_mlflow(call, &format!("`{at}` is not in its answer"))),
        }
    }

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

    /// Writes a file of a run or a model: `uri` is what the server said of it, `path` is relative to that.
    ///
    /// # Errors
    /// [`MlflowError::Artifacts`] where only MLflow's own client can write.
    pub fn upload(&self, uri: &str, path: &str, bytes: &[u8]) -> Result<(), MlflowError> {
        if let Some(folder) = self.local(uri) {
            let file = folder.join(path);
            if let Some(folder) = file.parent() {
                crate::fsio::create_dir(folder)?;
            }
            crate::fsio::replace(&file, |out| out.write_all(bytes))?;
            return Ok(());
        }
        let Some(rest) = uri.strip_prefix("mlflow-artifacts:") else {
            return Err(MlflowError::Artifacts {
                uri: uri.to_owned(),
            });
        };
        // `mlflow-artifacts://host:port/1/…` names the host that we speak with anyway.
        let rest = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
            None => rest,
        };
        let parts = rest.split('/').chain(path.split('/'));
        let parts = parts.filter(|p| !p.is_empty());
        let parts: Vec<String> = parts
            .map(|p| utf8_percent_encode(p, PATH).to_string())
            .collect();
        let call = "mlflow-artifacts/artifacts";
        let url = format!("{}/{}", self.url(call), parts.join("/"));
        // A file may be sent twice, and a model is several: one refusal shall not begin all of them again.
        let mut pause = Duration::from_millis(200);
        loop {
            match self.put(call, &url, bytes) {
                Err(MlflowError::Busy { .. }) if pause < Duration::from_secs(1) => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                other => return other,
            }
        }
    }

    fn put(&self, call: &str, url: &str, bytes: &[u8]) -> Result<(), MlflowError> {
        let mut request = self
            .agent
            .put(url)
            .config()
            .timeout_global(Some(self.limits.upload))
            .build()
            .header("Content-Type", "application/octet-stream");
        if let Some(secret) = &self.authorization {
            request = request.header("Authorization", secret);
        }
        self.answer(call, request.send(bytes))?;
        Ok(())
    }

    /// The folder of this machine that `uri` names, if server and client share the machine.
    fn local(&self, uri: &str) -> Option<PathBuf> {
        let rest = self.server.split_once("://")?.1;
        let host = rest.split('/').next()?;
        let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return None;
        }
        let path = uri.strip_prefix("file://").unwrap_or(uri);
        if !path.starts_with('/') {
            return None;
        }
        let path = percent_decode_str(path).decode_utf8().ok()?;
        Some(PathBuf::from(path.as_ref()))
    }

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

fn tags(given: &BTreeMap<String, String>) -> Vec<Json> {
    given
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
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

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    if text.trim_start().starts_with('<') {
        return "a page of HTML".to_owned();
    }
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Who MLflow shall say made a run.
pub(super) fn user() -> String {
    ["MLFLOW_TRACKING_USERNAME", "USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|key| env::var(key).ok().filter(|v| !v.is_empty()))
        .unwrap_or_else(|| "unknown".to_owned())
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
        assert_eq!(
            basic("aladdin", "opensesame"),
            "Basic YWxhZGRpbjpvcGVuc2VzYW1l"
        );
    }
}
