//! The tree-structured Parzen estimator, TPE.
//!
//! Finished trials are split into a good tenth and the rest. A Parzen estimator (a mixture with one kernel per
//! trial) is fitted to each side, candidates are drawn from the good one, and the candidate with the largest ratio
//! of good to bad density is proposed. Trials in flight count as bad, which keeps parallel trials apart.
//! Parameters that always occur together are drawn together, so that the mixture keeps what belongs together.
//!
//! After Bergstra et al., *Algorithms for Hyper-Parameter Optimization* (NIPS 2011); the constants and the kernels
//! are those of Optuna 5.

mod history;
mod parzen;
mod split;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::seed::Seed;
use crate::study::record::TrialState;
use crate::study::space::{Assignment, Domain, Params};
use crate::study::trial::only_value;

use super::random::{self, param_seed};
use super::{Context, Sampler, SamplerError};
use history::{History, Subspace};
use parzen::Parzen;

/// The parameters of [`Tpe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TpeParams {
    /// This many trials are drawn at random before the estimator is used.
    pub n_startup_trials: usize,
    /// Candidates per draw, at least 1.
    pub n_ei_candidates: usize,
    /// Whether parameters that occur in every trial are drawn together rather than each for itself. Unset: yes
    /// with one direction, no with several.
    pub multivariate: Option<bool>,
    /// With `multivariate`: whether parameters that only some trials have are drawn together too, in groups that
    /// always occur together.
    pub group: bool,
    /// The weight of the uniform-like prior kernel against one trial, above 0.
    pub prior_weight: f64,
    /// Whether trials in flight count as bad.
    pub constant_liar: bool,
}

impl Default for TpeParams {
    fn default() -> Self {
        TpeParams {
            n_startup_trials: 10,
            n_ei_candidates: 24,
            multivariate: None,
            group: true,
            prior_weight: 1.0,
            constant_liar: true,
        }
    }
}

/// The tree-structured Parzen estimator; see the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Tpe {
    params: TpeParams,
}

impl Tpe {
    /// A sampler with these parameters.
    ///
    /// # Errors
    /// When there are no candidates or the prior weight is not above 0.
    pub fn new(params: TpeParams) -> Result<Self, SamplerError> {
        let refuse = |what: String| {
            Err(SamplerError::Param {
                sampler: "tpe",
                what,
            })
        };
        if params.n_ei_candidates == 0 {
            return refuse("`n_ei_candidates` must be at least 1".to_owned());
        }
        let weight = params.prior_weight;
        if !(weight.is_finite() && weight > 0.0) {
            return refuse(format!(
                "`prior_weight` must be a number above 0, not {weight}"
            ));
        }
        Ok(Tpe { params })
    }

    fn starting_up(&self, ctx: &Context<'_>) -> bool {
        let informative = |state| matches!(state, TrialState::Complete | TrialState::Pruned);
        let mut known = ctx.history.iter().filter(|t| informative(t.state));
        // Without any trial there is nothing to estimate from, whatever `n_startup_trials` says.
        known
            .nth(self.params.n_startup_trials.saturating_sub(1))
            .is_none()
    }

    /// Draws one subspace; one internal value per parameter.
    fn draw(
        &self,
        ctx: &Context<'_>,
        history: &History<'_>,
        space: &Subspace<'_>,
        seed: Seed,
    ) -> Vec<f64> {
        let (below, above) = history.observations(space);
        let prior = self.params.prior_weight;
        // With several directions, the good trials are good in different ways: none is older news.
        let ramp = ctx.directions.len() == 1;
        let good = Parzen::fit(&space.domains, &below, prior, ramp);
        let bad = Parzen::fit(&space.domains, &above, prior, true);
        let candidates = good.sample(self.params.n_ei_candidates, &mut seed.rng());
        let (l, g) = (good.ln_density(&candidates), bad.ln_density(&candidates));
        let mut best = 0;
        for i in 1..l.len() {
            if l[i] - g[i] > l[best] - g[best] {
                best = i;
            }
        }
        candidates.values(best)
    }
}

impl Sampler for Tpe {
    fn name(&self) -> &'static str {
        "tpe"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let together = self
            .params
            .multivariate
            .unwrap_or(ctx.directions.len() == 1);
        if !together || self.starting_up(ctx) {
            return Params::default();
        }
        let history = History::new(ctx, self.params.constant_liar);
        let mut params = Params::default();
        for space in history.subspaces(self.params.group) {
            // Named after its first parameter, so that a group that appears later changes no other.
            let seed = ctx.seed.child("together", 0).child(space.names[0], 0);
            let values = self.draw(ctx, &history, &space, seed);
            for ((name, domain), internal) in space.names.iter().zip(&space.domains).zip(values) {
                params.0.push(Assignment {
                    name: (*name).to_owned(),
                    domain: (*domain).clone(),
                    internal,
                });
            }
        }
        params
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        if let Some(only) = only_value(domain) {
            return only;
        }
        let seed = param_seed(ctx, name);
        if self.starting_up(ctx) {
            return random::draw(domain, &mut seed.rng());
        }
        let history = History::new(ctx, self.params.constant_liar);
        let space = Subspace {
            names: vec![name],
            domains: vec![domain],
        };
        self.draw(ctx, &history, &space, seed)[0]
    }
}
