//! Elastic-net regression by Newton steps: each solves a penalised quadratic, by coordinate descent on its matrix of products
//! or, without an L1 part, exactly. The step is halved until the objective falls, so it falls always.
//!
//! After Friedman, Hastie & Tibshirani, "Regularization paths for generalized linear models via coordinate descent"
//! (2010), with covariance updates. What is minimised is `Σ wᵢ loss(yᵢ, ηᵢ) + l1 Σ|βⱼ| + l2/2 Σβⱼ²`; the intercept is free.

use crate::stats::special::{exp, ln, sigmoid};

use super::design::Design;

/// What is added to the loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Penalty {
    /// Weight of the absolute coefficients.
    pub l1: f64,
    /// Weight of half the squared coefficients.
    pub l2: f64,
    /// Whether coefficients must not be negative.
    pub nonnegative: bool,
}

/// When fitting ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most Newton steps (per class, for several classes).
    pub max_iter: u32,
    /// Done when no coefficient moves further than this.
    pub tol: f64,
    /// Whether there is an intercept.
    pub intercept: bool,
}

/// Asked between passes whether to go on; its error ends the fit.
pub(crate) type Ask<'a, E> = &'a (dyn Fn() -> Result<(), E> + Sync);

/// A fitted linear score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    /// What is added.
    pub intercept: f64,
    /// One per term.
    pub coefficients: Vec<f64>,
}

/// The curvature of the log loss is taken to be at least this, as glmnet does: where all is decided, a step stays finite.
const LEAST_CURVATURE: f64 = 1e-6;
/// Sweeps of coordinate descent per step; what is left, the next step finishes.
const SWEEPS: usize = 1_000;
/// Halvings of a step.
const HALVINGS: usize = 40;
/// Sweeps, or rows of a Cholesky factor, between two questions whether to go on.
const UNASKED: usize = 8;

impl Penalty {
    fn of(&self, coefficients: &[f64]) -> f64 {
        let of = |c: &f64| self.l1 * c.abs() + self.l2 * c * c / 2.0;
        coefficients.iter().map(of).sum()
    }
}

/// Least squares: halves of squared errors.
pub(crate) fn squared<E: Send>(
    design: &Design,
    y: &[f64],
    weights: &[f64],
    penalty: Penalty,
    limits: Limits,
    ask: Ask<'_, E>,
) -> Result<Score, E> {
    let mut score = Score {
        intercept: 0.0,
        coefficients: vec![0.0; design.terms()],
    };
    // One step is the answer up to what coordinate descent left, which a next one would find.
    for _ in 0..limits.max_iter {
        let eta = design.forward(score.intercept, &score.coefficients);
        let errors = eta.iter().zip(y).zip(weights);
        let residual: Vec<f64> = errors.map(|((eta, y), w)| w * (y - eta)).collect();
        let step = step(
            design,
            weights,
            &residual,
            &score.coefficients,
            penalty,
            limits,
            ask,
        )?;
        let moved = step.length();
        score.add(&step, 1.0);
        if moved < limits.tol {
            break;
        }
    }
    Ok(score)
}

/// The log loss of two classes; `y` is 0 or 1.
pub(crate) fn logistic<E: Send>(
    design: &Design,
    y: &[f64],
    weights: &[f64],
    penalty: Penalty,
    limits: Limits,
    ask: Ask<'_, E>,
) -> Result<Score, E> {
    let rate: f64 = y.iter().zip(weights).map(|(y, w)| y * w).sum();
    let mut score = Score {
        intercept: if limits.intercept {
            ln(rate / (1.0 - rate))
        } else {
            0.0
        },
        coefficients: vec![0.0; design.terms()],
    };
    let mut eta = vec![score.intercept; design.rows()];
    let loss = |eta: &[f64]| {
        let rows = eta.iter().zip(y).zip(weights);
        rows.map(|((eta, y), w)| w * (ln(1.0 + exp(-eta.abs())) + eta.max(0.0) - y * eta))
            .sum::<f64>()
    };
    for _ in 0..limits.max_iter {
        let mut v = Vec::with_capacity(eta.len());
        let mut residual = Vec::with_capacity(eta.len());
        for ((eta, y), w) in eta.iter().zip(y).zip(weights) {
            let p = sigmoid(*eta);
            v.push(w * (p * (1.0 - p)).max(LEAST_CURVATURE));
            residual.push(w * (y - p));
        }
        let step = step(
            design,
            &v,
            &residual,
            &score.coefficients,
            penalty,
            limits,
            ask,
        )?;
        let ahead = design.forward(step.intercept, &step.coefficients);
        let size = search(&score, &step, penalty, ask, |t| {
            if t == 0.0 {
                return loss(&eta);
            }
            let moved: Vec<f64> = eta.iter().zip(&ahead).map(|(e, a)| e + t * a).collect();
            loss(&moved)
        })?;
        score.add(&step, size);
        for (eta, ahead) in eta.iter_mut().zip(&ahead) {
            *eta += size * ahead;
        }
        if size * step.length() < limits.tol {
            break;
        }
    }
    Ok(score)
}

