//! Best-first growth for boosting: the leaf with the largest gain is split next.
//!
//! The histogram of the smaller child is added up from its rows, that of the larger one is its parent's minus the
//! smaller one. A leaf that may not be split any more never gets a histogram.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::nodes::Tree;
use super::partition::{Spare, partition};
use super::split::{Candidate, Criterion, Runs, best_of_histogram};
use super::sum::Sum;
use super::{Column, histogram};
use crate::learn::features::Pack;

/// Limits of one tree.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most leaves, at least 1.
    pub max_leaves: usize,
    /// Most splits from the root to a leaf; 0 for no limit.
    pub max_depth: u32,
    /// A split must gain more than this.
    pub min_gain: f64,
}

/// Work for one histogram (rows × features) from which it pays to share it among threads.
const PARALLEL_WORK: usize = 400_000;

struct Leaf {
    node: usize,
    start: usize,
    end: usize,
    depth: u32,
    total: Sum,
    histogram: Vec<Sum>,
    candidate: Candidate,
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Leaf {}
impl PartialOrd for Leaf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Leaf {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_gain = self.candidate.gain.total_cmp(&other.candidate.gain);
        by_gain.then_with(|| other.node.cmp(&self.node))
    }
}

/// Memory that trees reuse: one per boosting run.
#[derive(Default)]
pub struct Arena {
    spare: Spare,
    histograms: Vec<Vec<Sum>>,
    runs: Runs,
}

/// A grown tree and where the rows ended.
pub(crate) struct Grown {
    pub tree: Tree,
    /// Leaf node and its slice of the rows.
    pub leaves: Vec<(usize, std::ops::Range<usize>, Sum)>,
}

/// Grows one tree over `rows` and their `sums`, which are reordered so that each leaf's rows are together.
/// `chosen` are the positions of the features to use, ascending. Gains are added to `importance` by feature.
#[expect(
    clippy::too_many_arguments,
    reason = "the inputs of one tree; a struct would only rename them"
)]
pub(crate) fn grow(
    columns: &[Column<'_>],
    packs: &[Pack],
    chosen: &[usize],
    rows: &mut [u32],
    sums: &mut [Sum],
    criterion: &Criterion,
    limits: &Limits,
    arena: &mut Arena,
    importance: &mut [f64],
) -> Grown {
    let units = units(packs, chosen);
    let grower = Grower {
        columns,
        packs,
        units: &units,
        criterion,
        limits,
    };
    let mut tree = Tree::new(1);
    let mut done = Vec::new();
    let mut heap = BinaryHeap::new();
    let total = sums.iter().fold(Sum::ZERO, |a, b| a + *b);
    let mut leaves = 1;

    let root = (0, 0, rows.len(), 0, total);
    if grower.may_split(rows.len(), 0, leaves) {
        let mut slots = arena.histograms.pop().unwrap_or_default();
        grower.histogram(rows, sums, total, &mut slots);
        grower.offer(root, slots, arena, &mut heap, &mut done);
    } else {
        done.push((0, 0..rows.len(), total));
    }
    while leaves < limits.max_leaves {
        let Some(leaf) = heap.pop() else { break };
        let Leaf {
            node,
            start,
            end,
            depth,
            total,
            histogram: mut whole,
            candidate,
        } = leaf;
        let column = &columns[usize::from(candidate.feature)];
        importance[usize::from(candidate.feature)] += candidate.gain;
        leaves += 1;
        // The sums know how many rows go where before they are moved.
        let lefts = candidate.left.count() as usize;
        let middle = start + lefts;
        let splits = |rows: usize| grower.may_split(rows, depth + 1, leaves);
        let moved = (splits(lefts) || splits(end - middle)).then_some(&mut sums[start..end]);
        let Candidate {
            split,
            missing_left,
            ..
        } = candidate;
        let rows_here = &mut rows[start..end];
        let found = partition(
            column,
            &split,
            missing_left,
            rows_here,
            moved,
            &mut arena.spare,
        );
        debug_assert_eq!(found, lefts, "a candidate counts its rows");
        let child = tree.split(node, candidate.feature, split, missing_left);
        let left = (child, start, middle, depth + 1, candidate.left);
        let right = (child + 1, middle, end, depth + 1, total - candidate.left);
        let (small, large) = if lefts * 2 <= end - start {
            (left, right)
        } else {
            (right, left)
        };
        let splits = |part: &Part| grower.may_split(part.2 - part.1, part.3, leaves);
        if splits(&small) || splits(&large) {
            let mut part = arena.histograms.pop().unwrap_or_default();
            let range = small.1..small.2;
            grower.histogram(&rows[range.clone()], &sums[range], small.4, &mut part);
            histogram::subtract(&mut whole, &part);
            for (slice, slots) in [(small, part), (large, whole)] {
                if splits(&slice) {
                    grower.offer(slice, slots, arena, &mut heap, &mut done);
                } else {
                    arena.histograms.push(slots);
                    done.push((slice.0, slice.1..slice.2, slice.4));
                }
            }
        } else {
            arena.histograms.push(whole);
            for slice in [small, large] {
                done.push((slice.0, slice.1..slice.2, slice.4));
            }
        }
    }
    for leaf in heap.into_vec() {
        done.push((leaf.node, leaf.start..leaf.end, leaf.total));
        arena.histograms.push(leaf.histogram);
    }
    Grown { tree, leaves: done }
}

/// Node, first row, end of rows, depth, sum.
type Part = (usize, usize, usize, u32, Sum);

/// Chosen features that are added up together: those of one pack, or a single one.
struct Unit {
    /// The pack and, for each of the features, its place in the pack.
    pack: Option<(usize, Vec<usize>)>,
    features: Vec<usize>,
}

fn units(packs: &[Pack], chosen: &[usize]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut single = vec![true; chosen.len()];
    for (p, pack) in packs.iter().enumerate() {
        let (mut places, mut features) = (Vec::new(), Vec::new());
        for (place, &(feature, _)) in pack.members.iter().enumerate() {
            if let Ok(at) = chosen.binary_search(&usize::from(feature)) {
                places.push((place, at));
                features.push(usize::from(feature));
            }
        }
        if places.len() > 1 {
            places.iter().for_each(|(_, at)| single[*at] = false);
            let places = places.into_iter().map(|(place, _)| place).collect();
            units.push(Unit {
                pack: Some((p, places)),
                features,
            });
        }
    }
    let singles = chosen.iter().zip(single).filter(|(_, single)| *single);
    units.extend(singles.map(|(&f, _)| Unit {
        pack: None,
        features: vec![f],
    }));
    units
}

struct Grower<'a> {
    columns: &'a [Column<'a>],
    packs: &'a [Pack],
    units: &'a [Unit],
    criterion: &'a Criterion,
    limits: &'a Limits,
}

