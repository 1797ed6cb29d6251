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
use std::sync::Arc;

use serde_json::Value as Json;

use crate::seed::Seed;

use super::record::{Direction, TrialRecord};
use super::sampler::{Context, Sampler};
use super::space::{Assignment, Domain, Params, SpaceError, Value};

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
    /// Of this trial.
    pub seed: Seed,
}

impl View {
    pub(crate) fn context(&self, trial: u64) -> Context<'_> {
        Context {
            trial,
            history: &self.history[..self.visible],
            pending: &self.pending,
            directions: &self.directions,
            seed: self.seed.child("sampler", 0),
        }
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
}

impl Trial {
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

    /// Enqueued by the user, else without a choice, else drawn together, else drawn now.
    fn choose(&self, name: &str, domain: &Domain) -> Result<f64, TrialError> {
        if let Some(value) = self.fixed.get(name) {
            return domain.internal(value).map_err(|source| TrialError::Fixed {
                name: name.to_owned(),
                source,
            });
        }
        if let Some(only) = only_value(domain) {
            return Ok(only);
        }
        if let Some(drawn) = self.proposed.assignment(name)
            && drawn.domain == *domain
        {
            return Ok(drawn.internal);
        }
        let context = self.view.context(self.record.number);
        Ok(self.view.sampler.propose_one(&context, name, domain))
    }

    /// Reports how far the objective has come: its value at `step`, which may be NaN or infinite. A second report
    /// at a step replaces the first.
    pub fn report(&mut self, step: i64, value: f64) {
        self.record.intermediate.insert(step, value);
    }

    /// Notes something about the trial under `key`; it is stored with the trial.
    pub fn note(&mut self, key: impl Into<String>, value: impl Into<Json>) {
        self.record.user_attrs.insert(key.into(), value.into());
    }
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
