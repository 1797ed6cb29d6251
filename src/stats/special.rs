//! Elementary functions with the same bits on every machine.
//!
//! The `exp` and `ln` of the system's library may differ by an ulp between machines, and with them a split, a tree and a
//! whole study. These use exactly rounded operations only.

/// `e^x` for `x` from −708 to 709, beyond which the result stays that of the nearer end; within two units in the last place.
///
/// It has no branch, so a loop over a slice is vectorized; every operation is exactly rounded, so lanes do not matter.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    /// Adding it leaves the nearest whole number in the lowest bits.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    const LN2_HI: f64 = 6.931_471_803_691_238e-1;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    let x = x.clamp(-708.0, 709.0);
    // e^x = 2^n · e^r with |r| at most ln 2 / 2.
    let shifted = x * std::f64::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    // Taylor to the 13th power: what is left out is below 2^-57. Pairs (Estrin) shorten the chain of dependent steps.
    let (r2, pair) = (r * r, |a: f64, b: f64| a + b * r);
    let r4 = r2 * r2;
    let low = (1.0 + r) + r2 * pair(0.5, 1.0 / 6.0);
    let middle = pair(1.0 / 24.0, 1.0 / 120.0) + r2 * pair(1.0 / 720.0, 1.0 / 5_040.0);
    let high = pair(1.0 / 40_320.0, 1.0 / 362_880.0)
        + r2 * pair(1.0 / 3_628_800.0, 1.0 / 39_916_800.0)
        + r4 * pair(1.0 / 479_001_600.0, 1.0 / 6_227_020_800.0);
    let fraction = low + r4 * (middle + r4 * high);
    fraction * f64::from_bits(shifted.to_bits().wrapping_add(1_023) << 52)
}

/// The natural logarithm.
#[inline]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `1 / (1 + e^−x)`, without overflow.
#[inline(always)]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// Turns scores into probabilities, in place, without overflow. An empty slice stays empty.
pub fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
        sum += *score;
    }
    scores.iter_mut().for_each(|s| *s /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_do_not_overflow() {
        assert!(sigmoid(-1e6) < 1e-300);
        assert_eq!(sigmoid(1e6), 1.0);
        assert_eq!(sigmoid(0.0), 0.5);
        let mut scores = [1e6, 0.0, -1e6];
        softmax(&mut scores);
        assert!(scores[0] == 1.0 && scores[1] < 1e-300 && scores[2] < 1e-300);
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn exp_is_as_good_as_the_reference() {
        for i in -70_000..70_000 {
            let x = f64::from(i) * 0.01 + 1e-3;
            let (ours, reference) = (exp(x), libm::exp(x));
            assert!(
                (ours / reference - 1.0).abs() < 5e-16,
                "exp({x}) = {ours}, not {reference}"
            );
        }
    }
}
