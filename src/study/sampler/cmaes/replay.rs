//! The state of the search as a replay of the trials that have all parameters of a space.
//!
//! The first trials say where the first run begins; all later ones, whoever drew them, update the distribution in groups
//! of one population, in their order. A replay can be continued with further trials, and continued or begun anew it
//! comes to the same state.

use std::cmp::Ordering;

use crate::seed::Seed;
use crate::stats::normal;
use crate::study::record::{Direction, TrialRecord, TrialState};

use super::super::{qmc, random};
use super::CmaEsParams;
use super::evolution::{Evolution, identity};
use super::margin::Margin;
use super::restart::{Schedule, Watch};
use super::space::Space;
use super::start::{self, Start};

/// Draws of a point within the bounds before it is moved there.
const DRAWS: u64 = 100;
/// Trials that share an even sequence.
const BLOCK: u64 = 64;

/// How good a trial is.
#[derive(Clone, Copy, Debug)]
struct Score {
    loss: f64,
    /// Of a pruned trial of which nobody knows the value: how far it came, and the loss there.
    reached: (i64, f64),
}

impl Score {
    fn order(&self, other: &Score) -> Ordering {
        let by_loss = self.loss.total_cmp(&other.loss);
        by_loss
            .then(other.reached.0.cmp(&self.reached.0))
            .then(self.reached.1.total_cmp(&other.reached.1))
    }
}

#[derive(Clone, Debug)]
struct Seen {
    number: u64,
    /// Internal values in the order of the space.
    values: Vec<f64>,
    score: Score,
}

/// One run, from its start to its restart.
struct Run {
    evolution: Evolution,
    margin: Margin,
    watch: Watch,
    trials: u64,
}

/// See the [module](self).
pub(super) struct Replay {
    pub space: Space,
    seed: Seed,
    first: Vec<Seen>,
    group: Vec<Seen>,
    run: Option<Run>,
    schedule: Schedule,
}

impl Replay {
    /// Before the first trial. `seed` is the same for all trials of the study.
    pub(super) fn new(space: Space, params: &CmaEsParams, seed: Seed) -> Self {
        let population = params.population_of(space.len());
        let mut replay = Replay {
            schedule: Schedule::new(params.restart, population),
            space,
            seed,
            first: Vec::new(),
            group: Vec::new(),
            run: None,
        };
        replay.begin(params);
        replay
    }

    /// Takes up the next trial.
    pub(super) fn take(&mut self, params: &CmaEsParams, direction: Direction, trial: &TrialRecord) {
        let Some(score) = score(direction, trial) else {
            return;
        };
        let Some(values) = self.space.values(&trial.params) else {
            return;
        };
        let seen = Seen {
            number: trial.number,
            values,
            score,
        };
        let Some(run) = &mut self.run else {
            self.first.push(seen);
            self.begin(params);
            return;
        };
        self.group.push(seen);
        if self.group.len() < run.evolution.strategy.population {
            return;
        }
        let mut group = std::mem::take(&mut self.group);
        run.trials += group.len() as u64;
        group.sort_by(|a, b| a.score.order(&b.score));
        let points = group.iter().map(|seen| {
            let mut rng = self.seed.child("within", seen.number).rng();
            run.margin
                .point(&run.evolution, &self.space, &seen.values, &mut rng)
        });
        let points: Vec<Vec<f64>> = points.collect();
        run.evolution.update(&points);
        let all = self.space.len() * group.len();
        run.margin
            .correct(&mut run.evolution, &self.space, 1.0 / all as f64);
        let losses: Vec<f64> = group.iter().map(|seen| seen.score.loss).collect();
        if run.watch.stops(&run.evolution, &losses) && self.schedule.ends() {
            let next = self.schedule.next(run.trials, self.space.len(), self.seed);
            let start = Start {
                mean: next.mean,
                sigma: params.sigma * next.shrink,
                covariance: identity(self.space.len()),
            };
            self.run = Some(Run::new(start, next.population, &self.space, params));
        }
    }

    /// Begins the first run when enough is known.
    fn begin(&mut self, params: &CmaEsParams) {
        if self.first.len() < params.startup() {
            return;
        }
        self.first.sort_by(|a, b| a.score.order(&b.score));
        let best = self.first[..self.first.len().div_ceil(2)]
            .iter()
            .map(|seen| {
                let places = seen.values.iter().enumerate();
                places
                    .map(|(i, v)| self.space.axis(i).coordinate(*v))
                    .collect()
            });
        let otherwise = start::middle(self.space.len(), &best.collect::<Vec<_>>());
        let start = start::warm(&self.space, &params.warm_start)
            .unwrap_or_else(|| start::round(&self.space, &params.start, &otherwise, params.sigma));
        let population = params.population_of(self.space.len());
        self.run = Some(Run::new(start, population, &self.space, params));
        self.first = Vec::new();
    }

    /// Draws point `index` of the study for a trial whose own seed is `seed`; internal values in the order of the space.
    /// `None` before the first run.
    pub(super) fn draw(&self, index: u64, seed: Seed) -> Option<Vec<f64>> {
        let run = self.run.as_ref()?;
        let n = self.space.len();
        let inside = |point: &[f64]| {
            let lies = |i: usize| (0.0..=1.0).contains(&point[i]) || run.margin.grids.contains(&i);
            (0..n).all(lies)
        };
        let mut point = Vec::new();
        for draw in 0..DRAWS {
            let even = draw == 0 && n <= qmc::COORDINATES;
            let mut rng = seed.child("draw", draw).rng();
            let mut unit = |i| match even {
                true => even_unit(self.seed, index, i),
                false => random::unit(&mut rng),
            };
            // 0 has no quantile.
            let z = (0..n).map(|i| normal::quantile(unit(i).max(f64::MIN_POSITIVE)));
            let drawn = run.evolution.point(&z.collect::<Vec<_>>());
            point = run.margin.stretched(&run.evolution, &drawn);
            if inside(&point) {
                break;
            }
        }
        let internal = |i: usize| self.space.axis(i).internal(point[i].clamp(0.0, 1.0));
        Some((0..n).map(internal).collect())
    }
}

impl Run {
    fn new(start: Start, population: usize, space: &Space, params: &CmaEsParams) -> Self {
        let mut evolution = Evolution::new(start.mean, start.sigma, start.covariance, population);
        let mut margin = Margin::new(space, params.with_margin.unwrap_or(true));
        let all = space.len() * population;
        margin.correct(&mut evolution, space, 1.0 / all as f64);
        Run {
            watch: Watch::new(&evolution),
            evolution,
            margin,
            trials: 0,
        }
    }
}

/// Coordinate `i` of the even draw `index`. Draws in a row share a scrambled sequence, so that they complement each
/// other; each block has its own, so that no pattern of trials meets the same part of it again and again.
fn even_unit(seed: Seed, index: u64, i: usize) -> f64 {
    qmc::point(seed.child("block", index / BLOCK), index % BLOCK, i)
}

/// What a trial teaches, if anything: pruned ones count with what their pruner expected of them, else behind all
/// complete ones, those that came farther first.
fn score(direction: Direction, trial: &TrialRecord) -> Option<Score> {
    let none = (0, 0.0);
    if let Some(value) = trial.expected() {
        return Some(Score {
            loss: direction.loss(value),
            reached: none,
        });
    }
    if trial.state != TrialState::Pruned {
        return None;
    }
    let last = trial.intermediate.last_key_value();
    Some(Score {
        loss: f64::INFINITY,
        reached: last.map_or(none, |(step, value)| (*step, direction.loss(*value))),
    })
}
