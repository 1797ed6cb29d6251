//! Uniform draws: on the scale of the domain, each parameter and each trial for itself.

use libm::{exp, log};
use rand::Rng as _;

use crate::seed::{Rng, Seed};
use crate::study::space::Domain;

use super::{Context, Sampler};

/// Draws every parameter uniformly: floats and integers on their scale, choices alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Sampler for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        draw(domain, &mut param_seed(ctx, name).rng())
    }
}

/// The place in the seed tree of one parameter's draw, the same whatever is drawn before it.
pub(super) fn param_seed(ctx: &Context<'_>, name: &str) -> Seed {
    ctx.seed.child("param", 0).child(name, 0)
}

/// A number in [0, 1) with 53 random bits.
pub(super) fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A whole number below `n`, for `n > 0`. Biased by at most n / 2^64.
pub(super) fn below(n: u64, rng: &mut Rng) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// The value of `domain` in internal form that has the part `u` of all below it, for `u` in [0, 1): uniform numbers
/// give uniform draws.
pub(crate) fn at(domain: &Domain, u: f64) -> f64 {
    let between = |low: f64, high: f64| low * (1.0 - u) + high * u;
    match *domain {
        Domain::Float {
            low,
            high,
            step: Some(step),
            ..
        } => {
            let last = ((high - low) / step).round();
            low + (u * (last + 1.0)).floor().min(last) * step
        }
        Domain::Float {
            low,
            high,
            log: true,
            ..
        } => exp(between(log(low), log(high))).clamp(low, high),
        Domain::Float { low, high, .. } => between(low, high).clamp(low, high),
        Domain::Int {
            low,
            high,
            log: true,
            ..
        } => exp(between(log(low as f64 - 0.5), log(high as f64 + 0.5)))
            .round()
            .clamp(low as f64, high as f64),
        Domain::Int {
            low, high, step, ..
        } => {
            let last = (high as f64 - low as f64) / step as f64;
            let place = (u * (last + 1.0)).floor().min(last);
            // Whole numbers beyond 2^53 are those that floats have.
            ((low as f64 + place * step as f64).clamp(low as f64, high as f64)).round()
        }
        Domain::Categorical { ref choices } => (u * choices.len() as f64).floor(),
    }
}

/// A uniform draw from `domain` in internal form.
pub(super) fn draw(domain: &Domain, rng: &mut Rng) -> f64 {
    let between = |low: f64, high: f64, rng: &mut Rng| {
        let u = unit(rng);
        // Not low + u·(high − low), whose difference may overflow.
        low * (1.0 - u) + high * u
    };
    match *domain {
        Domain::Float {
            low,
            high,
            step: Some(step),
            ..
        } => {
            // A grid of more points than 2^63 is as good as continuous.
            let points = ((high - low) / step).round() + 1.0;
            low + below(points as u64, rng) as f64 * step
        }
        Domain::Float {
            low,
            high,
            log: true,
            ..
        } => exp(between(log(low), log(high), rng)).clamp(low, high),
        Domain::Float { low, high, .. } => between(low, high, rng).clamp(low, high),
        Domain::Int {
            low,
            high,
            log: true,
            ..
        } => {
            // Half a step more at both ends gives the end values their full share.
            let (from, to) = (log(low as f64 - 0.5), log(high as f64 + 0.5));
            exp(between(from, to, rng))
                .round()
                .clamp(low as f64, high as f64)
        }
        Domain::Int {
            low, high, step, ..
        } => {
            let points = (i128::from(high) - i128::from(low)) / i128::from(step) + 1;
            let index = match u64::try_from(points) {
                Ok(points) => below(points, rng),
                // All 2^64 integers.
                Err(_) => rng.next_u64(),
            };
            (i128::from(low) + i128::from(index) * i128::from(step)) as f64
        }
        Domain::Categorical { ref choices } => below(choices.len() as u64, rng) as f64,
    }
}
