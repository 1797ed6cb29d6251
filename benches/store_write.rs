//! What the store costs a trial: a trial of five parameters written when it begins and when it ends, each write one
//! durable transaction on SQLite in a temporary folder.

use automl::clock::Timestamp;
use automl::study::record::{Attrs, StudyRecord, TrialState};
use automl::study::space::{Assignment, Params};
use automl::study::{Direction, Domain, TrialRecord};
use automl::tracking::Store;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn study(name: &str) -> StudyRecord {
    StudyRecord {
        name: name.to_owned(),
        directions: vec![Direction::Maximize],
        user_attrs: Attrs::new(),
        system_attrs: Attrs::new(),
    }
}

fn trial(number: u64) -> TrialRecord {
    let domain = Domain::float(0.0, 1.0, None, false).expect("a range");
    let assignment = |name: &str| Assignment {
        name: name.to_owned(),
        domain: domain.clone(),
        internal: (number % 1000) as f64 / 1000.0,
    };
    TrialRecord {
        state: TrialState::Running,
        params: Params(["a", "b", "c", "d", "e"].map(assignment).to_vec()),
        started: Some(Timestamp(1_700_000_000_000_000)),
        ..TrialRecord::waiting(number)
    }
}

fn begin_and_finish(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let storage = Store::open(folder.path()).expect("a new store").storage();
    let mut group = criterion.benchmark_group("store_trial_5_params");
    // The cost must not depend on what the file holds already.
    for before in [0_u64, 1000] {
        let name = format!("after {before}");
        storage.create_study(&study(&name)).expect("a new study");
        let mut number = 0;
        let mut write = || {
            let mut record = trial(number);
            storage.write_trial(&name, &record).expect("it begins");
            record.state = TrialState::Complete;
            record.values = vec![0.85];
            record.finished = Some(Timestamp(1_700_000_001_000_000));
            storage.write_trial(&name, &record).expect("it ends");
            number += 1;
        };
        (0..before).for_each(|_| write());
        group.bench_function(BenchmarkId::new("sqlite", before), |b| b.iter(&mut write));
    }
    group.finish();
}

criterion_group!(benches, begin_and_finish);
criterion_main!(benches);
