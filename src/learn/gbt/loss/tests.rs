use proptest::prelude::*;

use super::*;

fn weighted_loss(values: &[f64], weights: &[f64], level: f64, at: f64) -> f64 {
    let pinball = |v: &f64| (v - at) * if *v >= at { level } else { level - 1.0 };
    values
        .iter()
        .zip(weights)
        .map(|(v, w)| w * pinball(v))
        .sum()
}

proptest! {
    #[test]
    fn a_weighted_quantile_has_the_smallest_pinball_loss(
        rows in prop::collection::vec((-50_i32..50, 0_u32..4), 1..40),
        level in 0.05..0.95_f64,
    ) {
        let values: Vec<f64> = rows.iter().map(|r| f64::from(r.0)).collect();
        let weights: Vec<f64> = rows.iter().map(|r| f64::from(r.1)).collect();
        prop_assume!(weights.iter().any(|w| *w > 0.0));
        let found = weighted_quantile(&values, &weights, level);
        let best = values
            .iter()
            .map(|v| weighted_loss(&values, &weights, level, *v))
            .fold(f64::INFINITY, f64::min);
        prop_assert!(weighted_loss(&values, &weights, level, found) <= best + 1e-9);

        // A weight of three is the value three times.
        let repeated: Vec<f64> = rows
            .iter()
            .flat_map(|r| std::iter::repeat_n(f64::from(r.0), r.1 as usize))
            .collect();
        let ones = vec![1.0; repeated.len()];
        prop_assert_eq!(found, weighted_quantile(&repeated, &ones, level));
    }

    #[test]
    fn gradients_are_derivatives_of_the_loss(score in -3.0..3.0_f64, y in 0_u32..6) {
        let all: [(Arc<dyn Loss>, f64); 8] = [
            (Arc::new(Logistic), f64::from(y % 2)),
            (Arc::new(Squared), f64::from(y)),
            (Arc::new(Absolute), f64::from(y)),
            (Arc::new(Huber { delta: 0.9 }), f64::from(y)),
            (Arc::new(Quantile { level: 0.8 }), f64::from(y)),
            (Arc::new(Poisson), f64::from(y)),
            (Arc::new(Tweedie { power: 1.2 }), f64::from(y)),
            (Arc::new(Tweedie { power: 1.7 }), f64::from(y)),
        ];
        for (loss, y) in all {
            let at = |score: f64| {
                let mut out = [0.0];
                loss.losses(&[y], &[score], &mut out);
                out[0]
            };
            let (mut g, mut h) = ([score], [0.0]);
            loss.differentiate(&[y], &mut g, &mut h);
            let step = 1e-5;
            // The squared error is taken without the factor of a half, and kinks have no derivative.
            let factor = if loss.name() == "squared" { 0.5 } else { 1.0 };
            let kink = (score - y).abs() < 2.0 * step || ((score - y).abs() - 0.9).abs() < 2.0 * step;
            let slope = factor * (at(score + step) - at(score - step)) / (2.0 * step);
            prop_assert!(kink || (slope - g[0]).abs() < 1e-4 * (1.0 + g[0].abs()), "{}: {slope} {}", loss.name(), g[0]);
            prop_assert!(h[0] > 0.0 && h[0].is_finite());
            if let Some(bounds) = loss.bounds(1) {
                prop_assert!(g[0].abs() <= bounds.gradient && h[0] <= bounds.hessian);
            }
        }
    }

    #[test]
    fn softmax_gradients_are_derivatives_of_the_loss(scores in prop::array::uniform3(-3.0..3.0_f64), y in 0_u32..3) {
        let y = [f64::from(y)];
        let at = |scores: [f64; 3]| {
            let mut out = [0.0];
            Softmax.losses(&y, &scores, &mut out);
            out[0]
        };
        let (mut g, mut h) = (scores, [0.0; 3]);
        Softmax.differentiate(&y, &mut g, &mut h);
        for k in 0..3 {
            let moved = |by: f64| {
                let mut moved = scores;
                moved[k] += by;
                at(moved)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            prop_assert!((slope - g[k]).abs() < 1e-6);
            prop_assert!(h[k] > 0.0);
        }
    }
}

#[test]
fn start_is_the_best_constant() {
    let (targets, weights) = (
        [0.0, 1.0, 1.0, 5.0, 9.0, 2.0],
        [1.0, 2.0, 1.0, 0.5, 1.0, 1.0],
    );
    let all: [Arc<dyn Loss>; 5] = [
        Arc::new(Squared),
        Arc::new(Absolute),
        Arc::new(Quantile { level: 0.7 }),
        Arc::new(Poisson),
        Arc::new(Tweedie { power: 1.5 }),
    ];
    for loss in all {
        let total = |score: f64| {
            let mut out = [0.0; 6];
            loss.losses(&targets, &[score; 6], &mut out);
            out.iter().zip(&weights).map(|(l, w)| l * w).sum::<f64>()
        };
        let mut start = [f64::NAN];
        loss.start(&targets, &weights, &mut start);
        for other in [-0.3, -0.01, 0.01, 0.3] {
            assert!(
                total(start[0]) <= total(start[0] + other) + 1e-12,
                "{}",
                loss.name()
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_said_with_what_does() {
    let negative = Poisson.check(Task::Regression, &[1.0, -2.0]).unwrap_err();
    assert!(
        negative.contains("-2") && negative.contains("`loss: squared`"),
        "{negative}"
    );
    assert!(
        Tweedie { power: 1.5 }
            .check(Task::Regression, &[0.0, 0.0])
            .is_err()
    );
    assert!(
        Logistic
            .check(Task::Multiclass, &[])
            .unwrap_err()
            .contains("softmax")
    );
    assert!(
        Squared
            .check(Task::Binary, &[])
            .unwrap_err()
            .contains("logistic")
    );
}
