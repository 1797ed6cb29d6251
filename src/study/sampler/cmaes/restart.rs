//! When a run of CMA-ES has nothing more to find, and how the next one begins.
//!
//! The stop conditions are those of Hansen's tutorial, B.3. Auger and Hansen, *A Restart CMA Evolution Strategy With
//! Increasing Population Size* (CEC 2005), IPOP; Hansen, *Benchmarking a BI-Population CMA-ES on the BBOB-2009 Function
//! Testbed* (GECCO 2009), BIPOP.

use std::collections::VecDeque;

use libm::pow;
use serde::{Deserialize, Serialize};

use crate::seed::Seed;
use crate::study::sampler::random;

use super::evolution::Evolution;

/// What follows on a run that has nothing more to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restart {
    /// Nothing: the run goes on.
    None,
    /// A run from elsewhere with twice the population.
    #[default]
    Ipop,
    /// Runs with ever larger populations take turns with small and short ones.
    Bipop,
}

/// What the stop conditions look at.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    sigma: f64,
    /// Best and worst loss of the latest groups.
    extremes: VecDeque<(f64, f64)>,
    /// Best and median loss of each group.
    curve: Vec<(f64, f64)>,
    /// Groups that two curves are compared over at least.
    patience: usize,
}

/// Ranges below this part of the numbers are rounding.
const FLAT: f64 = 1e-12;
const CONDITION: f64 = 1e14;
const NARROWEST: f64 = 1e-12;
const WIDEST: f64 = 1e4;
/// Groups that stagnation is looked for in at most.
const LONGEST: usize = 20_000;

impl Watch {
    pub(super) fn new(evolution: &Evolution) -> Self {
        let part = 30.0 * evolution.len() as f64 / evolution.strategy.population as f64;
        Watch {
            sigma: evolution.sigma,
            extremes: VecDeque::from(vec![(0.0, f64::INFINITY); 10 + part.ceil() as usize]),
            curve: Vec::new(),
            patience: 120 + part.ceil() as usize,
        }
    }

    /// Notes one group by its losses, the best first, and says whether the run is to stop.
    pub(super) fn stops(&mut self, evolution: &Evolution, ranked: &[f64]) -> bool {
        let (Some(best), Some(worst)) = (ranked.first(), ranked.last()) else {
            return false;
        };
        self.extremes.pop_front();
        self.extremes.push_back((*best, *worst));
        self.curve.push((*best, ranked[ranked.len() / 2]));
        self.flat() || self.stagnates() || self.degenerates(evolution)
    }

    fn flat(&self) -> bool {
        let least = self
            .extremes
            .iter()
            .map(|e| e.0)
            .fold(f64::INFINITY, f64::min);
        let most = self
            .extremes
            .iter()
            .map(|e| e.1)
            .fold(f64::NEG_INFINITY, f64::max);
        least == most || most - least < FLAT * least.abs().clamp(1.0, f64::MAX)
    }

    /// Whether neither the best nor the median values of the latest third are better than those of the first.
    fn stagnates(&self) -> bool {
        let n = self.curve.len();
        let window = (n / 5).clamp(self.patience, LONGEST);
        if n < window || !n.is_multiple_of(10) {
            return false;
        }
        let recent = &self.curve[n - window..];
        let part = window * 3 / 10;
        let median = |part: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = part.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let worse = |of: fn(&(f64, f64)) -> f64| {
            median(&recent[window - part..], of) >= median(&recent[..part], of)
        };
        worse(|c| c.0) && worse(|c| c.1)
    }

    /// Whether the distribution is too narrow, too wide or too thin for numbers.
    fn degenerates(&self, e: &Evolution) -> bool {
        let n = e.len();
        let most = e.lengths.iter().copied().fold(0.0, f64::max);
        let least = e.lengths.iter().copied().fold(f64::INFINITY, f64::min);
        let narrow = NARROWEST * self.sigma;
        if (0..n).all(|i| e.deviation(i) < narrow && (e.sigma * e.path_c[i]).abs() < narrow) {
            return true;
        }
        // NaN is out of bounds as well.
        let bounded =
            e.sigma * most <= WIDEST * self.sigma && most * most <= CONDITION * least * least;
        if !bounded {
            return true;
        }
        let unmoved = |i: usize, by: f64| e.mean[i] + by == e.mean[i];
        let no_axis = |a: usize| {
            let by = 0.1 * e.sigma * e.lengths[a];
            (0..n).all(|i| unmoved(i, by * e.directions[i * n + a]))
        };
        no_axis(self.curve.len() % n) || (0..n).any(|i| unmoved(i, 0.2 * e.deviation(i)))
    }
}

/// How the runs follow each other.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    kind: Restart,
    population: usize,
    /// Population of the latest run with a large one.
    large: usize,
    /// Trials of all runs with a large and with a small population, the first run aside.
    spent: (u64, u64),
    small: bool,
    runs: u64,
}

/// How a run begins.
pub(super) struct Next {
    pub population: usize,
    /// What the step size of the first run is multiplied by.
    pub shrink: f64,
    /// On [0, 1] of each axis.
    pub mean: Vec<f64>,
}

impl Schedule {
    pub(super) fn new(kind: Restart, population: usize) -> Self {
        Schedule {
            kind,
            population,
            large: population,
            spent: (0, 0),
            small: false,
            runs: 1,
        }
    }

    pub(super) fn ends(&self) -> bool {
        self.kind != Restart::None
    }

    /// The run after one of `trials` trials over `n` coordinates.
    pub(super) fn next(&mut self, trials: u64, n: usize, seed: Seed) -> Next {
        let mut rng = seed.child("restart", self.runs).rng();
        let mean = (0..n).map(|_| random::unit(&mut rng)).collect();
        if self.runs > 1 {
            let spent = if self.small {
                &mut self.spent.1
            } else {
                &mut self.spent.0
            };
            *spent += trials;
        }
        self.small = self.kind == Restart::Bipop && self.runs > 1 && self.spent.1 < self.spent.0;
        self.runs += 1;
        if !self.small {
            self.large = self.large.saturating_mul(2).min(MOST);
            return Next {
                population: self.large,
                shrink: 1.0,
                mean,
            };
        }
        let u = random::unit(&mut rng);
        let ratio = 0.5 * self.large as f64 / self.population as f64;
        let part = pow(ratio.max(1.0), u * u);
        Next {
            population: (self.population as f64 * part) as usize,
            shrink: pow(10.0, -2.0 * random::unit(&mut rng)),
            mean,
        }
    }
}

/// The largest population.
pub(super) const MOST: usize = 100_000;
