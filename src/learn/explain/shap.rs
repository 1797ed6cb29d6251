//! Exact path-dependent TreeSHAP: the Shapley values of the game in which a feature that is not known follows both ways of
//! every split, each by its share of the training rows (Lundberg et al. 2020, Algorithm 2, "tree_path_dependent").
//!
//! **Contract.** For every row and output, `base + Σ values` is the raw score: log odds or the score of a class before
//! softmax for boosted classes, the number for a regression, the probability for a forest. Values are those of
//! Algorithm 2, and the same bits on any number of threads.
//!
//! **How.** A leaf of value `v`, on whose way `d` different features are asked, gives feature `i` the amount
//! `v · (o_i − z_i) · ∫₀¹ Π_{j≠i} (z_j (1 − t) + o_j t) dt`. Here `z_j` is the share of rows that take the way at all
//! splits on feature `j`, and `o_j` is 1 if the row takes it there, else 0: the weights `|S|! (d − |S| − 1)! / d!` of Shapley's
//! formula are integrals of `t^|S| (1 − t)^(d − 1 − |S|)`. The product has degree `d − 1`, so Gauss–Legendre
//! quadrature with `⌈d/2⌉` points is exact. One pass down the tree multiplies the factors of each way at these points, one pass
//! up adds leaves, and each edge hands its feature what is below: work grows with leaves × points, where Algorithm 2
//! needs leaves × depth². It is the method of Linear TreeSHAP (Yu et al. 2022) with points at which every
//! factor is positive, so nothing cancels and no division comes near 0.

use rayon::prelude::*;

use super::ExplainError;
use super::quadrature::{Point, points};
use crate::learn::tree::nodes::Tree;
use crate::learn::tree::view::{Ensemble, Link, NodeView, Test, goes_left};

/// SHAP values of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shap {
    /// Number of outputs.
    pub width: usize,
    /// Numbers per output and row: encoded features, or columns.
    pub features: usize,
    /// What is predicted when nothing is known of a row, by output.
    pub base: Vec<f64>,
    /// `rows × width × features`.
    pub values: Vec<f64>,
}

impl Shap {
    /// The values of one row for one output, one per feature.
    pub fn row(&self, row: usize, output: usize) -> &[f64] {
        let start = (row * self.width + output) * self.features;
        &self.values[start..start + self.features]
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / (self.width * self.features).max(1)
    }

    /// The raw score of one row: base and values added up.
    pub fn score(&self, row: usize, output: usize) -> f64 {
        self.base[output] + self.row(row, output).iter().sum::<f64>()
    }

    /// Mean absolute value by feature over all rows, summed over outputs.
    pub fn mean_abs(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.features];
        for part in self.values.chunks_exact(self.features) {
            mean.iter_mut().zip(part).for_each(|(m, v)| *m += v.abs());
        }
        let rows = self.rows().max(1) as f64;
        mean.iter_mut().for_each(|m| *m /= rows);
        mean
    }

    /// The same explanation with features added up into `columns` groups; `group[f]` is the group of feature `f`.
    pub fn grouped(&self, group: &[usize], columns: usize) -> Shap {
        let mut values = vec![0.0; self.values.len() / self.features.max(1) * columns];
        let parts = self.values.chunks_exact(self.features.max(1));
        for (out, part) in values.chunks_exact_mut(columns.max(1)).zip(parts) {
            for (&g, v) in group.iter().zip(part) {
                out[g] += v;
            }
        }
        Shap {
            width: self.width,
            features: columns,
            base: self.base.clone(),
            values,
        }
    }
}

/// Points of one pass over a tree; a tree with more features on one way takes several passes.
const MAX_LANES: usize = 8;

/// Rows that a thread takes at a time.
const ROWS: usize = 64;

/// Memory for the tables of the trees that are worked on at a time, in numbers.
const TABLE: usize = 1 << 19;

