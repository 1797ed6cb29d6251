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

use super::split::{Candidate, Criterion, Finder, Runs, runs_of_histogram};
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

/// How often a bootstrap may draw one row: the chance of more than that is below 1e-80.
pub(crate) const MAX_TIMES: u32 = 64;

/// What the nodes of a tree minimise.
pub(crate) trait Impurity {
    /// Whether rows have sums beside them. Without, the rows tell everything.
    const SUMS: bool = true;
    /// The sum of the rows.
    fn total(&self, _rows: &[u32], sums: &[Sum]) -> Sum {
        sums.iter().fold(Sum::ZERO, |a, b| a + *b)
    }
    /// Looks at a node's rows and their sum; whether they are all alike.
    fn enter(&mut self, rows: &[u32], sums: &[Sum], total: Sum) -> bool;
    /// Whether a sum tells that its rows are all alike. Where it may, it tells their leaf as well.
    fn pure(&self, _total: Sum) -> bool {
        false
    }
    /// Announces the features that the node entered last is going to be asked for.
    fn prepare(&mut self, _features: &[u16], _rows: &[u32], _sums: &[Sum]) {}
    /// The best split of the node entered last on one feature, the one with this place among those announced.
    /// With `random` the split is drawn, else it is the best one.
    fn offer(
        &mut self,
        column: &Column<'_>,
        feature: u16,
        place: usize,
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
    asked: Vec<u16>,
    stack: Vec<Open>,
}

/// A node that is not grown yet.
struct Open {
    node: usize,
    start: usize,
    end: usize,
    depth: u32,
    total: Sum,
    /// Features of which all rows have the same code, as far as that is known; a bit for each of the first 64.
    constant: u64,
}

/// The bit of a feature in [`Open::constant`]; none from the 65th on.
fn bit(feature: u16) -> u64 {
    1_u64.checked_shl(u32::from(feature)).unwrap_or(0)
}

/// What trees are grown with.
pub(crate) struct Grow<'a> {
    pub columns: &'a [Column<'a>],
    /// Numbers per leaf.
    pub width: usize,
    pub limits: &'a Limits,
    pub rng: &'a mut Rng,
    pub arena: &'a mut Arena,
    /// Gains are added to it by feature.
    pub importance: &'a mut [f64],
}

impl Grow<'_> {
    /// Grows one tree over `rows` and their `sums`, if the impurity has any, which are reordered.
    pub fn tree<I: Impurity>(
        &mut self,
        rows: &mut [u32],
        sums: &mut [Sum],
        impurity: &mut I,
    ) -> Tree {
        let Grow {
            columns,
            width,
            limits,
            rng,
            arena,
            importance,
        } = self;
        let (columns, width) = (*columns, *width);
        let mut tree = Tree::new(width);
        let mut values = vec![0.0; width];
        arena.order.clear();
        arena.order.extend(0..columns.len() as u16);
        arena.stack.clear();
        arena.stack.push(Open {
            node: 0,
            start: 0,
            end: rows.len(),
            depth: 0,
            total: impurity.total(rows, sums),
            constant: 0,
        });
        let ends = |count: usize, depth: u32| {
            count < limits.min_split.max(2) || (limits.max_depth > 0 && depth >= limits.max_depth)
        };
        while let Some(open) = arena.stack.pop() {
            let Open {
                node,
                start,
                end,
                depth,
                total,
                mut constant,
            } = open;
            let node_rows = &mut rows[start..end];
            let node_sums = if I::SUMS {
                &mut sums[start..end]
            } else {
                &mut []
            };
            let pure = impurity.enter(node_rows, node_sums, total);
            let mut found: Option<Candidate> = None;
            if !pure && !ends(node_rows.len(), depth) {
                let (mut asked, mut wanted) = (0, limits.features.min(columns.len()));
                let mut varied = false;
                while asked < wanted {
                    for place in asked..wanted {
                        // A step of Fisher and Yates; the product maps 32 random bits onto the rest.
                        let rest = (columns.len() - place) as u64;
                        let pick = place + ((u64::from(rng.next_u32()) * rest) >> 32) as usize;
                        arena.order.swap(place, pick);
                    }
                    // Those that are constant are drawn for nothing.
                    let features = arena.order[asked..wanted].iter();
                    arena.asked.clear();
                    arena
                        .asked
                        .extend(features.filter(|f| constant & bit(**f) == 0));
                    impurity.prepare(&arena.asked, node_rows, node_sums);
                    for (place, &feature) in arena.asked.iter().enumerate() {
                        let column = &columns[usize::from(feature)];
                        let random = limits.random.then_some(&mut **rng);
                        match impurity.offer(column, feature, place, node_rows, node_sums, random) {
                            Offer::Constant => constant |= bit(feature),
                            Offer::Nothing => varied = true,
                            Offer::Split(one) => {
                                varied = true;
                                if found.is_none_or(|b| one.gain > b.gain) {
                                    found = Some(one);
                                }
                            }
                        }
                    }
                    asked = wanted;
                    if !varied {
                        wanted = columns.len().min(asked + 1);
                    }
                }
            }
            let Some(split) = found else {
                impurity.leaf(&mut values);
                tree.set_leaf(node, &values);
                tree.set_cover(node, impurity.cover());
                continue;
            };
            importance[usize::from(split.feature)] += split.gain.max(0.0);
            let child = tree.split(node, split.feature, split.split, split.missing_left);
            let sides = [split.left, total - split.left];
            // Where a sum tells all of a side that ends, nobody looks at its rows again.
            let known = |side: &Sum| {
                !I::SUMS && (impurity.pure(*side) || ends(side.count() as usize, depth + 1))
            };
            let known = sides.each_ref().map(known);
            for side in [0, 1] {
                if known[side] {
                    impurity.enter(&[], &[], sides[side]);
                    impurity.leaf(&mut values);
                    tree.set_leaf(child + side, &values);
                    tree.set_cover(child + side, impurity.cover());
                }
            }
            if known == [true; 2] {
                continue;
            }
            let column = &columns[usize::from(split.feature)];
            let Candidate {
                split,
                missing_left,
                ..
            } = split;
            let spare = &mut arena.spare;
            let lefts = if I::SUMS {
                partition::<false>(
                    column,
                    &split,
                    missing_left,
                    node_rows,
                    Some(node_sums),
                    spare,
                )
            } else {
                partition::<true>(column, &split, missing_left, node_rows, None, spare)
            };
            let ranges = [(start, start + lefts), (start + lefts, end)];
            for side in [1, 0] {
                if !known[side] {
                    arena.stack.push(Open {
                        node: child + side,
                        start: ranges[side].0,
                        end: ranges[side].1,
                        depth: depth + 1,
                        total: sides[side],
                        constant,
                    });
                }
            }
        }
        tree
    }
}

