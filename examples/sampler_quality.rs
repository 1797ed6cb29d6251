//! Compares samplers on test functions: the median regret of 20 seeds after a quarter, half and all of 100 trials.
//!
//! `cargo run --release --example sampler_quality [SAMPLER[=JSON]]...`, by default `random tpe`. The environment may say how many
//! `SEEDS` and the `FIRST` of them, 0 unless it does: what was tuned on some seeds should be judged by others; and how
//! many `TRIALS`, and the names of the `ONLY` problems to look at, separated by commas. In brackets is the largest regret of
//! a seed at the end.

#[path = "../tests/it/problems.rs"]
mod problems;

use automl::study::sampler;
use problems::{PROBLEMS, median, regrets};
use rayon::prelude::*;
use serde_json::Value as Json;

/// Median regret at 100 trials of Optuna 5.0.0's default TPE, where measured.
const OPTUNA: &[(&str, f64)] = &[
    ("branin", 0.019),
    ("hartmann3", 0.016),
    ("hartmann6", 0.094),
    ("ackley5", 6.37),
    ("rosenbrock5", 89.9),
    ("rastrigin5", 24.8),
    ("mixed_conditional", 0.140),
    ("categorical_grid", 1.00),
    ("noisy_hartmann6", 0.376),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds: u64 = std::env::var("SEEDS").map_or(Ok(20), |s| s.parse())?;
    let trials: u64 = std::env::var("TRIALS").map_or(Ok(100), |t| t.parse())?;
    let first: u64 = std::env::var("FIRST").map_or(Ok(0), |s| s.parse())?;
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|o| o == name);
    if let Some(unknown) = only
        .split(',')
        .find(|o| !o.is_empty() && PROBLEMS.iter().all(|p| p.name != *o))
    {
        return Err(format!("there is no problem `{unknown}`").into());
    }
    let mut samplers: Vec<String> = std::env::args().skip(1).collect();
    if samplers.is_empty() {
        samplers = vec!["random".to_owned(), "tpe".to_owned()];
    }
    for name in &samplers {
        let (name, params) = match name.split_once('=') {
            Some((name, params)) => (name, serde_json::from_str(params)?),
            None => (name.as_str(), Json::Null),
        };
        println!("{name} {params}");
        let (mut ln_ratio, mut compared) = (0.0, 0);
        for problem in PROBLEMS.iter().filter(|p| wanted(p.name)) {
            let curves = (first..first + seeds).into_par_iter().map(|seed| {
                let sampler = sampler::by_name(name, &params).expect("checked by the first run");
                regrets(problem, sampler, seed, trials, 1)
            });
            let curves: Vec<Vec<f64>> = curves.collect();
            let at = |n: usize| median(curves.iter().map(|c| c[n - 1]).collect());
            let all = trials.max(4) as usize;
            let (a, b, c) = (at(all / 4), at(all / 2), at(all));
            let known = OPTUNA.iter().filter(|_| trials == 100);
            let reference = known.into_iter().find(|(n, _)| *n == problem.name);
            let ratio = reference.map(|(_, r)| c.max(1e-9) / r);
            if let Some(ratio) = ratio {
                ln_ratio += ratio.max(0.05).ln();
                compared += 1;
            }
            let ratio = ratio.map_or(String::new(), |r| format!("  × {r:.2}"));
            let ends = curves.iter().map(|c| c[all - 1]);
            let most = ends.fold(f64::NEG_INFINITY, f64::max);
            let [a, b, c, most] = [a, b, c, most].map(shown);
            println!(
                "  {:20} {a:>12} {b:>12} {c:>12} [{most}]{ratio}",
                problem.name
            );
        }
        if compared == 0 {
            continue;
        }
        let mean = (ln_ratio / f64::from(compared)).exp();
        println!("  geometric mean of the ratios to Optuna's TPE: {mean:.3}");
    }
    Ok(())
}

/// A regret with four digits after the point, or its magnitude where these are zeros.
fn shown(regret: f64) -> String {
    if regret != 0.0 && regret.abs() < 1e-4 {
        format!("{regret:.1e}")
    } else {
        format!("{regret:.4}")
    }
}
