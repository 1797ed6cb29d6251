//! `smartcore_forest`: the random forest of smartcore 0.7.
//!
//! smartcore's forest classifier has no probabilities. Its regressor has: fitted on 0 and 1 the mean of a leaf is the
//! share of the positive class. So all tasks use the regressor; several classes have a forest each against the rest.
//! Row weights become the chances of a row in the bootstrap. Its nodes are private, and its serialized form changes
//! between minor releases; so the release is pinned, the nodes are read once through serde right after fitting, and ours
//! are what predicts and is saved. The forest is grown on one thread.

use serde::{Deserialize, Serialize};
use smartcore::ensemble::random_forest_regressor::{
    RandomForestRegressor, RandomForestRegressorParameters,
};
use smartcore::linalg::basic::matrix::DenseMatrix;

use crate::data::table::Task;
use crate::learn::learner::{LearnError, Learner, Model, TrainingSet};
use crate::seed::Seed;

use super::trees::{Tree, Trees};
use super::{Matrix, target_columns, within};

/// The name in the table of learners.
pub const NAME: &str = "smartcore_forest";

/// Bytes of a node of ours.
const NODE: u64 = 40;
/// Bytes of a node of smartcore's (72), of its text (up to 180) and of what is read from that (64).
const FOREIGN_NODE: u64 = 72 + 180 + 64;

/// Hyperparameters of `smartcore_forest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmartcoreForestParams {
    /// Number of trees, 1 to 10000.
    pub n_estimators: u32,
    /// Most splits from the root to a leaf, 1 to 1000; no limit without one.
    pub max_depth: Option<u32>,
    /// Fewest rows in a leaf, 1 to 1000000.
    pub min_samples_leaf: u32,
    /// Share of the features that are tried at a split, above 0 to 1; the square root of their number without one.
    pub max_features: Option<f64>,
}

impl Default for SmartcoreForestParams {
    fn default() -> Self {
        SmartcoreForestParams {
            n_estimators: 100,
            max_depth: None,
            min_samples_leaf: 1,
            max_features: None,
        }
    }
}

impl SmartcoreForestParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] with name, value and allowed range.
    pub fn build(self) -> Result<SmartcoreForest, LearnError> {
        within(NAME, "n_estimators", self.n_estimators, 1..=10_000)?;
        if let Some(depth) = self.max_depth {
            within(NAME, "max_depth", depth, 1..=1000)?;
        }
        within(
            NAME,
            "min_samples_leaf",
            self.min_samples_leaf,
            1..=1_000_000,
        )?;
        if let Some(share) = self.max_features {
            within(NAME, "max_features", share, 1e-6..=1.0)?;
        }
        Ok(SmartcoreForest { params: self })
    }
}

/// The learner `smartcore_forest`.
#[derive(Clone, Debug)]
pub struct SmartcoreForest {
    params: SmartcoreForestParams,
}

/// Reads the saved form.
///
/// # Errors
/// [`LearnError::Saved`] if it is not one.
pub fn load(saved: &str) -> Result<Box<dyn Model>, LearnError> {
    Trees::load(NAME, saved)
}

impl Learner for SmartcoreForest {
    fn fit(&self, data: &TrainingSet<'_>, seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let task = data.target.task;
        data.goes_on(NAME, self.most_bytes(data))?;
        let matrix = Matrix::new(NAME, data, false)?;
        let x = DenseMatrix::new(matrix.rows, matrix.columns, matrix.values.clone(), false)
            .map_err(|e| foreign(e.to_string()))?;
        let mut outputs = Vec::new();
        let mut gains = vec![0.0; matrix.columns];
        let columns = target_columns(task, data.target.classes.len(), &matrix);
        for (output, y) in columns.iter().enumerate() {
            let params = self.parameters(matrix.columns, seed.child("output", output as u64));
            let forest = match &matrix.weights {
                None => RandomForestRegressor::fit(&x, y, params),
                Some(weights) => RandomForestRegressor::fit_with_weights(&x, y, weights, params),
            }
            .map_err(|e| foreign(e.to_string()))?;
            let importance = forest
                .compute_feature_importances()
                .map_err(|e| foreign(e.to_string()))?;
            for (gain, share) in gains.iter_mut().zip(importance) {
                *gain += share;
            }
            let json = serde_json::to_string(&forest).map_err(|e| foreign(e.to_string()))?;
            outputs.push(read_trees(&json, task, matrix.columns)?);
            data.goes_on(NAME, self.most_bytes(data))?;
        }
        Ok(Trees::new(NAME, "smartcore 0.7.0", task, outputs, gains).into_model(NAME))
    }
}

