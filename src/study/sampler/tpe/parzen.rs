//! The Parzen estimator: a mixture of products, one kernel per observation and one for the prior.
//!
//! A kernel is a product over parameters. Numerical parameters live on their scale (logarithmic or not) stretched
//! to [0, 1]; their factor is a normal distribution truncated to that interval, whose width is the distance to the
//! neighbouring observations. For parameters with steps, integers among them, the factor of a value is the mass of
//! the cell around it. Categories have a table with one count more for the observed choice.
//!
//! Constants of a kernel are computed when it is made, so that a density costs one multiply-add per kernel and
//! parameter and at most one exponential per kernel.

use std::collections::BTreeMap;

use libm::{exp, log};

use crate::seed::Rng;
use crate::stats::simd;
use crate::stats::{normal, special};
use crate::study::space::Domain;

use super::super::random::{below, unit};

/// Internal values of several parameters over several trials, one column per parameter.
pub(super) struct Observations {
    columns: Vec<Vec<f64>>,
    /// What tells the trials apart, ascending.
    ids: Vec<usize>,
    /// Per trial, its place among all of its side and how many of them it stands for.
    ranks: Vec<(usize, usize)>,
    /// How many trials the side has.
    of: usize,
    /// From this id on, another call may mean other trials.
    finished: usize,
}

impl Observations {
    /// None yet, with room for `room`, of a side that has `of`.
    pub(super) fn new(dims: usize, of: usize, room: usize) -> Self {
        Observations {
            columns: (0..dims).map(|_| Vec::with_capacity(room)).collect(),
            ids: Vec::with_capacity(room),
            ranks: Vec::with_capacity(room),
            of,
            finished: 0,
        }
    }

    /// Adds trial `id`, the `rank`-th of its side, which stands for `stands_for` of them.
    pub(super) fn push(&mut self, id: usize, rank: usize, stands_for: usize, row: &[f64]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(*value);
        }
        self.ids.push(id);
        self.ranks.push((rank, stands_for));
    }

    /// Ids below `id` always mean the same trials.
    pub(super) fn finished(&mut self, id: usize) {
        self.finished = id;
    }

    /// Sets how many trials the side has.
    pub(super) fn of(&mut self, of: usize) {
        self.of = of;
    }
}

/// What is kept from one fit to the next: the order of values, and constants that take long to compute.
pub(super) struct Memo {
    ids: Vec<usize>,
    finished: usize,
    dims: Vec<MemoColumn>,
}

#[derive(Default)]
struct MemoColumn {
    /// Bits of the stretched value, which are ordered as values in [0, 1] are, and place among the observations.
    sorted: Vec<(u64, usize)>,
    /// Per kernel: mean and width, and what follows from them.
    kernels: Vec<(f64, f64, f64, f64)>,
}

impl Memo {
    pub(super) fn new(dims: usize) -> Self {
        let mut columns = Vec::new();
        columns.resize_with(dims, MemoColumn::default);
        Memo {
            ids: Vec::new(),
            finished: 0,
            dims: columns,
        }
    }

    /// What changed from the last fit to that of `seen`.
    fn update(&mut self, seen: &Observations) -> Moves {
        let (mut moved, mut new) = (vec![GONE; self.ids.len()], Vec::new());
        let kept = |id: &usize| *id < self.finished.min(seen.finished);
        let mut old = self.ids.iter().enumerate().peekable();
        for (place, id) in seen.ids.iter().enumerate() {
            while old.next_if(|(_, o)| *o < id || !kept(o)).is_some() {}
            match old.next_if(|(_, o)| *o == id) {
                Some((before, _)) => moved[before] = place,
                None => new.push(place),
            }
        }
        self.ids.clone_from(&seen.ids);
        self.finished = seen.finished;
        Moves { moved, new }
    }
}

/// Where observations of the last fit are now.
struct Moves {
    /// By place in the last fit, the place now.
    moved: Vec<usize>,
    /// The places of those that came, ascending.
    new: Vec<usize>,
}

/// The place of one that went.
const GONE: usize = usize::MAX;

/// Points to choose from, one column per parameter.
pub(super) struct Candidates {
    columns: Vec<Column>,
    len: usize,
}

#[derive(Default)]
struct Column {
    /// In internal form.
    values: Vec<f64>,
    /// On the stretched scale; only of parameters without steps.
    scaled: Vec<f64>,
}

