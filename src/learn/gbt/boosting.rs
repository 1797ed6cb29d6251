//! The rounds of a fit: rows, gradients, one tree per output, scores.
//!
//! What is done row by row is done in blocks of rows, which threads share.

use std::sync::Arc;

use rayon::prelude::*;

use super::loss::{Bounds, Loss, weighted_quantile};
use super::params::{GbtParams, Growth, LeafCount};
use super::{NAME, rows};
use crate::learn::learner::{LearnError, TrainingSet};
use crate::learn::tree::Column;
use crate::learn::tree::best_first::{Arena, Limits, grow};
use crate::learn::tree::nodes::{Codes, Tree};
use crate::learn::tree::rules::{Constraints, Rules};
use crate::learn::tree::split::Criterion;
use crate::learn::tree::sum::{FixedPoint, Sum};
use crate::seed::Rng;

/// Rows of a block.
const BLOCK: usize = 16_384;

/// The state of one fit.
pub(super) struct Boosting<'a> {
    params: &'a GbtParams,
    loss: Arc<dyn Loss>,
    constraints: Constraints,
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
    /// What GOSS multiplies rows of the dataset by; filled only where leaves are quantiles.
    factors: Vec<f64>,
    /// What a tree reorders.
    rows: Vec<u32>,
    /// By row of the dataset; those of the rows inside are of this round.
    sums: Vec<Sum>,
    /// Bytes of the trees, and the leaves of the one that has most.
    grown: usize,
    most_leaves: usize,
}

impl<'a> Boosting<'a> {
    pub fn new(
        params: &'a GbtParams,
        loss: Arc<dyn Loss>,
        constraints: Constraints,
        columns: Vec<Column<'a>>,
        data: &TrainingSet<'_>,
    ) -> Self {
        let mut base = vec![0.0; loss.outputs(data.target.classes.len())];
        loss.start(
            &data.targets(data.rows),
            &data.weights_of(data.rows),
            &mut base,
        );
        let all = data.features.rows;
        Boosting {
            params,
            loss,
            constraints,
            columns,
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
            factors: Vec::new(),
            rows: Vec::new(),
            sums: vec![Sum::ZERO; all],
            grown: 0,
            most_leaves: 1,
        }
    }

    /// Bytes that are held: trees, scores and derivatives by row, and a histogram for every leaf of the largest tree. How many
    /// leaves wait with one depends on threads, so all of them count.
    pub fn bytes(&self) -> usize {
        let numbers = [&self.raw, &self.targets, &self.gradients, &self.hessians]
            .map(Vec::len)
            .iter()
            .sum::<usize>()
            + self.factors.len();
        // What a tree reorders, and what one thread needs to part it and to read its sums in a line.
        let rows = self.inside.len() + self.outside.len() + 2 * self.rows.len();
        let slots: usize = self.columns.iter().map(Column::slots).sum();
        let sums = self.sums.len() + self.rows.len() + slots * self.most_leaves;
        self.grown + 8 * numbers + 4 * rows + size_of::<Sum>() * sums
    }

