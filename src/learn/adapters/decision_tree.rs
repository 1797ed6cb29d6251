//! `decision_tree`: one classification tree, grown by linfa-trees 0.8.
//!
//! What is ours around it:
//! - **Same data, same tree.** linfa-trees keeps class weights in hash maps with a random order. For two classes the order
//!   matters in one place, the label of a leaf whose classes weigh the same (its pruning merges leaves of one label);
//!   sums of two numbers have no order. So every tree is grown for two classes, several classes as one tree each
//!   against the rest, and the positive class weighs 1 + 2⁻¹¹ times as much, which breaks such ties. No random number is
//!   drawn. (With more than two classes its sums of `f32` would depend on the hash order.)
//! - **Probabilities.** linfa's leaves hold labels. Ours hold the share of the positive class among the training rows
//!   that reach them. linfa prunes siblings of one label, so there are fewer distinct values than in other trees.
//! - **Scale.** linfa takes numbers nearer than 1e-5 for equal. It gets ranks instead of numbers, and its
//!   thresholds are mapped back to halfway between the neighbouring training values.

use linfa::traits::Fit;
use linfa::{DatasetBase, ParamGuard};
use linfa_trees::{DecisionTree as Linfa, SplitQuality, TreeNode};
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::learn::learner::{LearnError, Learner, Model, TrainingSet};
use crate::seed::Seed;

use super::trees::{Tree, Trees};
use super::{Matrix, target_columns, within};

/// The name in the table of learners.
pub const NAME: &str = "decision_tree";

/// What breaks ties between two classes of the same weight. Exact in `f32` sums over thousands of rows, and fewer than
/// 2048 positives never make up for a whole negative.
const TIE: f64 = 1.0 / 2048.0;

/// How a split is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Gini impurity.
    #[default]
    Gini,
    /// Entropy in bits.
    Entropy,
}

/// Hyperparameters of `decision_tree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionTreeParams {
    /// Most splits from the root to a leaf, 1 to 64.
    pub max_depth: u32,
    /// Fewest rows that a node needs to be split, 2 to 1e6.
    pub min_weight_split: f64,
    /// Least weight of a leaf, 0.1 to 1e6, where the mean weight of the training rows is 1.
    pub min_weight_leaf: f64,
    /// Least decrease of impurity by a split, 1e-7 to 1.
    pub min_impurity_decrease: f64,
    /// How a split is judged.
    pub split_quality: Quality,
}

impl Default for DecisionTreeParams {
    fn default() -> Self {
        DecisionTreeParams {
            max_depth: 8,
            min_weight_split: 2.0,
            min_weight_leaf: 1.0,
            min_impurity_decrease: 1e-5,
            split_quality: Quality::Gini,
        }
    }
}

impl DecisionTreeParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] with name, value and allowed range.
    pub fn build(self) -> Result<DecisionTree, LearnError> {
        // The depth bounds linfa's recursion, and so its use of the stack.
        within(NAME, "max_depth", self.max_depth, 1..=64)?;
        within(NAME, "min_weight_split", self.min_weight_split, 2.0..=1e6)?;
        // linfa divides by the weight of a leaf, which must stay above the rounding of `f32` sums.
        within(NAME, "min_weight_leaf", self.min_weight_leaf, 0.1..=1e6)?;
        within(
            NAME,
            "min_impurity_decrease",
            self.min_impurity_decrease,
            1e-7..=1.0,
        )?;
        Ok(DecisionTree { params: self })
    }
}

/// The learner `decision_tree`.
#[derive(Clone, Debug)]
pub struct DecisionTree {
    params: DecisionTreeParams,
}

/// Reads the saved form.
///
/// # Errors
/// [`LearnError::Saved`] if it is not one.
pub fn load(saved: &str) -> Result<Box<dyn Model>, LearnError> {
    Trees::load(NAME, saved)
}

impl Learner for DecisionTree {
    fn fit(&self, data: &TrainingSet<'_>, _seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let task = data.target.task;
        if task == Task::Regression {
            return Err(LearnError::Task {
                learner: NAME,
                task,
            });
        }
        data.goes_on(NAME, self.most_bytes(data))?;
        let matrix = Matrix::new(NAME, data, false)?;
        let ranks = Ranks::new(&matrix);
        let mut outputs = Vec::new();
        let mut gains = vec![0.0; matrix.columns];
        for target in target_columns(task, data.target.classes.len(), &matrix) {
            let tree = self.grow(&matrix, &ranks, &target, &mut gains)?;
            data.goes_on(NAME, self.most_bytes(data))?;
            outputs.push(vec![tree]);
        }
        Ok(Trees::new(NAME, "linfa-trees 0.8", task, outputs, gains).into_model(NAME))
    }
}