impl Grower<'_> {
    fn may_split(&self, rows: usize, depth: u32, leaves: usize) -> bool {
        leaves < self.limits.max_leaves
            && (self.limits.max_depth == 0 || depth < self.limits.max_depth)
            && rows >= 2 * (self.criterion.min_leaf.max(1) as usize)
    }

    fn histogram(&self, rows: &[u32], sums: &[Sum], total: Sum, slots: &mut Vec<Sum>) {
        let width = |unit: &Unit| unit.features.iter().map(|&f| self.columns[f].slots()).sum();
        let features: usize = self.units.iter().map(|u| u.features.len()).sum();
        slots.resize(self.units.iter().map(width).sum(), Sum::ZERO);
        let mut parts = Vec::with_capacity(self.units.len());
        let mut rest = slots.as_mut_slice();
        for unit in self.units {
            let (part, after) = rest.split_at_mut(width(unit));
            parts.push((unit, part));
            rest = after;
        }
        let fill = |(unit, part): (&Unit, &mut [Sum])| self.fill(unit, rows, sums, total, part);
        if rows.len() * features >= PARALLEL_WORK {
            parts.into_par_iter().for_each(fill);
        } else {
            parts.into_iter().for_each(fill);
        }
    }

    fn fill(&self, unit: &Unit, rows: &[u32], sums: &[Sum], total: Sum, mut slots: &mut [Sum]) {
        match &unit.pack {
            Some((pack, places)) if rows.len() >= histogram::PACK_ROWS => {
                let mut wanted = places.iter().peekable();
                histogram::fill_pack(&self.packs[*pack], rows, sums, |place, by_code| {
                    if wanted.next_if_eq(&&place).is_some() {
                        let (here, after) = std::mem::take(&mut slots).split_at_mut(by_code.len());
                        here.copy_from_slice(by_code);
                        slots = after;
                    }
                });
            }
            _ => {
                for &f in &unit.features {
                    let column = &self.columns[f];
                    let (here, after) = slots.split_at_mut(column.slots());
                    histogram::fill(column, rows, sums, total, here);
                    slots = after;
                }
            }
        }
    }

    /// Finds the best split of a leaf and puts the leaf where it belongs.
    fn offer(
        &self,
        (node, start, end, depth, total): Part,
        slots: Vec<Sum>,
        arena: &mut Arena,
        heap: &mut BinaryHeap<Leaf>,
        done: &mut Vec<(usize, std::ops::Range<usize>, Sum)>,
    ) {
        let mut found: Option<Candidate> = None;
        let mut at = 0;
        for &f in self.units.iter().flat_map(|u| &u.features) {
            let column = &self.columns[f];
            let here = &slots[at..at + column.slots()];
            at += column.slots();
            let missing = here.get(column.bins).copied().unwrap_or_default();
            let one = best_of_histogram(
                self.criterion,
                column,
                f as u16,
                &here[..column.bins],
                &mut arena.runs,
                missing,
                total,
            );
            if let Some(one) = one
                && found.is_none_or(|b| (one.gain, b.feature) > (b.gain, one.feature))
            {
                // Of equal gains the first feature wins, in whatever order they are added up.
                found = Some(one);
            }
        }
        match found.filter(|c| c.gain > self.limits.min_gain) {
            Some(candidate) => {
                heap.push(Leaf {
                    node,
                    start,
                    end,
                    depth,
                    total,
                    histogram: slots,
                    candidate,
                });
            }
            None => {
                arena.histograms.push(slots);
                done.push((node, start..end, total));
            }
        }
    }
}
