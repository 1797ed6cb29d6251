//! Growth for boosting: the leaf with the largest gain is split next, of all leaves or of those nearest to the root.
//!
//! The histogram of the smaller child is added up from its rows, that of the larger one is its parent's minus the
//! smaller one. A leaf that may not be split any more never gets a histogram.
//!
//! What dividing a leaf gives depends on that leaf alone, unless rules draw at random. So threads divide the leaves that
//! are next in line before it is known whether their turn comes, and `Line` splits them in the order of one thread: the
//! tree is the same on any number of threads.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::nodes::Tree;
use super::partition::{Spare, partition};
use super::rules::Rules;
use super::split::{Candidate, Criterion, Finder};
use super::sum::Sum;
use super::units::{self, Units, Workspace};
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

/// Work for a leaf (rows × features) from which it pays to divide it before its turn.
const AHEAD_WORK: usize = 10_000;

/// Leaves by thread that may be divided and wait for their turn.
const AHEAD: usize = 2;

/// Memory that trees reuse: one per boosting run.
#[derive(Default)]
pub struct Arena {
    histograms: Vec<Vec<Sum>>,
    /// One per thread.
    scratch: Vec<Scratch>,
}

/// What one thread divides leaves with.
#[derive(Default)]
struct Scratch {
    spare: Spare,
    workspace: Workspace,
    finder: Finder,
}

/// A grown tree and where the rows ended.
pub(crate) struct Grown {
    pub tree: Tree,
    /// Leaf node and its slice of the rows.
    pub leaves: Vec<(usize, Range<usize>, Sum)>,
}

/// Grows one tree over `rows`, which ascend and are reordered so that each leaf's are together, with `sums` by row of the dataset.
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
    rules: Option<&mut Rules<'_>>,
    arena: &mut Arena,
    importance: &mut [f64],
) -> Grown {
    let grower = Grower {
        units: Units::new(columns, packs, chosen),
        sums,
        criterion,
        limits,
        threads: rayon::current_num_threads(),
        ruled: rules.is_some(),
    };
    let totals = rows.par_chunks(units::PARALLEL_ROWS).map(|rows| {
        let of_row = rows.iter().map(|&r| sums[r as usize]);
        of_row.fold(Sum::ZERO, |a, b| a + b)
    });
    let total = totals.reduce(|| Sum::ZERO, |a, b| a + b);
    let mut scratch = arena.scratch.pop().unwrap_or_default();
    let slots = arena.histograms.pop().unwrap_or_default();
    let large = grower.units.work(rows.len()) >= 2 * AHEAD_WORK;
    let root = grower.root(rows, total, slots, &mut scratch);
    arena.scratch.push(scratch);
    let mut line = Line {
        tree: Tree::new(1),
        rules,
        importance,
        splits: limits.max_leaves - 1,
        waiting: BinaryHeap::new(),
        busy: Vec::new(),
        divided: BinaryHeap::new(),
        done: Vec::new(),
        threads: 1,
        arena,
    };
    line.put(&grower, 0, root);
    let line = Mutex::new(line);
    if large && grower.threads > 1 {
        rayon::in_place_scope(|scope| grower.work(&line, Some(scope)));
    } else {
        grower.work(&line, None);
    }
    line.into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .end()
}

/// When a leaf is split: the largest one is next.
#[derive(Clone, Copy, PartialEq)]
struct Turn {
    /// Leaves of a lower rank are split first: the depth in depth-wise growth, else 0.
    rank: u32,
    gain: f64,
    node: usize,
}

impl Eq for Turn {}
impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_rank = other.rank.cmp(&self.rank);
        by_rank
            .then(self.gain.total_cmp(&other.gain))
            .then_with(|| other.node.cmp(&self.node))
    }
}

/// A value that has its turn.
struct InTurn<T>(Turn, T);

impl<T> PartialEq for InTurn<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for InTurn<T> {}
impl<T> PartialOrd for InTurn<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for InTurn<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// The rows of a node.
struct Part<'r> {
    /// Where they are among the rows of the tree.
    start: usize,
    rows: &'r mut [u32],
    depth: u32,
    total: Sum,
    /// There if the node may be split.
    histogram: Option<Vec<Sum>>,
    /// The best split in the histogram, if there is one; rules look for it when they know the node.
    candidate: Option<Candidate>,
}

/// A leaf that may be split.
struct Leaf<'r> {
    start: usize,
    rows: &'r mut [u32],
    depth: u32,
    total: Sum,
    histogram: Vec<Sum>,
    candidate: Candidate,
}

/// Both sides of a leaf.
struct Divided<'r> {
    candidate: Candidate,
    total: Sum,
    sides: [Part<'r>; 2],
}

