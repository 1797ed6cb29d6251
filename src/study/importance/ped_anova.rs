//! PED-ANOVA: the Pearson divergence between where the best tenth of the trials lie and where all lie, parameter by
//! parameter, from Parzen estimators on a grid.
//!
//! Watanabe, Bansal, Hutter: PED-ANOVA (IJCAI 2023, arXiv 2304.10255). Parameters that only some trials have, or have
//! with another domain, follow Theorem 4.2 of Conditional PED-ANOVA (arXiv 2601.20800). Grid, bandwidth and prior are
//! those of Optuna 5, and so are the results.

use crate::stats::{normal, special};
use crate::study::pareto;
use crate::study::record::{Direction, TrialRecord};
use crate::study::space::Domain;

use super::{ImportanceError, Shares, comparable, shares};

/// The share of trials that count as best.
const TARGET: f64 = 0.1;
/// Points of the grid of a domain that has more values.
const STEPS: usize = 50;
/// The weight of the prior, in trials.
const PRIOR: f64 = 1.0;
/// Fewer trials with one domain say nothing about it.
const REGIME: usize = 2;
/// Keeps densities above zero.
const FLOOR: f64 = 1e-12;

/// See the [module](self). With several directions the best trials are the first fronts.
///
/// # Errors
/// Fewer than two complete trials with finite values.
pub fn assess(
    trials: &[&TrialRecord],
    directions: &[Direction],
) -> Result<Shares, ImportanceError> {
    let trials = comparable(trials)?;
    let best = best(&trials, directions);
    let n_best = best.iter().filter(|b| **b).count() as f64;
    let n_all = trials.len() as f64;
    let mut names: Vec<&str> = Vec::new();
    for assignment in trials.iter().flat_map(|t| &t.params.0) {
        if !names.contains(&assignment.name.as_str()) {
            names.push(&assignment.name);
        }
    }
    let quantile = n_best / n_all;
    let part = |name: &str| {
        let mut sum = 0.0;
        for (domain, regime) in regimes(&trials, name) {
            let top: Vec<f64> = of(&regime, |i| best[i]);
            if regime.len() < REGIME || domain.is_single() || top.is_empty() {
                continue;
            }
            let all = of(&regime, |_| true);
            let target = top.len() as f64 / n_best;
            let region = all.len() as f64 / n_all;
            sum += target * target / region * divergence(domain, &top, &all);
        }
        sum * quantile * quantile
    };
    Ok(shares(
        names.iter().map(|n| ((*n).to_owned(), part(n))).collect(),
    ))
}

/// For each trial, whether it is among the best tenth; with one direction, together with those that equal its last.
fn best(trials: &[&TrialRecord], directions: &[Direction]) -> Vec<bool> {
    let wanted = ((TARGET * trials.len() as f64).ceil() as usize).max(1);
    let mut best = vec![false; trials.len()];
    if let [direction] = directions {
        let losses: Vec<f64> = trials.iter().map(|t| direction.loss(t.values[0])).collect();
        let mut sorted = losses.clone();
        sorted.sort_by(f64::total_cmp);
        let cutoff = sorted[wanted - 1];
        best = losses.iter().map(|loss| *loss <= cutoff).collect();
    } else {
        for i in pareto::best_together(trials, directions, wanted) {
            best[i] = true;
        }
    }
    best
}

/// The trials by the domain that they drew `name` from: their positions and internal values.
fn regimes<'a>(trials: &[&'a TrialRecord], name: &str) -> Vec<(&'a Domain, Vec<(usize, f64)>)> {
    let mut regimes: Vec<(&Domain, Vec<(usize, f64)>)> = Vec::new();
    for (i, trial) in trials.iter().enumerate() {
        let Some(drawn) = trial.params.assignment(name) else {
            continue;
        };
        let point = (i, drawn.internal);
        match regimes.iter_mut().find(|(d, _)| **d == drawn.domain) {
            Some((_, regime)) => regime.push(point),
            None => regimes.push((&drawn.domain, vec![point])),
        }
    }
    regimes
}

fn of(regime: &[(usize, f64)], which: impl Fn(usize) -> bool) -> Vec<f64> {
    let chosen = regime.iter().filter(|(i, _)| which(*i));
    chosen.map(|(_, value)| *value).collect()
}

