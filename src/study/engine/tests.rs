//! Tests of the study: the sequence rule, crashes, failures, ask-and-tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::study::declared::Param;
use crate::study::sampler::{self, Context, conformance, random::Random, tpe::Tpe};
use crate::study::space::Domain;
use crate::study::storage::{crashing::CrashingStorage, memory::Memory};

fn memory() -> Arc<dyn Storage> {
    Arc::new(Memory::new())
}

fn space() -> Space {
    let domain = |d: Result<Domain, _>| d.expect("a right domain");
    Space::new(vec![
        Param::new("x", domain(Domain::float(-5.0, 5.0, None, false))),
        Param::new("model", domain(Domain::categorical(["a", "b"]))),
        Param::new("depth", domain(Domain::int(1, 9, 1, false))).when("model", ["b"]),
    ])
    .expect("a right space")
}

/// Reads what the space declares, whether or not the study knows the space.
fn objective(trial: &mut Trial) -> Result<f64, Stop> {
    let params = space().suggest(trial)?;
    let x = params.0[0].internal;
    let depth = params.assignment("depth").map_or(4.0, |a| a.internal);
    if trial.number() % 7 == 5 {
        return Err(Stop::failed("on purpose"));
    }
    Ok(x * x + depth)
}

fn without_times(study: &Study) -> Vec<TrialRecord> {
    let trials = study.trials().iter().map(|t| TrialRecord {
        started: None,
        finished: None,
        ..(**t).clone()
    });
    trials.collect()
}

#[test]
fn gp_conforms() {
    conformance::run(|| sampler::by_name("gp", &json!({"n_candidates": 60})).expect("known"));
}

#[test]
fn auto_conforms() {
    conformance::run(|| sampler::by_name("auto", &json!(null)).expect("known"));
}

#[test]
fn both_samplers_conform() {
    for entry in sampler::SAMPLERS {
        conformance::run(|| sampler::by_name(entry.name, &Json::Null).expect("a known sampler"));
    }
    conformance::run(|| {
        let plain = json!({"order": "plain", "resolution": 3});
        sampler::by_name("grid", &plain).expect("known parameters")
    });
    conformance::run(|| {
        let held = json!({"fixed": {"model": "b", "x": 1.5, "kind": 7}, "sampler": "random"});
        sampler::by_name("partial_fixed", &held).expect("known parameters")
    });
    conformance::run(|| {
        let each = json!({"multivariate": false, "n_startup_trials": 0});
        sampler::by_name("tpe", &each).expect("known parameters")
    });
    conformance::run(|| {
        let common = json!({"group": false, "n_startup_trials": 3, "constant_liar": false});
        sampler::by_name("tpe", &common).expect("known parameters")
    });
}

#[test]
fn any_number_of_threads_gives_the_same_trials() {
    for declared in [true, false] {
        let run = |threads: usize, sleepy: u64| {
            let mut builder = Study::builder("s").seed(3).concurrency(4);
            if declared {
                builder = builder.space(space());
            }
            let mut study = builder.open().expect("opens");
            let work = |trial: &mut Trial| {
                // Another order of finishing in every run.
                let wait = (trial.number() * 7919 + sleepy * 104_729) % 13;
                std::thread::sleep(Duration::from_micros(wait * 100));
                objective(trial)
            };
            if threads == 0 {
                // From outside of any pool, on the global one.
                study.optimize(Budget::trials(60), work).expect("runs");
            } else {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().expect("a pool");
                pool.install(|| study.optimize(Budget::trials(60), work))
                    .expect("runs");
            }
            without_times(&study)
        };
        let reference = run(1, 0);
        assert_eq!(reference.len(), 60);
        for (threads, sleepy) in [(0, 1), (1, 2), (2, 3), (2, 4), (8, 5), (8, 6)] {
            assert_eq!(
                run(threads, sleepy),
                reference,
                "{threads} threads, {sleepy}"
            );
        }
    }
}

