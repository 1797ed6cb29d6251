//! `elastic_net`: linear regression, and logistic regression for two or more classes, with L1 and L2 penalties.
//!
//! **Objective.** The weighted mean of the loss plus `alpha · (l1_ratio · Σ|β| + (1 − l1_ratio) / 2 · Σβ²)`, as glmnet writes it
//! (its `lambda` is our `alpha`, its `alpha` our `l1_ratio`) and as scikit-learn's `ElasticNet` does. scikit-learn's
//! `LogisticRegression` sums the loss instead: its `C` is `1 / (alpha · rows)`. Coefficients are those of standardised
//! features, and of a standardised target for numbers, so `alpha` means the same in any unit. The intercept is free.
//!
//! **Features.** Means and deviations are fitted on the training rows, weighted, and are part of the model. A missing number
//! counts as the mean and, when training rows lack it, sets a 0/1 term of its own. A category is one 0/1 term per level
//! of the training rows; another level sets none of them. A feature that does not vary is not used.
//!
//! Fitting is by Newton steps with coordinate descent inside (Friedman, Hastie & Tibshirani 2010); it draws no random
//! numbers. When `max_iter` is reached the model is as good as it got.

mod design;
mod model;
mod solver;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::seed::Seed;

use super::learner::{LearnError, Learner, Model, TrainingSet};
use super::model::check;

pub(crate) use design::Design;
pub use model::{LinearModel, LinearTerm, Link, TermPart, load};
pub(crate) use solver::{Ask, Limits, Penalty, Score, logistic, squared};

/// The name in the table of learners.
pub const NAME: &str = "elastic_net";

/// Most terms: the matrix of their products is held in memory.
const MOST_TERMS: usize = 4_096;

/// The score of a class that no training row has: a probability of 0 beside any other.
const ABSENT: f64 = 1e6;

/// Hyperparameters of `elastic_net`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElasticNetParams {
    /// Weight of the penalty against the mean loss of a row, 0 to 1e6; see the [module](self).
    pub alpha: f64,
    /// Share of the L1 part in the penalty: 0 is ridge, 1 is lasso.
    pub l1_ratio: f64,
    /// Most Newton steps, 1 to 100,000; for three classes or more, for each class.
    pub max_iter: u32,
    /// Done when no standardised coefficient moves further in a step, above 0 and at most 1.
    pub tol: f64,
    /// Whether there is an intercept; without one, features and target are scaled and not centred.
    pub fit_intercept: bool,
}

impl Default for ElasticNetParams {
    fn default() -> Self {
        ElasticNetParams {
            alpha: 0.001,
            l1_ratio: 0.5,
            max_iter: 100,
            tol: 0.0001,
            fit_intercept: true,
        }
    }
}

impl ElasticNetParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] naming the parameter, its value and what is allowed.
    pub fn build(self) -> Result<ElasticNet, LearnError> {
        check(NAME, "alpha", self.alpha, 0.0, 1e6)?;
        check(NAME, "l1_ratio", self.l1_ratio, 0.0, 1.0)?;
        check(NAME, "max_iter", f64::from(self.max_iter), 1.0, 1e5)?;
        check(NAME, "tol", self.tol, f64::MIN_POSITIVE, 1.0)?;
        Ok(ElasticNet(self))
    }
}

/// An elastic net that is ready to be fitted.
#[derive(Clone, Debug)]
pub struct ElasticNet(ElasticNetParams);

