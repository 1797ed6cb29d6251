//! Gradient-boosted trees (Friedman 2001; second order as in Chen and Guestrin 2016) over the binned matrix.
//!
//! Losses: logistic for two classes, softmax with one tree per class and round, squared error for numbers. Trees grow
//! best-first as in LightGBM; each round may see a share of the rows and each tree a share of the features.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::seed::{Rng, Seed};
use crate::stats::special::{ln, sigmoid, softmax};

use super::learner::{LearnError, Learner, Model, TrainingSet};
use super::model::{TreeModel, check};
use super::tree::Column;
use super::tree::best_first::{Arena, Limits, grow};
use super::tree::nodes::{Codes, Tree};
use super::tree::split::Criterion;
use super::tree::sum::{FixedPoint, Sum};

const NAME: &str = "gbt";

/// Hyperparameters of boosting. The defaults are those of LightGBM, where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GbtParams {
    /// Number of rounds, 1 to 100,000.
    pub n_estimators: usize,
    /// Factor of every tree, in (0, 10].
    pub learning_rate: f64,
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// Most leaves of a tree, 2 to 65,536.
    pub max_leaves: usize,
    /// Fewest rows of a leaf, at least 1.
    pub min_leaf: usize,
    /// Smallest sum of hessians of a leaf, at least 0.
    pub min_child_weight: f64,
    /// Chance of each row to be seen by a round, in (0, 1].
    pub subsample: f64,
    /// Share of the features that each tree sees, in (0, 1].
    pub colsample: f64,
    /// L1 penalty of leaf values, at least 0.
    pub reg_alpha: f64,
    /// L2 penalty of leaf values, at least 0.
    pub reg_lambda: f64,
    /// A split must gain more than this, at least 0.
    pub min_gain: f64,
    /// Added to hessians when categories are put in order, at least 0.
    pub category_smoothing: f64,
    /// Stop when this many rounds did not improve the loss on rows set aside; 0 runs all rounds.
    pub early_stopping: usize,
    /// Share of the rows set aside for early stopping, in (0, 1).
    pub validation_fraction: f64,
}

impl Default for GbtParams {
    fn default() -> Self {
        GbtParams {
            n_estimators: 100,
            learning_rate: 0.1,
            max_depth: 0,
            max_leaves: 31,
            min_leaf: 20,
            min_child_weight: 1e-3,
            subsample: 1.0,
            colsample: 1.0,
            reg_alpha: 0.0,
            reg_lambda: 0.0,
            min_gain: 0.0,
            category_smoothing: 10.0,
            early_stopping: 0,
            validation_fraction: 0.1,
        }
    }
}

impl GbtParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] naming the parameter, its value and what is allowed.
    pub fn build(self) -> Result<Gbt, LearnError> {
        let above_zero = f64::MIN_POSITIVE;
        check(NAME, "n_estimators", self.n_estimators as f64, 1.0, 1e5)?;
        check(NAME, "learning_rate", self.learning_rate, above_zero, 10.0)?;
        check(NAME, "max_depth", f64::from(self.max_depth), 0.0, 1e6)?;
        check(NAME, "max_leaves", self.max_leaves as f64, 2.0, 65_536.0)?;
        check(NAME, "min_leaf", self.min_leaf as f64, 1.0, 1e9)?;
        check(NAME, "min_child_weight", self.min_child_weight, 0.0, 1e12)?;
        check(NAME, "subsample", self.subsample, above_zero, 1.0)?;
        check(NAME, "colsample", self.colsample, above_zero, 1.0)?;
        check(NAME, "reg_alpha", self.reg_alpha, 0.0, 1e12)?;
        check(NAME, "reg_lambda", self.reg_lambda, 0.0, 1e12)?;
        check(NAME, "min_gain", self.min_gain, 0.0, 1e12)?;
        check(
            NAME,
            "category_smoothing",
            self.category_smoothing,
            0.0,
            1e12,
        )?;
        check(
            NAME,
            "validation_fraction",
            self.validation_fraction,
            above_zero,
            0.9,
        )?;
        Ok(Gbt(self))
    }
}

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
            let loss = held.loss(&fit_data, &held_rows);
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

/// Takes exactly `take` of `0..n` at random (Knuth, algorithm S): those taken and the others, both ascending.
fn sample(rng: &mut Rng, n: usize, take: usize, taken: &mut Vec<u32>, others: &mut Vec<u32>) {
    taken.resize(n, 0);
    others.resize(n, 0);
    let (mut in_taken, mut in_others) = (0, 0);
    for i in 0..n {
        let needed = (take - in_taken) as u64;
        let take_it = (u64::from(rng.next_u32()) * (n - i) as u64) >> 32 < needed;
        // Both places are written and one of them advances: no branch to mispredict.
        taken[in_taken.min(n - 1)] = i as u32;
        others[in_others.min(n - 1)] = i as u32;
        in_taken += usize::from(take_it);
        in_others += usize::from(!take_it);
    }
    taken.truncate(in_taken);
    others.truncate(in_others);
}

/// Raw scores of some rows, class-major: `class × rows + row`.
struct Scores {
    raw: Vec<f64>,
    rows: usize,
}

