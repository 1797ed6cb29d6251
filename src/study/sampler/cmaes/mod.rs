//! CMA-ES: a normal distribution over the numeric parameters, which moves to where trials are good and takes the shape
//! of what they have in common.
//!
//! The numbers that all of the latest trials have, floats and integers, plain or on log scales, are drawn together;
//! choices, what only some trials have, and more than 300 numbers, are drawn by TPE. Integers and stepped floats keep a margin, so that none of them
//! gets stuck. A run that has nothing more to find is followed by another one.
//!
//! The distribution is a replay of the finished trials that the trial may see: those that have all the numbers, in
//! their order, in groups of one population. So enqueued points and trials of other samplers count, with a bounded
//! influence. Complete trials count with their value; pruned ones with what their pruner expected of them or else behind all
//! complete ones, those that were stopped later first; failed ones do not count. In a study of several directions
//! everything is drawn by TPE.
//!
//! Hansen, *The CMA Evolution Strategy: A Tutorial* (2016), whose strategy parameters are the defaults; Hamano et al.,
//! *CMA-ES with Margin* (2022); Nomura et al., *Warm Starting CMA-ES* (2021). An update has the numbers of the Python package
//! `cmaes` 0.13.

mod evolution;
mod margin;
mod replay;
mod restart;
mod space;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use libm::log;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::seed::Seed;
use crate::stats::normal;
use crate::study::record::{Direction, TrialRecord, TrialState};
use crate::study::space::{Assignment, Domain, Params, Value};
use crate::study::trial::only_value;

use super::gp::{Axis, spread};
use super::random::{param_seed, unit};
use super::tpe::Tpe;
use super::{Context, Sampler, SamplerError, begins};
use replay::Replay;
pub use restart::Restart;
use space::Space;

/// The parameters of [`CmaEs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CmaEsParams {
    /// Trials per update, from 2 to 100,000. Unset: 4 + ⌊3 ln d⌋ for d parameters.
    pub population: Option<usize>,
    /// The first standard deviation, as a part of the range of a parameter (of its logarithm, on a log scale); above 0
    /// and at most 1.
    pub sigma: f64,
    /// Values of parameters by name around which the search begins. A parameter that is not named begins in the middle of
    /// its range, or amid the better half of the first trials.
    pub start: BTreeMap<String, Value>,
    /// Good points of another study, as values by name: the search begins with their mean and covariance. It needs points
    /// that have all the numeric parameters; goes before `start`.
    pub warm_start: Vec<BTreeMap<String, Value>>,
    /// What follows on a run that has nothing more to find.
    pub restart: Restart,
    /// Whether integers and stepped floats keep a least probability of changing. Unset: yes.
    pub with_margin: Option<bool>,
    /// This many trials are spread over the space first; the search begins amid the better half of them. Unset: 8, and none with
    /// `start` or `warm_start`.
    pub n_startup_trials: Option<usize>,
}

impl Default for CmaEsParams {
    fn default() -> Self {
        CmaEsParams {
            population: None,
            sigma: 0.125,
            start: BTreeMap::new(),
            warm_start: Vec::new(),
            restart: Restart::default(),
            with_margin: None,
            n_startup_trials: None,
        }
    }
}

impl CmaEsParams {
    fn population_of(&self, n: usize) -> usize {
        let usual = || 4 + (3.0 * log(n.max(1) as f64)) as usize;
        self.population.unwrap_or_else(usual)
    }

    fn startup(&self) -> usize {
        let said = self.start.is_empty() && self.warm_start.is_empty();
        self.n_startup_trials
            .unwrap_or(if said { STARTUP } else { 0 })
    }
}

/// Trials that are spread over the space first, unless something else is said.
const STARTUP: usize = 8;
/// Beyond so many numbers the covariance costs more than it tells, and TPE draws them.
const MOST_NUMBERS: usize = 300;
/// One in this many trials of another study is among the points that a search begins with.
const BEST_PART: usize = 10;
/// Replays that are kept: for trials in flight that see histories of different lengths, and for spaces that come and go.
const REMEMBERED: usize = 16;

