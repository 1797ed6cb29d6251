//! The best split of a node on one feature.
//!
//! The gain is that of second-order boosting (Chen and Guestrin 2016, eq. 7) with L1 as soft threshold:
//! `S(G_left, H_left) + S(G_right, H_right) − S(G, H)` with `S(G, H) = max(|G| − l1, 0)² / (H + l2)`. With
//! `G = Σ w·y`, `H = Σ w` and no penalty this is the decrease of variance, and for 0/1 targets half the decrease of
//! the Gini impurity, so forests use the same code. Categories are ordered by `G / (H + smoothing)` and split
//! like numbers, which finds the best subset for one output (Fisher 1958; Breiman et al. 1984).

use super::Column;
use super::nodes::Split;
use super::scan::{Boundary, Scan};
use super::sum::{FixedPoint, Sum};

/// What a split must respect and how its gain is computed.
#[derive(Clone, Copy, Debug)]
pub struct Criterion {
    /// Units of the sums.
    pub unit: FixedPoint,
    /// Soft threshold of gradients.
    pub l1: f64,
    /// Added to hessians.
    pub l2: f64,
    /// Fewest rows on either side.
    pub min_leaf: u32,
    /// Whether `min_leaf` counts rows by their share of the node's hessian; see [`Criterion::of_node`].
    pub rows_by_hessian: bool,
    /// Smallest hessian on either side.
    pub min_leaf_hessian: f64,
    /// Added to hessians when categories are put in order.
    pub category_smoothing: f64,
}

impl Criterion {
    /// The criterion for the sides of a node with this sum. Where rows are counted by their hessian, a limit of rows
    /// becomes one of hessian.
    pub fn of_node(&self, total: Sum) -> Criterion {
        if !self.rows_by_hessian || total.count() == 0 {
            return *self;
        }
        let mean = self.parts(total).1 / f64::from(total.count());
        Criterion {
            min_leaf: 1,
            min_leaf_hessian: self.min_leaf_hessian.max(f64::from(self.min_leaf) * mean),
            ..*self
        }
    }

    /// Gradient and hessian of a sum.
    #[inline(always)]
    pub fn parts(&self, sum: Sum) -> (f64, f64) {
        let (gradient, hessian) = sum.to_f64();
        (
            gradient * self.unit.gradient_unit,
            hessian * self.unit.hessian_unit,
        )
    }

    /// `S(G, H)` of a sum.
    pub fn score(&self, sum: Sum) -> f64 {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0);
        g * g / (hessian + self.l2).max(1e-12)
    }

    /// `S` of the left side plus `S` of the right one, given the left sum and the gradient and hessian of both sides: two
    /// fractions under one division.
    #[inline(always)]
    pub(super) fn both(&self, left: Sum, gradient: f64, hessian: f64) -> f64 {
        let (g, h) = self.parts(left);
        let square = |g: f64| {
            let g = g.abs() - self.l1;
            let g = if g > 0.0 { g } else { 0.0 };
            g * g
        };
        let weight = |h: f64| {
            let h = h + self.l2;
            if h > 1e-12 { h } else { 1e-12 }
        };
        // Both are whole numbers of units below 2^51, so the differences are exact.
        let (left, right) = (weight(h), weight(hessian - h));
        (square(g) * right + square(gradient - g) * left) / (left * right)
    }

    /// Whether the second word of a sum, see [`Sum::words`], has rows and hessian enough for a leaf.
    pub(super) fn enough(&self) -> impl Fn(u64) -> bool + Copy + use<> {
        let rows = self.min_leaf.max(1);
        let hessian = self.min_leaf_hessian / self.unit.hessian_unit;
        let whole = hessian as u64;
        let hessian = whole + u64::from((whole as f64) < hessian);
        move |word| {
            let sum = Sum::of_words(0, word);
            sum.count() >= rows && sum.hessian() >= hessian
        }
    }

    /// The leaf value that minimises the second-order loss: `−G/(H + l2)` with the soft threshold.
    pub fn leaf(&self, sum: Sum) -> f64 {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0).copysign(gradient);
        -g / (hessian + self.l2).max(1e-12)
    }

    /// `S` of a sum whose leaf has another value than [`Criterion::leaf`]; it is largest at that one.
    pub(super) fn score_at(&self, sum: Sum, value: f64) -> f64 {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0).copysign(gradient);
        -(2.0 * g * value + (hessian + self.l2).max(1e-12) * value * value)
    }

    /// Puts the levels of a category in the order in which they are split.
    pub(super) fn order(&self, runs: &mut Runs) {
        let key = |sum: Sum| {
            let (g, h) = self.parts(sum);
            g / (h + self.category_smoothing).max(1e-12)
        };
        runs.sort_by(|a, b| key(a.1).total_cmp(&key(b.1)).then(a.0.cmp(&b.0)));
    }
}

