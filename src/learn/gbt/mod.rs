//! Gradient-boosted trees (Friedman 2001; second order as in Chen and Guestrin 2016) over the binned matrix.
//!
//! What is minimized is a [`Loss`], by default the logistic one for two classes, softmax with one tree per class and round,
//! and the squared error for numbers. Trees grow best-first as in LightGBM; each round may see a share of the rows and
//! each tree a share of the features.

mod boosting;
mod constraints;
pub mod loss;
mod params;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use loss::{Loss, LossName};
pub use params::{GbtParams, Growth, LeafCount};

use crate::data::table::Task;
use crate::seed::Seed;

use super::learner::{LearnError, Learner, Model, TrainingSet};
use super::model::TreeModel;
use super::tree::nodes::Codes;
use super::tree::view::Link;
use boosting::{Boosting, Scores};

const NAME: &str = "gbt";

/// Boosting that is ready to be fitted.
#[derive(Clone, Debug)]
pub struct Gbt {
    params: GbtParams,
    /// In place of the one that the parameters name.
    loss: Option<Arc<dyn Loss>>,
}

impl Gbt {
    fn new(params: GbtParams) -> Self {
        Gbt { params, loss: None }
    }

    /// Minimizes a loss of one's own in place of a built-in one. See `examples/custom_loss.rs`.
    pub fn with_loss(self, loss: Arc<dyn Loss>) -> Self {
        Gbt {
            loss: Some(loss),
            ..self
        }
    }

    /// The loss to minimize, checked against the target.
    fn loss(&self, data: &TrainingSet<'_>) -> Result<Arc<dyn Loss>, LearnError> {
        let task = data.target.task;
        let params = &self.params;
        let loss = match &self.loss {
            Some(loss) => Arc::clone(loss),
            None => params
                .loss
                .unwrap_or(LossName::of(task))
                .build(params.loss_alpha, params.tweedie_power),
        };
        let targets: Vec<f64> = data.targets(data.rows);
        loss.check(task, &targets)
            .map_err(|what| LearnError::Data {
                learner: NAME,
                what: format!(
                    "`loss: {}` does not fit `{}`: {what}",
                    loss.name(),
                    data.target.name
                ),
            })?;
        // A model says one number, or one per class; a loss of one's own might promise something else.
        let classes = data.target.classes.len();
        let outputs = if task == Task::Multiclass { classes } else { 1 };
        let link = loss.link();
        let fits = match task {
            Task::Multiclass => link == Link::Softmax,
            Task::Binary => matches!(link, Link::Logistic | Link::Identity),
            Task::Regression => matches!(link, Link::Identity | Link::Exp | Link::Logistic),
        };
        if loss.outputs(classes) != outputs || !fits {
            return Err(LearnError::Data {
                learner: NAME,
                what: format!(
                    "the loss `{}` gives {} scores and the link {link:?}, which do not go with {task:?}",
                    loss.name(),
                    loss.outputs(classes)
                ),
            });
        }
        Ok(loss)
    }

    /// Splits the rows into those to fit on and those that early stopping watches, at random.
    fn set_aside(&self, all: &[u32], seed: Seed) -> (Vec<u32>, Vec<u32>) {
        let aside = (all.len() as f64 * self.params.validation_fraction) as usize;
        if self.params.early_stopping == 0 || aside == 0 || aside == all.len() {
            return (all.to_vec(), Vec::new());
        }
        let mut rng = seed.child("validation", 0).rng();
        let (mut held, mut kept) = (Vec::new(), Vec::new());
        rows::sample(&mut rng, all.len(), aside, &mut held, &mut kept);
        let at = |places: Vec<u32>| places.into_iter().map(|i| all[i as usize]).collect();
        (at(kept), at(held))
    }
}

impl Learner for Gbt {
    fn fit(&self, data: &TrainingSet<'_>, seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let class_weights = match &self.params.class_weight {
            Some(weight) => Some(weight.of_rows(NAME, data)?),
            None => None,
        };
        let data = &TrainingSet {
            weights: class_weights.as_deref().or(data.weights),
            ..*data
        };
        let counted = data.weighted_rows();
        let data = &TrainingSet {
            rows: &counted,
            ..*data
        };
        data.check(NAME)?;
        let loss = self.loss(data)?;
        let (fit_rows, held_rows) = self.set_aside(data.rows, seed);
        let fit_data = TrainingSet {
            rows: &fit_rows,
            ..*data
        };
        let constraints = constraints::resolve(&self.params, data)?;
        let mut boosting = Boosting::new(&self.params, &*loss, &constraints, &fit_data);
        let mut held = Scores::new(&held_rows, &boosting.base);
        let codes = Codes::of(data.features, data.fills);
        // With too few rows to set one aside there is nothing to watch.
        let watching = !held_rows.is_empty();
        let (mut best_loss, mut best_round) = (f64::INFINITY, 0);
        let mut best_importance = boosting.importance.clone();
        let mut rng = seed.child("boosting", 0).rng();
        for round in 0..self.params.n_estimators {
            let grown = boosting.round(&fit_data, &codes, &mut rng)?;
            if !watching {
                continue;
            }
            for (class, tree) in boosting.trees[grown..].iter().enumerate() {
                held.add(class, tree, &codes, &held_rows);
            }
            let now = held.loss(&*loss, &fit_data, &held_rows);
            if now < best_loss {
                (best_loss, best_round) = (now, round);
                best_importance.clone_from(&boosting.importance);
            } else if round - best_round >= self.params.early_stopping {
                break;
            }
        }
        if watching {
            boosting
                .trees
                .truncate((best_round + 1) * boosting.base.len());
            boosting.importance = best_importance;
        }
        let Boosting {
            base,
            trees,
            importance,
            ..
        } = boosting;
        let model = TreeModel::boosted(NAME, loss.link(), base, trees, importance, data.features);
        Ok(Box::new(model))
    }
}

/// Reads a boosted model from its saved form.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(NAME, text)?))
}
