use std::sync::Arc;

use super::improvement::{ln_h, ln_improvement, with_slopes};
use super::regression::{self, Kernel, Points, Posterior, Scratch};
use super::space::informative;
use super::{Gp, GpParams};
use crate::seed::Seed;
use crate::study::pruner::ESTIMATE;
use crate::study::record::{Direction, TrialRecord, TrialState};
use crate::study::sampler::Context;
use crate::study::sampler::random::unit;

/// Two smooth axes, one of choices, and a function of them.
fn data(n: usize) -> (Points, Vec<f64>) {
    let mut rng = Seed::root(5).rng();
    let mut points = Points {
        columns: vec![Vec::new(); 3],
        choice: vec![false, false, true],
    };
    let mut y = Vec::new();
    for i in 0..n {
        let row = [unit(&mut rng), unit(&mut rng), (i % 3) as f64];
        y.push((5.0 * row[0]).sin() + row[1] * row[1] + 0.3 * row[2] - 0.8);
        points.push(&row);
    }
    (points, y)
}

#[test]
fn the_gradient_of_the_fit_is_that_of_finite_differences() {
    let (points, y) = data(19);
    let theta = [1.1, -0.4, 0.3, 0.2, -4.0];
    let mut gradient = [0.0; 5];
    regression::objective(&points, &y, &theta, &mut gradient);
    for i in 0..5 {
        let at = |step: f64| {
            let mut moved = theta;
            moved[i] += step;
            regression::objective(&points, &y, &moved, &mut [0.0; 5])
        };
        let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
        let error = (gradient[i] - slope).abs() / slope.abs().max(1.0);
        assert!(error < 1e-6, "{i}: {} is not {slope}", gradient[i]);
    }
}

#[test]
fn the_gradient_of_improvement_is_that_of_finite_differences() {
    let (points, y) = data(19);
    let kernel = Kernel {
        weights: vec![3.0, 0.7, 1.0],
        scale: 1.3,
        noise: 1e-3,
    };
    let posterior = Posterior::new(points, &y, kernel).expect("finite numbers");
    let mut room = Scratch::default();
    for best in [-2.0, -0.5, 1.0] {
        let x = [0.37, 0.81, 1.0];
        let (mut by_mean, mut by_variance) = ([0.0; 3], [0.0; 3]);
        let (mean, variance) = posterior.gradient(&x, &mut room, &mut by_mean, &mut by_variance);
        assert_eq!((mean, variance), posterior.predict(&x, &mut room));
        let (value, dm, dv) = with_slopes(mean, variance, best);
        assert_eq!(value, ln_improvement(mean, variance, best));
        for i in 0..2 {
            let mut at = |step: f64| {
                let mut moved = x;
                moved[i] += step;
                let (mean, variance) = posterior.predict(&moved, &mut room);
                ln_improvement(mean, variance, best)
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            let ours = dm * by_mean[i] + dv * by_variance[i];
            assert!(
                (ours - slope).abs() < 1e-5 * slope.abs().max(1.0),
                "{i}, {best}: {ours} is not {slope}"
            );
        }
        assert_eq!((by_mean[2], by_variance[2]), (0.0, 0.0));
    }
}

/// 1e-9: the covariance has a condition number of about 1e5, and scikit-learn solves in another order.
#[test]
fn posterior_and_likelihood_are_those_of_scikit_learn() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/golden/gp.json")).unwrap();
    let numbers = |v: &serde_json::Value| -> Vec<f64> {
        v.as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect()
    };
    let mut points = Points {
        columns: vec![Vec::new(); 3],
        choice: vec![false; 3],
    };
    for row in golden["x"].as_array().unwrap() {
        points.push(&numbers(row));
    }
    let y = numbers(&golden["y"]);
    let kernel = Kernel {
        weights: numbers(&golden["lengths"])
            .iter()
            .map(|l| 1.0 / (l * l))
            .collect(),
        scale: golden["scale"].as_f64().unwrap(),
        noise: golden["noise"].as_f64().unwrap(),
    };
    let theta = regression::to_theta(&kernel);
    let mut ln_posterior = -regression::objective(&points, &y, &theta, &mut [0.0; 5]);
    ln_posterior += kernel
        .weights
        .iter()
        .map(|w| 0.1 * (w + 1.0 / w))
        .sum::<f64>();
    ln_posterior +=
        kernel.scale - kernel.scale.ln() + 30.0 * kernel.noise - 0.1 * kernel.noise.ln();
    let want = golden["ln_likelihood"].as_f64().unwrap();
    assert!(
        (ln_posterior - want).abs() < 1e-9 * want.abs().max(1.0),
        "{ln_posterior} is not {want}"
    );
    let posterior = Posterior::new(points, &y, kernel).unwrap();
    let (means, deviations) = (numbers(&golden["mean"]), numbers(&golden["deviation"]));
    let mut room = Scratch::default();
    for (i, at) in golden["at"].as_array().unwrap().iter().enumerate() {
        let (mean, variance) = posterior.predict(&numbers(at), &mut room);
        assert!((mean - means[i]).abs() < 1e-9, "{mean} is not {}", means[i]);
        assert!(
            (variance.sqrt() - deviations[i]).abs() < 1e-9,
            "{} is not {}",
            variance.sqrt(),
            deviations[i]
        );
    }
}

