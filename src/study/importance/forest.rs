//! A random forest for regression on a handful of columns, with the box of each leaf: what fANOVA asks for.
//!
//! Breiman's forest as scikit-learn's `RandomForestRegressor` grows it: bootstrapped rows, every column at every node,
//! the split of least squared error half-way between two values, down to pure leaves. Trees are grown in parallel, each
//! from its own place in the seed tree.

use rand::RngExt as _;
use rayon::prelude::*;

use crate::seed::{Rng, Seed};

/// The deepest a tree may grow.
const DEPTH: usize = 64;

/// A leaf: its value and its bounds by column, low and high.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) value: f64,
    pub(super) bounds: Vec<(f64, f64)>,
}

/// The leaves of each tree. `columns` are values by row; `bounds` are low and high of each column.
pub(super) fn grow(
    columns: &[Vec<f64>],
    targets: &[f64],
    bounds: &[(f64, f64)],
    trees: usize,
    seed: Seed,
) -> Vec<Vec<Leaf>> {
    let tree = |number: usize| {
        let mut rng = seed.child("tree", number as u64).rng();
        let mut rows: Vec<usize> = (0..targets.len())
            .map(|_| rng.random_range(0..targets.len()))
            .collect();
        let mut leaves = Vec::new();
        let mut nodes = vec![(0, rows.len(), bounds.to_vec(), 0)];
        while let Some((from, to, bounds, depth)) = nodes.pop() {
            let own = &mut rows[from..to];
            let split = (depth < DEPTH).then(|| best_split(columns, targets, own, &mut rng));
            match split.flatten() {
                None => leaves.push(Leaf {
                    value: own.iter().map(|r| targets[*r]).sum::<f64>() / own.len() as f64,
                    bounds,
                }),
                Some((column, threshold)) => {
                    let values = &columns[column];
                    own.sort_by_key(|r| values[*r] > threshold);
                    let left = own.partition_point(|r| values[*r] <= threshold);
                    let (mut below, mut above) = (bounds.clone(), bounds);
                    below[column].1 = threshold;
                    above[column].0 = threshold;
                    nodes.push((from + left, to, above, depth + 1));
                    nodes.push((from, from + left, below, depth + 1));
                }
            }
        }
        leaves
    };
    (0..trees).into_par_iter().map(tree).collect()
}

/// The column and threshold of least squared error; none for rows of one target or without two values in a column.
fn best_split(
    columns: &[Vec<f64>],
    targets: &[f64],
    rows: &[usize],
    rng: &mut Rng,
) -> Option<(usize, f64)> {
    let n = rows.len() as f64;
    // Around their mean, so that sums do not lose the small differences of large targets.
    let mean = rows.iter().map(|r| targets[*r]).sum::<f64>() / n;
    if rows.iter().all(|r| targets[*r] == targets[rows[0]]) {
        return None;
    }
    let mut best: Option<(f64, usize, f64)> = None;
    let mut sorted = rows.to_vec();
    // Of equally good columns the first one met wins, so each is first at times.
    let start = rng.random_range(0..columns.len());
    for shift in 0..columns.len() {
        let column = (start + shift) % columns.len();
        let values = &columns[column];
        sorted.sort_by(|a, b| values[*a].total_cmp(&values[*b]).then(a.cmp(b)));
        let mut sum = 0.0;
        for (i, pair) in sorted.windows(2).enumerate() {
            sum += targets[pair[0]] - mean;
            let (a, b) = (values[pair[0]], values[pair[1]]);
            let threshold = a / 2.0 + b / 2.0;
            if a == b || threshold >= b {
                continue;
            }
            let left = (i + 1) as f64;
            // What the split takes from the squared error, the sum of all being zero.
            let gain = sum * sum / left + sum * sum / (n - left);
            if best.is_none_or(|(g, ..)| gain > g) {
                best = Some((gain, column, threshold));
            }
        }
    }
    best.map(|(_, column, threshold)| (column, threshold))
}
