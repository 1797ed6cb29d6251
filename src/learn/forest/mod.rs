//! Random forest (Breiman 2001) and extremely randomized trees (Geurts, Ernst and Wehenkel 2006) over the binned matrix.
//!
//! Each tree of a random forest draws its rows with replacement and, at every node, its features. An extremely randomized
//! tree sees all rows and draws the threshold of each feature too. Probabilities are the mean of the leaves' class shares,
//! as in scikit-learn. Trees are grown in parallel, each from its own place in the seed tree.

mod out_of_bag;
mod params;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng as _;
use rayon::prelude::*;

use crate::data::table::Task;
use crate::seed::Seed;

use super::learner::{LearnError, Learner, Model, TrainingSet};
use super::model::TreeModel;
use super::tree::Column;
use super::tree::binary::{self, Binary};
use super::tree::depth_first::{Arena, Grow, Limits, MAX_TIMES, Variance, packed};
use super::tree::gini::Gini;
use super::tree::nodes::Tree;
use super::tree::split::Criterion;
use super::tree::sum::{FixedPoint, Sum};
pub use out_of_bag::OutOfBag;
pub use params::{ForestParams, MaxFeatures, MaxFeaturesRule};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    RandomForest,
    ExtraTrees,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::RandomForest => "random_forest",
            Kind::ExtraTrees => "extra_trees",
        }
    }
}

/// A forest that is ready to be fitted.
#[derive(Clone, Debug)]
pub struct Forest {
    params: ForestParams,
    kind: Kind,
}

/// A tree, the gains of its features, and the places of the rows that it saw, one bit each, if asked for.
type Grown = (Tree, Vec<f64>, Vec<u64>);

impl Learner for Forest {
    fn fit(&self, data: &TrainingSet<'_>, seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let (model, _) = self.fit_with(data, seed, false)?;
        Ok(Box::new(model))
    }
}

impl Forest {
    /// Fits and predicts every training row with the trees that did not see it: an estimate of how good the forest is
    /// on new rows, without setting any aside.
    ///
    /// # Errors
    /// Those of fitting, and [`LearnError::Params`] without `bootstrap`, when every tree sees every row.
    pub fn fit_out_of_bag(
        &self,
        data: &TrainingSet<'_>,
        seed: Seed,
    ) -> Result<(Box<dyn Model>, OutOfBag), LearnError> {
        if !self.params.bootstrap {
            return Err(LearnError::Params {
                learner: self.kind.name(),
                what: "every tree sees every row; out-of-bag predictions need `bootstrap: true`"
                    .to_owned(),
            });
        }
        let (model, out) = self.fit_with(data, seed, true)?;
        Ok((Box::new(model), out))
    }

