//! Median and percentile pruning: a trial stops when its best report so far is worse than a percentile of what complete
//! trials reported at the same step.
//!
//! After Golovin et al., *Google Vizier* (KDD 2017), as in Optuna 5.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::study::record::{Attrs, Direction};

use super::{Context, Pruner, PrunerError, due};

/// The parameters of [`Median`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MedianParams {
    /// Nothing is stopped before this many trials are complete.
    pub n_startup_trials: usize,
    /// Nothing is stopped before this step.
    pub n_warmup_steps: u64,
    /// Steps from one check to the next, at least 1.
    pub interval_steps: u64,
    /// Nothing is stopped at a step that fewer complete trials reported at; at least 1.
    pub n_min_trials: usize,
}

impl Default for MedianParams {
    fn default() -> Self {
        MedianParams {
            n_startup_trials: 5,
            n_warmup_steps: 0,
            interval_steps: 1,
            n_min_trials: 1,
        }
    }
}

/// The parameters of [`Percentile`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PercentileParams {
    /// Trials within this best share go on, in percent, 0 to 100.
    pub percentile: f64,
    /// As in [`MedianParams`].
    pub n_startup_trials: usize,
    /// As in [`MedianParams`].
    pub n_warmup_steps: u64,
    /// As in [`MedianParams`].
    pub interval_steps: u64,
    /// As in [`MedianParams`].
    pub n_min_trials: usize,
}

impl Default for PercentileParams {
    fn default() -> Self {
        PercentileParams {
            percentile: 25.0,
            n_startup_trials: 5,
            n_warmup_steps: 0,
            interval_steps: 1,
            n_min_trials: 1,
        }
    }
}

/// Stops what is worse than the median.
#[derive(Clone, Debug, Default)]
pub struct Median {
    params: MedianParams,
}

impl Median {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When `interval_steps` or `n_min_trials` is 0.
    pub fn new(params: MedianParams) -> Result<Self, PrunerError> {
        check("median", params.interval_steps, params.n_min_trials)?;
        Ok(Median { params })
    }
}

/// Stops what is not within the best percent.
#[derive(Clone, Debug, Default)]
pub struct Percentile {
    params: PercentileParams,
}

impl Percentile {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When `percentile` is not within 0 and 100, when `interval_steps` or `n_min_trials` is 0.
    pub fn new(params: PercentileParams) -> Result<Self, PrunerError> {
        check("percentile", params.interval_steps, params.n_min_trials)?;
        if !(0.0..=100.0).contains(&params.percentile) {
            let what = format!(
                "`percentile` must be within 0 and 100, not {}",
                params.percentile
            );
            return Err(PrunerError::param("percentile", what));
        }
        Ok(Percentile { params })
    }
}

fn check(pruner: &'static str, interval: u64, min_trials: usize) -> Result<(), PrunerError> {
    for (key, zero) in [
        ("interval_steps", interval == 0),
        ("n_min_trials", min_trials == 0),
    ] {
        if zero {
            return Err(PrunerError::param(
                pruner,
                format!("`{key}` must be at least 1"),
            ));
        }
    }
    Ok(())
}

impl Pruner for Median {
    fn name(&self) -> &'static str {
        "median"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn prune(&self, ctx: &Context<'_>, _: &mut Attrs) -> bool {
        worse_than(ctx, 50.0, &self.params)
    }
}

impl Pruner for Percentile {
    fn name(&self) -> &'static str {
        "percentile"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn prune(&self, ctx: &Context<'_>, _: &mut Attrs) -> bool {
        let p = &self.params;
        let limits = MedianParams {
            n_startup_trials: p.n_startup_trials,
            n_warmup_steps: p.n_warmup_steps,
            interval_steps: p.interval_steps,
            n_min_trials: p.n_min_trials,
        };
        worse_than(ctx, p.percentile, &limits)
    }
}

fn worse_than(ctx: &Context<'_>, percentile: f64, limits: &MedianParams) -> bool {
    let complete = ctx.complete().count();
    if complete == 0 || complete < limits.n_startup_trials {
        return false;
    }
    let Some((step, _)) = ctx.last() else {
        return false;
    };
    if !due(
        ctx.reports,
        step,
        limits.n_warmup_steps,
        limits.interval_steps,
    ) {
        return false;
    }
    let direction = ctx.direction();
    let best = ctx.reports.values().copied().filter(|v| !v.is_nan());
    let best = best.reduce(|a, b| if direction.better(b, a) { b } else { a });
    let Some(best) = best else {
        return true;
    };
    let mut others: Vec<f64> = ctx
        .complete()
        .filter_map(|t| t.intermediate.get(&step).copied())
        .collect();
    if others.len() < limits.n_min_trials {
        return false;
    }
    others.retain(|v| !v.is_nan());
    let share = match direction {
        Direction::Minimize => percentile,
        Direction::Maximize => 100.0 - percentile,
    };
    quantile(&mut others, share / 100.0).is_some_and(|limit| direction.better(limit, best))
}

/// The quantile of numbers, between two of them by linear interpolation; none without any.
fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = share * last as f64;
    let low = (at.floor() as usize).min(last);
    let (a, b) = (values[low], values[(low + 1).min(last)]);
    let part = at - low as f64;
    // Equal ends may be infinite, and their difference is then no number.
    if a == b || part == 0.0 {
        return Some(a);
    }
    Some(if part >= 0.5 {
        b - (b - a) * (1.0 - part)
    } else {
        a + (b - a) * part
    })
}
