//! Metrics on the probabilities themselves: how much is lost, and how well they are calibrated.

use crate::data::table::Task;

use super::{Case, Outcome};

/// Bins of the calibration error, all of the same width.
const BINS: usize = 10;

/// Mean negative logarithm of the probability of the true class.
pub(super) fn log_loss(case: &Case<'_>) -> Outcome {
    let width = case.scores.width;
    let values = case.scores.values;
    Ok(case.mean(|row| {
        let p = match (case.scores.task, case.truth[row] as usize) {
            (Task::Binary, 1) => values[row],
            (Task::Binary, _) => 1.0 - values[row],
            (_, class) => values[row * width + class],
        };
        // A certainty that was wrong costs 36, not infinity.
        -libm::log(p.clamp(f64::EPSILON, 1.0 - f64::EPSILON))
    }))
}

/// Mean squared error of the probabilities.
pub(super) fn brier(case: &Case<'_>) -> Outcome {
    let width = case.scores.width;
    let values = case.scores.values;
    Ok(case.mean(|row| {
        if case.scores.task == Task::Binary {
            let error = case.truth[row] - values[row];
            return error * error;
        }
        let class = case.truth[row] as usize;
        values[row * width..(row + 1) * width]
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let error = f64::from(u8::from(i == class)) - p;
                error * error
            })
            .sum()
    }))
}

/// Expected calibration error: over bins of width 0.1, the distance between mean probability and share of hits,
/// weighted by the rows of the bin. Binary: the positive class's probability and its share. Multiclass: the
/// confidence (the largest probability) and the accuracy. A bin includes its lower edge; the last one also 1.
pub(super) fn ece(case: &Case<'_>) -> Outcome {
    let mut bins = [(0.0, 0.0); BINS];
    let mut total = 0.0;
    for (row, &truth) in case.truth.iter().enumerate() {
        let (p, hit) = if case.scores.task == Task::Binary {
            (case.scores.values[row], truth)
        } else {
            let label = case.scores.label(row, case.threshold);
            let hit = f64::from(u8::from(label == truth as usize));
            (case.scores.values[row * case.scores.width + label], hit)
        };
        let weight = case.weight(row);
        let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += weight * p;
        bin.1 += weight * hit;
        total += weight;
    }
    Ok(bins.iter().map(|(p, hits)| (p - hits).abs()).sum::<f64>() / total)
}
