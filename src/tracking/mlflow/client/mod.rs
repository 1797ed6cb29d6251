//! MLflow's REST interface, as far as studies need it: blocking calls with time limits, errors told apart by what helps.

mod models;
mod runs;

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

pub use models::KnownModel;
pub use runs::KnownRun;

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
}

fn tags(given: &BTreeMap<String, String>) -> Vec<Json> {
    given
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
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
    fn credentials_as_http_wants_them() {
        let header = basic("aladdin", "opensesame");
        assert_eq!(header, "Basic YWxhZGRpbjpvcGVuc2VzYW1l");
    }
}
