//! Ensembles from what the study has paid for: out-of-fold predictions of its trials, and which of three ways of making one
//! prediction of them is best: the best trial alone, greedy selection, a stacked linear blend.
//!
//! **Contract.** The three are compared on predictions for rows that had no part in making them: for each fold, the choice
//! (of the best trial, of the members, of the weights) is made on the other folds of its repeat, and scored on it. A way that
//! makes more choices has no advantage by that. Equal scores go to the simpler way. All is a function of the predictions:
//! no random numbers, and the same bits on any number of threads.

mod greedy;
mod stacked;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::data::table::Task;
use crate::learn::ensemble::Blend;
use crate::learn::metric::{MetricEntry, MetricError, Scores};

/// How the final model is made of the trials, simplest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The best trial alone.
    Best,
    /// A weighted mean of trials, picked one after the other (Caruana et al. 2004).
    Greedy,
    /// A linear score of the trials' predictions.
    Stacked,
}

/// All ways, simplest first.
pub const WAYS: [Way; 3] = [Way::Best, Way::Greedy, Way::Stacked];

impl Way {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Way::Best => "best",
            Way::Greedy => "greedy",
            Way::Stacked => "stacked",
        }
    }
}

/// Most trials that are considered: the best ones, and of every learner the best few, which differ more.
const CANDIDATES: usize = 40;
/// Trials of each learner that are considered at least.
const OF_EACH_LEARNER: usize = 8;

/// A trial that can be a member.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its number.
    pub trial: u64,
    /// Its predictions of the test rows of all folds, one fold after the other, row-major.
    pub predictions: Vec<f64>,
}

/// The rows that every candidate has predicted out of fold, and how predictions of them are judged.
pub struct Field<'a> {
    /// What is predicted.
    pub task: Task,
    /// Numbers per prediction.
    pub width: usize,
    /// The study's metric; scores are its mean over folds.
    pub metric: &'static MetricEntry,
    /// Target values of the test rows of each fold.
    pub truths: &'a [Vec<f64>],
    /// Weights of the test rows of each fold; none means 1 each.
    pub weights: Option<&'a [Vec<f64>]>,
    /// The repeat of each fold.
    pub repeats: &'a [usize],
}

/// What was chosen, and why.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The way with the best honest score.
    pub way: Way,
    /// The honest score of every way.
    pub scores: Vec<(Way, f64)>,
    /// How the candidates' predictions become one; made on all folds.
    pub blend: Blend,
    /// Positions of the candidates that count, in order, as the blend's members.
    pub members: Vec<usize>,
    /// Predictions of all rows by the blend of the other folds, in the order of [`Candidate::predictions`].
    pub predictions: Vec<f64>,
}

