//! Gradient-boosted trees (Friedman 2001; second order as in Chen and Guestrin 2016) over the binned matrix.
//!
//! Losses: logistic for two classes, softmax with one tree per class and round, squared error for numbers. Trees grow
//! best-first as in LightGBM; each round may see a share of the rows and each tree a share of the features.

mod boosting;
mod loss;
mod params;

pub use params::GbtParams;

use crate::seed::Seed;

use super::learner::{LearnError, Learner, Model, TrainingSet};
use super::model::TreeModel;
use super::tree::nodes::Codes;
use boosting::{Boosting, Scores, sample};

const NAME: &str = "gbt";

/// Boosting that is ready to be fitted.
#[derive(Clone, Debug)]
pub struct Gbt(GbtParams);

impl Learner for Gbt {
    fn fit(&self, data: &TrainingSet<'_>, seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let rows = data.weighted_rows();
        let data = &TrainingSet {
            rows: &rows,
            ..*data
        };
        data.check(NAME)?;
        let (fit_rows, held_rows) = self.set_aside(data.rows, seed);
        let fit_data = TrainingSet {
            rows: &fit_rows,
            ..*data
        };
        let mut boosting = Boosting::new(&self.0, &fit_data);
        let mut held = Scores::new(&held_rows, &boosting.base);
        let codes = Codes::of(data.features, data.fills);
        // With too few rows to set one aside there is nothing to watch.
        let watching = !held_rows.is_empty();
        let (mut best_loss, mut best_round) = (f64::INFINITY, 0);
        let mut best_importance = boosting.importance.clone();
        let mut rng = seed.child("boosting", 0).rng();
        for round in 0..self.0.n_estimators {
            let grown = boosting.round(&fit_data, &codes, &mut rng);
            if !watching {
                continue;
            }
            for (class, tree) in boosting.trees[grown..].iter().enumerate() {
                held.add(class, tree, &codes, &held_rows);
            }
            let loss = loss::mean(&fit_data, &held_rows, &held.raw);
            if loss < best_loss {
                (best_loss, best_round) = (loss, round);
                best_importance.clone_from(&boosting.importance);
            } else if round - best_round >= self.0.early_stopping {
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
        let task = data.target.task;
        let model = TreeModel::boosted(NAME, task, base, trees, importance, data.features.binning);
        Ok(Box::new(model))
    }
}

impl Gbt {
    /// Splits the rows into those to fit on and those that early stopping watches, at random.
    fn set_aside(&self, rows: &[u32], seed: Seed) -> (Vec<u32>, Vec<u32>) {
        let aside = (rows.len() as f64 * self.0.validation_fraction) as usize;
        if self.0.early_stopping == 0 || aside == 0 || aside == rows.len() {
            return (rows.to_vec(), Vec::new());
        }
        let mut rng = seed.child("validation", 0).rng();
        let (mut held, mut kept) = (Vec::new(), Vec::new());
        sample(&mut rng, rows.len(), aside, &mut held, &mut kept);
        let at = |places: Vec<u32>| places.into_iter().map(|i| rows[i as usize]).collect();
        (at(kept), at(held))
    }
}

/// Reads a boosted model from its saved form.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(NAME, text)?))
}
