//! Growth for boosting: the leaf with the largest gain is split next, of all leaves or of those nearest to the root.
//!
//! The histogram of the smaller child is added up from its rows, that of the larger one is its parent's minus the
//! smaller one. A leaf that may not be split any more never gets a histogram.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::histogram::{Table, add};
use super::nodes::Tree;
use super::partition::{Spare, partition};
use super::rules::Rules;
use super::split::{Candidate, Criterion, Finder};
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
    /// Whether the leaves of a level are split before those of the next.
    pub depth_wise: bool,
}

/// Units that are added up together.
const GROUP: usize = 4;

/// Work for one histogram (rows × features) from which it pays to share it among threads.
const PARALLEL_WORK: usize = 400_000;

struct Leaf {
    /// Leaves of a lower rank are split first: the depth in depth-wise growth, else 0.
    rank: u32,
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
        let by_rank = other.rank.cmp(&self.rank);
        by_rank
            .then(by_gain)
            .then_with(|| other.node.cmp(&self.node))
    }
}

/// Memory that trees reuse: one per boosting run.
#[derive(Default)]
pub struct Arena {
    spare: Spare,
    histograms: Vec<Vec<Sum>>,
    tables: Vec<Table>,
    gathered: Vec<Sum>,
    finder: Finder,
}

/// A grown tree and where the rows ended.
pub(crate) struct Grown {
    pub tree: Tree,
    /// Leaf node and its slice of the rows.
    pub leaves: Vec<(usize, std::ops::Range<usize>, Sum)>,
}

