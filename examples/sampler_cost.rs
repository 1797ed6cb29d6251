//! What a trial costs beside its objective: studies of five floats, in memory and on SQLite.
//!
//! `cargo run --release --example sampler_cost [SAMPLER[=JSON]]...`, by default `random tpe`. `TRIALS=1000` ends the studies
//! at that number of trials, `SQLITE=1` adds those on disk. Printed are mean milliseconds per trial, and in brackets those
//! of the last tenth.

use std::sync::Arc;
use std::time::Instant;

use automl::study::sampler;
use automl::study::storage::{Storage, memory::Memory, sqlite::SqliteStorage};
use automl::study::{Budget, Study};
use serde_json::Value as Json;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let most: u64 = std::env::var("TRIALS").map_or(Ok(100_000), |t| t.parse())?;
    let mut samplers: Vec<String> = std::env::args().skip(1).collect();
    if samplers.is_empty() {
        samplers = vec!["random".to_owned(), "tpe".to_owned()];
    }
    println!("storage  sampler      trials   ms per trial [last tenth]");
    for name in &samplers {
        let (name, params) = match name.split_once('=') {
            Some((name, params)) => (name, serde_json::from_str(params)?),
            None => (name.as_str(), Json::Null),
        };
        for trials in [100, 1_000, 10_000, 100_000] {
            if trials > most {
                continue;
            }
            let (mean, last) = cost(Arc::new(Memory::new()), name, &params, trials)?;
            println!("memory   {name:10} {trials:>8}   {mean:.4} [{last:.4}]");
            if std::env::var_os("SQLITE").is_some() {
                let folder = tempfile::tempdir()?;
                let storage = SqliteStorage::open(&folder.path().join("cost.db"))?;
                let (mean, last) = cost(Arc::new(storage), name, &params, trials)?;
                println!("sqlite   {name:10} {trials:>8}   {mean:.4} [{last:.4}]");
            }
        }
    }
    Ok(())
}

fn cost(
    storage: Arc<dyn Storage>,
    name: &str,
    params: &Json,
    trials: u64,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let mut study = Study::builder("cost")
        .sampler(sampler::by_name(name, params)?)
        .storage(storage)
        .seed(1)
        .open()?;
    let begun = Instant::now();
    let mut tenth = begun;
    for until in [trials - trials / 10, trials] {
        tenth = Instant::now();
        study.optimize(Budget::trials(until), |trial| {
            let mut sum = 0.0;
            for (i, name) in NAMES.into_iter().enumerate() {
                let x = trial.float(name, -5.0..=5.0).uniform()?;
                sum += (x - i as f64) * (x - i as f64);
            }
            Ok(sum)
        })?;
    }
    let ms = |since: Instant, n: u64| since.elapsed().as_secs_f64() * 1e3 / n as f64;
    Ok((ms(begun, trials), ms(tenth, trials / 10)))
}