/// The log loss of several classes, each of which some row has; `y` holds class indices. One score per class, which
/// softmax turns into probabilities.
pub(crate) fn softmax<E: Send>(
    design: &Design,
    y: &[usize],
    classes: usize,
    weights: &[f64],
    penalty: Penalty,
    limits: Limits,
    ask: Ask<'_, E>,
) -> Result<Vec<Score>, E> {
    let rows = design.rows();
    let mut share = vec![0.0; classes];
    for (&class, w) in y.iter().zip(weights) {
        share[class] += w;
    }
    let start = |share: &f64| if limits.intercept { ln(*share) } else { 0.0 };
    let mut scores: Vec<Score> = share
        .iter()
        .map(|share| Score {
            intercept: start(share),
            coefficients: vec![0.0; design.terms()],
        })
        .collect();
    // Column-wise: all rows of class 0, then of class 1, and so on.
    let mut eta: Vec<f64> = scores
        .iter()
        .flat_map(|s| std::iter::repeat_n(s.intercept, rows))
        .collect();
    for _ in 0..limits.max_iter {
        let mut moved: f64 = 0.0;
        for class in 0..classes {
            // Per row: the logarithm of the sum over all classes but this one, which the step does not touch.
            let others = log_sum(&eta, rows, classes, class);
            let own = &eta[class * rows..(class + 1) * rows];
            let mut v = Vec::with_capacity(rows);
            let mut residual = Vec::with_capacity(rows);
            for (row, (eta, w)) in own.iter().zip(weights).enumerate() {
                let p = sigmoid(eta - others[row]);
                v.push(w * (p * (1.0 - p)).max(LEAST_CURVATURE));
                residual.push(w * (f64::from(u8::from(y[row] == class)) - p));
            }
            let score = &scores[class];
            let at = &score.coefficients;
            let step = step(design, &v, &residual, at, penalty, limits, ask)?;
            let ahead = design.forward(step.intercept, &step.coefficients);
            let size = search(score, &step, penalty, ask, |t| {
                let mut loss = 0.0;
                for (row, w) in weights.iter().enumerate() {
                    let z = own[row] + t * ahead[row] - others[row];
                    let is = f64::from(u8::from(y[row] == class));
                    loss += w * (ln(1.0 + exp(-z.abs())) + z.max(0.0) - is * z);
                }
                loss
            })?;
            scores[class].add(&step, size);
            for (eta, ahead) in eta[class * rows..].iter_mut().zip(&ahead) {
                *eta += size * ahead;
            }
            moved = moved.max(size * step.length());
        }
        centre(&mut scores, penalty, limits, &mut eta, design);
        if moved < limits.tol {
            break;
        }
    }
    Ok(scores)
}

/// Takes out what all classes have in common, which changes no probability and makes the penalty no larger.
fn centre(
    scores: &mut [Score],
    penalty: Penalty,
    limits: Limits,
    eta: &mut [f64],
    design: &Design,
) {
    let classes = scores.len() as f64;
    let mut common = Score {
        intercept: 0.0,
        coefficients: vec![0.0; design.terms()],
    };
    if limits.intercept {
        common.intercept = scores.iter().map(|s| s.intercept).sum::<f64>() / classes;
    }
    // With an L1 part zeros must stay zeros.
    if penalty.l1 == 0.0 {
        for (j, c) in common.coefficients.iter_mut().enumerate() {
            *c = scores.iter().map(|s| s.coefficients[j]).sum::<f64>() / classes;
        }
    }
    let shift = design.forward(common.intercept, &common.coefficients);
    for score in scores.iter_mut() {
        score.add(&common, -1.0);
    }
    for part in eta.chunks_exact_mut(design.rows()) {
        for (eta, shift) in part.iter_mut().zip(&shift) {
            *eta -= shift;
        }
    }
}

/// Per row the logarithm of the sum of the exponentials of all classes but one.
fn log_sum(eta: &[f64], rows: usize, classes: usize, but: usize) -> Vec<f64> {
    let others = || (0..classes).filter(|c| *c != but);
    (0..rows)
        .map(|row| {
            let of = |class: usize| eta[class * rows + row];
            let largest = others().map(of).fold(f64::NEG_INFINITY, f64::max);
            largest + ln(others().map(|c| exp(of(c) - largest)).sum())
        })
        .collect()
}

