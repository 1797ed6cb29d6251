//! Gradient-boosted trees (Friedman 2001; second order as in Chen and Guestrin 2016) over the binned matrix.
//!
//! What is minimized is a [`Loss`], by default the logistic one for two classes, softmax with one tree per class and round,
//! and the squared error for numbers. Trees grow best-first as in LightGBM; each round may see a share of the rows and
//! each tree a share of the features.

mod boosting;
mod constraints;
mod fit;
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

use super::learner::{LearnError, Learner, Model, Rounds, TrainingSet};
use super::model::TreeModel;
use super::tree::view::Link;
use fit::Fit;

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
        let mut fit = Fit::new(self, data, &[], seed)?;
        fit.advance(self.params.n_estimators, data.limit)?;
        Ok(Box::new(fit.model()))
    }

    fn begin<'a>(
        &'a self,
        data: &TrainingSet<'a>,
        watched: &'a [u32],
        seed: Seed,
    ) -> Option<Result<Box<dyn Rounds + 'a>, LearnError>> {
        let fit = Fit::new(self, data, watched, seed);
        Some(fit.map(|fit| Box::new(fit) as Box<dyn Rounds + 'a>))
    }
}

/// Reads a boosted model from its saved form.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(NAME, text)?))
}
