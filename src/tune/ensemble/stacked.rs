//! Stacking: a linear score of the candidates' logits (numbers, for a regression) with weights of at least 0 and an L2 penalty;
//! Wolpert, "Stacked generalization" (1992), Breiman, "Stacked regressions" (1996). The penalty's weight is the one that does
//! best when each fold is predicted from the others.

use std::convert::Infallible;

use crate::data::table::Task;
use crate::learn::ensemble::{Blend, BlendScore, link};
use crate::learn::linear::{Ask, Design, Limits, Penalty, Score, logistic, squared};
use crate::learn::metric::MetricError;
use crate::stats::special::ln;

use super::{Candidate, Field};

/// Candidates that are stacked: the best ones. More of them are more alike than they are useful.
const MEMBERS: usize = 20;
/// Weights of the penalty that are tried, the strongest first: of equal ones it is kept.
const PENALTIES: [f64; 4] = [1.0, 0.1, 0.01, 0.001];
/// Weights smaller than this share of the largest one are left out, and with them members that change nothing.
const SMALL: f64 = 0.01;

/// Fits a blend on some folds.
pub(super) fn fit(
    field: &Field<'_>,
    candidates: &[Candidate],
    folds: &[usize],
) -> Result<Blend, MetricError> {
    let scores = field.each(candidates, folds)?;
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let goal = field.metric.goal;
    order.sort_by(|&a, &b| {
        let (a, b) = (scores[a], scores[b]);
        goal.better(b, a).cmp(&goal.better(a, b))
    });
    order.truncate(MEMBERS);
    order.sort_unstable();
    let mut best: Option<(f64, f64)> = None;
    for penalty in PENALTIES {
        let mut sum = 0.0;
        for &fold in folds {
            // Rows of one repeat are those of another, so only folds of the same one are others.
            let others: Vec<usize> = field
                .others(fold)
                .into_iter()
                .filter(|f| folds.contains(f))
                .collect();
            if others.is_empty() {
                continue;
            }
            let blend = solve(field, candidates, &order, &others, penalty);
            sum += field.score(fold, &field.blend(candidates, &blend, fold))?;
        }
        let score = sum / folds.len() as f64;
        if best.is_none_or(|(before, _)| goal.better(score, before)) {
            best = Some((score, penalty));
        }
    }
    let penalty = best.map_or(PENALTIES[1], |(_, penalty)| penalty);
    Ok(solve(field, candidates, &order, folds, penalty))
}

/// The blend of the candidates at `used`, fitted on the rows of some folds.
fn solve(
    field: &Field<'_>,
    candidates: &[Candidate],
    used: &[usize],
    folds: &[usize],
    l2: f64,
) -> Blend {
    let truth: Vec<f64> = folds
        .iter()
        .flat_map(|&f| field.truths[f].iter().copied())
        .collect();
    let rows = truth.len();
    let weights: Vec<f64> = match field.weights {
        None => vec![1.0 / rows as f64; rows],
        Some(all) => {
            let weights = folds.iter().flat_map(|&f| all[f].iter().copied());
            let weights: Vec<f64> = weights.collect();
            let total: f64 = weights.iter().sum();
            // Rows that count nothing cannot be scored either: the metric has said so before.
            weights.iter().map(|w| w / total).collect()
        }
    };
    let penalty = Penalty {
        l1: 0.0,
        l2,
        nonnegative: true,
    };
    let limits = Limits {
        max_iter: 50,
        tol: 1e-6,
        intercept: true,
    };
    let column = |m: usize, output: usize| -> Vec<f64> {
        let parts = folds.iter().flat_map(|&f| {
            candidates[m].predictions[field.range(f)]
                .iter()
                .skip(output)
                .step_by(field.width)
        });
        parts.map(|p| link(field.task, *p)).collect()
    };
    let outputs = (0..field.width).map(|output| {
        let score_of = |members: &[usize]| {
            let columns = members.iter().map(|&m| column(m, output)).collect();
            if field.task == Task::Regression {
                numbers(columns, &truth, &weights, penalty, limits)
            } else {
                let class = if field.width == 1 { 1 } else { output };
                shares(columns, &truth, class, &weights, penalty, limits)
            }
        };
        let mut members = used.to_vec();
        let mut score = score_of(&members);
        let largest = score.coefficients.iter().copied().fold(0.0, f64::max);
        let kept = |weight: f64| weight > 0.0 && weight >= SMALL * largest;
        if score.coefficients.iter().any(|w| !kept(*w)) {
            let pairs = used.iter().zip(&score.coefficients);
            members = pairs.filter(|(_, w)| kept(**w)).map(|(m, _)| *m).collect();
            score = score_of(&members);
        }
        let mut all = vec![0.0; candidates.len()];
        for (&m, &weight) in members.iter().zip(&score.coefficients) {
            all[m] = weight;
        }
        BlendScore {
            intercept: score.intercept,
            weights: all,
        }
    });
    let mut scores: Vec<BlendScore> = outputs.collect();
    // All weights 0 is a blend without members: then the best candidate stands in with a weight that changes nothing else.
    if scores.iter().all(|s| s.weights.iter().all(|w| *w == 0.0))
        && let Some(&first) = used.first()
    {
        for score in &mut scores {
            score.weights[first] = f64::MIN_POSITIVE;
        }
    }
    Blend::Linear { scores }
}

/// Blends are small: nothing ends their fits.
const UNLIMITED: Ask<'static, Infallible> = &|| Ok(());

/// The log loss of one class against the rest.
fn shares(
    columns: Vec<Vec<f64>>,
    truth: &[f64],
    class: usize,
    weights: &[f64],
    penalty: Penalty,
    limits: Limits,
) -> Score {
    let is = |t: &f64| f64::from(u8::from(*t as usize == class));
    let y: Vec<f64> = truth.iter().map(is).collect();
    let rows = truth.len();
    let count = |class: f64| {
        let own = y.iter().zip(weights).filter(|(y, _)| **y == class);
        own.map(|(_, w)| w).sum::<f64>()
    };
    let positives = count(1.0);
    if positives == 0.0 || count(0.0) == 0.0 {
        // Nothing to tell apart: a probability of one in twice as many rows as there are.
        let odds = ln(2.0 * rows as f64);
        return Score {
            intercept: if positives == 0.0 { -odds } else { odds },
            coefficients: vec![0.0; columns.len()],
        };
    }
    let design = Design::dense(rows, columns);
    let Ok(score) = logistic(&design, &y, weights, penalty, limits, UNLIMITED);
    score
}

/// Least squares in units of the target, so that the penalty means the same for any.
fn numbers(
    mut columns: Vec<Vec<f64>>,
    truth: &[f64],
    weights: &[f64],
    penalty: Penalty,
    limits: Limits,
) -> Score {
    let weighted = || truth.iter().zip(weights);
    let mean = weighted().map(|(t, w)| w * t).sum::<f64>();
    let variance = weighted()
        .map(|(t, w)| w * (t - mean) * (t - mean))
        .sum::<f64>();
    let unit = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    for column in &mut columns {
        column.iter_mut().for_each(|p| *p = (*p - mean) / unit);
    }
    let y: Vec<f64> = truth.iter().map(|t| (t - mean) / unit).collect();
    let design = Design::dense(truth.len(), columns);
    let Ok(mut score) = squared(&design, &y, weights, penalty, limits, UNLIMITED);
    let sum: f64 = score.coefficients.iter().sum();
    // Back in the target's own units: mean + unit · (b + Σ w (p − mean) / unit).
    score.intercept = mean + unit * score.intercept - mean * sum;
    score
}