/// The SHAP values of encoded rows, row-major with one number per feature of the ensemble.
///
/// # Errors
/// [`ExplainError::NoCovers`] when a tree does not know its covers.
pub fn tree_shap(ensemble: &Ensemble<'_>, rows: &[f64]) -> Result<Shap, ExplainError> {
    let (features, width) = (ensemble.features, ensemble.width);
    let scale = match ensemble.link {
        Link::Mean => 1.0 / ensemble.trees.len().max(1) as f64,
        _ => 1.0,
    };
    let mut base = vec![0.0; width];
    let mut values = vec![0.0; rows.len() / features.max(1) * width * features];
    let mut next = 0;
    while next < ensemble.trees.len() {
        // As many trees at a time as fit into the cache with their tables.
        let mut plans = Vec::new();
        let mut size = 0;
        while next < ensemble.trees.len() && (size < TABLE || plans.is_empty()) {
            let tree = &ensemble.trees[next];
            let output = ensemble.output(next);
            let covers = tree.covers().ok_or(ExplainError::NoCovers)?;
            let plan = Plan::new(tree, &covers, output);
            plan.add_expected(tree, &covers, &mut base);
            size += plan.size();
            plans.push(plan);
            next += 1;
        }
        values
            .par_chunks_mut(ROWS * width * features)
            .zip(rows.par_chunks(ROWS * features))
            .for_each_init(Scratch::default, |scratch, (out, rows)| {
                for plan in &plans {
                    plan.add(rows, features, out, width, scratch);
                }
            });
    }
    values.iter_mut().for_each(|v| *v *= scale);
    for (base, start) in base.iter_mut().zip(ensemble.base) {
        *base = (*base + start) * scale;
    }
    Ok(Shap {
        width,
        features,
        base,
        values,
    })
}

/// What a thread writes on the way down and up.
#[derive(Default)]
struct Scratch {
    /// By node: the product of the factors of its way, at each point.
    down: Vec<f64>,
    /// By node: the sum over the leaves below.
    up: Vec<f64>,
    /// By inner node, see [`Plan::inner`]: which table applied.
    state: Vec<State>,
}

/// How an inner node stands to a row.
#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// The row left the way at an earlier split on the same feature; it makes no difference where it would go here.
    #[default]
    Off,
    /// It goes left.
    Left,
    /// It goes right.
    Right,
}

/// No earlier split on the same feature.
const NONE: u32 = u32::MAX;

struct Inner<'a> {
    node: u32,
    left: u32,
    right: u32,
    feature: u32,
    /// The place in [`Plan::inner`] of the nearest split above on the same feature.
    up: u32,
    /// Whether that split's left child is on the way.
    up_left: bool,
    missing_left: bool,
    test: Test<'a>,
    /// Shares of the rows that go left and right.
    shares: [f64; 2],
}

/// The factors of both children of an inner node, at each point, when the row goes left (first) or right (second).
struct Tables {
    lanes: usize,
    /// By inner node and way: `ratio left, ratio right, share left, share right`, `lanes` numbers each.
    numbers: Vec<f64>,
    /// The weight of each point.
    weights: Vec<f64>,
}

/// A tree prepared for explanation.
struct Plan<'a> {
    nodes: usize,
    inner: Vec<Inner<'a>>,
    /// Node and values.
    leaves: Vec<(u32, &'a [f64])>,
    passes: Vec<Tables>,
    /// The output of a tree of one number per leaf.
    output: usize,
}

