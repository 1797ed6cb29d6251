//! The standard normal distribution, accurate in the tails, and its truncation to an interval.
//!
//! Everything is computed with `libm` and the four basic operations, so results have the same bits on
//! every machine. Quantiles follow Wichura, *Algorithm AS 241*, Applied Statistics 37 (1988), about 16
//! digits; beyond its reach (probabilities below 1e-316) Newton steps on the logarithm continue it.

use libm::{erfc, exp, expm1, log, log1p};

/// ln √(2π).
pub const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// P(Z ≤ x).
pub fn cdf(x: f64) -> f64 {
    0.5 * erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// ln P(Z ≤ x), finite for every finite `x`.
pub fn ln_cdf(x: f64) -> f64 {
    if x > 1.0 {
        log1p(-cdf(-x))
    } else if x > -20.0 {
        log(cdf(x))
    } else {
        // The asymptotic series of Mills' ratio; at −20 its first left-out term is below 1e-13.
        let u = 1.0 / (x * x);
        let series =
            u * (-1.0 + u * (3.0 + u * (-15.0 + u * (105.0 + u * (-945.0 + u * 10395.0)))));
        -0.5 * x * x - LN_SQRT_2PI - log(-x) + log1p(series)
    }
}

/// ln P(a < Z ≤ b), for `a < b`; accurate when both lie in the same tail.
pub fn ln_interval(a: f64, b: f64) -> f64 {
    if a > 0.0 {
        return ln_interval(-b, -a);
    }
    if b <= 0.0 {
        let upper = ln_cdf(b);
        return upper + log1p(-exp(ln_cdf(a) - upper));
    }
    log1p(-(cdf(a) + cdf(-b)))
}

/// The `x` with P(Z ≤ x) = p. Infinite at 0 and 1, NaN outside of them.
pub fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(r, &CENTER);
    }
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if q < 0.0 {
        lower_tail(log(p))
    } else {
        -lower_tail(log(1.0 - p))
    }
}

/// The `x` with ln P(Z ≤ x) = `ln_p`, for `ln_p ≤ 0`.
pub fn quantile_of_ln(ln_p: f64) -> f64 {
    // 0.075 and 0.925 are where the formula for the centre takes over.
    if ln_p < -2.590_267_165_445_792 {
        lower_tail(ln_p)
    } else if ln_p > -0.077_961_541_469_711_9 {
        -lower_tail(log(-expm1(ln_p)))
    } else {
        quantile(exp(ln_p))
    }
}

/// The quantile at `q` of the standard normal truncated to `[a, b]`, for `a < b`, `0 ≤ q ≤ 1`.
pub fn truncated_quantile(q: f64, a: f64, b: f64) -> f64 {
    if a > 0.0 {
        return -truncated_quantile(1.0 - q, -b, -a);
    }
    let x = if b >= 0.0 {
        // Sums of positive numbers from the nearer end: no digits cancel.
        let (below, above) = (cdf(a), cdf(-b));
        let mass = 1.0 - below - above;
        let p = below + q * mass;
        if p <= 0.5 {
            quantile(p)
        } else {
            -quantile(above + (1.0 - q) * mass)
        }
    } else {
        let (ln_a, ln_b) = (ln_cdf(a), ln_cdf(b));
        // ln(P(a) + q (P(b) − P(a))), in units of P(b).
        let low = exp(ln_a - ln_b);
        quantile_of_ln(ln_b + log(low + q * (1.0 - low)))
    };
    x.clamp(a, b)
}

/// The quantile for `ln_p` below ln 0.075.
fn lower_tail(ln_p: f64) -> f64 {
    if ln_p == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let r = (-ln_p).sqrt();
    if r <= 5.0 {
        return -ratio(r - 1.6, &MIDDLE);
    }
    if r <= 27.0 {
        return -ratio(r - 5.0, &FAR);
    }
    let mut x = -(-2.0 * ln_p - 2.0 * LN_SQRT_2PI - log(-2.0 * ln_p)).sqrt();
    // Newton doubles the digits; the start has three.
    for _ in 0..4 {
        let at = ln_cdf(x);
        x -= (at - ln_p) * exp(at + 0.5 * x * x + LN_SQRT_2PI);
    }
    x
}

/// Numerator and denominator of AS 241, the lowest power first.
type Rational = ([f64; 8], [f64; 8]);

fn ratio(r: f64, (num, den): &Rational) -> f64 {
    let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * r + c);
    horner(num) / horner(den)
}