/// The CMA-ES sampler; see the [module](self).
#[derive(Default)]
pub struct CmaEs {
    params: CmaEsParams,
    turns: Turns,
    tpe: Tpe,
    /// What can be computed again; taken out while it is in use, so nobody waits for another's proposal.
    replays: Mutex<Vec<Remembered>>,
}

/// Which trials count: `from` and every `every`-th one after it. Where not all do, the search begins with the best of those
/// before `from`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    pub from: u64,
    pub every: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { from: 0, every: 1 }
    }
}

impl Turns {
    /// The place of a trial among those that count.
    pub(super) fn place(self, number: u64) -> Option<u64> {
        let after = number.checked_sub(self.from)?;
        after
            .is_multiple_of(self.every)
            .then_some(after / self.every)
    }
}

/// A replay of the first trials of a history.
struct Remembered {
    taken: Vec<Arc<TrialRecord>>,
    seed: Seed,
    direction: Direction,
    replay: Replay,
}

impl std::fmt::Debug for CmaEs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CmaEs")
            .field("params", &self.params)
            .finish()
    }
}

impl CmaEs {
    /// A sampler with these parameters.
    ///
    /// # Errors
    /// When the population is out of its range, or `sigma` is not above 0 and at most 1.
    pub fn new(params: CmaEsParams) -> Result<Self, SamplerError> {
        let refuse = |what: String| Err(SamplerError::param("cmaes", what));
        let allowed = 2..=restart::MOST;
        if let Some(population) = params.population.filter(|p| !allowed.contains(p)) {
            return refuse(format!(
                "`population` must be from 2 to {}, not {population}",
                restart::MOST
            ));
        }
        let sigma = params.sigma;
        if !(sigma > 0.0 && sigma <= 1.0) {
            return refuse(format!(
                "`sigma` must be a number above 0 and at most 1, not {sigma}"
            ));
        }
        Ok(CmaEs {
            params,
            ..CmaEs::default()
        })
    }

    /// A sampler that begins where the trials of another study are best: `warm_start` is the best tenth of those that
    /// are complete, at least one. All else is as usual; `params` of the sampler tell it again.
    pub fn warm_started<T: AsRef<TrialRecord>>(trials: &[T], direction: Direction) -> Self {
        CmaEs {
            params: CmaEsParams {
                warm_start: best_points(trials, direction),
                ..CmaEsParams::default()
            },
            ..CmaEs::default()
        }
    }

    /// A sampler that takes turns with others and learns from its own trials only.
    pub(super) fn in_turns(turns: Turns) -> Self {
        CmaEs {
            turns,
            ..CmaEs::default()
        }
    }

    fn starting_up(&self, ctx: &Context<'_>) -> bool {
        // Without any trial nobody knows which parameters there are.
        let first = self.params.startup().max(1);
        latest(ctx).take(first).count() < first
    }

    /// Draws the parameters of `space`, if their search has begun.
    fn draw(&self, ctx: &Context<'_>, direction: Direction, space: Space) -> Option<Params> {
        if (ctx.history.len() as u64) < self.turns.from {
            return None;
        }
        let seed = ctx.study_seed.child("cmaes", 0);
        let lock = || self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        let mut remembered = {
            let mut all = lock();
            let fitting = all.iter().enumerate().filter(|(_, r)| {
                r.replay.space == space
                    && r.seed == seed
                    && r.direction == direction
                    && begins(&r.taken, ctx.history)
            });
            let longest = fitting.max_by_key(|(_, r)| r.taken.len()).map(|(i, _)| i);
            longest.map(|i| all.remove(i))
        }
        .unwrap_or_else(|| Remembered {
            taken: Vec::new(),
            seed,
            direction,
            replay: match ctx.history.get(..self.turns.from as usize) {
                Some(before) if !before.is_empty() => {
                    let params = CmaEsParams {
                        warm_start: best_points(before, direction),
                        ..self.params.clone()
                    };
                    Replay::new(space, &params, seed)
                }
                _ => Replay::new(space, &self.params, seed),
            },
        });
        for trial in &ctx.history[remembered.taken.len()..] {
            if self.turns.place(trial.number).is_some() {
                remembered.replay.take(&self.params, direction, trial);
            }
            remembered.taken.push(Arc::clone(trial));
        }
        let replay = &remembered.replay;
        let index = self.turns.place(ctx.trial).unwrap_or(ctx.trial);
        let values = replay.draw(index, ctx.seed.child("cmaes", 0));
        let params = values.map(|values| {
            let named = replay.space.names.iter().zip(&replay.space.domains);
            let assign = |((name, domain), internal): ((&String, &Domain), f64)| Assignment {
                name: name.clone(),
                domain: domain.clone(),
                internal,
            };
            Params(named.zip(values).map(assign).collect())
        });
        let mut all = lock();
        all.push(remembered);
        if all.len() > REMEMBERED {
            all.remove(0);
        }
        params
    }