/// The positions of the trials to consider: `trials` holds learner and loss (smaller is better) of each in the order of
/// their numbers. Ascending.
pub fn shortlist(trials: &[(&str, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..trials.len()).collect();
    // Stable: of equal ones the lowest number comes first.
    order.sort_by(|&a, &b| trials[a].1.total_cmp(&trials[b].1));
    let mut taken = vec![false; trials.len()];
    for &i in order.iter().take(CANDIDATES) {
        taken[i] = true;
    }
    let mut learners: Vec<&str> = trials.iter().map(|t| t.0).collect();
    learners.sort_unstable();
    learners.dedup();
    for learner in learners {
        let own = order.iter().filter(|&&i| trials[i].0 == learner);
        for &i in own.take(OF_EACH_LEARNER) {
            taken[i] = true;
        }
    }
    (0..trials.len()).filter(|&i| taken[i]).collect()
}

impl Field<'_> {
    /// Which part of [`Candidate::predictions`] belongs to a fold.
    pub fn range(&self, fold: usize) -> std::ops::Range<usize> {
        let before: usize = self.truths[..fold].iter().map(Vec::len).sum();
        let begin = before * self.width;
        begin..begin + self.truths[fold].len() * self.width
    }

    /// The folds of the same repeat but one: what may be learnt from for it.
    pub fn others(&self, fold: usize) -> Vec<usize> {
        (0..self.truths.len())
            .filter(|&f| f != fold && self.repeats[f] == self.repeats[fold])
            .collect()
    }

    /// The score of predictions of one fold.
    ///
    /// # Errors
    /// When the metric has no value for these rows.
    pub fn score(&self, fold: usize, predictions: &[f64]) -> Result<f64, MetricError> {
        let given = Scores::new(self.task, self.width, predictions);
        let weights = self.weights.map(|w| &w[fold][..]);
        self.metric.score(&self.truths[fold], given, weights, 0.5)
    }

    /// Predictions of one fold by a blend of candidates.
    fn blend(&self, candidates: &[Candidate], blend: &Blend, fold: usize) -> Vec<f64> {
        let range = self.range(fold);
        let mut out = vec![0.0; range.len()];
        for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
            let at = range.start + row * self.width;
            let member = |m: usize| &candidates[m].predictions[at..at + self.width];
            blend.apply(self.task, member, out);
        }
        out
    }

    fn choose(
        &self,
        way: Way,
        candidates: &[Candidate],
        folds: &[usize],
    ) -> Result<Blend, MetricError> {
        match way {
            Way::Best => {
                let scores = self.each(candidates, folds)?;
                let mut weights = vec![0.0; candidates.len()];
                weights[self.first_best(&scores)] = 1.0;
                Ok(Blend::Mean { weights })
            }
            Way::Greedy => greedy::select(self, candidates, folds),
            Way::Stacked => stacked::fit(self, candidates, folds),
        }
    }

    /// The mean score of each candidate over some folds.
    fn each(&self, candidates: &[Candidate], folds: &[usize]) -> Result<Vec<f64>, MetricError> {
        let scores: Vec<Result<f64, MetricError>> = candidates
            .par_iter()
            .map(|c| {
                let mut sum = 0.0;
                for &fold in folds {
                    sum += self.score(fold, &c.predictions[self.range(fold)])?;
                }
                Ok(sum / folds.len() as f64)
            })
            .collect();
        scores.into_iter().collect()
    }

    /// The position of the best score; of equal ones the first.
    fn first_best(&self, scores: &[f64]) -> usize {
        let mut best = 0;
        for (i, score) in scores.iter().enumerate() {
            if self.metric.goal.better(*score, scores[best]) {
                best = i;
            }
        }
        best
    }

    /// The honest score of a way, with the predictions it comes from.
    fn honest(&self, way: Way, candidates: &[Candidate]) -> Result<(f64, Vec<f64>), MetricError> {
        let folds: Vec<Result<(f64, Vec<f64>), MetricError>> = (0..self.truths.len())
            .into_par_iter()
            .map(|fold| {
                let blend = self.choose(way, candidates, &self.others(fold))?;
                let predictions = self.blend(candidates, &blend, fold);
                Ok((self.score(fold, &predictions)?, predictions))
            })
            .collect();
        let (mut sum, mut all) = (0.0, Vec::new());
        for fold in folds {
            let (score, predictions) = fold?;
            sum += score;
            all.extend(predictions);
        }
        Ok((sum / self.truths.len() as f64, all))
    }
}

/// Compares all ways and makes the blend of the best one. `candidates` are in the order of their numbers, at least one.
///
/// # Errors
/// When the metric has no value for some predictions.
pub fn select(field: &Field<'_>, candidates: &[Candidate]) -> Result<Selection, MetricError> {
    let mut scores = Vec::with_capacity(WAYS.len());
    let mut best: Option<(Way, f64, Vec<f64>)> = None;
    for way in WAYS {
        let (score, predictions) = field.honest(way, candidates)?;
        scores.push((way, score));
        let better =
            |(_, before, _): &(Way, f64, Vec<f64>)| field.metric.goal.better(score, *before);
        if best.as_ref().is_none_or(better) {
            best = Some((way, score, predictions));
        }
    }
    let (way, _, predictions) = best.unwrap_or((Way::Best, f64::NAN, Vec::new()));
    let all: Vec<usize> = (0..field.truths.len()).collect();
    let blend = field.choose(way, candidates, &all)?;
    let members: Vec<usize> = (0..candidates.len())
        .filter(|&m| blend.weight(m) > 0.0)
        .collect();
    Ok(Selection {
        way,
        scores,
        blend: blend.keep(&members),
        members,
        predictions,
    })
}
