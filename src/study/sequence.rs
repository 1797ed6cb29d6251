//! The sequence rule as checks that the conformance suites of samplers and pruners share: a study that is opened again, or
//! runs on other threads, has the same trials. They panic at the first violation.

use std::sync::Arc;

use super::engine::{Budget, Study, StudyBuilder};
use super::objective::Stop;
use super::record::TrialRecord;
use super::storage::{Storage, memory::Memory};
use super::trial::Trial;

/// An objective of a suite.
pub(super) type Objective = fn(&mut Trial) -> Result<f64, Stop>;

pub(super) fn open(builder: StudyBuilder) -> Study {
    match builder.open() {
        Ok(study) => study,
        Err(error) => panic!("cannot open a study: {error}"),
    }
}

pub(super) fn optimize<F>(study: &mut Study, trials: u64, objective: F)
where
    F: Fn(&mut Trial) -> Result<f64, Stop> + Sync,
{
    if let Err(error) = study.optimize(Budget::trials(trials), objective) {
        panic!("the study stopped: {error}");
    }
}

/// What is compared of two studies: all but times.
fn trials(study: &Study) -> Vec<TrialRecord> {
    let mut trials: Vec<TrialRecord> = study.trials().iter().map(|t| (**t).clone()).collect();
    for trial in &mut trials {
        trial.started = None;
        trial.finished = None;
    }
    trials
}

fn assert_same(rule: &str, a: &Study, b: &Study) {
    let (a, b) = (trials(a), trials(b));
    assert_eq!(a.len(), b.len(), "{rule}: the number of trials differs");
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a, b, "{rule}: trial {} differs", a.number);
    }
}

/// A study that is closed and opened again after some numbers of trials goes on as if nothing had happened. `describe` makes
/// it anew each time.
pub(super) fn resumed_equals_uninterrupted(
    describe: impl Fn() -> StudyBuilder,
    objective: Objective,
    stops: &[u64],
) {
    let all = stops.iter().copied().max().unwrap_or(0);
    for concurrency in [1, 3] {
        let mut whole = open(describe().concurrency(concurrency));
        optimize(&mut whole, all, objective);
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let part = || {
            let again = describe().concurrency(concurrency);
            open(again.storage(storage.clone()))
        };
        for trials in stops {
            optimize(&mut part(), *trials, objective);
        }
        assert_same(
            "a resumed study equals an uninterrupted one",
            &part(),
            &whole,
        );
    }
}

/// How many threads run the trials, and which finish first, changes nothing.
pub(super) fn threads_do_not_matter(
    describe: impl Fn() -> StudyBuilder,
    objective: Objective,
    trials: u64,
) {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.unwrap_or_else(|error| panic!("no thread pool: {error}"));
        let mut study = open(describe().concurrency(4));
        pool.install(|| {
            optimize(&mut study, trials, |trial| {
                let value = objective(trial);
                // Later trials of a group of four finish first.
                let wait = 300 * (3 - trial.number() % 4);
                std::thread::sleep(std::time::Duration::from_micros(wait));
                value
            });
        });
        study
    };
    let one = on(1);
    for threads in [2, 5] {
        assert_same(
            "any number of threads gives the same trials",
            &on(threads),
            &one,
        );
    }
}
