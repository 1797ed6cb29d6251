//! Gauss–Legendre quadrature on [0, 1]: `n` points integrate every polynomial of degree up to `2n − 1` without error.
//!
//! Points are roots of the Legendre polynomial, found by Newton's method from the guess of Tricomi (Press et al. 2007,
//! Numerical Recipes, 4.6). They lie strictly inside of the interval, and weights are positive.

/// One point and its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Where, above 0 and below 1.
    pub at: f64,
    /// How much it counts; the weights sum to 1.
    pub weight: f64,
}

/// The `n` points, ascending.
pub(super) fn points(n: usize) -> Vec<Point> {
    let mut all = Vec::with_capacity(n);
    for i in 0..n {
        let guess = (i as f64 + 0.75) / (n as f64 + 0.5);
        let mut x = libm::cos(std::f64::consts::PI * guess);
        let mut slope = 0.0;
        // Converges in four steps or five; the bound keeps rounding from going on forever.
        for _ in 0..20 {
            let (value, d) = legendre(n, x);
            slope = d;
            let step = value / d;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        all.push(Point {
            at: 0.5 - x / 2.0,
            weight: 1.0 / ((1.0 - x * x) * slope * slope),
        });
    }
    all
}

/// The Legendre polynomial of degree `n` and its derivative at `x`.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut now) = (0.0, 1.0);
    for k in 0..n {
        let k = k as f64;
        (before, now) = (now, ((2.0 * k + 1.0) * x * now - k * before) / (k + 1.0));
    }
    let n = n as f64;
    (now, n * (x * now - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_without_error() {
        for n in 1..=40 {
            let points = points(n);
            assert!(points.windows(2).all(|p| p[0].at < p[1].at));
            assert!(
                points
                    .iter()
                    .all(|p| p.at > 0.0 && p.at < 1.0 && p.weight > 0.0)
            );
            for degree in 0..2 * n as i32 {
                let integral: f64 = points.iter().map(|p| p.weight * p.at.powi(degree)).sum();
                let exact = 1.0 / f64::from(degree + 1);
                assert!(
                    (integral - exact).abs() < 4e-15,
                    "{n} points, x^{degree}: {integral}"
                );
            }
        }
    }
}
