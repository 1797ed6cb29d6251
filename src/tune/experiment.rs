//! The experiment file: data, preprocessing, evaluation, search and registry, in YAML.
//!
//! Every key is checked, and a message names file, line and column. What is not written has the value shown here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::data::table::{Kind, Task};
use crate::learn::preprocess::{Categories, Missing, PRESETS, Preprocess};
use crate::study::pruner::Pruner;
use crate::study::sampler::Sampler;
use crate::study::space::Value;
use crate::study::stopper::{self, Stopper};

use super::named::{PrunerSpec, SamplerSpec};
use super::params::ParamSpec;
use super::program::memory;
use super::yaml::{Ordered, ValueOr, YamlError, closest, parse, plain, value_or};

/// An experiment as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The study's name.
    pub name: String,
    /// The seed of every random decision.
    #[serde(default)]
    pub seed: u64,
    /// Where the rows come from.
    pub data: DataSpec,
    /// How columns become features.
    #[serde(default)]
    pub preprocess: PreprocessSpec,
    /// The part that is kept back for the end.
    #[serde(default)]
    pub holdout: HoldoutSpec,
    /// Cross-validation of every trial.
    #[serde(default)]
    pub cv: CvSpec,
    /// What trials are compared by; by default `roc_auc`, `log_loss` for three classes or more, `rmse` for numbers.
    #[serde(default)]
    pub metric: Option<String>,
    /// What is tried.
    #[serde(default)]
    pub search: SearchPart,
    /// What becomes the final model.
    #[serde(default, rename = "final")]
    pub final_model: FinalSpec,
    /// How its probabilities are calibrated.
    #[serde(default)]
    pub calibration: CalibrationSpec,
    /// Where the best model goes.
    #[serde(default)]
    pub registry: RegistrySpec,
    /// Who is told of the trials.
    #[serde(default)]
    pub tracking: TrackingSpec,
}

/// Where the rows come from: a known source or a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// A known source: `telco`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A CSV file; a relative path starts at the folder of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The column to predict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The positive one of two classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive: Option<Value>,
    /// The column that says how much each row counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Columns to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Kinds of columns that are guessed wrong.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, Kind>,
    /// Cells that mean missing, besides blank ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
    /// What kind of prediction is asked for, when the target could be either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What separates cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
}

/// A preset by name, or a preset with changes.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum PreprocessSpec {
    /// A preset as it is.
    Name(String),
    /// A preset with changes.
    Rules(PreprocessRules),
}

impl<'de> Deserialize<'de> for PreprocessSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WHAT: &str = "a preset such as `native`, or a preset with changes such as `{preset: telco, missing: median}`";
        match value_or(deserializer, WHAT, false)? {
            ValueOr::Value(name) => Ok(PreprocessSpec::Name(name.to_string())),
            ValueOr::List(_) => Err(D::Error::custom(format!("this must be {WHAT}"))),
            ValueOr::Keys(rules) => Ok(PreprocessSpec::Rules(rules)),
        }
    }
}

impl Default for PreprocessSpec {
    fn default() -> Self {
        PreprocessSpec::Name("native".to_owned())
    }
}

/// A preset and what differs from it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessRules {
    /// The preset to start from; `native` when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// See [`Preprocess::missing`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// See [`Preprocess::categories`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Categories>,
    /// See [`Preprocess::levels`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<BTreeMap<String, f64>>,
    /// See [`Preprocess::one_hot`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_hot: Option<Vec<String>>,
    /// See [`Preprocess::native`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Vec<String>>,
    /// See [`Preprocess::drop_first`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_first: Option<bool>,
}

/// The part that is kept back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HoldoutSpec {
    /// Its share of all rows, in (0, 1).
    pub fraction: f64,
    /// Whether classes keep their shares.
    pub stratify: bool,
}

impl Default for HoldoutSpec {
    fn default() -> Self {
        HoldoutSpec {
            fraction: 0.2,
            stratify: true,
        }
    }
}

/// Cross-validation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CvSpec {
    /// Folds, at least 2.
    pub folds: usize,
    /// How often, each time shuffled anew; at least 1.
    pub repeats: usize,
    /// Whether classes keep their shares.
    pub stratify: bool,
}

