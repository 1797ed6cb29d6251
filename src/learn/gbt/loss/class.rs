//! Losses of classes.

use super::{Bounds, Link, Loss, mean};
use crate::data::table::Task;
use crate::stats::simd::widest;
use crate::stats::special::{ln, sigmoid, softmax};

/// Log loss of two classes; the score is the log odds of the positive one.
#[derive(Clone, Copy, Debug)]
pub struct Logistic;

impl Loss for Logistic {
    fn name(&self) -> &str {
        "logistic"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        match task {
            Task::Binary => Ok(()),
            Task::Multiclass => Err("it needs two classes; write `loss: softmax`".to_owned()),
            Task::Regression => Err("it needs two classes; write `loss: squared`".to_owned()),
        }
    }

    fn link(&self) -> Link {
        Link::Logistic
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        let p = mean(targets, weights).clamp(1e-9, 1.0 - 1e-9);
        scores.fill(ln(p / (1.0 - p)));
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        widest(
            #[inline(always)]
            || {
                for ((g, h), y) in gradients.iter_mut().zip(hessians).zip(targets) {
                    let p = sigmoid(*g);
                    *g = p - y;
                    *h = p * (1.0 - p);
                }
            },
        );
    }

    fn bounds(&self, _: usize) -> Option<Bounds> {
        Some(Bounds {
            gradient: 1.0,
            hessian: 0.25,
        })
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            let p = sigmoid(*score);
            *out = -ln(if *y > 0.5 { p } else { 1.0 - p }.max(1e-15));
        }
    }
}

/// Log loss of three classes or more, with one score per class.
#[derive(Clone, Copy, Debug)]
pub struct Softmax;

/// The factor makes the diagonal of the hessian a bound (Friedman 2001, as in LightGBM).
fn factor(classes: usize) -> f64 {
    classes as f64 / (classes as f64 - 1.0)
}

impl Loss for Softmax {
    fn name(&self) -> &str {
        "softmax"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        match task {
            Task::Multiclass => Ok(()),
            Task::Binary => Err("it needs three classes; write `loss: logistic`".to_owned()),
            Task::Regression => Err("it needs three classes; write `loss: squared`".to_owned()),
        }
    }

    fn outputs(&self, classes: usize) -> usize {
        classes
    }

    fn link(&self) -> Link {
        Link::Softmax
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        scores.fill(0.0);
        for (y, w) in targets.iter().zip(weights) {
            scores[*y as usize] += w;
        }
        let all: f64 = scores.iter().sum();
        for score in scores {
            *score = ln((*score / all.max(1e-300)).max(1e-9));
        }
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        let n = targets.len();
        let classes = gradients.len() / n.max(1);
        let factor = factor(classes);
        let mut probabilities = vec![0.0; classes];
        for (i, y) in targets.iter().enumerate() {
            for (k, p) in probabilities.iter_mut().enumerate() {
                *p = gradients[k * n + i];
            }
            softmax(&mut probabilities);
            for (k, p) in probabilities.iter().enumerate() {
                let hit = f64::from(u8::from(*y as usize == k));
                gradients[k * n + i] = p - hit;
                hessians[k * n + i] = factor * p * (1.0 - p);
            }
        }
    }

    fn bounds(&self, outputs: usize) -> Option<Bounds> {
        Some(Bounds {
            gradient: 1.0,
            hessian: 0.25 * factor(outputs),
        })
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        let n = targets.len();
        let mut probabilities = vec![0.0; scores.len() / n.max(1)];
        for (i, (out, y)) in out.iter_mut().zip(targets).enumerate() {
            for (k, p) in probabilities.iter_mut().enumerate() {
                *p = scores[k * n + i];
            }
            softmax(&mut probabilities);
            *out = -ln(probabilities[*y as usize].max(1e-15));
        }
    }
}
