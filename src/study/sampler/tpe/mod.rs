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

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::seed::Seed;
use crate::study::record::TrialState;
use crate::study::space::{Assignment, Domain, Params};
use crate::study::trial::only_value;

use super::random::{self, param_seed};
use super::{Context, Sampler, SamplerError};
pub(super) use history::seen_in;
use history::{History, Subspace};
use parzen::{Candidates, Parzen};

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
#[derive(Default)]
pub struct Tpe {
    params: TpeParams,
    /// What was read of studies; taken out while it is in use, so nobody waits for another's proposal.
    read: Mutex<Vec<History>>,
}

/// Trials that run at once see different numbers of trials; this many are remembered.
const REMEMBERED: usize = 4;

/// When all candidates were tried, as many are drawn again, this often.
const ROUNDS: usize = 8;

impl Clone for Tpe {
    fn clone(&self) -> Self {
        Tpe {
            params: self.params.clone(),
            read: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Tpe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tpe").field("params", &self.params).finish()
    }
}

impl Tpe {
    /// A sampler with these parameters.
    ///
    /// # Errors
    /// When there are no candidates or the prior weight is not above 0.
    pub fn new(params: TpeParams) -> Result<Self, SamplerError> {
        let refuse = |what: String| Err(SamplerError::param("tpe", what));
        if params.n_ei_candidates == 0 {
            return refuse("`n_ei_candidates` must be at least 1".to_owned());
        }
        let weight = params.prior_weight;
        if !(weight.is_finite() && weight > 0.0) {
            return refuse(format!(
                "`prior_weight` must be a number above 0, not {weight}"
            ));
        }
        Ok(Tpe {
            params,
            read: Mutex::default(),
        })
    }

    fn starting_up(&self, ctx: &Context<'_>) -> bool {
        let informative = |state| matches!(state, TrialState::Complete | TrialState::Pruned);
        let mut known = ctx.history.iter().filter(|t| informative(t.state));
        // Without any trial there is nothing to estimate from, whatever `n_startup_trials` says.
        known
            .nth(self.params.n_startup_trials.saturating_sub(1))
            .is_none()
    }

    /// Calls `use_it` with what is known of the trials that `ctx` sees.
    fn with_history<T>(&self, ctx: &Context<'_>, use_it: impl FnOnce(&mut History) -> T) -> T {
        let lock = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut history = {
            let mut all = lock();
            let fitting = all.iter().enumerate().filter(|(_, h)| h.begins(ctx));
            let best = fitting.max_by_key(|(_, h)| h.len()).map(|(i, _)| i);
            best.map_or_else(History::default, |i| all.remove(i))
        };
        history.extend(ctx);
        let result = use_it(&mut history);
        let mut all = lock();
        all.push(history);
        if all.len() > REMEMBERED {
            all.remove(0);
        }
        result
    }

    /// Draws one subspace; one internal value per parameter.
    fn draw(
        &self,
        ctx: &Context<'_>,
        history: &mut History,
        space: &Subspace,
        seed: Seed,
    ) -> Vec<f64> {
        let prior = self.params.prior_weight;
        let pending = match self.params.constant_liar {
            true => ctx.pending,
            false => &[],
        };
        history.with_sides(space, ctx, pending, |sides, memos| {
            // With several directions, the good trials are good in different ways: none is older news.
            let ramp = ctx.directions.len() == 1;
            let good = Parzen::fit(&space.domains, &sides.good, prior, ramp, &mut memos.0);
            let bad = Parzen::fit(&space.domains, &sides.bad, prior, true, &mut memos.1);
            let mut rng = seed.rng();
            let mut candidates = good.sample(self.params.n_ei_candidates, &mut rng);
            if let Some(points) = &sides.points {
                // What was tried is left out. When nothing is left after all rounds, the study moves the best.
                let tried = |c: &Candidates| -> Vec<bool> {
                    let key = |i| history::key(&space.domains, &c.values(i));
                    (0..c.len()).map(|i| points.contains(&key(i))).collect()
                };
                for _ in 0..ROUNDS {
                    let out = tried(&candidates);
                    if out.contains(&false) {
                        candidates.leave_out(&out);
                        break;
                    }
                    candidates = good.sample(self.params.n_ei_candidates, &mut rng);
                }
            }
            let (l, g) = (good.ln_density(&candidates), bad.ln_density(&candidates));
            let mut best = 0;
            for i in 1..l.len() {
                if l[i] - g[i] > l[best] - g[best] {
                    best = i;
                }
            }
            candidates.values(best)
        })
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
        self.with_history(ctx, |history| {
            let mut params = Params::default();
            for space in history.subspaces(self.params.group) {
                // Named after its first parameter, so that a group that appears later changes no other.
                let seed = ctx.seed.child("together", 0).child(&space.names[0], 0);
                let values = self.draw(ctx, history, &space, seed);
                for ((name, domain), internal) in
                    space.names.into_iter().zip(space.domains).zip(values)
                {
                    params.0.push(Assignment {
                        name,
                        domain,
                        internal,
                    });
                }
            }
            params
        })
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        if let Some(only) = only_value(domain) {
            return only;
        }
        let seed = param_seed(ctx, name);
        if self.starting_up(ctx) {
            return random::draw(domain, &mut seed.rng());
        }
        let space = Subspace {
            names: vec![name.to_owned()],
            domains: vec![domain.clone()],
        };
        self.with_history(ctx, |history| self.draw(ctx, history, &space, seed)[0])
    }
}