/// Reference values: mpmath with 60 digits, ln(φ(z) + z Φ(z)).
#[test]
fn ln_improvement_keeps_its_digits_far_below_the_best() {
    for (z, want) in [
        (-1000.0, -500_014.734_452_091_16),
        (-100.0, -5_010.129_578_800_25),
        (-30.0, -457.724_653_760_598),
        (-15.5, -126.537_928_455_841_27),
        (-14.5, -111.406_274_147_488_52),
        (-8.0, -37.122_364_261_692_63),
        (-3.0, -7.869_686_059_603_028),
        (-1.01, -2.504_199_857_480_257),
        (-0.99, -2.466_114_391_669_049_4),
        (0.0, -0.918_938_533_204_672_7),
        (1.5, 0.424_814_556_762_259_3),
        (10.0, std::f64::consts::LN_10),
    ] {
        let got = ln_h(z);
        assert!(
            (got - want).abs() < 1e-9 * f64::abs(want).max(1.0),
            "{z}: {got} is not {want}"
        );
    }
}

#[test]
fn warped_losses_keep_their_order_and_are_finite() {
    let losses = [3.0, f64::INFINITY, 1e300, -2.0, f64::NEG_INFINITY, 0.5, 3.0];
    let y = super::warp::warp(&losses);
    for (i, a) in losses.iter().enumerate() {
        assert!(y[i].is_finite());
        for (j, b) in losses.iter().enumerate() {
            assert!(a > b || y[i] <= y[j], "{a} and {b}: {} and {}", y[i], y[j]);
        }
    }
    assert!(super::warp::warp(&[2.0; 5]).is_empty());
    assert!(super::warp::warp(&[f64::INFINITY, f64::NEG_INFINITY]).is_empty());
}

#[test]
fn a_pruned_trial_teaches_what_its_pruner_expected_of_it() {
    let record = |number, state, reported: f64, estimate: Option<f64>| {
        let mut trial = TrialRecord::waiting(number);
        trial.state = state;
        trial.intermediate.insert(1, reported);
        if state == TrialState::Complete {
            trial.values = vec![reported];
        }
        if let Some(estimate) = estimate {
            trial
                .system_attrs
                .insert(ESTIMATE.to_owned(), estimate.into());
        }
        Arc::new(trial)
    };
    let history = [
        record(0, TrialState::Complete, 0.5, None),
        record(1, TrialState::Pruned, 0.1, Some(0.8)),
        record(2, TrialState::Pruned, 0.2, None),
        record(3, TrialState::Fail, 0.3, None),
    ];
    let ctx = |history| Context {
        trial: 4,
        history,
        pending: &[],
        directions: &[Direction::Maximize],
        seed: Seed::root(1),
        study_seed: Seed::root(2),
    };
    let losses: Vec<f64> = informative(&ctx(&history)).iter().map(|k| k.1).collect();
    assert_eq!(losses, [-0.5, -0.8, -0.2]);

    let gp = |n_startup_trials| {
        let params = GpParams {
            n_startup_trials,
            ..GpParams::default()
        };
        Gp::new(params).unwrap()
    };
    assert!(!gp(3).starting_up(&ctx(&history)));
    assert!(gp(4).starting_up(&ctx(&history)));
    // Without a complete trial there is nothing to improve on.
    assert!(gp(2).starting_up(&ctx(&history[1..])));
}