impl<'a> Plan<'a> {
    fn new(tree: &'a Tree, covers: &[f64], output: usize) -> Self {
        let nodes = tree.len();
        let mut inner: Vec<Inner<'a>> = Vec::with_capacity(nodes / 2);
        let mut leaves = Vec::with_capacity(nodes / 2 + 1);
        // By node: the inner node above and whether this is its left child; how many features are asked on the way; the
        // share of rows that take the way at all splits on the feature of the edge above.
        let mut above = vec![(NONE, false); nodes];
        let mut asked = vec![0_usize; nodes];
        let mut taken = vec![1.0; nodes];
        let mut before = Vec::with_capacity(nodes / 2);
        let mut most = 0;
        for at in 0..nodes {
            match tree.node(at) {
                NodeView::Leaf { values } => {
                    leaves.push((at as u32, values));
                    most = most.max(asked[at]);
                }
                NodeView::Inner {
                    feature,
                    test,
                    missing_left,
                    left,
                    right,
                } => {
                    let place = inner.len() as u32;
                    let (mut up, mut up_left) = above[at];
                    while up != NONE && inner[up as usize].feature != feature as u32 {
                        (up, up_left) = above[inner[up as usize].node as usize];
                    }
                    let share = match inner.get(up as usize) {
                        Some(node) => taken[if up_left { node.left } else { node.right } as usize],
                        None => 1.0,
                    };
                    let shares = [covers[left] / covers[at], covers[right] / covers[at]];
                    for (child, part) in [(left, shares[0]), (right, shares[1])] {
                        above[child] = (place, child == left);
                        asked[child] = asked[at] + usize::from(up == NONE);
                        taken[child] = share * part;
                    }
                    before.push(share);
                    inner.push(Inner {
                        node: at as u32,
                        left: left as u32,
                        right: right as u32,
                        feature: feature as u32,
                        up,
                        up_left,
                        missing_left,
                        test,
                        shares,
                    });
                }
            }
        }
        let points = points(most.div_ceil(2));
        let passes = points.len().div_ceil(MAX_LANES);
        let lanes = points.len().div_ceil(passes.max(1)).max(1);
        let tables = |points: &[Point]| Tables::new(&inner, &before, lanes, points);
        Plan {
            nodes,
            passes: points.chunks(lanes).map(tables).collect(),
            inner,
            leaves,
            output,
        }
    }

    /// Numbers in all tables.
    fn size(&self) -> usize {
        self.passes.iter().map(|t| t.numbers.len()).sum()
    }

    /// Adds the mean of the leaves over the training rows.
    fn add_expected(&self, tree: &Tree, covers: &[f64], base: &mut [f64]) {
        for &(node, values) in &self.leaves {
            let share = covers[node as usize] / covers[0];
            let outputs = if tree.width() == 1 {
                &mut base[self.output..=self.output]
            } else {
                &mut *base
            };
            for (b, v) in outputs.iter_mut().zip(values) {
                *b += share * v;
            }
        }
    }

    /// Adds the values of some rows to `out`, `rows × width × features`.
    fn add(&self, rows: &[f64], features: usize, out: &mut [f64], width: usize, s: &mut Scratch) {
        for tables in &self.passes {
            match tables.lanes {
                1 => self.pass::<1>(tables, rows, features, out, width, s),
                2 => self.pass::<2>(tables, rows, features, out, width, s),
                3 => self.pass::<3>(tables, rows, features, out, width, s),
                4 => self.pass::<4>(tables, rows, features, out, width, s),
                5 => self.pass::<5>(tables, rows, features, out, width, s),
                6 => self.pass::<6>(tables, rows, features, out, width, s),
                7 => self.pass::<7>(tables, rows, features, out, width, s),
                _ => self.pass::<MAX_LANES>(tables, rows, features, out, width, s),
            }
        }
    }

