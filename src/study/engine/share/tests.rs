use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::study::declared::{Param, Space};
use crate::study::engine::{Budget, Ended, StudyBuilder};
use crate::study::objective::Stop;
use crate::study::record::TrialRecord;
use crate::study::sampler::tpe::Tpe;
use crate::study::space::Domain;
use crate::study::storage::memory::Memory;
use crate::study::storage::sqlite::SqliteStorage;
use crate::study::trial::Trial;

fn space() -> Space {
    let x = Domain::float(-1.0, 2.0, None, false).unwrap();
    let n = Domain::int(1, 40, 1, true).unwrap();
    Space::new(vec![Param::new("x", x), Param::new("n", n)]).unwrap()
}

fn builder(storage: &Arc<dyn Storage>, declared: bool) -> StudyBuilder {
    let builder = Study::builder("s").seed(3).concurrency(4);
    let builder = builder.sampler(Tpe::default()).storage(Arc::clone(storage));
    if declared {
        builder.space(space())
    } else {
        builder
    }
}

fn share(owner: &str) -> Share {
    Share {
        lease: Duration::from_millis(300),
        poll: Duration::from_millis(5),
        ..Share::new(owner)
    }
}

/// Takes a little while that depends on nothing the study knows.
fn objective(trial: &mut Trial) -> Result<f64, Stop> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    std::thread::sleep(Duration::from_micros(call * 7919 % 3000));
    let x = trial.float("x", -1.0..=2.0).uniform()?;
    let n = trial.int("n", 1..=40).log()?;
    if trial.number() % 11 == 5 {
        return Err(Stop::failed("on purpose"));
    }
    Ok((x - 0.3).powi(2) + (n as f64 - 7.0).abs() / 10.0)
}

fn history(trials: &[TrialRecord]) -> Vec<TrialRecord> {
    let strip = |t: &TrialRecord| TrialRecord {
        started: None,
        finished: None,
        ..t.clone()
    };
    trials.iter().map(strip).collect()
}

fn alone(declared: bool, trials: u64) -> Vec<TrialRecord> {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut study = builder(&storage, declared).open().unwrap();
    study.optimize(Budget::trials(trials), objective).unwrap();
    history(&storage.load_trials("s").unwrap())
}

fn assert_same(storage: &dyn Storage, expected: &[TrialRecord]) {
    let found = history(&storage.load_trials("s").unwrap());
    let differs = found.iter().zip(expected).find(|(a, b)| a != b);
    assert_eq!(differs, None, "the first trial that differs");
    assert_eq!(found.len(), expected.len());
}

#[test]
fn several_processes_make_the_study_of_one() {
    let dir = tempfile::tempdir().unwrap();
    for declared in [true, false] {
        let path = dir.path().join(format!("{declared}.db"));
        std::thread::scope(|scope| {
            for process in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    // A connection of its own, as a process has.
                    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open(path).unwrap());
                    let builder = builder(&storage, declared);
                    let share = Share {
                        at_once: 1 + process % 2,
                        ..share(&format!("p{process}"))
                    };
                    let mut study = builder.share(share).open().unwrap();
                    let ended = study.optimize(Budget::trials(60), objective).unwrap();
                    assert_eq!(ended, Ended::Trials);
                    // Nobody leaves before the last trial has ended.
                    assert_eq!(study.progress().finished(), 60);
                });
            }
        });
        let storage = SqliteStorage::open(&path).unwrap();
        assert_same(&storage, &alone(declared, 60));
        assert!(storage.leases("s").unwrap().is_empty());
    }
}

#[test]
fn a_trial_whose_process_died_is_taken_over_with_its_parameters() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut dead = builder(&storage, true).share(share("dead")).open().unwrap();
    let lost = dead.ask().unwrap();
    let begun = Instant::now();
    let mut study = builder(&storage, true)
        .share(share("alive"))
        .open()
        .unwrap();
    study.optimize(Budget::trials(20), objective).unwrap();
    let took = begun.elapsed();
    assert_same(&*storage, &alone(true, 20));
    // Not before the lease lapsed; how long after is a matter of the machine.
    assert!(took >= Duration::from_millis(250), "{took:?}");
    // The one that was taken for dead is not heard any more.
    let error = dead.tell(lost, Ok(99.0)).unwrap_err();
    assert!(
        matches!(error, StudyError::TakenOver { number: 0 }),
        "{error}"
    );
    assert_same(&*storage, &alone(true, 20));
}

