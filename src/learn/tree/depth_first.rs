//! Depth-first growth for forests: at every node a fresh draw of features, down to pure or smallest nodes.
//!
//! What a node minimises is an `Impurity`: `Variance` for numbers and two classes, `Gini` for more.
//! As in scikit-learn, features that are constant in the node count as drawn, but the draw goes on until one is not.

use rand::Rng as _;

use crate::seed::Rng;

use super::Column;
use super::histogram::{self, PACK_ROWS};
use super::nodes::Tree;
use super::partition::{Spare, partition};
use super::random;

use super::split::{Candidate, Criterion, Finder, runs_of_histogram};
use super::sum::Sum;
use crate::learn::features::{Features, Pack};

/// Limits of one tree.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// Fewest rows of a node that is split.
    pub min_split: usize,
    /// Features drawn at each node.
    pub features: usize,
    /// Whether splits are drawn at random too.
    pub random: bool,
}

/// What one feature offers at a node.
pub(crate) enum Offer {
    /// All rows have the same code.
    Constant,
    /// There are several codes but no allowed split.
    Nothing,
    /// The best split.
    Split(Candidate),
}

/// What the nodes of a tree minimise.
pub(crate) trait Impurity {
    /// Looks at a node's rows; whether they are all alike.
    fn enter(&mut self, rows: &[u32], sums: &[Sum]) -> bool;
    /// The best split of the node entered last on one feature.
    /// With `random` the split is drawn, else it is the best one.
    fn offer(
        &mut self,
        column: &Column<'_>,
        feature: u16,
        rows: &[u32],
        sums: &[Sum],
        random: Option<&mut Rng>,
    ) -> Offer;
    /// The numbers of the node entered last as a leaf.
    fn leaf(&self, out: &mut [f64]);
    /// The weight of the rows of the node entered last.
    fn cover(&self) -> f64;
}

/// Memory that the trees of one thread reuse.
#[derive(Default)]
pub struct Arena {
    spare: Spare,
    order: Vec<u16>,
    stack: Vec<(usize, usize, usize, u32)>,
}

/// Grows one tree over `rows` and their `sums`, which are reordered. Gains are added to `importance` by feature.
#[expect(
    clippy::too_many_arguments,
    reason = "the inputs of one tree; a struct would only rename them"
)]
pub(crate) fn grow<I: Impurity>(
    columns: &[Column<'_>],
    rows: &mut [u32],
    sums: &mut [Sum],
    width: usize,
    impurity: &mut I,
    limits: &Limits,
    rng: &mut Rng,
    arena: &mut Arena,
    importance: &mut [f64],
) -> Tree {
    let mut tree = Tree::new(width);
    let mut values = vec![0.0; width];
    arena.order.clear();
    arena.order.extend(0..columns.len() as u16);
    arena.stack.clear();
    arena.stack.push((0, 0, rows.len(), 0));
    while let Some((node, start, end, depth)) = arena.stack.pop() {
        let (node_rows, node_sums) = (&mut rows[start..end], &mut sums[start..end]);
        let pure = impurity.enter(node_rows, node_sums);
        let stop = pure
            || node_rows.len() < limits.min_split.max(2)
            || (limits.max_depth > 0 && depth >= limits.max_depth);
        let mut found: Option<Candidate> = None;
        if !stop {
            let mut drawn = 0;
            let mut varied = false;
            while drawn < columns.len() && (drawn < limits.features || !varied) {
                // A step of Fisher and Yates; the product maps 32 random bits onto the rest.
                let rest = (columns.len() - drawn) as u64;
                let pick = drawn + ((u64::from(rng.next_u32()) * rest) >> 32) as usize;
                arena.order.swap(drawn, pick);
                let feature = arena.order[drawn];
                drawn += 1;
                let column = &columns[usize::from(feature)];
                let random = limits.random.then_some(&mut *rng);
                match impurity.offer(column, feature, node_rows, node_sums, random) {
                    Offer::Constant => {}
                    Offer::Nothing => varied = true,
                    Offer::Split(one) => {
                        varied = true;
                        if found.is_none_or(|b| one.gain > b.gain) {
                            found = Some(one);
                        }
                    }
                }
            }
        }
        let Some(split) = found else {
            impurity.leaf(&mut values);
            tree.set_leaf(node, &values);
            tree.set_cover(node, impurity.cover());
            continue;
        };
        let column = &columns[usize::from(split.feature)];
        let lefts = partition(
            column,
            &split.split,
            split.missing_left,
            node_rows,
            Some(node_sums),
            &mut arena.spare,
        );
        importance[usize::from(split.feature)] += split.gain.max(0.0);
        let child = tree.split(node, split.feature, split.split, split.missing_left);
        arena.stack.push((child + 1, start + lefts, end, depth + 1));
        arena.stack.push((child, start, start + lefts, depth + 1));
    }
    tree
}

/// Variance of numbers, which for 0/1 is half the Gini impurity.
pub(crate) struct Variance<'a> {
    criterion: Criterion,
    packs: &'a [Pack],
    /// The pack of each feature and its place there, for packs that are worth reading whole.
    packed: Vec<Option<(usize, usize)>>,
    /// Sums by code of the members of each pack in the node entered last; empty until one is asked for.
    by_member: Vec<Vec<[Sum; 8]>>,
    total: Sum,
    slots: Vec<Sum>,
    finder: Finder,
    keys: Vec<u32>,
    /// Added to leaf values: targets are centred to keep their sums small.
    offset: f64,
}

/// Up to this many rows it is cheaper to sort a node's codes than to clear and read a long histogram.
const SORT_ROWS: usize = 64;

