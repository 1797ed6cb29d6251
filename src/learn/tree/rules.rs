//! Rules that some trees of boosting keep: features drawn by level and by node, thresholds drawn at random, constraints on
//! the direction of a feature's effect and on which features may meet on a path.
//!
//! Directions are kept as by LightGBM's basic method: a split on such a feature sends the halves of its node's outputs
//! to its sides, with the middle of both outputs as the bound, and the outputs of all nodes below stay within their bounds.
//! Trees without rules never come here.

use rand::Rng as _;

use super::Column;
use super::nodes::Split;
use super::split::{Candidate, Criterion, Runs, runs_of_histogram};
use super::sum::Sum;
use crate::seed::Rng;

/// What a rule says of features; one entry per feature, or none at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constraints {
    /// 1: predictions must not fall as the feature grows; -1: they must not rise; 0: anything.
    pub directions: Vec<i8>,
    /// The groups that each feature is in; features meet on a path only inside of a group.
    pub groups: Vec<Vec<u32>>,
}

/// The rules of one tree, and what they mean at each of its nodes.
pub(crate) struct Rules<'a> {
    pub constraints: &'a Constraints,
    /// Share of the tree's features that the nodes of a level see.
    pub level_share: f64,
    /// Share of the level's features that a node sees.
    pub node_share: f64,
    /// Whether thresholds are drawn at random.
    pub random: bool,
    /// Positions of the tree's features.
    chosen: &'a [usize],
    rng: &'a mut Rng,
    /// Features by level.
    levels: Vec<Vec<usize>>,
    /// By node of the tree.
    nodes: Vec<Node>,
}

/// What the rules leave of a node.
#[derive(Clone)]
struct Node {
    depth: usize,
    /// Bounds of its output.
    low: f64,
    high: f64,
    /// The groups that hold every feature of its path; none before the first split.
    groups: Option<Vec<u32>>,
}

impl<'a> Rules<'a> {
    pub fn new(
        constraints: &'a Constraints,
        (level_share, node_share): (f64, f64),
        random: bool,
        chosen: &'a [usize],
        rng: &'a mut Rng,
    ) -> Self {
        let root = Node {
            depth: 0,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            groups: None,
        };
        Rules {
            constraints,
            level_share,
            node_share,
            random,
            chosen,
            rng,
            levels: Vec::new(),
            nodes: vec![root],
        }
    }

    /// A leaf's output within its bounds.
    pub fn bounded(&self, node: usize, output: f64) -> f64 {
        let node = &self.nodes[node];
        output.clamp(node.low, node.high)
    }

    /// Notes a split of `node`, whose children follow all nodes so far.
    pub fn split(&mut self, node: usize, criterion: &Criterion, split: &Candidate, total: Sum) {
        let parent = self.nodes[node].clone();
        let feature = usize::from(split.feature);
        let groups = self
            .constraints
            .groups
            .get(feature)
            .map(|own| match &parent.groups {
                None => own.clone(),
                Some(path) => path.iter().copied().filter(|g| own.contains(g)).collect(),
            });
        let child = Node {
            depth: parent.depth + 1,
            groups,
            ..parent
        };
        let (mut left, mut right) = (child.clone(), child);
        let direction = self
            .constraints
            .directions
            .get(feature)
            .copied()
            .unwrap_or(0);
        if direction != 0 {
            let outputs =
                [split.left, total - split.left].map(|sum| self.bounded(node, criterion.leaf(sum)));
            let middle = outputs[0] / 2.0 + outputs[1] / 2.0;
            let (lower, upper) = if direction > 0 {
                (&mut left, &mut right)
            } else {
                (&mut right, &mut left)
            };
            lower.high = middle;
            upper.low = middle;
        }
        self.nodes.extend([left, right]);
    }

    /// The features that a node may be split on, ascending.
    pub fn features(&mut self, node: usize) -> Vec<usize> {
        let depth = self.nodes[node].depth;
        while self.levels.len() <= depth {
            let level = share(self.chosen, self.level_share, self.rng);
            self.levels.push(level);
        }
        let mut allowed = self.levels[depth].clone();
        if let Some(path) = &self.nodes[node].groups {
            let groups = &self.constraints.groups;
            allowed.retain(|f| groups[*f].iter().any(|g| path.contains(g)));
        }
        share(&allowed, self.node_share, self.rng)
    }

