//! Predicting with boosting of 100 trees and a forest of 50 trees: a block of the matrix, rows from a loaded file in a
//! block, and a single encoded row.

mod synthetic;

use automl::data::split::Fold;
use automl::learn::evaluate::Encoded;
use automl::learn::preprocess::Preprocess;
use automl::learn::table;
use automl::seed::Seed;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use std::hint::black_box;

use synthetic::synthetic;

const ROWS: usize = 10_000;

fn predict(criterion: &mut Criterion) {
    let data = synthetic(ROWS, 20);
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let none: [Fold; 0] = [];
    let encoded = Encoded::new(&data, &Preprocess::default(), &rows, &none)
        .expect("the made columns can be encoded");
    let mut group = criterion.benchmark_group("predict");
    for (name, trees) in [("gbt", 100), ("random_forest", 50)] {
        let entry = table::find(name).expect("it is in the table");
        let params = [("n_estimators".to_owned(), json!(trees))];
        let learner = (entry.build)(params.into_iter().collect()).expect("these are allowed");
        let (_, model) = encoded
            .fit(&*learner, &data, &rows, Seed::root(1))
            .expect("the made data can be fitted");
        let loaded = (entry.load)(&model.save().expect("it can be saved")).expect("it loads");
        let name = format!("{name}/{trees}_trees");

        group.throughput(Throughput::Elements(ROWS as u64));
        for (way, model) in [("matrix", &model), ("loaded", &loaded)] {
            let id = BenchmarkId::new(format!("{name}/{way}"), format!("{ROWS}x20"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| encoded.predict(&**model, &rows));
            });
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(format!("{name}/row"), "1x20"), |bencher| {
            let mut values = vec![0.0; 20];
            let mut out = [0.0];
            let mut row = 0;
            bencher.iter(|| {
                // Another row each time: one alone would teach the branch predictor its way.
                row = (row + 1) % ROWS as u32;
                encoded
                    .features
                    .decode_row(row, &[f64::NAN; 20], &mut values);
                model.predict_row(black_box(&values), &mut out);
                out[0]
            });
        });
    }
    group.finish();
}

criterion_group!(benches, predict);
criterion_main!(benches);