/// The pack of each feature and its place there, for packs that are worth reading whole. `drawn` is the number of features
/// drawn at each node.
pub(crate) fn packed(columns: usize, packs: &[Pack], drawn: usize) -> Vec<Option<(usize, usize)>> {
    let mut packed = vec![None; columns];
    for (p, pack) in packs.iter().enumerate() {
        // A pack pays when a node can expect to draw two of its members.
        if pack.members.len() * drawn >= 2 * columns {
            for (place, &(feature, _)) in pack.members.iter().enumerate() {
                packed[usize::from(feature)] = Some((p, place));
            }
        }
    }
    packed
}

/// What a feature offers whose codes are in `finder.runs`, besides missing values.
pub(super) fn offer_of_runs(
    finder: &mut Finder,
    criterion: &Criterion,
    column: &Column<'_>,
    feature: u16,
    missing: Sum,
    total: Sum,
    random: Option<&mut Rng>,
) -> Offer {
    if finder.runs.len() + usize::from(missing.count() > 0) < 2 {
        return Offer::Constant;
    }
    if let Some(rng) = random {
        return drawn(
            &finder.runs,
            criterion,
            column,
            feature,
            missing,
            total,
            rng,
        );
    }
    match finder.best_of_runs(criterion, column, feature, missing, total) {
        Some(candidate) => Offer::Split(candidate),
        None => Offer::Nothing,
    }
}

/// A random split of codes, of which there are two or one and missing values.
fn drawn(
    runs: &Runs,
    criterion: &Criterion,
    column: &Column<'_>,
    feature: u16,
    missing: Sum,
    total: Sum,
    rng: &mut Rng,
) -> Offer {
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
    let right = total - left;
    if left.count().min(right.count()) < criterion.min_leaf.max(1) {
        return Offer::Nothing;
    }
    let score = |sum| criterion.score(sum);
    Offer::Split(Candidate {
        gain: score(left) + score(right) - score(total),
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

/// Variance of numbers, which for 0/1 is half the Gini impurity.
pub(crate) struct Variance<'a> {
    criterion: Criterion,
    packs: &'a [Pack],
    /// See [`packed`].
    packed: &'a [Option<(usize, usize)>],
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
    pub fn new(
        criterion: Criterion,
        offset: f64,
        packs: &'a [Pack],
        packed: &'a [Option<(usize, usize)>],
    ) -> Self {
        Variance {
            criterion,
            packs,
            packed,
            by_member: vec![Vec::new(); packs.len()],
            total: Sum::ZERO,
            slots: Vec::new(),
            finder: Finder::default(),
            keys: Vec::with_capacity(SORT_ROWS),
            offset,
        }
    }
}

impl Impurity for Variance<'_> {
    fn enter(&mut self, _rows: &[u32], sums: &[Sum], total: Sum) -> bool {
        self.by_member.iter_mut().for_each(Vec::clear);
        self.total = total;
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
        _place: usize,
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
        let finder = &mut self.finder;
        offer_of_runs(
            finder,
            &self.criterion,
            column,
            feature,
            missing,
            self.total,
            random,
        )
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
