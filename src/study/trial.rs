//! A live trial: what an objective draws its parameters from and reports to.
//!
//! Parameters are drawn while the objective runs, so a parameter that only one model has is drawn behind a plain
//! `if`:
//!
//! ```
//! # use automl::study::{Budget, Study};
//! # let mut study = Study::builder("doc").open()?;
//! study.optimize(Budget::trials(5), |trial| {
//!     let lr = trial.float("lr", 1e-3..=0.3).log()?;
//!     let model = trial.categorical("model", ["forest", "boosting"])?;
//!     let depth = if model == "forest" {
//!         trial.int("depth", 2..=20).uniform()?
//!     } else {
//!         6
//!     };
//!     Ok(lr * depth as f64)
//! })?;
//! # Ok::<(), automl::study::StudyError>(())
//! ```
//!
//! **Contract.** Drawing the same name twice gives the same value, or an error if the domains differ. What is
//! drawn depends on the study's seed, the trial's number and the trials that it may see, on nothing else.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value as Json;

use crate::seed::Seed;

use super::objective::Stop;
use super::pruner::{self, Pruner};
use super::record::{CONSTRAINTS, Direction, TrialRecord};
use super::sampler::{Context, Sampler};
use super::space::{Assignment, Domain, Params, SpaceError, Value};
use super::time_limit::TimeLimit;
use super::visited::{self, Sight, Visited};

/// Why a parameter cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The domain is wrong.
    #[error("parameter `{name}`: {source}")]
    Domain {
        /// The parameter.
        name: String,
        /// What is wrong.
        source: SpaceError,
    },
    /// The same name with two domains in one trial.
    #[error(
        "parameter `{name}` was drawn from {first} and then from {second}; give the second another name"
    )]
    TwoDomains {
        /// The parameter.
        name: String,
        /// The domain of the first draw, printed.
        first: String,
        /// The domain of the second draw, printed.
        second: String,
    },
    /// A constraint without a value.
    #[error("constraint {place} is NaN; each must be a number, at most 0 where it holds")]
    Constraint {
        /// Which of them, from 0.
        place: usize,
    },
    /// A sampler that breaks its contract.
    #[error(
        "sampler `{sampler}` proposed {internal} for parameter `{name}`, which is {domain}; this is a fault of the sampler"
    )]
    Proposal {
        /// The sampler.
        sampler: &'static str,
        /// The parameter.
        name: String,
        /// What was proposed, in internal form.
        internal: f64,
        /// What the parameter may be, printed.
        domain: String,
    },
    /// An enqueued value that the parameter cannot take.
    #[error("the enqueued value of parameter `{name}` does not fit: {source}")]
    Fixed {
        /// The parameter.
        name: String,
        /// What is wrong.
        source: SpaceError,
    },
}

/// What a trial may see of its study, frozen when it was asked for.
#[derive(Clone)]
pub(crate) struct View {
    /// Finished trials from 0 on, perhaps more than the trial may see.
    pub history: Arc<Vec<Arc<TrialRecord>>>,
    /// How many of them the trial may see.
    pub visible: usize,
    /// Parameters of the trials between those and this one, as known when they were asked for.
    pub pending: Vec<Params>,
    pub directions: Arc<[Direction]>,
    pub sampler: Arc<dyn Sampler>,
    pub pruner: Arc<dyn Pruner>,
    /// Of this trial.
    pub seed: Seed,
    /// Of the study's pruner.
    pub pruner_seed: Seed,
    /// Which points were tried.
    pub visited: Arc<RwLock<Visited>>,
    /// Those of `pending` that are whole points.
    pub points: Vec<Params>,
    /// The trials before this one, when nothing is known of any: of a study that does not declare its space, the first
    /// trials, which begin before one is finished.
    pub peers: Arc<[Arc<Trial>]>,
    /// Of the study.
    pub study_seed: Seed,
}

impl View {
    pub(crate) fn context(&self, trial: u64) -> Context<'_> {
        Context {
            trial,
            history: &self.history[..self.visible],
            pending: &self.pending,
            directions: &self.directions,
            seed: self.seed.child("sampler", 0),
            study_seed: self.study_seed.child("sampler", 0),
        }
    }

    /// Asks about points that were tried.
    pub(crate) fn sight<T>(&self, ask: impl FnOnce(&Sight<'_>) -> T) -> T {
        // Adding a trial leaves the tree whole at every step that can panic, of which there is none.
        let visited = self.visited.read().unwrap_or_else(PoisonError::into_inner);
        ask(&Sight {
            visited: &visited,
            visible: self.visible as u64,
            pending: self.points.iter().collect(),
        })
    }
}