impl Candidates {
    /// The internal values of candidate `i`.
    pub(super) fn values(&self, i: usize) -> Vec<f64> {
        self.columns.iter().map(|c| c.values[i]).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Leaves out the candidates for which `out` is true.
    pub(super) fn leave_out(&mut self, out: &[bool]) {
        for column in &mut self.columns {
            for list in [&mut column.values, &mut column.scaled] {
                let mut at = 0;
                list.retain(|_| {
                    at += 1;
                    !out[at - 1]
                });
            }
        }
        self.len = out.iter().filter(|o| !**o).count();
    }
}

/// A fitted estimator.
pub(super) struct Parzen {
    factors: Vec<Factor>,
    /// Per kernel, the sum of weights up to it; the last is the prior's. Sums to 1.
    cumulative: Vec<f64>,
    /// Per kernel, the logarithm of its weight and of all constants of its factors.
    constant: Vec<f64>,
}

/// One parameter's part of all kernels.
enum Factor {
    Smooth {
        scale: Scale,
        normals: Normals,
        /// 1 / (σ √2).
        inverse: Vec<f64>,
    },
    Stepped {
        scale: Scale,
        normals: Normals,
        /// The different pairs of mean and width, with the logarithm of their mass. On a grid there are few.
        different: Vec<(f64, f64, f64)>,
        /// Per kernel, its place in `different`.
        which: Vec<usize>,
    },
    Choice {
        choices: usize,
        /// Per kernel but the prior, the observed choice.
        observed: Vec<usize>,
        /// Logarithm of the probability of the observed choice, and of each other.
        hit: f64,
        miss: f64,
    },
}

/// Means and widths of all kernels on the stretched scale, the prior's last.
struct Normals {
    mean: Vec<f64>,
    width: Vec<f64>,
}

impl Parzen {
    /// Fits an estimator. With `ramp`, all but the latest 25 observations count less the older they are. `memo` is
    /// that of an earlier fit to the same side of the same domains, or a new one; it changes nothing but the time.
    pub(super) fn fit(
        domains: &[Domain],
        seen: &Observations,
        prior_weight: f64,
        ramp: bool,
        memo: &mut Memo,
    ) -> Self {
        let weights = weights(seen, prior_weight, ramp);
        let mut constant: Vec<f64> = weights.iter().map(|w| log(*w)).collect();
        let mut sum = 0.0;
        let cumulative = weights.iter().map(|w| {
            sum += w;
            sum
        });
        let cumulative = cumulative.collect();
        let moves = memo.update(seen);
        let columns = domains.iter().zip(&seen.columns).zip(&mut memo.dims);
        let factors = columns
            .map(|((domain, column), memo)| {
                Factor::fit(domain, column, prior_weight, &mut constant, &moves, memo)
            })
            .collect();
        Parzen {
            factors,
            cumulative,
            constant,
        }
    }

    /// Draws `n` points.
    pub(super) fn sample(&self, n: usize, rng: &mut Rng) -> Candidates {
        let column = |_: &Factor| Column {
            values: Vec::with_capacity(n),
            scaled: Vec::with_capacity(n),
        };
        let mut columns: Vec<Column> = self.factors.iter().map(column).collect();
        let last = self.cumulative.len() - 1;
        for _ in 0..n {
            let u = unit(rng);
            // Rounding may leave the last sum a little below 1.
            let kernel = self.cumulative.partition_point(|sum| *sum <= u).min(last);
            for (factor, column) in self.factors.iter().zip(&mut columns) {
                factor.sample(kernel, column, rng);
            }
        }
        Candidates { columns, len: n }
    }