#[rustfmt::skip]
const CENTER: Rational = (
    [3.387_132_872_796_366_5, 133.141_667_891_784_38, 1_971.590_950_306_551_3, 13_731.693_765_509_46,
     45_921.953_931_549_87, 67_265.770_927_008_7, 33_430.575_583_588_13, 2_509.080_928_730_122_7],
    [1.0, 42.313_330_701_600_91, 687.187_007_492_057_9, 5_394.196_021_424_751,
     21_213.794_301_586_597, 39_307.895_800_092_71, 28_729.085_735_721_943, 5_226.495_278_852_854],
);
#[rustfmt::skip]
const MIDDLE: Rational = (
    [1.423_437_110_749_683_5, 4.630_337_846_156_546, 5.769_497_221_460_691, 3.647_848_324_763_204_5,
     1.270_458_252_452_368_4, 0.241_780_725_177_450_6, 0.022_723_844_989_269_184, 7.745_450_142_783_414e-4],
    [1.0, 2.053_191_626_637_759, 1.676_384_830_183_803_8, 0.689_767_334_985_1,
     0.148_103_976_427_480_08, 0.015_198_666_563_616_457, 5.475_938_084_995_345e-4, 1.050_750_071_644_416_9e-9],
);
#[rustfmt::skip]
const FAR: Rational = (
    [6.657_904_643_501_103, 5.463_784_911_164_114, 1.784_826_539_917_291_3, 0.296_560_571_828_504_87,
     0.026_532_189_526_576_124, 0.001_242_660_947_388_078_4, 2.711_555_568_743_487_6e-5, 2.010_334_399_292_288e-7],
    [1.0, 0.599_832_206_555_887_9, 0.136_929_880_922_735_8, 0.014_875_361_290_850_615,
     7.868_691_311_456_133e-4, 1.846_318_317_510_054_8e-5, 1.421_511_758_316_446e-7, 2.044_263_103_389_939_8e-15],
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative agreement. 1e-12 because the argument of erfc is rounded once and its tail multiplies
    /// that rounding by x², 1.4e3 at −37.
    fn close(got: f64, want: f64, what: &str) {
        let error = (got - want).abs() / want.abs().max(1e-300);
        assert!(
            got == want || error < 1e-12,
            "{what}: {got:e} is not {want:e}"
        );
    }

    // Reference values: scipy 1.17.1, ndtr, log_ndtr, ndtri, ndtri_exp, truncnorm.ppf.

    #[test]
    fn cdf_and_its_logarithm_are_those_of_scipy() {
        for (x, p, ln_p) in [
            (-37.0, 5.725_571_222_523_926_6e-300, -689.030_585_576_890_8),
            (-20.5, 1.076_467_325_879_034_6e-93, -214.066_728_963_263_87),
            (-10.0, 7.619_853_024_160_47e-24, -53.231_285_150_512_48),
            (-5.0, 2.866_515_718_791_933e-7, -15.064_998_393_988_727),
            (-1.5, 0.066_807_201_268_858_07, -2.705_944_400_823_889_8),
            (-0.3, 0.382_088_577_811_047_4, -0.962_102_818_168_850_5),
            (0.0, 0.5, -std::f64::consts::LN_2),
            (0.7, 0.758_036_347_776_927, -0.277_023_942_277_131_3),
            (2.5, 0.993_790_334_674_223_8, -0.006_229_025_485_86),
            (6.0, 0.999_999_999_013_412_3, -9.865_876_455_243_72e-10),
            (9.0, 1.0, -1.128_588_405_953_832_4e-19),
        ] {
            close(cdf(x), p, "cdf");
            close(ln_cdf(x), ln_p, "ln_cdf");
        }
        close(ln_cdf(-40.0), -804.608_442_013_753_9, "ln_cdf");
    }

    #[test]
    fn quantiles_are_those_of_scipy() {
        for (p, x) in [
            (1e-300, -37.047_096_299_361_2),
            (1e-100, -21.273_453_560_965_322),
            (1e-17, -8.493_793_224_109_599),
            (1e-9, -5.997_807_015_007_686_5),
            (0.01, -2.326_347_874_040_840_8),
            (0.024_25, -1.972_961_051_311_885),
            (0.075, -1.439_531_470_938_456_3),
            (0.3, -0.524_400_512_708_040_9),
            (0.5, 0.0),
            (0.8, 0.841_621_233_572_914_3),
            (0.975, 1.959_963_984_540_054),
            (0.999_999, 4.753_424_308_817_087),
        ] {
            close(quantile(p), x, "quantile");
        }
        for (ln_p, x) in [
            (-1e4, -141.379_839_873_129_78),
            (-800.0, -39.884_694_838_256_68),
            (-50.0, -9.674_825_283_612_355),
            (-10.0, -3.913_946_240_531_893),
            (-2.0, -1.101_519_628_498_75),
            (-0.7, -0.008_559_478_582_480_308),
            (-0.01, 2.328_221_737_537_174_6),
            (-1e-10, 6.361_340_902_411_735),
            (-1e-20, 9.262_340_089_798_409),
        ] {
            close(quantile_of_ln(ln_p), x, "quantile_of_ln");
        }
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(quantile(1.0), f64::INFINITY);
        assert!(quantile(1.5).is_nan());
    }

    #[test]
    fn truncated_quantiles_are_those_of_scipy() {
        for (q, a, b, x) in [
            (0.3, -1.0, 2.0, -0.242_403_817_889_226_9),
            (0.999, -5.0, 0.1, 0.098_640_162_363_580_56),
            (0.5, 10.0, 12.0, 10.068_411_836_058_495),
            (0.25, -30.0, -28.0, -28.049_404_127_136_02),
            (0.7, -0.5, 40.0, 0.815_340_422_334_235_1),
            (1e-12, -8.0, 8.0, -7.034_397_104_979_645),
            (0.9, 40.0, 41.0, 40.057_487_458_036_03),
        ] {
            close(truncated_quantile(q, a, b), x, "truncated_quantile");
        }
        assert_eq!(truncated_quantile(0.0, -1.0, 2.0), -1.0);
        assert_eq!(truncated_quantile(1.0, -1.0, 2.0), 2.0);
    }

    #[test]
    fn the_mass_of_an_interval_does_not_cancel_in_a_tail() {
        close(
            ln_interval(-1.0, 1.0),
            log(0.682_689_492_137_085_9),
            "centre",
        );
        close(ln_interval(10.0, 11.0), ln_interval(-11.0, -10.0), "mirror");
        close(
            ln_interval(-30.0, -29.0),
            ln_cdf(-29.0) + log1p(-exp(ln_cdf(-30.0) - ln_cdf(-29.0))),
            "tail",
        );
    }
}