    /// Adds one tree per output and returns the position of the first one.
    ///
    /// # Errors
    /// When the loss gives derivatives that no tree can be grown from.
    pub fn round(
        &mut self,
        data: &TrainingSet<'_>,
        codes: &Codes<'_>,
        rng: &mut Rng,
    ) -> Result<usize, LearnError> {
        let first = self.trees.len();
        let share = self.params.subsample;
        if share < 1.0 {
            rows::draw(rng, share, data.rows, &mut self.inside, &mut self.outside);
        }
        // As in LightGBM, GOSS waits until the scores say something.
        let rounds = first / self.base.len();
        let goss = self.params.goss_top < 1.0
            && rounds as f64 >= (1.0 / self.params.learning_rate).floor();
        if goss {
            self.inside.clear();
            self.inside.extend_from_slice(data.rows);
        }
        // In large fits of one output, derivatives are made where they are used, and kept nowhere.
        let promised = self
            .loss
            .bounds(1)
            .filter(|_| self.base.len() == 1 && !goss && self.inside.len() > BLOCK);
        let mut bounds = match promised {
            Some(bounds) => self.weighted(bounds),
            None => self.differentiate(data)?,
        };
        if goss {
            let factor = self.keep_large(rng);
            bounds.gradient *= factor;
            bounds.hessian *= factor;
        }
        let unit = FixedPoint::new(self.inside.len(), bounds.gradient, bounds.hessian);
        let criterion = Criterion {
            unit,
            l1: self.params.reg_alpha,
            l2: self.params.reg_lambda,
            min_leaf: self.params.min_leaf.min(u32::MAX as usize) as u32,
            rows_by_hessian: self.params.min_leaf_counts == LeafCount::Hessians,
            min_leaf_hessian: self.params.min_child_weight,
            category_smoothing: self.params.category_smoothing,
        };
        let limits = Limits {
            max_leaves: self.params.max_leaves,
            max_depth: self.params.max_depth,
            min_gain: self.params.min_gain,
            depth_wise: self.params.growth == Growth::DepthWise,
        };
        let shares = (self.params.colsample_level, self.params.colsample_node);
        let ruled = shares != (1.0, 1.0)
            || self.params.extra_trees
            || !self.constraints.directions.is_empty()
            || !self.constraints.groups.is_empty();
        for class in 0..self.base.len() {
            let chosen = self.draw_features(rng);
            self.rows.clear();
            self.rows.extend_from_slice(&self.inside);
            match promised {
                Some(_) => self.spread_in_blocks(data, &unit),
                None => self.spread(class, &unit),
            }
            let random = self.params.extra_trees;
            let mut rules =
                ruled.then(|| Rules::new(&self.constraints, shares, random, &chosen, rng));
            let mut grown = grow(
                &self.columns,
                &data.features.packs,
                &chosen,
                &mut self.rows,
                &self.sums,
                &criterion,
                &limits,
                rules.as_mut(),
                &mut self.arena,
                &mut self.importance,
            );
            let all = data.features.rows;
            let raw = &mut self.raw[class * all..(class + 1) * all];
            let quantile = self.loss.leaf_quantile();
            for (node, range, sum) in &grown.leaves {
                let step = match quantile {
                    Some(level) => {
                        let rows = &self.rows[range.clone()];
                        leaf_quantile(data, raw, rows, &self.factors, level)
                    }
                    None => criterion.leaf(*sum),
                };
                let step = rules.as_ref().map_or(step, |r| r.bounded(*node, step));
                let value = step * self.params.learning_rate;
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
            self.most_leaves = self.most_leaves.max(grown.leaves.len());
            grown.tree.shrink();
            self.grown += grown.tree.bytes();
            self.trees.push(grown.tree);
        }
        Ok(first)
    }

    /// GOSS: takes rows out of those inside. Returns what the rows that were drawn are multiplied by.
    fn keep_large(&mut self, rng: &mut Rng) -> f64 {
        let (n, outputs) = (self.inside.len(), self.base.len());
        let (top, other) = (self.params.goss_top, self.params.goss_other);
        let goss = rows::goss(rng, top, other, n, &self.gradients, &self.hessians);
        let kept = goss.kept.len();
        let factor = |drawn: bool| if drawn { goss.factor } else { 1.0 };
        // Values move to lower places only, and output by output.
        for output in 0..outputs {
            for (to, &(from, drawn)) in goss.kept.iter().enumerate() {
                let (to, from) = (output * kept + to, output * n + from);
                self.gradients[to] = self.gradients[from] * factor(drawn);
                self.hessians[to] = self.hessians[from] * factor(drawn);
            }
        }
        self.gradients.truncate(outputs * kept);
        self.hessians.truncate(outputs * kept);
        self.outside.clear();
        if self.loss.leaf_quantile().is_some() {
            self.factors.resize(self.raw.len() / outputs, 1.0);
        }
        let mut next = goss.kept.iter().peekable();
        let mut inside = 0;
        for place in 0..n {
            let row = self.inside[place];
            match next.next_if(|k| k.0 == place) {
                Some(&(_, drawn)) => {
                    if let Some(f) = self.factors.get_mut(row as usize) {
                        *f = factor(drawn);
                    }
                    self.inside[inside] = row;
                    inside += 1;
                }
                None => self.outside.push(row),
            }
        }
        self.inside.truncate(inside);
        goss.factor
    }

    /// Gradients and hessians of the loss at the current scores of the rows inside, and how large they can be.
    fn differentiate(&mut self, data: &TrainingSet<'_>) -> Result<Bounds, LearnError> {
        let (n, outputs) = (self.inside.len(), self.base.len());
        self.targets.resize(n, 0.0);
        self.gradients.resize(n * outputs, 0.0);
        self.hessians.resize(n * outputs, 0.0);
        // The scores of several outputs lie apart, so these make one block.
        let block = if outputs == 1 { BLOCK } else { n.max(1) };
        let derivatives = self.gradients.par_chunks_mut(block * outputs);
        let derivatives = derivatives.zip(self.hessians.par_chunks_mut(block * outputs));
        let targets = self.targets.par_chunks_mut(block);
        let blocks = self.inside.par_chunks(block).zip(targets).zip(derivatives);
        let (loss, raw) = (&*self.loss, &self.raw);
        blocks.for_each(|((rows, targets), (gradients, hessians))| {
            derive(loss, data, raw, rows, targets, gradients, hessians);
        });
        let bounds = match self.loss.bounds(outputs) {
            Some(bounds) => bounds,
            None => self.look()?,
        };
        if data.weights.is_some() {
            for output in 0..outputs {
                let part = output * n..(output + 1) * n;
                let places = self.gradients[part.clone()]
                    .iter_mut()
                    .zip(&mut self.hessians[part]);
                for ((g, h), &row) in places.zip(&self.inside) {
                    *g *= data.weight(row);
                    *h *= data.weight(row);
                }
            }
        }
        Ok(self.weighted(bounds))
    }

    fn weighted(&self, bounds: Bounds) -> Bounds {
        Bounds {
            gradient: bounds.gradient * self.largest_weight,
            hessian: bounds.hessian * self.largest_weight,
        }
    }

    /// Puts the derivatives of one output where the tree looks for them.
    fn spread(&mut self, output: usize, unit: &FixedPoint) {
        let n = self.inside.len();
        let part = output * n..(output + 1) * n;
        let derivatives = self.gradients[part.clone()].par_chunks(BLOCK);
        let derivatives = derivatives.zip(self.hessians[part].par_chunks(BLOCK));
        let blocks = blocks(&self.inside, &mut self.sums).into_par_iter();
        blocks.zip(derivatives).for_each(|(block, derivatives)| {
            block.set(unit, derivatives.0, derivatives.1);
        });
    }

    /// Derivatives of the only output, weighted, where the tree looks for them.
    fn spread_in_blocks(&mut self, data: &TrainingSet<'_>, unit: &FixedPoint) {
        let (loss, raw) = (&*self.loss, &self.raw);
        let buffers = || [0; 3].map(|_| vec![0.0; BLOCK]);
        let blocks = blocks(&self.inside, &mut self.sums).into_par_iter();
        blocks.for_each_init(buffers, |[targets, gradients, hessians], block| {
            let rows = block.rows;
            let targets = &mut targets[..rows.len()];
            let (gradients, hessians) = (&mut gradients[..rows.len()], &mut hessians[..rows.len()]);
            derive(loss, data, raw, rows, targets, gradients, hessians);
            if data.weights.is_some() {
                let derivatives = gradients.iter_mut().zip(&mut *hessians);
                for ((g, h), &row) in derivatives.zip(rows) {
                    *g *= data.weight(row);
                    *h *= data.weight(row);
                }
            }
            block.set(unit, gradients, hessians);
        });
    }

    /// The bounds of what a loss gave that promises none.
    fn look(&self) -> Result<Bounds, LearnError> {
        let largest = |values: &[f64]| values.iter().fold(0.0, |l, v: &f64| f64::max(l, v.abs()));
        let sums = |values: &[f64]| values.iter().sum::<f64>();
        // `max` passes over NaN and a sum does not.
        let bad = !sums(&self.gradients).is_finite()
            || !sums(&self.hessians).is_finite()
            || self.hessians.iter().any(|h| *h < 0.0);
        if bad {
            return Err(LearnError::Data {
                learner: NAME,
                what: format!(
                    "the loss `{}` gave derivatives that are not finite, or a second one below 0, in round {}; a smaller `learning_rate` may help",
                    self.loss.name(),
                    self.trees.len() / self.base.len() + 1
                ),
            });
        }
        Ok(Bounds {
            gradient: largest(&self.gradients),
            hessian: largest(&self.hessians),
        })
    }

    fn draw_features(&self, rng: &mut Rng) -> Vec<usize> {
        let n = self.columns.len();
        let take = ((n as f64 * self.params.colsample).round() as usize).clamp(1, n);
        if take == n {
            return (0..n).collect();
        }
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        rows::sample(rng, n, take, &mut taken, &mut others);
        taken.into_iter().map(|i| i as usize).collect()
    }
}

/// Derivatives at the scores of some rows. Scores and derivatives are `output × rows + row`.
fn derive(
    loss: &dyn Loss,
    data: &TrainingSet<'_>,
    raw: &[f64],
    rows: &[u32],
    targets: &mut [f64],
    gradients: &mut [f64],
    hessians: &mut [f64],
) {
    for (target, &row) in targets.iter_mut().zip(rows) {
        *target = data.target.values[row as usize];
    }
    // Scores first; gradients take their place.
    let scores = gradients.chunks_exact_mut(rows.len());
    for (scores, raw) in scores.zip(raw.chunks_exact(data.features.rows)) {
        for (score, &row) in scores.iter_mut().zip(rows) {
            *score = raw[row as usize];
        }
    }
    loss.differentiate(targets, gradients, hessians);
}

/// Some rows and the stretch of the dataset that they are in.
struct Block<'a> {
    rows: &'a [u32],
    /// The first row of the stretch.
    first: usize,
    sums: &'a mut [Sum],
}