impl SmartcoreForest {
    /// Bytes that a fit holds at most: the numbers twice, and sorted inside of smartcore; nodes of smartcore's, their text, what
    /// is read from it and ours. Of nodes there are at most those of leaves with the fewest rows, down to the depth.
    fn most_bytes(&self, data: &TrainingSet<'_>) -> u64 {
        let rows = data.rows.len() as u64;
        let mut leaves = rows.div_ceil(u64::from(self.params.min_samples_leaf));
        if let Some(depth) = self.params.max_depth.filter(|d| *d < 63) {
            leaves = leaves.min(1 << depth);
        }
        let outputs = match data.target.task {
            Task::Multiclass => data.target.classes.len() as u64,
            _ => 1,
        };
        let trees = u64::from(self.params.n_estimators);
        // Ours stay for every output; the others are of one forest at a time.
        let nodes = 2 * leaves * trees * (NODE * outputs + FOREIGN_NODE);
        6 * Matrix::bytes(data) + 8 * rows * (outputs + 6) + nodes
    }

    fn parameters(&self, features: usize, seed: Seed) -> RandomForestRegressorParameters {
        let tried = match self.params.max_features {
            None => (features as f64).sqrt().floor(),
            Some(share) => (features as f64 * share).round(),
        };
        RandomForestRegressorParameters {
            // smartcore counts the levels of nodes, where a root alone is 1.
            max_depth: self.params.max_depth.map(|d| d as u16 + 1),
            min_samples_leaf: self.params.min_samples_leaf as usize,
            min_samples_split: 2,
            n_trees: self.params.n_estimators as usize,
            m: Some((tried as usize).clamp(1, features)),
            keep_samples: false,
            seed: seed.value(),
        }
    }
}

fn foreign(what: String) -> LearnError {
    LearnError::Foreign {
        learner: NAME,
        what,
    }
}

/// The part of smartcore's serialized forest that holds the nodes.
#[derive(Deserialize)]
struct Forest {
    forest_regressor: ForestTrees,
}

#[derive(Deserialize)]
struct ForestTrees {
    trees: Vec<ForestTree>,
}

#[derive(Deserialize)]
struct ForestTree {
    nodes: Vec<ForestNode>,
}

#[derive(Deserialize)]
struct ForestNode {
    output: f64,
    split_feature: u32,
    split_value: Option<f64>,
    true_child: Option<u32>,
    false_child: Option<u32>,
}

fn read_trees(json: &str, task: Task, features: usize) -> Result<Vec<Tree>, LearnError> {
    let forest: Forest = serde_json::from_str(json).map_err(|e| foreign(e.to_string()))?;
    let mut trees = Vec::with_capacity(forest.forest_regressor.trees.len());
    for from in &forest.forest_regressor.trees {
        let mut tree = Tree::default();
        for node in &from.nodes {
            // The mean of zeros and ones may leave 0..=1 by a rounding.
            let place = tree.leaf(match task {
                Task::Regression => node.output,
                Task::Binary | Task::Multiclass => node.output.clamp(0.0, 1.0),
            });
            if let (Some(left), Some(right)) = (node.true_child, node.false_child) {
                tree.value[place] = 0.0;
                tree.feature[place] = node.split_feature;
                // Without a threshold smartcore compares with NaN, which sends every row to the right.
                let never = f64::MIN;
                tree.threshold[place] = node.split_value.unwrap_or(never);
                tree.left[place] = left;
                tree.right[place] = right;
            }
        }
        tree.check(features).map_err(foreign)?;
        trees.push(tree);
    }
    Ok(trees)
}
