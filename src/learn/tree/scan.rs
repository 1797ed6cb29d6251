//! The best boundary in a row of sums: the inner loop of every split.
//!
//! Sums to the left of each boundary are added up as integers, the boundaries that limits allow are a range because
//! counts and hessians only grow, and the scores in that range are a loop without branches that runs on as many lanes
//! as the machine has. Of equal boundaries the first one wins.

use super::split::Criterion;
use super::sum::Sum;
use crate::stats::simd::widest;

/// Places that one feature can have: its codes, without the missing one.
const PLACES: usize = 255;

/// Up to this many places a plain loop is faster.
const FEW: usize = 8;

/// From this many boundaries on it pays to ask the machine for wide instructions.
const WIDE: usize = 16;

/// A boundary behind place `last`.
pub(crate) struct Boundary {
    /// The last place on the left.
    pub last: usize,
    /// Whether missing values are on the left.
    pub missing_left: bool,
    /// The sum of the left side, with missing values if they are there.
    pub left: Sum,
    /// The score of both sides together.
    pub score: f64,
}

/// Scratch space of scans.
pub(crate) struct Scan {
    /// Sums of the places up to each one, gradients apart from hessians with counts.
    gradients: [i64; PLACES],
    hessians: [u64; PLACES],
    scores: [f64; PLACES],
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            gradients: [0; PLACES],
            hessians: [0; PLACES],
            scores: [0.0; PLACES],
        }
    }
}

impl Scan {
    /// Tries the boundaries behind every one of `sums`, at most 255 of them, with the `missing` ones on either side.
    /// `total` is the sum of them all.
    pub fn best(
        &mut self,
        criterion: &Criterion,
        sums: impl ExactSizeIterator<Item = Sum> + Clone,
        missing: Sum,
        total: Sum,
    ) -> Option<Boundary> {
        if sums.len() <= FEW {
            return few(criterion, sums, missing, total);
        }
        let mut places = 0;
        let mut left = Sum::ZERO;
        let prefixes = self.gradients.iter_mut().zip(&mut self.hessians);
        for ((gradient, hessian), sum) in prefixes.zip(sums) {
            left += sum;
            (*gradient, *hessian) = left.words();
            places += 1;
        }
        let mut best = self.one_way(criterion, places, Sum::ZERO, total, -1.0);
        if missing.count() > 0 {
            let before = best.as_ref().map_or(-1.0, |b| b.score);
            if let Some(better) = self.one_way(criterion, places, missing, total, before) {
                best = Some(Boundary {
                    missing_left: true,
                    ..better
                });
            }
        }
        best
    }

    /// The best boundary above `least`, with `before` on the left as well.
    #[inline(always)]
    fn one_way(
        &mut self,
        criterion: &Criterion,
        places: usize,
        before: Sum,
        total: Sum,
        least: f64,
    ) -> Option<Boundary> {
        let hessians = &self.hessians[..places];
        let hessian_before = before.words().1;
        let whole = total.words().1;
        let enough = criterion.enough();
        let first = hessians.partition_point(|h| !enough(*h + hessian_before));
        let end =
            first + hessians[first..].partition_point(|h| enough(whole - *h - hessian_before));
        let gradients = &self.gradients[first..end];
        let hessians = &hessians[first..end];
        let scores = &mut self.scores[first..end];
        let ends = (before, criterion.parts(total));
        let largest = if gradients.len() < WIDE {
            fill(criterion, ends, gradients, hessians, scores)
        } else {
            widest(
                #[inline(always)]
                || fill(criterion, ends, gradients, hessians, scores),
            )
        };
        if largest <= least {
            return None;
        }
        let at = first + self.scores[first..end].iter().position(|s| *s == largest)?;
        Some(Boundary {
            last: at,
            missing_left: false,
            left: Sum::of_words(self.gradients[at], self.hessians[at]) + before,
            score: largest,
        })
    }
}

/// Scores compared side by side.
const LANES: usize = 8;

/// Writes the score of every boundary and returns the largest, or -1 if there is none. `ends` are the sum before the first
/// place, and gradient and hessian of all rows.
#[inline(always)]
fn fill(
    criterion: &Criterion,
    ends: (Sum, (f64, f64)),
    gradients: &[i64],
    hessians: &[u64],
    scores: &mut [f64],
) -> f64 {
    let (before, (gradient, hessian)) = ends;
    // One loop that only computes, one that only compares: each is vectorized.
    for ((score, g), h) in scores.iter_mut().zip(gradients).zip(hessians) {
        *score = criterion.both(Sum::of_words(*g, *h) + before, gradient, hessian);
    }
    let larger = |a: f64, b: f64| if b > a { b } else { a };
    let mut largest = [-1.0; LANES];
    let (blocks, rest) = scores.as_chunks::<LANES>();
    for block in blocks {
        for (largest, score) in largest.iter_mut().zip(block) {
            *largest = larger(*largest, *score);
        }
    }
    rest.iter().chain(&largest).copied().fold(-1.0, larger)
}

/// [`Scan::best`] for few places: the same numbers, one after the other.
#[inline]
fn few(
    criterion: &Criterion,
    sums: impl Iterator<Item = Sum> + Clone,
    missing: Sum,
    total: Sum,
) -> Option<Boundary> {
    let enough = criterion.enough();
    let (gradient, hessian) = criterion.parts(total);
    let mut best: Option<Boundary> = None;
    let mut largest = -1.0;
    for missing_left in [false, true] {
        if missing_left && missing.count() == 0 {
            break;
        }
        let mut left = if missing_left { missing } else { Sum::ZERO };
        for (last, sum) in sums.clone().enumerate() {
            left += sum;
            if enough(left.words().1) && enough((total - left).words().1) {
                let score = criterion.both(left, gradient, hessian);
                if score > largest {
                    largest = score;
                    best = Some(Boundary {
                        last,
                        missing_left,
                        left,
                        score,
                    });
                }
            }
        }
    }
    best
}
