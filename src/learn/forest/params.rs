//! Hyperparameters of forests and their ranges.

use serde::{Deserialize, Serialize};

use super::{Forest, Kind};
use crate::data::table::Task;
use crate::learn::learner::LearnError;
use crate::learn::model::check;
use crate::learn::weights::ClassWeight;

/// How many features are drawn at each node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`max_features` must be a share above 0 and at most 1, or `sqrt`, `log2` or `all`"
)]
pub enum MaxFeatures {
    /// This share of all features, in (0, 1], at least one feature.
    Share(f64),
    /// A rule by name.
    Rule(MaxFeaturesRule),
}

/// A rule for the number of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxFeaturesRule {
    /// The square root.
    Sqrt,
    /// The logarithm to base 2.
    Log2,
    /// All of them.
    All,
}

/// Hyperparameters of a random forest or of extremely randomized trees. The defaults are those of scikit-learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForestParams {
    /// Number of trees, 1 to 100,000.
    pub n_estimators: usize,
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// Fewest rows of a node that is split, at least 2.
    pub min_samples_split: usize,
    /// Fewest rows of a leaf, at least 1.
    pub min_samples_leaf: usize,
    /// Features drawn at each node; the square root for classes, all for numbers when none is given.
    pub max_features: Option<MaxFeatures>,
    /// Whether each tree draws its rows with replacement; otherwise it sees all.
    pub bootstrap: bool,
    /// How much the rows of each class weigh; all the same when none is given.
    pub class_weight: Option<ClassWeight>,
}

impl Default for ForestParams {
    fn default() -> Self {
        ForestParams {
            n_estimators: 100,
            max_depth: 0,
            min_samples_split: 2,
            min_samples_leaf: 1,
            max_features: None,
            bootstrap: true,
            class_weight: None,
        }
    }
}

impl ForestParams {
    /// The defaults of `extra_trees`: every tree sees all rows.
    pub fn extra_trees() -> Self {
        ForestParams {
            bootstrap: false,
            ..ForestParams::default()
        }
    }

    /// A random forest, after checking the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] naming the parameter, its value and what is allowed.
    pub fn build(self) -> Result<Forest, LearnError> {
        self.build_as(Kind::RandomForest)
    }

    /// Extremely randomized trees, after checking the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] naming the parameter, its value and what is allowed.
    pub fn build_extra_trees(self) -> Result<Forest, LearnError> {
        self.build_as(Kind::ExtraTrees)
    }

    fn build_as(self, kind: Kind) -> Result<Forest, LearnError> {
        let within = |name, value, low, high| check(kind.name(), name, value, low, high);
        within("n_estimators", self.n_estimators as f64, 1.0, 1e5)?;
        within("max_depth", f64::from(self.max_depth), 0.0, 1e6)?;
        within("min_samples_split", self.min_samples_split as f64, 2.0, 1e9)?;
        within("min_samples_leaf", self.min_samples_leaf as f64, 1.0, 1e9)?;
        if let Some(MaxFeatures::Share(share)) = self.max_features {
            within("max_features", share, f64::MIN_POSITIVE, 1.0)?;
        }
        if let Some(weight) = &self.class_weight {
            weight.check(kind.name())?;
        }
        Ok(Forest { params: self, kind })
    }

    pub(super) fn features(&self, task: Task, all: usize) -> usize {
        let default = if task == Task::Regression {
            MaxFeaturesRule::All
        } else {
            MaxFeaturesRule::Sqrt
        };
        let count = match self.max_features.unwrap_or(MaxFeatures::Rule(default)) {
            MaxFeatures::Share(share) => (share * all as f64) as usize,
            MaxFeatures::Rule(MaxFeaturesRule::Sqrt) => (all as f64).sqrt() as usize,
            MaxFeatures::Rule(MaxFeaturesRule::Log2) => all.ilog2() as usize,
            MaxFeatures::Rule(MaxFeaturesRule::All) => all,
        };
        count.clamp(1, all)
    }
}
