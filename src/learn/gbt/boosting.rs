//! The rounds of a fit: rows, gradients, one tree per output, scores.

use rand::Rng as _;

use super::loss;
use super::params::GbtParams;
use crate::learn::learner::TrainingSet;
use crate::learn::tree::Column;
use crate::learn::tree::best_first::{Arena, Limits, grow};
use crate::learn::tree::nodes::{Codes, Tree};
use crate::learn::tree::split::Criterion;
use crate::learn::tree::sum::{FixedPoint, Sum};
use crate::seed::Rng;

/// The state of one fit.
pub(super) struct Boosting<'a> {
    params: &'a GbtParams,
    columns: Vec<Column<'a>>,
    pub base: Vec<f64>,
    /// The score so far, `output × rows of the dataset + row`.
    raw: Vec<f64>,
    pub trees: Vec<Tree>,
    pub importance: Vec<f64>,
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
    /// By row of the dataset; those of the rows inside are of this round.
    sums: Vec<Sum>,
}

impl<'a> Boosting<'a> {
    pub fn new(params: &'a GbtParams, data: &TrainingSet<'a>) -> Self {
        let base = loss::start(data);
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
            sums: vec![Sum::ZERO; all],
        }
    }

    /// Adds one tree per output and returns the position of the first one.
    pub fn round(&mut self, data: &TrainingSet<'_>, codes: &[Codes<'_>], rng: &mut Rng) -> usize {
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
            for (&row, (g, h)) in self.inside.iter().zip(places) {
                self.sums[row as usize] = unit.row(*g, *h);
            }
            let mut grown = grow(
                &self.columns,
                &data.features.packs,
                &chosen,
                &mut self.rows,
                &self.sums,
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
        let (gradient, hessian) = loss::differentiate(
            data.target.task,
            &self.targets,
            &mut self.gradients,
            &mut self.hessians,
        );
        largest_gradient *= gradient;
        largest_hessian *= hessian;
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

/// Takes exactly `take` of `0..n` at random (Knuth, algorithm S): those taken and the others, both ascending.
pub(super) fn sample(
    rng: &mut Rng,
    n: usize,
    take: usize,
    taken: &mut Vec<u32>,
    others: &mut Vec<u32>,
) {
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
pub(super) struct Scores {
    pub raw: Vec<f64>,
    rows: usize,
}

impl Scores {
    pub fn new(rows: &[u32], base: &[f64]) -> Self {
        let raw = base
            .iter()
            .flat_map(|b| std::iter::repeat_n(*b, rows.len()))
            .collect();
        Scores {
            raw,
            rows: rows.len(),
        }
    }

    pub fn add(&mut self, class: usize, tree: &Tree, codes: &[Codes<'_>], rows: &[u32]) {
        let raw = &mut self.raw[class * self.rows..(class + 1) * self.rows];
        tree.for_each_leaf(codes, rows, |place, leaf| raw[place] += leaf[0]);
    }
}
