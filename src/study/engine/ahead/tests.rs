//! No point of a discrete space is tried twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::study::declared::{Param, Space};
use crate::study::engine::{Budget, Ended, Study, StudyBuilder, StudyError};
use crate::study::objective::Stop;
use crate::study::sampler::{SAMPLERS, by_name, random::Random};
use crate::study::space::Domain;
use crate::study::storage::memory::Memory;
use crate::study::trial::Trial;

use super::Exhausted;

fn ints(trial: &mut Trial) -> Result<f64, Stop> {
    let mut sum = 0.0;
    for (name, best) in [("a", 6), ("b", 2), ("c", 4)] {
        sum += (trial.int(name, 0..=7).uniform()? - best).pow(2) as f64;
    }
    match trial.number() % 10 {
        7 => Err(Stop::failed("on purpose")),
        9 => Err(Stop::Pruned),
        _ => Ok(sum),
    }
}

fn categories(trial: &mut Trial) -> Result<f64, Stop> {
    let mut sum = 0.0;
    for (i, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let choice = trial.categorical(name, ["p", "q", "r", "s"])?;
        sum += if choice == ["r", "p", "s", "q"][i] {
            0.0
        } else {
            1.0
        };
    }
    Ok(sum)
}

fn space_of(domains: Vec<(&str, Domain)>) -> Space {
    let params = domains.into_iter().map(|(n, d)| Param::new(n, d));
    Space::new(params.collect()).expect("a right space")
}

fn int_space() -> Space {
    let domain = || Domain::int(0, 7, 1, false).expect("a right domain");
    space_of(vec![("a", domain()), ("b", domain()), ("c", domain())])
}

fn category_space() -> Space {
    let domain = || Domain::categorical(["p", "q", "r", "s"]).expect("a right domain");
    space_of(vec![
        ("a", domain()),
        ("b", domain()),
        ("c", domain()),
        ("d", domain()),
    ])
}

fn duplicates(study: &Study) -> usize {
    let key = |t: &Arc<crate::study::TrialRecord>| format!("{:?}", t.params);
    let different: BTreeSet<String> = study.trials().iter().map(key).collect();
    study.trials().len() - different.len()
}

type Objective = fn(&mut Trial) -> Result<f64, Stop>;

fn run(builder: StudyBuilder, trials: u64, objective: Objective) -> (Study, Ended) {
    let mut study = builder.open().expect("opens");
    let ended = study
        .optimize(Budget::trials(trials), objective)
        .expect("runs");
    (study, ended)
}

#[test]
fn no_sampler_tries_a_point_twice() {
    let problems: [(Objective, fn() -> Space); 2] =
        [(ints, int_space), (categories, category_space)];
    for entry in SAMPLERS {
        // The model of some takes long to fit.
        let seeds = if matches!(entry.name, "tpe" | "random") {
            20
        } else {
            3
        };
        for (objective, space) in problems {
            for concurrency in [1, 3, 8] {
                for seed in 0..seeds {
                    for declared in [false, true] {
                        let sampler = by_name(entry.name, &Json::Null).expect("known");
                        let mut builder = Study::builder("s").sampler(sampler).seed(seed);
                        builder = builder.concurrency(concurrency);
                        if declared {
                            builder = builder.space(space());
                        }
                        let (study, ended) = run(builder, 100, objective);
                        assert_eq!(ended, Ended::Trials);
                        assert_eq!(
                            duplicates(&study),
                            0,
                            "{}, seed {seed}, concurrency {concurrency}, declared {declared}",
                            entry.name
                        );
                    }
                }
            }
        }
    }
}

/// A space of 2 + 3 × 2 points, and what the objective of the same space draws.
fn small() -> Space {
    let text = |choices: [&str; 2]| Domain::categorical(choices).expect("a right domain");
    let float = Domain::float(0.1, 0.3, Some(0.1), false).expect("a right domain");
    let int = Domain::int(1, 2, 1, true).expect("a right domain");
    Space::new(vec![
        Param::new("kind", text(["x", "y"])),
        Param::new("n", int),
        Param::new("only", Domain::int(3, 3, 1, false).expect("a right domain")),
        Param::new("part", float).when("kind", ["y"]),
    ])
    .expect("a right space")
}

fn small_by_run(trial: &mut Trial) -> Result<f64, Stop> {
    let kind = trial.categorical("kind", ["x", "y"])?;
    let n = trial.int("n", 1..=2).log()? as f64;
    trial.int("only", 3..=3).uniform()?;
    if kind == "y" {
        return Ok(n + trial.float("part", 0.1..=0.3).step(0.1)?);
    }
    Ok(n)
}