#[test]
fn resume_does_not_repeat_trials() {
    for (declared, concurrency) in [(true, 1), (true, 3), (false, 1), (false, 3)] {
        let open = |storage: &Arc<dyn Storage>| {
            let mut builder = Study::builder("s").seed(9).concurrency(concurrency);
            if declared {
                builder = builder.space(space());
            }
            builder.storage(Arc::clone(storage)).open().expect("opens")
        };
        let (whole, halves) = (memory(), memory());
        let mut study = open(&whole);
        study.optimize(Budget::trials(40), objective).expect("runs");
        open(&halves)
            .optimize(Budget::trials(20), objective)
            .expect("runs");
        let mut resumed = open(&halves);
        resumed
            .optimize(Budget::trials(40), objective)
            .expect("runs");
        assert_eq!(without_times(&resumed), without_times(&study));
        assert_eq!(
            resumed.best().map(|t| t.number),
            study.best().map(|t| t.number)
        );
    }
}

#[test]
fn a_crash_at_any_write_loses_and_doubles_nothing() {
    for declared in [true, false] {
        let open = |storage: Arc<dyn Storage>| {
            let mut builder = Study::builder("s").seed(4).concurrency(3);
            if declared {
                builder = builder.space(space());
            }
            builder.storage(storage).open().expect("opens")
        };
        let mut whole = open(memory());
        whole.optimize(Budget::trials(30), objective).expect("runs");
        // One is that of the study, and 30 trials of which 3 run at once take 20 or more.
        for writes in [1, 2, 3, 4, 5, 8, 13, 18, 19, 20] {
            let inner = memory();
            let dying = CrashingStorage::after(writes, Arc::clone(&inner));
            let mut study = open(Arc::new(dying));
            let crashed = study.optimize(Budget::trials(30), objective);
            let error = crashed.expect_err("the storage fails").to_string();
            assert!(error.contains("is full"), "{error}");
            let stored = inner.load_trials("s").expect("readable");
            let known = study.trials().iter().map(|t| (**t).clone());
            assert_eq!(known.collect::<Vec<_>>(), stored, "it knows what is stored");
            let mut resumed = open(inner);
            resumed
                .optimize(Budget::trials(30), objective)
                .expect("runs");
            assert_eq!(
                without_times(&resumed),
                without_times(&whole),
                "after {writes} writes"
            );
        }
    }
}

#[test]
fn ask_and_tell_equals_optimize() {
    let mut optimized = Study::builder("s").seed(2).open().expect("opens");
    optimized
        .optimize(Budget::trials(25), objective)
        .expect("runs");
    let mut told = Study::builder("s").seed(2).open().expect("opens");
    for _ in 0..25 {
        let mut trial = told.ask().expect("the one before is told");
        let outcome = objective(&mut trial);
        told.tell(trial, outcome).expect("asked before");
    }
    assert_eq!(without_times(&told), without_times(&optimized));
}

#[test]
fn asking_too_far_ahead_names_the_oldest_trial() {
    let mut study = Study::builder("s").concurrency(2).open().expect("opens");
    let first = study.ask().expect("trial 0");
    let second = study.ask().expect("trial 1");
    study.tell(second, Ok(1.0)).expect("in flight");
    let error = study
        .ask()
        .map(drop)
        .expect_err("trial 0 is not finished")
        .to_string();
    assert_eq!(
        error,
        "trial 2 cannot begin before trial 0 is finished, because 2 run at once; tell the result of \
         trial 0 first, or open the study with a higher concurrency"
    );
    let stuck = study.optimize(Budget::trials(9), objective);
    assert!(matches!(
        stuck,
        Err(StudyError::Window {
            number: 2,
            oldest: 0,
            ..
        })
    ));
    study.tell(first, Err(Stop::Pruned)).expect("in flight");
    assert_eq!(study.ask().expect("the window moved").number(), 2);

    let mut other = Study::builder("other").open().expect("opens");
    let foreign = other.ask().expect("trial 0");
    let error = study
        .tell(foreign, Ok(0.0))
        .expect_err("finished before")
        .to_string();
    assert!(error.starts_with("trial 0 is not in flight"), "{error}");
}

/// Of a trial: its number, the trials it may see, and how many are pending for it.
type Seen = (u64, Vec<u64>, usize);

/// Notes what each trial may see.
struct Spy(Arc<Mutex<Vec<Seen>>>);

