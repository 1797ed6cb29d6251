//! The parents of each generation.

use std::sync::{Arc, Mutex, PoisonError};

use crate::study::pareto;
use crate::study::record::{Direction, TrialRecord, TrialState};

use super::super::Context;

/// Generations that are kept: trials in flight may see histories that end in different ones.
const KEPT: usize = 4;

/// A trial that may have children.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub trial: Arc<TrialRecord>,
    rank: usize,
    crowding: f64,
}

impl Parent {
    /// Whether it is preferred to `other`: of smaller rank, or of the same and farther from its neighbours.
    pub(super) fn beats(&self, other: &Parent) -> bool {
        (self.rank, -self.crowding) < (other.rank, -other.crowding)
    }
}

/// The latest generations, which can be computed again.
#[derive(Debug, Default)]
pub(super) struct Lineage(Mutex<Vec<Generation>>);

/// What the first trials of a history come to.
#[derive(Clone, Debug)]
struct Generation {
    number: usize,
    /// How many trials of the history it is made of, and the last of them.
    trials: usize,
    last: Arc<TrialRecord>,
    parents: Arc<Vec<Parent>>,
}

impl Generation {
    fn ends_in(&self, ctx: &Context<'_>) -> bool {
        // Records do not change, and one that is held keeps its place in memory: what comes before it is the same too.
        let at = ctx.history.get(self.trials - 1);
        at.is_some_and(|last| Arc::ptr_eq(last, &self.last))
    }
}

impl Lineage {
    /// The number of the generation that the trial of `ctx` belongs to, and its parents; none of the first.
    pub(super) fn parents(
        &self,
        ctx: &Context<'_>,
        population: usize,
    ) -> (usize, Arc<Vec<Parent>>) {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let known = lock();
            let fitting = known.iter().filter(|g| g.ends_in(ctx));
            fitting.max_by_key(|g| g.number).cloned()
        };
        let (mut number, mut parents, mut from) = match known {
            Some(known) => (known.number, known.parents, known.trials),
            None => (0, Arc::default(), 0),
        };
        let mut children: Vec<Arc<TrialRecord>> = Vec::with_capacity(population);
        while let Some(trial) = ctx.history.get(from) {
            from += 1;
            if trial.state != TrialState::Complete {
                continue;
            }
            children.push(Arc::clone(trial));
            if children.len() == population {
                let before = parents.iter().map(|p| Arc::clone(&p.trial));
                let pool = before.chain(children.drain(..)).collect();
                parents = Arc::new(select(pool, ctx.directions, population));
                number += 1;
                let mut known = lock();
                if known.len() == KEPT {
                    known.remove(0);
                }
                known.push(Generation {
                    number,
                    trials: from,
                    last: Arc::clone(trial),
                    parents: Arc::clone(&parents),
                });
            }
        }
        (number, parents)
    }
}

/// The `n` best of `pool`, best first.
pub(super) fn select(
    pool: Vec<Arc<TrialRecord>>,
    directions: &[Direction],
    n: usize,
) -> Vec<Parent> {
    let trials: Vec<&TrialRecord> = pool.iter().map(AsRef::as_ref).collect();
    let ranks = pareto::ranks_of(&trials, directions);
    let mut crowding = vec![0.0; pool.len()];
    for rank in 0..=ranks.iter().copied().max().unwrap_or(0) {
        let members: Vec<usize> = (0..pool.len()).filter(|i| ranks[*i] == rank).collect();
        let losses: Vec<Vec<f64>> = members
            .iter()
            .map(|i| pool[*i].losses(directions))
            .collect();
        for (i, distance) in members.into_iter().zip(pareto::crowding(&losses)) {
            crowding[i] = distance;
        }
    }
    let mut parents: Vec<Parent> = pool
        .into_iter()
        .zip(ranks.into_iter().zip(crowding))
        .map(|(trial, (rank, crowding))| Parent {
            trial,
            rank,
            crowding,
        })
        .collect();
    parents.sort_by(|a, b| {
        let by_crowding = b.crowding.total_cmp(&a.crowding);
        let by_rank = a.rank.cmp(&b.rank).then(by_crowding);
        by_rank.then(a.trial.number.cmp(&b.trial.number))
    });
    parents.truncate(n);
    parents
}
