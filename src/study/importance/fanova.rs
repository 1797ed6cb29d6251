//! fANOVA: fits a forest to the trials and takes its variance over the whole space apart.
//!
//! Hutter, Hoos, Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance (ICML 2014), as in Optuna 5:
//! numbers as they are, a column of 0 and 1 for each choice, 64 trees. Each leaf is a box, so a tree's mean over all
//! other columns is a sum over leaves: no point of the space is ever drawn.

use std::collections::BTreeMap;

use crate::seed::Seed;
use crate::study::record::{Direction, TrialRecord};
use crate::study::space::Domain;

use super::forest::{self, Leaf};
use super::{ImportanceError, Shares, comparable, shares};

/// As many trees as Optuna grows.
const TREES: usize = 64;
/// The forest's own place in the seed tree: results depend on the trials alone.
const SEED: u64 = 0;

/// See the [module](self). Only parameters that all complete trials drew from one domain are assessed.
///
/// # Errors
/// Several directions; fewer than two complete trials with finite values; no parameter that all have.
pub fn assess(
    trials: &[&TrialRecord],
    directions: &[Direction],
) -> Result<Shares, ImportanceError> {
    if directions.len() != 1 {
        return Err(ImportanceError::Several {
            found: directions.len(),
        });
    }
    let trials = comparable(trials)?;
    let common: Vec<(&str, &Domain)> = trials[0]
        .params
        .0
        .iter()
        .filter(|first| {
            let same = |t: &&TrialRecord| {
                let drawn = t.params.assignment(&first.name);
                drawn.is_some_and(|a| a.domain == first.domain)
            };
            trials.iter().all(same)
        })
        .map(|a| (a.name.as_str(), &a.domain))
        .collect();
    if common.is_empty() {
        return Err(ImportanceError::NothingCommon);
    }
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut bounds: Vec<(f64, f64)> = Vec::new();
    // The columns of each parameter; none for one with a single value.
    let mut owned: Vec<std::ops::Range<usize>> = Vec::new();
    for (name, domain) in &common {
        let from = columns.len();
        let values = trials.iter().filter_map(|t| t.params.assignment(name));
        let values: Vec<f64> = values.map(|a| a.internal).collect();
        match domain {
            _ if domain.is_single() => {}
            Domain::Categorical { choices } => {
                for choice in 0..choices.len() {
                    let is = |v: &f64| f64::from(u8::from(*v == choice as f64));
                    columns.push(values.iter().map(is).collect());
                    bounds.push((0.0, 1.0));
                }
            }
            Domain::Float { low, high, .. } => {
                columns.push(values);
                bounds.push((*low, *high));
            }
            Domain::Int { low, high, .. } => {
                columns.push(values);
                bounds.push((*low as f64, *high as f64));
            }
        }
        owned.push(from..columns.len());
    }
    if columns.is_empty() {
        return Ok(shares(
            common.iter().map(|(n, _)| ((*n).to_owned(), 0.0)).collect(),
        ));
    }
    let targets: Vec<f64> = trials.iter().map(|t| t.values[0]).collect();
    let seed = Seed::root(SEED).child("fanova", 0);
    let trees = forest::grow(&columns, &targets, &bounds, TREES, seed);
    let mut parts = vec![0.0; common.len()];
    for leaves in &trees {
        let boxes = Boxes::new(leaves, &bounds);
        let whole = boxes.variance();
        if whole > 0.0 {
            for (part, columns) in parts.iter_mut().zip(&owned) {
                *part += boxes.variance_of(columns.clone()).max(0.0) / whole;
            }
        }
    }
    let named = common.iter().zip(parts);
    Ok(shares(
        named
            .map(|((n, _), part)| ((*n).to_owned(), part))
            .collect(),
    ))
}

/// The leaves of a tree with the volume of each, as a share of the space.
struct Boxes<'a> {
    leaves: &'a [Leaf],
    bounds: &'a [(f64, f64)],
    volumes: Vec<f64>,
    mean: f64,
}

