//! Gaussian-process regression: a Matérn-5/2 kernel with one length scale per axis, fitted by maximum a posteriori.
//!
//! Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), chapters 2 and 5. Between two points the
//! kernel sees the sum over axes of weight × squared difference; on an axis of choices the difference is 0 or 1. The
//! priors on weights, scale and noise are those of Optuna's `GPSampler`.

use crate::stats::cholesky::{Cholesky, dot, inverse_from_factor};
use crate::stats::lbfgs::{self, Limits};
use crate::stats::normal::LN_SQRT_2PI;
use crate::stats::simd::widest;
use crate::stats::special::exp;

/// Points by axis: `columns[axis][point]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    pub columns: Vec<Vec<f64>>,
    /// Whether an axis has choices, which are equal or not and nothing else.
    pub choice: Vec<bool>,
}

impl Points {
    pub(super) fn row(&self, i: usize) -> Vec<f64> {
        self.columns.iter().map(|c| c[i]).collect()
    }

    pub(super) fn push(&mut self, row: &[f64]) {
        for (column, x) in self.columns.iter_mut().zip(row) {
            column.push(*x);
        }
    }
}

/// The parameters of the kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kernel {
    /// Per axis, one over the squared length scale.
    pub weights: Vec<f64>,
    /// The variance of the function.
    pub scale: f64,
    /// The variance of the noise.
    pub noise: f64,
}

impl Kernel {
    pub(super) fn new(axes: usize) -> Self {
        Kernel {
            weights: vec![1.0; axes],
            scale: 1.0,
            noise: 1e-3,
        }
    }
}

/// No noise below this, for the matrix must stay positive definite.
pub(super) const LEAST_NOISE: f64 = 1e-7;
const WEIGHTS: (f64, f64) = (1e-4, 1e5);
const SCALES: (f64, f64) = (1e-3, 1e3);

/// Writes the weighted squared distances of `x` to the first `out.len()` points.
#[inline(always)]
fn squared_distances(points: &Points, weights: &[f64], x: impl Fn(usize) -> f64, out: &mut [f64]) {
    out.fill(0.0);
    for (axis, column) in points.columns.iter().enumerate() {
        let (at, weight) = (x(axis), weights[axis]);
        if points.choice[axis] {
            for (d, c) in out.iter_mut().zip(column) {
                *d += if *c == at { 0.0 } else { weight };
            }
        } else {
            for (d, c) in out.iter_mut().zip(column) {
                *d += weight * ((c - at) * (c - at));
            }
        }
    }
}

/// Turns squared distances into the kernel (of scale 1), and writes its derivative by the squared distance.
#[inline(always)]
fn matern(distances: &mut [f64], derivative: &mut [f64]) {
    for (d, slope) in distances.iter_mut().zip(derivative) {
        let r = (5.0 * *d).sqrt();
        let e = exp(-r);
        *slope = -(5.0 / 6.0) * (1.0 + r) * e;
        *d = (1.0 + r + r * r / 3.0) * e;
    }
}

