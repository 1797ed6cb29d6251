//! Hyperparameters of boosting and their ranges.

use serde::{Deserialize, Serialize};

use super::loss::LossName;
use super::{Gbt, NAME};
use crate::learn::learner::LearnError;
use crate::learn::model::check;
use crate::learn::weights::ClassWeight;

/// Which leaf of a tree is split next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// The one with the largest gain, as in LightGBM.
    LeafWise,
    /// The one with the largest gain of those nearest to the root, as in XGBoost.
    DepthWise,
}

/// What `min_leaf` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeafCount {
    /// Rows.
    Rows,
    /// Rows of the mean hessian of the node that is split, as in LightGBM: a side must have `min_leaf` rows' share of the
    /// node's hessian. Rows that are predicted well already have small hessians and count little.
    Hessians,
}

/// Hyperparameters of boosting. The defaults are those of LightGBM, where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GbtParams {
    /// What is minimized; `logistic`, `softmax` or `squared` by task when none is given.
    pub loss: Option<LossName>,
    /// `huber`: the distance from which on the loss is linear; `quantile`: which quantile, in (0, 1). Above 0.
    pub loss_alpha: f64,
    /// `tweedie`: the variance grows with this power of the mean, in (1, 2).
    pub tweedie_power: f64,
    /// How much the rows of each class weigh; all the same when none is given.
    pub class_weight: Option<ClassWeight>,
    /// Number of rounds, 1 to 100,000.
    pub n_estimators: usize,
    /// Factor of every tree, in (0, 10].
    pub learning_rate: f64,
    /// Which leaf is split next.
    pub growth: Growth,
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// Most leaves of a tree, 2 to 65,536.
    pub max_leaves: usize,
    /// Fewest rows of a leaf, at least 1.
    pub min_leaf: usize,
    /// What `min_leaf` counts.
    pub min_leaf_counts: LeafCount,
    /// Smallest sum of hessians of a leaf, at least 0.
    pub min_child_weight: f64,
    /// Chance of each row to be seen by a round, in (0, 1].
    pub subsample: f64,
    /// Share of the features that each tree sees, in (0, 1].
    pub colsample: f64,
    /// Share of the tree's features that the nodes of one depth see, in (0, 1].
    pub colsample_level: f64,
    /// Share of the level's features that a node sees, in (0, 1].
    pub colsample_node: f64,
    /// Share of the rows, those with the largest gradients, that every round sees (GOSS); in (0, 1], 1 for all.
    pub goss_top: f64,
    /// With GOSS: share of the rows that is drawn from the others, which then weigh more; in (0, 1).
    pub goss_other: f64,
    /// L1 penalty of leaf values, at least 0.
    pub reg_alpha: f64,
    /// L2 penalty of leaf values, at least 0.
    pub reg_lambda: f64,
    /// A split must gain more than this, at least 0.
    pub min_gain: f64,
    /// Added to hessians when categories are put in order, at least 0.
    pub category_smoothing: f64,
    /// Whether every node draws one threshold per feature instead of looking for the best one.
    pub extra_trees: bool,
    /// Features with which predictions must not fall, by name.
    pub increasing: Vec<String>,
    /// Features with which predictions must not rise, by name.
    pub decreasing: Vec<String>,
    /// Groups of features, by name, that may meet on a path; those that none names are a group of their own.
    pub interactions: Vec<Vec<String>>,
    /// Stop when this many rounds did not improve the loss on rows set aside; 0 runs all rounds.
    pub early_stopping: usize,
    /// Share of the rows set aside for early stopping, in (0, 1).
    pub validation_fraction: f64,
}

impl Default for GbtParams {
    fn default() -> Self {
        GbtParams {
            loss: None,
            loss_alpha: 0.9,
            tweedie_power: 1.5,
            class_weight: None,
            n_estimators: 100,
            learning_rate: 0.1,
            growth: Growth::LeafWise,
            max_depth: 0,
            max_leaves: 31,
            min_leaf: 20,
            min_leaf_counts: LeafCount::Rows,
            min_child_weight: 1e-3,
            subsample: 1.0,
            colsample: 1.0,
            colsample_level: 1.0,
            colsample_node: 1.0,
            goss_top: 1.0,
            goss_other: 0.1,
            reg_alpha: 0.0,
            reg_lambda: 0.0,
            min_gain: 0.0,
            category_smoothing: 10.0,
            extra_trees: false,
            increasing: Vec::new(),
            decreasing: Vec::new(),
            interactions: Vec::new(),
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
        let within = |name, value, low, high| check(NAME, name, value, low, high);
        within("n_estimators", self.n_estimators as f64, 1.0, 1e5)?;
        within("learning_rate", self.learning_rate, above_zero, 10.0)?;
        within("max_depth", f64::from(self.max_depth), 0.0, 1e6)?;
        within("max_leaves", self.max_leaves as f64, 2.0, 65_536.0)?;
        within("min_leaf", self.min_leaf as f64, 1.0, 1e9)?;
        within("min_child_weight", self.min_child_weight, 0.0, 1e12)?;
        within("subsample", self.subsample, above_zero, 1.0)?;
        within("colsample", self.colsample, above_zero, 1.0)?;
        within("colsample_level", self.colsample_level, above_zero, 1.0)?;
        within("colsample_node", self.colsample_node, above_zero, 1.0)?;
        within("goss_top", self.goss_top, above_zero, 1.0)?;
        within("goss_other", self.goss_other, above_zero, 1.0)?;
        within("reg_alpha", self.reg_alpha, 0.0, 1e12)?;
        within("reg_lambda", self.reg_lambda, 0.0, 1e12)?;
        within("min_gain", self.min_gain, 0.0, 1e12)?;
        within("category_smoothing", self.category_smoothing, 0.0, 1e12)?;
        within(
            "validation_fraction",
            self.validation_fraction,
            above_zero,
            0.9,
        )?;
        within("loss_alpha", self.loss_alpha, above_zero, 1e12)?;
        within("tweedie_power", self.tweedie_power, 1.0, 2.0)?;
        let fail = |what: &str| {
            Err(LearnError::Params {
                learner: NAME,
                what: what.to_owned(),
            })
        };
        if self.tweedie_power == 1.0 || self.tweedie_power == 2.0 {
            return fail("`tweedie_power` must be between 1 and 2; for 1 write `loss: poisson`");
        }
        if self.loss == Some(LossName::Quantile) && self.loss_alpha >= 1.0 {
            return fail(
                "`loss_alpha` is the quantile to predict and must be below 1, as in `loss_alpha: 0.9`",
            );
        }
        if self.goss_top < 1.0 {
            if self.subsample < 1.0 {
                return fail("`goss_top` and `subsample` both choose rows; leave one of them out");
            }
            if self.goss_top + self.goss_other > 1.0 {
                return fail("`goss_top` and `goss_other` must not be above 1 together");
            }
        }
        if let Some(weight) = &self.class_weight {
            weight.check(NAME)?;
        }
        Ok(Gbt::new(self))
    }
}
