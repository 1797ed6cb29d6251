//! The logarithm of expected improvement, without underflow.
//!
//! With z = (best − mean) / deviation, expected improvement is deviation × h(z), h(z) = φ(z) + z Φ(z). Far below the
//! best, h has no digits left, its logarithm does. Ament et al., *Unexpected Improvements to Expected Improvement*
//! (NeurIPS 2023).

use libm::{exp, log, log1p};

use crate::stats::normal::{LN_SQRT_2PI, cdf, ln_cdf};

/// ln h(z), for finite `z`.
pub(super) fn ln_h(z: f64) -> f64 {
    let ln_density = -0.5 * z * z - LN_SQRT_2PI;
    if z > -1.0 {
        log(exp(ln_density) + z * cdf(z))
    } else if z > -15.0 {
        ln_density + log1p(z * exp(ln_cdf(z) - ln_density))
    } else {
        // h(z) = φ(z) Σ (−1)^k (2k + 1)!! / z^(2k + 2); at −15 the first term left out is below 1e-10.
        let u = 1.0 / (z * z);
        let series = u * (-3.0 + u * (15.0 + u * (-105.0 + u * (945.0 - u * 10_395.0))));
        ln_density - 2.0 * log(-z) + log1p(series)
    }
}

/// ln EI where a function with this mean and variance shall be below `best`.
pub(super) fn ln_improvement(mean: f64, variance: f64, best: f64) -> f64 {
    let deviation = variance.sqrt();
    log(deviation) + ln_h((best - mean) / deviation)
}

/// [`ln_improvement`] and its derivatives by mean and variance.
pub(super) fn with_slopes(mean: f64, variance: f64, best: f64) -> (f64, f64, f64) {
    let deviation = variance.sqrt();
    let z = (best - mean) / deviation;
    let ln_h = ln_h(z);
    let by_mean = -exp(ln_cdf(z) - ln_h) / deviation;
    let by_deviation = exp(-0.5 * z * z - LN_SQRT_2PI - ln_h) / deviation;
    (
        log(deviation) + ln_h,
        by_mean,
        0.5 * by_deviation / deviation,
    )
}
