//! The sampler for those who do not want to choose one.
//!
//! The first trials are spread over the space. Then a Gaussian process over the whole space, conditions included, takes
//! turns with a local one around the best trial; when nothing gets better, some trials are drawn as if the process were
//! less sure of itself. Later, when the process costs more than it gains, local refinement takes turns with CMA-ES, which
//! begins with the best trials so far and learns from its own ones only: so it can find what lies far from the best. Very
//! wide spaces and studies of several directions are left to TPE. Where trials tell constraints, there is no local refinement:
//! the process over the whole space counts how likely they hold, and TPE follows.
//!
//! Which way a trial is drawn is a function of its context, so the contract of samplers holds; [`Sampler::explain`] says
//! which it is.

use std::sync::Arc;

use crate::study::record::TrialRecord;
use crate::study::space::{Domain, Params};

use super::cmaes::{CmaEs, Turns};
use super::gp::{Gp, stalled};
use super::tpe::Tpe;
use super::{Context, Sampler};

/// Up to this many trials are left to the process over the whole space.
const WHOLE: u64 = 300;
/// Before this trial there is nothing to refine.
const REFINE_FROM: u64 = 26;
/// Parameters beyond which a process learns too little from its trials.
const WIDEST: usize = 40;
/// What the weights of the process are multiplied by where it shall search farther away.
const DOUBT: f64 = 20.0;

/// Chooses among the other samplers; see the [module](self).
#[derive(Debug)]
pub struct Auto {
    gp: Gp,
    tpe: Tpe,
    cmaes: CmaEs,
}

/// Which trials are left to CMA-ES.
const TURNS: Turns = Turns {
    from: WHOLE,
    every: 4,
};

impl Default for Auto {
    fn default() -> Self {
        Auto {
            gp: Gp::default(),
            tpe: Tpe::default(),
            cmaes: CmaEs::in_turns(TURNS),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Spread,
    Whole,
    Doubting,
    Local,
    Constrained,
    Several,
    Wide,
    Evolving,
    Late,
}

impl Auto {
    fn way(&self, ctx: &Context<'_>) -> Way {
        if ctx.directions.len() != 1 {
            return Way::Several;
        }
        if self.gp.starting_up(ctx) {
            return Way::Spread;
        }
        let widest = ctx
            .history
            .iter()
            .rev()
            .take(20)
            .map(|t| t.params.0.len())
            .max();
        if widest.is_some_and(|n| n > WIDEST) {
            return Way::Wide;
        }
        let constrained = |t: &Arc<TrialRecord>| !t.constraints().is_empty();
        if ctx.history.iter().rev().take(20).any(constrained) {
            return match ctx.trial < WHOLE {
                true => Way::Constrained,
                false => Way::Late,
            };
        }
        if ctx.trial >= WHOLE {
            let begun = ctx.history.len() as u64 >= WHOLE;
            return match TURNS.place(ctx.trial) {
                Some(_) if begun => Way::Evolving,
                _ => Way::Local,
            };
        }
        let turn = ctx.trial % 8;
        if ctx.trial >= REFINE_FROM && stalled(ctx) {
            return match turn {
                0 | 1 => Way::Whole,
                4 | 5 => Way::Local,
                _ => Way::Doubting,
            };
        }
        if ctx.trial >= REFINE_FROM && turn % 4 < 2 {
            Way::Local
        } else {
            Way::Whole
        }
    }
}

impl Sampler for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn explain(&self, ctx: &Context<'_>) -> Option<String> {
        let why = match self.way(ctx) {
            Way::Spread => "spread over the space: too few complete trials to learn from",
            Way::Whole => "Gaussian process over the whole space",
            Way::Doubting => {
                "Gaussian process with shorter length scales: the last trials were no better, so it searches farther away"
            }
            Way::Local => "local refinement: a Gaussian process of the trials around the best one",
            Way::Constrained => {
                "Gaussian process over the whole space, with one of each constraint for how likely it holds"
            }
            Way::Several => "TPE: the study has several directions",
            Way::Wide => "TPE: too many parameters for a Gaussian process",
            Way::Late => {
                "TPE: the history is long, and a Gaussian process of all of it would cost too much"
            }
            Way::Evolving => {
                "CMA-ES: the history is long, and a Gaussian process of all of it would cost too much"
            }
        };
        Some(why.to_owned())
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let proposed = match self.way(ctx) {
            Way::Spread => return Params::default(),
            Way::Whole | Way::Constrained => self.gp.improve(ctx, 1.0),
            Way::Doubting => self.gp.improve(ctx, DOUBT),
            // Where nothing can be refined, as among choices alone, the whole space is searched.
            Way::Local if ctx.trial < WHOLE => {
                self.gp.refine(ctx).or_else(|| self.gp.improve(ctx, 1.0))
            }
            Way::Local => self.gp.refine(ctx),
            Way::Evolving => return self.cmaes.propose(ctx),
            Way::Several | Way::Wide | Way::Late => None,
        };
        proposed.unwrap_or_else(|| self.tpe.propose(ctx))
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        self.gp.propose_one(ctx, name, domain)
    }
}