impl Score {
    fn add(&mut self, step: &Score, times: f64) {
        self.intercept += times * step.intercept;
        for (c, s) in self.coefficients.iter_mut().zip(&step.coefficients) {
            // Exactly zero where a whole step leads there: `c + (0 − c)`.
            *c += times * s;
        }
    }

    /// The largest change.
    fn length(&self) -> f64 {
        let largest = |a: f64, c: &f64| a.max(c.abs());
        self.coefficients.iter().fold(self.intercept.abs(), largest)
    }
}

/// The share of the step to take: all of it, or the first halving by which the objective does not rise.
fn search<E>(
    at: &Score,
    step: &Score,
    penalty: Penalty,
    ask: Ask<'_, E>,
    loss: impl Fn(f64) -> f64,
) -> Result<f64, E> {
    let objective = |t: f64| {
        let moved = at.coefficients.iter().zip(&step.coefficients);
        let moved: Vec<f64> = moved.map(|(c, s)| c + t * s).collect();
        loss(t) + penalty.of(&moved)
    };
    let before = objective(0.0);
    // Close to the end the objective changes by less than its rounding.
    let slack = 1e-13 * (1.0 + before.abs());
    let mut size = 1.0;
    for _ in 0..HALVINGS {
        ask()?;
        if objective(size) <= before + slack {
            return Ok(size);
        }
        size /= 2.0;
    }
    Ok(0.0)
}

/// The step to the minimum of the quadratic with curvature `v` and negative slope `residual` per row.
fn step<E: Send>(
    design: &Design,
    v: &[f64],
    residual: &[f64],
    at: &[f64],
    penalty: Penalty,
    limits: Limits,
    ask: Ask<'_, E>,
) -> Result<Score, E> {
    let terms = design.terms();
    let moments = design.moments(v, ask)?;
    let mut products = moments.products;
    let (mut slope, free) = design.gradient(residual);
    if limits.intercept {
        // The intercept is solved for and drops out of the quadratic.
        for j in 0..terms {
            let share = moments.sums[j] / moments.total;
            slope[j] -= share * free;
            for k in 0..terms {
                products[j * terms + k] -= share * moments.sums[k];
            }
        }
    }
    let coefficients = match exact(&products, &slope, at, penalty, ask)? {
        Some(coefficients) => coefficients,
        None => descend(&products, &slope, at, penalty, limits.tol, ask)?,
    };
    let intercept = if limits.intercept {
        let moved = coefficients.iter().zip(&moments.sums);
        (free - moved.map(|(c, s)| c * s).sum::<f64>()) / moments.total
    } else {
        0.0
    };
    Ok(Score {
        intercept,
        coefficients,
    })
}

/// The step by a Cholesky factor, when there is no L1 part and no bound; none where the matrix is singular.
fn exact<E>(
    products: &[f64],
    slope: &[f64],
    at: &[f64],
    penalty: Penalty,
    ask: Ask<'_, E>,
) -> Result<Option<Vec<f64>>, E> {
    if penalty.l1 > 0.0 || penalty.nonnegative {
        return Ok(None);
    }
    let rows = slope.iter().zip(at);
    let right = rows.map(|(s, b)| s - penalty.l2 * b).collect();
    solve(products.to_vec(), penalty.l2, right, ask)
}

/// Solves `(matrix + ridge · 1) x = right` for a symmetric matrix by a Cholesky factor; none where it is singular.
fn solve<E>(
    mut factor: Vec<f64>,
    ridge: f64,
    right: Vec<f64>,
    ask: Ask<'_, E>,
) -> Result<Option<Vec<f64>>, E> {
    let n = right.len();
    let largest = (0..n).map(|j| factor[j * n + j]).fold(0.0, f64::max) + ridge;
    for j in 0..n {
        if j % UNASKED == 0 {
            ask()?;
        }
        factor[j * n + j] += ridge;
        for k in 0..=j {
            let (upper, lower) = factor.split_at(j * n);
            let row = if k == j { &lower[..n] } else { &upper[k * n..] };
            let inner: f64 = (0..k).map(|i| lower[i] * row[i]).sum();
            let left = lower[k] - inner;
            factor[j * n + k] = if k < j {
                left / factor[k * n + k]
            } else if left > 1e-10 * largest {
                left.sqrt()
            } else {
                return Ok(None);
            };
        }
    }
    let mut x = right;
    for j in 0..n {
        let inner: f64 = (0..j).map(|i| factor[j * n + i] * x[i]).sum();
        x[j] = (x[j] - inner) / factor[j * n + j];
    }
    for j in (0..n).rev() {
        let inner: f64 = (j + 1..n).map(|i| factor[i * n + j] * x[i]).sum();
        x[j] = (x[j] - inner) / factor[j * n + j];
    }
    Ok(Some(x))
}

