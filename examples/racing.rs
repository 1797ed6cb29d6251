//! Racing over the folds of a cross-validation against other pruners: how many folds are evaluated and how good the
//! best fully evaluated trial is.
//!
//! Ten folds of Hartmann's function in six dimensions, with an effect of each fold that all trials share, N(0, 0.3), and
//! noise of each cell, N(0, 0.1); 100 trials. With `--shifted`, a sphere with another optimum in every coordinate.
//!
//! `cargo run --release --example racing [--shifted] [PRUNER[=JSON]]...`, by default `none median wilcoxon racing`;
//! `SEEDS=200 SAMPLER=random FOLDS=5 CONCURRENCY=4` change what is measured.

use automl::seed::Seed;
use automl::study::{Budget, Stop, Study, Trial, pruner, sampler};
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;
use serde_json::Value as Json;

const ALPHA: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
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
/// The smallest value of Hartmann's function.
const OPTIMUM: f64 = -3.322_368_011_415_515;

/// How much better than the optimum nothing can be: the noiseless value above it.
fn regret(trial: &mut Trial, shifted: bool) -> Result<f64, Stop> {
    let mut x = [0.0; 6];
    for (i, x) in x.iter_mut().enumerate() {
        *x = trial.float(&format!("x{i}"), 0.0..=1.0).uniform()?;
    }
    if shifted {
        let apart = |(i, x): (usize, &f64)| (x - 0.15 - 0.13 * i as f64).powi(2);
        return Ok(4.0 * x.iter().enumerate().map(apart).sum::<f64>());
    }
    let mut sum = 0.0;
    for ((alpha, a), p) in ALPHA.iter().zip(&A).zip(&P) {
        let apart: f64 = (0..6).map(|i| a[i] * (x[i] - p[i]).powi(2)).sum();
        sum += alpha * (-apart).exp();
    }
    Ok(-sum - OPTIMUM)
}

struct Setting {
    sampler: String,
    folds: i64,
    concurrency: usize,
    shifted: bool,
}

/// Folds evaluated, trials evaluated in full, and the regret of the best of these.
fn run(
    setting: &Setting,
    name: &str,
    params: &Json,
    seed: u64,
) -> Result<(usize, usize, f64), Box<dyn std::error::Error + Send + Sync>> {
    let pruner = pruner::by_name(name, params)?;
    let blocks = pruner.blocks();
    let mut study = Study::builder("racing")
        .sampler(sampler::by_name(&setting.sampler, &Json::Null)?)
        .pruner(pruner)
        .concurrency(setting.concurrency)
        .seed(seed)
        .open()?;
    let (shared, cell) = (Normal::new(0.0, 0.3)?, Normal::new(0.0, 0.1)?);
    let mut rng = Seed::root(seed).child("folds", 0).rng();
    let effects: Vec<f64> = (0..setting.folds)
        .map(|_| shared.sample(&mut rng))
        .collect();
    study.optimize(Budget::trials(100), |trial| {
        let value = regret(trial, setting.shifted)?;
        trial.note("regret", value);
        let mut rng = trial.seed().child("cells", 0).rng();
        let mut sum = 0.0;
        for (fold, effect) in (1..).zip(&effects) {
            let score = value + effect + cell.sample(&mut rng);
            sum += score;
            // What is not compared fold by fold is compared by the mean so far.
            trial.report(fold, if blocks { score } else { sum / fold as f64 });
            if trial.should_prune() {
                return Err(Stop::Pruned);
            }
        }
        Ok(sum / effects.len() as f64)
    })?;
    let folds = study.trials().iter().map(|t| t.intermediate.len()).sum();
    let best = study.best().ok_or("no trial is complete")?;
    let regret = best.user_attrs["regret"].as_f64().unwrap_or(f64::NAN);
    Ok((folds, study.progress().complete as usize, regret))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(Ok(default), |text| text.parse::<u64>())
    };
    let (seeds, folds) = (number("SEEDS", 20)?, number("FOLDS", 10)?);
    let mut pruners: Vec<String> = std::env::args().skip(1).collect();
    let shifted = pruners.iter().any(|p| p == "--shifted");
    pruners.retain(|p| p != "--shifted");
    if pruners.is_empty() {
        pruners = ["none", "median", "wilcoxon", "racing"]
            .map(str::to_owned)
            .into();
    }
    let setting = Setting {
        sampler: std::env::var("SAMPLER").unwrap_or_else(|_| "tpe".to_owned()),
        folds: folds as i64,
        concurrency: number("CONCURRENCY", 1)? as usize,
        shifted,
    };
    println!("pruner      folds   full  regret: median    mean     of {seeds} seeds");
    for text in &pruners {
        let (name, params) = match text.split_once('=') {
            Some((name, params)) => (name, serde_json::from_str(params)?),
            None => (text.as_str(), Json::Null),
        };
        let runs: Result<Vec<_>, _> = (0..seeds)
            .into_par_iter()
            .map(|seed| run(&setting, name, &params, seed))
            .collect();
        let runs = runs?;
        let mean = |of: &dyn Fn(&(usize, usize, f64)) -> f64| {
            runs.iter().map(of).sum::<f64>() / runs.len() as f64
        };
        println!(
            "{name:10} {:>6.1} {:>6.1} {:>15.4} {:>8.4}   {}",
            mean(&|r| r.0 as f64),
            mean(&|r| r.1 as f64),
            median(runs.iter().map(|r| r.2).collect()),
            mean(&|r| r.2),
            if params.is_null() {
                String::new()
            } else {
                params.to_string()
            },
        );
    }
    Ok(())
}
