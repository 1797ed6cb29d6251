//! Sums of gradients as integers.
//!
//! Every row carries a [`Sum`]: its gradient and hessian in fixed point, and a count of 1. Integer sums do not depend on
//! the order of addition, so a histogram is the same on any number of threads and a sibling's is an exact difference.
//! Forests use the same sums with `gradient = weight × value` and `hessian = weight`.

/// Rows that one fit can take: the count has 24 bits.
pub const MAX_ROWS: usize = (1 << 24) - 1;

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A sum over rows. Addition and subtraction are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Sum {
    gradient: i64,
    /// The hessian in the upper 40 bits, the count in the lower 24.
    hessian_count: u64,
}

impl Sum {
    /// The sum of no rows.
    pub const ZERO: Sum = Sum {
        gradient: 0,
        hessian_count: 0,
    };

    /// The sum of `count` rows.
    pub(crate) fn of(gradient: i64, hessian: u64, count: u32) -> Sum {
        Sum {
            gradient,
            hessian_count: hessian << COUNT_BITS | u64::from(count),
        }
    }

    /// Rows in the sum.
    #[inline]
    pub fn count(self) -> u32 {
        (self.hessian_count & COUNT_MASK) as u32
    }

    /// The gradient in fixed-point units.
    #[inline]
    pub fn gradient(self) -> i64 {
        self.gradient
    }

    /// The hessian in fixed-point units.
    #[inline]
    pub fn hessian(self) -> u64 {
        self.hessian_count >> COUNT_BITS
    }

    /// Gradient and hessian in fixed-point units as floating-point numbers, exact for sums of a [`FixedPoint`].
    ///
    /// The numbers are put into the lowest bits of 1.5 · 2^52 and 2^52, which any machine can do on all its lanes.
    #[inline(always)]
    pub fn to_f64(self) -> (f64, f64) {
        const TWO_52: f64 = 4_503_599_627_370_496.0;
        let gradient = f64::from_bits(self.gradient.wrapping_add(SHIFT.to_bits() as i64) as u64);
        let hessian = f64::from_bits((self.hessian_count >> COUNT_BITS) | TWO_52.to_bits());
        (gradient - SHIFT, hessian - TWO_52)
    }

    /// The gradient, and hessian with count in one word; sums of words are the words of sums.
    #[inline(always)]
    pub(super) fn words(self) -> (i64, u64) {
        (self.gradient, self.hessian_count)
    }

    /// The sum of these words.
    #[inline(always)]
    pub(super) fn of_words(gradient: i64, hessian_count: u64) -> Sum {
        Sum {
            gradient,
            hessian_count,
        }
    }

    /// The gradient and hessian this many times; the count stays.
    #[inline]
    pub fn times(self, times: u32) -> Sum {
        Sum {
            gradient: self.gradient * i64::from(times),
            hessian_count: ((self.hessian() * u64::from(times)) << COUNT_BITS)
                | u64::from(self.count()),
        }
    }

    /// This sum where `mask` is all ones, nothing where it is 0.
    #[inline]
    pub fn masked(self, mask: u64) -> Sum {
        Sum {
            gradient: self.gradient & mask as i64,
            hessian_count: self.hessian_count & mask,
        }
    }
}

impl std::ops::Add for Sum {
    type Output = Sum;
    #[inline]
    fn add(self, other: Sum) -> Sum {
        Sum {
            gradient: self.gradient.wrapping_add(other.gradient),
            hessian_count: self.hessian_count.wrapping_add(other.hessian_count),
        }
    }
}

impl std::ops::AddAssign for Sum {
    #[inline]
    fn add_assign(&mut self, other: Sum) {
        *self = *self + other;
    }
}

impl std::ops::Sub for Sum {
    type Output = Sum;
    #[inline]
    fn sub(self, other: Sum) -> Sum {
        Sum {
            gradient: self.gradient.wrapping_sub(other.gradient),
            hessian_count: self.hessian_count.wrapping_sub(other.hessian_count),
        }
    }
}

