//! What can go wrong between a study and MLflow.

use std::path::PathBuf;

use crate::db::DbError;
use crate::fsio::FileError;
use crate::study::storage::StorageError;
use crate::tracking::TrackingError;

/// Why something could not be sent or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MlflowError {
    /// No address of a server.
    #[error("the MLflow server `{typed}` cannot be used: {what}")]
    Address {
        /// What was written, without a password.
        typed: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server did not answer: it is down, hangs, or cut the connection.
    #[error("cannot reach the MLflow server {server}: {what}")]
    Unreachable {
        /// The server.
        server: String,
        /// What the network said.
        what: String,
        /// Whether the request may have arrived all the same.
        arrived: bool,
    },
    /// The server cannot answer now: it is overloaded, full or broken.
    #[error("the MLflow server {server} answered {status} to {call}: {what}")]
    Busy {
        /// The server.
        server: String,
        /// The status, 408, 429 or 5xx.
        status: u16,
        /// The call.
        call: String,
        /// The beginning of what it said.
        what: String,
        /// How many seconds it asked to wait.
        wait: Option<u64>,
    },
    /// The server does not let us in.
    #[error(
        "the MLflow server {server} does not let us in ({status}: {what}); if it wants credentials, set \
         MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    )]
    Denied {
        /// The server.
        server: String,
        /// 401 or 403.
        status: u16,
        /// The beginning of what it said.
        what: String,
    },
    /// The server understood and said no.
    #[error("the MLflow server {server} refused {call} ({status} {code}): {what}")]
    Refused {
        /// The server.
        server: String,
        /// The status.
        status: u16,
        /// MLflow's code, as in `INVALID_PARAMETER_VALUE`.
        code: String,
        /// The call.
        call: String,
        /// What it said.
        what: String,
    },
    /// The answer is none of an MLflow server.
    #[error("{server} does not answer {call} as MLflow does: {what}; is it an MLflow server?")]
    NotMlflow {
        /// The server.
        server: String,
        /// The call.
        call: String,
        /// What is missing.
        what: String,
    },
    /// The parent run was deleted.
    #[error(
        "the run {run} of study `{study}` was deleted in MLflow; hint: `mlflow runs restore --run-id {run}`, then `automl tracking sync {study}`"
    )]
    Deleted {
        /// The study.
        study: String,
        /// The run.
        run: String,
    },
    /// The experiment was deleted.
    #[error(
        "the experiment `{name}` was deleted in MLflow; hint: `mlflow experiments restore --experiment-id {id}`, or name another \
         one with `tracking: {{experiment: NAME}}`"
    )]
    DeletedExperiment {
        /// Its name.
        name: String,
        /// Its key.
        id: String,
    },
    /// Artifacts live where only MLflow's own client writes.
    #[error(
        "the MLflow server keeps artifacts in `{uri}`, where only its own client can write; start it with `--serve-artifacts` to send models"
    )]
    Artifacts {
        /// The address of the artifacts.
        uri: String,
    },
    /// The server took all but some trials.
    #[error("the MLflow server refused {refused} trials; the first: {why}")]
    Incomplete {
        /// How many.
        refused: usize,
        /// Why the first of them.
        why: String,
    },
    /// Another process is sending the same study.
    #[error("another process is sending study `{study}` to MLflow; try again when it has ended")]
    Locked {
        /// The study.
        study: String,
    },
    /// No server is known for the study.
    #[error(
        "study `{study}` has no MLflow server; hint: `AUTOML_MLFLOW_URI=http://localhost:5000 automl tracking sync {study}`"
    )]
    NoServer {
        /// The study.
        study: String,
    },
    /// A file that may not be replaced.
    #[error("`{}` is not replaced: {what}; write to another file with `--output`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        what: String,
    },
    /// The file for MLflow cannot be written.
    #[error("cannot write `{}`: {what}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        what: String,
    },
    /// A model cannot be put into MLflow's form.
    #[error("version {version} of model `{model}` cannot be read: {what}")]
    Model {
        /// The model.
        model: String,
        /// The version.
        version: u64,
        /// Why not.
        what: String,
    },
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// The study cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl MlflowError {
    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            MlflowError::Unreachable { .. } | MlflowError::Busy { .. } | MlflowError::Locked { .. }
        )
    }

    /// Whether the server said no to this one request, and would take others.
    pub fn is_refusal(&self) -> bool {
        matches!(self, MlflowError::Refused { .. })
    }

    /// Whether what was asked for is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, MlflowError::Refused { status: 404, .. })
    }

    /// Whether the request may have had its effect although it failed.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            MlflowError::Unreachable { arrived, .. } => *arrived,
            MlflowError::Busy { status, .. } => *status != 429,
            MlflowError::NotMlflow { .. } => true,
            _ => false,
        }
    }
}