    fn fit_with(
        &self,
        data: &TrainingSet<'_>,
        seed: Seed,
        out_of_bag: bool,
    ) -> Result<(TreeModel, OutOfBag), LearnError> {
        let (params, name) = (&self.params, self.kind.name());
        let class_weights = match &params.class_weight {
            Some(weight) => Some(weight.of_rows(name, data)?),
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
        data.check(name)?;
        let columns = Column::of(data);
        let task = data.target.task;
        let classes = data.target.classes.len();
        let limits = Limits {
            max_depth: params.max_depth,
            min_split: params.min_samples_split,
            features: params.features(task, columns.len()),
            random: self.kind == Kind::ExtraTrees,
        };
        // Centred targets keep the sums small; class indicators are exact as they are.
        let offset = match task {
            Task::Regression => data.mean(),
            _ => 0.0,
        };
        let largest = |f: &dyn Fn(u32) -> f64| data.rows.iter().map(|&r| f(r)).fold(0.0, f64::max);
        let weight = largest(&|r| data.weight(r));
        let value = largest(&|r| (data.target.values[r as usize] - offset).abs());
        let repeats = if params.bootstrap {
            f64::from(MAX_TIMES)
        } else {
            1.0
        };
        let criterion = Criterion {
            unit: FixedPoint::new(data.rows.len(), value * weight * repeats, weight * repeats),
            l1: 0.0,
            l2: 0.0,
            min_leaf: params.min_samples_leaf.min(u32::MAX as usize) as u32,
            rows_by_hessian: false,
            min_leaf_hessian: 0.0,
            category_smoothing: 0.0,
        };
        let labels: Vec<u8> = match task {
            Task::Multiclass => data.target.values.iter().map(|v| *v as u8).collect(),
            _ => Vec::new(),
        };
        let width = if task == Task::Multiclass { classes } else { 1 };
        let draw = Draw {
            data,
            params,
            criterion,
            offset,
        };
        let packed = packed(columns.len(), &data.features.packs, limits.features);
        let (columns, packs) = (&columns[..], &data.features.packs[..]);
        // Rows that weigh whole numbers fit into words, in all sizes that are usual.
        let words = task == Task::Binary
            && data.weights.is_none()
            && binary::fits(data.rows.len(), data.features.rows);
        // Trees as they are grown, and besides what one thread grows them in: rows, their sums, and both once more to part
        // them.
        let sums = if words { 0 } else { size_of::<Sum>() };
        let by_row = 3 * 4 + 4 + 2 * sums + usize::from(task == Task::Multiclass);
        let weights = class_weights.as_ref().map_or(0, Vec::len);
        let held = AtomicU64::new((data.rows.len() * by_row + 8 * weights) as u64);
        let tree = |scratch: &mut Scratch, number| {
            let mut rng = seed.child("tree", number).rng();
            let Scratch {
                arena,
                times,
                rows,
                sums,
            } = scratch;
            draw.times(&mut rng, times);
            let mut gains = vec![0.0; columns.len()];
            let mut grow = Grow {
                columns,
                width,
                limits: &limits,
                rng: &mut rng,
                arena,
                importance: &mut gains,
            };
            let mut tree = if words {
                draw.words(times, rows);
                let mut binary = Binary::new(columns, packs, &packed, &criterion);
                grow.tree(rows, &mut [], &mut binary)
            } else {
                draw.rows(times, rows, sums);
                if task == Task::Multiclass {
                    grow.tree(rows, sums, &mut Gini::new(criterion, &labels, classes))
                } else {
                    let mut variance = Variance::new(criterion, offset, packs, &packed);
                    grow.tree(rows, sums, &mut variance)
                }
            };
            let bag = match out_of_bag {
                true => out_of_bag::bits(times),
                false => Vec::new(),
            };
            tree.shrink();
            let bytes = tree.bytes() + 8 * (gains.len() + bag.len());
            held.fetch_add(bytes as u64, Ordering::Relaxed);
            (tree, gains, bag)
        };
        let asked = |scratch: &mut Scratch, number| {
            data.goes_on(name, held.load(Ordering::Relaxed))?;
            Ok(data.part(|| tree(scratch, number)))
        };
        let grown: Result<Vec<Grown>, LearnError> = (0..params.n_estimators as u64)
            .into_par_iter()
            .map_init(Scratch::default, asked)
            .collect();
        let grown = grown?;
        data.goes_on(name, held.load(Ordering::Relaxed))?;
        let mut importance = vec![0.0; columns.len()];
        let (mut trees, mut bags) = (Vec::with_capacity(grown.len()), Vec::new());
        for (tree, gains, bag) in grown {
            importance
                .iter_mut()
                .zip(&gains)
                .for_each(|(all, gain)| *all += gain);
            trees.push(tree);
            bags.push(bag);
        }
        let out = if out_of_bag {
            OutOfBag::predict(data, &trees, &bags, width)
        } else {
            OutOfBag::default()
        };
        let model = TreeModel::forest(name, width, trees, importance, data.features);
        Ok((model, out))
    }
}

/// Memory that the trees of one thread reuse.
#[derive(Default)]
struct Scratch {
    arena: Arena,
    times: Vec<u32>,
    rows: Vec<u32>,
    sums: Vec<Sum>,
}

/// The rows of each tree.
struct Draw<'a> {
    data: &'a TrainingSet<'a>,
    params: &'a ForestParams,
    criterion: Criterion,
    offset: f64,
}

impl Draw<'_> {
    /// Draws as many rows as there are, with replacement; a row drawn twice weighs twice.
    fn times(&self, rng: &mut crate::seed::Rng, times: &mut Vec<u32>) {
        let n = self.data.rows.len();
        times.clear();
        if self.params.bootstrap {
            times.resize(n, 0);
            for _ in 0..n {
                times[((u64::from(rng.next_u32()) * n as u64) >> 32) as usize] += 1;
            }
        } else {
            times.resize(n, 1);
        }
    }

    /// The rows of a tree as [`Binary`] takes them.
    fn words(&self, times: &[u32], words: &mut Vec<u32>) {
        let targets = &self.data.target.values;
        words.resize(times.len(), 0);
        let mut taken = 0;
        for (&row, &times) in self.data.rows.iter().zip(times) {
            // Always written, and kept if the row was drawn: no branch to mispredict.
            words[taken] = binary::word(row, targets[row as usize] > 0.0, times.min(MAX_TIMES));
            taken += usize::from(times > 0);
        }
        words.truncate(taken);
    }

    /// The rows of a tree and their sums.
    fn rows(&self, times: &[u32], rows: &mut Vec<u32>, sums: &mut Vec<Sum>) {
        rows.clear();
        sums.clear();
        let drawn = self.data.rows.iter().zip(times);
        for (&row, &times) in drawn.filter(|(_, times)| **times > 0) {
            let weight = self.data.weight(row);
            let value = self.data.target.values[row as usize] - self.offset;
            let once = match self.data.target.task {
                Task::Multiclass => self.criterion.unit.row(0.0, weight),
                _ => self.criterion.unit.row(weight * value, weight),
            };
            rows.push(row);
            // Rounded once and then repeated: rows with one target stay alike, however often each is drawn.
            sums.push(once.times(times.min(MAX_TIMES)));
        }
    }
}

/// Reads a random forest from its saved form.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(Kind::RandomForest.name(), text)?))
}

/// Reads extremely randomized trees from their saved form.
pub fn load_extra_trees(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(Kind::ExtraTrees.name(), text)?))
}