impl<'a> Variance<'a> {
    /// `drawn` is the number of features drawn at each node.
    pub fn new(
        criterion: Criterion,
        offset: f64,
        columns: usize,
        packs: &'a [Pack],
        drawn: usize,
    ) -> Self {
        let keys = Vec::with_capacity(SORT_ROWS);
        let mut packed = vec![None; columns];
        for (p, pack) in packs.iter().enumerate() {
            // A pack pays when a node can expect to draw two of its members.
            if pack.members.len() * drawn >= 2 * columns {
                for (place, &(feature, _)) in pack.members.iter().enumerate() {
                    packed[usize::from(feature)] = Some((p, place));
                }
            }
        }
        Variance {
            criterion,
            packs,
            packed,
            by_member: vec![Vec::new(); packs.len()],
            total: Sum::ZERO,
            slots: Vec::new(),
            finder: Finder::default(),
            keys,
            offset,
        }
    }
}

impl Variance<'_> {
    /// A random split of the codes in `finder.runs`, of which there are two or one and missing values.
    fn drawn(&self, column: &Column<'_>, feature: u16, missing: Sum, rng: &mut Rng) -> Offer {
        let runs = &self.finder.runs;
        if runs.is_empty() {
            return Offer::Constant;
        }
        let codes: Vec<u8> = runs.iter().map(|r| r.0).collect();
        let any_missing = missing.count() > 0;
        let (split, missing_left) = random::draw(column, &codes, any_missing, rng);
        let mut left = if missing_left { missing } else { Sum::ZERO };
        for (code, sum) in runs {
            if split.goes_left(*code) {
                left += *sum;
            }
        }
        let right = self.total - left;
        if left.count().min(right.count()) < self.criterion.min_leaf.max(1) {
            return Offer::Nothing;
        }
        let score = |sum| self.criterion.score(sum);
        Offer::Split(Candidate {
            gain: score(left) + score(right) - score(self.total),
            feature,
            split,
            missing_left: if any_missing {
                missing_left
            } else {
                left.count() >= right.count()
            },
            left,
        })
    }
}

impl Impurity for Variance<'_> {
    fn enter(&mut self, rows: &[u32], sums: &[Sum]) -> bool {
        let _ = rows;
        self.by_member.iter_mut().for_each(Vec::clear);
        self.total = sums.iter().fold(Sum::ZERO, |a, b| a + *b);
        // All alike when every row has the first one's gradient per hessian.
        sums.split_first().is_none_or(|(first, rest)| {
            let (g, h) = (i128::from(first.gradient()), i128::from(first.hessian()));
            rest.iter()
                .all(|s| i128::from(s.gradient()) * h == g * i128::from(s.hessian()))
        })
    }

    fn offer(
        &mut self,
        column: &Column<'_>,
        feature: u16,
        rows: &[u32],
        sums: &[Sum],
        random: Option<&mut Rng>,
    ) -> Offer {
        let mut missing = Sum::ZERO;
        let packed = self.packed[usize::from(feature)].filter(|_| rows.len() >= PACK_ROWS);
        if let Some((pack, place)) = packed {
            let members = &mut self.by_member[pack];
            if members.is_empty() {
                histogram::fill_pack(&self.packs[pack], rows, sums, |_, by_code| {
                    let mut slots = [Sum::ZERO; 8];
                    slots[..by_code.len()].copy_from_slice(by_code);
                    members.push(slots);
                });
            }
            runs_of_histogram(&members[place], &mut self.finder.runs);
        } else if column.slots() == 2 && !column.has_missing {
            let ones = histogram::sum_of_ones(column.codes, rows, sums);
            if ones.count() == 0 || ones.count() == self.total.count() {
                return Offer::Constant;
            }
            self.finder.runs.clear();
            self.finder.runs.extend([(0, self.total - ones), (1, ones)]);
        } else if rows.len() <= SORT_ROWS && column.bins > rows.len() {
            // Code above position in one number: sorting them is stable and reads no second array.
            self.keys.clear();
            let key = |(i, row): (usize, &u32)| u32::from(column.code(*row)) << 16 | i as u32;
            self.keys.extend(rows.iter().enumerate().map(key));
            self.keys.sort_unstable();
            self.finder.runs.clear();
            for key in &self.keys {
                let (code, sum) = ((key >> 16) as u8, sums[(key & 0xffff) as usize]);
                match self.finder.runs.last_mut() {
                    Some(last) if last.0 == code => last.1 += sum,
                    _ => self.finder.runs.push((code, sum)),
                }
            }
            // Missing values without a fill have the largest code.
            if let Some((_, sum)) = self.finder.runs.pop_if(|run| run.0 == Features::MISSING) {
                missing = sum;
            }
        } else {
            self.slots.resize(column.slots(), Sum::ZERO);
            histogram::fill(column, rows, sums, self.total, &mut self.slots);
            runs_of_histogram(&self.slots[..column.bins], &mut self.finder.runs);
            missing = self.slots.get(column.bins).copied().unwrap_or_default();
        }
        if self.finder.runs.len() + usize::from(missing.count() > 0) < 2 {
            return Offer::Constant;
        }
        if let Some(rng) = random {
            return self.drawn(column, feature, missing, rng);
        }
        match self
            .finder
            .best_of_runs(&self.criterion, column, feature, missing, self.total)
        {
            Some(candidate) => Offer::Split(candidate),
            None => Offer::Nothing,
        }
    }

    fn leaf(&self, out: &mut [f64]) {
        let (gradient, hessian) = self.criterion.parts(self.total);
        out[0] = self.offset
            + if hessian > 0.0 {
                gradient / hessian
            } else {
                0.0
            };
    }

    fn cover(&self) -> f64 {
        self.criterion.parts(self.total).1
    }
}
