//! A small MLflow server that keeps what it is told, answers in the shape of the real one, and fails on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

/// What happens to a request.
pub enum Fault {
    /// It is answered with this status and has no effect.
    Status(u16),
    /// The connection is closed before anything happens.
    Lost,
    /// It has its effect, and the connection is closed without an answer.
    Unanswered,
    /// The connection is closed, and the effect comes later.
    Late(Duration),
    /// Nothing happens for so long, then the connection is closed.
    Hang(Duration),
    /// The function is called before the effect (`true`) or after it, and then the connection is closed.
    Freeze(bool, Box<dyn FnOnce() + Send>),
}

type Plan = Box<dyn FnMut(usize, &str) -> Option<Fault> + Send>;

#[derive(Clone, Debug, Default)]
pub struct Run {
    pub id: String,
    pub tags: BTreeMap<String, String>,
    pub params: BTreeMap<String, String>,
    /// Name, step, time and value as text.
    pub metrics: BTreeSet<(String, i64, i64, String)>,
    pub status: String,
    pub started: i64,
    pub ended: Option<i64>,
    pub deleted: bool,
    pub inputs: Vec<Json>,
    pub outputs: Vec<Json>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub id: String,
    pub tags: BTreeMap<String, String>,
    pub status: String,
}

#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    pub source: String,
    pub run: String,
    pub stage: String,
    pub tags: BTreeMap<String, String>,
}

#[derive(Default)]
pub struct State {
    pub experiments: Vec<String>,
    pub runs: Vec<Run>,
    pub models: Vec<Model>,
    pub registered: BTreeSet<String>,
    pub versions: Vec<Version>,
    pub aliases: BTreeMap<(String, String), String>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Method, path and header `Authorization` of every request.
    pub requests: Vec<(String, String, Option<String>)>,
    /// Whether it knows logged models.
    pub old: bool,
    plan: Option<Plan>,
}

impl State {
    /// Runs that are not deleted and have a parent.
    pub fn nested(&self) -> Vec<&Run> {
        self.alive(true)
    }

    /// Runs that are not deleted and have none.
    pub fn parents(&self) -> Vec<&Run> {
        self.alive(false)
    }

    fn alive(&self, nested: bool) -> Vec<&Run> {
        let wanted = |r: &&Run| !r.deleted && r.tags.contains_key("mlflow.parentRunId") == nested;
        self.runs.iter().filter(wanted).collect()
    }
}

/// Runs until the test ends.
pub struct Server {
    pub url: String,
    pub state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Server { url, state }
    }

    /// Decides from now on what happens to the n-th request from now on, by its number and its path.
    pub fn plan(&self, plan: impl FnMut(usize, &str) -> Option<Fault> + Send + 'static) {
        let mut state = self.state.lock().unwrap();
        state.requests.clear();
        state.plan = Some(Box::new(plan));
    }

    pub fn heal(&self) {
        self.plan(|_, _| None);
    }
}

