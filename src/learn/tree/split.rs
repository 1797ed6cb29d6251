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

    /// `S(G, H)` of a sum.
    #[inline]
    pub fn score(&self, sum: Sum) -> f64 {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0);
        g * g / (hessian + self.l2).max(1e-12)
    }

    /// The leaf value that minimises the second-order loss: `−G/(H + l2)` with the soft threshold.
    pub fn leaf(&self, sum: Sum) -> f64 {
        let (gradient, hessian) = self.parts(sum);
        let g = (gradient.abs() - self.l1).max(0.0).copysign(gradient);
        -g / (hessian + self.l2).max(1e-12)
    }

    #[inline]
    fn allowed(&self, sum: Sum) -> bool {
        sum.count() >= self.min_leaf
            && (self.min_leaf_hessian <= 0.0 || self.parts(sum).1 >= self.min_leaf_hessian)
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

/// The best split of the rows that `runs` and `missing` sum up, if one is allowed. `parent` is the score of the node.
pub(crate) fn best(
    criterion: &Criterion,
    column: &Column<'_>,
    feature: u16,
    runs: &mut Runs,
    missing: Sum,
    total: Sum,
) -> Option<Candidate> {
    let categorical = column.edges.is_none();
    if categorical {
        let key = |sum: Sum| {
            let (g, h) = criterion.parts(sum);
            g / (h + criterion.category_smoothing).max(1e-12)
        };
        runs.sort_by(|a, b| key(a.1).total_cmp(&key(b.1)).then(a.0.cmp(&b.0)));
    }
    let (place, missing_left, left, score) = scan(criterion, runs, missing, total)?;
    let split = match column.edges {
        Some(edges) => {
            // Half way through the empty codes to the next row; missing alone on the right leaves all numbers left.
            let code = match runs.get(place + 1) {
                Some(next) => ((u16::from(runs[place].0) + u16::from(next.0) - 1) / 2) as u8,
                None => (column.bins - 1) as u8,
            };
            let threshold = edges.get(usize::from(code)).copied().unwrap_or(f64::MAX);
            Split::AtMost { code, threshold }
        }
        None => {
            let mut set = [0_u64; 4];
            for (code, _) in &runs[..=place] {
                set[usize::from(code >> 6)] |= 1 << (code & 63);
            }
            Split::In(set)
        }
    };
    // Without missing rows to learn from, they follow the larger side.
    let missing_left = if missing.count() == 0 {
        left.count() * 2 >= total.count()
    } else {
        missing_left
    };
    let gain = score - criterion.score(total);
    Some(Candidate {
        gain,
        feature,
        split,
        missing_left,
        left,
    })
}

/// Tries every boundary between runs, with missing values on either side. Returns the last run on the left, the side
/// of missing values, the left sum and the score of both sides together; the first of equal ones wins.
#[inline]
fn scan(
    criterion: &Criterion,
    runs: &[(u8, Sum)],
    missing: Sum,
    total: Sum,
) -> Option<(usize, bool, Sum, f64)> {
    let mut best: Option<(usize, bool, Sum, f64)> = None;
    let none_missing = missing.count() == 0;
    // With missing values on the right, "all others left" is a boundary too.
    let boundaries = if none_missing {
        runs.len().saturating_sub(1)
    } else {
        runs.len()
    };
    for missing_left in [false, true] {
        if missing_left && none_missing {
            break;
        }
        let mut left = if missing_left { missing } else { Sum::ZERO };
        for (place, (_, sum)) in runs[..boundaries].iter().enumerate() {
            left += *sum;
            let right = total - left;
            if right.count() < criterion.min_leaf.max(1) {
                break;
            }
            if !criterion.allowed(left) || !criterion.allowed(right) {
                continue;
            }
            let score = criterion.score(left) + criterion.score(right);
            if best.is_none_or(|b| score > b.3) {
                best = Some((place, missing_left, left, score));
            }
        }
    }
    best
}