impl Sampler for Spy {
    fn name(&self) -> &'static str {
        "spy"
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let history = ctx.history.iter().map(|t| t.number).collect();
        let mut seen = self.0.lock().expect("no panic");
        seen.push((ctx.trial, history, ctx.pending.len()));
        Params::default()
    }

    fn propose_one(&self, _: &Context<'_>, _: &str, domain: &Domain) -> f64 {
        match domain {
            Domain::Float { low, .. } => *low,
            Domain::Int { low, .. } => *low as f64,
            _ => 0.0,
        }
    }
}

#[test]
fn a_trial_sees_what_the_sequence_rule_says() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut study = Study::builder("s")
        .sampler(Spy(Arc::clone(&seen)))
        .space(space())
        .concurrency(3)
        .open()
        .expect("opens");
    study.optimize(Budget::trials(20), objective).expect("runs");
    for (k, history, pending) in seen.lock().expect("no panic").iter() {
        let visible = (k + 1).saturating_sub(3);
        assert_eq!(*history, (0..visible).collect::<Vec<u64>>(), "trial {k}");
        assert_eq!(*pending as u64, k - visible, "trial {k}");
    }
}

#[test]
fn failures_are_recorded_and_the_study_goes_on() {
    let mut study = Study::builder("s").concurrency(2).open().expect("opens");
    let ended = study.optimize(Budget::trials(8), |trial| {
        let x = trial.float("x", 0.0..=1.0).uniform()?;
        match trial.number() {
            0 => Err(Stop::failed("by hand")),
            1 => Err("x".parse::<i32>().expect_err("no number").into()),
            2 => panic!("no {} here", "panics"),
            3 => Ok(vec![f64::NAN]),
            4 => Ok(vec![1.0, 2.0]),
            5 => {
                trial.float("x", 0.0..=2.0).uniform()?;
                Ok(vec![0.0])
            }
            6 => {
                trial.float("y", 2.0..=1.0).uniform()?;
                Ok(vec![0.0])
            }
            _ => Ok(vec![x]),
        }
    });
    assert_eq!(ended.expect("runs"), Ended::Trials);
    let reason = |n: usize| {
        study.trials()[n].system_attrs[FAIL_REASON]
            .as_str()
            .expect("text")
    };
    assert_eq!(reason(0), "by hand");
    assert_eq!(reason(1), "invalid digit found in string");
    assert!(
        reason(2).starts_with("panicked at src/study/engine/tests.rs:"),
        "{}",
        reason(2)
    );
    assert!(reason(2).ends_with(": no panics here"), "{}", reason(2));
    assert_eq!(reason(3), "the objective returned NaN");
    assert_eq!(
        reason(4),
        "the objective returned 2 values, the study has 1 directions"
    );
    assert!(
        reason(5).contains("give the second another name"),
        "{}",
        reason(5)
    );
    assert_eq!(
        reason(6),
        "parameter `y`: bounds are reversed: [2, 1]; write the smaller one first"
    );
    assert_eq!(study.progress().failed, 7);
    assert_eq!(study.best().map(|t| t.number), Some(7));
    // What was drawn before the failure is kept.
    assert_eq!(study.trials()[2].params.0.len(), 1);
}

#[test]
fn enqueued_trials_run_in_their_turn_with_their_values() {
    let mut study = Study::builder("s")
        .space(space())
        .seed(1)
        .open()
        .expect("opens");
    let number = study.enqueue([("x", Value::Float(2.0)), ("model", "b".into())]);
    assert_eq!(number.expect("fits"), 0);
    study.optimize(Budget::trials(3), objective).expect("runs");
    assert_eq!(study.enqueue([("x", 3.0)]).expect("fits"), 3);
    assert_eq!(study.progress().waiting, 1);
    study.optimize(Budget::trials(5), objective).expect("runs");
    let x = |n: usize| study.trials()[n].params.0[0].value();
    assert_eq!((x(0), x(3)), (Value::Float(2.0), Value::Float(3.0)));
    assert!(study.trials()[0].params.assignment("depth").is_some());
    assert_eq!(
        study.trials()[3].system_attrs[FIXED_PARAMS],
        json!({"x": 3.0})
    );

    let mut refused = |name: &str, value: Value| {
        let result = study.enqueue([(name, value)]);
        result.expect_err("does not fit").to_string()
    };
    assert_eq!(
        refused("y", 1.into()),
        "cannot enqueue `y`: the space has no such parameter; it has: x, model, depth"
    );
    assert_eq!(
        refused("x", 9.0.into()),
        "cannot enqueue `x`: 9 is not in float [-5, 5]"
    );
    assert!(refused("x", f64::NAN.into()).contains("not a finite number"));
    assert_eq!(study.trials().len(), 5);
}