    /// The logarithm of the density at each point, up to a constant of the domains.
    pub(super) fn ln_density(&self, points: &Candidates) -> Vec<f64> {
        let tables: Vec<BTreeMap<u64, Vec<f64>>> = self
            .factors
            .iter()
            .zip(&points.columns)
            .map(|(factor, column)| factor.cells(column))
            .collect();
        let mut terms = vec![0.0; self.constant.len()];
        simd::widest(
            #[inline(always)]
            || {
                let density = |i| {
                    terms.copy_from_slice(&self.constant);
                    let columns = points.columns.iter().zip(&tables);
                    for (factor, (column, table)) in self.factors.iter().zip(columns) {
                        factor.add_ln_density(column, i, table, &mut terms);
                    }
                    ln_sum_exp(&terms)
                };
                (0..points.len).map(density).collect()
            },
        )
    }
}

impl Factor {
    /// Fits one parameter and adds the constants of its kernels to `constant`.
    fn fit(
        domain: &Domain,
        seen: &[f64],
        prior_weight: f64,
        constant: &mut [f64],
        moves: &Moves,
        memo: &mut MemoColumn,
    ) -> Self {
        let Some(scale) = Scale::of(domain) else {
            return Self::fit_choice(domain, seen, prior_weight, constant);
        };
        // One more for the prior.
        let mut means = Vec::with_capacity(seen.len() + 1);
        means.extend(seen.iter().map(|x| scale.stretch(*x)));
        let mut normals = Normals::fit(means, moves, memo);
        normals.mean.push(0.5);
        normals.width.push(1.0);
        if scale.step.is_none() {
            let prior = (
                0.5,
                1.0,
                log(mass(0.5, 1.0)),
                std::f64::consts::FRAC_1_SQRT_2,
            );
            let mut inverse = Vec::with_capacity(constant.len());
            let kernels = &mut memo.kernels;
            kernels.resize(normals.mean.len() - 1, (0.0, 0.0, 0.0, 0.0));
            for (at, (mean, width)) in normals.mean.iter().zip(&normals.width).enumerate() {
                let (_, _, ln, one_over) = match kernels.get_mut(at) {
                    None => prior,
                    Some(known) => {
                        if (known.0, known.1) != (*mean, *width) {
                            let ln = log(width * mass(*mean, *width));
                            let one_over = std::f64::consts::FRAC_1_SQRT_2 / width;
                            *known = (*mean, *width, ln, one_over);
                        }
                        *known
                    }
                };
                constant[at] -= ln;
                inverse.push(one_over);
            }
            return Factor::Smooth {
                scale,
                normals,
                inverse,
            };
        }
        let pairs = normals.mean.iter().zip(&normals.width);
        let mut places = BTreeMap::new();
        let mut different = Vec::new();
        let which = pairs
            .map(|(mean, width)| {
                *places
                    .entry((mean.to_bits(), width.to_bits()))
                    .or_insert_with(|| {
                        different.push((*mean, *width, log(mass(*mean, *width))));
                        different.len() - 1
                    })
            })
            .collect();
        Factor::Stepped {
            scale,
            normals,
            different,
            which,
        }
    }

    fn fit_choice(domain: &Domain, seen: &[f64], prior_weight: f64, constant: &mut [f64]) -> Self {
        let choices = match domain {
            Domain::Categorical { choices } => choices.len(),
            // Unreachable: every other domain has a scale.
            _ => 1,
        };
        let share = prior_weight / (seen.len() + 1) as f64;
        let total = 1.0 + share * choices as f64;
        if let Some(prior) = constant.last_mut() {
            *prior -= log(choices as f64);
        }
        Factor::Choice {
            choices,
            observed: seen.iter().map(|x| *x as usize).collect(),
            hit: log((1.0 + share) / total),
            miss: log(share / total),
        }
    }

    fn sample(&self, kernel: usize, column: &mut Column, rng: &mut Rng) {
        match self {
            Factor::Smooth { scale, normals, .. } => {
                let at = normals.sample(kernel, rng);
                column.scaled.push(at);
                column.values.push(scale.value(at));
            }
            Factor::Stepped { scale, normals, .. } => {
                column.values.push(scale.value(normals.sample(kernel, rng)));
            }
            Factor::Choice {
                choices,
                observed,
                hit,
                ..
            } => {
                // The observed choice with what it has above the others, else any of the others or itself.
                let drawn = match observed.get(kernel) {
                    Some(seen) if *choices == 1 => *seen,
                    Some(seen) => {
                        let hit = exp(*hit);
                        if unit(rng) < hit {
                            *seen
                        } else {
                            let other = below(*choices as u64 - 1, rng) as usize;
                            other + usize::from(other >= *seen)
                        }
                    }
                    None => below(*choices as u64, rng) as usize,
                };
                column.values.push(drawn as f64);
            }
        }
    }

    /// For a parameter with steps: per different value, the logarithms of the mass that each different kernel has
    /// in the value's cell.
    fn cells(&self, column: &Column) -> BTreeMap<u64, Vec<f64>> {
        let mut table = BTreeMap::new();
        if let Factor::Stepped {
            scale, different, ..
        } = self
        {
            for value in &column.values {
                table.entry(value.to_bits()).or_insert_with(|| {
                    let (low, high) = scale.cell(*value);
                    let cell = |&(mean, width, ln_mass): &(f64, f64, f64)| {
                        normal::ln_interval((low - mean) / width, (high - mean) / width) - ln_mass
                    };
                    different.iter().map(cell).collect()
                });
            }
        }
        table
    }

