//! The margin: every value beside the one at the mean keeps a least probability, so that a coordinate of whole numbers
//! cannot get stuck on one of them.
//!
//! Hamano, Saito, Nomura and Shirakawa, *CMA-ES with Margin* (GECCO 2022). A coordinate of a grid is drawn with its own
//! stretch about the mean, which the covariance knows nothing of. What a trial says is only the cell that its point was
//! in; where in the cell the point was does not change what the objective saw, so it is drawn again from the
//! distribution within the cell, which makes the update the same in distribution.

use crate::seed::Rng;
use crate::stats::normal;

use super::super::random;
use super::evolution::Evolution;
use super::space::{Cell, Space};

/// Rounds of draws of each coordinate given the others.
const ROUNDS: usize = 2;

/// How far the coordinates of grids are stretched about the mean; 1 for all others.
#[derive(Clone, Debug)]
pub(super) struct Margin {
    pub stretch: Vec<f64>,
    /// Coordinates with a grid that is followed cell by cell.
    pub grids: Vec<usize>,
}

impl Margin {
    pub(super) fn new(space: &Space, with_margin: bool) -> Self {
        let grid = |i: &usize| with_margin && space.is_grid(*i);
        Margin {
            stretch: vec![1.0; space.len()],
            grids: (0..space.len()).filter(grid).collect(),
        }
    }

    /// The coordinates on the axes of a point of the distribution.
    pub(super) fn stretched(&self, evolution: &Evolution, point: &[f64]) -> Vec<f64> {
        let means = evolution.mean.iter().zip(&self.stretch);
        let stretched = point.iter().zip(means).map(|(x, (m, a))| (x - m) * a + m);
        stretched.collect()
    }

    /// A point of the distribution that has these values.
    pub(super) fn point(
        &self,
        evolution: &Evolution,
        space: &Space,
        values: &[f64],
        rng: &mut Rng,
    ) -> Vec<f64> {
        let n = space.len();
        let mut point: Vec<f64> = (0..n)
            .map(|i| space.axis(i).coordinate(values[i]))
            .collect();
        if self.grids.is_empty() {
            return point;
        }
        let mean = &evolution.mean;
        let cells: Vec<Cell> = self
            .grids
            .iter()
            .map(|&i| {
                let cell = space.open_cell(i, values[i]);
                let back = |x: f64| (x - mean[i]) / self.stretch[i] + mean[i];
                Cell {
                    low: back(cell.low),
                    high: back(cell.high),
                }
            })
            .collect();
        for (&i, cell) in self.grids.iter().zip(&cells) {
            point[i] = mean[i].max(cell.low).min(cell.high);
        }
        let precision = evolution.precision();
        for _ in 0..ROUNDS {
            for (&i, cell) in self.grids.iter().zip(&cells) {
                let row = &precision[i * n..(i + 1) * n];
                let others: f64 = (0..n)
                    .filter(|j| *j != i)
                    .map(|j| row[j] * (point[j] - mean[j]))
                    .sum();
                let (middle, deviation) = (mean[i] - others / row[i], 1.0 / row[i].sqrt());
                let part = |x: f64| (x - middle) / deviation;
                let z =
                    normal::truncated_quantile(random::unit(rng), part(cell.low), part(cell.high));
                let x = middle + deviation * z;
                let x = if x.is_finite() { x } else { middle };
                point[i] = x.max(cell.low).min(cell.high);
            }
        }
        point
    }

    /// Moves the means and stretches of grids after an update, so that the values beside the one at the mean keep
    /// the probability `margin` together.
    pub(super) fn correct(&mut self, evolution: &mut Evolution, space: &Space, margin: f64) {
        for &i in &self.grids {
            let mean = evolution.mean[i];
            let value = space.axis(i).internal(mean.clamp(0.0, 1.0));
            let cell = space.open_cell(i, value);
            let unit = evolution.deviation(i);
            let deviation = unit * self.stretch[i];
            let low = normal::cdf((cell.low - mean) / deviation);
            let high = normal::cdf((mean - cell.high) / deviation);
            if cell.low == f64::NEG_INFINITY || cell.high == f64::INFINITY {
                // At an end of the axis, all others together keep the margin.
                let (bound, sign) = match cell.high == f64::INFINITY {
                    true => (cell.low, 1.0),
                    false => (cell.high, -1.0),
                };
                if low.max(high) < margin && bound.is_finite() {
                    evolution.mean[i] = bound + sign * deviation * -normal::quantile(margin);
                }
                continue;
            }
            let least = margin / 2.0;
            if low >= least && high >= least {
                continue;
            }
            let middle = 1.0 - (low + high);
            let (low, high) = (low.max(least), high.max(least));
            let total = low + middle + high;
            let share = (1.0 - total) / (total - 3.0 * least);
            let bounded = |p: f64| (p + share * (p - least)).clamp(1e-10, 0.5 - 1e-10);
            let below = -normal::quantile(bounded(low));
            let above = -normal::quantile(bounded(high));
            self.stretch[i] = (cell.high - cell.low) / ((below + above) * unit);
            evolution.mean[i] = (cell.low * above + cell.high * below) / (below + above);
        }
    }
}