#[test]
fn a_point_that_exists_is_not_enqueued_again() {
    let mut study = Study::builder("s")
        .space(space())
        .seed(1)
        .open()
        .expect("opens");
    let mut add = |x: f64, model: Option<&str>| {
        let mut point = vec![("x", Value::Float(x))];
        point.extend(model.map(|m| ("model", m.into())));
        study.enqueue_if_new(point).expect("fits")
    };
    assert_eq!(add(2.0, None), Some(0));
    assert_eq!(add(2.0, None), None);
    assert_eq!(add(2.0 + 1e-9, None), None);
    assert_eq!(add(2.1, None), Some(1));
    assert_eq!(add(2.0, Some("a")), Some(2));
    study.optimize(Budget::trials(4), objective).expect("runs");
    // Compared with what was enqueued, not with what was drawn beside it.
    let mut again = |at: usize| {
        let params = study.trials()[at].params.clone();
        study.enqueue_if_new(params.iter()).expect("fits")
    };
    assert_eq!(again(3), None);
    assert!(again(1).is_some());
    assert!(again(1).is_none());
    assert!(study.enqueue_if_new([("y", 1)]).is_err());
}

#[test]
fn asking_and_telling_in_processes_of_their_own_is_the_same_study() {
    let open = |storage: &Arc<dyn Storage>| {
        let builder = Study::builder("s").seed(3).space(space()).concurrency(3);
        builder.storage(Arc::clone(storage)).open().expect("opens")
    };
    let value = |record: &TrialRecord| record.params.0.iter().map(|a| a.internal).sum::<f64>();
    let (whole, parts) = (memory(), memory());
    let mut study = open(&whole);
    study
        .optimize(Budget::trials(12), |trial| {
            let x = trial.params().0.iter().map(|a| a.internal).sum::<f64>();
            if trial.number() == 4 {
                return Err(Stop::failed("lost"));
            }
            Ok(x)
        })
        .expect("runs");
    let ask = || {
        let mut study = open(&parts);
        study.leave_running();
        study.ask().map(|trial| trial.number())
    };
    let tell = |number: u64, outcome| {
        Study::tell_stored(&*parts, &SystemClock, "s", number, None, outcome, None).map(drop)
    };
    for round in 0..4 {
        let first = round * 3;
        for number in first..first + 3 {
            assert_eq!(ask().expect("may begin"), number);
        }
        let blocked = ask().expect_err("three are in flight").to_string();
        assert!(
            blocked.starts_with(&format!(
                "trial {} cannot begin before trial {first}",
                first + 3
            )),
            "{blocked}"
        );
        // In any order.
        for number in [first + 2, first, first + 1] {
            let record = parts.load_trials("s").expect("reads")[number as usize].clone();
            let outcome = match number {
                4 => Err(Stop::failed("lost")),
                _ => Ok(vec![value(&record)]),
            };
            tell(number, outcome).expect("in flight");
        }
    }
    let points = |storage: &Arc<dyn Storage>| {
        let trials = storage.load_trials("s").expect("reads");
        let all = trials
            .into_iter()
            .map(|t| (t.number, t.state, t.params, t.values));
        all.collect::<Vec<_>>()
    };
    assert_eq!(points(&whole), points(&parts));
    let refused = |number| {
        tell(number, Ok(vec![0.0]))
            .expect_err("refused")
            .to_string()
    };
    assert!(refused(3).contains("told already"));
    assert!(refused(12).contains("not in flight"));
    let nan = ask().expect("may begin");
    tell(nan, Ok(vec![f64::NAN])).expect("told");
    let trials = parts.load_trials("s").expect("reads");
    assert_eq!(trials[nan as usize].state, TrialState::Fail);
}

