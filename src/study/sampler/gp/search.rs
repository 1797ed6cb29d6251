//! Where expected improvement is largest: random points of every shape and points near the best trials, then a local
//! search from the few most promising, along slopes on smooth axes and value by value on the others.

use crate::seed::Rng;
use crate::stats::lbfgs::{self, Limits};
use crate::stats::normal;

use super::super::random::{below, unit};
use super::improvement::{ln_improvement, with_slopes};
use super::limits::{self, Limit};
use super::regression::{Posterior, Scratch};
use super::space::{Layout, Scale, Shape};

/// Local searches.
const STARTS: usize = 6;
const ASCENT: Limits = Limits {
    steps: 25,
    evaluations: 35,
    tolerance: 1e-6,
};

/// What is searched, and what is known of it.
pub(super) struct Search<'a> {
    pub layout: &'a Layout<'a>,
    pub posterior: &'a Posterior,
    /// What shall be improved on; none where no trial holds the constraints yet, and one that does is looked for.
    pub best: Option<f64>,
    /// The constraints.
    pub limits: &'a [Limit],
    /// The points of all trials, which are not proposed again where values are discrete.
    pub taken: &'a [Vec<f64>],
    /// Good points with their shapes, the best first.
    pub elites: &'a [(Vec<f64>, usize)],
    /// Per axis, the part of it that is searched.
    pub window: &'a [(f64, f64)],
    /// Whether one shape alone is searched.
    pub only_shape: Option<usize>,
    pub candidates: usize,
}

/// A point, its shape and the logarithm of its expected improvement.
pub(super) type Found = (Vec<f64>, usize, f64);

