//! Constraints: a process of the values of each, and how likely all of them hold at a point.
//!
//! Expected improvement times the probability of holding, after Gardner et al., *Bayesian Optimization with Inequality
//! Constraints* (ICML 2014); here the logarithms are added.

use libm::exp;

use crate::stats::normal::{LN_SQRT_2PI, ln_cdf};
use crate::study::record::{TrialRecord, TrialState};

use super::regression::{Posterior, Scratch};
use super::space::Layout;
use super::{Gp, warp};

/// One constraint.
pub(super) struct Limit {
    posterior: Posterior,
    /// The warped value up to which it holds.
    threshold: f64,
}

impl Gp {
    /// The constraints that `known` trials tell; those whose values are all equal say nothing and are left out.
    pub(super) fn limits(&self, layout: &Layout<'_>, known: &[(&TrialRecord, f64)]) -> Vec<Limit> {
        let told: Vec<(&TrialRecord, Vec<f64>)> = known
            .iter()
            .filter(|(t, _)| t.state == TrialState::Complete)
            .map(|(t, _)| (*t, t.constraints()))
            .collect();
        let most = told.iter().map(|(_, c)| c.len()).max().unwrap_or(0);
        let limit = |at: usize| {
            let values = told.iter().filter_map(|(t, c)| Some((*t, *c.get(at)?)));
            self.limit(
                layout,
                &values.filter(|(_, v)| !v.is_nan()).collect::<Vec<_>>(),
            )
        };
        (0..most).filter_map(limit).collect()
    }

    fn limit(&self, layout: &Layout<'_>, told: &[(&TrialRecord, f64)]) -> Option<Limit> {
        let from = told.len().saturating_sub(self.params.max_points);
        let latest = &told[from..];
        // The value up to which it holds is bent with the others.
        let mut y: Vec<f64> = latest.iter().map(|(_, v)| *v).collect();
        y.push(0.0);
        let mut y = warp::warp(&y);
        let threshold = y.pop()?;
        let mut points = layout.points();
        for (trial, _) in latest {
            points.push(&layout.place(&trial.params).0);
        }
        let kernel = self.fit(told).onto(layout, 1.0);
        let posterior = Posterior::new(points, &y, kernel)?;
        Some(Limit {
            posterior,
            threshold,
        })
    }
}

/// The logarithm of the probability that all of `limits` hold at `x`.
pub(super) fn ln_hold(limits: &[Limit], x: &[f64], room: &mut Scratch) -> f64 {
    let one = |limit: &Limit| {
        let (mean, variance) = limit.posterior.predict(x, room);
        ln_cdf((limit.threshold - mean) / variance.sqrt())
    };
    limits.iter().map(one).sum()
}

/// [`ln_hold`], with its derivatives by the coordinates of `x` added to `slopes`.
pub(super) fn add_slopes(
    limits: &[Limit],
    x: &[f64],
    room: &mut Scratch,
    slopes: &mut [f64],
) -> f64 {
    let (mut by_mean, mut by_variance) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let mut sum = 0.0;
    for limit in limits {
        let posterior = &limit.posterior;
        let (mean, variance) = posterior.gradient(x, room, &mut by_mean, &mut by_variance);
        let deviation = variance.sqrt();
        let z = (limit.threshold - mean) / deviation;
        let ln = ln_cdf(z);
        // φ(z) / Φ(z)
        let ratio = exp(-0.5 * z * z - LN_SQRT_2PI - ln);
        for (slope, (m, v)) in slopes.iter_mut().zip(by_mean.iter().zip(&by_variance)) {
            *slope += ratio * (-m / deviation - 0.5 * z * v / variance);
        }
        sum += ln;
    }
    sum
}
