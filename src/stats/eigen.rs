//! Eigenvalues and eigenvectors of a symmetric matrix, by cyclic Jacobi rotations.
//!
//! The plainest of the stable methods, accurate to the last digits of small eigenvalues too, and with sums in a fixed
//! order: the same bits on every machine. Some n³ operations for each of six to ten sweeps, which is right for matrices
//! of up to a few hundred rows. Golub and Van Loan, *Matrix Computations*, 8.5.

/// The decomposition A = V diag(values) Vᵀ.
#[derive(Clone, Debug)]
pub struct Eigen {
    /// The eigenvalues, in no particular order.
    pub values: Vec<f64>,
    /// Row-major; column j is the unit eigenvector of `values[j]`.
    pub vectors: Vec<f64>,
}

/// More sweeps than any matrix of finite numbers needs.
const SWEEPS: usize = 60;

impl Eigen {
    /// Decomposes a symmetric row-major matrix of `n` rows, of which the upper triangle is read. `None` when a number is not
    /// finite.
    pub fn new(a: &[f64], n: usize) -> Option<Self> {
        if a.len() != n * n || a.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let mut a = a.to_vec();
        for i in 0..n {
            for j in 0..i {
                a[i * n + j] = a[j * n + i];
            }
        }
        let mut v = vec![0.0; n * n];
        for i in 0..n {
            v[i * n + i] = 1.0;
        }
        for _ in 0..SWEEPS {
            let mut rotated = false;
            for p in 0..n {
                for q in p + 1..n {
                    rotated |= rotate(&mut a, &mut v, n, p, q);
                }
            }
            if !rotated {
                break;
            }
        }
        let values = (0..n).map(|i| a[i * n + i]).collect();
        Some(Eigen { values, vectors: v })
    }
}

/// Makes `a[p][q]` zero; says whether there was anything to do.
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, p: usize, q: usize) -> bool {
    let (app, aqq, apq) = (a[p * n + p], a[q * n + q], a[p * n + q]);
    // What no longer changes a digit of either eigenvalue, nor of their vectors.
    if apq == 0.0 || apq.abs() <= f64::EPSILON * 1e-3 * (app.abs().sqrt() * aqq.abs().sqrt()) {
        return false;
    }
    let theta = (aqq - app) / (2.0 * apq);
    let t = if theta.abs() > 1e150 {
        0.5 / theta
    } else {
        1.0_f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt())
    };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for k in 0..n {
        let (akp, akq) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = c * akp - s * akq;
        a[k * n + q] = s * akp + c * akq;
    }
    for k in 0..n {
        let (apk, aqk) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = c * apk - s * aqk;
        a[q * n + k] = s * apk + c * aqk;
        let (vkp, vkq) = (v[k * n + p], v[k * n + q]);
        v[k * n + p] = c * vkp - s * vkq;
        v[k * n + q] = s * vkp + c * vkq;
    }
    a[p * n + p] = app - t * apq;
    a[q * n + q] = aqq + t * apq;
    a[p * n + q] = 0.0;
    a[q * n + p] = 0.0;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_matrix_again() {
        let mut state = 3_u64;
        for n in [1, 2, 3, 5, 12, 40] {
            // Rows of very different sizes.
            let size = |i: usize| 10.0_f64.powi((i % 7) as i32 - 3);
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in i..n {
                    // Numbers without any order; a linear congruence is enough.
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let u = (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
                    a[i * n + j] = u * size(i) * size(j);
                    a[j * n + i] = a[i * n + j];
                }
            }
            let Eigen { values, vectors: v } = Eigen::new(&a, n).expect("finite");
            let largest = values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..n)
                        .map(|k| v[i * n + k] * values[k] * v[j * n + k])
                        .sum();
                    assert!(
                        (sum - a[i * n + j]).abs() < 1e-13 * largest,
                        "{n}: {i}, {j}"
                    );
                    let dot: f64 = (0..n).map(|k| v[k * n + i] * v[k * n + j]).sum();
                    let unit = f64::from(u8::from(i == j));
                    assert!((dot - unit).abs() < 1e-13, "{n}: columns {i}, {j}");
                }
            }
        }
        assert!(Eigen::new(&[f64::NAN], 1).is_none());
    }

    #[test]
    fn known_values_are_found() {
        let e = Eigen::new(&[2.0, 1.0, 1.0, 2.0], 2).expect("finite");
        let mut values = e.values;
        values.sort_by(f64::total_cmp);
        assert!((values[0] - 1.0).abs() < 1e-15 && (values[1] - 3.0).abs() < 1e-15);
    }
}