/// A tree as far as it has grown, and the leaves that are next.
struct Line<'r, 'c> {
    tree: Tree,
    rules: Option<&'r mut Rules<'c>>,
    importance: &'r mut [f64],
    /// Splits that are left.
    splits: usize,
    waiting: BinaryHeap<InTurn<Leaf<'r>>>,
    /// Turns of the leaves that are being divided.
    busy: Vec<Turn>,
    divided: BinaryHeap<InTurn<Divided<'r>>>,
    done: Vec<(usize, Range<usize>, Sum)>,
    /// Threads at work.
    threads: usize,
    arena: &'r mut Arena,
}

impl<'r> Line<'r, '_> {
    /// Splits leaves as long as the next one is divided.
    fn advance(&mut self, grower: &Grower<'_>) {
        while self.splits > 0
            && let Some(InTurn(turn, _)) = self.divided.peek()
            && self.waiting.peek().is_none_or(|w| w.0 < *turn)
            && self.busy.iter().all(|b| b < turn)
            && let Some(InTurn(turn, divided)) = self.divided.pop()
        {
            let Divided {
                candidate,
                total,
                sides,
            } = divided;
            self.splits -= 1;
            self.importance[usize::from(candidate.feature)] += candidate.gain;
            if let Some(rules) = &mut self.rules {
                rules.split(turn.node, grower.criterion, &candidate, total);
            }
            let child = self.tree.split(
                turn.node,
                candidate.feature,
                candidate.split,
                candidate.missing_left,
            );
            for (side, part) in sides.into_iter().enumerate() {
                self.put(grower, child + side, part);
            }
        }
    }

    /// Puts a node where it belongs: among the leaves that may be split, or among those that stay.
    fn put(&mut self, grower: &Grower<'_>, node: usize, mut part: Part<'r>) {
        if self.splits > 0
            && let (Some(rules), Some(histogram)) = (&mut self.rules, &part.histogram)
        {
            let (criterion, units) = (grower.criterion, &grower.units);
            let mut scratch = self.arena.scratch.pop().unwrap_or_default();
            let finder = &mut scratch.finder;
            part.candidate =
                units.best_by_rules(criterion, node, histogram, part.total, rules, finder);
            self.arena.scratch.push(scratch);
        }
        let worth = |c: &Candidate| c.gain > grower.limits.min_gain;
        match (part.histogram, part.candidate.filter(worth)) {
            (Some(histogram), Some(candidate)) if self.splits > 0 => {
                let turn = Turn {
                    rank: if grower.limits.depth_wise {
                        part.depth
                    } else {
                        0
                    },
                    gain: candidate.gain,
                    node,
                };
                let leaf = Leaf {
                    start: part.start,
                    rows: part.rows,
                    depth: part.depth,
                    total: part.total,
                    histogram,
                    candidate,
                };
                self.waiting.push(InTurn(turn, leaf));
            }
            (histogram, _) => {
                self.arena.histograms.extend(histogram);
                let range = part.start..part.start + part.rows.len();
                self.done.push((node, range, part.total));
            }
        }
    }

    /// Whether a leaf waits that is worth dividing now.
    fn any(&self, grower: &Grower<'_>) -> bool {
        self.waiting.peek().is_some_and(|InTurn(turn, leaf)| {
            let divided = self.divided.iter().map(|d| &d.0);
            let ahead = divided.chain(&self.busy).filter(|t| *t > turn).count();
            let large = || grower.units.work(leaf.rows.len()) >= AHEAD_WORK;
            // Behind as many leaves as there are splits, its turn never comes.
            ahead < self.splits && (ahead == 0 || ahead < AHEAD * grower.threads && large())
        })
    }

    fn end(self) -> Grown {
        let Line {
            mut done, arena, ..
        } = self;
        for InTurn(turn, leaf) in self.waiting {
            done.push((
                turn.node,
                leaf.start..leaf.start + leaf.rows.len(),
                leaf.total,
            ));
            arena.histograms.push(leaf.histogram);
        }
        for InTurn(turn, divided) in self.divided {
            let [left, right] = divided.sides;
            let end = right.start + right.rows.len();
            done.push((turn.node, left.start..end, divided.total));
            let histograms = [left, right].into_iter().filter_map(|p| p.histogram);
            arena.histograms.extend(histograms);
        }
        Grown {
            tree: self.tree,
            leaves: done,
        }
    }
}

struct Grower<'a> {
    units: Units<'a>,
    sums: &'a [Sum],
    criterion: &'a Criterion,
    limits: &'a Limits,
    threads: usize,
    ruled: bool,
}

