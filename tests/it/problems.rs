//! Functions on which samplers are compared, all to be minimized, with what a sampler is judged by: the regret
//! of the best trial so far. The `shifted` ones have an optimum that differs in every coordinate, in equal ranges,
//! so that a sampler that mixes up its parameters is found out.

use std::f64::consts::{E, PI, TAU};

use automl::study::sampler::Sampler;
use automl::study::{Budget, Stop, Study, Trial};
use rand_distr::{Distribution, Normal};

/// One function.
pub struct Problem {
    pub name: &'static str,
    /// The smallest value.
    pub optimum: f64,
    /// The value that the study sees, and the one without noise.
    pub eval: fn(&mut Trial) -> Result<(f64, f64), Stop>,
}

macro_rules! exact {
    ($f:expr) => {
        |trial| {
            let value: Result<f64, Stop> = $f(trial);
            value.map(|v| (v, v))
        }
    };
}

pub const PROBLEMS: &[Problem] = &[
    Problem {
        name: "branin",
        optimum: 0.397_887_357_729_738_16,
        eval: exact!(branin),
    },
    Problem {
        name: "hartmann3",
        optimum: -3.862_782_147_819_745,
        eval: exact!(hartmann3),
    },
    Problem {
        name: "hartmann6",
        optimum: -3.322_368_011_415_515,
        eval: exact!(hartmann6),
    },
    Problem {
        name: "ackley5",
        optimum: 0.0,
        eval: exact!(|t| Ok(ackley(&floats(t, 5, -20.0, 40.0)?))),
    },
    Problem {
        name: "rosenbrock5",
        optimum: 0.0,
        eval: exact!(|t| Ok(rosenbrock(&floats(t, 5, -5.0, 10.0)?))),
    },
    Problem {
        name: "rastrigin5",
        optimum: 0.0,
        eval: exact!(|t| Ok(rastrigin(&floats(t, 5, -3.0, 7.0)?))),
    },
    Problem {
        name: "mixed_conditional",
        optimum: 0.0,
        eval: exact!(mixed_conditional),
    },
    Problem {
        name: "categorical_grid",
        optimum: 0.0,
        eval: exact!(categorical_grid),
    },
    Problem {
        name: "noisy_hartmann6",
        optimum: -3.322_368_011_415_515,
        eval: |trial| {
            let value = hartmann6(trial)?;
            let noise = Normal::new(0.0, 0.3)?.sample(&mut trial.seed().child("noise", 0).rng());
            Ok((value + noise, value))
        },
    },
    Problem {
        name: "shifted_ackley5",
        optimum: 0.0,
        eval: exact!(|t| Ok(ackley(&shifted(t, -20.0, 40.0, 0.15)?))),
    },
    Problem {
        name: "shifted_rosenbrock5",
        optimum: 0.0,
        eval: exact!(|t| Ok(rosenbrock(&shifted(t, -5.0, 10.0, 0.05)?))),
    },
    Problem {
        name: "shifted_sphere5",
        optimum: 0.0,
        eval: exact!(|t| Ok(shifted(t, -5.0, 5.0, 0.2)?.iter().map(|x| x * x).sum())),
    },
    Problem {
        name: "integers",
        optimum: 0.0,
        eval: exact!(integers),
    },
];

const NAMES: [&str; 6] = ["x0", "x1", "x2", "x3", "x4", "x5"];

fn floats(trial: &mut Trial, d: usize, low: f64, high: f64) -> Result<Vec<f64>, Stop> {
    let mut draw = |name| Ok(trial.float(name, low..=high).uniform()?);
    NAMES[..d].iter().map(|name| draw(name)).collect()
}

/// Five coordinates, each moved by another part of the range.
fn shifted(trial: &mut Trial, low: f64, high: f64, by: f64) -> Result<Vec<f64>, Stop> {
    let x = floats(trial, 5, low, high)?;
    let by = by * (high - low);
    let shifts = [by, -0.6 * by, 0.3 * by, -by, 0.75 * by];
    Ok(x.iter().zip(shifts).map(|(x, s)| x - s).collect())
}

fn branin(trial: &mut Trial) -> Result<f64, Stop> {
    let x = trial.float("x0", -5.0..=10.0).uniform()?;
    let y = trial.float("x1", 0.0..=15.0).uniform()?;
    let bow = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
    Ok(bow * bow + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0)
}

const HEIGHTS: [f64; 4] = [1.0, 1.2, 3.0, 3.2];

fn hartmann<const D: usize>(x: &[f64], a: &[[f64; D]; 4], p: &[[f64; D]; 4]) -> f64 {
    let hill = |i: usize| {
        let d = (0..D).map(|j| a[i][j] * (x[j] - p[i][j]) * (x[j] - p[i][j]));
        HEIGHTS[i] * (-d.sum::<f64>()).exp()
    };
    -(0..4).map(hill).sum::<f64>()
}

fn hartmann3(trial: &mut Trial) -> Result<f64, Stop> {
    const A: [[f64; 3]; 4] = [
        [3.0, 10.0, 30.0],
        [0.1, 10.0, 35.0],
        [3.0, 10.0, 30.0],
        [0.1, 10.0, 35.0],
    ];
    const P: [[f64; 3]; 4] = [
        [0.3689, 0.1170, 0.2673],
        [0.4699, 0.4387, 0.7470],
        [0.1091, 0.8732, 0.5547],
        [0.03815, 0.5743, 0.8828],
    ];
    Ok(hartmann(&floats(trial, 3, 0.0, 1.0)?, &A, &P))
}

