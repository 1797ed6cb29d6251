//! Hyperparameters of boosting and their ranges.

use serde::{Deserialize, Serialize};

use super::{Gbt, NAME};
use crate::learn::learner::LearnError;
use crate::learn::model::check;

/// Hyperparameters of boosting. The defaults are those of LightGBM, where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GbtParams {
    /// Number of rounds, 1 to 100,000.
    pub n_estimators: usize,
    /// Factor of every tree, in (0, 10].
    pub learning_rate: f64,
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// Most leaves of a tree, 2 to 65,536.
    pub max_leaves: usize,
    /// Fewest rows of a leaf, at least 1.
    pub min_leaf: usize,
    /// Smallest sum of hessians of a leaf, at least 0.
    pub min_child_weight: f64,
    /// Chance of each row to be seen by a round, in (0, 1].
    pub subsample: f64,
    /// Share of the features that each tree sees, in (0, 1].
    pub colsample: f64,
    /// L1 penalty of leaf values, at least 0.
    pub reg_alpha: f64,
    /// L2 penalty of leaf values, at least 0.
    pub reg_lambda: f64,
    /// A split must gain more than this, at least 0.
    pub min_gain: f64,
    /// Added to hessians when categories are put in order, at least 0.
    pub category_smoothing: f64,
    /// Stop when this many rounds did not improve the loss on rows set aside; 0 runs all rounds.
    pub early_stopping: usize,
    /// Share of the rows set aside for early stopping, in (0, 1).
    pub validation_fraction: f64,
}

impl Default for GbtParams {
    fn default() -> Self {
        GbtParams {
            n_estimators: 100,
            learning_rate: 0.1,
            max_depth: 0,
            max_leaves: 31,
            min_leaf: 20,
            min_child_weight: 1e-3,
            subsample: 1.0,
            colsample: 1.0,
            reg_alpha: 0.0,
            reg_lambda: 0.0,
            min_gain: 0.0,
            category_smoothing: 10.0,
            early_stopping: 0,
            validation_fraction: 0.1,
        }
    }
}

impl GbtParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] naming the parameter, its value and what is allowed.
    pub fn build(self) -> Result<Gbt, LearnError> {
        let above_zero = f64::MIN_POSITIVE;
        check(NAME, "n_estimators", self.n_estimators as f64, 1.0, 1e5)?;
        check(NAME, "learning_rate", self.learning_rate, above_zero, 10.0)?;
        check(NAME, "max_depth", f64::from(self.max_depth), 0.0, 1e6)?;
        check(NAME, "max_leaves", self.max_leaves as f64, 2.0, 65_536.0)?;
        check(NAME, "min_leaf", self.min_leaf as f64, 1.0, 1e9)?;
        check(NAME, "min_child_weight", self.min_child_weight, 0.0, 1e12)?;
        check(NAME, "subsample", self.subsample, above_zero, 1.0)?;
        check(NAME, "colsample", self.colsample, above_zero, 1.0)?;
        check(NAME, "reg_alpha", self.reg_alpha, 0.0, 1e12)?;
        check(NAME, "reg_lambda", self.reg_lambda, 0.0, 1e12)?;
        check(NAME, "min_gain", self.min_gain, 0.0, 1e12)?;
        check(
            NAME,
            "category_smoothing",
            self.category_smoothing,
            0.0,
            1e12,
        )?;
        check(
            NAME,
            "validation_fraction",
            self.validation_fraction,
            above_zero,
            0.9,
        )?;
        Ok(Gbt(self))
    }
}
