//! One boosted tree of two leaves and of 31: the first is the histogram of all rows and little else, the second adds the
//! histograms of smaller nodes, half of them by subtraction.

mod synthetic;

use automl::data::split::Fold;
use automl::learn::evaluate::Encoded;
use automl::learn::preprocess::Preprocess;
use automl::learn::table;
use automl::seed::Seed;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

use synthetic::synthetic;

fn histogram(criterion: &mut Criterion) {
    let entry = table::find("gbt").expect("it is in the table");
    let mut group = criterion.benchmark_group("histogram");
    for (rows, columns) in [(5_000, 20), (50_000, 20), (50_000, 80)] {
        let data = synthetic(rows, columns);
        let train: Vec<u32> = (0..rows as u32).collect();
        let none: [Fold; 0] = [];
        let encoded = Encoded::new(&data, &Preprocess::default(), &train, &none)
            .expect("the made columns can be encoded");
        // Codes that one histogram of all rows reads.
        group.throughput(Throughput::Elements((rows * columns) as u64));
        for leaves in [2, 31] {
            let params = json!({"n_estimators": 1, "max_leaves": leaves});
            let params = params.as_object().cloned().unwrap_or_default();
            let learner = (entry.build)(params).expect("these are allowed");
            let id = BenchmarkId::new(format!("{leaves}_leaves"), format!("{rows}x{columns}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| encoded.fit(&*learner, &data, &train, Seed::root(1)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, histogram);
criterion_main!(benches);
