//! The table of learners: one entry per name, read by configuration, help, "did you mean", documentation and model files.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::data::table::Task;
use crate::names;

#[cfg(feature = "adapters")]
use super::adapters::{
    self, decision_tree::DecisionTreeParams, logistic::LogisticParams,
    smartcore_forest::SmartcoreForestParams,
};
use super::import;
use super::learner::{LearnError, Learner, Model};
use super::{calibration, ensemble, forest, gbt, linear};

/// What makes a learner from its hyperparameters.
pub type Build = fn(Map<String, Json>) -> Result<Box<dyn Learner>, LearnError>;

/// One learner.
pub struct LearnerEntry {
    /// The name to write in an experiment file.
    pub name: &'static str,
    /// One line for help.
    pub summary: &'static str,
    /// What it can predict.
    pub tasks: &'static [Task],
    /// Whether it takes missing values and categories as they are.
    pub native: bool,
    /// The hyperparameter with the number of rounds of one that fits round by round.
    pub rounds: Option<&'static str>,
    /// The search space that is used when an experiment names none, in the grammar of `search.params` without prefix.
    pub space: &'static str,
    /// Makes the learner from its hyperparameters.
    pub build: Build,
    /// Reads a model that it fitted.
    pub load: Load,
}

const ALL: &[Task] = &[Task::Binary, Task::Multiclass, Task::Regression];

#[cfg(feature = "adapters")]
const CLASSES: &[Task] = &[Task::Binary, Task::Multiclass];

/// All learners.
pub const LEARNERS: &[LearnerEntry] = &[
    LearnerEntry {
        name: "random_forest",
        summary: "random forest on binned data",
        tasks: ALL,
        native: true,
        rounds: None,
        space: "n_estimators: {int: [50, 500], log: true}
max_depth: {int: [2, 24]}
min_samples_leaf: {int: [1, 32], log: true}
max_features: {float: [0.1, 1.0]}
",
        build: |p| {
            Ok(Box::new(
                params::<forest::ForestParams>("random_forest", p)?.build()?,
            ))
        },
        load: forest::load,
    },
    LearnerEntry {
        name: "extra_trees",
        summary: "extremely randomized trees on binned data",
        tasks: ALL,
        native: true,
        rounds: None,
        space: "n_estimators: {int: [50, 500], log: true}
max_depth: {int: [2, 32]}
min_samples_leaf: {int: [1, 32], log: true}
max_features: {float: [0.1, 1.0]}
",
        build: |mut p| {
            // The only default that differs from a random forest's.
            p.entry("bootstrap").or_insert(Json::Bool(false));
            Ok(Box::new(
                params::<forest::ForestParams>("extra_trees", p)?.build_extra_trees()?,
            ))
        },
        load: forest::load_extra_trees,
    },
    LearnerEntry {
        name: "gbt",
        summary: "gradient-boosted trees on binned data",
        tasks: ALL,
        native: true,
        rounds: Some("n_estimators"),
        space: "n_estimators: {int: [50, 500], log: true}
learning_rate: {float: [0.01, 0.3], log: true}
max_depth: {int: [2, 10]}
max_leaves: 255
min_leaf: {int: [1, 64], log: true}
subsample: {float: [0.5, 1.0]}
colsample: {float: [0.5, 1.0]}
reg_lambda: {float: [0.001, 10.0], log: true}
",
        build: |p| Ok(Box::new(params::<gbt::GbtParams>("gbt", p)?.build()?)),
        load: gbt::load,
    },
    LearnerEntry {
        name: "elastic_net",
        summary: "linear and logistic regression with L1 and L2 penalties",
        tasks: ALL,
        native: true,
        rounds: None,
        space: "alpha: {float: [0.00001, 1.0], log: true}
l1_ratio: {float: [0.0, 1.0]}
",
        build: |p| {
            Ok(Box::new(
                params::<linear::ElasticNetParams>("elastic_net", p)?.build()?,
            ))
        },
        load: linear::load,
    },
    #[cfg(feature = "adapters")]
    LearnerEntry {
        name: "decision_tree",
        summary: "a single decision tree, by linfa-trees",
        tasks: CLASSES,
        native: false,
        rounds: None,
        space: "max_depth: {int: [2, 12]}
min_weight_leaf: {float: [1.0, 100.0], log: true}
",
        build: |p| {
            Ok(Box::new(
                params::<DecisionTreeParams>("decision_tree", p)?.build()?,
            ))
        },
        load: adapters::decision_tree::load,
    },
    #[cfg(feature = "adapters")]
    LearnerEntry {
        name: "logistic",
        summary: "logistic regression with an L2 penalty, by linfa-logistic",
        tasks: CLASSES,
        native: false,
        rounds: None,
        space: "alpha: {float: [0.001, 1000.0], log: true}
",
        build: |p| Ok(Box::new(params::<LogisticParams>("logistic", p)?.build()?)),
        load: adapters::logistic::load,
    },
    #[cfg(feature = "adapters")]
    LearnerEntry {
        name: "smartcore_forest",
        summary: "random forest on exact values, by smartcore",
        tasks: ALL,
        native: false,
        rounds: None,
        space: "n_estimators: {int: [50, 200], log: true}
max_depth: {int: [2, 16]}
min_samples_leaf: {int: [1, 32], log: true}
",
        build: |p| {
            Ok(Box::new(
                params::<SmartcoreForestParams>("smartcore_forest", p)?.build()?,
            ))
        },
        load: adapters::smartcore_forest::load,
    },
];

/// What reads a model.
pub type Load = fn(&str) -> Result<Box<dyn Model>, LearnError>;

/// Models that are made of other models, by kind. No learner fits them, so they are no choice of an experiment.
pub const COMPOSITES: &[(&str, Load)] = &[
    (calibration::NAME, calibration::load),
    (ensemble::NAME, ensemble::load),
];

/// What reads a model of this kind: a learner's, one made of other models, or one that was imported.
///
/// # Errors
/// [`UnknownLearner`] with the closest name of a learner.
pub fn loader(kind: &str) -> Result<Load, UnknownLearner> {
    let imported = import::KINDS
        .iter()
        .map(|(program, load)| (program.kind(), *load));
    let mut others = COMPOSITES.iter().copied().chain(imported);
    match others.find(|(name, _)| *name == kind) {
        Some((_, load)) => Ok(load),
        None => Ok(find(kind)?.load),
    }
}

/// There is no learner of this name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("there is no learner `{name}`; {} {known}", suggestion.as_ref().map_or("learners:".to_owned(), |s| format!("did you mean `{s}`? Learners:")))]
pub struct UnknownLearner {
    /// The name asked for.
    pub name: String,
    /// The closest name, if one is close.
    pub suggestion: Option<&'static str>,
    /// All names.
    pub known: String,
}

/// The learner of this name.
///
/// # Errors
/// [`UnknownLearner`] with the closest name.
pub fn find(name: &str) -> Result<&'static LearnerEntry, UnknownLearner> {
    LEARNERS.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&'static str> = LEARNERS.iter().map(|e| e.name).collect();
        UnknownLearner {
            name: name.to_owned(),
            suggestion: names::nearest(name, names.iter().copied()),
            known: names.join(", "),
        }
    })
}

fn params<P: DeserializeOwned>(
    learner: &'static str,
    given: Map<String, Json>,
) -> Result<P, LearnError> {
    serde_json::from_value(Json::Object(given)).map_err(|e| LearnError::Params {
        learner,
        what: e.to_string(),
    })
}
