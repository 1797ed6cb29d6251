//! Which trials are the good ones.
//!
//! One direction: the best tenth, at most 25. Several: the best tenth by non-domination rank, and within the rank
//! that does not fit as a whole, the trials that together dominate the largest volume.

use std::cmp::Ordering;

use crate::study::record::{Direction, TrialRecord, TrialState};

/// The most good trials of a study with one direction.
const MOST: usize = 25;

/// The best trials of a study with one direction, kept as trials are added.
#[derive(Default)]
pub(super) struct Ranking(Vec<(Key, usize)>);

impl Ranking {
    /// Adds trial `i`, which comes after all others.
    pub(super) fn add(&mut self, i: usize, trial: &TrialRecord, direction: Direction) {
        let key = key(trial, direction);
        let at = self
            .0
            .partition_point(|(other, _)| compare(other, &key) != Ordering::Greater);
        self.0.insert(at, (key, i));
        self.0.truncate(MOST);
    }

    /// The good ones of `n` trials, ascending.
    pub(super) fn good(&self, n: usize) -> Vec<usize> {
        let best = self.0.iter().take(n.div_ceil(10).min(MOST));
        let mut good: Vec<usize> = best.map(|(_, i)| *i).collect();
        good.sort_unstable();
        good
    }
}

/// For each of `trials` (complete or pruned, by number), whether it is among the good.
pub(super) fn good(trials: &[&TrialRecord], directions: &[Direction]) -> Vec<bool> {
    let tenth = trials.len().div_ceil(10);
    let mut good = vec![false; trials.len()];
    if let &[direction] = directions {
        let mut ranking = Ranking::default();
        for (i, trial) in trials.iter().enumerate() {
            ranking.add(i, trial, direction);
        }
        for i in ranking.good(trials.len()) {
            good[i] = true;
        }
    } else {
        for i in best_together(trials, directions, tenth) {
            good[i] = true;
        }
    }
    good
}

/// Smaller is better: complete trials by loss, and pruned ones whose pruner knows what they would have been worth, then
/// the other pruned ones, those that got further first.
type Key = (u8, f64, f64);

fn key(trial: &TrialRecord, direction: Direction) -> Key {
    if let Some(value) = trial.expected() {
        return (0, direction.loss(value), 0.0);
    }
    if trial.state == TrialState::Complete {
        return (0, f64::INFINITY, 0.0);
    }
    match trial.intermediate.last_key_value() {
        Some((&step, value)) => {
            let loss = direction.loss(*value);
            let loss = if loss.is_nan() { f64::INFINITY } else { loss };
            (1, -(step as f64), loss)
        }
        None => (2, 0.0, 0.0),
    }
}

fn compare(a: &Key, b: &Key) -> Ordering {
    let float = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    a.0.cmp(&b.0)
        .then_with(|| float(a.1, b.1))
        .then_with(|| float(a.2, b.2))
}

/// The `n` best of several directions; pruned trials come after all complete ones, by number.
pub(in crate::study) fn best_together(
    trials: &[&TrialRecord],
    directions: &[Direction],
    n: usize,
) -> Vec<usize> {
    let losses = |i: usize| -> Vec<f64> {
        let values = trials[i].values.iter().zip(directions);
        values.map(|(v, d)| d.loss(*v)).collect()
    };
    let complete = |i: &usize| trials[*i].state == TrialState::Complete;
    let mut rest: Vec<(usize, Vec<f64>)> = (0..trials.len())
        .filter(complete)
        .map(|i| (i, losses(i)))
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < n && !rest.is_empty() {
        let dominated = |p: &Vec<f64>| rest.iter().any(|(_, q)| dominates(q, p));
        let (later, rank): (Vec<_>, Vec<_>) = rest.iter().cloned().partition(|(_, p)| dominated(p));
        rest = later;
        if chosen.len() + rank.len() <= n {
            chosen.extend(rank.iter().map(|(i, _)| *i));
        } else {
            let points: Vec<Vec<f64>> = rank.iter().map(|(_, p)| p.clone()).collect();
            let few = largest_volume(&points, n - chosen.len());
            chosen.extend(few.into_iter().map(|at| rank[at].0));
        }
    }
    let pruned = (0..trials.len()).filter(|i| !complete(i));
    chosen.extend(pruned.take(n - chosen.len()));
    chosen
}

fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(x, y)| x <= y) && a != b
}