/// A trial in flight. Made by [`Study::optimize`](super::Study::optimize) and [`Study::ask`](super::Study::ask).
pub struct Trial {
    pub(crate) record: TrialRecord,
    pub(crate) view: View,
    /// Drawn together before the objective runs.
    pub(crate) proposed: Params,
    /// Set by the user through [`Study::enqueue`](super::Study::enqueue).
    pub(crate) fixed: BTreeMap<String, Value>,
    /// How long it may run.
    pub(crate) limit: Option<TimeLimit>,
    /// Drawn ahead of the objective's calls.
    pub(crate) ahead: Params,
    /// Whether `ahead` is the whole point: what was proposed, moved to where no trial was.
    pub(crate) settled: bool,
    /// Which of the view's peers drew the same so far.
    pub(crate) beside: Vec<usize>,
}

impl Trial {
    /// A trial that is about to draw.
    pub(crate) fn new(
        record: TrialRecord,
        view: View,
        proposed: Params,
        fixed: BTreeMap<String, Value>,
    ) -> Self {
        Trial {
            record,
            beside: (0..view.peers.len()).collect(),
            view,
            proposed,
            fixed,
            ahead: Params::default(),
            settled: false,
            limit: None,
        }
    }

    /// The same trial before its first draw.
    pub(crate) fn anew(&self) -> Self {
        let mut trial = Trial::new(
            TrialRecord::waiting(self.record.number),
            self.view.clone(),
            self.proposed.clone(),
            self.fixed.clone(),
        );
        trial.ahead.clone_from(&self.ahead);
        trial.settled = self.settled;
        trial
    }

    /// The position in the study, from 0.
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// The seed of this trial, for the objective's own random decisions.
    pub fn seed(&self) -> Seed {
        self.view.seed
    }

    /// The parameters drawn so far.
    pub fn params(&self) -> &Params {
        &self.record.params
    }

    /// Begins the draw of a real number; finish with `uniform()`, `log()` or `step(s)`.
    pub fn float<'t>(&'t mut self, name: &'t str, range: RangeInclusive<f64>) -> FloatDraw<'t> {
        FloatDraw {
            trial: self,
            name,
            range,
        }
    }

    /// Begins the draw of a whole number; finish with `uniform()`, `log()` or `step(s)`.
    pub fn int<'t>(&'t mut self, name: &'t str, range: RangeInclusive<i64>) -> IntDraw<'t> {
        IntDraw {
            trial: self,
            name,
            range,
        }
    }

    /// Draws one of `choices` and returns it.
    ///
    /// # Errors
    /// As [`Trial::draw`], and when `choices` is empty or has one twice.
    pub fn categorical<V: Clone + Into<Value>>(
        &mut self,
        name: &str,
        choices: impl IntoIterator<Item = V>,
    ) -> Result<V, TrialError> {
        let mut choices: Vec<V> = choices.into_iter().collect();
        let domain = domain(name, Domain::categorical(choices.iter().cloned()))?;
        let index = self.draw(name, &domain)? as usize;
        // `draw` returns a value of the domain, hence an index of `choices`.
        Ok(choices.swap_remove(index))
    }

    /// Draws a value of `domain` and returns its internal form; [`Domain::value`] turns it into the user's.
    ///
    /// # Errors
    /// When this trial drew `name` from another domain before, or when the value that was enqueued for it is
    /// not in `domain`.
    pub fn draw(&mut self, name: &str, domain: &Domain) -> Result<f64, TrialError> {
        if let Some(drawn) = self.record.params.assignment(name) {
            if drawn.domain != *domain {
                return Err(TrialError::TwoDomains {
                    name: name.to_owned(),
                    first: drawn.domain.to_string(),
                    second: domain.to_string(),
                });
            }
            return Ok(drawn.internal);
        }
        let internal = self.choose(name, domain)?;
        let internal = self.away_from_others(name, domain, internal);
        if !domain.contains(internal) {
            return Err(TrialError::Proposal {
                sampler: self.view.sampler.name(),
                name: name.to_owned(),
                internal,
                domain: domain.to_string(),
            });
        }
        self.record.params.0.push(Assignment {
            name: name.to_owned(),
            domain: domain.clone(),
            internal,
        });
        Ok(internal)
    }

    /// Whether the parameter is not to be moved.
    pub(crate) fn holds(&self, name: &str, domain: &Domain) -> bool {
        self.fixed.contains_key(name) || self.view.sampler.holds(name, domain)
    }