impl Default for CvSpec {
    fn default() -> Self {
        CvSpec {
            folds: 5,
            repeats: 1,
            stratify: true,
        }
    }
}

/// What is tried, and how much of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchPart {
    /// How many trials.
    pub trials: u64,
    /// No trial begins after this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// A trial that runs longer than so many seconds is a failed trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_timeout: Option<f64>,
    /// A trial whose folds hold more memory is a failed trial: an amount such as `500MB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_memory: Option<Value>,
    /// What ends the search before all trials have run, by the names of the table of stoppers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stop: BTreeMap<String, Json>,
    /// How many trials run at once. It is part of what the study is; threads are not.
    pub concurrency: usize,
    /// What proposes parameters: a name, or `{name: {setting: value}}`.
    pub sampler: SamplerSpec,
    /// What stops trials on the way: a name, or `{name: {setting: value}}`.
    pub pruner: PrunerSpec,
    /// What the steps are that a trial reports to the pruner.
    pub steps: StepsSpec,
    /// The learners to choose from.
    pub learners: Vec<String>,
    /// Their parameters; see [`super::search`].
    pub params: Ordered<ParamSpec>,
    /// Points to try first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<BTreeMap<String, Value>>,
}

impl Default for SearchPart {
    fn default() -> Self {
        SearchPart {
            trials: 100,
            timeout: None,
            trial_timeout: None,
            trial_memory: None,
            stop: BTreeMap::new(),
            concurrency: 4,
            sampler: SamplerSpec::default(),
            pruner: PrunerSpec::default(),
            steps: StepsSpec::default(),
            learners: vec!["random_forest".to_owned(), "gbt".to_owned()],
            params: Ordered::default(),
            enqueue: Vec::new(),
        }
    }
}

/// What a trial reports to its pruner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    expecting = "`search.steps` must be `folds` or `rounds`"
)]
pub enum StepsSpec {
    /// Its folds, one after the other.
    #[default]
    Folds,
    /// The rounds of its learner, all folds side by side.
    Rounds,
}

/// What becomes the final model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    expecting = "`final` must be `best` or `ensemble`"
)]
pub enum FinalSpec {
    /// The best trial.
    #[default]
    Best,
    /// The best trial or an ensemble of trials, whichever is better out of fold.
    Ensemble,
}

/// How the final model's probabilities are calibrated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    expecting = "`calibration` must be `none`, `isotonic`, `platt` or `auto`"
)]
pub enum CalibrationSpec {
    /// Not at all.
    #[default]
    None,
    /// By isotonic regression.
    Isotonic,
    /// By Platt scaling.
    Platt,
    /// In the way that has the lowest log loss out of fold, which may be none.
    Auto,
}

/// Where the best model goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySpec {
    /// The registered model's name; the study's when none is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Rules that the holdout scores must pass, as `roc_auc >= 0.84` and `{beats: production}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gate: Vec<Json>,
    /// The stage of a version that passes.
    pub stage: String,
}

impl Default for RegistrySpec {
    fn default() -> Self {
        RegistrySpec {
            model: None,
            gate: Vec::new(),
            stage: "staging".to_owned(),
        }
    }
}

/// Who is told of the trials besides the store. No part of what a study is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackingSpec {
    /// The address of an MLflow server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<String>,
    /// The experiment there; the study's name when none is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
}

