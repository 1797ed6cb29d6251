//! What is known of a version: plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::study::record::Direction;

use super::RegistryError;
use super::gate::Rule;

/// How far a version has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Registered, and not yet through a gate.
    Candidate,
    /// Through the gate, being tried.
    Staging,
    /// The one that answers.
    Production,
    /// Replaced or withdrawn.
    Archived,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Stage; 4] = [
        Stage::Candidate,
        Stage::Staging,
        Stage::Production,
        Stage::Archived,
    ];

    /// The word for it, as stored and as typed.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Candidate => "candidate",
            Stage::Staging => "staging",
            Stage::Production => "production",
            Stage::Archived => "archived",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        Stage::ALL
            .into_iter()
            .find(|stage| stage.name() == text)
            .ok_or_else(|| RegistryError::NoStage {
                stage: text.to_owned(),
            })
    }
}

/// The data that a version was made from and measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRef {
    /// The name, as in `telco`.
    pub name: String,
    /// The sha256 of the data.
    pub sha256: String,
    /// The sha256 of the rows that the metrics were measured on; `None` when it was not recorded. Two versions can
    /// be compared only when both agree on the data and on these rows.
    pub holdout_sha256: Option<String>,
}

/// The metric that the study optimized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primary {
    /// Its name, as in `roc_auc`.
    pub metric: String,
    /// Whether smaller or larger is better.
    pub direction: Direction,
}

/// What made a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The release of this program.
    pub automl: String,
    /// The seed of the study.
    pub seed: Option<u64>,
    /// The machine.
    pub host: String,
    /// What kind of prediction it makes, as in `binary classification`.
    pub task: String,
    /// A summary of the columns it expects.
    pub schema: Json,
}

/// A version to be registered.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The model's name.
    pub model: String,
    /// Relative names and bytes, the model file first.
    pub files: Vec<(String, Vec<u8>)>,
    /// Holdout metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// The metric that the study optimized.
    pub primary: Primary,
    /// The parameters of the trial.
    pub params: Json,
    /// The data.
    pub dataset: DatasetRef,
    /// The study.
    pub study: Option<String>,
    /// The number of the trial in the study.
    pub trial: Option<u64>,
    /// The rules it has to pass on its way to production.
    pub gate: Vec<Rule>,
    /// What made it.
    pub source: Source,
}

/// What a registration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// The number of the version.
    pub version: u64,
    /// Whether it is new; `false` when the same bytes were registered before.
    pub created: bool,
    /// Where the version is: `candidate` when it is new.
    pub stage: Stage,
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The name it was registered under.
    pub name: String,
    /// Where it is, relative to the artifacts of the store.
    pub path: String,
    /// The sha256 of its bytes.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
}

/// A registered version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionRecord {
    /// The model's name.
    pub model: String,
    /// The number, from 1.
    pub version: u64,
    /// Where it is.
    pub stage: Stage,
    /// When it was registered.
    pub created: Timestamp,
    /// Its files, the model file first; never empty.
    pub files: Vec<FileRecord>,
    /// Holdout metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// The metric that the study optimized.
    pub primary: Primary,
    /// The parameters of the trial.
    pub params: Json,
    /// The data.
    pub dataset: DatasetRef,
    /// The study.
    pub study: Option<String>,
    /// The number of the trial in the study.
    pub trial: Option<u64>,
    /// The rules it has to pass on its way to production.
    pub gate: Vec<Rule>,
    /// What made it.
    pub source: Source,
}