    /// `wanted`, or the nearest value from which a point can be reached that no trial has tried, as far as this
    /// one may know. Only among discrete values.
    fn away_from_others(&mut self, name: &str, domain: &Domain, wanted: f64) -> f64 {
        let Some(points) = visited::points(domain).filter(|_| domain.contains(wanted)) else {
            self.beside.clear();
            return wanted;
        };
        // What the user wants is not moved.
        let mine = points == 1 || self.holds(name, domain);
        let up = self.view.seed.child("free", 0).child(name, 0).value() & 1 == 0;
        if self.beside.is_empty() {
            let settled = self.settled && self.ahead.assignment(name).is_some();
            if mine || settled {
                return wanted;
            }
            return self
                .view
                .sight(|sight| sight.free(&self.record.params, name, domain, wanted, up));
        }
        // Nothing is known of the trials before, but what they draw here can be drawn again. The least used value
        // keeps this trial's point from theirs wherever that is possible.
        let mut used: BTreeMap<u64, (u64, Vec<usize>)> = BTreeMap::new();
        let mut settle = |wanted: u64, mine: bool, up: bool, peer: Option<usize>| {
            let count = |at: &u64| used.get(at).map_or(0, |u| u.0);
            let least = match (used.len() as u64) < points {
                true => 0,
                false => used.values().map(|u| u.0).min().unwrap_or(0),
            };
            let at = if mine || count(&wanted) == least {
                wanted
            } else {
                let mut near = visited::nearest(domain, points, wanted, up);
                near.find(|at| count(at) == least).unwrap_or(wanted)
            };
            let entry = used.entry(at).or_default();
            entry.0 += 1;
            entry.1.extend(peer);
            at
        };
        for &i in &self.beside {
            let peer = &self.view.peers[i];
            if let Ok(wanted) = peer.choose(name, domain)
                && domain.contains(wanted)
            {
                let mine = points == 1 || peer.holds(name, domain);
                let up = peer.view.seed.child("free", 0).child(name, 0).value() & 1 == 0;
                settle(visited::place(domain, wanted), mine, up, Some(i));
            }
        }
        let at = settle(visited::place(domain, wanted), mine, up, None);
        self.beside = used.remove(&at).map_or_else(Vec::new, |u| u.1);
        visited::value_at(domain, at)
    }

    /// Enqueued by the user, else without a choice, else moved ahead, else drawn together, else drawn now.
    pub(crate) fn choose(&self, name: &str, domain: &Domain) -> Result<f64, TrialError> {
        if let Some(value) = self.fixed.get(name) {
            return domain.internal(value).map_err(|source| TrialError::Fixed {
                name: name.to_owned(),
                source,
            });
        }
        if let Some(only) = only_value(domain) {
            return Ok(only);
        }
        for drawn in [&self.ahead, &self.proposed] {
            if let Some(drawn) = drawn.assignment(name)
                && drawn.domain == *domain
            {
                return Ok(drawn.internal);
            }
        }
        let context = self.view.context(self.record.number);
        Ok(self.view.sampler.propose_one(&context, name, domain))
    }

    /// Reports how far the objective has come: its value at `step`, which may be NaN or infinite. A second report
    /// at a step replaces the first.
    pub fn report(&mut self, step: i64, value: f64) {
        self.record.intermediate.insert(step, value);
    }

    /// Whether the study's pruner would stop the trial here; ask after each [`Trial::report`] and end with
    /// [`Stop::Pruned`] when it says so. Depends on the reports of this trial and on the finished
    /// trials that it may see, on nothing else; but a trial that has run longer than its limit always should. It is then
    /// recorded as failed.
    pub fn should_prune(&mut self) -> bool {
        if self.check().is_err() {
            return true;
        }
        let context = pruner::Context {
            trial: self.record.number,
            reports: &self.record.intermediate,
            history: &self.view.history[..self.view.visible],
            directions: &self.view.directions,
            seed: self.view.pruner_seed,
        };
        let notes = &mut self.record.system_attrs;
        self.view.pruner.prune(&context, notes)
    }

    /// Whether the trial may still run. Long objectives without reports call it now and then, with `?`.
    ///
    /// # Errors
    /// [`Stop::Failed`] once the trial has run longer than the limit of
    /// [`StudyBuilder::trial_timeout`](super::StudyBuilder::trial_timeout).
    pub fn check(&self) -> Result<(), Stop> {
        let limit = self.limit.as_ref();
        match limit.and_then(TimeLimit::exceeded_now) {
            Some(why) => Err(Stop::Failed(why)),
            None => Ok(()),
        }
    }