/// Pearson's divergence of the density of `top` from that of `all`.
fn divergence(domain: &Domain, top: &[f64], all: &[f64]) -> f64 {
    let (top, all) = (density(domain, top), density(domain, all));
    let term = |(t, a): (&f64, &f64)| {
        let (t, a) = (t + FLOOR, a + FLOOR);
        a * (t / a - 1.0) * (t / a - 1.0)
    };
    top.iter().zip(&all).map(term).sum()
}

/// The density at each point of the domain's grid, by a Parzen estimator of `values`.
fn density(domain: &Domain, values: &[f64]) -> Vec<f64> {
    let counts = counts(domain, values);
    // Points of the grid that were met, and how often.
    let met: Vec<(f64, f64)> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(i, count)| (i as f64, *count as f64))
        .collect();
    let whole = values.len() as f64 + PRIOR;
    if let Domain::Categorical { .. } = domain {
        // A kernel puts one on its own choice and a little on all.
        let (n, kernels) = (counts.len() as f64, met.len() as f64 + 1.0);
        let little = PRIOR / kernels;
        let row = 1.0 + n * little;
        let spread = values.len() as f64 / whole * little / row + PRIOR / whole / n;
        return counts
            .iter()
            .map(|c| *c as f64 / whole / row + spread)
            .collect();
    }
    let grid = counts.len() as f64;
    let width = bandwidth(&met);
    let mut density = vec![0.0; counts.len()];
    let kernels = met
        .iter()
        .map(|(mean, weight)| (*mean, width, *weight))
        .chain([((grid - 1.0) / 2.0, grid, PRIOR)]);
    for (mean, width, weight) in kernels {
        let at = |x: f64| (x - mean) / width;
        let outside = normal::ln_interval(at(-0.5), at(grid - 0.5));
        for (i, sum) in density.iter_mut().enumerate() {
            let inside = normal::ln_interval(at(i as f64 - 0.5), at(i as f64 + 0.5));
            *sum += weight / whole * special::exp(inside - outside);
        }
    }
    density
}

/// Scott's rule on the smaller of standard deviation and interquartile range, at least what keeps nine tenths of a
/// kernel within its point of the grid.
fn bandwidth(met: &[(f64, f64)]) -> f64 {
    let n: f64 = met.iter().map(|(_, w)| w).sum();
    let mean = met.iter().map(|(x, w)| x * w).sum::<f64>() / n;
    let squares = met.iter().map(|(x, w)| (x - mean) * (x - mean) * w);
    let deviation = (squares.sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    // Both quarters are whole numbers of trials, as in the reference.
    let (first, third) = ((n / 4.0).floor(), (n * 3.0 / 4.0).floor());
    let reached = |goal: &dyn Fn(f64) -> bool| {
        let mut sum = 0.0;
        let at = met.iter().position(|(_, w)| {
            sum += w;
            goal(sum)
        });
        met[at.unwrap_or(met.len() - 1)].0
    };
    let range = reached(&|sum| sum > third) - reached(&|sum| sum >= first);
    let scott = 1.059 * (range / 1.34).min(deviation) * special::exp(-0.2 * special::ln(n));
    scott.max(0.5 / 1.64)
}

/// How many values lie nearest to each point of the domain's grid.
fn counts(domain: &Domain, values: &[f64]) -> Vec<u64> {
    let (low, high, n, log) = match domain {
        Domain::Categorical { choices } => {
            let mut counts = vec![0; choices.len()];
            for value in values {
                counts[*value as usize] += 1;
            }
            return counts;
        }
        Domain::Float {
            low,
            high,
            step,
            log,
        } => {
            let n = step.map_or(STEPS, |s| {
                STEPS.min(((high - low) / s).round() as usize + 1)
            });
            (*low, *high, n, *log)
        }
        Domain::Int {
            low,
            high,
            step,
            log,
        } => {
            let (low, high) = (*low as f64, *high as f64);
            let n = if *log {
                // As many points as doublings.
                (special::ln(high - low + 1.0) / special::ln(2.0)).ceil() as usize + 1
            } else {
                ((high - low) / *step as f64) as usize + 1
            };
            (low, high, n.min(STEPS), *log)
        }
    };
    let scale = |x: f64| if log { special::ln(x) } else { x };
    let (low, high) = (scale(low), scale(high));
    let step = (high - low) / (n - 1) as f64;
    let mut counts = vec![0; n];
    for value in values {
        // Half-way goes down; a value left of the grid becomes 0.
        let at = ((scale(*value) - low) / step - 0.5).ceil().max(0.0) as usize;
        counts[at.min(n - 1)] += 1;
    }
    counts
}
