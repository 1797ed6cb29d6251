//! Threshold pruning: a trial stops when a report is NaN or outside of two limits. As in Optuna 5.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::study::record::Attrs;

use super::{Context, Pruner, PrunerError, due};

/// The parameters of [`Threshold`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdParams {
    /// Reports below it stop the trial.
    pub lower: Option<f64>,
    /// Reports above it stop the trial.
    pub upper: Option<f64>,
    /// Nothing is stopped before this step.
    pub n_warmup_steps: u64,
    /// Steps from one check to the next, at least 1.
    pub interval_steps: u64,
}

impl Default for ThresholdParams {
    fn default() -> Self {
        ThresholdParams {
            lower: None,
            upper: None,
            n_warmup_steps: 0,
            interval_steps: 1,
        }
    }
}

/// Stops trials by fixed limits.
#[derive(Clone, Debug)]
pub struct Threshold {
    params: ThresholdParams,
}

impl Threshold {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// Without any limit, when `lower` is above `upper`, when `interval_steps` is 0.
    pub fn new(params: ThresholdParams) -> Result<Self, PrunerError> {
        let refuse = |what: &str| Err(PrunerError::param("threshold", what.to_owned()));
        if params.lower.is_none() && params.upper.is_none() {
            return refuse("give `lower` or `upper` or both, as in `{threshold: {upper: 10.0}}`");
        }
        if params.lower.is_some_and(f64::is_nan) || params.upper.is_some_and(f64::is_nan) {
            return refuse("`lower` and `upper` must be numbers");
        }
        if let (Some(lower), Some(upper)) = (params.lower, params.upper)
            && lower > upper
        {
            return refuse("`lower` must not be above `upper`");
        }
        if params.interval_steps == 0 {
            return refuse("`interval_steps` must be at least 1");
        }
        Ok(Threshold { params })
    }
}

impl Pruner for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn prune(&self, ctx: &Context<'_>, _: &mut Attrs) -> bool {
        let p = &self.params;
        let Some((step, value)) = ctx.last() else {
            return false;
        };
        due(ctx.reports, step, p.n_warmup_steps, p.interval_steps)
            && (value.is_nan()
                || p.lower.is_some_and(|l| value < l)
                || p.upper.is_some_and(|u| value > u))
    }
}