/// The value to be minimized over `theta` = ln weights, ln scale, ln noise: minus the logarithm of the posterior of the
/// kernel up to a constant; and its gradient.
pub(super) fn objective(points: &Points, y: &[f64], theta: &[f64], gradient: &mut [f64]) -> f64 {
    let (n, axes) = (y.len(), points.columns.len());
    let kernel = from_theta(theta);
    let mut k = vec![0.0; n * n];
    let mut slope = vec![0.0; n * n];
    widest(
        #[inline(always)]
        || {
            for i in 0..n {
                let (row, slopes) = (&mut k[i * n..=i * n + i], &mut slope[i * n..=i * n + i]);
                squared_distances(points, &kernel.weights, |a| points.columns[a][i], row);
                matern(row, slopes);
                row.iter_mut().for_each(|k| *k *= kernel.scale);
                row[i] += kernel.noise;
            }
        },
    );
    let Some(factor) = Cholesky::new(k.clone(), n) else {
        return f64::INFINITY;
    };
    let alpha = factor.solve(y);
    let inverse = inverse_from_factor(&factor.inverse_factor(), n);
    let mut value = 0.5 * dot(y, &alpha) + 0.5 * factor.ln_det() + n as f64 * LN_SQRT_2PI;
    // d value / dK = (K⁻¹ − α αᵀ) / 2; each pair below the diagonal counts twice.
    let (mut by_scale, mut by_noise) = (0.0, 0.0);
    gradient.fill(0.0);
    widest(
        #[inline(always)]
        || {
            let mut outer = vec![0.0; n];
            for i in 0..n {
                let at = i * n;
                for j in 0..i {
                    outer[j] = inverse[at + j] - alpha[i] * alpha[j];
                }
                let own = 0.5 * (inverse[at + i] - alpha[i] * alpha[i]);
                by_scale += dot(&outer[..i], &k[at..at + i]) + own * kernel.scale;
                by_noise += own * kernel.noise;
                for j in 0..i {
                    outer[j] *= slope[at + j];
                }
                for (axis, column) in points.columns.iter().enumerate() {
                    let x = column[i];
                    let mut lanes = [0.0; 8];
                    let (o, c) = (outer[..i].chunks_exact(8), column[..i].chunks_exact(8));
                    let rest = o.remainder().iter().zip(c.remainder());
                    let choice = points.choice[axis];
                    let square = |c: f64| {
                        if choice {
                            f64::from(u8::from(c != x))
                        } else {
                            (c - x) * (c - x)
                        }
                    };
                    for (o, c) in o.zip(c) {
                        for l in 0..8 {
                            lanes[l] += o[l] * square(c[l]);
                        }
                    }
                    let tail: f64 = rest.map(|(o, c)| o * square(*c)).sum();
                    gradient[axis] += lanes.iter().sum::<f64>() + tail;
                }
            }
        },
    );
    for (g, w) in gradient.iter_mut().zip(&kernel.weights) {
        *g *= w * kernel.scale;
        // Prior of a weight: −0.1 (w + 1/w).
        value += 0.1 * (w + 1.0 / w);
        *g += 0.1 * (w - 1.0 / w);
    }
    // Gamma(2, 1) on the scale, Gamma(1.1, 30) on the noise.
    value += kernel.scale - theta[axes] + 30.0 * kernel.noise - 0.1 * theta[axes + 1];
    gradient[axes] = by_scale + kernel.scale - 1.0;
    gradient[axes + 1] = by_noise + 30.0 * kernel.noise - 0.1;
    value
}

fn from_theta(theta: &[f64]) -> Kernel {
    let (weights, rest) = theta.split_at(theta.len() - 2);
    Kernel {
        weights: weights.iter().map(|t| exp(*t)).collect(),
        scale: exp(rest[0]),
        noise: exp(rest[1]),
    }
}

pub(super) fn to_theta(kernel: &Kernel) -> Vec<f64> {
    let all = kernel.weights.iter().chain([&kernel.scale, &kernel.noise]);
    all.map(|x| libm::log(*x)).collect()
}

/// The kernel of the largest posterior that steps from `starts` lead to, and minus the logarithm of that posterior.
pub(super) fn fit(
    points: &Points,
    y: &[f64],
    starts: &[Kernel],
    evaluations: usize,
) -> (Kernel, f64) {
    let axes = points.columns.len();
    let ln = |(low, high): (f64, f64)| (libm::log(low), libm::log(high));
    let mut bounds = vec![ln(WEIGHTS); axes];
    bounds.extend([ln(SCALES), ln((LEAST_NOISE, 10.0))]);
    let limits = Limits {
        steps: evaluations,
        evaluations,
        tolerance: 1e-3,
    };
    let mut best: Option<(Kernel, f64)> = None;
    for start in starts {
        let f = |theta: &[f64], g: &mut [f64]| objective(points, y, theta, g);
        let (theta, value) = lbfgs::minimize(f, &to_theta(start), &bounds, limits);
        if value.is_finite() && best.as_ref().is_none_or(|(_, b)| value < *b) {
            best = Some((from_theta(&theta), value));
        }
    }
    best.unwrap_or_else(|| (Kernel::new(axes), f64::INFINITY))
}

/// The posterior of a function, given observations.
#[derive(Clone, Debug)]
pub(super) struct Posterior {
    points: Points,
    pub(super) kernel: Kernel,
    /// `L⁻¹` of the covariance of the observations.
    factor: Vec<f64>,
    alpha: Vec<f64>,
}

/// Room for one prediction, so that thousands need no allocation.
#[derive(Default)]
pub(super) struct Scratch {
    k: Vec<f64>,
    slope: Vec<f64>,
    v: Vec<f64>,
    beta: Vec<f64>,
}