impl ElasticNet {
    /// Fits, and leaves the model as what it is.
    ///
    /// # Errors
    /// [`LearnError::Data`] without rows of weight, without features, or with more levels than it can take;
    /// [`LearnError::Stopped`] when the limit of `data` says so, which is asked before the fit and between passes.
    pub fn fit_linear(&self, data: &TrainingSet<'_>) -> Result<LinearModel, LearnError> {
        let rows = data.weighted_rows();
        let data = &TrainingSet {
            rows: &rows,
            ..*data
        };
        data.check(NAME)?;
        let fail = |what: String| LearnError::Data {
            learner: NAME,
            what,
        };
        let most = design::most_terms(data.features);
        if most > MOST_TERMS {
            return Err(fail(format!(
                "{most} columns after one-hot encoding are more than the {MOST_TERMS} it can take; drop columns with many levels"
            )));
        }
        let outputs = match data.target.task {
            Task::Multiclass => data.target.classes.len(),
            _ => 1,
        };
        let held = design::most_bytes(data.features, rows.len(), outputs);
        let ask = || data.goes_on(NAME, held);
        ask()?;
        // Divided by the largest one first: their sum must not overflow.
        let largest = rows.iter().map(|&r| data.weight(r)).fold(0.0, f64::max);
        let mut weights: Vec<f64> = rows.iter().map(|&r| data.weight(r) / largest).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
        let params = &self.0;
        let penalty = Penalty {
            l1: params.alpha * params.l1_ratio,
            l2: params.alpha * (1.0 - params.l1_ratio),
            nonnegative: false,
        };
        let limits = Limits {
            max_iter: params.max_iter,
            tol: params.tol,
            intercept: params.fit_intercept,
        };
        let (design, terms) = Design::standardised(data, &weights, params.fit_intercept);
        let target: Vec<f64> = rows
            .iter()
            .map(|&r| data.target.values[r as usize])
            .collect();
        let (link, intercepts, scores) = match data.target.task {
            Task::Regression => {
                let (mean, deviation) =
                    design::spread(&target, &weights).unwrap_or((target[0], 1.0));
                let mean = if params.fit_intercept { mean } else { 0.0 };
                let y: Vec<f64> = target.iter().map(|y| (y - mean) / deviation).collect();
                let mut score = squared(&design, &y, &weights, penalty, limits, &ask)?;
                score.coefficients.iter_mut().for_each(|c| *c *= deviation);
                let intercept = mean + deviation * score.intercept;
                (Link::Identity, vec![intercept], vec![score])
            }
            Task::Binary => {
                let first = target[0];
                let score = if target.iter().all(|y| *y == first) {
                    constant(if first == 1.0 { ABSENT } else { -ABSENT }, terms.len())
                } else {
                    logistic(&design, &target, &weights, penalty, limits, &ask)?
                };
                (Link::Logistic, vec![score.intercept], vec![score])
            }
            Task::Multiclass => {
                let scores = several(&design, &target, outputs, &weights, penalty, limits, &ask)?;
                let intercepts = scores.iter().map(|s| s.intercept).collect();
                (Link::Softmax, intercepts, scores)
            }
        };
        let terms = terms.iter().enumerate().map(|(j, term)| LinearTerm {
            feature: term.feature,
            part: model::part(term.part, term.fill),
            mean: term.mean,
            deviation: term.deviation,
            coefficients: scores.iter().map(|s| s.coefficients[j]).collect(),
        });
        let model = LinearModel::new(link, data.features.len(), intercepts, terms.collect());
        // A fit that ran away is an error here rather than a model that answers NaN.
        model.check().map_err(fail)?;
        Ok(model)
    }
}

fn constant(intercept: f64, terms: usize) -> Score {
    Score {
        intercept,
        coefficients: vec![0.0; terms],
    }
}

/// One score per class; a class that no row has gets a probability of 0.
fn several(
    design: &Design,
    target: &[f64],
    classes: usize,
    weights: &[f64],
    penalty: Penalty,
    limits: Limits,
    ask: Ask<'_, LearnError>,
) -> Result<Vec<Score>, LearnError> {
    let mut position = vec![None; classes];
    let mut present = 0;
    let mut seen = vec![false; classes];
    for y in target {
        seen[*y as usize] = true;
    }
    for (class, seen) in seen.iter().enumerate() {
        if *seen {
            position[class] = Some(present);
            present += 1;
        }
    }
    let fitted = if present > 1 {
        let y: Vec<usize> = target
            .iter()
            .map(|y| position[*y as usize].unwrap_or(0))
            .collect();
        solver::softmax(design, &y, present, weights, penalty, limits, ask)?
    } else {
        vec![constant(0.0, design.terms())]
    };
    let of_class = |at: &Option<usize>| match at {
        Some(at) => fitted[*at].clone(),
        None => constant(-ABSENT, design.terms()),
    };
    Ok(position.iter().map(of_class).collect())
}

impl Learner for ElasticNet {
    fn fit(&self, data: &TrainingSet<'_>, _seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        Ok(Box::new(self.fit_linear(data)?))
    }
}
