//! Asynchronous successive halving (ASHA) and Hyperband.
//!
//! A trial that reaches rung *k*, the step `min_resource · factor^(rate + k)`, goes on only if its report there is among
//! the best `1/factor` of all that reached the rung before. Hyperband runs several such brackets, each with another
//! first rung, because nobody knows how early a report can be trusted; a trial's bracket is drawn from the seed.
//!
//! After Li et al., *A System for Massively Parallel Hyperparameter Tuning* (MLSys 2020), and Li et al., *Hyperband*
//! (JMLR 2018), as in Optuna 5. What a trial reported at its rungs is kept under Optuna's names, `completed_rung_0` and
//! so on. Two things are made reproducible: a resource that is `auto` is taken from the first complete trial, and
//! brackets are drawn from the study's seed rather than its name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::study::record::{Attrs, TrialRecord};

use super::{Context, Pruner, PrunerError};

/// The parameters of [`Asha`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AshaParams {
    /// The step of the first rung, at least 1. Unset: a hundredth of the last step of the first complete trial.
    pub min_resource: Option<u64>,
    /// One in so many goes on, at least 2.
    pub reduction_factor: u64,
    /// How many rungs are left out at the beginning.
    pub min_early_stopping_rate: u32,
    /// So many trials must have reached a rung before any goes on from it; only with a `min_resource`.
    pub bootstrap_count: usize,
}

impl Default for AshaParams {
    fn default() -> Self {
        AshaParams {
            min_resource: None,
            reduction_factor: 4,
            min_early_stopping_rate: 0,
            bootstrap_count: 0,
        }
    }
}

/// The parameters of [`Hyperband`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HyperbandParams {
    /// The step of the first rung, at least 1.
    pub min_resource: u64,
    /// The largest step. Unset: one more than the last step of the first complete trial.
    pub max_resource: Option<u64>,
    /// One in so many goes on, at least 2.
    pub reduction_factor: u64,
    /// As in [`AshaParams`]; only with a `max_resource`.
    pub bootstrap_count: usize,
}

impl Default for HyperbandParams {
    fn default() -> Self {
        HyperbandParams {
            min_resource: 1,
            max_resource: None,
            reduction_factor: 3,
            bootstrap_count: 0,
        }
    }
}

/// Asynchronous successive halving.
#[derive(Clone, Debug, Default)]
pub struct Asha {
    params: AshaParams,
}

/// Several brackets of successive halving.
#[derive(Clone, Debug, Default)]
pub struct Hyperband {
    params: HyperbandParams,
}

impl Asha {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When a parameter is out of its range.
    pub fn new(params: AshaParams) -> Result<Self, PrunerError> {
        let refuse = |what: &str| Err(PrunerError::param("asha", what.to_owned()));
        if params.min_resource == Some(0) {
            return refuse("`min_resource` must be at least 1");
        }
        if params.reduction_factor < 2 {
            return refuse("`reduction_factor` must be at least 2");
        }
        if params.bootstrap_count > 0 && params.min_resource.is_none() {
            return refuse("`bootstrap_count` needs a `min_resource`");
        }
        Ok(Asha { params })
    }
}

impl Hyperband {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When a parameter is out of its range.
    pub fn new(params: HyperbandParams) -> Result<Self, PrunerError> {
        let refuse = |what: &str| Err(PrunerError::param("hyperband", what.to_owned()));
        if params.min_resource == 0 {
            return refuse("`min_resource` must be at least 1");
        }
        if params.max_resource.is_some_and(|m| m < params.min_resource) {
            return refuse("`max_resource` must not be below `min_resource`");
        }
        if params.reduction_factor < 2 {
            return refuse("`reduction_factor` must be at least 2");
        }
        if params.bootstrap_count > 0 && params.max_resource.is_none() {
            return refuse("`bootstrap_count` needs a `max_resource`");
        }
        Ok(Hyperband { params })
    }
}

impl Pruner for Asha {
    fn name(&self) -> &'static str {
        "asha"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn prune(&self, ctx: &Context<'_>, notes: &mut Attrs) -> bool {
        let p = &self.params;
        let first = p
            .min_resource
            .or_else(|| Some((last_step(ctx)? / 100).max(1)));
        let Some(first) = first else {
            return false;
        };
        let rungs = Rungs {
            first,
            factor: p.reduction_factor,
            rate: p.min_early_stopping_rate,
            bootstrap: p.bootstrap_count,
        };
        rungs.prune(ctx, &ctx.history.iter().collect::<Vec<_>>(), notes)
    }
}

