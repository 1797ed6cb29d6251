//! Greedy ensemble selection with replacement: Caruana, Niculescu-Mizil, Crew & Ksikes, "Ensemble selection from libraries
//! of models" (2004). The candidate that helps the mean most is added again and again; the best prefix is kept.

use rayon::prelude::*;

use crate::data::table::Task;
use crate::learn::ensemble::Blend;
use crate::learn::metric::MetricError;

use super::{Candidate, Field};

/// Most additions: a member's weight is a multiple of 1 in at most this many.
const ROUNDS: usize = 30;
/// Additions without a better score after which it ends.
const PATIENCE: usize = 6;

/// Selects members on some folds. Of candidates that help equally, the one with the lowest number is added.
pub(super) fn select(
    field: &Field<'_>,
    candidates: &[Candidate],
    folds: &[usize],
) -> Result<Blend, MetricError> {
    let mut sums: Vec<Vec<f64>> = folds
        .iter()
        .map(|&f| vec![0.0; field.range(f).len()])
        .collect();
    let mut added = Vec::new();
    let (mut best, mut kept) = (f64::NAN, 0);
    for round in 1..=ROUNDS {
        let share = 1.0 / round as f64;
        let scores: Vec<Result<f64, MetricError>> = candidates
            .par_iter()
            .map(|candidate| {
                let mut total = 0.0;
                let mut mean = Vec::new();
                for (&fold, sum) in folds.iter().zip(&sums) {
                    let own = &candidate.predictions[field.range(fold)];
                    mean.clear();
                    mean.extend(sum.iter().zip(own).map(|(s, p)| (s + p) * share));
                    if field.task != Task::Regression {
                        mean.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
                    }
                    total += field.score(fold, &mean)?;
                }
                Ok(total / folds.len() as f64)
            })
            .collect();
        let scores: Vec<f64> = scores.into_iter().collect::<Result<_, _>>()?;
        let pick = field.first_best(&scores);
        added.push(pick);
        for (&fold, sum) in folds.iter().zip(&mut sums) {
            let own = &candidates[pick].predictions[field.range(fold)];
            sum.iter_mut().zip(own).for_each(|(s, p)| *s += p);
        }
        if kept == 0 || field.metric.goal.better(scores[pick], best) {
            (best, kept) = (scores[pick], round);
        }
        if round - kept >= PATIENCE {
            break;
        }
    }
    let mut weights = vec![0.0; candidates.len()];
    for &pick in &added[..kept] {
        weights[pick] += 1.0;
    }
    weights.iter_mut().for_each(|w| *w /= kept as f64);
    Ok(Blend::Mean { weights })
}