/// Terms up to which the active ones are solved for together.
const SOLVED: usize = 512;
/// Sweeps over active terms between two such solutions.
const BETWEEN: usize = 8;

/// A quadratic on its way to the minimum: coefficients, and its negative slope there.
struct Descent<'a> {
    products: &'a [f64],
    penalty: Penalty,
    beta: Vec<f64>,
    slope: Vec<f64>,
}

impl Descent<'_> {
    fn set(&mut self, j: usize, new: f64) -> f64 {
        let change = new - self.beta[j];
        if change != 0.0 {
            self.beta[j] = new;
            let n = self.beta.len();
            let row = &self.products[j * n..(j + 1) * n];
            for (s, p) in self.slope.iter_mut().zip(row) {
                *s -= p * change;
            }
        }
        change.abs()
    }

    /// Moves one coefficient to its best place; how far.
    fn visit(&mut self, j: usize) -> f64 {
        let own = self.products[j * self.beta.len() + j];
        let Penalty {
            l1,
            l2,
            nonnegative,
        } = self.penalty;
        if own + l2 <= 0.0 {
            return 0.0;
        }
        let pull = self.slope[j] + own * self.beta[j];
        let new = if pull > l1 {
            (pull - l1) / (own + l2)
        } else if pull < -l1 && !nonnegative {
            (pull + l1) / (own + l2)
        } else {
            0.0
        };
        self.set(j, new)
    }

    /// Moves all active coefficients together towards the minimum for their signs, up to where the first one would change
    /// its sign. Where terms are nearly collinear this goes in one step where single ones need thousands.
    fn together<E>(&mut self, active: &[usize], ask: Ask<'_, E>) -> Result<(), E> {
        let n = self.beta.len();
        let active: Vec<usize> = active
            .iter()
            .copied()
            .filter(|&j| self.beta[j] != 0.0)
            .collect();
        if active.is_empty() || active.len() > SOLVED {
            return Ok(());
        }
        let mut matrix = Vec::with_capacity(active.len() * active.len());
        for &j in &active {
            matrix.extend(active.iter().map(|&k| self.products[j * n + k]));
        }
        let Penalty { l1, l2, .. } = self.penalty;
        let right = active
            .iter()
            .map(|&j| self.slope[j] - l2 * self.beta[j] - l1 * self.beta[j].signum());
        let Some(step) = solve(matrix, l2, right.collect(), ask)? else {
            return Ok(());
        };
        let (mut share, mut first) = (1.0, None);
        for (&j, step) in active.iter().zip(&step) {
            let beta = self.beta[j];
            if beta.signum() * (beta + step) < 0.0 {
                let until = -beta / step;
                if until < share {
                    (share, first) = (until, Some(j));
                }
            }
        }
        for (&j, step) in active.iter().zip(&step) {
            let new = if first == Some(j) {
                0.0
            } else {
                self.beta[j] + share * step
            };
            self.set(j, new);
        }
        Ok(())
    }
}

/// The step by cyclic coordinate descent: all terms, then those that are not zero, now and then all of these together,
/// until they rest, and again.
fn descend<E>(
    products: &[f64],
    slope: &[f64],
    at: &[f64],
    penalty: Penalty,
    tol: f64,
    ask: Ask<'_, E>,
) -> Result<Vec<f64>, E> {
    let n = slope.len();
    let small = (0.01 * tol).max(1e-13);
    let mut descent = Descent {
        products,
        penalty,
        beta: at.to_vec(),
        slope: slope.to_vec(),
    };
    let mut sweeps = 0;
    while sweeps < SWEEPS {
        ask()?;
        let mut moved: f64 = 0.0;
        for j in 0..n {
            moved = moved.max(descent.visit(j));
        }
        sweeps += 1;
        if moved < small {
            break;
        }
        let active: Vec<usize> = (0..n).filter(|&j| descent.beta[j] != 0.0).collect();
        for round in 1.. {
            if moved < small || sweeps >= SWEEPS {
                break;
            }
            moved = 0.0;
            for &j in &active {
                moved = moved.max(descent.visit(j));
            }
            sweeps += 1;
            if sweeps % UNASKED == 0 {
                ask()?;
            }
            if round % BETWEEN == 0 && moved >= small {
                descent.together(&active, ask)?;
            }
        }
    }
    let moved = descent.beta.iter().zip(at);
    Ok(moved.map(|(b, a)| b - a).collect())
}