impl Experiment {
    /// Reads and checks an experiment. `file` is how messages call it.
    ///
    /// # Errors
    /// Anything that could be known to be wrong before reading the data, with its place.
    pub fn parse(text: &str, file: &str) -> Result<Self, YamlError> {
        let experiment: Experiment = parse(text, file, "`name` and `data`")?;
        experiment
            .check()
            .map_err(|what| YamlError::new(format!("{file}: {what}")))?;
        Ok(experiment)
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.chars().count() > 512 {
            return Err("`name` must have 1 to 512 characters".to_owned());
        }
        match (&self.data.source, &self.data.path) {
            (Some(source), None) if source == "telco" => {}
            (Some(source), None) => {
                return Err(format!(
                    "data.source: there is no source `{source}`; known: telco. For a file write `path: {source}`"
                ));
            }
            (None, Some(_)) if self.data.target.is_some() => {}
            (None, Some(_)) => return Err("data.target: name the column to predict".to_owned()),
            _ => return Err("data: write either `source: telco` or `path: file.csv`".to_owned()),
        }
        if let Some(delimiter) = self.data.delimiter
            && !delimiter.is_ascii()
        {
            return Err(format!(
                "data.delimiter: `{delimiter}` is not a single ASCII character"
            ));
        }
        if self.search.trials == 0 {
            return Err("search.trials: must be at least 1".to_owned());
        }
        if self.search.concurrency == 0 {
            return Err("search.concurrency: must be at least 1".to_owned());
        }
        for (key, limit) in [
            ("timeout", self.search.timeout),
            ("trial_timeout", self.search.trial_timeout),
        ] {
            if limit.is_some_and(|t| Duration::try_from_secs_f64(t).is_err() || t <= 0.0) {
                return Err(format!("search.{key}: must be a number of seconds above 0"));
            }
        }
        if let Some(amount) = &self.search.trial_memory {
            memory::parse(&amount.to_string()).map_err(|e| format!("search.trial_memory: {e}"))?;
        }
        self.stoppers()?;
        self.preprocess()?;
        self.sampler()?;
        self.pruner()?;
        Ok(())
    }

    /// The time budget.
    pub fn timeout(&self) -> Option<Duration> {
        self.search.timeout.map(Duration::from_secs_f64)
    }

    /// The most memory that the folds of a trial may hold, in bytes.
    pub fn trial_memory(&self) -> Option<u64> {
        let amount = self.search.trial_memory.as_ref()?;
        // What is wrong was said when the file was read.
        memory::parse(&amount.to_string()).ok()
    }

    /// The preprocessing that the file names.
    ///
    /// # Errors
    /// An unknown preset.
    pub fn preprocess(&self) -> Result<Preprocess, String> {
        match &self.preprocess {
            PreprocessSpec::Name(name) => preset(name),
            PreprocessSpec::Rules(rules) => {
                let mut base = preset(rules.preset.as_deref().unwrap_or("native"))?;
                base.missing = rules.missing.unwrap_or(base.missing);
                base.categories = rules.categories.unwrap_or(base.categories);
                base.levels = rules.levels.clone().unwrap_or(base.levels);
                base.one_hot = rules.one_hot.clone().unwrap_or(base.one_hot);
                base.native = rules.native.clone().unwrap_or(base.native);
                base.drop_first = rules.drop_first.unwrap_or(base.drop_first);
                Ok(base)
            }
        }
    }

    /// The sampler that the file names.
    ///
    /// # Errors
    /// An unknown sampler or setting.
    pub fn sampler(&self) -> Result<Box<dyn Sampler>, String> {
        self.search.sampler.build("search.sampler")
    }

    /// The pruner that the file names.
    ///
    /// # Errors
    /// An unknown pruner or setting.
    pub fn pruner(&self) -> Result<Box<dyn Pruner>, String> {
        self.search.pruner.build("search.pruner")
    }

    /// What ends the search early.
    ///
    /// # Errors
    /// An unknown stopper or setting.
    pub fn stoppers(&self) -> Result<Vec<Box<dyn Stopper>>, String> {
        let build = |(name, setting): (&String, &Json)| {
            stopper::by_name(name, setting)
                .map_err(|e| format!("search.stop: {}", plain(&e.to_string())))
        };
        self.search.stop.iter().map(build).collect()
    }
}

/// The preset of this name.
///
/// # Errors
/// An unknown name, with the closest one.
pub fn preset(name: &str) -> Result<Preprocess, String> {
    PRESETS
        .iter()
        .find(|p| p.name == name)
        .map(|p| (p.build)())
        .ok_or_else(|| {
            let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
            let hint = closest(name, names.iter().copied()).map_or("presets:".to_owned(), |k| {
                format!("did you mean `{k}`? Presets:")
            });
            format!(
                "preprocess: there is no preset `{name}`; {hint} {}",
                names.join(", ")
            )
        })
}
