//! Choosing some of many trials or points: rank by rank, and of the rank that does not fit as a whole, those that
//! dominate the largest volume together.

use crate::study::record::{Direction, TrialRecord, TrialState};

use super::volume::own;
use super::{order, ranks};

/// The rank of each of `trials`, all complete: those that hold their constraints by their losses, then the others by how much
/// they break them.
pub(in crate::study) fn ranks_of(trials: &[&TrialRecord], directions: &[Direction]) -> Vec<usize> {
    let (feasible, broken): (Vec<usize>, Vec<usize>) =
        (0..trials.len()).partition(|i| trials[*i].is_feasible());
    let mut all = vec![0; trials.len()];
    let mut rank_all = |places: &[usize], points: Vec<Vec<f64>>, from: usize| {
        let mut next = from;
        for (i, rank) in places.iter().zip(ranks(&points)) {
            all[*i] = from + rank;
            next = next.max(from + rank + 1);
        }
        next
    };
    let losses = feasible.iter().map(|i| trials[*i].losses(directions));
    let next = rank_all(&feasible, losses.collect(), 0);
    let violations = broken.iter().map(|i| vec![trials[*i].violation()]);
    rank_all(&broken, violations.collect(), next);
    all
}

/// The `n` best of several directions, in no particular order.
///
/// Complete and feasible trials by rank, the last rank by [`largest_volume`]; then pruned ones, by number; then those that
/// break their constraints, by how much.
pub(in crate::study) fn best_together(
    trials: &[&TrialRecord],
    directions: &[Direction],
    n: usize,
) -> Vec<usize> {
    let (feasible, mut broken): (Vec<usize>, Vec<usize>) =
        (0..trials.len()).partition(|i| trials[*i].is_feasible());
    let (complete, pruned): (Vec<usize>, Vec<usize>) = feasible
        .into_iter()
        .partition(|i| trials[*i].state == TrialState::Complete);
    let losses = |i: &usize| trials[*i].losses(directions);
    let points: Vec<Vec<f64>> = complete.iter().map(losses).collect();
    let mut chosen: Vec<usize> = best(&points, n)
        .into_iter()
        .map(|at| complete[at])
        .collect();
    broken.sort_by(|a, b| trials[*a].violation().total_cmp(&trials[*b].violation()));
    chosen.extend(pruned.into_iter().chain(broken).take(n - chosen.len()));
    chosen
}

/// The places of the `n` best points, or of all when there are no more.
fn best(points: &[Vec<f64>], n: usize) -> Vec<usize> {
    if n >= points.len() {
        return (0..points.len()).collect();
    }
    let ranks = ranks(points);
    let mut chosen: Vec<usize> = Vec::new();
    for rank in 0.. {
        let members: Vec<usize> = (0..points.len()).filter(|i| ranks[*i] == rank).collect();
        let free = n - chosen.len();
        if members.len() > free {
            let of_rank: Vec<Vec<f64>> = members.iter().map(|i| points[*i].clone()).collect();
            let few = largest_volume(&of_rank, &reference(&of_rank), free);
            chosen.extend(few.into_iter().map(|at| members[at]));
        } else {
            chosen.extend(members);
        }
        if chosen.len() == n {
            break;
        }
    }
    chosen
}

/// A little beyond the worst loss of each direction.
fn reference(points: &[Vec<f64>]) -> Vec<f64> {
    let directions = 0..points.first().map_or(0, Vec::len);
    let beyond = directions.map(|d| {
        let worst = points
            .iter()
            .map(|p| p[d])
            .fold(f64::NEG_INFINITY, f64::max);
        let beyond = (1.1 * worst).max(0.9 * worst);
        if beyond == 0.0 { 1e-12 } else { beyond }
    });
    beyond.collect()
}

/// The places of `n` points (losses) that dominate a large volume up to `reference`, chosen one after the other, each
/// adding most to the volume of those before: at least 63 % of what the best choice reaches. All when there are no more than `n`.
///
/// No point may lie beyond the reference. Points that are there twice come last. When the reference is infinite, the smallest
/// points are taken, loss by loss. See Guerreiro, Fonseca and Paquete, *Greedy Hypervolume Subset Selection in Low
/// Dimensions* (2016).
pub fn largest_volume(points: &[Vec<f64>], reference: &[f64], n: usize) -> Vec<usize> {
    if n >= points.len() {
        return (0..points.len()).collect();
    }
    let sorted = order(points);
    let (mut different, mut again) = (Vec::<usize>::new(), Vec::new());
    for i in sorted {
        match different.last() {
            Some(before) if points[*before] == points[i] => again.push(i),
            _ => different.push(i),
        }
    }
    if different.len() <= n {
        again.sort_unstable();
        different.extend(again.into_iter().take(n - different.len()));
        return different;
    }
    if reference.iter().any(|r| !r.is_finite()) {
        different.truncate(n);
        return different;
    }
    greedy(points, reference, different, n)
}

fn greedy(points: &[Vec<f64>], reference: &[f64], different: Vec<usize>, n: usize) -> Vec<usize> {
    struct Candidate {
        place: usize,
        corner: Vec<f64>,
        /// What it would add to the first `seen` that were chosen; no later choice makes it more.
        gain: f64,
        seen: usize,
    }
    let candidate = |place: usize| {
        let sides = points[place].iter().zip(reference);
        let corner: Vec<f64> = sides.map(|(p, r)| (r - p).max(0.0)).collect();
        Candidate {
            place,
            // Nothing times infinity is nothing.
            gain: corner.iter().product::<f64>().max(0.0),
            corner,
            seen: 0,
        }
    };
    let mut left: Vec<Candidate> = different.into_iter().map(candidate).collect();
    let mut corners: Vec<Vec<f64>> = Vec::new();
    let mut chosen = Vec::new();
    while chosen.len() < n && !left.is_empty() {
        let mut best = 0;
        for i in 1..left.len() {
            if left[i].gain > left[best].gain {
                best = i;
            }
        }
        // A volume that is infinite stays the largest.
        if left[best].seen == corners.len() || left[best].gain.is_infinite() {
            let found = left.remove(best);
            chosen.push(found.place);
            corners.push(found.corner);
        } else {
            let candidate = &mut left[best];
            candidate.gain = own(&candidate.corner, corners.iter().map(Vec::as_slice)).max(0.0);
            candidate.seen = corners.len();
        }
    }
    chosen
}
