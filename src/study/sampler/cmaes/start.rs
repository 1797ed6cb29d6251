//! Where the first run begins: at what the user says, at the best part of another study, or at the best of the first
//! trials.
//!
//! Of another study: Nomura, Watanabe, Akimoto, Ozaki and Onishi, *Warm Starting CMA-ES for Hyperparameter Optimization*
//! (AAAI 2021), with its constants.

use std::collections::BTreeMap;

use libm::{exp, log};

use crate::stats::eigen::Eigen;
use crate::study::space::{Domain, Value};

use super::super::gp::Axis;
use super::evolution::identity;
use super::space::Space;

/// The deviation of each point of another study, of the range.
pub(super) const AROUND: f64 = 0.1;

/// The distribution that a run begins with.
pub(super) struct Start {
    pub mean: Vec<f64>,
    pub sigma: f64,
    pub covariance: Vec<f64>,
}

/// The coordinate of a value as the user writes it, if the domain has it.
pub(super) fn coordinate(name: &str, domain: &Domain, value: &Value) -> Option<f64> {
    let internal = domain.internal(value).ok()?;
    Some(Axis::new(name, domain).coordinate(internal))
}

/// Around the points of `warm_start` that have all parameters of the space, if there are any.
pub(super) fn warm(space: &Space, warm_start: &[BTreeMap<String, Value>]) -> Option<Start> {
    let n = space.len();
    let place = |point: &BTreeMap<String, Value>| -> Option<Vec<f64>> {
        let named = space.names.iter().zip(&space.domains);
        named
            .map(|(name, domain)| coordinate(name, domain, point.get(name)?))
            .collect()
    };
    let points: Vec<Vec<f64>> = warm_start.iter().filter_map(place).collect();
    if points.is_empty() {
        return None;
    }
    let count = points.len() as f64;
    let mean: Vec<f64> = (0..n)
        .map(|i| points.iter().map(|p| p[i]).sum::<f64>() / count)
        .collect();
    let mut covariance = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let product = |p: &Vec<f64>| (p[i] - mean[i]) * (p[j] - mean[j]);
            covariance[i * n + j] = points.iter().map(product).sum::<f64>() / count;
        }
        covariance[i * n + i] += AROUND * AROUND;
    }
    // The step size takes the volume, the matrix has the determinant 1.
    let ln_det: f64 = Eigen::new(&covariance, n)?
        .values
        .iter()
        .map(|v| log(*v))
        .sum();
    let sigma = exp(ln_det / (2.0 * n as f64));
    covariance.iter_mut().for_each(|c| *c /= sigma * sigma);
    Some(Start {
        mean,
        sigma,
        covariance,
    })
}

/// The weighted mean of points, the best first, with the weights of an update; the middle of all axes without any.
pub(super) fn middle(n: usize, points: &[Vec<f64>]) -> Vec<f64> {
    if points.is_empty() {
        return vec![0.5; n];
    }
    let weight = |rank: usize| log(points.len() as f64 + 0.5) - log(rank as f64 + 1.0);
    let sum: f64 = (0..points.len()).map(weight).sum();
    let at = |i: usize| -> f64 {
        let parts = points
            .iter()
            .enumerate()
            .map(|(rank, p)| weight(rank) * p[i]);
        parts.sum::<f64>() / sum
    };
    (0..n).map(at).collect()
}

/// Round the point of `start`; where it says nothing, round `otherwise`, of a coordinate per axis.
pub(super) fn round(
    space: &Space,
    start: &BTreeMap<String, Value>,
    otherwise: &[f64],
    sigma: f64,
) -> Start {
    let named = space.names.iter().zip(&space.domains);
    let mean = named.zip(otherwise).map(|((name, domain), otherwise)| {
        let said = start.get(name).and_then(|v| coordinate(name, domain, v));
        said.unwrap_or(*otherwise)
    });
    Start {
        mean: mean.collect(),
        sigma,
        covariance: identity(space.len()),
    }
}
