//! Minimizing a smooth function of a few variables within bounds: limited-memory BFGS on the free variables.
//!
//! Variables that lie at a bound and would leave it are held there for one step; the others follow the direction of
//! L-BFGS (Nocedal and Wright, *Numerical Optimization*, algorithm 7.4), every point projected into the box, with a
//! backtracking line search (Bertsekas, *Projected Newton Methods*, 1982). Same input, same bits.

/// Pairs of steps and gradient changes that are remembered.
const MEMORY: usize = 8;

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps at most.
    pub steps: usize,
    /// Evaluations of the function at most.
    pub evaluations: usize,
    /// Stop when a step improves the value by less than this.
    pub tolerance: f64,
}

/// Minimizes `f`, which returns its value at a point and writes its gradient, from `start` within `bounds` (low and
/// high of each variable). Returns the best point and its value. Where `f` is not finite, it counts as infinite.
pub fn minimize<F>(
    mut f: F,
    start: &[f64],
    bounds: &[(f64, f64)],
    limits: Limits,
) -> (Vec<f64>, f64)
where
    F: FnMut(&[f64], &mut [f64]) -> f64,
{
    let n = start.len();
    let clamp = |x: f64, i: usize| x.clamp(bounds[i].0, bounds[i].1);
    let mut x: Vec<f64> = (0..n).map(|i| clamp(start[i], i)).collect();
    let mut gradient = vec![0.0; n];
    let mut value = f(&x, &mut gradient);
    let mut evaluations = 1;
    if !value.is_finite() {
        return (x, f64::INFINITY);
    }
    let mut memory: Vec<Pair> = Vec::new();
    let (mut next, mut next_gradient) = (vec![0.0; n], vec![0.0; n]);
    for _ in 0..limits.steps {
        let held: Vec<bool> = (0..n)
            .map(|i| {
                let (low, high) = bounds[i];
                (x[i] <= low && gradient[i] > 0.0) || (x[i] >= high && gradient[i] < 0.0)
            })
            .collect();
        let mut direction = descent(&memory, &gradient, &held);
        let mut slope = product(&direction, &gradient);
        if slope >= 0.0 {
            memory.clear();
            direction = descent(&memory, &gradient, &held);
            slope = product(&direction, &gradient);
        }
        if slope > -1e-16 {
            break;
        }
        let mut step = 1.0;
        if memory.is_empty() {
            // Without curvature: a tenth of the box at most.
            let longest =
                (0..n).map(|i| direction[i].abs() / (bounds[i].1 - bounds[i].0).max(1e-300));
            let longest = longest.fold(0.0, f64::max);
            step = (0.1 / longest).min(1.0);
        }
        let mut accepted = false;
        while evaluations < limits.evaluations {
            for i in 0..n {
                next[i] = clamp(x[i] + step * direction[i], i);
            }
            let at = f(&next, &mut next_gradient);
            evaluations += 1;
            let moved: f64 = (0..n).map(|i| gradient[i] * (next[i] - x[i])).sum();
            if at.is_finite() && at <= value + 1e-4 * moved {
                let pair = Pair::between(&x, &next, &gradient, &next_gradient);
                let gain = value - at;
                std::mem::swap(&mut x, &mut next);
                std::mem::swap(&mut gradient, &mut next_gradient);
                value = at;
                if let Some(pair) = pair {
                    if memory.len() == MEMORY {
                        memory.remove(0);
                    }
                    memory.push(pair);
                }
                accepted = gain > limits.tolerance;
                break;
            }
            step *= if at.is_finite() { 0.4 } else { 0.1 };
            if step < 1e-10 {
                break;
            }
        }
        if !accepted {
            break;
        }
    }
    (x, value)
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1 / (step · change).
    rho: f64,
}

impl Pair {
    /// `None` without positive curvature along the step.
    fn between(x: &[f64], next: &[f64], gradient: &[f64], next_gradient: &[f64]) -> Option<Self> {
        let minus =
            |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let (step, change) = (minus(next, x), minus(next_gradient, gradient));
        let curvature = product(&step, &change);
        (curvature > 1e-10 * product(&change, &change)).then(|| Pair {
            rho: 1.0 / curvature,
            step,
            change,
        })
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The direction of L-BFGS on the variables that are not held.
fn descent(memory: &[Pair], gradient: &[f64], held: &[bool]) -> Vec<f64> {
    let free = |mut v: Vec<f64>| {
        v.iter_mut()
            .zip(held)
            .filter(|(_, held)| **held)
            .for_each(|(v, _)| *v = 0.0);
        v
    };
    let mut q = free(gradient.iter().map(|g| -g).collect());
    let mut factors = vec![0.0; memory.len()];
    for (pair, factor) in memory.iter().zip(&mut factors).rev() {
        *factor = pair.rho * product(&pair.step, &q);
        for (q, y) in q.iter_mut().zip(&pair.change) {
            *q -= *factor * y;
        }
    }
    if let Some(last) = memory.last() {
        let scale = 1.0 / (last.rho * product(&last.change, &last.change));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (pair, factor) in memory.iter().zip(&factors) {
        let back = pair.rho * product(&pair.change, &q);
        for (q, s) in q.iter_mut().zip(&pair.step) {
            *q += (factor - back) * s;
        }
    }
    free(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Limits = Limits {
        steps: 200,
        evaluations: 1000,
        tolerance: 0.0,
    };

    fn rosenbrock(x: &[f64], g: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        g[0] = -2.0 * a - 400.0 * x[0] * b;
        g[1] = 200.0 * b;
        a * a + 100.0 * b * b
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        let (x, value) = minimize(rosenbrock, &[-1.2, 1.0], &[(-5.0, 5.0); 2], LONG);
        assert!(value < 1e-12, "{value}");
        assert!((x[0] - 1.0).abs() < 1e-5 && (x[1] - 1.0).abs() < 1e-5);
    }

    #[test]
    fn bounds_hold_and_the_best_point_of_the_box_is_found() {
        // Within x ≤ 0.5 the valley ends at (0.5, 0.25).
        let mut seen = 0.0_f64;
        let f = |x: &[f64], g: &mut [f64]| {
            seen = seen.max(x[0]);
            rosenbrock(x, g)
        };
        let (x, value) = minimize(f, &[-1.2, 1.0], &[(-2.0, 0.5), (-2.0, 2.0)], LONG);
        assert!(seen <= 0.5);
        assert!((value - 0.25).abs() < 1e-9, "{value}");
        assert!(x[0] == 0.5 && (x[1] - 0.25).abs() < 1e-5, "{x:?}");
    }

    #[test]
    fn limits_and_holes_end_the_search() {
        let mut calls = 0;
        let few = Limits {
            evaluations: 5,
            ..LONG
        };
        let f = |x: &[f64], g: &mut [f64]| {
            calls += 1;
            rosenbrock(x, g)
        };
        minimize(f, &[-1.2, 1.0], &[(-5.0, 5.0); 2], few);
        assert!(calls <= 5);
        let hole = |x: &[f64], g: &mut [f64]| {
            g[0] = 1.0;
            if x[0] < 0.3 { f64::NAN } else { x[0] }
        };
        let (x, value) = minimize(hole, &[0.9], &[(0.0, 1.0)], LONG);
        assert!(value <= 0.9 && x[0] >= 0.3);
        let (_, nowhere) = minimize(|_, _| f64::NAN, &[0.9], &[(0.0, 1.0)], LONG);
        assert_eq!(nowhere, f64::INFINITY);
    }
}
