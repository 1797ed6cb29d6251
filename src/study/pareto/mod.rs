//! Several directions: which trials no other beats, in which order the rest come, and how much they reach together.
//!
//! **Contract.** Points are losses: one number per direction, smaller is better, none NaN, all points of one length.
//! [`TrialRecord::losses`] turns values into them. Infinite losses are allowed. Nothing here depends on more than the
//! points and their order.
//!
//! Ranks are found by an efficient non-dominated sort (Zhang, Tian, Cheng and Jin 2015), crowding as in Deb et al., *A Fast
//! and Elitist Multiobjective Genetic Algorithm: NSGA-II* (2002). What is chosen and measured equals Optuna 5.

mod choice;
#[cfg(test)]
pub(in crate::study) mod tests;
mod volume;

use std::cmp::Ordering;

use super::record::{Direction, TrialRecord};

pub use choice::largest_volume;
pub(in crate::study) use choice::{best_together, ranks_of};
pub use volume::hypervolume;

impl TrialRecord {
    /// The values of a complete trial turned so that smaller is better; empty when it has none.
    pub fn losses(&self, directions: &[Direction]) -> Vec<f64> {
        let values = self.values.iter().zip(directions);
        values.map(|(value, d)| d.loss(*value)).collect()
    }
}

/// Whether `a` is nowhere worse than `b` and somewhere better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(x, y)| x <= y) && a.iter().zip(b).any(|(x, y)| x < y)
}

/// The places of the points that no other dominates, ascending. Equal points are all among them or none is.
pub fn front(points: &[Vec<f64>]) -> Vec<usize> {
    let ranks = ranks_until(points, 1);
    (0..points.len()).filter(|i| ranks[*i] == 0).collect()
}

/// The rank of each point, from 0: how many fronts must be taken away before no other point dominates it.
///
/// Takes time n log n for two directions, and up to n² for more.
pub fn ranks(points: &[Vec<f64>]) -> Vec<usize> {
    ranks_until(points, usize::MAX)
}

/// Ranks below `least`; all others count as `least`.
fn ranks_until(points: &[Vec<f64>], least: usize) -> Vec<usize> {
    let mut ranks = vec![least; points.len()];
    // Of each front, its points in the order in which they were found.
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    let order = order(points);
    for (at, &i) in order.iter().enumerate() {
        if let Some(&before) = at.checked_sub(1).and_then(|at| order.get(at))
            && points[before] == points[i]
        {
            ranks[i] = ranks[before];
            continue;
        }
        // Whatever dominates a point comes before it, and what a front dominates, the fronts before it dominate too.
        let rank = fronts.partition_point(|front| beaten(&points[i], front, points));
        if rank == fronts.len() && rank < least {
            fronts.push(Vec::new());
        }
        if let Some(front) = fronts.get_mut(rank) {
            front.push(i);
            ranks[i] = rank;
        }
    }
    ranks
}

/// Whether a point of `front` dominates `point`, which differs from all of them and comes after them.
fn beaten(point: &[f64], front: &[usize], points: &[Vec<f64>]) -> bool {
    let covers = |&i: &usize| points[i].iter().zip(point).all(|(a, b)| a <= b);
    match point.len() {
        // In a front of two directions the second loss falls while the first rises: the last point is the one to ask.
        0..=2 => front.last().is_some_and(covers),
        _ => front.iter().rev().any(covers),
    }
}

/// The places of the points from the smallest to the largest, loss by loss; equal points in their own order.
fn order(points: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| compare(&points[*a], &points[*b]));
    order
}

fn compare(a: &[f64], b: &[f64]) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

/// How far each point is from its neighbours: the sum over directions of the gap between the one below and the one above,
/// in units of the range. Infinite at both ends of a direction; a direction in which all are equal does not count.
pub fn crowding(points: &[Vec<f64>]) -> Vec<f64> {
    let mut distances = vec![0.0; points.len()];
    let mut order: Vec<usize> = (0..points.len()).collect();
    for d in 0..points.first().map_or(0, Vec::len) {
        // Stable: among equals the direction before decides, as in Optuna.
        order.sort_by(|a, b| compare(&points[*a][d..=d], &points[*b][d..=d]));
        let sorted: Vec<f64> = order.iter().map(|&i| points[i][d]).collect();
        if sorted.first() == sorted.last() {
            continue;
        }
        let low = sorted.iter().find(|v| **v != f64::NEG_INFINITY);
        let high = sorted.iter().rfind(|v| **v != f64::INFINITY);
        let range = match (low, high) {
            (Some(low), Some(high)) if high > low => high - low,
            _ => 1.0,
        };
        for (at, &i) in order.iter().enumerate() {
            let below = at.checked_sub(1).map_or(f64::NEG_INFINITY, |b| sorted[b]);
            let above = sorted.get(at + 1).copied().unwrap_or(f64::INFINITY);
            // Two that are infinite on the same side are not apart.
            if below != above {
                distances[i] += (above - below) / range;
            }
        }
    }
    distances
}
