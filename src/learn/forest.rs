//! Random forest (Breiman 2001) over the binned matrix.
//!
//! Each tree draws its rows with replacement and, at every node, its features. Probabilities are the mean of the leaves'
//! class shares, as in scikit-learn. Trees are grown in parallel, each from its own place in the seed tree.

use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::seed::Seed;

use super::learner::{LearnError, Learner, Model, TrainingSet};
use super::model::{TreeModel, check};
use super::tree::Column;
use super::tree::depth_first::{Arena, Limits, Variance, grow};
use super::tree::gini::Gini;
use super::tree::nodes::Tree;
use super::tree::split::Criterion;
use super::tree::sum::{FixedPoint, Sum};

const NAME: &str = "random_forest";

/// How many features are drawn at each node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`max_features` must be a share above 0 and at most 1, or `sqrt`, `log2` or `all`"
)]
pub enum MaxFeatures {
    /// This share of all features, in (0, 1], at least one feature.
    Share(f64),
    /// A rule by name.
    Rule(MaxFeaturesRule),
}

/// A rule for the number of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxFeaturesRule {
    /// The square root.
    Sqrt,
    /// The logarithm to base 2.
    Log2,
    /// All of them.
    All,
}

/// Hyperparameters of a random forest. The defaults are those of scikit-learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForestParams {
    /// Number of trees, 1 to 100,000.
    pub n_estimators: usize,
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// Fewest rows of a node that is split, at least 2.
    pub min_samples_split: usize,
    /// Fewest rows of a leaf, at least 1.
    pub min_samples_leaf: usize,
    /// Features drawn at each node; the square root for classes, all for numbers when none is given.
    pub max_features: Option<MaxFeatures>,
    /// Whether each tree draws its rows with replacement; otherwise it sees all.
    pub bootstrap: bool,
}

impl Default for ForestParams {
    fn default() -> Self {
        ForestParams {
            n_estimators: 100,
            max_depth: 0,
            min_samples_split: 2,
            min_samples_leaf: 1,
            max_features: None,
            bootstrap: true,
        }
    }
}

impl ForestParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] naming the parameter, its value and what is allowed.
    pub fn build(self) -> Result<RandomForest, LearnError> {
        check(NAME, "n_estimators", self.n_estimators as f64, 1.0, 1e5)?;
        check(NAME, "max_depth", f64::from(self.max_depth), 0.0, 1e6)?;
        check(
            NAME,
            "min_samples_split",
            self.min_samples_split as f64,
            2.0,
            1e9,
        )?;
        check(
            NAME,
            "min_samples_leaf",
            self.min_samples_leaf as f64,
            1.0,
            1e9,
        )?;
        if let Some(MaxFeatures::Share(share)) = self.max_features {
            check(NAME, "max_features", share, f64::MIN_POSITIVE, 1.0)?;
        }
        Ok(RandomForest(self))
    }

    fn features(&self, task: Task, all: usize) -> usize {
        let default = if task == Task::Regression {
            MaxFeaturesRule::All
        } else {
            MaxFeaturesRule::Sqrt
        };
        let count = match self.max_features.unwrap_or(MaxFeatures::Rule(default)) {
            MaxFeatures::Share(share) => (share * all as f64) as usize,
            MaxFeatures::Rule(MaxFeaturesRule::Sqrt) => (all as f64).sqrt() as usize,
            MaxFeatures::Rule(MaxFeaturesRule::Log2) => all.ilog2() as usize,
            MaxFeatures::Rule(MaxFeaturesRule::All) => all,
        };
        count.clamp(1, all)
    }
}

/// A random forest that is ready to be fitted.
#[derive(Clone, Debug)]
pub struct RandomForest(ForestParams);