fn hartmann6(trial: &mut Trial) -> Result<f64, Stop> {
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    Ok(hartmann(&floats(trial, 6, 0.0, 1.0)?, &A, &P))
}

fn ackley(x: &[f64]) -> f64 {
    let d = x.len() as f64;
    let square: f64 = x.iter().map(|v| v * v).sum();
    let wave: f64 = x.iter().map(|v| (TAU * v).cos()).sum();
    -20.0 * (-0.2 * (square / d).sqrt()).exp() - (wave / d).exp() + 20.0 + E
}

fn rosenbrock(x: &[f64]) -> f64 {
    let bend = |w: &[f64]| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2);
    x.windows(2).map(bend).sum()
}

fn rastrigin(x: &[f64]) -> f64 {
    50.0 + x
        .iter()
        .map(|t| t * t - 10.0 * (TAU * t).cos())
        .sum::<f64>()
}

fn mixed_conditional(trial: &mut Trial) -> Result<f64, Stop> {
    let square = |x: f64| x * x;
    match trial.categorical("model", ["linear", "forest", "net"])? {
        "linear" => {
            let c = trial.float("linear_c", 1e-4..=1e4).log()?;
            let penalty = trial.categorical("linear_penalty", ["l1", "l2", "none"])?;
            let extra = match penalty {
                "l1" => 0.2,
                "l2" => 0.0,
                _ => 0.4,
            };
            Ok(1.2 + 0.1 * square(c.log10() - 0.5) + extra)
        }
        "forest" => {
            let depth = trial.int("forest_depth", 1..=32).uniform()? as f64;
            let leaf = trial.int("forest_leaf", 1..=128).log()? as f64;
            let mf = trial.float("forest_mf", 0.05..=1.0).uniform()?;
            let shape = 0.004 * square(depth - 14.0) + 0.12 * square(leaf.log2() - 2.0);
            Ok(0.6 + shape + 1.5 * square(mf - 0.4))
        }
        _ => {
            let lr = trial.float("net_lr", 1e-6..=1.0).log()?;
            let n = trial.int("net_layers", 1..=4).uniform()?;
            let mut value = 0.25 * square(lr.log10() + 3.0) + 0.1 * (n - 3).abs() as f64;
            for i in 0..n {
                let units = trial.int(&format!("net_units{i}"), 4..=512).log()? as f64;
                value += 0.05 * square(units.log2() - (7 - i) as f64);
            }
            Ok(value)
        }
    }
}

fn categorical_grid(trial: &mut Trial) -> Result<f64, Stop> {
    const GOOD: [i64; 6] = [4, 1, 5, 2, 0, 3];
    let (mut value, mut before) = (0.0, 0);
    for (i, good) in GOOD.into_iter().enumerate() {
        let choice = trial.categorical(&format!("c{i}"), ["v0", "v1", "v2", "v3", "v4", "v5"])?;
        let index = i64::from(choice.as_bytes()[1] - b'0');
        // Neighbours by index are no neighbours by value.
        let place = |j: i64| (j * 5 + i as i64 * 7) % 6;
        let distance = (place(index) - place(good)).abs();
        value += distance as f64 * if before == 0 { 1.0 } else { 1.25 };
        before = distance;
    }
    Ok(value)
}

/// Stepped, logarithmic and plain whole numbers that depend on each other.
fn integers(trial: &mut Trial) -> Result<f64, Stop> {
    let a = trial.int("a", 0..=40).uniform()? as f64;
    let b = trial.int("b", 0..=200).step(5)? as f64;
    let c = trial.int("c", 1..=1024).log()? as f64;
    let d = trial.float("d", 0.0..=2.0).step(0.05)?;
    let far = (a - 31.0).abs() / 10.0 + (b - 5.0 * a + 20.0).abs() / 40.0;
    // Zero at a = 31, b = 135, c = 8, d = 0.35.
    Ok(far + (c.log2() - 3.0).abs() + 2.0 * (d - 0.35).abs() * (1.0 + far))
}

/// The regret of the best trial so far, after each of `n` trials, so many at once. A failed trial is a fault of the test.
pub fn regrets(
    problem: &Problem,
    sampler: Box<dyn Sampler>,
    seed: u64,
    n: u64,
    concurrency: usize,
) -> Vec<f64> {
    let mut study = Study::builder(problem.name)
        .sampler(sampler)
        .concurrency(concurrency)
        .seed(seed)
        .open()
        .expect("a new study in memory");
    study
        .optimize(Budget::trials(n), |trial| {
            let (seen, exact) = (problem.eval)(trial)?;
            trial.note("exact", exact);
            Ok(seen)
        })
        .expect("memory does not fail");
    let (mut best, mut curve) = ((f64::INFINITY, f64::NAN), Vec::new());
    for trial in study.trials() {
        let seen = trial.value().expect("no trial fails");
        let exact = trial.user_attrs["exact"].as_f64().expect("a number");
        if seen < best.0 {
            best = (seen, exact);
        }
        curve.push(best.1 - problem.optimum);
    }
    curve
}

/// The median of numbers without NaN.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let mid = values.len() / 2;
    if values.len() % 2 == 1 {
        values[mid]
    } else {
        0.5 * (values[mid - 1] + values[mid])
    }
}
