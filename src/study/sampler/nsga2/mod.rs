//! NSGA-II: generations of trials, of which the best are the parents of the next.
//!
//! Complete trials form generations in their order, the first ones drawn at random. The parents of a generation are chosen
//! from the one before and its parents: by rank, and within a rank those that are farthest from their neighbours. Trials that
//! break their constraints rank after all others, by how much. A child takes its parameters from two parents, each of them the
//! better of two drawn at random, and some of its parameters are drawn anew. Parameters that only one of its parents
//! has come from that one, those that neither has are drawn at random.
//!
//! After Deb, Pratap, Agarwal and Meyarivan, *A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II* (2002), with the
//! constants of Optuna's `NSGAIISampler`, which does not look at crowding when it compares two parents. One direction
//! works as well.
//!
//! The parents are a function of the history; the latest ones are kept, and can be computed again.

mod cross;
mod lineage;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::study::space::{Domain, Params};

use super::random::{self, param_seed};
use super::{Context, Sampler, SamplerError};
use lineage::Lineage;

/// The parameters of [`Nsga2`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nsga2Params {
    /// Trials in a generation, and parents, at least 2.
    pub population_size: usize,
    /// How numbers are made from those of two parents. Choices are always taken from one of them.
    pub crossover: Crossover,
    /// How likely a child has two parents rather than being a copy of one, from 0 to 1.
    pub crossover_prob: f64,
    /// How likely a parameter is that of the second parent, from 0 to 1.
    pub swapping_prob: f64,
    /// How likely a parameter is drawn anew, from 0 to 1. Unset: one of all parameters on average.
    pub mutation_prob: Option<f64>,
}

/// How a number is made from those of two parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossover {
    /// One of both.
    Uniform,
    /// Simulated binary crossover: near one of both, nearer where they are close (Deb and Agrawal 1995).
    Sbx,
    /// Anywhere between both and half their distance beyond (Eshelman and Schaffer 1993).
    BlxAlpha,
}

impl Default for Nsga2Params {
    fn default() -> Self {
        Nsga2Params {
            population_size: 50,
            crossover: Crossover::Uniform,
            crossover_prob: 0.9,
            swapping_prob: 0.5,
            mutation_prob: None,
        }
    }
}

/// The NSGA-II sampler; see the [module](self).
#[derive(Debug, Default)]
pub struct Nsga2 {
    params: Nsga2Params,
    lineage: Lineage,
}

impl Nsga2 {
    /// A sampler with these parameters.
    ///
    /// # Errors
    /// When the population is smaller than 2 or a probability is not from 0 to 1.
    pub fn new(params: Nsga2Params) -> Result<Self, SamplerError> {
        let refuse = |what: String| Err(SamplerError::param("nsga2", what));
        if params.population_size < 2 {
            return refuse(format!(
                "`population_size` must be at least 2, not {}",
                params.population_size
            ));
        }
        for (name, value) in [
            ("crossover_prob", Some(params.crossover_prob)),
            ("swapping_prob", Some(params.swapping_prob)),
            ("mutation_prob", params.mutation_prob),
        ] {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value)
            {
                return refuse(format!("`{name}` must be from 0 to 1, not {value}"));
            }
        }
        Ok(Nsga2 {
            params,
            lineage: Lineage::default(),
        })
    }
}

impl Sampler for Nsga2 {
    fn name(&self) -> &'static str {
        "nsga2"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn explain(&self, ctx: &Context<'_>) -> Option<String> {
        let (generation, _) = self.lineage.parents(ctx, self.params.population_size);
        Some(match generation {
            0 => "the first generation: drawn at random".to_owned(),
            n => format!("generation {n}: a child of the best trials so far"),
        })
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let (_, parents) = self.lineage.parents(ctx, self.params.population_size);
        let mut rng = ctx.seed.child("together", 0).rng();
        cross::child(&self.params, &parents, ctx.directions.len(), &mut rng)
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        random::draw(domain, &mut param_seed(ctx, name).rng())
    }
}