    /// Adds the logarithm of this factor at point `i` to the term of each kernel.
    #[inline(always)]
    fn add_ln_density(
        &self,
        column: &Column,
        i: usize,
        cells: &BTreeMap<u64, Vec<f64>>,
        terms: &mut [f64],
    ) {
        match self {
            Factor::Smooth {
                normals, inverse, ..
            } => {
                let x = column.scaled[i];
                for ((term, mean), inverse) in terms.iter_mut().zip(&normals.mean).zip(inverse) {
                    let t = (x - mean) * inverse;
                    *term -= t * t;
                }
            }
            Factor::Stepped { which, .. } => {
                let row = &cells[&column.values[i].to_bits()];
                for (term, which) in terms.iter_mut().zip(which) {
                    *term += row[*which];
                }
            }
            Factor::Choice {
                observed,
                hit,
                miss,
                ..
            } => {
                let choice = column.values[i] as usize;
                for (term, seen) in terms.iter_mut().zip(observed) {
                    *term += if *seen == choice { *hit } else { *miss };
                }
            }
        }
    }
}

impl Normals {
    /// One kernel per value: as wide as the larger distance to a neighbour, where the ends of the scale are
    /// neighbours of the outermost values only if there is one value. Not below the width of 100 kernels side by
    /// side, or of as many as there are, if fewer.
    ///
    /// The remembered kernels of `memo` are then those of the same trials at their new places.
    fn fit(mean: Vec<f64>, moves: &Moves, memo: &mut MemoColumn) -> Self {
        let k = mean.len();
        let smallest = 1.0 / (k as f64 + 2.0).min(100.0);
        // A few changes are cheaper than all anew.
        if moves.new.len() > 16 || memo.sorted.len() != moves.moved.len() {
            let bits = mean.iter().map(|m| m.to_bits());
            memo.sorted = bits.zip(0..).collect();
            memo.sorted.sort_unstable();
        } else {
            memo.sorted.retain_mut(|(_, place)| {
                *place = moves.moved[*place];
                *place != GONE
            });
            for &at in &moves.new {
                let key = (mean[at].to_bits(), at);
                let to = memo.sorted.partition_point(|other| *other < key);
                memo.sorted.insert(to, key);
            }
        }
        // Kernels move with their trials; one that is not right is computed again by whoever asks.
        let mut kernels = vec![(f64::NAN, 0.0, 0.0, 0.0); k];
        for (known, &to) in memo.kernels.iter().zip(&moves.moved) {
            if let Some(kernel) = kernels.get_mut(to) {
                *kernel = *known;
            }
        }
        memo.kernels = kernels;
        let sorted = &memo.sorted;
        let mut width = Vec::with_capacity(k + 1);
        width.resize(k, 0.0);
        for (at, &(bits, place)) in sorted.iter().enumerate() {
            let value = f64::from_bits(bits);
            let left = at
                .checked_sub(1)
                .map(|l| value - f64::from_bits(sorted[l].0));
            let right = sorted.get(at + 1).map(|r| f64::from_bits(r.0) - value);
            let distance = match (left, right) {
                (Some(l), Some(r)) => l.max(r),
                (Some(inner), None) | (None, Some(inner)) => inner,
                (None, None) => value.max(1.0 - value),
            };
            width[place] = distance.clamp(smallest, 1.0);
        }
        Normals { mean, width }
    }