impl DecisionTree {
    /// Bytes that a fit holds at most: the numbers as they are, their ranks three times, and linfa's sorted pairs of row and rank; by
    /// row the targets of every class, labels and weights, and two masks for each node of a path.
    fn most_bytes(&self, data: &TrainingSet<'_>) -> u64 {
        let classes = data.target.classes.len() as u64;
        let by_row = 8 * classes + 40 + 2 * (u64::from(self.params.max_depth) + 1);
        6 * Matrix::bytes(data) + by_row * data.rows.len() as u64
    }

    fn grow(
        &self,
        matrix: &Matrix,
        ranks: &Ranks,
        target: &[f64],
        gains: &mut [f64],
    ) -> Result<Tree, LearnError> {
        let foreign = |what: String| LearnError::Foreign {
            learner: NAME,
            what,
        };
        let weights: Array1<f32> = (0..matrix.rows)
            .map(|row| (matrix.weight(row) * (1.0 + TIE * target[row])) as f32)
            .collect();
        let labels: Array1<bool> = target.iter().map(|t| *t == 1.0).collect();
        let dataset = DatasetBase::new(ranks.values.clone(), labels).with_weights(weights);
        let fitted = Linfa::<f64, bool>::params()
            .max_depth(Some(self.params.max_depth as usize))
            .min_weight_split(self.params.min_weight_split as f32)
            .min_weight_leaf(self.params.min_weight_leaf as f32)
            .min_impurity_decrease(self.params.min_impurity_decrease)
            .split_quality(match self.params.split_quality {
                Quality::Gini => SplitQuality::Gini,
                Quality::Entropy => SplitQuality::Entropy,
            })
            .check()
            .map_err(|e| foreign(e.to_string()))?
            .fit(&dataset)
            .map_err(|e| foreign(e.to_string()))?;
        let mut walk = Walk {
            matrix,
            ranks,
            target,
            gains,
            tree: Tree::default(),
        };
        walk.node(fitted.root_node(), (0..matrix.rows).collect());
        walk.tree.check(matrix.columns).map_err(foreign)?;
        Ok(walk.tree)
    }
}

/// Every column's values as their places among its distinct values.
struct Ranks {
    values: Array2<f64>,
    distinct: Vec<Vec<f64>>,
}

impl Ranks {
    fn new(matrix: &Matrix) -> Self {
        let mut values = Array2::zeros((matrix.rows, matrix.columns));
        let mut distinct = Vec::with_capacity(matrix.columns);
        for column in 0..matrix.columns {
            // Adding 0.0 makes one value of 0.0 and -0.0, as comparison does.
            let of = |row: usize| matrix.values[row * matrix.columns + column] + 0.0;
            let mut sorted: Vec<f64> = (0..matrix.rows).map(of).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted.dedup();
            for row in 0..matrix.rows {
                values[(row, column)] = sorted.partition_point(|v| *v < of(row)) as f64;
            }
            distinct.push(sorted);
        }
        Ranks { values, distinct }
    }

    /// The number halfway between the values left and right of a split on ranks.
    fn threshold(&self, column: usize, split: f64) -> f64 {
        let distinct = &self.distinct[column];
        let place = (split.max(0.0) as usize).min(distinct.len() - 1);
        let low = distinct[place];
        let high = distinct[(place + 1).min(distinct.len() - 1)];
        let middle = low + (high - low) / 2.0;
        // Rounding must not put the threshold on the right value, which belongs to the right.
        if middle < high { middle } else { low }
    }
}

/// Copies linfa's tree, with the training rows to count in its leaves.
struct Walk<'a> {
    matrix: &'a Matrix,
    ranks: &'a Ranks,
    target: &'a [f64],
    gains: &'a mut [f64],
    tree: Tree,
}

impl Walk<'_> {
    fn node(&mut self, node: &TreeNode<f64, bool>, rows: Vec<usize>) -> usize {
        let (mut positive, mut total) = (0.0, 0.0);
        for &row in &rows {
            positive += self.matrix.weight(row) * self.target[row];
            total += self.matrix.weight(row);
        }
        let share = if total > 0.0 { positive / total } else { 0.0 };
        let place = self.tree.leaf(share);
        let [Some(left), Some(right)] = node.children()[..] else {
            return place;
        };
        let (feature, split, decrease) = node.split();
        self.gains[feature] += decrease * total;
        let (lefts, rights) = rows
            .into_iter()
            .partition(|&row| self.ranks.values[(row, feature)] <= split);
        self.tree.value[place] = 0.0;
        self.tree.feature[place] = feature as u32;
        self.tree.threshold[place] = self.ranks.threshold(feature, split);
        self.tree.left[place] = self.node(left, lefts) as u32;
        self.tree.right[place] = self.node(right, rights) as u32;
        place
    }
}
