//! Best-first growth for boosting: the leaf with the largest gain is split next.
//!
//! The histogram of the smaller child is added up from its rows, that of the larger one is its parent's minus the
//! smaller one. A leaf that may not be split any more never gets a histogram.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::nodes::Tree;
use super::partition::{Spare, partition};
use super::split::{Candidate, Criterion, Runs, best, runs_of_histogram};
use super::sum::Sum;
use super::{Column, histogram};

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
    chosen: &[usize],
    rows: &mut [u32],
    sums: &mut [Sum],
    criterion: &Criterion,
    limits: &Limits,
    arena: &mut Arena,
    importance: &mut [f64],
) -> Grown {
    let grower = Grower {
        columns,
        chosen,
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

struct Grower<'a> {
    columns: &'a [Column<'a>],
    chosen: &'a [usize],
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
        let size = self.chosen.iter().map(|&f| self.columns[f].slots()).sum();
        slots.resize(size, Sum::ZERO);
        let mut parts = Vec::with_capacity(self.chosen.len());
        let mut rest = slots.as_mut_slice();
        for &f in self.chosen {
            let (part, after) = rest.split_at_mut(self.columns[f].slots());
            parts.push((&self.columns[f], part));
            rest = after;
        }
        if rows.len() * self.chosen.len() >= PARALLEL_WORK {
            parts
                .into_par_iter()
                .for_each(|(c, part)| histogram::fill(c, rows, sums, total, part));
        } else {
            parts
                .into_iter()
                .for_each(|(c, part)| histogram::fill(c, rows, sums, total, part));
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
        for &f in self.chosen {
            let column = &self.columns[f];
            let here = &slots[at..at + column.slots()];
            at += column.slots();
            runs_of_histogram(&here[..column.bins], &mut arena.runs);
            let missing = here.get(column.bins).copied().unwrap_or_default();
            let feature = f as u16;
            let one = best(
                self.criterion,
                column,
                feature,
                &mut arena.runs,
                missing,
                total,
            );
            if let Some(one) = one
                && found.is_none_or(|b| one.gain > b.gain)
            {
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