#[test]
fn trials_in_flight_are_shown_with_their_enqueued_values() {
    let storage = memory();
    let open = || {
        let builder = Study::builder("s").seed(1).concurrency(3);
        builder.storage(Arc::clone(&storage)).open().expect("opens")
    };
    let mut study = open();
    study.optimize(Budget::trials(15), objective).expect("runs");
    study.enqueue([("x", 4.5)]).expect("nothing is declared");
    drop(study.ask().expect("the enqueued trial"));
    let shown = |study: &Study| {
        let x = study.shown[&15].params.assignment("x");
        x.expect("proposed together").internal
    };
    assert_eq!(shown(&study), 4.5);
    // The same after a crash, without the trial being begun again.
    assert_eq!(shown(&open()), 4.5);
}

#[test]
fn an_enqueued_value_that_does_not_fit_fails_its_trial_only() {
    let storage = memory();
    let mut first = Study::builder("s")
        .storage(Arc::clone(&storage))
        .open()
        .expect("opens");
    first.enqueue([("x", 99.0)]).expect("nothing is declared");
    first.optimize(Budget::trials(2), objective).expect("runs");
    let reason = first.trials()[0].system_attrs[FAIL_REASON].to_string();
    assert!(reason.contains("99 is not in float [-5, 5]"), "{reason}");
    assert_eq!(first.progress().complete, 1);

    let mut declared = Study::builder("t")
        .storage(Arc::clone(&storage))
        .open()
        .expect("opens");
    declared
        .enqueue([("x", 99.0)])
        .expect("nothing is declared");
    // Found when asked for, before the objective runs.
    let mut declared = Study {
        space: Some(space()),
        ..declared
    };
    assert_eq!(declared.ask().expect("the next one").number(), 1);
    assert_eq!(declared.progress().failed, 1);
}

#[test]
fn a_study_goes_on_only_with_its_own_settings() {
    let storage = memory();
    let builder = || {
        Study::builder("s")
            .seed(1)
            .space(space())
            .storage(Arc::clone(&storage))
    };
    builder().open().expect("opens");
    builder().open().expect("opens again");
    let error = |builder: StudyBuilder| builder.open().map(drop).expect_err("differs").to_string();
    assert_eq!(
        error(builder().seed(2)),
        "study `s` was begun with seed 1, not 2; go on with 1 or choose another study name"
    );
    assert!(error(builder().concurrency(2)).contains("concurrency 1, not 2"));
    assert!(error(builder().sampler(Random)).contains(r#"not {"name":"random","params":null}"#));
    assert!(error(builder().direction(Direction::Maximize)).contains("directions [Minimize]"));
    let mut params = space().params().to_vec();
    params[0].domain = Domain::float(-5.0, 6.0, None, false).expect("right");
    assert_eq!(
        error(builder().space(Space::new(params).expect("right"))),
        "the search space of study `s` changed: `x` was #0 float [-5, 5], now it is #0 float [-5, 6]; \
         restore it or choose another study name"
    );
    assert!(error(Study::builder("s").concurrency(0)).contains("at least 1"));
    assert!(error(Study::builder("")).contains("1 to 512 characters"));
}

#[test]
fn a_rerun_trial_with_other_parameters_is_refused() {
    let storage = memory();
    let open = || {
        let builder = Study::builder("s").space(space());
        builder.storage(Arc::clone(&storage)).open().expect("opens")
    };
    let mut record = (*{
        let mut study = open();
        drop(study.ask().expect("trial 0"));
        Arc::clone(&study.trials()[0])
    })
    .clone();
    assert_eq!(record.state, TrialState::Running);
    record.params.0[0].internal = 4.25;
    storage.write_trial("s", &record).expect("unfinished");
    let error = open().ask().map(drop).expect_err("differs").to_string();
    assert!(
        error.starts_with("trial 0 of study `s` began with `x` = 4.25, now it is"),
        "{error}"
    );
}

#[test]
fn time_and_stop_end_a_study_after_what_runs() {
    let clock = Arc::new(ManualClock::default());
    let mut study = Study::builder("s")
        .concurrency(3)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .open()
        .expect("opens");
    let hour = Budget::trials(1000).time(Duration::from_secs(3600));
    let ended = study.optimize(hour, |trial| {
        clock.advance(300.0);
        objective(trial)
    });
    assert_eq!(ended.expect("runs"), Ended::Time);
    let n = study.trials().len() as u64;
    assert!(
        (12..=15).contains(&n),
        "{n} trials of five minutes in an hour, three at once"
    );
    assert_eq!(study.progress().finished(), n);

    let handle = study.stop_handle();
    let ended = study.optimize(Budget::unlimited(), |trial| {
        if trial.number() == n + 4 {
            handle.stop();
        }
        objective(trial)
    });
    assert_eq!(ended.expect("runs"), Ended::Stopped);
    assert!(handle.is_stopped());
    assert_eq!(study.progress().finished(), study.trials().len() as u64);
}

#[test]
fn studies_nest_and_objectives_use_rayon_even_on_one_thread() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a pool");
    let mut outer = Study::builder("outer")
        .concurrency(3)
        .open()
        .expect("opens");
    let run = |outer: &mut Study| {
        outer.optimize(Budget::trials(6), |trial| {
            let x = trial.float("x", 0.0..=1.0).uniform()?;
            let mut inner = Study::builder("inner").concurrency(2).open()?;
            inner.optimize(Budget::trials(4), |t| {
                Ok(t.float("y", 0.0..=x + 1.0).uniform()?)
            })?;
            let (a, b) = rayon::join(|| 1.0, || 2.0);
            Ok(inner.best().map_or(f64::NAN, |t| t.values[0]) + a + b)
        })
    };
    pool.install(|| run(&mut outer)).expect("runs");
    assert_eq!(outer.progress().complete, 6);
}

#[test]
fn observers_are_told_in_order() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);
    impl Observer for Log {
        fn trial_started(&mut self, trial: &TrialRecord) {
            let line = format!("started {}", trial.number);
            self.0.lock().expect("no panic").push(line);
        }

        fn trial_finished(&mut self, trial: &TrialRecord, progress: &Progress) {
            let best = progress.best.as_ref().map(|t| t.number);
            let line = format!("{:?} {} best {best:?}", trial.state, trial.number);
            self.0.lock().expect("no panic").push(line);
        }
    }
    let log = Log::default();
    let mut study = Study::builder("s")
        .direction(Direction::Maximize)
        .observer(log.clone())
        .open()
        .expect("opens");
    study
        .optimize(Budget::trials(3), |trial| match trial.number() {
            1 => Err(Stop::Pruned),
            _ => Ok(1.0),
        })
        .expect("runs");
    let lines = log.0.lock().expect("no panic").join(", ");
    assert_eq!(
        lines,
        "started 0, Complete 0 best Some(0), started 1, Pruned 1 best Some(0), \
         started 2, Complete 2 best Some(0)"
    );
}