/// The fixed point: how large one unit of gradient and of hessian is. Units are powers of two, so whole numbers (the
/// weights of a bootstrap) are exact.
#[derive(Clone, Copy, Debug)]
pub struct FixedPoint {
    to_gradient: f64,
    to_hessian: f64,
    /// The gradient that one unit stands for.
    pub gradient_unit: f64,
    /// The hessian that one unit stands for.
    pub hessian_unit: f64,
}

impl FixedPoint {
    /// Units of 1, for numbers that are whole.
    pub const WHOLE: FixedPoint = FixedPoint {
        to_gradient: 1.0,
        to_hessian: 1.0,
        gradient_unit: 1.0,
        hessian_unit: 1.0,
    };

    /// Units that hold `rows` rows whose gradients are at most `max_gradient` in size and hessians at most `max_hessian`.
    pub fn new(rows: usize, max_gradient: f64, max_hessian: f64) -> Self {
        // `rows` is below 2^bits: all gradients together stay below 2^50 units, all hessians below 2^39.
        let bits = (usize::BITS - rows.leading_zeros()) as i32;
        let gradient_unit = exponent(max_gradient, 50 - bits);
        let hessian_unit = exponent(max_hessian, 39 - bits);
        FixedPoint {
            to_gradient: 1.0 / gradient_unit,
            to_hessian: 1.0 / hessian_unit,
            gradient_unit,
            hessian_unit,
        }
    }

    /// The sum of one row.
    #[inline]
    pub fn row(&self, gradient: f64, hessian: f64) -> Sum {
        let gradient = round(gradient * self.to_gradient);
        let hessian = round(hessian * self.to_hessian) as u64;
        Sum {
            gradient,
            hessian_count: (hessian << COUNT_BITS) | 1,
        }
    }
}

/// 1.5 · 2^52: adding it to a number below 2^51 in size leaves the nearest whole number in the lowest bits.
const SHIFT: f64 = 6_755_399_441_055_744.0;

/// The nearest whole number of a number below 2^51 in size. It needs no branch, so loops over rows are vectorized.
#[inline]
fn round(x: f64) -> i64 {
    ((x + SHIFT).to_bits() as i64).wrapping_sub(SHIFT.to_bits() as i64)
}

/// The power of two that makes `largest` at most `2^bits` units.
fn exponent(largest: f64, bits: i32) -> f64 {
    let mut power = 0;
    // frexp: `largest` is below 2^power.
    if largest > 0.0 && largest.is_finite() {
        power = libm::frexp(largest).1;
    }
    libm::ldexp(1.0, power - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_weights_are_exact() {
        let unit = FixedPoint::new(5_634, 1.0, 9.0);
        let mut sum = Sum::ZERO;
        for i in 0..5_634 {
            sum += unit.row(f64::from(i % 2), f64::from(i % 10));
        }
        assert_eq!(sum.count(), 5_634);
        assert_eq!(sum.gradient() as f64 * unit.gradient_unit, 2_817.0);
        assert_eq!(
            sum.hessian() as f64 * unit.hessian_unit,
            (0..5_634).map(|i| f64::from(i % 10)).sum::<f64>()
        );
    }

    proptest! {
        #[test]
        fn sums_are_close_and_subtraction_is_exact(rows in prop::collection::vec((-50.0..50.0_f64, 0.0..20.0_f64), 1..300)) {
            let unit = FixedPoint::new(rows.len(), 50.0, 20.0);
            let all = rows.iter().fold(Sum::ZERO, |s, r| s + unit.row(r.0, r.1));
            let half = rows[..rows.len() / 2].iter().fold(Sum::ZERO, |s, r| s + unit.row(r.0, r.1));
            let rest = rows[rows.len() / 2..].iter().fold(Sum::ZERO, |s, r| s + unit.row(r.0, r.1));
            prop_assert_eq!(all - half, rest);
            let gradient: f64 = rows.iter().map(|r| r.0).sum();
            let hessian: f64 = rows.iter().map(|r| r.1).sum();
            prop_assert!((all.gradient() as f64 * unit.gradient_unit - gradient).abs() < 1e-6);
            prop_assert!((all.hessian() as f64 * unit.hessian_unit - hessian).abs() < 1e-5);
        }
    }
}