impl Block<'_> {
    fn set(self, unit: &FixedPoint, gradients: &[f64], hessians: &[f64]) {
        for (&row, (g, h)) in self.rows.iter().zip(gradients.iter().zip(hessians)) {
            self.sums[row as usize - self.first] = unit.row(*g, *h);
        }
    }
}

/// Rows, which ascend, in blocks that have a stretch of the dataset each to themselves.
fn blocks<'a>(rows: &'a [u32], mut sums: &'a mut [Sum]) -> Vec<Block<'a>> {
    let (mut blocks, mut first) = (Vec::with_capacity(rows.len().div_ceil(BLOCK)), 0);
    for rows in rows.chunks(BLOCK) {
        let end = rows.last().map_or(first, |&r| r as usize + 1);
        let (here, after) = sums.split_at_mut(end - first);
        blocks.push(Block {
            rows,
            first,
            sums: here,
        });
        (sums, first) = (after, end);
    }
    blocks
}

/// The quantile of what the scores lack to the targets, over the rows of a leaf.
fn leaf_quantile(
    data: &TrainingSet<'_>,
    raw: &[f64],
    rows: &[u32],
    factors: &[f64],
    level: f64,
) -> f64 {
    let left = |r: &u32| data.target.values[*r as usize] - raw[*r as usize];
    let weight = |r: &u32| data.weight(*r) * factors.get(*r as usize).unwrap_or(&1.0);
    let left: Vec<f64> = rows.iter().map(left).collect();
    let weights: Vec<f64> = rows.iter().map(weight).collect();
    weighted_quantile(&left, &weights, level)
}

/// Raw scores of some rows, class-major: `class × rows + row`.
pub(super) struct Scores {
    raw: Vec<f64>,
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

    /// Bytes of the scores and of their rows.
    pub fn bytes(&self) -> usize {
        8 * self.raw.len() + 4 * self.rows
    }

    pub fn add(&mut self, class: usize, tree: &Tree, codes: &Codes<'_>, rows: &[u32]) {
        let raw = &mut self.raw[class * self.rows..(class + 1) * self.rows];
        tree.for_each_leaf(codes, rows, |place, leaf| raw[place] += leaf[0]);
    }

    /// The weighted mean of the loss.
    pub fn loss(&self, loss: &dyn Loss, data: &TrainingSet<'_>, rows: &[u32]) -> f64 {
        let mut losses = vec![0.0; rows.len()];
        loss.losses(&data.targets(rows), &self.raw, &mut losses);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (loss, &row) in losses.iter().zip(rows) {
            sum += data.weight(row) * loss;
            weights += data.weight(row);
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }
}
