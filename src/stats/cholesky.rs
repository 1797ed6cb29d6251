//! The Cholesky factor of a symmetric positive definite matrix, and what Gaussian processes need of it.
//!
//! Matrices are row-major and dense. Sums run in an order that is written down here, not one that the compiler or the
//! machine chooses, so results have the same bits everywhere. Golub and Van Loan, *Matrix Computations*, 4.2.

use crate::stats::simd::widest;

/// Numbers that a sum is spread over; the widest registers hold eight.
const LANES: usize = 8;

/// The sum of products of two slices of one length, in eight interleaved partial sums.
#[inline(always)]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let mut sum = ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5]))
        + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
    for (x, y) in rest {
        sum += x * y;
    }
    sum
}

/// Adds `factor` times `b` to `a`.
#[inline(always)]
fn add_multiple(a: &mut [f64], factor: f64, b: &[f64]) {
    for (x, y) in a.iter_mut().zip(b) {
        *x += factor * y;
    }
}

/// The lower factor `L` of a matrix `A = L Lᵀ`.
#[derive(Clone, Debug)]
pub struct Cholesky {
    n: usize,
    /// Row-major; above the diagonal there is nothing of meaning.
    l: Vec<f64>,
}

impl Cholesky {
    /// Factorizes the `n × n` matrix `a`, of which only the lower triangle is read. `None` when it is not positive
    /// definite within rounding.
    pub fn new(mut a: Vec<f64>, n: usize) -> Option<Self> {
        let done = widest(
            #[inline(always)]
            || {
                for i in 0..n {
                    let (above, row) = a.split_at_mut(i * n);
                    for j in 0..i {
                        let other = &above[j * n..j * n + n];
                        let sum = dot(&row[..j], &other[..j]);
                        row[j] = (row[j] - sum) / other[j];
                    }
                    let square = row[i] - dot(&row[..i], &row[..i]);
                    // Also refuses NaN.
                    if !(square > 0.0 && square.is_finite()) {
                        return false;
                    }
                    row[i] = square.sqrt();
                }
                true
            },
        );
        done.then_some(Cholesky { n, l: a })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the matrix has no rows.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.l[i * self.n..i * self.n + i + 1]
    }

    /// The logarithm of the determinant of `A`.
    pub fn ln_det(&self) -> f64 {
        let diagonal = (0..self.n).map(|i| libm::log(self.l[i * self.n + i]));
        2.0 * diagonal.sum::<f64>()
    }

    /// `x` with `A x = b`, for a `b` of `n` numbers.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = b.to_vec();
        for i in 0..self.n {
            let row = self.row(i);
            x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
        }
        for i in (0..self.n).rev() {
            let row = self.row(i);
            x[i] /= row[i];
            let (head, tail) = x.split_at_mut(i);
            add_multiple(head, -tail[0], &row[..i]);
        }
        x
    }

    /// `L⁻¹`, row-major, zero above the diagonal.
    pub fn inverse_factor(&self) -> Vec<f64> {
        let n = self.n;
        let mut inverse = vec![0.0; n * n];
        widest(
            #[inline(always)]
            || {
                for i in 0..n {
                    let (above, row) = inverse.split_at_mut(i * n);
                    let l = self.row(i);
                    for k in 0..i {
                        add_multiple(&mut row[..=k], -l[k], &above[k * n..k * n + k + 1]);
                    }
                    let scale = 1.0 / l[i];
                    row[..i].iter_mut().for_each(|x| *x *= scale);
                    row[i] = scale;
                }
            },
        );
        inverse
    }
}

/// The lower triangle of `A⁻¹ = L⁻ᵀ L⁻¹` from [`Cholesky::inverse_factor`], row-major.
pub fn inverse_from_factor(factor: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    widest(
        #[inline(always)]
        || {
            for k in 0..n {
                let row = &factor[k * n..k * n + k + 1];
                for i in 0..=k {
                    let out = &mut inverse[i * n..i * n + i + 1];
                    add_multiple(out, row[i], &row[..=i]);
                }
            }
        },
    );
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(n: usize) -> Vec<f64> {
        // Fractions of the golden ratio's multiples: no two rows are alike.
        let fraction = |i: usize| (i as f64 * 0.618_033_988_749_894_9).fract() - 0.5;
        let b: Vec<f64> = (0..n * n).map(|i| fraction(i * i + n)).collect();
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i * n + j] = dot(&b[i * n..i * n + n], &b[j * n..j * n + n]);
            }
            a[i * n + i] += 0.1;
        }
        a
    }

    #[test]
    fn solutions_solve_and_inverses_invert() {
        for n in [1, 2, 7, 8, 9, 33] {
            let a = matrix(n);
            let b: Vec<f64> = (0..n).map(|i| i as f64 - 2.5).collect();
            let factor = Cholesky::new(a.clone(), n).expect("positive definite");
            let x = factor.solve(&b);
            let inverse = inverse_from_factor(&factor.inverse_factor(), n);
            let at = |i: usize, j: usize| inverse[i.max(j) * n + i.min(j)];
            for i in 0..n {
                let row = &a[i * n..i * n + n];
                assert!((dot(row, &x) - b[i]).abs() < 1e-9, "row {i} of {n}");
                for j in 0..n {
                    let product: f64 = (0..n).map(|k| row[k] * at(k, j)).sum();
                    let unit = f64::from(u8::from(i == j));
                    assert!((product - unit).abs() < 1e-9, "{i}, {j} of {n}: {product}");
                }
            }
        }
    }

    #[test]
    fn the_determinant_is_that_of_the_definition() {
        let factor = Cholesky::new(vec![4.0, 0.0, 2.0, 3.0], 2).expect("positive definite");
        assert!((factor.ln_det() - libm::log(8.0)).abs() < 1e-15);
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(Cholesky::new(vec![1.0, 0.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::new(vec![0.0], 1).is_none());
        assert!(Cholesky::new(vec![f64::NAN], 1).is_none());
        assert!(Cholesky::new(Vec::new(), 0).is_some_and(|c| c.is_empty()));
    }
}
