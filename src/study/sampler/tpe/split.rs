//! Which trials are the good ones.
//!
//! One direction: the best tenth, at most 25. Several: the best tenth by non-domination rank, and within the rank
//! that does not fit as a whole, the trials that together dominate the largest volume. Trials that break their constraints
//! come after all others, those that break them least first.

use std::cmp::Ordering;

use crate::study::pareto::best_together;
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

/// The places of the good ones among `trials` (complete or pruned, by number), ascending.
pub(super) fn good(trials: &[&TrialRecord], directions: &[Direction]) -> Vec<usize> {
    if let &[direction] = directions {
        let mut ranking = Ranking::default();
        for (i, trial) in trials.iter().enumerate() {
            ranking.add(i, trial, direction);
        }
        return ranking.good(trials.len());
    }
    let mut good = best_together(trials, directions, trials.len().div_ceil(10));
    good.sort_unstable();
    good
}

/// Smaller is better: complete trials by loss, and pruned ones whose pruner knows what they would have been worth, then
/// the other pruned ones, those that got further first; last those that break their constraints, by how much.
type Key = (u8, f64, f64);

fn key(trial: &TrialRecord, direction: Direction) -> Key {
    if !trial.is_feasible() {
        return (3, trial.violation(), 0.0);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::pareto::tests::Split;

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
            let new = good.into_iter().filter(|i| !order.contains(i));
            order.extend(new.collect::<Vec<_>>());
        }
        assert_eq!(order, [4, 5, 3, 1, 2, 0]);
    }

    #[test]
    fn the_good_ones_are_those_of_optuna() {
        for (at, split) in Split::all().iter().enumerate() {
            let trials = split.trials();
            let trials: Vec<&TrialRecord> = trials.iter().collect();
            assert_eq!(good(&trials, &split.directions), split.below, "case {at}");
        }
    }
}