impl Grower<'_> {
    /// Divides leaves until none is worth it, and lets others of the scope help.
    fn work<'s, 'r: 's>(&'s self, line: &'s Mutex<Line<'r, '_>>, scope: Option<&rayon::Scope<'s>>) {
        fn lock<'m, 'r, 'c>(line: &'m Mutex<Line<'r, 'c>>) -> MutexGuard<'m, Line<'r, 'c>> {
            // A panic in another thread ends the scope as well.
            line.lock().unwrap_or_else(PoisonError::into_inner)
        }
        let mut now = lock(line);
        while now.any(self)
            && let Some(InTurn(turn, leaf)) = now.waiting.pop()
        {
            let last = now.splits == 1;
            let mut scratch = now.arena.scratch.pop().unwrap_or_default();
            let slots = now.arena.histograms.pop().unwrap_or_default();
            now.busy.push(turn);
            if let Some(scope) = scope
                && now.threads < self.threads
                && now.any(self)
            {
                now.threads += 1;
                scope.spawn(move |scope| self.work(line, Some(scope)));
            }
            drop(now);
            let (divided, left_over) = self.divide(leaf, slots, last, &mut scratch);
            now = lock(line);
            now.busy.retain(|b| *b != turn);
            now.arena.histograms.extend(left_over);
            now.arena.scratch.push(scratch);
            now.divided.push(InTurn(turn, divided));
            now.advance(self);
        }
        now.threads -= 1;
    }

    fn may_split(&self, rows: usize, depth: u32) -> bool {
        (self.limits.max_depth == 0 || depth < self.limits.max_depth)
            && rows >= 2 * (self.criterion.min_leaf.max(1) as usize)
    }

    fn root<'r>(
        &self,
        rows: &'r mut [u32],
        total: Sum,
        mut slots: Vec<Sum>,
        scratch: &mut Scratch,
    ) -> Part<'r> {
        let splits = self.limits.max_leaves > 1 && self.may_split(rows.len(), 0);
        if splits {
            let workspace = &mut scratch.workspace;
            self.units
                .histogram(rows, self.sums, total, workspace, &mut slots);
        }
        let mut root = Part {
            start: 0,
            rows,
            depth: 0,
            total,
            histogram: splits.then_some(slots),
            candidate: None,
        };
        self.search(&mut root, scratch);
        root
    }

    /// Finds the best split of a node that may be split.
    fn search(&self, part: &mut Part<'_>, scratch: &mut Scratch) {
        if let Some(histogram) = &part.histogram
            && !self.ruled
        {
            let finder = &mut scratch.finder;
            part.candidate = self
                .units
                .best(self.criterion, histogram, part.total, finder);
        }
    }

    /// Parts the rows of a leaf by its candidate and searches both sides, unless it is the last split of a tree. Returns
    /// the histograms that are left over, of the leaf's own and the one that is lent.
    fn divide<'r>(
        &self,
        leaf: Leaf<'r>,
        mut slots: Vec<Sum>,
        last: bool,
        scratch: &mut Scratch,
    ) -> (Divided<'r>, impl Iterator<Item = Vec<Sum>> + use<'r>) {
        let candidate = leaf.candidate;
        let column = &self.units.columns[usize::from(candidate.feature)];
        // The sums know how many rows go where before they are moved.
        let lefts = candidate.left.count() as usize;
        let found = partition::<false>(
            column,
            &candidate.split,
            candidate.missing_left,
            leaf.rows,
            None,
            &mut scratch.spare,
        );
        debug_assert_eq!(found, lefts, "a candidate counts its rows");
        let (left, right) = leaf.rows.split_at_mut(lefts);
        let part = |start, rows, total| Part {
            start,
            rows,
            depth: leaf.depth + 1,
            total,
            histogram: None,
            candidate: None,
        };
        let mut sides = [
            part(leaf.start, left, candidate.left),
            part(leaf.start + lefts, right, leaf.total - candidate.left),
        ];
        let splits = sides
            .each_ref()
            .map(|part| !last && self.may_split(part.rows.len(), part.depth));
        let mut left_over = [None, None];
        if splits == [false; 2] {
            left_over = [Some(slots), Some(leaf.histogram)];
        } else {
            let small = usize::from(sides[1].rows.len() < sides[0].rows.len());
            let Part { rows, total, .. } = &sides[small];
            let workspace = &mut scratch.workspace;
            self.units
                .histogram(rows, self.sums, *total, workspace, &mut slots);
            let mut whole = leaf.histogram;
            histogram::subtract(&mut whole, &slots);
            for (side, slots) in [(small, slots), (1 - small, whole)] {
                if splits[side] {
                    sides[side].histogram = Some(slots);
                    self.search(&mut sides[side], scratch);
                } else {
                    left_over[side] = Some(slots);
                }
            }
        }
        let divided = Divided {
            candidate,
            total: leaf.total,
            sides,
        };
        (divided, left_over.into_iter().flatten())
    }
}
