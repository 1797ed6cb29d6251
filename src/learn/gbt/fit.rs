//! A fit that goes round by round, as a whole fit does too: what early stopping watches, and what is predicted on the way.

use std::sync::Arc;

use super::boosting::{Boosting, Scores};
use super::constraints;
use super::loss::Loss;
use super::{Gbt, NAME};
use crate::learn::learner::{LearnError, Limit, Rounds, TrainingSet};
use crate::learn::model::{TreeModel, through};
use crate::learn::tree::Column;
use crate::learn::tree::nodes::Codes;
use crate::seed::{Rng, Seed};

/// A fit in progress.
pub(super) struct Fit<'a> {
    learner: &'a Gbt,
    loss: Arc<dyn Loss>,
    /// What was given; rows and weights are below.
    data: TrainingSet<'a>,
    /// A weight for every row of the dataset, when the parameters change those of the data.
    weights: Option<Vec<f64>>,
    /// The rows to fit on.
    rows: Vec<u32>,
    codes: Codes<'a>,
    boosting: Boosting<'a>,
    rng: Rng,
    round: usize,
    stopping: Option<Stopping>,
    /// The watched rows, and their sums of the first trees.
    watched: &'a [u32],
    sums: Vec<f64>,
    summed: usize,
}

/// Early stopping, as far as it has come.
struct Stopping {
    rows: Vec<u32>,
    scores: Scores,
    least: f64,
    round: usize,
    importance: Vec<f64>,
    over: bool,
}

impl<'a> Fit<'a> {
    pub fn new(
        learner: &'a Gbt,
        data: &TrainingSet<'a>,
        watched: &'a [u32],
        seed: Seed,
    ) -> Result<Self, LearnError> {
        let given = *data;
        let params = &learner.params;
        let weights = match &params.class_weight {
            Some(weight) => Some(weight.of_rows(NAME, data)?),
            None => None,
        };
        let data = &TrainingSet {
            weights: weights.as_deref().or(data.weights),
            ..*data
        };
        let counted = data.weighted_rows();
        let data = &TrainingSet {
            rows: &counted,
            ..*data
        };
        data.check(NAME)?;
        let loss = learner.loss(data)?;
        let (rows, held) = learner.set_aside(data.rows, seed);
        let constraints = constraints::resolve(params, data)?;
        let columns = Column::of(&given);
        let data = &TrainingSet {
            rows: &rows,
            ..*data
        };
        let boosting = Boosting::new(params, Arc::clone(&loss), constraints, columns, data);
        // With too few rows to set one aside there is nothing to watch.
        let stopping = (!held.is_empty()).then(|| Stopping {
            scores: Scores::new(&held, &boosting.base),
            rows: held,
            least: f64::INFINITY,
            round: 0,
            importance: boosting.importance.clone(),
            over: false,
        });
        Ok(Fit {
            learner,
            loss,
            codes: Codes::of(given.features, given.fills),
            data: given,
            rng: seed.child("boosting", 0).rng(),
            round: 0,
            stopping,
            sums: Vec::new(),
            summed: 0,
            watched,
            weights,
            rows,
            boosting,
        })
    }

    /// How many trees the model has as far as it is known.
    fn trees(&self) -> usize {
        let outputs = self.boosting.base.len();
        let rounds = match &self.stopping {
            Some(stopping) if stopping.over || self.round == self.total() => stopping.round + 1,
            _ => self.round,
        };
        (rounds * outputs).min(self.boosting.trees.len())
    }

    /// The model of what is fitted.
    pub fn model(mut self) -> TreeModel {
        let trees = self.trees();
        self.boosting.trees.truncate(trees);
        let Boosting {
            base,
            trees,
            importance,
            ..
        } = self.boosting;
        let importance = self.stopping.map_or(importance, |s| s.importance);
        let (link, features) = (self.loss.link(), self.data.features);
        TreeModel::boosted(NAME, link, base, trees, importance, features)
    }
}

impl Rounds for Fit<'_> {
    fn total(&self) -> usize {
        self.learner.params.n_estimators
    }

    fn advance(&mut self, round: usize, limit: Option<&dyn Limit>) -> Result<bool, LearnError> {
        let data = &TrainingSet {
            rows: &self.rows,
            weights: self.weights.as_deref().or(self.data.weights),
            limit,
            ..self.data
        };
        let own = 4 * self.rows.len()
            + 8 * self.weights.as_ref().map_or(0, Vec::len)
            + self.stopping.as_ref().map_or(0, |s| s.scores.bytes());
        let held = |boosting: &Boosting<'_>| (own + boosting.bytes()) as u64;
        let over = |stopping: &Option<Stopping>| stopping.as_ref().is_some_and(|s| s.over);
        while self.round < round.min(self.learner.params.n_estimators) && !over(&self.stopping) {
            data.goes_on(NAME, held(&self.boosting))?;
            let grown = self.boosting.round(data, &self.codes, &mut self.rng)?;
            if let Some(stopping) = &mut self.stopping {
                for (class, tree) in self.boosting.trees[grown..].iter().enumerate() {
                    stopping
                        .scores
                        .add(class, tree, &self.codes, &stopping.rows);
                }
                let now = stopping.scores.loss(&*self.loss, data, &stopping.rows);
                if now < stopping.least {
                    (stopping.least, stopping.round) = (now, self.round);
                    stopping.importance.clone_from(&self.boosting.importance);
                }
                stopping.over = self.round - stopping.round >= self.learner.params.early_stopping;
            }
            self.round += 1;
        }
        data.goes_on(NAME, held(&self.boosting))?;
        Ok(self.round < self.total() && !over(&self.stopping))
    }

    fn predict(&mut self) -> Vec<f64> {
        let (width, trees) = (self.boosting.base.len(), self.trees());
        if self.sums.is_empty() || trees < self.summed {
            self.sums = self.boosting.base.repeat(self.watched.len());
            self.summed = 0;
        }
        for (i, tree) in self.boosting.trees[..trees]
            .iter()
            .enumerate()
            .skip(self.summed)
        {
            let sums = &mut self.sums;
            tree.for_each_leaf(&self.codes, self.watched, |place, leaf| {
                sums[place * width + i % width] += leaf[0];
            });
        }
        self.summed = trees;
        let mut predicted = self.sums.clone();
        let link = self.loss.link();
        for out in predicted.chunks_exact_mut(width) {
            through(link, trees, out);
        }
        predicted
    }
}
