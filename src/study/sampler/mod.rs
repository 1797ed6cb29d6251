//! Samplers propose parameters.
//!
//! **Contract.** A proposal is a pure function of its [`Context`]: the seed, the finished trials that the trial may
//! see, and the parameters of those in flight. A sampler keeps no state of its own that could change a proposal, so a
//! resumed study equals an uninterrupted one. It may cache what it can compute again.

pub mod auto;
pub mod cmaes;
pub mod conformance;
pub mod gp;
pub mod grid;
pub mod nsga2;
pub mod partial_fixed;
pub mod qmc;
pub mod random;
mod table;
pub mod tpe;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::seed::Seed;

pub use table::{SAMPLERS, SamplerEntry, SamplerError, by_name};

use super::record::{Direction, TrialRecord};
use super::space::{Domain, Params};

/// What a sampler may know when it proposes parameters for one trial.
pub struct Context<'a> {
    /// The number of the trial that is being drawn.
    pub trial: u64,
    /// Finished trials that this trial may see, by number; whether complete, pruned or failed.
    pub history: &'a [Arc<TrialRecord>],
    /// Parameters of trials in flight that this trial may see, as known when they were asked for, by number.
    pub pending: &'a [Params],
    /// One per objective value.
    pub directions: &'a [Direction],
    /// The seed of this trial's draws.
    pub seed: Seed,
    /// The seed of what all trials of the study share, as a design that spreads them over the space.
    pub study_seed: Seed,
}

/// Proposes parameters; see the module for the contract. Object-safe.
pub trait Sampler: Send + Sync {
    /// The name in the table of samplers, as in `tpe`.
    fn name(&self) -> &'static str;

    /// The parameters of the sampler itself. A study refuses to go on with others. The default has none.
    fn params(&self) -> Json {
        Json::Null
    }

    /// How the trial of `ctx` is drawn and why, in one line, where there is a choice.
    fn explain(&self, ctx: &Context<'_>) -> Option<String> {
        let _ = ctx;
        None
    }

    /// Draws what can be drawn together before the objective runs: from the history the sampler works out which
    /// parameters trials of this study have. The objective's own calls take their values from here when name and
    /// domain agree. The default draws nothing.
    fn propose(&self, ctx: &Context<'_>) -> Params {
        let _ = ctx;
        Params::default()
    }

    /// Whether there is nothing left to propose: the study ends, unless it is told to repeat. The default never ends.
    fn exhausted(&self, ctx: &Context<'_>) -> bool {
        let _ = ctx;
        false
    }

    /// Whether the sampler holds this parameter at one value, so that the study does not move it to avoid a point that
    /// was tried. The default holds none.
    fn holds(&self, name: &str, domain: &Domain) -> bool {
        let _ = (name, domain);
        false
    }

    /// Draws one parameter that [`Sampler::propose`] did not. Returns the internal value, within `domain`.
    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64;
}

/// Whether `history` begins with these trials.
fn begins(taken: &[Arc<TrialRecord>], history: &[Arc<TrialRecord>]) -> bool {
    // Records do not change, and those held here keep their place in memory. One trial that is not where it was moves
    // all later ones, so a few places tell.
    let same = |i: usize| Arc::ptr_eq(&taken[i], &history[i]);
    let mut at = taken.len();
    if at > history.len() {
        return false;
    }
    while at > 0 {
        if !same(at - 1) {
            return false;
        }
        at /= 2;
    }
    true
}

macro_rules! sampler_behind {
    ($($pointer:ty),*) => {$(
        impl<S: Sampler + ?Sized> Sampler for $pointer {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn params(&self) -> Json {
                (**self).params()
            }

            fn explain(&self, ctx: &Context<'_>) -> Option<String> {
                (**self).explain(ctx)
            }

            fn propose(&self, ctx: &Context<'_>) -> Params {
                (**self).propose(ctx)
            }

            fn exhausted(&self, ctx: &Context<'_>) -> bool {
                (**self).exhausted(ctx)
            }

            fn holds(&self, name: &str, domain: &Domain) -> bool {
                (**self).holds(name, domain)
            }

            fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
                (**self).propose_one(ctx, name, domain)
            }
        }
    )*};
}
sampler_behind!(Box<S>, Arc<S>);
