//! What every pruner must hold, as a suite that anyone can run on their own:
//!
//! ```
//! use automl::study::pruner::{NoPruner, conformance};
//!
//! conformance::run(|| Box::new(NoPruner));
//! ```
//!
//! The suite panics at the first violation and says which rule was broken.

use crate::study::engine::{Budget, Study, StudyBuilder};
use crate::study::objective::Stop;
use crate::study::record::{Direction, TrialRecord, TrialState};
use crate::study::sampler::random::Random;
use crate::study::sequence::{self, open, optimize};
use crate::study::trial::Trial;

use super::Pruner;

/// Makes the pruner under test, anew for every study.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Pruner>;

/// Runs every check.
///
/// # Panics
/// When the pruner breaks a rule.
pub fn run(make: impl Fn() -> Box<dyn Pruner>) {
    let make: Make<'_> = &make;
    resumed_equals_uninterrupted(make);
    threads_do_not_matter(make);
    what_is_in_flight_does_not_matter(make);
    unusual_reports_do_no_harm(make);
}

fn builder(make: Make<'_>, seed: u64) -> StudyBuilder {
    Study::builder("conformance")
        .sampler(Random)
        .pruner(make())
        .seed(seed)
}

/// Eight blocks whose mean is the value: a level, an effect of the block, and noise of the trial's own.
fn objective(trial: &mut Trial) -> Result<f64, Stop> {
    use rand::RngExt as _;
    let x = trial.float("x", -3.0..=3.0).uniform()?;
    let mut rng = trial.seed().child("noise", 0).rng();
    let mut sum = 0.0;
    for step in 1..=8_i64 {
        let noise: f64 = rng.random_range(-0.5..0.5);
        let value = x * x + (step * 5 % 8) as f64 + noise;
        sum += value;
        trial.report(step, value);
        if trial.should_prune() {
            return Err(Stop::Pruned);
        }
    }
    Ok(sum / 8.0)
}

/// A study that is closed and opened again, with a fresh pruner, goes on as if nothing had happened.
pub fn resumed_equals_uninterrupted(make: Make<'_>) {
    sequence::resumed_equals_uninterrupted(|| builder(make, 5), objective, &[0, 1, 7, 8, 30, 60]);
}

/// How many threads run the trials, and which finish first, changes nothing.
pub fn threads_do_not_matter(make: Make<'_>) {
    sequence::threads_do_not_matter(|| builder(make, 6), objective, 60);
}

/// Trials that a trial may not see as finished change nothing, finished or not.
pub fn what_is_in_flight_does_not_matter(make: Make<'_>) {
    let run = |told_early: bool| -> Vec<bool> {
        let mut study = open(builder(make, 9).concurrency(2));
        optimize(&mut study, 20, objective);
        let ask = |study: &mut Study| {
            study
                .ask()
                .unwrap_or_else(|e| panic!("two trials may be in flight: {e}"))
        };
        let (mut first, mut second) = (ask(&mut study), ask(&mut study));
        for step in 1..=8 {
            first.report(step, -100.0);
        }
        if told_early && let Err(error) = study.tell(first, Ok(-100.0)) {
            panic!("the study stopped: {error}");
        }
        let ask = |step| {
            second.report(step, 4.0);
            second.should_prune()
        };
        (1..=8).map(ask).collect()
    };
    assert_eq!(
        run(false),
        run(true),
        "a decision depends on a trial that the sequence rule hides"
    );
}

/// NaN and infinite reports, one report or none, negative and sparse steps, several directions.
pub fn unusual_reports_do_no_harm(make: Make<'_>) {
    let values = [
        0.0,
        -0.0,
        1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e308,
        -1e308,
        5e-324,
    ];
    type Steps = [i64; 4];
    let steps: [Steps; 4] = [
        [1, 2, 3, 4],
        [-5, -1, 0, 7],
        [0, 0, 10, 1000],
        [i64::MIN, -1, 1, i64::MAX],
    ];
    for directions in [
        vec![Direction::Minimize],
        vec![Direction::Maximize],
        vec![Direction::Minimize, Direction::Maximize],
    ] {
        for steps in steps {
            let two = directions.len() == 2;
            let study = builder(make, 7).directions(directions.clone());
            let mut study = open(study.concurrency(2));
            let done = study.optimize(Budget::trials(60), |trial| {
                let n = trial.number() as usize;
                if n % 7 == 3 {
                    return Err(Stop::failed("on purpose"));
                }
                // Asked before anything is reported.
                let _ = trial.should_prune();
                for (i, step) in steps.into_iter().take(n % 5).enumerate() {
                    trial.report(step, values[(n * (i + 2) + i) % values.len()]);
                    if trial.should_prune() {
                        return Err(Stop::Pruned);
                    }
                }
                let value = values[n % 3];
                Ok(if two { vec![value, value] } else { vec![value] })
            });
            assert!(done.is_ok(), "{done:?}");
            let finite = |t: &std::sync::Arc<TrialRecord>| {
                t.state != TrialState::Pruned || t.expected().is_none_or(f64::is_finite)
            };
            assert!(
                study.trials().iter().all(finite),
                "an estimate is no number"
            );
        }
    }
}
