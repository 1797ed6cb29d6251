//! Losses: what boosting minimizes.
//!
//! **Contract of [`Loss`].** A loss is a function of the score and the target of one row; weights are multiplied in by the
//! caller. Everything is asked for in blocks of rows, so a loop over rows has no virtual call in it. Blocks are
//! output-major: `output × rows + row`. Gradients and hessians are finite and hessians are not negative; boosting refuses
//! others with an error. The built-in losses are those of LightGBM (Ke et al. 2017), with its names where they are plain.

mod class;
mod number;
mod quantile;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::table::Task;
pub use crate::learn::tree::view::Link;

pub use class::{Logistic, Softmax};
pub use number::{Absolute, Huber, Poisson, Quantile, Squared, Tweedie};
pub(super) use quantile::weighted_quantile;

/// The largest gradient, in size, and the largest hessian that a row of weight 1 can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Of `|gradient|`.
    pub gradient: f64,
    /// Of the hessian.
    pub hessian: f64,
}

/// What boosting minimizes. Object-safe; see the module for its contract.
pub trait Loss: Debug + Send + Sync {
    /// The name, for messages.
    fn name(&self) -> &str;

    /// Whether this loss can be used for `targets`: class indexes, or numbers for a regression.
    ///
    /// # Errors
    /// In words: what is wrong and what would be right.
    fn check(&self, task: Task, targets: &[f64]) -> Result<(), String>;

    /// Scores per row: 1, or the number of classes. A round grows one tree for each.
    fn outputs(&self, classes: usize) -> usize {
        let _ = classes;
        1
    }

    /// How scores become predictions.
    fn link(&self) -> Link;

    /// The best constant score of each output. `weights` has one number per target, not all 0.
    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]);

    /// Replaces the scores in `gradients` by the first derivatives of the loss and writes the second ones, or bounds of
    /// them, into `hessians`. Both are `output × rows + row`. Every row stands alone: a call gets some rows of a fit, as it
    /// suits the threads.
    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]);

    /// Bounds of what [`Loss::differentiate`] gives, when they are known without looking at it.
    fn bounds(&self, outputs: usize) -> Option<Bounds> {
        let _ = outputs;
        None
    }

    /// The loss of each row into `out`; early stopping compares its weighted mean.
    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]);

    /// For losses whose second derivative says nothing: leaves get this quantile of `target − score` of their rows in
    /// place of the Newton step. In (0, 1).
    fn leaf_quantile(&self) -> Option<f64> {
        None
    }
}

/// A built-in loss by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    /// Log loss of two classes.
    Logistic,
    /// Log loss of three classes or more.
    Softmax,
    /// Squared error: predicts the mean.
    Squared,
    /// Absolute error: predicts the median.
    Absolute,
    /// Squared up to `loss_alpha`, absolute beyond.
    Huber,
    /// Pinball loss: predicts the quantile `loss_alpha`.
    Quantile,
    /// For counts: predicts the mean on a logarithmic scale.
    Poisson,
    /// For amounts with many zeros, as claims; the variance grows with the power `tweedie_power` of the mean.
    Tweedie,
}

impl LossName {
    /// The usual loss of a task.
    pub fn of(task: Task) -> Self {
        match task {
            Task::Binary => LossName::Logistic,
            Task::Multiclass => LossName::Softmax,
            Task::Regression => LossName::Squared,
        }
    }

    /// The loss; `alpha` is for Huber and the quantile, `power` for Tweedie.
    pub fn build(self, alpha: f64, power: f64) -> Arc<dyn Loss> {
        match self {
            LossName::Logistic => Arc::new(Logistic),
            LossName::Softmax => Arc::new(Softmax),
            LossName::Squared => Arc::new(Squared),
            LossName::Absolute => Arc::new(Absolute),
            LossName::Huber => Arc::new(Huber { delta: alpha }),
            LossName::Quantile => Arc::new(Quantile { level: alpha }),
            LossName::Poisson => Arc::new(Poisson),
            LossName::Tweedie => Arc::new(Tweedie { power }),
        }
    }
}

/// The weighted mean.
fn mean(targets: &[f64], weights: &[f64]) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for (y, w) in targets.iter().zip(weights) {
        sum += w * y;
        all += w;
    }
    if all > 0.0 { sum / all } else { 0.0 }
}
