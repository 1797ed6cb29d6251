//! The best split of a node on one feature.
//!
//! The gain is that of second-order boosting (Chen and Guestrin 2016, eq. 7) with L1 as soft threshold:
//! `S(G_left, H_left) + S(G_right, H_right) − S(G, H)` with `S(G, H) = max(|G| − l1, 0)² / (H + l2)`. With
//! `G = Σ w·y`, `H = Σ w` and no penalty this is the decrease of variance, and for 0/1 targets half the decrease of
//! the Gini impurity, so forests use the same code. Categories are ordered by `G / (H + smoothing)` and split
//! like numbers, which finds the best subset for one output (Fisher 1958; Breiman et al. 1984).

use super::Column;
use super::nodes::Split;
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
    /// Smallest hessian on either side.
    pub min_leaf_hessian: f64,
    /// Added to hessians when categories are put in order.
    pub category_smoothing: f64,
}

impl Criterion {
    /// Gradient and hessian of a sum.
    #[inline]
    pub fn parts(&self, sum: Sum) -> (f64, f64) {
        let gradient = sum.gradient() as f64 * self.unit.gradient_unit;
        // Below 2^40, so the detour over i64 is exact, and cheaper than from u64.
        let hessian = sum.hessian() as i64 as f64 * self.unit.hessian_unit;
        (gradient, hessian)
    }

    /// Numerator and denominator of `S(G, H)`, and `H` itself.
    #[inline]
    fn terms(&self, sum: Sum) -> (f64, f64, f64) {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0);
        (g * g, (hessian + self.l2).max(1e-12), hessian)
    }

    /// `S(G, H)` of a sum.
    pub fn score(&self, sum: Sum) -> f64 {
        let (square, weight, _) = self.terms(sum);
        square / weight
    }

    /// The leaf value that minimises the second-order loss: `−G/(H + l2)` with the soft threshold.
    pub fn leaf(&self, sum: Sum) -> f64 {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0).copysign(gradient);
        -g / (hessian + self.l2).max(1e-12)
    }
}

/// A split that could be made.
#[derive(Clone, Copy, Debug)]
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

/// The best split of the rows that `slots`, a histogram without its missing place, and `missing` sum up, if one is
/// allowed. `runs` is scratch space.
pub(crate) fn best_of_histogram(
    criterion: &Criterion,
    column: &Column<'_>,
    feature: u16,
    slots: &[Sum],
    runs: &mut Runs,
    missing: Sum,
    total: Sum,
) -> Option<Candidate> {
    let Some(edges) = column.edges else {
        runs_of_histogram(slots, runs);
        return best(criterion, column, feature, runs, missing, total);
    };
    let codes = slots
        .iter()
        .enumerate()
        .map(|(code, sum)| (code as u8, *sum));
    let found = scan(criterion, codes.filter(|r| r.1.count() > 0), missing, total)?;
    Some(numeric(
        criterion, column, edges, feature, &found, missing, total,
    ))
}

/// The best split of the rows that `runs` and `missing` sum up, if one is allowed.
pub(crate) fn best(
    criterion: &Criterion,
    column: &Column<'_>,
    feature: u16,
    runs: &mut Runs,
    missing: Sum,
    total: Sum,
) -> Option<Candidate> {
    if let Some(edges) = column.edges {
        let found = scan(criterion, runs.iter().copied(), missing, total)?;
        return Some(numeric(
            criterion, column, edges, feature, &found, missing, total,
        ));
    }
    let key = |sum: Sum| {
        let (g, h) = criterion.parts(sum);
        g / (h + criterion.category_smoothing).max(1e-12)
    };
    runs.sort_by(|a, b| key(a.1).total_cmp(&key(b.1)).then(a.0.cmp(&b.0)));
    let found = scan(criterion, runs.iter().copied(), missing, total)?;
    let mut set = [0_u64; 4];
    for (code, _) in &runs[..found.runs] {
        set[usize::from(code >> 6)] |= 1 << (code & 63);
    }
    Some(found.candidate(criterion, feature, Split::In(set), missing, total))
}

fn numeric(
    criterion: &Criterion,
    column: &Column<'_>,
    edges: &[f64],
    feature: u16,
    found: &Found,
    missing: Sum,
    total: Sum,
) -> Candidate {
    // Half way through the empty codes to the next row; missing alone on the right leaves all numbers left.
    let code = match found.next {
        Some(next) => ((u16::from(found.last) + u16::from(next) - 1) / 2) as u8,
        None => (column.bins - 1) as u8,
    };
    let threshold = edges.get(usize::from(code)).copied().unwrap_or(f64::MAX);
    let split = Split::AtMost { code, threshold };
    found.candidate(criterion, feature, split, missing, total)
}

/// A boundary between runs.
struct Found {
    /// How many runs are left of it.
    runs: usize,
    /// The code of the last of them.
    last: u8,
    /// The code of the first run right of it; none when only missing values are there.
    next: Option<u8>,
    missing_left: bool,
    left: Sum,
    /// The score of both sides together.
    score: f64,
}

impl Found {
    fn candidate(
        &self,
        criterion: &Criterion,
        feature: u16,
        split: Split,
        missing: Sum,
        total: Sum,
    ) -> Candidate {
        // Without missing rows to learn from, they follow the larger side.
        let missing_left = if missing.count() == 0 {
            self.left.count() * 2 >= total.count()
        } else {
            self.missing_left
        };
        Candidate {
            gain: self.score - criterion.score(total),
            feature,
            split,
            missing_left,
            left: self.left,
        }
    }
}

/// Tries every boundary between runs, with missing values on either side; the first of equal ones wins.
#[inline]
fn scan(
    criterion: &Criterion,
    runs: impl Iterator<Item = (u8, Sum)> + Clone,
    missing: Sum,
    total: Sum,
) -> Option<Found> {
    let none_missing = missing.count() == 0;
    let least = criterion.min_leaf.max(1);
    let mut best: Option<Found> = None;
    // Below every score, which is a sum of squares.
    let mut best_score = -1.0;
    for missing_left in [false, true] {
        if missing_left && none_missing {
            break;
        }
        let mut left = if missing_left { missing } else { Sum::ZERO };
        let mut try_here = |left: Sum, count: usize, last: u8, next: Option<u8>| {
            let right = total - left;
            let (left_square, left_weight, left_hessian) = criterion.terms(left);
            let (right_square, right_weight, right_hessian) = criterion.terms(right);
            // The sum of two fractions, compared without dividing.
            let sum = left_square * right_weight + right_square * left_weight;
            let weight = left_weight * right_weight;
            if sum > best_score * weight
                && left.count().min(right.count()) >= least
                && left_hessian.min(right_hessian) >= criterion.min_leaf_hessian
            {
                best_score = sum / weight;
                best = Some(Found {
                    runs: count,
                    last,
                    next,
                    missing_left,
                    left,
                    score: best_score,
                });
            }
        };
        let (mut count, mut last) = (0, 0);
        for (code, sum) in runs.clone() {
            if count > 0 && left.count() >= least {
                if total.count() - left.count() < least {
                    break;
                }
                try_here(left, count, last, Some(code));
            }
            left += sum;
            last = code;
            count += 1;
        }
        // With missing values on the right, "all others left" is a boundary too.
        if count > 0
            && !missing_left
            && !none_missing
            && left.count() + missing.count() == total.count()
        {
            try_here(left, count, last, None);
        }
    }
    best
}