/// A split that could be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// How much the score grows.
    pub gain: f64,
    /// Position of the feature.
    pub feature: u16,
    /// Which rows go left.
    pub split: Split,
    /// Whether missing values go left.
    pub missing_left: bool,
    /// The sum of the left side.
    pub left: Sum,
}

/// Non-empty codes of a node in ascending order with their sums.
pub(crate) type Runs = Vec<(u8, Sum)>;

/// Collects the non-empty codes of a histogram without its missing place.
pub(crate) fn runs_of_histogram(slots: &[Sum], runs: &mut Runs) {
    runs.clear();
    for (code, &sum) in slots.iter().enumerate() {
        if sum.count() > 0 {
            runs.push((code as u8, sum));
        }
    }
}

/// Finds splits; holds the scratch space for it.
#[derive(Default)]
pub(crate) struct Finder {
    /// The codes of a node that [`Finder::best_of_runs`] reads.
    pub runs: Runs,
    scan: Scan,
}

impl Finder {
    /// The best split of the rows that `slots`, a histogram without its missing place, and `missing` sum up, if one is
    /// allowed.
    pub fn best_of_histogram(
        &mut self,
        criterion: &Criterion,
        column: &Column<'_>,
        feature: u16,
        slots: &[Sum],
        missing: Sum,
        total: Sum,
    ) -> Option<Candidate> {
        let Some(edges) = column.edges else {
            runs_of_histogram(slots, &mut self.runs);
            return self.best_of_runs(criterion, column, feature, missing, total);
        };
        let slots = slots.iter().copied();
        self.best_of_numbers(criterion, column, edges, feature, slots, missing, total)
    }

    /// The same for the places of a numeric feature in order, empty ones among them.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inputs of one search; a struct would only rename them"
    )]
    #[inline(always)]
    pub fn best_of_numbers(
        &mut self,
        criterion: &Criterion,
        column: &Column<'_>,
        edges: &[f64],
        feature: u16,
        slots: impl ExactSizeIterator<Item = Sum> + Clone,
        missing: Sum,
        total: Sum,
    ) -> Option<Candidate> {
        let found = self.scan.best(criterion, slots.clone(), missing, total)?;
        let next = slots
            .skip(found.last + 1)
            .position(|s| s.count() > 0)
            .map(|after| found.last + 1 + after);
        let split = numeric(column, edges, found.last, next);
        Some(candidate(criterion, feature, split, &found, missing, total))
    }

    /// The best split of the rows that `self.runs` and `missing` sum up, if one is allowed. The runs of a category are
    /// put into another order.
    pub fn best_of_runs(
        &mut self,
        criterion: &Criterion,
        column: &Column<'_>,
        feature: u16,
        missing: Sum,
        total: Sum,
    ) -> Option<Candidate> {
        let runs = &mut self.runs;
        if column.edges.is_none() {
            criterion.order(runs);
        }
        let sums = runs.iter().map(|r| r.1);
        let found = self.scan.best(criterion, sums, missing, total)?;
        let split = match column.edges {
            Some(edges) => {
                let next = runs.get(found.last + 1).map(|r| usize::from(r.0));
                numeric(column, edges, usize::from(runs[found.last].0), next)
            }
            None => {
                let mut set = [0_u64; 4];
                for (code, _) in &runs[..=found.last] {
                    set[usize::from(code >> 6)] |= 1 << (code & 63);
                }
                Split::In(set)
            }
        };
        Some(candidate(criterion, feature, split, &found, missing, total))
    }
}

/// The threshold between the last code on the left and the next one that a row has; none when only missing values are on
/// the right, and all numbers go left.
fn numeric(column: &Column<'_>, edges: &[f64], last: usize, next: Option<usize>) -> Split {
    // Half way through the empty codes between them.
    let code = next.map_or(column.bins - 1, |next| (last + next - 1) / 2);
    let threshold = edges.get(code).copied().unwrap_or(f64::MAX);
    Split::AtMost {
        code: code as u8,
        threshold,
    }
}

fn candidate(
    criterion: &Criterion,
    feature: u16,
    split: Split,
    found: &Boundary,
    missing: Sum,
    total: Sum,
) -> Candidate {
    // Without missing rows to learn from, they follow the larger side.
    let missing_left = if missing.count() == 0 {
        found.left.count() * 2 >= total.count()
    } else {
        found.missing_left
    };
    Candidate {
        gain: found.score - criterion.score(total),
        feature,
        split,
        missing_left,
        left: found.left,
    }
}