impl Learner for RandomForest {
    fn fit(&self, data: &TrainingSet<'_>, seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let rows = data.weighted_rows();
        let data = &TrainingSet {
            rows: &rows,
            ..*data
        };
        data.check(NAME)?;
        let params = &self.0;
        let columns = Column::of(data);
        let task = data.target.task;
        let classes = data.target.classes.len();
        let limits = Limits {
            max_depth: params.max_depth,
            min_split: params.min_samples_split,
            features: params.features(task, columns.len()),
        };
        // Centred targets keep the sums small; class indicators are exact as they are.
        let offset = match task {
            Task::Regression => data.mean(),
            _ => 0.0,
        };
        let largest = |f: &dyn Fn(u32) -> f64| data.rows.iter().map(|&r| f(r)).fold(0.0, f64::max);
        let weight = largest(&|r| data.weight(r));
        let value = largest(&|r| (data.target.values[r as usize] - offset).abs());
        // How often the bootstrap may draw one row: the chance of more than 60 times is below 1e-80.
        let repeats = if params.bootstrap { 64.0 } else { 1.0 };
        let criterion = Criterion {
            unit: FixedPoint::new(data.rows.len(), value * weight * repeats, weight * repeats),
            l1: 0.0,
            l2: 0.0,
            min_leaf: params.min_samples_leaf.min(u32::MAX as usize) as u32,
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
        let grown: Vec<(Tree, Vec<f64>)> = (0..params.n_estimators as u64)
            .into_par_iter()
            .map_init(
                || (Arena::default(), Vec::new(), Vec::new(), Vec::new()),
                |(arena, times, rows, sums), number| {
                    let mut rng = seed.child("tree", number).rng();
                    draw.rows(&mut rng, times, rows, sums);
                    let mut gains = vec![0.0; columns.len()];
                    let tree = if task == Task::Multiclass {
                        let mut gini = Gini::new(criterion, &labels, classes);
                        grow(
                            &columns, rows, sums, width, &mut gini, &limits, &mut rng, arena,
                            &mut gains,
                        )
                    } else {
                        let mut variance = Variance::new(
                            criterion,
                            offset,
                            columns.len(),
                            &data.features.packs,
                            limits.features,
                        );
                        grow(
                            &columns,
                            rows,
                            sums,
                            width,
                            &mut variance,
                            &limits,
                            &mut rng,
                            arena,
                            &mut gains,
                        )
                    };
                    (tree, gains)
                },
            )
            .collect();
        let mut importance = vec![0.0; columns.len()];
        let mut trees = Vec::with_capacity(grown.len());
        for (tree, gains) in grown {
            importance
                .iter_mut()
                .zip(&gains)
                .for_each(|(all, gain)| *all += gain);
            trees.push(tree);
        }
        let model = TreeModel::forest(NAME, width, trees, importance, data.features.binning);
        Ok(Box::new(model))
    }
}

/// The rows of each tree.
struct Draw<'a> {
    data: &'a TrainingSet<'a>,
    params: &'a ForestParams,
    criterion: Criterion,
    offset: f64,
}

impl Draw<'_> {
    /// Draws as many rows as there are, with replacement; a row drawn twice weighs twice. Rows keep their order.
    fn rows(
        &self,
        rng: &mut crate::seed::Rng,
        times: &mut Vec<u32>,
        rows: &mut Vec<u32>,
        sums: &mut Vec<Sum>,
    ) {
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
        rows.clear();
        sums.clear();
        for (&row, &times) in self.data.rows.iter().zip(times.iter()) {
            if times > 0 {
                let weight = self.data.weight(row);
                let value = self.data.target.values[row as usize] - self.offset;
                let once = match self.data.target.task {
                    Task::Multiclass => self.criterion.unit.row(0.0, weight),
                    _ => self.criterion.unit.row(weight * value, weight),
                };
                rows.push(row);
                // Rounded once and then repeated: rows with one target stay alike, however often each is drawn.
                sums.push(once.times(times.min(64)));
            }
        }
    }
}

/// Reads a forest from its saved form.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(NAME, text)?))
}