/// Grows one tree over `rows`, which are reordered so that each leaf's are together, with `sums` by row of the dataset.
/// `chosen` are the positions of the features to use, ascending. Gains are added to `importance` by feature. `rules` are
/// kept, if there are any.
#[expect(
    clippy::too_many_arguments,
    reason = "the inputs of one tree; a struct would only rename them"
)]
pub(crate) fn grow(
    columns: &[Column<'_>],
    packs: &[Pack],
    chosen: &[usize],
    rows: &mut [u32],
    sums: &[Sum],
    criterion: &Criterion,
    limits: &Limits,
    mut rules: Option<&mut Rules<'_>>,
    arena: &mut Arena,
    importance: &mut [f64],
) -> Grown {
    let units = units(columns, packs, chosen);
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
    let total = rows.iter().fold(Sum::ZERO, |a, &r| a + sums[r as usize]);
    let mut leaves = 1;

    let root = (0, 0, rows.len(), 0, total);
    if grower.may_split(rows.len(), 0, leaves) {
        let mut slots = arena.histograms.pop().unwrap_or_default();
        grower.histogram(rows, sums, total, arena, &mut slots);
        grower.offer(
            root,
            slots,
            rules.as_deref_mut(),
            arena,
            &mut heap,
            &mut done,
        );
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
            ..
        } = leaf;
        let column = &columns[usize::from(candidate.feature)];
        importance[usize::from(candidate.feature)] += candidate.gain;
        leaves += 1;
        // The sums know how many rows go where before they are moved.
        let lefts = candidate.left.count() as usize;
        let middle = start + lefts;
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
            None,
            &mut arena.spare,
        );
        debug_assert_eq!(found, lefts, "a candidate counts its rows");
        if let Some(rules) = &mut rules {
            rules.split(node, criterion, &candidate, total);
        }
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
            grower.histogram(&rows[range], sums, small.4, arena, &mut part);
            histogram::subtract(&mut whole, &part);
            for (slice, slots) in [(small, part), (large, whole)] {
                if splits(&slice) {
                    let rules = rules.as_deref_mut();
                    grower.offer(slice, slots, rules, arena, &mut heap, &mut done);
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
    /// Places of the features in a histogram.
    slots: usize,
}

fn units(columns: &[Column<'_>], packs: &[Pack], chosen: &[usize]) -> Vec<Unit> {
    let slots = |features: &[usize]| features.iter().map(|&f| columns[f].slots()).sum();
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
                slots: slots(&features),
                features,
            });
        }
    }
    let singles = chosen.iter().zip(single).filter(|(_, single)| *single);
    units.extend(singles.map(|(&f, _)| Unit {
        pack: None,
        slots: slots(&[f]),
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

    /// Sums by feature and code of the rows of a node.
    fn histogram(
        &self,
        rows: &[u32],
        sums: &[Sum],
        total: Sum,
        arena: &mut Arena,
        slots: &mut Vec<Sum>,
    ) {
        slots.resize(self.units.iter().map(|u| u.slots).sum(), Sum::ZERO);
        // In the order of the rows, for every unit to read them in a line.
        arena.gathered.clear();
        arena
            .gathered
            .extend(rows.iter().map(|&r| sums[r as usize]));
        let sums = &arena.gathered;
        let mut rest = slots.as_mut_slice();
        if rows.len() < histogram::PACK_ROWS {
            for &f in self.units.iter().flat_map(|u| &u.features) {
                let column = &self.columns[f];
                let (here, after) = rest.split_at_mut(column.slots());
                histogram::fill(column, rows, sums, total, here);
                rest = after;
            }
            return;
        }
        arena.tables.resize(self.units.len(), [Sum::ZERO; 256]);
        let mut groups = Vec::with_capacity(self.units.len().div_ceil(GROUP));
        for (units, tables) in self.units.chunks(GROUP).zip(arena.tables.chunks_mut(GROUP)) {
            let (here, after) = rest.split_at_mut(units.iter().map(|u| u.slots).sum());
            groups.push((units, tables, here));
            rest = after;
        }
        let fill = |(units, tables, slots): (&[Unit], &mut [Table], &mut [Sum])| {
            self.fill(units, rows, sums, tables, slots);
        };
        let features: usize = self.units.iter().map(|u| u.features.len()).sum();
        if rows.len() * features >= PARALLEL_WORK {
            groups.into_par_iter().for_each(fill);
        } else {
            groups.into_iter().for_each(fill);
        }
    }

    /// The part of the histogram that belongs to at most [`GROUP`] units. The tables are clear before and after.
    fn fill(
        &self,
        units: &[Unit],
        rows: &[u32],
        sums: &[Sum],
        tables: &mut [Table],
        mut slots: &mut [Sum],
    ) {
        let codes = |unit: &Unit| match unit.pack {
            Some((pack, _)) => &self.packs[pack].codes[..],
            None => self.columns[unit.features[0]].codes,
        };
        match units {
            [a, b, c, d] => add([codes(a), codes(b), codes(c), codes(d)], rows, sums, tables),
            [a, b, c] => add([codes(a), codes(b), codes(c)], rows, sums, tables),
            [a, b] => add([codes(a), codes(b)], rows, sums, tables),
            units => units
                .iter()
                .zip(tables.chunks_mut(1))
                .for_each(|(unit, table)| add([codes(unit)], rows, sums, table)),
        }
        for (unit, table) in units.iter().zip(tables) {
            let (mut here, after) = slots.split_at_mut(unit.slots);
            slots = after;
            match &unit.pack {
                Some((pack, places)) => {
                    let mut wanted = places.iter().peekable();
                    histogram::take_pack(&self.packs[*pack], table, |place, by_code| {
                        if wanted.next_if_eq(&&place).is_some() {
                            let (one, others) =
                                std::mem::take(&mut here).split_at_mut(by_code.len());
                            one.copy_from_slice(by_code);
                            here = others;
                        }
                    });
                }
                None => histogram::take(&self.columns[unit.features[0]], table, here),
            }
        }
    }

    /// Finds the best split of a leaf and puts the leaf where it belongs.
    fn offer(
        &self,
        (node, start, end, depth, total): Part,
        slots: Vec<Sum>,
        rules: Option<&mut Rules<'_>>,
        arena: &mut Arena,
        heap: &mut BinaryHeap<Leaf>,
        done: &mut Vec<(usize, std::ops::Range<usize>, Sum)>,
    ) {
        let found = match rules {
            Some(rules) => self.best_by_rules(node, &slots, total, rules, arena),
            None => self.best(&slots, total, arena),
        };
        match found.filter(|c| c.gain > self.limits.min_gain) {
            Some(candidate) => {
                heap.push(Leaf {
                    rank: if self.limits.depth_wise { depth } else { 0 },
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

    /// The best split of a leaf, if one is allowed.
    fn best(&self, slots: &[Sum], total: Sum, arena: &mut Arena) -> Option<Candidate> {
        let criterion = self.criterion.of_node(total);
        let mut found: Option<Candidate> = None;
        let mut at = 0;
        for &f in self.units.iter().flat_map(|u| &u.features) {
            let column = &self.columns[f];
            let here = &slots[at..at + column.slots()];
            at += column.slots();
            let missing = here.get(column.bins).copied().unwrap_or_default();
            let one = arena.finder.best_of_histogram(
                &criterion,
                column,
                f as u16,
                &here[..column.bins],
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
        found
    }

    /// The best split of a leaf of a tree that keeps rules.
    fn best_by_rules(
        &self,
        node: usize,
        slots: &[Sum],
        total: Sum,
        rules: &mut Rules<'_>,
        arena: &mut Arena,
    ) -> Option<Candidate> {
        let allowed = rules.features(node);
        let criterion = self.criterion.of_node(total);
        let mut found: Option<Candidate> = None;
        let mut at = 0;
        for &f in self.units.iter().flat_map(|u| &u.features) {
            let column = &self.columns[f];
            let here = &slots[at..at + column.slots()];
            at += column.slots();
            if allowed.binary_search(&f).is_err() {
                continue;
            }
            let missing = here.get(column.bins).copied().unwrap_or_default();
            let runs = &mut arena.finder.runs;
            let here = &here[..column.bins];
            let one = rules.best(node, &criterion, column, f, here, runs, missing, total);
            if let Some(one) = one
                && found.is_none_or(|b| (one.gain, b.feature) > (b.gain, one.feature))
            {
                found = Some(one);
            }
        }
        found
    }
}
