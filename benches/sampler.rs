//! What a trial costs beside its objective: studies of five floats in memory, and one TPE proposal from a history
//! of a given length.

use std::hint::black_box;
use std::sync::Arc;

use automl::seed::Seed;
use automl::study::sampler::{self, Context, Sampler};
use automl::study::{Budget, Direction, Study};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::Value as Json;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn study(name: &str, trials: u64) -> Study {
    let sampler = sampler::by_name(name, &Json::Null).expect("a known sampler");
    let mut study = Study::builder("bench")
        .sampler(sampler)
        .seed(1)
        .open()
        .expect("a new study in memory");
    study
        .optimize(Budget::trials(trials), |trial| {
            let mut sum = 0.0;
            for (i, name) in NAMES.into_iter().enumerate() {
                let x = trial.float(name, -5.0..=5.0).uniform()?;
                sum += (x - i as f64) * (x - i as f64);
            }
            Ok(sum)
        })
        .expect("memory does not fail");
    study
}

fn whole_study(c: &mut Criterion) {
    let mut group = c.benchmark_group("study_5_floats");
    group.sample_size(10);
    for (name, trials) in [("random", 1000), ("tpe", 100), ("tpe", 1000)] {
        group.bench_function(BenchmarkId::new(name, trials), |b| {
            b.iter(|| black_box(study(name, trials).best()));
        });
    }
    group.finish();
}

fn proposal(c: &mut Criterion) {
    let mut group = c.benchmark_group("tpe_proposal_5_floats");
    let tpe = sampler::by_name("tpe", &Json::Null).expect("a known sampler");
    for n in [100, 1000, 10_000] {
        let history: Vec<Arc<_>> = study("random", n).trials().to_vec();
        let ctx = Context {
            trial: n,
            history: &history,
            pending: &[],
            directions: &[Direction::Minimize],
            seed: Seed::root(7),
            study_seed: Seed::root(7),
        };
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| black_box(tpe.propose(&ctx)));
        });
    }
    group.finish();
}

criterion_group!(benches, whole_study, proposal);
criterion_main!(benches);
