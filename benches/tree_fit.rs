//! Fitting boosting of 100 trees and a forest of 50 trees, on 5,000 and 50,000 rows of 20 features.

mod synthetic;

use std::time::Duration;

use automl::data::split::Fold;
use automl::learn::evaluate::Encoded;
use automl::learn::preprocess::Preprocess;
use automl::learn::table;
use automl::seed::Seed;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

use synthetic::synthetic;

fn fit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree_fit");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for rows in [5_000, 50_000] {
        let data = synthetic(rows, 20);
        let train: Vec<u32> = (0..rows as u32).collect();
        let none: [Fold; 0] = [];
        let encoded = Encoded::new(&data, &Preprocess::default(), &train, &none)
            .expect("the made columns can be encoded");
        group.throughput(Throughput::Elements(rows as u64));
        for (name, trees) in [("gbt", 100), ("random_forest", 50)] {
            let entry = table::find(name).expect("it is in the table");
            let params = [("n_estimators".to_owned(), json!(trees))];
            let learner = (entry.build)(params.into_iter().collect()).expect("these are allowed");
            let id = BenchmarkId::new(format!("{name}/{trees}_trees"), format!("{rows}x20"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| encoded.fit(&*learner, &data, &train, Seed::root(1)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fit);
criterion_main!(benches);