fn serve(stream: &TcpStream, shared: &Arc<Mutex<State>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut head = String::new();
        let (mut length, mut authorization) = (0, None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "authorization" => authorization = Some(value.trim().to_owned()),
                    _ => {}
                }
            }
            if head.is_empty() {
                head = line.trim().to_owned();
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head.split(' ');
        let (method, path) = (
            words.next().unwrap().to_owned(),
            words.next().unwrap().to_owned(),
        );
        let fault = {
            let mut state = shared.lock().unwrap();
            let n = state.requests.len();
            state
                .requests
                .push((method.clone(), path.clone(), authorization));
            state.plan.as_mut().and_then(|plan| plan(n, &path))
        };
        let act = || act(&mut shared.lock().unwrap(), &method, &path, &body);
        let (status, answer) = match fault {
            None => act(),
            Some(Fault::Status(status)) => (
                status,
                json!({"error_code": "INTERNAL_ERROR", "message": "on purpose"}),
            ),
            Some(Fault::Lost) => return,
            Some(Fault::Unanswered) => {
                act();
                return;
            }
            Some(Fault::Late(time)) => {
                let _ = stream.shutdown(std::net::Shutdown::Both);
                std::thread::sleep(time);
                act();
                return;
            }
            Some(Fault::Hang(time)) => {
                std::thread::sleep(time);
                return;
            }
            Some(Fault::Freeze(before, then)) => {
                if before {
                    then();
                } else {
                    act();
                    then();
                }
                return;
            }
        };
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if out.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

fn refuse(status: u16, code: &str) -> (u16, Json) {
    (status, json!({"error_code": code, "message": code}))
}

fn tags(list: &Json) -> BTreeMap<String, String> {
    let word = |v: &Json| v.as_str().unwrap().to_owned();
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .map(|t| (word(&t["key"]), word(&t["value"])))
        .collect()
}

fn run_json(run: &Run) -> Json {
    json!({"info": {
        "run_id": run.id, "artifact_uri": format!("mlflow-artifacts:/1/{}/artifacts", run.id),
        "lifecycle_stage": if run.deleted { "deleted" } else { "active" },
    }})
}

fn model_json(model: &Model) -> Json {
    json!({"info": {
        "model_id": model.id, "artifact_uri": format!("mlflow-artifacts:/1/models/{}/artifacts", model.id),
    }})
}

/// The value in a filter such as ``tags.`automl.id` = 'x'``.
fn wanted(filter: &str) -> (String, String) {
    let tag = filter.split('`').nth(1).unwrap_or("").to_owned();
    (tag, filter.split('\'').nth(1).unwrap().to_owned())
}

#[expect(clippy::too_many_lines, reason = "one arm for each call")]
fn act(state: &mut State, method: &str, path: &str, body: &[u8]) -> (u16, Json) {
    let (route, query) = path.split_once('?').unwrap_or((path, ""));
    let route = route.strip_prefix("/api/2.0/").unwrap_or(route);
    if let Some(file) = route.strip_prefix("mlflow-artifacts/artifacts/") {
        state.files.insert(file.to_owned(), body.to_vec());
        return (200, json!({}));
    }
    let body: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
    let word = |key: &str| body[key].as_str().unwrap_or("").to_owned();
    let query = |key: &str| {
        let pair = query
            .split('&')
            .find_map(|p| p.strip_prefix(&format!("{key}=")));
        pair.unwrap_or("").replace("%20", " ")
    };
    match (method, route) {
        ("GET", "mlflow/experiments/get-by-name") => {
            match state
                .experiments
                .iter()
                .position(|e| *e == query("experiment_name"))
            {
                Some(at) => (
                    200,
                    json!({"experiment": {"experiment_id": (at + 1).to_string()}}),
                ),
                None => refuse(404, "RESOURCE_DOES_NOT_EXIST"),
            }
        }
        ("POST", "mlflow/experiments/create") => {
            if state.experiments.contains(&word("name")) {
                return refuse(400, "RESOURCE_ALREADY_EXISTS");
            }
            state.experiments.push(word("name"));
            (
                200,
                json!({"experiment_id": state.experiments.len().to_string()}),
            )
        }
        ("POST", "mlflow/runs/create") => {
            let run = Run {
                id: format!("r{}", state.runs.len()),
                tags: tags(&body["tags"]),
                status: "RUNNING".to_owned(),
                started: body["start_time"].as_i64().unwrap(),
                ..Run::default()
            };
            state.runs.push(run.clone());
            (200, json!({"run": run_json(&run)}))
        }
        ("GET", "mlflow/runs/get") => match state.runs.iter().find(|r| r.id == query("run_id")) {
            Some(run) => (200, json!({"run": run_json(run)})),
            None => refuse(404, "RESOURCE_DOES_NOT_EXIST"),
        },
        ("POST", "mlflow/runs/search") => {
            let (tag, value) = wanted(&word("filter"));
            let same = |r: &&Run| !r.deleted && r.tags.get(&tag) == Some(&value);
            let found: Vec<Json> = state.runs.iter().filter(same).map(run_json).collect();
            (200, json!({"runs": found}))
        }
        ("POST", "mlflow/logged-models" | "mlflow/logged-models/search") if state.old => {
            refuse(404, "ENDPOINT_NOT_FOUND")
        }
        ("POST", "mlflow/logged-models") => {
            let model = Model {
                id: format!("m-{}", state.models.len()),
                tags: tags(&body["tags"]),
                status: "LOGGED_MODEL_PENDING".to_owned(),
            };
            state.models.push(model.clone());
            (200, json!({"model": model_json(&model)}))
        }
        ("POST", "mlflow/logged-models/search") => {
            let (tag, value) = wanted(&word("filter"));
            let same = |m: &&Model| m.tags.get(&tag) == Some(&value);
            let found: Vec<Json> = state.models.iter().filter(same).map(model_json).collect();
            (200, json!({"models": found}))
        }
        ("PATCH", _) => {
            let id = word("model_id");
            let model = state.models.iter_mut().find(|m| m.id == id).unwrap();
            model.status = word("status");
            (200, json!({}))
        }
        ("POST", "mlflow/registered-models/create") => {
            match state.registered.insert(word("name")) {
                true => (200, json!({})),
                false => refuse(400, "RESOURCE_ALREADY_EXISTS"),
            }
        }
        ("POST", "mlflow/model-versions/create") => {
            assert!(state.registered.contains(&word("name")));
            state.versions.push(Version {
                name: word("name"),
                source: word("source"),
                run: word("run_id"),
                stage: "None".to_owned(),
                tags: tags(&body["tags"]),
            });
            (
                200,
                json!({"model_version": {"version": state.versions.len().to_string()}}),
            )
        }
        ("GET", "mlflow/model-versions/search") => {
            let versions = state.versions.iter().enumerate();
            let listed: Vec<Json> = versions
                .map(|(at, v)| {
                    let tags: Vec<Json> = v
                        .tags
                        .iter()
                        .map(|(k, v)| json!({"key": k, "value": v}))
                        .collect();
                    json!({"name": v.name, "version": (at + 1).to_string(), "tags": tags})
                })
                .collect();
            (200, json!({"model_versions": listed}))
        }
        ("POST", "mlflow/model-versions/transition-stage") => {
            let at: usize = word("version").parse().unwrap();
            state.versions[at - 1].stage = word("stage");
            (200, json!({}))
        }
        ("GET", "mlflow/registered-models/get") => {
            let of = query("name");
            let aliases = state.aliases.iter().filter(|((name, _), _)| *name == of);
            let aliases: Vec<Json> = aliases
                .map(|((_, alias), version)| json!({"alias": alias, "version": version}))
                .collect();
            (
                200,
                json!({"registered_model": {"name": of, "aliases": aliases}}),
            )
        }
        ("POST", "mlflow/registered-models/alias") => {
            state
                .aliases
                .insert((word("name"), word("alias")), word("version"));
            (200, json!({}))
        }
        ("DELETE", "mlflow/registered-models/alias") => {
            state
                .aliases
                .remove(&(word("name"), word("alias")))
                .unwrap();
            (200, json!({}))
        }
        ("POST", _) => {
            let id = word("run_id");
            let Some(run) = state.runs.iter_mut().find(|r| r.id == id) else {
                return refuse(404, "RESOURCE_DOES_NOT_EXIST");
            };
            of_run(run, route, &body)
        }
        _ => refuse(404, "ENDPOINT_NOT_FOUND"),
    }
}

fn of_run(run: &mut Run, route: &str, body: &Json) -> (u16, Json) {
    if run.deleted {
        return refuse(400, "INVALID_PARAMETER_VALUE");
    }
    match route {
        "mlflow/runs/log-batch" => {
            let params = tags(&body["params"]);
            if params
                .iter()
                .any(|(k, v)| run.params.get(k).is_some_and(|w| w != v))
            {
                return refuse(400, "INVALID_PARAMETER_VALUE");
            }
            if params.values().any(|v| v == "refuse me") {
                return refuse(400, "INVALID_PARAMETER_VALUE");
            }
            run.params.extend(params);
            for m in body["metrics"].as_array().into_iter().flatten() {
                let whole = |key: &str| m[key].as_i64().unwrap();
                let key = m["key"].as_str().unwrap().to_owned();
                let value = m["value"].to_string();
                run.metrics
                    .insert((key, whole("step"), whole("timestamp"), value));
            }
            run.tags.extend(tags(&body["tags"]));
        }
        "mlflow/runs/update" => {
            run.status = body["status"].as_str().unwrap().to_owned();
            run.ended = body["end_time"].as_i64().or(run.ended);
        }
        "mlflow/runs/log-inputs" => run.inputs = body["datasets"].as_array().unwrap().clone(),
        "mlflow/runs/outputs" => run.outputs = body["models"].as_array().unwrap().clone(),
        "mlflow/runs/log-model" => run.outputs = vec![body["model_json"].clone()],
        "mlflow/runs/delete" => run.deleted = true,
        _ => return refuse(404, "ENDPOINT_NOT_FOUND"),
    }
    (200, json!({}))
}