#[test]
fn a_lease_is_renewed_while_its_trial_runs() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let slow = |trial: &mut Trial| {
        std::thread::sleep(Duration::from_millis(if trial.number() == 1 {
            3500
        } else {
            1
        }));
        Ok(trial.number() as f64)
    };
    // Long enough for a machine that has much else to do.
    let patient = |owner: &str| Share {
        lease: Duration::from_secs(2),
        ..share(owner)
    };
    let ran = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for owner in ["a", "b"] {
            let (storage, ran) = (&storage, &ran);
            scope.spawn(move || {
                let mut study = builder(storage, true).share(patient(owner)).open().unwrap();
                let noted = |trial: &mut Trial| {
                    lock(ran).push(trial.number());
                    slow(trial)
                };
                study.optimize(Budget::trials(8), noted).unwrap();
            });
        }
    });
    let mut ran = ran.into_inner().unwrap();
    ran.sort_unstable();
    assert_eq!(ran, (0..8).collect::<Vec<u64>>(), "every trial ran once");
}

#[test]
fn who_is_known_to_be_gone_is_not_waited_for() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let long = |owner: &str| Share {
        lease: Duration::from_secs(3600),
        ..share(owner)
    };
    let mut dead = builder(&storage, true).share(long("dead")).open().unwrap();
    drop(dead.ask().unwrap());
    drop(dead.ask().unwrap());
    drop(dead);
    let gone = Share {
        gone: Arc::new(|owner| owner == "dead"),
        ..long("alive")
    };
    let mut study = builder(&storage, true).share(gone).open().unwrap();
    study.optimize(Budget::trials(20), objective).unwrap();
    assert_same(&*storage, &alone(true, 20));
}

#[test]
fn trials_that_were_begun_without_a_lease_are_left_to_those_who_may_end_them() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut other = builder(&storage, true).open().unwrap();
    let asked = other.ask().unwrap();
    let number = asked.number();
    drop(asked);
    let mut study = builder(&storage, true).share(share("a")).open().unwrap();
    let trial = study.ask().unwrap();
    assert_eq!(trial.number(), 1);
    study.tell(trial, Ok(1.0)).unwrap();
    let outcome = Ok(vec![0.5]);
    Study::tell_stored(&*storage, &SystemClock, "s", number, None, outcome, None).unwrap();
    assert!(study.catch_up().unwrap());
    assert_eq!(study.trials()[0].values, [0.5]);
    let taking = Share {
        take_unleased: true,
        ..share("b")
    };
    let mut other = builder(&storage, true).open().unwrap();
    assert_eq!(other.ask().unwrap().number(), 2);
    let mut study = builder(&storage, true).share(taking).open().unwrap();
    assert_eq!(study.ask().unwrap().number(), 2);
}

#[test]
fn a_trial_that_another_program_has_just_begun_is_its_own() {
    let in_memory: Arc<dyn Storage> = Arc::new(Memory::new());
    let on_disk: Arc<dyn Storage> = Arc::new(SqliteStorage::in_memory().unwrap());
    for storage in [in_memory, on_disk] {
        let leading = Share {
            take_unleased: true,
            ..share("a")
        };
        let mut study = builder(&storage, true).share(leading).open().unwrap();
        // Optuna begins a trial, which has no lease and its parameters later, where this process would begin its next.
        let theirs = TrialRecord {
            state: TrialState::Running,
            started: Some(SystemClock.now()),
            ..TrialRecord::waiting(0)
        };
        storage.write_trial("s", &theirs).unwrap();
        let ours = study.ask().unwrap();
        assert_eq!(ours.number(), 1);
        // Long after any look at leases it is still Optuna's.
        std::thread::sleep(Duration::from_millis(150));
        study.catch_up().unwrap();
        assert_eq!(study.ask().unwrap().number(), 2);
        assert_eq!(storage.load_trials("s").unwrap()[0], theirs);
        let done = TrialRecord {
            state: TrialState::Complete,
            values: vec![0.5],
            finished: Some(SystemClock.now()),
            ..theirs
        };
        storage.write_trial("s", &done).unwrap();
        study.catch_up().unwrap();
        assert_eq!(*study.trials()[0], done);
    }
}
