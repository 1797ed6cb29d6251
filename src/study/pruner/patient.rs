//! Patience: a trial may be stopped only when its reports have not become better for a while; then another pruner
//! decides, or nobody asks further. As in Optuna 5.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::study::record::{Attrs, Direction};

use super::table::by_spec;
use super::{Context, Pruner, PrunerError};

/// The parameters of [`Patient`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatientParams {
    /// The pruner that decides once patience is at its end: a name, `{name: {setting: value}}`, or null for none:
    /// then the trial is stopped.
    pub pruner: Json,
    /// So many reports in a row may be no better.
    pub patience: usize,
    /// What counts as better, at least 0.
    pub min_delta: f64,
}

impl Default for PatientParams {
    fn default() -> Self {
        PatientParams {
            pruner: Json::Null,
            patience: 5,
            min_delta: 0.0,
        }
    }
}

/// Waits before another pruner may stop a trial.
#[derive(Clone)]
pub struct Patient {
    inner: Option<Arc<dyn Pruner>>,
    patience: usize,
    min_delta: f64,
}

impl Patient {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When the other pruner does not exist or `min_delta` is below 0.
    pub fn new(params: PatientParams) -> Result<Self, PrunerError> {
        let inner = match params.pruner {
            Json::Null => None,
            spec => Some(Arc::from(by_spec(&spec)?)),
        };
        if !(params.min_delta.is_finite() && params.min_delta >= 0.0) {
            return Err(PrunerError::param(
                "patient",
                "`min_delta` must be a number of at least 0".to_owned(),
            ));
        }
        Ok(Patient {
            inner,
            patience: params.patience,
            min_delta: params.min_delta,
        })
    }

    fn lost(&self, ctx: &Context<'_>) -> bool {
        let reports = ctx.reports;
        let Some(before) = reports
            .len()
            .checked_sub(self.patience.saturating_add(1))
            .filter(|n| *n > 0)
        else {
            return false;
        };
        let direction = ctx.direction();
        let best = |values: &mut dyn Iterator<Item = f64>| {
            values
                .filter(|v| !v.is_nan())
                .reduce(|a, b| if direction.better(b, a) { b } else { a })
        };
        let (old, new) = (
            best(&mut reports.values().copied().take(before)),
            best(&mut reports.values().copied().skip(before)),
        );
        match (old, new, direction) {
            (Some(old), Some(new), Direction::Minimize) => old + self.min_delta < new,
            (Some(old), Some(new), Direction::Maximize) => old - self.min_delta > new,
            _ => false,
        }
    }
}

impl Pruner for Patient {
    fn name(&self) -> &'static str {
        "patient"
    }

    fn params(&self) -> Json {
        let inner = self.inner.as_ref().map(|p| json!({p.name(): p.params()}));
        json!({"pruner": inner, "patience": self.patience, "min_delta": self.min_delta})
    }

    fn prune(&self, ctx: &Context<'_>, notes: &mut Attrs) -> bool {
        self.lost(ctx) && self.inner.as_ref().is_none_or(|p| p.prune(ctx, notes))
    }

    fn blocks(&self) -> bool {
        self.inner.as_ref().is_some_and(|p| p.blocks())
    }
}
