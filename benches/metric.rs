//! ROC AUC at the size of a fold of the churn study and at 100,000 rows, with distinct and with tied probabilities.

use automl::data::table::Task;
use automl::learn::metric::{self, Scores};
use automl::seed::Seed;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;

fn roc_auc(criterion: &mut Criterion) {
    let entry = metric::find("roc_auc").expect("it is in the table");
    let mut group = criterion.benchmark_group("roc_auc");
    for rows in [1_127_usize, 100_000] {
        let mut rng = Seed::root(42).child("bench", rows as u64).rng();
        let truth: Vec<f64> = (0..rows)
            .map(|_| f64::from(u8::from(rng.random::<f64>() < 0.265)))
            .collect();
        let distinct: Vec<f64> = (0..rows).map(|_| rng.random()).collect();
        let tied: Vec<f64> = distinct.iter().map(|p| (p * 50.0).round() / 50.0).collect();
        group.throughput(Throughput::Elements(rows as u64));
        for (name, p) in [("distinct", &distinct), ("tied", &tied)] {
            group.bench_with_input(BenchmarkId::new(name, rows), p, |bencher, p| {
                bencher.iter(|| entry.score(&truth, Scores::new(Task::Binary, 1, p), None, 0.5));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, roc_auc);
criterion_main!(benches);
