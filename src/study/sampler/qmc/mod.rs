//! Quasi-random points: a scrambled Sobol sequence, which fills the space more evenly than independent draws.
//!
//! Trial *k* takes point *k*. Each parameter takes the next coordinate in the order in which parameters first appear
//! in the study; as long as none is known, and beyond the 128th, draws are random. The scrambling comes from the study's
//! seed, so two seeds give different points with the same evenness.
//!
//! Direction numbers: Joe and Kuo, *Constructing Sobol sequences with better two-dimensional projections* (2008).
//! Scrambling: Laine and Karras, *Stratified sampling for stochastic transparency* (2011), with the constants of Vegdahl,
//! *Building a better LK hash* (2021).

mod directions;

use crate::seed::Seed;
use crate::study::space::Domain;

use super::random::{self, param_seed};
use super::{Context, Sampler};
use directions::DIRECTIONS;

/// The scrambled Sobol sequence; see the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct Qmc;

impl Sampler for Qmc {
    fn name(&self) -> &'static str {
        "qmc"
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        match coordinate(ctx, name).filter(|c| *c < COORDINATES) {
            Some(coordinate) => random::at(domain, point(ctx.study_seed, ctx.trial, coordinate)),
            None => random::draw(domain, &mut param_seed(ctx, name).rng()),
        }
    }
}

/// How many coordinates the sequence has.
pub(super) const COORDINATES: usize = DIRECTIONS.len() + 1;

/// The place of a parameter in the order in which parameters with a choice first appear.
fn coordinate(ctx: &Context<'_>, name: &str) -> Option<usize> {
    let mut names: Vec<&str> = Vec::new();
    for trial in ctx.history {
        for a in &trial.params.0 {
            if !a.domain.is_single() && !names.contains(&a.name.as_str()) {
                if a.name == name {
                    return Some(names.len());
                }
                names.push(&a.name);
            }
        }
    }
    None
}

/// Coordinate `coordinate` of point `index`, in [0, 1), scrambled by `seed`.
pub(crate) fn point(seed: Seed, index: u64, coordinate: usize) -> f64 {
    let seed = seed.child("sobol", coordinate as u64).value();
    // The order of points within the sequence stays: its beginnings are even.
    let bits = scramble(sobol(index as u32, coordinate), seed as u32);
    // The lower bits fill the cell of 2^-32 at random.
    let low = (seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 43;
    ((u64::from(bits) << 21) | low) as f64 / (1_u64 << 53) as f64
}

/// 32 bits of a coordinate of point `index` of the sequence, not scrambled.
fn sobol(index: u32, coordinate: usize) -> u32 {
    if coordinate == 0 {
        return index.reverse_bits();
    }
    let (a, start) = DIRECTIONS[(coordinate - 1) % DIRECTIONS.len()];
    let s = start.len();
    let mut numbers = [0_u32; 32];
    let mut x = 0;
    for i in 0..32 {
        numbers[i] = if i < s {
            u32::from(start[i]) << (31 - i)
        } else {
            let mut v = numbers[i - s] ^ (numbers[i - s] >> s);
            for k in 1..s {
                if (a >> (s - 1 - k)) & 1 == 1 {
                    v ^= numbers[i - k];
                }
            }
            v
        };
        if index >> i == 0 {
            break;
        }
        if (index >> i) & 1 == 1 {
            x ^= numbers[i];
        }
    }
    x
}

/// Flips each bit depending on those above it, which permutes the halves of every interval (Owen).
fn scramble(bits: u32, seed: u32) -> u32 {
    let mut x = bits.reverse_bits();
    x ^= x.wrapping_mul(0x3d20_adea);
    x = x.wrapping_add(seed);
    x = x.wrapping_mul((seed >> 16) | 1);
    x ^= x.wrapping_mul(0x0552_6c56);
    x ^= x.wrapping_mul(0x53a2_2864);
    x.reverse_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1, `qmc.Sobol(128, scramble=False).random(16)`, which visits points in the order of the Gray code.
    #[test]
    fn points_are_those_of_the_reference() {
        let gray = |i: u32| i ^ (i >> 1);
        let at = |i: u32, c: usize| f64::from(sobol(gray(i), c)) / 4_294_967_296.0;
        let five: Vec<f64> = (0..6).map(|c| at(5, c)).collect();
        assert_eq!(five, [0.875, 0.875, 0.125, 0.375, 0.875, 0.625]);
        let coordinates = [0, 1, 2, 20, 63, 127];
        let thirteen = coordinates.map(|c| at(13, c));
        assert_eq!(thirteen, [0.8125, 0.6875, 0.8125, 0.5625, 0.0625, 0.1875]);
    }

    #[test]
    fn every_interval_gets_its_share_with_any_seed() {
        for seed in 0..5 {
            for coordinate in 0..=DIRECTIONS.len() {
                let mut count = [0; 64];
                for index in 0..256 {
                    let x = point(Seed::root(seed), index, coordinate);
                    count[(x * 64.0) as usize] += 1;
                }
                assert_eq!(count, [4; 64], "coordinate {coordinate}");
            }
        }
        // Two coordinates together: every square of 16 × 16.
        for (a, b) in [(0, 1), (1, 2)] {
            let mut count = [0; 256];
            for index in 0..256 {
                let x = |c| (point(Seed::root(7), index, c) * 16.0) as usize;
                count[x(a) * 16 + x(b)] += 1;
            }
            assert!(count.iter().all(|c| *c <= 4), "coordinates {a} and {b}");
        }
    }
}
