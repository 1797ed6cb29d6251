//! The normal distribution that CMA-ES searches with, and its update by one group of points.
//!
//! Hansen, *The CMA Evolution Strategy: A Tutorial* (2016), with negative weights; names of the constants as there.
//! Points that were not drawn from the distribution are allowed for as in Hansen, *Injecting External Solutions Into
//! CMA-ES* (2011): a step counts with a limited length, and the step size grows by a limited factor.

use libm::{exp, log, pow};

use crate::stats::cholesky::dot;
use crate::stats::eigen::Eigen;

/// The default strategy parameters for a number of coordinates and a population.
#[derive(Clone, Debug)]
pub(super) struct Strategy {
    pub population: usize,
    parents: usize,
    /// From the best point to the worst; those of the worse half are negative.
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// The expected length of a standard normal vector.
    chi: f64,
}

impl Strategy {
    /// For `n` coordinates, at least 1, and a population of at least 2.
    pub(super) fn new(n: usize, population: usize) -> Self {
        let d = n as f64;
        let parents = population / 2;
        let middle = log((population as f64 + 1.0) / 2.0);
        let raw: Vec<f64> = (1..=population).map(|i| middle - log(i as f64)).collect();
        let effective = |w: &[f64]| {
            let (sum, squares) = (w.iter().sum::<f64>(), w.iter().map(|w| w * w).sum::<f64>());
            sum * sum / squares
        };
        let mu_eff = effective(&raw[..parents]);
        let mu_eff_negative = effective(&raw[parents..]);
        let c_1 = 2.0 / ((d + 1.3) * (d + 1.3) + mu_eff);
        let c_mu = (2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((d + 2.0) * (d + 2.0) + mu_eff))
            .min(1.0 - c_1 - 1e-8);
        let negative = (1.0 + c_1 / c_mu)
            .min(1.0 + 2.0 * mu_eff_negative / (mu_eff + 2.0))
            .min((1.0 - c_1 - c_mu) / (d * c_mu));
        let sum_of = |w: &mut dyn Iterator<Item = &f64>| w.map(|w| w.abs()).sum::<f64>();
        let positive_sum = sum_of(&mut raw.iter().filter(|w| **w > 0.0));
        let negative_sum = sum_of(&mut raw.iter().filter(|w| **w < 0.0));
        let weight = |w: &f64| match *w >= 0.0 {
            true => w / positive_sum,
            false => negative / negative_sum * w,
        };
        let c_sigma = (mu_eff + 2.0) / (d + mu_eff + 5.0);
        Strategy {
            population,
            parents,
            weights: raw.iter().map(weight).collect(),
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (d + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / d) / (d + 4.0 + 2.0 * mu_eff / d),
            c_1,
            c_mu,
            chi: d.sqrt() * (1.0 - 1.0 / (4.0 * d) + 1.0 / (21.0 * d * d)),
        }
    }
}

/// The distribution N(mean, sigma² C) and the paths that it came by.
#[derive(Clone, Debug)]
pub(super) struct Evolution {
    pub strategy: Strategy,
    pub mean: Vec<f64>,
    pub sigma: f64,
    /// C, row-major.
    pub covariance: Vec<f64>,
    path_sigma: Vec<f64>,
    pub path_c: Vec<f64>,
    generation: f64,
    /// Square roots of the eigenvalues of C.
    pub lengths: Vec<f64>,
    /// Eigenvectors of C in columns.
    pub directions: Vec<f64>,
}

/// What an eigenvalue counts as that rounding made negative.
const LEAST: f64 = 1e-8;
/// No step size grows beyond this.
const LARGEST: f64 = 1e32;

impl Evolution {
    /// Begins at `mean` with the covariance sigma² C, where C is row-major, symmetric and positive definite.
    pub(super) fn new(mean: Vec<f64>, sigma: f64, covariance: Vec<f64>, population: usize) -> Self {
        let n = mean.len();
        let mut evolution = Evolution {
            strategy: Strategy::new(n, population),
            mean,
            sigma,
            covariance,
            path_sigma: vec![0.0; n],
            path_c: vec![0.0; n],
            generation: 0.0,
            lengths: vec![1.0; n],
            directions: identity(n),
        };
        evolution.decompose();
        evolution
    }

    pub(super) fn len(&self) -> usize {
        self.mean.len()
    }

    /// The point of the distribution that a standard normal vector stands for.
    pub(super) fn point(&self, z: &[f64]) -> Vec<f64> {
        let n = self.len();
        let stretched: Vec<f64> = z.iter().zip(&self.lengths).map(|(z, l)| z * l).collect();
        let row = |i: usize| dot(&self.directions[i * n..(i + 1) * n], &stretched);
        (0..n).map(|i| self.mean[i] + self.sigma * row(i)).collect()
    }

    /// The standard deviation of one coordinate.
    pub(super) fn deviation(&self, i: usize) -> f64 {
        self.sigma * self.covariance[i * self.len() + i].sqrt()
    }

    /// The inverse of sigma² C, row-major.
    pub(super) fn precision(&self) -> Vec<f64> {
        let per = |l: &f64| 1.0 / (l * l * self.sigma * self.sigma);
        self.of_axes(&self.lengths.iter().map(per).collect::<Vec<_>>())
    }