    /// The best split of `node` on one feature, if one is allowed. `slots` is its histogram without the missing place.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inputs of one search; a struct would only rename them"
    )]
    pub fn best(
        &mut self,
        node: usize,
        criterion: &Criterion,
        column: &Column<'_>,
        feature: usize,
        slots: &[Sum],
        runs: &mut Runs,
        missing: Sum,
        total: Sum,
    ) -> Option<Candidate> {
        runs_of_histogram(slots, runs);
        let any_missing = missing.count() > 0;
        if runs.len() + usize::from(any_missing) < 2 || runs.is_empty() {
            return None;
        }
        if column.edges.is_none() {
            criterion.order(runs);
        }
        let boundaries = if self.random {
            // Uniform over bins, as in LightGBM.
            let (first, last) = (runs[0].0, runs[runs.len() - 1].0);
            let drawn =
                |n: usize, rng: &mut Rng| ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize;
            let at = if runs.len() == 1 {
                1
            } else if column.edges.is_some() {
                let code = first + drawn(usize::from(last - first), self.rng) as u8;
                runs.partition_point(|r| r.0 <= code)
            } else {
                1 + drawn(runs.len() - 1, self.rng)
            };
            at..at + 1
        } else {
            1..runs.len() + 1
        };
        let bounds = &self.nodes[node];
        let direction = self
            .constraints
            .directions
            .get(feature)
            .copied()
            .unwrap_or(0);
        let value = |sum: Sum| {
            let output = criterion.leaf(sum).clamp(bounds.low, bounds.high);
            (output, criterion.score_at(sum, output))
        };
        let least = criterion.min_leaf.max(1);
        let mut best: Option<Candidate> = None;
        for missing_left in [false, true] {
            if missing_left && !any_missing {
                break;
            }
            let mut left = if missing_left { missing } else { Sum::ZERO };
            for (i, (last, sum)) in runs.iter().enumerate() {
                left += *sum;
                let count = i + 1;
                let right = total - left;
                let counts = left.count().min(right.count());
                if !boundaries.contains(&count) || counts < least {
                    continue;
                }
                let hessian = criterion.parts(left).1.min(criterion.parts(right).1);
                if hessian < criterion.min_leaf_hessian {
                    continue;
                }
                let ((left_output, left_score), (right_output, right_score)) =
                    (value(left), value(right));
                let rise = right_output - left_output;
                if f64::from(direction) * rise < 0.0 {
                    continue;
                }
                let gain = left_score + right_score - criterion.score(total);
                if best.is_some_and(|b| gain <= b.gain) {
                    continue;
                }
                let split = match column.edges {
                    Some(edges) => {
                        // Half way through the empty codes to the next row.
                        let code = match runs.get(count) {
                            Some((next, _)) => {
                                ((u16::from(*last) + u16::from(*next) - 1) / 2) as u8
                            }
                            None => (column.bins - 1) as u8,
                        };
                        let threshold = edges.get(usize::from(code)).copied().unwrap_or(f64::MAX);
                        Split::AtMost { code, threshold }
                    }
                    None => {
                        let mut set = [0_u64; 4];
                        for (code, _) in &runs[..count] {
                            set[usize::from(code >> 6)] |= 1 << (code & 63);
                        }
                        Split::In(set)
                    }
                };
                best = Some(Candidate {
                    gain,
                    feature: feature as u16,
                    split,
                    missing_left: if any_missing {
                        missing_left
                    } else {
                        left.count() * 2 >= total.count()
                    },
                    left,
                });
            }
        }
        best
    }
}

/// A random share of `from`, at least one of them if there are any, in order (Knuth, algorithm S).
fn share(from: &[usize], share: f64, rng: &mut Rng) -> Vec<usize> {
    let n = from.len();
    let take = ((n as f64 * share).round() as usize).clamp(n.min(1), n);
    if take == n {
        return from.to_vec();
    }
    let mut taken = Vec::with_capacity(take);
    for (i, feature) in from.iter().enumerate() {
        let needed = (take - taken.len()) as u64;
        if (u64::from(rng.next_u32()) * (n - i) as u64) >> 32 < needed {
            taken.push(*feature);
        }
    }
    taken
}
