//! What "a sequence, not a race" promises, and what it costs.
//!
//! `cargo run --release --example sequence [SAMPLER]...`, by default `auto tpe`. First 100 runs (`RUNS`) of one study for each
//! concurrency, on 1 to 16 threads, with an objective that sleeps at random: one hash each. Then, with `SEEDS=20`, the
//! regret after 100 trials with eight at once, and with eight free-running workers whose trials see whatever has
//! finished by then.

#[path = "../tests/it/problems.rs"]
mod problems;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use automl::seed::Seed;
use automl::study::sampler::{self, Context, Sampler};
use automl::study::space::{Domain, Params};
use automl::study::{Budget, Stop, Study, Trial};
use problems::{PROBLEMS, median, regrets};
use rand::RngExt as _;
use rayon::prelude::*;
use serde_json::Value as Json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |name: &str, default: u64| std::env::var(name).map_or(Ok(default), |v| v.parse());
    let (runs, seeds) = (number("RUNS", 100)?, number("SEEDS", 0)?);
    let mut samplers: Vec<String> = std::env::args().skip(1).collect();
    if samplers.is_empty() {
        samplers = vec!["auto".to_owned(), "tpe".to_owned()];
    }
    for name in &samplers {
        for concurrency in [1, 4, 8] {
            let hashes: Result<BTreeSet<String>, _> = (0..runs)
                .map(|run| history(name, concurrency, run))
                .collect();
            let hashes = hashes?;
            let first = hashes.first().map_or("", |h| &h[..16]);
            println!(
                "{name}: {concurrency} at once, {runs} runs on 1 to 16 threads: {} history, {first}",
                hashes.len()
            );
            assert_eq!(hashes.len(), 1, "the threads decided something");
        }
    }
    if seeds > 0 {
        samplers.iter().for_each(|name| compare(name, seeds));
    }
    Ok(())
}

/// The hash of all parameters and values of a short study that runs on `1 + run % 16` threads.
fn history(
    sampler: &str,
    concurrency: usize,
    run: u64,
) -> Result<String, Box<dyn std::error::Error>> {
    let threads = 1 + run as usize % 16;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let mut study = Study::builder("sequence")
        .sampler(sampler::by_name(sampler, &Json::Null)?)
        .concurrency(concurrency)
        .seed(7)
        .open()?;
    let objective = |trial: &mut Trial| -> Result<f64, Stop> {
        let x = trial.float("x", -5.0..=5.0).uniform()?;
        let lr = trial.float("lr", 1e-5..=1.0).log()?;
        let extra = match trial.categorical("model", ["a", "b"])? {
            "a" => trial.int("depth", 1..=20).uniform()? as f64 / 20.0,
            _ => trial.float("y", 0.0..=1.0).step(0.1)?,
        };
        // Another time in every run.
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..1500)));
        if trial.number() % 9 == 4 {
            return Err(Stop::failed("on purpose"));
        }
        Ok((x - 1.0).powi(2) + (lr.log10() + 3.0).powi(2) + extra)
    };
    pool.install(|| study.optimize(Budget::trials(40), objective))?;
    let trials = study.trials().iter();
    let facts = trials.map(|t| format!("{:?} {:?} {:?}", t.state, t.params, t.values));
    let text: Vec<String> = facts.collect();
    Ok(automl::fsio::sha256(text.join("\n").as_bytes()))
}

/// A sampler whose trials see what eight workers would have finished that never wait for each other.
struct FreeRunning {
    inner: String,
    /// For each trial, which of those before it are finished.
    finished: Vec<Vec<bool>>,
}

impl FreeRunning {
    /// Trials take times of an exponential distribution.
    fn new(inner: &str, seed: u64, trials: usize, workers: usize) -> Self {
        let mut rng = Seed::root(seed).child("times", 0).rng();
        let mut free = vec![0.0_f64; workers];
        let (mut ends, mut finished): (Vec<f64>, Vec<Vec<bool>>) = (Vec::new(), Vec::new());
        for _ in 0..trials {
            let worker = (0..workers).min_by(|a, b| free[*a].total_cmp(&free[*b]));
            let worker = worker.unwrap_or(0);
            let now = free[worker];
            finished.push(ends.iter().map(|end| *end <= now).collect());
            free[worker] = now - rng.random::<f64>().max(1e-300).ln();
            ends.push(free[worker]);
        }
        FreeRunning {
            inner: inner.to_owned(),
            finished,
        }
    }

    fn with<T>(&self, ctx: &Context<'_>, ask: impl FnOnce(&dyn Sampler, &Context<'_>) -> T) -> T {
        let seen = &self.finished[ctx.trial as usize];
        let by = |wanted: bool| {
            ctx.history
                .iter()
                .zip(seen)
                .filter(move |(_, f)| **f == wanted)
        };
        let history: Vec<_> = by(true).map(|(t, _)| Arc::clone(t)).collect();
        let pending: Vec<Params> = by(false).map(|(t, _)| t.params.clone()).collect();
        // What it kept of another history would be of no use.
        let inner = sampler::by_name(&self.inner, &Json::Null).expect("it was made before");
        let ctx = Context {
            history: &history,
            pending: &pending,
            ..*ctx
        };
        ask(&*inner, &ctx)
    }
}

impl Sampler for FreeRunning {
    fn name(&self) -> &'static str {
        "free_running"
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        self.with(ctx, |inner, ctx| inner.propose(ctx))
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        self.with(ctx, |inner, ctx| inner.propose_one(ctx, name, domain))
    }
}

/// Median regrets at 100 trials, eight at once and free-running.
fn compare(name: &str, seeds: u64) {
    println!(
        "{name:22} {:>12} {:>12} {:>12}",
        "one", "8 at once", "8 free"
    );
    let (mut ln_ratio, mut compared) = (0.0, 0);
    for problem in PROBLEMS {
        let at_end = |make: &(dyn Fn(u64) -> Box<dyn Sampler> + Sync), concurrency| {
            let end = |seed| {
                let curve = regrets(problem, make(seed), seed, 100, concurrency);
                curve.last().copied().unwrap_or(f64::NAN)
            };
            median((1000..1000 + seeds).into_par_iter().map(end).collect())
        };
        let own = |_| sampler::by_name(name, &Json::Null).expect("it was made before");
        let free = |seed| -> Box<dyn Sampler> { Box::new(FreeRunning::new(name, seed, 100, 8)) };
        let (one, eight, free) = (at_end(&own, 1), at_end(&own, 8), at_end(&free, 1));
        println!(
            "  {:20} {one:>12.4} {eight:>12.4} {free:>12.4}",
            problem.name
        );
        // Below this, what is left is rounding.
        ln_ratio += (eight.max(1e-3) / free.max(1e-3)).ln();
        compared += 1;
    }
    let mean = (ln_ratio / f64::from(compared)).exp();
    println!("  geometric mean of 8 at once to free: {mean:.3}");
}
