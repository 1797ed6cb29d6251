//! A whole small study: 8 trials of 3 folds on the generated Telco rows, from the prepared job to the best trial, in
//! memory.

use std::hint::black_box;

use automl::data::synthetic;
use automl::study::{Budget, Study};
use automl::tune::experiment::Experiment;
use automl::tune::job::Job;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn job(learner: &str) -> Job {
    let text = format!(
        "
name: bench
seed: 42
data: {{source: telco}}
preprocess: telco
cv: {{folds: 3}}
search: {{trials: 8, learners: [{learner}]}}
"
    );
    let experiment = Experiment::parse(&text, "bench").expect("a right experiment");
    // The generated rows, also where the real file is at hand.
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), synthetic::telco()).expect("it can be written");
    Job::prepare(experiment, "bench", Some(file.path()), None)
        .expect("the generated rows are right")
}

fn whole_study(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("study_8_trials_3_folds");
    group.sample_size(10);
    for learner in ["random_forest", "gbt"] {
        let job = job(learner);
        group.bench_function(BenchmarkId::new(learner, job.split.train.len()), |b| {
            b.iter(|| {
                let mut study = Study::builder("bench")
                    .direction(job.direction())
                    .space(job.space())
                    .seed(42)
                    .concurrency(4)
                    .open()
                    .expect("a new study in memory");
                study
                    .optimize(Budget::trials(8), |trial| job.objective(trial))
                    .expect("memory does not fail");
                black_box(study.best())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole_study);
criterion_main!(benches);