impl Pruner for Hyperband {
    fn name(&self) -> &'static str {
        "hyperband"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn prune(&self, ctx: &Context<'_>, notes: &mut Attrs) -> bool {
        let p = &self.params;
        let most = p.max_resource.or_else(|| Some(last_step(ctx)? + 1));
        let Some(most) = most else {
            return false;
        };
        let shares = brackets(p.min_resource, most, p.reduction_factor);
        let total: u64 = shares.iter().sum();
        let bracket = |trial: u64| {
            let mut at = ctx.seed.child("bracket", trial).value() % total.max(1);
            let found = shares.iter().position(|share| {
                let here = at < *share;
                at = at.saturating_sub(*share);
                here
            });
            found.unwrap_or(0)
        };
        let own = bracket(ctx.trial);
        let rivals = ctx.history.iter().filter(|t| bracket(t.number) == own);
        let rungs = Rungs {
            first: p.min_resource,
            factor: p.reduction_factor,
            // There are at most 64 brackets.
            rate: own as u32,
            bootstrap: p.bootstrap_count,
        };
        rungs.prune(ctx, &rivals.collect::<Vec<_>>(), notes)
    }
}

/// How many trials of each round go to each bracket.
fn brackets(min: u64, max: u64, factor: u64) -> Vec<u64> {
    // ⌊log_factor(max / min)⌋ + 1, in whole numbers.
    let (mut count, mut reach) = (1_u32, min);
    while let Some(next) = reach.checked_mul(factor).filter(|r| *r <= max) {
        (count, reach) = (count + 1, next);
    }
    let share = |bracket: u32| {
        let s = count - 1 - bracket;
        let all = u64::from(count).saturating_mul(factor.saturating_pow(s));
        all.div_ceil(u64::from(s) + 1)
    };
    (0..count).map(share).collect()
}

/// The last step of the first complete trial that reported.
fn last_step(ctx: &Context<'_>) -> Option<u64> {
    let step = ctx
        .complete()
        .find_map(|t| t.intermediate.last_key_value())
        .map(|(step, _)| *step)?;
    Some(u64::try_from(step).unwrap_or(0))
}

struct Rungs {
    first: u64,
    factor: u64,
    rate: u32,
    bootstrap: usize,
}

impl Rungs {
    fn prune(&self, ctx: &Context<'_>, rivals: &[&Arc<TrialRecord>], notes: &mut Attrs) -> bool {
        let Some((step, value)) = ctx.last() else {
            return false;
        };
        let step = u64::try_from(step).unwrap_or(0);
        let direction = ctx.direction();
        let loss = direction.loss(value);
        let mut rung = 0_u32;
        while notes.contains_key(&key(rung)) {
            rung += 1;
        }
        loop {
            let reach = self.factor.checked_pow(self.rate.saturating_add(rung));
            // Beyond all numbers: a rung that nobody reaches.
            let Some(reach) = reach.and_then(|f| self.first.checked_mul(f)) else {
                return false;
            };
            if step < reach {
                return false;
            }
            if value.is_nan() {
                return true;
            }
            let key = key(rung);
            // JSON has no infinity: null, which counts as the worst.
            let read = |json: &Json| json.as_f64().map_or(f64::INFINITY, |v| direction.loss(v));
            let mut losses: Vec<f64> = rivals
                .iter()
                .filter_map(|t| t.system_attrs.get(&key).map(read))
                .collect();
            losses.push(loss);
            notes.insert(key, json!(value));
            if losses.len() <= self.bootstrap {
                return true;
            }
            losses.sort_unstable_by(f64::total_cmp);
            // The first ones of a rung: the best so far goes on.
            let promoted = (losses.len() as u64 / self.factor).saturating_sub(1);
            if loss > losses[promoted as usize] {
                return true;
            }
            rung += 1;
        }
    }
}

fn key(rung: u32) -> String {
    format!("completed_rung_{rung}")
}