#[test]
fn a_study_ends_with_its_space() {
    for entry in SAMPLERS {
        for concurrency in [1, 2, 5] {
            for declared in [false, true] {
                let builder = || {
                    let sampler = by_name(entry.name, &Json::Null).expect("known");
                    let builder = Study::builder("s")
                        .sampler(sampler)
                        .concurrency(concurrency);
                    if declared {
                        builder.space(small())
                    } else {
                        builder
                    }
                };
                let (mut study, ended) = run(builder(), 50, small_by_run);
                let name = entry.name;
                assert_eq!(ended, Ended::Exhausted, "{name}");
                let points = study.trials().len() - duplicates(&study);
                assert_eq!(points, 8, "{name}: every point is tried");
                // A branch that no trial has come to yet may be entered twice at once.
                if declared || concurrency == 1 {
                    assert_eq!(duplicates(&study), 0, "{name}");
                }
                let message = match study.ask() {
                    Err(error @ StudyError::Exhausted { .. }) => error.to_string(),
                    _ => panic!("there is nothing left to ask for"),
                };
                assert!(
                    message.contains("on_exhausted(Exhausted::Repeat)"),
                    "{message}"
                );

                let (study, ended) =
                    run(builder().on_exhausted(Exhausted::Repeat), 20, small_by_run);
                assert_eq!((study.trials().len(), ended), (20, Ended::Trials), "{name}");
            }
        }
    }
}

#[test]
fn what_is_enqueued_runs_although_it_was_tried() {
    let mut study = Study::builder("s").space(small()).open().expect("opens");
    study
        .optimize(Budget::unlimited(), small_by_run)
        .expect("runs");
    study.enqueue([("kind", "x")]).expect("fits");
    let ended = study
        .optimize(Budget::unlimited(), small_by_run)
        .expect("runs");
    assert_eq!((ended, study.trials().len()), (Ended::Exhausted, 9));
    assert_eq!(study.trials()[8].params.0[0].internal, 0.0);
}

#[test]
fn a_failed_trial_is_a_tried_point() {
    let (study, ended) = run(Study::builder("s").space(small()), 50, |trial| {
        small_by_run(trial)?;
        Err(Stop::failed("on purpose"))
    });
    assert_eq!((ended, duplicates(&study)), (Ended::Exhausted, 0));
}

#[test]
fn interruptions_and_threads_do_not_change_what_is_tried() {
    for declared in [false, true] {
        for concurrency in [1, 2, 8] {
            let builder = |storage: &Arc<Memory>| {
                let builder = Study::builder("s").seed(3).concurrency(concurrency);
                let builder = builder.storage(storage.clone());
                if declared {
                    builder.space(int_space())
                } else {
                    builder
                }
            };
            let params = |study: &Study| -> Vec<_> {
                study.trials().iter().map(|t| t.params.clone()).collect()
            };
            let (whole, _) = run(builder(&Arc::default()), 80, ints);
            let storage = Arc::new(Memory::new());
            for trials in [1, 5, 9, 10, 23, 80] {
                run(builder(&storage), trials, ints);
            }
            assert_eq!(
                params(&whole),
                params(&builder(&storage).open().expect("opens"))
            );

            let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build();
            let slow = pool.expect("a pool").install(|| {
                run(builder(&Arc::default()), 80, |trial| {
                    let wait = 200 * (7 - trial.number() % 8);
                    std::thread::sleep(std::time::Duration::from_micros(wait));
                    ints(trial)
                })
            });
            assert_eq!(params(&whole), params(&slow.0));
        }
    }
}

#[test]
fn a_trial_that_draws_nothing_is_no_point() {
    let (study, ended) = run(Study::builder("s").sampler(Random), 5, |_| Ok(1.0));
    assert_eq!((study.trials().len(), ended), (5, Ended::Trials));
}

#[test]
fn trials_that_disagree_end_nothing() {
    let (study, ended) = run(Study::builder("s"), 30, |trial| {
        let high = if trial.number() < 5 { 1 } else { 2 };
        Ok(trial.int("n", 0..=high).uniform()? as f64)
    });
    // The first five see a space of two points, so the study ends; one that changed before that goes on.
    assert_eq!((study.trials().len(), ended), (2, Ended::Exhausted));
    let (study, ended) = run(Study::builder("s"), 30, |trial| {
        let high = if trial.number() < 5 { 9 } else { 8 };
        Ok(trial.int("n", 0..=high).uniform()? as f64)
    });
    assert_eq!((study.trials().len(), ended), (30, Ended::Trials));
}