    /// The matrix with the directions of C and these eigenvalues.
    fn of_axes(&self, values: &[f64]) -> Vec<f64> {
        let n = self.len();
        let mut out = vec![0.0; n * n];
        for i in 0..n {
            let row = &self.directions[i * n..(i + 1) * n];
            let scaled: Vec<f64> = row.iter().zip(values).map(|(b, v)| b * v).collect();
            for j in 0..n {
                out[i * n + j] = dot(&scaled, &self.directions[j * n..(j + 1) * n]);
            }
        }
        out
    }

    /// One update by a whole group of points, the best first.
    pub(super) fn update(&mut self, ranked: &[Vec<f64>]) {
        let n = self.len();
        let d = n as f64;
        self.generation += 1.0;
        let s = &self.strategy;
        let whitening = self.of_axes(&self.lengths.iter().map(|l| 1.0 / l).collect::<Vec<_>>());
        let whiten = |y: &[f64]| -> Vec<f64> {
            (0..n)
                .map(|i| dot(&whitening[i * n..(i + 1) * n], y))
                .collect()
        };
        // Longer steps hardly occur among draws of this distribution.
        let longest = d.sqrt() + 2.0;
        let mut steps: Vec<(Vec<f64>, f64)> = Vec::with_capacity(ranked.len());
        for x in ranked {
            let step = x.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma);
            let mut step: Vec<f64> = step.collect();
            let white = whiten(&step);
            let mut length = dot(&white, &white).sqrt();
            if length > longest {
                step.iter_mut().for_each(|y| *y *= longest / length);
                length = longest;
            }
            steps.push((step, length));
        }
        let mut mean_step = vec![0.0; n];
        for ((step, _), weight) in steps[..s.parents].iter().zip(&s.weights) {
            for (sum, y) in mean_step.iter_mut().zip(step) {
                *sum += weight * y;
            }
        }
        let white = whiten(&mean_step);
        let gain = (s.c_sigma * (2.0 - s.c_sigma) * s.mu_eff).sqrt();
        for (p, w) in self.path_sigma.iter_mut().zip(&white) {
            *p = (1.0 - s.c_sigma) * *p + gain * w;
        }
        let length = dot(&self.path_sigma, &self.path_sigma).sqrt();
        let settled = (1.0 - pow(1.0 - s.c_sigma, 2.0 * (self.generation + 1.0))).sqrt();
        let moving = length / settled < (1.4 + 2.0 / (d + 1.0)) * s.chi;
        let gain = if moving {
            (s.c_c * (2.0 - s.c_c) * s.mu_eff).sqrt()
        } else {
            0.0
        };
        for (p, y) in self.path_c.iter_mut().zip(&mean_step) {
            *p = (1.0 - s.c_c) * *p + gain * y;
        }
        let lost = if moving { 0.0 } else { s.c_c * (2.0 - s.c_c) };
        let sum: f64 = s.weights.iter().sum();
        let keep = 1.0 + s.c_1 * lost - s.c_1 - s.c_mu * sum;
        self.covariance.iter_mut().for_each(|c| *c *= keep);
        add_outer(&mut self.covariance, s.c_1, &self.path_c);
        for ((step, length), weight) in steps.iter().zip(&s.weights) {
            // Bad steps count with one length, so that the covariance stays positive definite.
            let size = match *weight >= 0.0 {
                true => 1.0,
                false => d / (length * length + LEAST),
            };
            add_outer(&mut self.covariance, s.c_mu * weight * size, step);
        }
        for (m, y) in self.mean.iter_mut().zip(&mean_step) {
            *m += self.sigma * y;
        }
        let growth = (s.c_sigma / s.d_sigma * (length / s.chi - 1.0)).min(1.0);
        self.sigma = (self.sigma * exp(growth)).min(LARGEST);
        self.decompose();
    }

    fn decompose(&mut self) {
        let n = self.len();
        let Some(eigen) = Eigen::new(&self.covariance, n) else {
            // Numbers that overflowed: as good as a new start around the mean.
            self.covariance = identity(n);
            self.lengths = vec![1.0; n];
            self.directions = identity(n);
            return;
        };
        let root = |v: &f64| if *v <= 0.0 { LEAST.sqrt() } else { v.sqrt() };
        self.lengths = eigen.values.iter().map(root).collect();
        self.directions = eigen.vectors;
        if eigen.values.iter().any(|v| *v <= 0.0) {
            let values: Vec<f64> = self.lengths.iter().map(|l| l * l).collect();
            self.covariance = self.of_axes(&values);
        }
    }
}

/// The unit matrix of `n` rows.
pub(super) fn identity(n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    (0..n).for_each(|i| out[i * n + i] = 1.0);
    out
}

/// Adds `factor` x xᵀ.
fn add_outer(matrix: &mut [f64], factor: f64, x: &[f64]) {
    let n = x.len();
    for (row, xi) in matrix.chunks_exact_mut(n).zip(x) {
        for (c, xj) in row.iter_mut().zip(x) {
            *c += factor * (xi * xj);
        }
    }
}
