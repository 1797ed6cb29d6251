//! A child of two parents.

use libm::pow;

use crate::seed::Rng;
use crate::study::space::{Assignment, Domain, Params};

use super::super::gp::Axis;
use super::super::random::{below, unit};
use super::lineage::Parent;
use super::{Crossover, Nsga2Params};

/// How far beyond its parents a child may be, in units of their distance.
const BEYOND: f64 = 0.5;

/// The parameters of a child of two of `parents`, without those that are drawn anew; none when there are no parents.
pub(super) fn child(
    params: &Nsga2Params,
    parents: &[Parent],
    directions: usize,
    rng: &mut Rng,
) -> Params {
    let Some(first) = better_of_two(parents, None, rng) else {
        return Params::default();
    };
    let first_params = &parents[first].trial.params;
    let two = unit(rng) < params.crossover_prob;
    let second = better_of_two(parents, Some(first), rng).filter(|_| two);
    let mut child = match second {
        None => first_params.clone(),
        Some(second) => cross(
            params,
            first_params,
            &parents[second].trial.params,
            directions,
            rng,
        ),
    };
    let own = first_params.0.iter().filter(|a| !a.domain.is_single());
    let share = 1.0 / own.count().max(1) as f64;
    let anew = params.mutation_prob.unwrap_or(share);
    child.0.retain(|_| unit(rng) >= anew);
    child
}

/// The place of the better of two of `parents`, drawn at random without `taken`.
fn better_of_two(parents: &[Parent], taken: Option<usize>, rng: &mut Rng) -> Option<usize> {
    let free = parents.len() - usize::from(taken.is_some());
    if free == 0 {
        return None;
    }
    let mut draw = || {
        let at = below(free as u64, rng) as usize;
        at + usize::from(taken.is_some_and(|taken| at >= taken))
    };
    let (a, b) = (draw(), draw());
    Some(if parents[b].beats(&parents[a]) { b } else { a })
}

/// What both have in common crossed, and the rest of both.
fn cross(
    params: &Nsga2Params,
    first: &Params,
    second: &Params,
    directions: usize,
    rng: &mut Rng,
) -> Params {
    let mut child = Params::default();
    for a in &first.0 {
        let crossed = match second.assignment(&a.name) {
            None => a.clone(),
            Some(b) => {
                let (swap, mixed) = (unit(rng) < params.swapping_prob, unit(rng));
                let taken = if swap { b } else { a };
                let mix = a.domain == b.domain && !matches!(a.domain, Domain::Categorical { .. });
                let internal = match params.crossover {
                    Crossover::Sbx if mix => sbx(a, b, directions, mixed, rng),
                    Crossover::BlxAlpha if mix => blend(a, b, mixed),
                    _ => taken.internal,
                };
                Assignment {
                    internal,
                    ..taken.clone()
                }
            }
        };
        child.0.push(crossed);
    }
    let alone = second
        .0
        .iter()
        .filter(|b| first.assignment(&b.name).is_none());
    child.0.extend(alone.cloned());
    child
}

fn blend(a: &Assignment, b: &Assignment, part: f64) -> f64 {
    let axis = Axis::new(&a.name, &a.domain);
    let (x, y) = (axis.coordinate(a.internal), axis.coordinate(b.internal));
    let reach = BEYOND * (x - y).abs();
    let (low, high) = (x.min(y) - reach, x.max(y) + reach);
    axis.internal((low + part * (high - low)).clamp(0.0, 1.0))
}

/// With the bounded form of the distribution, so that no child lies outside. Half of the parameters stay those of a parent.
fn sbx(a: &Assignment, b: &Assignment, directions: usize, part: f64, rng: &mut Rng) -> f64 {
    let (keep, upper) = (unit(rng) < 0.5, unit(rng) < 0.5);
    if keep {
        return if upper { b.internal } else { a.internal };
    }
    let axis = Axis::new(&a.name, &a.domain);
    let (x, y) = (axis.coordinate(a.internal), axis.coordinate(b.internal));
    let (low, high) = (x.min(y), x.max(y));
    let apart = (high - low).max(1e-10);
    // Nearer to the parents where several directions keep the population apart.
    let index = if directions > 1 { 20.0 } else { 2.0 };
    let room = if upper { 1.0 - high } else { low };
    let alpha = 2.0 - pow(1.0 + 2.0 * room / apart, -(index + 1.0));
    let spread = if part <= 1.0 / alpha {
        pow(part * alpha, 1.0 / (index + 1.0))
    } else {
        pow(1.0 / (2.0 - part * alpha), 1.0 / (index + 1.0))
    };
    let side = if upper { 1.0 } else { -1.0 };
    let at = 0.5 * (low + high) + side * 0.5 * spread * apart;
    axis.internal(at.clamp(0.0, 1.0))
}