impl<'a> Boxes<'a> {
    fn new(leaves: &'a [Leaf], bounds: &'a [(f64, f64)]) -> Self {
        let mut boxes = Boxes {
            leaves,
            bounds,
            volumes: Vec::new(),
            mean: 0.0,
        };
        let all = 0..bounds.len();
        boxes.volumes = leaves.iter().map(|l| boxes.share(l, all.clone())).collect();
        let weighted = leaves.iter().zip(&boxes.volumes);
        boxes.mean = weighted.map(|(leaf, volume)| leaf.value * volume).sum();
        boxes
    }

    /// The share of the space that a leaf takes up in some columns.
    fn share(&self, leaf: &Leaf, columns: std::ops::Range<usize>) -> f64 {
        let side = |c: usize| {
            let ((low, high), (from, to)) = (leaf.bounds[c], self.bounds[c]);
            (high - low) / (to - from)
        };
        columns.map(side).product()
    }

    /// The variance of the tree over the whole space.
    fn variance(&self) -> f64 {
        let weighted = self.leaves.iter().zip(&self.volumes);
        weighted
            .map(|(leaf, volume)| (leaf.value - self.mean) * (leaf.value - self.mean) * volume)
            .sum()
    }

    /// The variance of the tree's mean over all other columns.
    fn variance_of(&self, columns: std::ops::Range<usize>) -> f64 {
        match columns.len() {
            0 => 0.0,
            1 => self.variance_along(columns.start),
            _ => self.variance_of_choices(columns),
        }
    }

    /// What a leaf adds to the mean wherever it is: its distance from the mean times its share in other columns.
    fn height(&self, at: usize, columns: std::ops::Range<usize>) -> f64 {
        let own = self.share(&self.leaves[at], columns);
        // A leaf without width in a column is nowhere.
        let other = if own > 0.0 {
            self.volumes[at] / own
        } else {
            0.0
        };
        (self.leaves[at].value - self.mean) * other
    }

    /// One column of numbers: the mean is a step function, put together from where leaves begin and end.
    fn variance_along(&self, column: usize) -> f64 {
        let mut edges: Vec<(f64, f64)> = Vec::with_capacity(2 * self.leaves.len());
        for (at, leaf) in self.leaves.iter().enumerate() {
            let height = self.height(at, column..column + 1);
            let (low, high) = leaf.bounds[column];
            edges.push((low, height));
            edges.push((high, -height));
        }
        edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (from, to) = self.bounds[column];
        let (mut level, mut sum, mut last) = (0.0, 0.0, from);
        for (x, height) in edges {
            sum += level * level * (x - last) / (to - from);
            level += height;
            last = x;
        }
        sum
    }

    /// The columns of one categorical parameter: a leaf fixes some of them and leaves others free. Any two leaves that
    /// agree where both are fixed overlap.
    fn variance_of_choices(&self, columns: std::ops::Range<usize>) -> f64 {
        // Heights by what is fixed: for each column free, 0 or 1.
        let mut heights: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        for (at, leaf) in self.leaves.iter().enumerate() {
            let fixed = leaf.bounds[columns.clone()].iter().map(|side| match side {
                (low, high) if *low <= 0.0 && *high >= 1.0 => 2,
                (low, _) => u8::from(*low > 0.0),
            });
            *heights.entry(fixed.collect()).or_default() += self.height(at, columns.clone());
        }
        let mut sum = 0.0;
        for (a, height_a) in &heights {
            for (b, height_b) in &heights {
                let mut overlap = 1.0;
                for pair in a.iter().zip(b) {
                    overlap *= match pair {
                        (2, 2) => 1.0,
                        (2, _) | (_, 2) => 0.5,
                        (x, y) if x == y => 0.5,
                        _ => 0.0,
                    };
                }
                sum += height_a * height_b * overlap;
            }
        }
        sum
    }
}