impl Search<'_> {
    /// The best point found; `None` when all points are taken.
    pub(super) fn run(&self, rng: &mut Rng) -> Option<Found> {
        let mut room = Scratch::default();
        let mut found: Vec<Found> = Vec::new();
        let shapes = if self.only_shape.is_some() {
            1
        } else {
            self.layout.shapes.len()
        };
        for (at, shape) in self.layout.shapes.iter().enumerate() {
            if self.only_shape.is_some_and(|only| only != at) {
                continue;
            }
            let elites: Vec<&Vec<f64>> = self
                .elites
                .iter()
                .filter(|(_, s)| *s == at)
                .map(|(x, _)| x)
                .collect();
            let n = (self.candidates / shapes).max(40);
            for i in 0..n {
                let x = if i % 2 == 0 || elites.is_empty() {
                    self.anywhere(shape, rng)
                } else {
                    let near = below(elites.len() as u64, rng) as usize;
                    self.near(shape, elites[near], rng)
                };
                let value = self.value(&x, shape, &mut room);
                found.push((x, at, value));
            }
        }
        found.retain(|f| f.2 > f64::NEG_INFINITY);
        found.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut best: Option<Found> = None;
        let mut per_shape = vec![0; self.layout.shapes.len()];
        let mut starts = 0;
        for start in found {
            per_shape[start.1] += 1;
            if starts == STARTS || (shapes > 1 && per_shape[start.1] > STARTS / 2) {
                continue;
            }
            starts += 1;
            let end = self.climb(start, &mut room);
            if best.as_ref().is_none_or(|b| end.2 > b.2) {
                best = Some(end);
            }
        }
        best
    }

    fn anywhere(&self, shape: &Shape, rng: &mut Rng) -> Vec<f64> {
        let mut x = self.layout.draw(shape, rng);
        for (axis, (low, high)) in self.window.iter().enumerate() {
            if shape.has[axis] && shape.only[axis].is_none() && (*low, *high) != (0.0, 1.0) {
                let inside = low + (high - low) * unit(rng);
                x[axis] = self.layout.axes[axis].snap(inside);
            }
        }
        x
    }

    /// A good point with some coordinates changed, by steps of one random size.
    fn near(&self, shape: &Shape, elite: &[f64], rng: &mut Rng) -> Vec<f64> {
        let mut x = elite.to_vec();
        let axes: Vec<usize> = (0..shape.has.len()).filter(|a| shape.has[*a]).collect();
        if axes.is_empty() {
            return x;
        }
        let size = libm::exp(-6.0 * unit(rng)) * 0.3;
        let share = unit(rng);
        let always = axes[below(axes.len() as u64, rng) as usize];
        for &axis in &axes {
            if axis != always && unit(rng) > share {
                continue;
            }
            let scale = &self.layout.axes[axis];
            let (low, high) = self.window[axis];
            x[axis] = match (&shape.only[axis], scale.scale) {
                (Some(values), _) if !values.is_empty() => {
                    values[below(values.len() as u64, rng) as usize]
                }
                (_, Scale::Choice(_)) => scale.draw(rng),
                _ => {
                    let step = size * (high - low) * normal::quantile(unit(rng).max(1e-12));
                    scale.snap((x[axis] + step).clamp(low, high))
                }
            };
        }
        x
    }

    fn value(&self, x: &[f64], shape: &Shape, room: &mut Scratch) -> f64 {
        if self.is_taken(x, shape) {
            return f64::NEG_INFINITY;
        }
        let gain = self.best.map_or(0.0, |best| {
            let (mean, variance) = self.posterior.predict(x, room);
            ln_improvement(mean, variance, best)
        });
        gain + limits::ln_hold(self.limits, x, room)
    }

    fn is_taken(&self, x: &[f64], shape: &Shape) -> bool {
        let discrete = |(axis, has): (usize, &bool)| !has || self.layout.axes[axis].is_discrete();
        shape.has.iter().enumerate().all(discrete)
            && self
                .taken
                .iter()
                .any(|t| t.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-9))
    }

    /// The end of a local search.
    fn climb(&self, start: Found, room: &mut Scratch) -> Found {
        let (mut x, at, mut value) = start;
        let shape = &self.layout.shapes[at];
        for _ in 0..3 {
            let before = value;
            let up = self.ascend(&x, shape, room);
            let reached = self.value(&up, shape, room);
            if reached > value {
                (x, value) = (up, reached);
            }
            let moved = self.step_by_values(&mut x, &mut value, shape, room);
            if !moved || value < before + 1e-3 {
                break;
            }
        }
        (x, at, value)
    }

    /// Follows the slope on the smooth axes.
    fn ascend(&self, x: &[f64], shape: &Shape, room: &mut Scratch) -> Vec<f64> {
        let smooth: Vec<usize> = (0..shape.has.len())
            .filter(|&a| shape.has[a] && shape.only[a].is_none() && self.layout.axes[a].is_smooth())
            .collect();
        let mut full = x.to_vec();
        if smooth.is_empty() {
            return full;
        }
        let (mut by_mean, mut by_variance) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let mut slopes = vec![0.0; x.len()];
        let start: Vec<f64> = smooth.iter().map(|&a| x[a]).collect();
        let bounds: Vec<(f64, f64)> = smooth.iter().map(|&a| self.window[a]).collect();
        let mut at = full.clone();
        let f = |free: &[f64], g: &mut [f64]| {
            for (&axis, v) in smooth.iter().zip(free) {
                at[axis] = *v;
            }
            slopes.fill(0.0);
            let mut value = limits::add_slopes(self.limits, &at, room, &mut slopes);
            if let Some(best) = self.best {
                let (mean, variance) =
                    self.posterior
                        .gradient(&at, room, &mut by_mean, &mut by_variance);
                let (gain, dm, dv) = with_slopes(mean, variance, best);
                value += gain;
                for (slope, (m, v)) in slopes.iter_mut().zip(by_mean.iter().zip(&by_variance)) {
                    *slope += dm * m + dv * v;
                }
            }
            for (g, &axis) in g.iter_mut().zip(&smooth) {
                *g = -slopes[axis];
            }
            -value
        };
        let (end, _) = lbfgs::minimize(f, &start, &bounds, ASCENT);
        for (&axis, v) in smooth.iter().zip(&end) {
            full[axis] = self.layout.axes[axis].snap(*v);
        }
        full
    }

    /// Tries other values of discrete axes one after the other; whether any was better.
    fn step_by_values(
        &self,
        x: &mut [f64],
        value: &mut f64,
        shape: &Shape,
        room: &mut Scratch,
    ) -> bool {
        let mut moved = false;
        for axis in 0..shape.has.len() {
            if !shape.has[axis] || !self.layout.axes[axis].is_discrete() {
                continue;
            }
            let here = x[axis];
            let mut best = here;
            for other in self.alternatives(axis, shape, here) {
                if other == here {
                    continue;
                }
                x[axis] = other;
                let there = self.value(x, shape, room);
                if there > *value {
                    (*value, best, moved) = (there, other, true);
                }
            }
            x[axis] = best;
        }
        moved
    }

    fn alternatives(&self, axis: usize, shape: &Shape, here: f64) -> Vec<f64> {
        if let Some(values) = &shape.only[axis] {
            return values.clone();
        }
        let scale = &self.layout.axes[axis];
        if !scale.is_smooth() {
            return scale.few();
        }
        let Scale::Grid(n) = scale.scale else {
            return Vec::new();
        };
        let beside =
            [-2.0, -1.0, 1.0, 2.0].map(|steps| scale.snap((here + steps / n).clamp(0.0, 1.0)));
        beside.to_vec()
    }
}