impl Posterior {
    /// Conditions on `y` at `points`. The noise is raised where the covariance is not positive definite; `None` when
    /// that does not help either, as with numbers that are not finite.
    pub(super) fn new(points: Points, y: &[f64], mut kernel: Kernel) -> Option<Self> {
        let n = y.len();
        for _ in 0..8 {
            let mut k = vec![0.0; n * n];
            widest(
                #[inline(always)]
                || {
                    let mut slopes = vec![0.0; n];
                    for i in 0..n {
                        let row = &mut k[i * n..=i * n + i];
                        squared_distances(&points, &kernel.weights, |a| points.columns[a][i], row);
                        matern(row, &mut slopes[..=i]);
                        row.iter_mut().for_each(|k| *k *= kernel.scale);
                        row[i] += kernel.noise;
                    }
                },
            );
            if let Some(factor) = Cholesky::new(k, n) {
                return Some(Posterior {
                    alpha: factor.solve(y),
                    factor: factor.inverse_factor(),
                    points,
                    kernel,
                });
            }
            kernel.noise *= 10.0;
        }
        None
    }

    /// Mean and variance of the function (without noise) at `x`.
    pub(super) fn predict(&self, x: &[f64], room: &mut Scratch) -> (f64, f64) {
        self.weigh(x, room);
        (dot(&room.k, &self.alpha), self.variance(room))
    }

    /// As [`Posterior::predict`], and both gradients by the coordinates of `x`; along axes of choices they are 0.
    pub(super) fn gradient(
        &self,
        x: &[f64],
        room: &mut Scratch,
        by_mean: &mut [f64],
        by_variance: &mut [f64],
    ) -> (f64, f64) {
        self.weigh(x, room);
        let n = room.k.len();
        room.beta.clear();
        room.beta.resize(n, 0.0);
        widest(
            #[inline(always)]
            || {
                for (i, v) in room.v.iter().enumerate() {
                    let row = &self.factor[i * n..=i * n + i];
                    for (b, f) in room.beta.iter_mut().zip(row) {
                        *b += v * f;
                    }
                }
                for axis in 0..x.len() {
                    (by_mean[axis], by_variance[axis]) = (0.0, 0.0);
                    if self.points.choice[axis] {
                        continue;
                    }
                    let column = &self.points.columns[axis];
                    let (mut mean, mut variance) = ([0.0; 8], [0.0; 8]);
                    let step = |j: usize| room.slope[j] * (x[axis] - column[j]);
                    let whole = n / 8 * 8;
                    for at in (0..whole).step_by(8) {
                        for l in 0..8 {
                            let d = step(at + l);
                            mean[l] += d * self.alpha[at + l];
                            variance[l] += d * room.beta[at + l];
                        }
                    }
                    for j in whole..n {
                        let d = step(j);
                        mean[j - whole] += d * self.alpha[j];
                        variance[j - whole] += d * room.beta[j];
                    }
                    let factor = 2.0 * self.kernel.scale * self.kernel.weights[axis];
                    by_mean[axis] = factor * mean.iter().sum::<f64>();
                    by_variance[axis] = -2.0 * factor * variance.iter().sum::<f64>();
                }
            },
        );
        (dot(&room.k, &self.alpha), self.variance(room))
    }

    /// Fills `k` with the covariances to the observations, `slope` with the kernel's slopes, and `v` with `L⁻¹ k`.
    fn weigh(&self, x: &[f64], room: &mut Scratch) {
        let n = self.alpha.len();
        room.k.resize(n, 0.0);
        room.slope.resize(n, 0.0);
        room.v.resize(n, 0.0);
        widest(
            #[inline(always)]
            || {
                squared_distances(&self.points, &self.kernel.weights, |a| x[a], &mut room.k);
                matern(&mut room.k, &mut room.slope);
                room.k.iter_mut().for_each(|k| *k *= self.kernel.scale);
                for i in 0..n {
                    room.v[i] = dot(&self.factor[i * n..=i * n + i], &room.k[..=i]);
                }
            },
        );
    }

    fn variance(&self, room: &Scratch) -> f64 {
        let explained = dot(&room.v, &room.v);
        (self.kernel.scale - explained).max(1e-12 * self.kernel.scale)
    }

    /// The smallest posterior mean at an observed point among those that `count` counts.
    pub(super) fn smallest_mean(
        &self,
        y: &[f64],
        count: impl Fn(usize) -> bool,
    ) -> Option<(usize, f64)> {
        // K α = y − noise · α, so the mean at an observed point needs no kernel.
        let means = y
            .iter()
            .zip(&self.alpha)
            .map(|(y, a)| y - self.kernel.noise * a);
        means
            .enumerate()
            .filter(|(i, _)| count(*i))
            .reduce(|a, b| if b.1 < a.1 { b } else { a })
    }
}
