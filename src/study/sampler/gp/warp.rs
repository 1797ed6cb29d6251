//! Losses as a Gaussian process likes them: finite, of mean 0 and variance 1, without a long tail of bad ones.
//!
//! A tail is bent by the power of Box and Cox (*An Analysis of Transformations*, 1964) under which the losses look most
//! normal, counted from a little below the best one. The order of losses stays.

use libm::{exp, log};

/// The powers that are tried; 1 leaves losses as they are.
const POWERS: [f64; 3] = [1.0, 0.5, 0.25];
/// How far below the best the powers count from, in units of the distance from best to median. Nearer to the best, they
/// would make a cusp of a smooth minimum.
const MARGIN: f64 = 1.0;

/// The losses, warped. Empty when nothing can be told from them: none is finite, or all are equal.
pub(super) fn warp(losses: &[f64]) -> Vec<f64> {
    let finite = || losses.iter().copied().filter(|l| l.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    if low >= high {
        return Vec::new();
    }
    // Quarters: differences of the largest numbers overflow.
    let mut t: Vec<f64> = losses
        .iter()
        .map(|l| (l.clamp(low, high) / 4.0 - low / 4.0) / (high / 4.0 - low / 4.0))
        .collect();
    let mut sorted = t.clone();
    sorted.sort_by(f64::total_cmp);
    // Where more than half are the best, any unit does.
    let mut unit = sorted[sorted.len() / 2];
    if unit <= 0.0 {
        unit = sorted.iter().sum::<f64>() / sorted.len() as f64;
    }
    t.iter_mut().for_each(|t| *t = *t / unit + MARGIN);
    let logs: Vec<f64> = t.iter().map(|t| log(*t)).collect();
    let mean_log = logs.iter().sum::<f64>() / logs.len() as f64;
    let mut best: Option<(f64, Vec<f64>)> = None;
    for power in POWERS {
        let bent = logs.iter().map(|l| (exp(power * l) - 1.0) / power);
        let bent: Vec<f64> = bent.collect();
        let (mean, variance) = moments(&bent);
        let likelihood = -0.5 * log(variance) + (power - 1.0) * mean_log;
        if best.as_ref().is_none_or(|(b, _)| likelihood > *b + 1e-9) {
            let scale = 1.0 / variance.sqrt();
            best = Some((
                likelihood,
                bent.iter().map(|x| (x - mean) * scale).collect(),
            ));
        }
    }
    best.map_or(Vec::new(), |(_, y)| y)
}

fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    (mean, variance.max(1e-300))
}