#[test]
fn attributes_reports_and_notes_are_stored() {
    let storage = memory();
    let mut study = Study::builder("s")
        .storage(Arc::clone(&storage))
        .open()
        .expect("opens");
    study.set_attr("dataset", "telco").expect("writes");
    study
        .optimize(Budget::trials(1), |trial| {
            trial.report(2, 0.5);
            trial.report(1, f64::NAN);
            trial.note("folds", json!([0.1, 0.2]));
            Ok(0.5)
        })
        .expect("runs");
    let stored = storage.load_study("s").expect("reads").expect("exists");
    assert_eq!(stored.user_attrs["dataset"], json!("telco"));
    let trial = &storage.load_trials("s").expect("reads")[0];
    assert_eq!(trial.user_attrs["folds"], json!([0.1, 0.2]));
    assert_eq!(
        trial.intermediate.keys().copied().collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn no_more_trials_run_at_once_than_wanted() {
    let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(8)
        .build()
        .expect("a pool");
    let mut study = Study::builder("s").concurrency(3).open().expect("opens");
    pool.install(|| {
        study.optimize(Budget::trials(30), |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(0.0)
        })
    })
    .expect("runs");
    assert!(most.into_inner() <= 3);
}

#[test]
fn a_seed_gives_the_same_trials_on_every_machine_and_in_every_release() {
    let mut study = Study::builder("s")
        .sampler(Tpe::default())
        .seed(42)
        .concurrency(2)
        .open()
        .expect("opens");
    study
        .optimize(Budget::trials(40), |trial| {
            let x = trial.float("x", 1e-3..=10.0).log()?;
            let n = trial.int("n", 1..=100).uniform()?;
            let c = trial.categorical("c", [3, 1, 2])?;
            Ok((x - 1.0) * (x - 1.0) + (n - 30).abs() as f64 + f64::from(c))
        })
        .expect("runs");
    let last: Vec<f64> = study.trials()[39]
        .params
        .0
        .iter()
        .map(|a| a.internal)
        .collect();
    let best = study.best().expect("no failures");
    assert_eq!(
        (last, best.number, best.values[0]),
        (
            vec![0.002_995_008_588_721_054, 57.0, 1.0],
            24,
            1.626_926_743_958_610_4
        ),
        "stored studies rely on these values"
    );
}

#[test]
fn a_sampler_that_leaves_the_domain_fails_the_trial() {
    struct Wild;
    impl Sampler for Wild {
        fn name(&self) -> &'static str {
            "wild"
        }

        fn propose_one(&self, _: &Context<'_>, _: &str, _: &Domain) -> f64 {
            9.0
        }
    }
    let mut study = Study::builder("s").sampler(Wild).open().expect("opens");
    study.optimize(Budget::trials(1), objective).expect("runs");
    let reason = study.trials()[0].system_attrs[FAIL_REASON].to_string();
    assert!(
        reason.contains("sampler `wild` proposed 9 for parameter `x`"),
        "{reason}"
    );
}