    fn pass<const N: usize>(
        &self,
        tables: &Tables,
        rows: &[f64],
        features: usize,
        out: &mut [f64],
        width: usize,
        scratch: &mut Scratch,
    ) {
        let (table, _) = tables.numbers.as_chunks::<N>();
        let weights: [f64; N] = std::array::from_fn(|lane| tables.weights[lane]);
        scratch.down.resize(self.nodes * N, 0.0);
        scratch.up.resize(self.nodes * N, 0.0);
        scratch.state.resize(self.inner.len(), State::Off);
        let (down, _) = scratch.down.as_chunks_mut::<N>();
        let (up, _) = scratch.up.as_chunks_mut::<N>();
        let state = &mut scratch.state[..];
        let rows = rows.chunks_exact(features);
        for (row, out) in rows.zip(out.chunks_exact_mut(width * features)) {
            down[0] = weights;
            for (place, node) in self.inner.iter().enumerate() {
                let on = node.up == NONE
                    || state[node.up as usize]
                        == [State::Right, State::Left][usize::from(node.up_left)];
                let parent = down[node.node as usize];
                let (left, right) = (node.left as usize, node.right as usize);
                if on {
                    let x = row[node.feature as usize];
                    let goes_left = goes_left(node.test, node.missing_left, x);
                    state[place] = [State::Right, State::Left][usize::from(goes_left)];
                    let at = place * 8 + usize::from(!goes_left) * 4;
                    down[left] = product(&parent, &table[at]);
                    down[right] = product(&parent, &table[at + 1]);
                } else {
                    state[place] = State::Off;
                    down[left] = parent.map(|p| p * node.shares[0]);
                    down[right] = parent.map(|p| p * node.shares[1]);
                }
            }
            let outputs = self.leaves[0].1.len();
            for k in 0..outputs {
                for &(node, values) in &self.leaves {
                    up[node as usize] = down[node as usize].map(|p| p * values[k]);
                }
                let output = if outputs == 1 { self.output } else { k };
                let out = &mut out[output * features..(output + 1) * features];
                for (place, node) in self.inner.iter().enumerate().rev() {
                    let (left, right) = (up[node.left as usize], up[node.right as usize]);
                    if state[place] != State::Off {
                        let at = place * 8 + usize::from(state[place] == State::Right) * 4;
                        let (l, r) = (&table[at + 2], &table[at + 3]);
                        let mut sum = 0.0;
                        for lane in 0..N {
                            sum += l[lane] * left[lane] + r[lane] * right[lane];
                        }
                        out[node.feature as usize] += sum;
                    }
                    up[node.node as usize] = std::array::from_fn(|lane| left[lane] + right[lane]);
                }
            }
        }
    }
}

#[inline(always)]
fn product<const N: usize>(a: &[f64; N], b: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|lane| a[lane] * b[lane])
}

impl Tables {
    /// `before` is, by inner node, the share of rows that take the way at earlier splits on the same feature.
    fn new(inner: &[Inner<'_>], before: &[f64], lanes: usize, points: &[Point]) -> Self {
        let mut numbers = vec![0.0; inner.len() * 8 * lanes];
        for ((node, &z), out) in inner
            .iter()
            .zip(before)
            .zip(numbers.chunks_exact_mut(8 * lanes))
        {
            for (lane, point) in points.iter().enumerate() {
                let (t, rest) = (point.at, 1.0 - point.at);
                let factor = z * rest + t;
                let earlier = (1.0 - z) / factor;
                // On the way, and off it: what the factor of this feature is multiplied by, and what the integrand is
                // divided by to leave this feature out, less what the earlier edge was handed for the same leaves.
                let on = |part: f64| {
                    let below = z * part * rest + t;
                    (below / factor, (1.0 - z * part) / below - earlier)
                };
                let off = |part: f64| (z * part * rest / factor, -1.0 / rest - earlier);
                let [left, right] = node.shares;
                for (way, (l, r)) in [(on(left), off(right)), (off(left), on(right))]
                    .into_iter()
                    .enumerate()
                {
                    for (i, number) in [l.0, r.0, l.1, r.1].into_iter().enumerate() {
                        out[(way * 4 + i) * lanes + lane] = number;
                    }
                }
            }
        }
        let mut weights: Vec<f64> = points.iter().map(|p| p.weight).collect();
        weights.resize(lanes, 0.0);
        Tables {
            lanes,
            numbers,
            weights,
        }
    }
}