    /// A draw of one number before any trial is known: from the first distribution.
    fn first(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        let start = |point: &BTreeMap<String, Value>| {
            let value = point.get(name)?;
            start::coordinate(name, domain, value)
        };
        let warm: Vec<f64> = self.params.warm_start.iter().filter_map(start).collect();
        let (mean, deviation) = if warm.is_empty() {
            (start(&self.params.start).unwrap_or(0.5), self.params.sigma)
        } else {
            let count = warm.len() as f64;
            let mean = warm.iter().sum::<f64>() / count;
            let square = warm.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
            (mean, (square + start::AROUND * start::AROUND).sqrt())
        };
        let part = |x: f64| (x - mean) / deviation;
        let u = unit(&mut param_seed(ctx, name).rng());
        let z = normal::truncated_quantile(u, part(0.0), part(1.0));
        Axis::new(name, domain).internal((mean + deviation * z).clamp(0.0, 1.0))
    }
}

/// The best tenth of the complete trials, at least one, as values by name.
fn best_points<T: AsRef<TrialRecord>>(
    trials: &[T],
    direction: Direction,
) -> Vec<BTreeMap<String, Value>> {
    let known = trials.iter().map(AsRef::as_ref);
    let mut known: Vec<(f64, &TrialRecord)> = known
        .filter_map(|t| t.value().map(|v| (direction.loss(v), t)))
        .collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.number.cmp(&b.1.number)));
    known.truncate((known.len() / BEST_PART).max(1));
    let point = |t: &TrialRecord| t.params.iter().map(|(n, v)| (n.to_owned(), v)).collect();
    known.iter().map(|(_, t)| point(t)).collect()
}

/// The trials that say something, latest first.
fn latest<'a>(ctx: &Context<'a>) -> impl Iterator<Item = &'a TrialRecord> {
    let says = |t: &&TrialRecord| matches!(t.state, TrialState::Complete | TrialState::Pruned);
    ctx.history.iter().rev().map(AsRef::as_ref).filter(says)
}

impl Sampler for CmaEs {
    fn name(&self) -> &'static str {
        "cmaes"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let &[direction] = ctx.directions else {
            return self.tpe.propose(ctx);
        };
        if self.starting_up(ctx) {
            return Params::default();
        }
        let space = Space::latest(latest(ctx));
        let of_space = |a: &Assignment| a.domain.is_single() || space.names.contains(&a.name);
        let all = latest(ctx)
            .next()
            .is_some_and(|t| t.params.0.iter().all(of_space));
        let joint = (1..=MOST_NUMBERS).contains(&space.len());
        let mut params = match all && joint {
            true => Params::default(),
            false => self.tpe.propose(ctx),
        };
        if joint && let Some(drawn) = self.draw(ctx, direction, space) {
            params.0.retain(|a| drawn.assignment(&a.name).is_none());
            params.0.extend(drawn.0);
        }
        params
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        if let Some(only) = only_value(domain) {
            return only;
        }
        if ctx.directions.len() == 1 && self.starting_up(ctx) {
            return match (self.params.startup() as u64, domain) {
                (0, Domain::Float { .. } | Domain::Int { .. }) => self.first(ctx, name, domain),
                (n, _) => spread(ctx, name, domain, n.max(1)),
            };
        }
        self.tpe.propose_one(ctx, name, domain)
    }
}
