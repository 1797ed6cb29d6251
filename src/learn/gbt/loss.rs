//! Losses: the best constant score, gradients and hessians, and the mean loss that early stopping watches.

use crate::data::table::Task;
use crate::learn::learner::TrainingSet;
use crate::stats::special::{ln, sigmoid, softmax};

/// The best constant score per output: log odds, log shares, or the mean.
pub(super) fn start(data: &TrainingSet<'_>) -> Vec<f64> {
    match data.target.task {
        Task::Regression => vec![data.mean()],
        Task::Binary => {
            let p = data.mean().clamp(1e-9, 1.0 - 1e-9);
            vec![ln(p / (1.0 - p))]
        }
        Task::Multiclass => {
            let mut weights = vec![0.0; data.target.classes.len()];
            for &row in data.rows {
                weights[data.target.values[row as usize] as usize] += data.weight(row);
            }
            let all: f64 = weights.iter().sum();
            weights
                .iter()
                .map(|w| ln((w / all.max(1e-300)).max(1e-9)))
                .collect()
        }
    }
}

/// Replaces scores, output by output, by gradients, and fills in hessians. Returns bounds of both.
pub(super) fn differentiate(
    task: Task,
    targets: &[f64],
    gradients: &mut [f64],
    hessians: &mut [f64],
) -> (f64, f64) {
    let (n, classes) = (targets.len(), gradients.len() / targets.len().max(1));
    let places = gradients.iter_mut().zip(hessians.iter_mut());
    match task {
        Task::Regression => {
            for ((g, h), y) in places.zip(targets) {
                *g -= y;
                *h = 1.0;
            }
            let size = |largest, g: &f64| f64::max(largest, g.abs());
            (gradients.iter().fold(0.0, size), 1.0)
        }
        Task::Binary => {
            for ((g, h), y) in places.zip(targets) {
                let p = sigmoid(*g);
                *g = p - y;
                *h = p * (1.0 - p);
            }
            (1.0, 0.25)
        }
        Task::Multiclass => {
            // The factor makes the diagonal of the hessian a bound (Friedman 2001, as in LightGBM).
            let factor = classes as f64 / (classes as f64 - 1.0);
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
            (1.0, 0.25 * factor)
        }
    }
}

/// Mean loss of raw scores, `class × rows + row`: log loss for classes, squared error for numbers.
pub(super) fn mean(data: &TrainingSet<'_>, rows: &[u32], raw: &[f64]) -> f64 {
    let classes = raw.len() / rows.len().max(1);
    let mut probabilities = vec![0.0; classes];
    let (mut sum, mut weights) = (0.0, 0.0);
    for (i, &row) in rows.iter().enumerate() {
        let y = data.target.values[row as usize];
        let loss = match data.target.task {
            Task::Regression => (raw[i] - y) * (raw[i] - y),
            Task::Binary => {
                let p = sigmoid(raw[i]);
                -ln(if y > 0.5 { p } else { 1.0 - p }.max(1e-15))
            }
            Task::Multiclass => {
                for (k, p) in probabilities.iter_mut().enumerate() {
                    *p = raw[k * rows.len() + i];
                }
                softmax(&mut probabilities);
                -ln(probabilities[y as usize].max(1e-15))
            }
        };
        sum += data.weight(row) * loss;
        weights += data.weight(row);
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}