impl Scores {
    fn new(rows: &[u32], base: &[f64]) -> Self {
        let raw = base
            .iter()
            .flat_map(|b| std::iter::repeat_n(*b, rows.len()))
            .collect();
        Scores {
            raw,
            rows: rows.len(),
        }
    }

    fn add(&mut self, class: usize, tree: &Tree, codes: &[Codes<'_>], rows: &[u32]) {
        let raw = &mut self.raw[class * self.rows..(class + 1) * self.rows];
        tree.for_each_leaf(codes, rows, |place, leaf| raw[place] += leaf[0]);
    }

    /// Mean loss: log loss for classes, squared error for numbers.
    fn loss(&self, data: &TrainingSet<'_>, rows: &[u32]) -> f64 {
        let classes = self.raw.len() / self.rows.max(1);
        let mut probabilities = vec![0.0; classes];
        let (mut sum, mut weights) = (0.0, 0.0);
        for (i, &row) in rows.iter().enumerate() {
            let y = data.target.values[row as usize];
            let loss = match data.target.task {
                Task::Regression => (self.raw[i] - y) * (self.raw[i] - y),
                Task::Binary => {
                    let p = sigmoid(self.raw[i]);
                    -ln(if y > 0.5 { p } else { 1.0 - p }.max(1e-15))
                }
                Task::Multiclass => {
                    for (k, p) in probabilities.iter_mut().enumerate() {
                        *p = self.raw[k * self.rows + i];
                    }
                    softmax(&mut probabilities);
                    -ln(probabilities[y as usize].max(1e-15))
                }
            };
            sum += data.weight(row) * loss;
            weights += data.weight(row);
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }
}

/// The state of one fit.
struct Boosting<'a> {
    params: &'a GbtParams,
    columns: Vec<Column<'a>>,
    base: Vec<f64>,
    /// The score so far, `output × rows of the dataset + row`.
    raw: Vec<f64>,
    trees: Vec<Tree>,
    importance: Vec<f64>,
    arena: Arena,
    largest_weight: f64,
    /// Rows that the round sees, and those that it does not.
    inside: Vec<u32>,
    outside: Vec<u32>,
    /// For the rows inside, in order: the target, and by output the gradient and the hessian.
    targets: Vec<f64>,
    gradients: Vec<f64>,
    hessians: Vec<f64>,
    /// What a tree reorders.
    rows: Vec<u32>,
    sums: Vec<Sum>,
}

impl<'a> Boosting<'a> {
    fn new(params: &'a GbtParams, data: &TrainingSet<'a>) -> Self {
        let base = start(data);
        let all = data.features.rows;
        Boosting {
            params,
            columns: Column::of(data),
            raw: base
                .iter()
                .flat_map(|b| std::iter::repeat_n(*b, all))
                .collect(),
            base,
            trees: Vec::new(),
            importance: vec![0.0; data.features.len()],
            arena: Arena::default(),
            largest_weight: data
                .rows
                .iter()
                .map(|&r| data.weight(r))
                .fold(0.0, f64::max),
            inside: data.rows.to_vec(),
            outside: Vec::new(),
            targets: Vec::new(),
            gradients: Vec::new(),
            hessians: Vec::new(),
            rows: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Adds one tree per output and returns the position of the first one.
    fn round(&mut self, data: &TrainingSet<'_>, codes: &[Codes<'_>], rng: &mut Rng) -> usize {
        let first = self.trees.len();
        if self.params.subsample < 1.0 {
            self.draw_rows(data.rows, rng);
        }
        let unit = self.differentiate(data);
        let inside = self.inside.len();
        let criterion = Criterion {
            unit,
            l1: self.params.reg_alpha,
            l2: self.params.reg_lambda,
            min_leaf: self.params.min_leaf.min(u32::MAX as usize) as u32,
            min_leaf_hessian: self.params.min_child_weight,
            category_smoothing: self.params.category_smoothing,
        };
        let limits = Limits {
            max_leaves: self.params.max_leaves,
            max_depth: self.params.max_depth,
            min_gain: self.params.min_gain,
        };
        for class in 0..self.base.len() {
            let chosen = self.draw_features(rng);
            let part = class * inside..(class + 1) * inside;
            let places = self.gradients[part.clone()]
                .iter()
                .zip(&self.hessians[part]);
            self.rows.clear();
            self.rows.extend_from_slice(&self.inside);
            self.sums.clear();
            self.sums.extend(places.map(|(g, h)| unit.row(*g, *h)));
            let mut grown = grow(
                &self.columns,
                &data.features.packs,
                &chosen,
                &mut self.rows,
                &mut self.sums,
                &criterion,
                &limits,
                &mut self.arena,
                &mut self.importance,
            );
            let all = data.features.rows;
            let raw = &mut self.raw[class * all..(class + 1) * all];
            for (node, range, sum) in &grown.leaves {
                let value = criterion.leaf(*sum) * self.params.learning_rate;
                grown.tree.set_leaf(*node, &[value]);
                grown.tree.set_cover(*node, f64::from(sum.count()));
                for &row in &self.rows[range.clone()] {
                    raw[row as usize] += value;
                }
            }
            // Rows that the round did not see take the way down the tree.
            grown
                .tree
                .for_each_leaf(codes, &self.outside, |place, leaf| {
                    raw[self.outside[place] as usize] += leaf[0];
                });
            self.trees.push(grown.tree);
        }
        first
    }

    /// Each row is inside with the chance `subsample`, as in LightGBM; when none is, all are.
    fn draw_rows(&mut self, rows: &[u32], rng: &mut Rng) {
        let chance = (self.params.subsample * 2_f64.powi(32)) as u64;
        let n = rows.len();
        self.inside.resize(n, 0);
        self.outside.resize(n, 0);
        let (mut inside, mut outside) = (0, 0);
        for &row in rows {
            let taken = u64::from(rng.next_u32()) < chance;
            // Both places are written and one of them advances: no branch to mispredict.
            self.inside[inside] = row;
            self.outside[outside] = row;
            inside += usize::from(taken);
            outside += usize::from(!taken);
        }
        if inside == 0 {
            self.inside.copy_from_slice(rows);
            (inside, outside) = (n, 0);
        }
        self.inside.truncate(inside);
        self.outside.truncate(outside);
    }

    /// Gradients and hessians of the loss at the current scores of the rows inside, and units that hold them.
    fn differentiate(&mut self, data: &TrainingSet<'_>) -> FixedPoint {
        let (n, all, classes) = (self.inside.len(), data.features.rows, self.base.len());
        let (mut largest_gradient, mut largest_hessian) =
            (self.largest_weight, self.largest_weight);
        let targets = self.inside.iter().map(|&r| data.target.values[r as usize]);
        self.targets.clear();
        self.targets.extend(targets);
        // Scores first, side by side and output by output; gradients take their place.
        self.gradients.clear();
        for class in 0..classes {
            let raw = &self.raw[class * all..(class + 1) * all];
            self.gradients
                .extend(self.inside.iter().map(|&r| raw[r as usize]));
        }
        self.hessians.clear();
        self.hessians.resize(n * classes, 1.0);
        let places = self.gradients.iter_mut().zip(&mut self.hessians);
        match data.target.task {
            Task::Regression => {
                places.zip(&self.targets).for_each(|((g, _), y)| *g -= y);
                let size = |largest, g: &f64| f64::max(largest, g.abs());
                largest_gradient *= self.gradients.iter().fold(0.0, size);
            }
            Task::Binary => {
                largest_hessian *= 0.25;
                for ((g, h), y) in places.zip(&self.targets) {
                    let p = sigmoid(*g);
                    *g = p - y;
                    *h = p * (1.0 - p);
                }
            }
            Task::Multiclass => {
                // The factor makes the diagonal of the hessian a bound (Friedman 2001, as in LightGBM).
                let factor = classes as f64 / (classes as f64 - 1.0);
                largest_hessian *= 0.25 * factor;
                let mut probabilities = vec![0.0; classes];
                for (i, y) in self.targets.iter().enumerate() {
                    for (k, p) in probabilities.iter_mut().enumerate() {
                        *p = self.gradients[k * n + i];
                    }
                    softmax(&mut probabilities);
                    for (k, p) in probabilities.iter().enumerate() {
                        let hit = f64::from(u8::from(*y as usize == k));
                        self.gradients[k * n + i] = p - hit;
                        self.hessians[k * n + i] = factor * p * (1.0 - p);
                    }
                }
            }
        }
        if data.weights.is_some() {
            for class in 0..classes {
                let part = class * n..(class + 1) * n;
                let places = self.gradients[part.clone()]
                    .iter_mut()
                    .zip(&mut self.hessians[part]);
                for ((g, h), &row) in places.zip(&self.inside) {
                    *g *= data.weight(row);
                    *h *= data.weight(row);
                }
            }
        }
        FixedPoint::new(n, largest_gradient, largest_hessian)
    }

    fn draw_features(&self, rng: &mut Rng) -> Vec<usize> {
        let n = self.columns.len();
        let take = ((n as f64 * self.params.colsample).round() as usize).clamp(1, n);
        if take == n {
            return (0..n).collect();
        }
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        sample(rng, n, take, &mut taken, &mut others);
        taken.into_iter().map(|i| i as usize).collect()
    }
}

/// The best constant score per output: log odds, log shares, or the mean.
fn start(data: &TrainingSet<'_>) -> Vec<f64> {
    match data.target.task {
        Task::Regression => vec![data.mean()],
        Task::Binary => {
            let p = data.mean().clamp(1e-9, 1.0 - 1e-9);
            vec![ln(p / (1.0 - p))]
        }
        Task::Multiclass => {
            let mut weights = vec![0.0; data.target.classes.len()];
            for &row in data.rows {
                weights[data.target.values[row as usize] as usize] += data.weight(row);
            }
            let all: f64 = weights.iter().sum();
            weights
                .iter()
                .map(|w| ln((w / all.max(1e-300)).max(1e-9)))
                .collect()
        }
    }
}

/// Reads a boosted model from its saved form.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(NAME, text)?))
}
