//! How many points of a discrete space are tried twice: three whole numbers of 8 values (512 points) and four
//! categoricals of 4 choices (256), every sampler of the table, with one and eight trials at once.
//!
//! `cargo run --release --example duplicates [SAMPLER[=JSON]]...`, by default all of them. The environment may say how many
//! `SEEDS` (20) and `TRIALS` (100). Printed is the number of trials that repeat an earlier one: the median over the seeds,
//! and the most.

use std::collections::BTreeSet;

use automl::study::sampler::{self, SAMPLERS};
use automl::study::{Budget, Stop, Study, Trial};
use rayon::prelude::*;
use serde_json::Value as Json;

type Objective = fn(&mut Trial) -> Result<f64, Stop>;

const SPACES: [(&str, Objective); 2] =
    [("3 ints of 8", ints), ("4 categoricals of 4", categoricals)];

fn ints(trial: &mut Trial) -> Result<f64, Stop> {
    let mut sum = 0.0;
    for (name, best) in [("a", 2), ("b", 6), ("c", 5)] {
        let apart = trial.int(name, 0..=7).uniform()? - best;
        sum += (apart * apart) as f64;
    }
    Ok(sum)
}

fn categoricals(trial: &mut Trial) -> Result<f64, Stop> {
    let mut missed = 0.0;
    for (name, best) in [("a", "z"), ("b", "w"), ("c", "x"), ("d", "y")] {
        missed += f64::from(u8::from(
            trial.categorical(name, ["w", "x", "y", "z"])? != best,
        ));
    }
    Ok(missed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |name: &str, default: u64| std::env::var(name).map_or(Ok(default), |v| v.parse());
    let (seeds, trials) = (number("SEEDS", 20)?, number("TRIALS", 100)?);
    let mut samplers: Vec<String> = std::env::args().skip(1).collect();
    if samplers.is_empty() {
        samplers = SAMPLERS.iter().map(|s| s.name.to_owned()).collect();
    }
    let mut head = "| sampler |".to_owned();
    for (space, _) in SPACES {
        for at_once in [1, 8] {
            head += &format!(" {space}, {at_once} at once |");
        }
    }
    println!("{head}\n|---|{}", "---|".repeat(2 * SPACES.len()));
    let mut all = 0;
    for name in &samplers {
        let (name, params) = match name.split_once('=') {
            Some((name, params)) => (name, serde_json::from_str(params)?),
            None => (name.as_str(), Json::Null),
        };
        // A wrong name or parameter is said once, not in a thread.
        sampler::by_name(name, &params)?;
        let mut line = format!("| {name} |");
        for (_, objective) in SPACES {
            for at_once in [1, 8] {
                let of = |seed| repeated(name, &params, objective, seed, trials, at_once);
                let counts: Result<Vec<Count>, String> =
                    (0..seeds).into_par_iter().map(of).collect();
                let mut counts = counts?;
                counts.sort_by_key(|c| c.repeated);
                let most = counts.last().map_or(0, |c| c.repeated);
                let least_trials = counts.iter().map(|c| c.trials).min().unwrap_or(0);
                all += counts.iter().map(|c| c.repeated).sum::<u64>();
                line += &format!(" {} / {most}", counts[counts.len() / 2].repeated);
                if least_trials < trials {
                    line += &format!(" ({least_trials} trials)");
                }
                line += " |";
            }
        }
        println!("{line}");
    }
    println!("\n{all} of all trials repeat an earlier one");
    Ok(())
}

/// Of one study.
struct Count {
    trials: u64,
    repeated: u64,
}

fn repeated(
    name: &str,
    params: &Json,
    objective: Objective,
    seed: u64,
    trials: u64,
    at_once: usize,
) -> Result<Count, String> {
    let sampler = sampler::by_name(name, params).map_err(|e| e.to_string())?;
    let mut study = Study::builder("duplicates")
        .sampler(sampler)
        .concurrency(at_once)
        .seed(seed)
        .open()
        .map_err(|e| e.to_string())?;
    let done = study.optimize(Budget::trials(trials), objective);
    done.map_err(|e| e.to_string())?;
    let points: BTreeSet<Vec<u64>> = study
        .trials()
        .iter()
        .map(|t| t.params.0.iter().map(|a| a.internal.to_bits()).collect())
        .collect();
    let trials = study.trials().len() as u64;
    Ok(Count {
        trials,
        repeated: trials - points.len() as u64,
    })
}