    fn sample(&self, kernel: usize, rng: &mut Rng) -> f64 {
        let (mean, width) = (self.mean[kernel], self.width[kernel]);
        let z = normal::truncated_quantile(unit(rng), -mean / width, (1.0 - mean) / width);
        (mean + z * width).clamp(0.0, 1.0)
    }
}

/// The mass of a normal distribution within [0, 1], where its mean lies.
fn mass(mean: f64, width: f64) -> f64 {
    // Beyond 8.3 widths the tail is below half a unit in the last place of 1.
    let tail = |z: f64| if z < -8.3 { 0.0 } else { normal::cdf(z) };
    1.0 - tail(-mean / width) - tail((mean - 1.0) / width)
}

/// How internal values of a numerical domain lie on [0, 1].
struct Scale {
    /// The ends, widened by half a step if there are steps, logarithms if the scale is logarithmic.
    from: f64,
    to: f64,
    log: bool,
    step: Option<f64>,
    low: f64,
    high: f64,
}

impl Scale {
    /// `None` for categories.
    fn of(domain: &Domain) -> Option<Self> {
        let (low, high, step, is_log) = match *domain {
            Domain::Float {
                low,
                high,
                step,
                log,
            } => (low, high, step, log),
            Domain::Int {
                low,
                high,
                step,
                log,
            } => (low as f64, high as f64, Some(step as f64), log),
            Domain::Categorical { .. } => return None,
        };
        let margin = step.unwrap_or(0.0) / 2.0;
        let end = |x: f64| if is_log { log(x) } else { x };
        Some(Scale {
            from: end(low - margin),
            to: end(high + margin),
            log: is_log,
            step,
            low,
            high,
        })
    }

    fn stretch(&self, internal: f64) -> f64 {
        let x = if self.log { log(internal) } else { internal };
        // Halves, because the distance of two finite numbers may be infinite.
        let at = (0.5 * x - 0.5 * self.from) / (0.5 * self.to - 0.5 * self.from);
        // The sum turns −0 into 0.
        at.clamp(0.0, 1.0) + 0.0
    }

    fn value(&self, at: f64) -> f64 {
        let x = self.from * (1.0 - at) + self.to * at;
        let x = if self.log { exp(x) } else { x };
        match self.step {
            None => x.clamp(self.low, self.high),
            Some(step) => {
                let last = ((self.high - self.low) / step).round();
                let index = ((x - self.low) / step).round().clamp(0.0, last);
                self.low + index * step
            }
        }
    }

    /// The ends of the cell of a value that is on the grid.
    fn cell(&self, value: f64) -> (f64, f64) {
        let half = self.step.unwrap_or(0.0) / 2.0;
        (self.stretch(value - half), self.stretch(value + half))
    }
}

/// Weights of observations and the prior, summing to 1.
fn weights(seen: &Observations, prior_weight: f64, ramp: bool) -> Vec<f64> {
    const FULL: usize = 25;
    let old = if ramp {
        seen.of.saturating_sub(FULL)
    } else {
        0
    };
    let first = 1.0 / seen.of.max(1) as f64;
    // From 1/k to 1 in equal steps, both ends included.
    let step = (1.0 - first) / (old as f64 - 1.0).max(1.0);
    let weight = |&(rank, stands_for): &(usize, usize)| {
        let weight = if rank < old {
            first + step * rank as f64
        } else {
            1.0
        };
        weight * stands_for as f64
    };
    let mut weights = Vec::with_capacity(seen.ranks.len() + 1);
    weights.extend(seen.ranks.iter().map(weight));
    weights.push(prior_weight);
    let total: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= total;
    }
    weights
}

/// ln Σ exp(terms).
#[inline(always)]
fn ln_sum_exp(terms: &[f64]) -> f64 {
    // Several at a time: one after the other would wait for the one before.
    const LANES: usize = 8;
    let mut lanes = [f64::NEG_INFINITY; LANES];
    let (chunks, rest) = terms.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, term) in lanes.iter_mut().zip(chunk) {
            *lane = if *term > *lane { *term } else { *lane };
        }
    }
    let max = lanes
        .iter()
        .chain(rest)
        .fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    if max == f64::NEG_INFINITY {
        return max;
    }
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, term) in sums.iter_mut().zip(chunk) {
            *sum += special::exp(term - max);
        }
    }
    let sum: f64 = sums.iter().sum();
    let rest: f64 = rest.iter().map(|t| special::exp(t - max)).sum();
    max + log(sum + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::pareto::tests::Split;

    #[test]
    fn the_weights_of_the_good_are_those_of_optuna() {
        for split in Split::all() {
            let k = split.below.len();
            let mut good = Observations::new(1, k, k);
            for (rank, &id) in split.below.iter().enumerate() {
                good.push(id, rank, 1, &[0.5]);
            }
            let weights = weights(&good, 1.0, split.directions.len() == 1);
            assert_eq!(weights.len(), k + 1);
            for (ours, theirs) in weights.iter().zip(&split.weights) {
                assert!((ours - theirs).abs() < 1e-15);
            }
        }
    }
}
