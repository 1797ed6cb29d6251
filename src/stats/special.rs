//! Elementary functions with the same bits on every machine.
//!
//! The `exp` and `ln` of the system's library may differ by an ulp between machines, and with them a split, a tree and a
//! whole study. These come from software that uses additions and multiplications only.

/// `e^x`.
#[inline]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// The natural logarithm.
#[inline]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `1 / (1 + e^−x)`, without overflow.
#[inline]
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
        assert_eq!(sigmoid(-1e6), 0.0);
        assert_eq!(sigmoid(1e6), 1.0);
        assert_eq!(sigmoid(0.0), 0.5);
        let mut scores = [1e6, 0.0, -1e6];
        softmax(&mut scores);
        assert_eq!(scores, [1.0, 0.0, 0.0]);
    }
}