/// Chooses `n` points one after the other, each adding most to the volume that the chosen ones dominate up to a
/// reference point a little beyond the worst.
fn largest_volume(points: &[Vec<f64>], n: usize) -> Vec<usize> {
    // A volume with an infinite side cannot be compared.
    if points.iter().flatten().any(|v| !v.is_finite()) {
        return (0..n.min(points.len())).collect();
    }
    let reference: Vec<f64> = (0..points[0].len())
        .map(|d| {
            let worst = points.iter().map(|p| p[d]).fold(f64::MIN, f64::max);
            let beyond = (1.1 * worst).max(0.9 * worst);
            if beyond == 0.0 { 1e-12 } else { beyond }
        })
        .collect();
    let mut chosen: Vec<usize> = Vec::new();
    let mut front: Vec<Vec<f64>> = Vec::new();
    while chosen.len() < n {
        let free = (0..points.len()).filter(|i| !chosen.contains(i));
        let gains = free.map(|i| (i, exclusive(&points[i], &front, &reference)));
        let best = gains.reduce(|a, b| if b.1 > a.1 { b } else { a });
        let Some((i, _)) = best else { break };
        chosen.push(i);
        front.push(points[i].clone());
    }
    chosen
}

/// The volume that `point` dominates and no point of `others` does (While, Bradstreet, Barone 2012).
fn exclusive(point: &[f64], others: &[Vec<f64>], reference: &[f64]) -> f64 {
    let sides = point.iter().zip(reference).map(|(p, r)| (r - p).max(0.0));
    let own: f64 = sides.product();
    let shared: Vec<Vec<f64>> = others
        .iter()
        .map(|o| o.iter().zip(point).map(|(a, b)| a.max(*b)).collect())
        .collect();
    own - volume(&shared, reference)
}

fn volume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    // Dominated points add nothing and would make the recursion long.
    let mut front: Vec<Vec<f64>> = Vec::new();
    for (i, p) in points.iter().enumerate() {
        let covered = |q: &Vec<f64>| q.iter().zip(p).all(|(a, b)| a <= b);
        if !front.iter().any(covered) && !points[i + 1..].iter().any(|q| dominates(q, p)) {
            front.push(p.clone());
        }
    }
    let parts = (0..front.len()).map(|i| exclusive(&front[i], &front[i + 1..], reference));
    parts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_small_fronts() {
        let reference = [1.0, 1.0];
        let area = |points: &[[f64; 2]]| {
            let points: Vec<Vec<f64>> = points.iter().map(|p| p.to_vec()).collect();
            volume(&points, &reference)
        };
        assert_eq!(area(&[]), 0.0);
        assert_eq!(area(&[[0.5, 0.5]]), 0.25);
        // Two corners that overlap in a quarter of a quarter, and one that is dominated.
        assert_eq!(area(&[[0.0, 0.75], [0.5, 0.5], [0.75, 0.75]]), 0.375);
        let cube = volume(&[vec![0.0, 0.5, 0.5], vec![0.5, 0.0, 0.5]], &[1.0; 3]);
        assert_eq!(cube, 0.375);
    }

    #[test]
    fn the_good_ones_come_in_the_documented_order() {
        let trial = |number, state, value: f64, steps: &[(i64, f64)]| {
            let mut trial = TrialRecord::waiting(number);
            trial.state = state;
            if state == TrialState::Complete {
                trial.values = vec![value];
            }
            trial.intermediate = steps.iter().copied().collect();
            trial
        };
        use TrialState::{Complete, Pruned};
        let mut trials = vec![
            trial(0, Pruned, 0.0, &[]),
            trial(1, Pruned, 0.0, &[(3, 0.5)]),
            trial(2, Pruned, 0.0, &[(3, f64::NAN)]),
            trial(3, Pruned, 0.0, &[(7, 9.0)]),
            trial(4, Complete, 2.0, &[]),
            trial(5, Complete, 2.0, &[]),
        ];
        // One more good trial for every ten: the order in which they become good.
        let mut order: Vec<usize> = Vec::new();
        for n in 1..=6 {
            while trials.len() < n * 10 {
                trials.push(trial(trials.len() as u64, Pruned, 0.0, &[]));
            }
            let refs: Vec<&TrialRecord> = trials.iter().collect();
            let good = good(&refs, &[Direction::Minimize]);
            let new = (0..good.len()).filter(|i| good[*i] && !order.contains(i));
            let new: Vec<usize> = new.collect();
            order.extend(new);
        }
        assert_eq!(order, [4, 5, 3, 1, 2, 0]);
    }
}
