//! Losses of numbers.

use super::{Bounds, Link, Loss, mean, weighted_quantile};
use crate::data::table::Task;
use crate::stats::special::{exp, ln};

/// All losses here predict numbers.
fn numbers(task: Task) -> Result<(), String> {
    match task {
        Task::Regression => Ok(()),
        Task::Binary => Err("it needs numbers to predict; write `loss: logistic`".to_owned()),
        Task::Multiclass => Err("it needs numbers to predict; write `loss: softmax`".to_owned()),
    }
}

/// Numbers of at least 0 that are not all 0.
fn counts(task: Task, targets: &[f64]) -> Result<(), String> {
    numbers(task)?;
    if let Some(y) = targets.iter().find(|y| **y < 0.0) {
        let what = format!("the target must be at least 0, and one is {y}; write `loss: squared`");
        return Err(what);
    }
    if targets.iter().all(|y| *y == 0.0) {
        return Err("the target must not be 0 in every row".to_owned());
    }
    Ok(())
}

/// The score of the weighted mean of counts. A mean of 0, which only weights can make, is as far down as it goes.
fn log_mean(targets: &[f64], weights: &[f64]) -> f64 {
    ln(mean(targets, weights).max(1e-100))
}

/// Squared error; predicts the mean.
#[derive(Clone, Copy, Debug)]
pub struct Squared;

impl Loss for Squared {
    fn name(&self) -> &str {
        "squared"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        numbers(task)
    }

    fn link(&self) -> Link {
        Link::Identity
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(mean(targets, weights));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        gradients.iter_mut().zip(targets).for_each(|(g, y)| *g -= y);
        hessians.fill(1.0);
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            *out = (score - y) * (score - y);
        }
    }
}

/// Absolute error; predicts the median. Leaves are medians of what is left of the targets, as in LightGBM.
#[derive(Clone, Copy, Debug)]
pub struct Absolute;

impl Loss for Absolute {
    fn name(&self) -> &str {
        "absolute"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        numbers(task)
    }

    fn link(&self) -> Link {
        Link::Identity
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(weighted_quantile(targets, weights, 0.5));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        for (g, y) in gradients.iter_mut().zip(targets) {
            let over = *g - y;
            *g = f64::from(i8::from(over > 0.0) - i8::from(over < 0.0));
        }
        hessians.fill(1.0);
    }

    fn bounds(&self, _: usize) -> Option<Bounds> {
        Some(Bounds {
            gradient: 1.0,
            hessian: 1.0,
        })
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            *out = (score - y).abs();
        }
    }

    fn leaf_quantile(&self) -> Option<f64> {
        Some(0.5)
    }
}

/// Squared error up to `delta`, linear beyond (Huber 1964): outliers pull with a bounded force.
#[derive(Clone, Copy, Debug)]
pub struct Huber {
    /// The distance from which on the loss is linear, above 0, in the unit of the target.
    pub delta: f64,
}

impl Loss for Huber {
    fn name(&self) -> &str {
        "huber"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        numbers(task)
    }

    fn link(&self) -> Link {
        Link::Identity
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(mean(targets, weights));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        for (g, y) in gradients.iter_mut().zip(targets) {
            *g = (*g - y).clamp(-self.delta, self.delta);
        }
        // Also where the loss is linear, as in LightGBM: a Newton step needs a curvature.
        hessians.fill(1.0);
    }

    fn bounds(&self, _: usize) -> Option<Bounds> {
        None
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            let over = (score - y).abs();
            *out = if over <= self.delta {
                0.5 * over * over
            } else {
                self.delta * (over - 0.5 * self.delta)
            };
        }
    }
}

/// Pinball loss (Koenker and Bassett 1978); predicts a quantile. Leaves are quantiles of what is left of the targets.
#[derive(Clone, Copy, Debug)]
pub struct Quantile {
    /// Which quantile, in (0, 1).
    pub level: f64,
}

impl Loss for Quantile {
    fn name(&self) -> &str {
        "quantile"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        numbers(task)
    }

    fn link(&self) -> Link {
        Link::Identity
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(weighted_quantile(targets, weights, self.level));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        for (g, y) in gradients.iter_mut().zip(targets) {
            *g = if *g >= *y {
                1.0 - self.level
            } else {
                -self.level
            };
        }
        hessians.fill(1.0);
    }

    fn bounds(&self, _: usize) -> Option<Bounds> {
        Some(Bounds {
            gradient: 1.0,
            hessian: 1.0,
        })
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            let under = y - score;
            *out = if under >= 0.0 {
                self.level * under
            } else {
                (self.level - 1.0) * under
            };
        }
    }

    fn leaf_quantile(&self) -> Option<f64> {
        Some(self.level)
    }
}

/// Negative log likelihood of counts; the score is the logarithm of the mean.
#[derive(Clone, Copy, Debug)]
pub struct Poisson;

/// LightGBM's `poisson_max_delta_step`: hessians are larger by `e^0.7`, which keeps steps small where means are.
const POISSON_DAMPING: f64 = 2.013_752_707_470_476_6;

impl Loss for Poisson {
    fn name(&self) -> &str {
        "poisson"
    }

    fn check(&self, task: Task, targets: &[f64]) -> Result<(), String> {
        counts(task, targets)
    }

    fn link(&self) -> Link {
        Link::Exp
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(log_mean(targets, weights));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        for ((g, h), y) in gradients.iter_mut().zip(hessians).zip(targets) {
            let mean = exp(*g);
            *g = mean - y;
            *h = mean * POISSON_DAMPING;
        }
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            *out = exp(*score) - y * score;
        }
    }
}

/// Negative log likelihood of a compound of Poisson and gamma (Tweedie 1984); the score is the logarithm of the mean.
#[derive(Clone, Copy, Debug)]
pub struct Tweedie {
    /// The variance grows with this power of the mean; above 1 (Poisson) and below 2 (gamma).
    pub power: f64,
}

impl Loss for Tweedie {
    fn name(&self) -> &str {
        "tweedie"
    }

    fn check(&self, task: Task, targets: &[f64]) -> Result<(), String> {
        counts(task, targets)
    }

    fn link(&self) -> Link {
        Link::Exp
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(log_mean(targets, weights));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        let (one, two) = (1.0 - self.power, 2.0 - self.power);
        for ((g, h), y) in gradients.iter_mut().zip(hessians).zip(targets) {
            let (first, second) = (y * exp(one * *g), exp(two * *g));
            *g = second - first;
            *h = two * second - one * first;
        }
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        let (one, two) = (1.0 - self.power, 2.0 - self.power);
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            *out = exp(two * score) / two - y * exp(one * score) / one;
        }
    }
}