#[test]
fn a_trial_that_takes_too_long_fails_and_the_study_goes_on() {
    let limit = std::time::Duration::from_millis(80);
    let mut study = Study::builder("s").trial_timeout(limit).open().unwrap();
    let began = std::time::Instant::now();
    study
        .optimize(Budget::trials(4), |trial| {
            let x = trial.float("x", 0.0..=1.0).uniform()?;
            let nap = || std::thread::sleep(std::time::Duration::from_millis(5));
            match trial.number() {
                // Would run for ever.
                1 => loop {
                    nap();
                    trial.check()?;
                },
                2 => loop {
                    nap();
                    trial.report(1, x);
                    if trial.should_prune() {
                        return Err(Stop::Pruned);
                    }
                },
                // Does not ask.
                3 => std::thread::sleep(limit * 2),
                _ => {}
            }
            Ok(x)
        })
        .unwrap();
    assert!(began.elapsed().as_secs_f64() < 1.3);
    assert_eq!(study.trials()[0].state, TrialState::Complete);
    for trial in &study.trials()[1..] {
        assert_eq!(trial.state, TrialState::Fail);
        assert_eq!(
            trial.system_attrs[FAIL_REASON],
            json!("took longer than the limit of 0.08 s for a trial")
        );
    }
}

#[test]
fn a_trial_is_not_charged_for_another_that_its_thread_took_up() {
    let clock = Arc::new(ManualClock::default());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let within = AtomicU64::new(0);
    let (seconds, trials) = ([6.0, 7.0, 8.0, 20.0], 4);
    let study = pool.unwrap().install(|| {
        let study = Study::builder("s")
            .concurrency(2)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .trial_timeout(Duration::from_secs(10));
        let mut study = study.open().unwrap();
        let ended = study.optimize(Budget::trials(trials), |trial| {
            within.fetch_add(1, Ordering::SeqCst);
            clock.advance(seconds[trial.number() as usize]);
            // As a thread does that waits for its folds: it takes up the other trial.
            while rayon::yield_now() == Some(rayon::Yield::Executed) {
                assert!(within.load(Ordering::SeqCst) > 1, "it took up nothing");
            }
            trial.check()?;
            Ok(1.0)
        });
        ended.unwrap();
        study
    });
    let states: Vec<TrialState> = study.trials().iter().map(|t| t.state).collect();
    let (done, failed) = (TrialState::Complete, TrialState::Fail);
    assert_eq!(states, [done, done, done, failed]);
}

#[test]
fn a_study_goes_on_only_with_its_own_pruner() {
    use crate::study::pruner;
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let open = |name: &str, params: Json| {
        let pruner = pruner::by_name(name, &params).unwrap();
        let study = Study::builder("s").pruner(pruner);
        study.storage(Arc::clone(&storage)).open()
    };
    assert!(open("racing", json!({"chance": 0.02})).is_ok());
    assert!(open("racing", json!({"chance": 0.02})).is_ok());
    for (name, params) in [("racing", Json::Null), ("none", Json::Null)] {
        match open(name, params) {
            Err(StudyError::Differs { what: "pruner", .. }) => {}
            other => panic!("{name}: {:?}", other.map(|s| s.name().to_owned())),
        }
    }
}