    /// Runs a part of the objective, on whatever thread took it up. An objective that shares its work with other threads of a
    /// rayon pool wraps the pieces in it, if trials have a limit of time: a thread that waits for its pieces may take up one
    /// of another trial, and the time counts for the trial whose piece it is. A trial's time is that in which at least one
    /// thread works on it.
    pub fn part<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.limit {
            Some(limit) => limit.part(work),
            None => work(),
        }
    }

    /// Tells by how much constraints hold, such as a limit on memory: each value at most 0 holds, and larger ones are worse.
    ///
    /// Only trials whose constraints all hold can be the best, and samplers draw away from the others. Every trial
    /// of a study should tell the same constraints in the same order, whether they hold or not; a second call replaces
    /// the first. Infinite values are kept as the largest number there is.
    ///
    /// # Errors
    /// When a value is NaN.
    pub fn constrain(&mut self, values: impl IntoIterator<Item = f64>) -> Result<(), TrialError> {
        constrain(&mut self.record, values)
    }

    /// Notes something about the trial under `key`; it is stored with the trial.
    pub fn note(&mut self, key: impl Into<String>, value: impl Into<Json>) {
        self.record.user_attrs.insert(key.into(), value.into());
    }
}

/// Writes the values of a trial's constraints; see [`Trial::constrain`].
pub(crate) fn constrain(
    record: &mut TrialRecord,
    values: impl IntoIterator<Item = f64>,
) -> Result<(), TrialError> {
    let values: Vec<f64> = values.into_iter().collect();
    if let Some(place) = values.iter().position(|v| v.is_nan()) {
        return Err(TrialError::Constraint { place });
    }
    // JSON has no infinity.
    let stored = values.iter().map(|v| v.clamp(f64::MIN, f64::MAX));
    let stored: Json = stored.collect();
    record.system_attrs.insert(CONSTRAINTS.to_owned(), stored);
    Ok(())
}

/// The value of a domain that has only one.
pub(crate) fn only_value(domain: &Domain) -> Option<f64> {
    domain.is_single().then_some(match domain {
        Domain::Float { low, .. } => *low,
        Domain::Int { low, .. } => *low as f64,
        Domain::Categorical { .. } => 0.0,
    })
}

fn domain(name: &str, made: Result<Domain, SpaceError>) -> Result<Domain, TrialError> {
    made.map_err(|source| TrialError::Domain {
        name: name.to_owned(),
        source,
    })
}

/// A draw of a real number that waits for its scale.
#[must_use = "finish the draw with `uniform()`, `log()` or `step(s)`"]
pub struct FloatDraw<'t> {
    trial: &'t mut Trial,
    name: &'t str,
    range: RangeInclusive<f64>,
}

impl FloatDraw<'_> {
    /// Every value of the range alike.
    ///
    /// # Errors
    /// As [`Trial::draw`], and when the range is reversed or not finite.
    pub fn uniform(self) -> Result<f64, TrialError> {
        self.draw(None, false)
    }

    /// Every order of magnitude alike; the range begins above 0.
    ///
    /// # Errors
    /// As [`FloatDraw::uniform`], and when the range begins at 0 or below.
    pub fn log(self) -> Result<f64, TrialError> {
        self.draw(None, true)
    }

    /// One of `low`, `low + step`, … up to the end of the range.
    ///
    /// # Errors
    /// As [`FloatDraw::uniform`], and when the step is not above 0.
    pub fn step(self, step: f64) -> Result<f64, TrialError> {
        self.draw(Some(step), false)
    }

    fn draw(self, step: Option<f64>, log: bool) -> Result<f64, TrialError> {
        let (low, high) = self.range.into_inner();
        let domain = domain(self.name, Domain::float(low, high, step, log))?;
        self.trial.draw(self.name, &domain)
    }
}

/// A draw of a whole number that waits for its scale.
#[must_use = "finish the draw with `uniform()`, `log()` or `step(s)`"]
pub struct IntDraw<'t> {
    trial: &'t mut Trial,
    name: &'t str,
    range: RangeInclusive<i64>,
}

impl IntDraw<'_> {
    /// Every value of the range alike.
    ///
    /// # Errors
    /// As [`Trial::draw`], and when the range is reversed.
    pub fn uniform(self) -> Result<i64, TrialError> {
        self.draw(1, false)
    }

    /// Every order of magnitude alike; the range begins at 1 or above.
    ///
    /// # Errors
    /// As [`IntDraw::uniform`], and when the range begins below 1.
    pub fn log(self) -> Result<i64, TrialError> {
        self.draw(1, true)
    }

    /// One of `low`, `low + step`, … up to the end of the range.
    ///
    /// # Errors
    /// As [`IntDraw::uniform`], and when the step is below 1.
    pub fn step(self, step: i64) -> Result<i64, TrialError> {
        self.draw(step, false)
    }

    fn draw(self, step: i64, log: bool) -> Result<i64, TrialError> {
        let (low, high) = self.range.into_inner();
        let domain = domain(self.name, Domain::int(low, high, step, log))?;
        Ok(self.trial.draw(self.name, &domain)? as i64)
    }
}
