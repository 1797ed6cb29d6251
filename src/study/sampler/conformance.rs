//! What every sampler must hold, as a suite that anyone can run on their own:
//!
//! ```
//! use automl::study::sampler::{conformance, random::Random};
//!
//! conformance::run(|| Box::new(Random));
//! ```
//!
//! The suite panics at the first violation and says which rule was broken.

use crate::study::declared::{Param, Space};
use crate::study::engine::{Budget, Study, StudyBuilder};
use crate::study::objective::Stop;
use crate::study::record::Direction;
use crate::study::sequence::{self, open, optimize};
use crate::study::space::{Domain, SpaceError};
use crate::study::trial::Trial;

use super::Sampler;

/// Makes the sampler under test, anew for every study.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Sampler>;

/// Runs every check.
///
/// # Panics
/// When the sampler breaks a rule.
pub fn run(make: impl Fn() -> Box<dyn Sampler>) {
    let make: Make<'_> = &make;
    resumed_equals_uninterrupted(make);
    threads_do_not_matter(make);
    values_are_in_their_domains(make);
    unusual_histories_do_no_harm(make);
    a_changing_space_does_no_harm(make);
}

fn builder(make: Make<'_>, seed: u64) -> StudyBuilder {
    Study::builder("conformance").sampler(make()).seed(seed)
}

/// Every kind of parameter, some of them behind conditions.
fn objective(trial: &mut Trial) -> Result<f64, Stop> {
    let x = trial.float("x", -5.0..=5.0).uniform()?;
    let lr = trial.float("lr", 1e-6..=1.0).log()?;
    let part = trial.float("part", 0.1..=1.0).step(0.1)?;
    let model = trial.categorical("model", ["a", "b", "c"])?;
    let more = match model {
        "a" => trial.int("depth", 2..=20).uniform()? as f64,
        "b" => trial.int("leaves", 2..=1024).log()? as f64,
        _ => trial.int("width", 8..=128).step(8)? as f64 + trial.float("y", 0.0..=1.0).uniform()?,
    };
    if trial.number() % 11 == 7 {
        return Err(Stop::failed("on purpose"));
    }
    if trial.number() % 13 == 9 {
        trial.report(1, x);
        return Err(Stop::Pruned);
    }
    Ok(x * x + lr + part + more / 100.0)
}

/// A study that is closed and opened again, with a fresh sampler, goes on as if nothing had happened.
pub fn resumed_equals_uninterrupted(make: Make<'_>) {
    sequence::resumed_equals_uninterrupted(|| builder(make, 5), objective, &[0, 1, 12, 20, 21, 50]);
}

/// How many threads run the trials, and which finish first, changes nothing.
pub fn threads_do_not_matter(make: Make<'_>) {
    sequence::threads_do_not_matter(|| builder(make, 6), objective, 40);
}

/// Bounds, steps and single values are respected, in every kind of domain.
pub fn values_are_in_their_domains(make: Make<'_>) {
    let space = match domains().map(|domains| {
        let params = domains.into_iter().enumerate();
        params.map(|(i, d)| Param::new(format!("p{i:02}"), d))
    }) {
        Ok(params) => Space::new(params.collect()),
        Err(error) => panic!("the suite's own domains are right: {error}"),
    };
    let space = space.unwrap_or_else(|error| panic!("the suite's own space is right: {error}"));
    for seed in 0..3 {
        let mut study = open(builder(make, seed).space(space.clone()));
        optimize(&mut study, 40, |trial| {
            // Pulls every parameter to an end of its range.
            Ok(trial.params().0.iter().map(|a| a.internal / 1e300).sum())
        });
        for trial in study.trials() {
            let params = &trial.params.0;
            assert_eq!(
                params.len(),
                space.params().len(),
                "every parameter is drawn"
            );
            for a in params {
                let (x, domain) = (a.internal, &a.domain);
                assert!(domain.contains(x), "{} = {x} is not in {domain}", a.name);
            }
        }
    }
}

fn domains() -> Result<Vec<Domain>, SpaceError> {
    Ok(vec![
        Domain::float(0.0, 1.0, None, false)?,
        Domain::float(-1e308, 1e308, None, false)?,
        Domain::float(1e-300, 1e300, None, true)?,
        Domain::float(1.0, 1.0 + 1e-15, None, false)?,
        Domain::float(3.5, 3.5, None, false)?,
        Domain::float(2.0, 2.0, None, true)?,
        Domain::float(0.0, 0.9, Some(0.1), false)?,
        Domain::float(-0.35, 10.0, Some(0.7), false)?,
        Domain::float(5.0, 5.2, Some(1.0), false)?,
        Domain::int(0, 1, 1, false)?,
        Domain::int(-7, 7, 3, false)?,
        Domain::int(4, 4, 1, false)?,
        Domain::int(1, 1, 1, true)?,
        Domain::int(1, 2, 1, true)?,
        Domain::int(1, 1_000_000_000, 1, true)?,
        Domain::int(0, 1 << 50, 1, false)?,
        Domain::categorical([true, false])?,
        Domain::categorical(["only"])?,
        Domain::categorical((0..100).collect::<Vec<i64>>())?,
    ])
}

/// No trial, one trial, only failures, only prunings, infinite and equal values.
pub fn unusual_histories_do_no_harm(make: Make<'_>) {
    let mut study = open(builder(make, 7));
    optimize(&mut study, 0, objective);
    assert_eq!(study.trials().len(), 0, "no trial was asked for");
    optimize(&mut study, 1, objective);
    assert_eq!(study.trials().len(), 1, "one trial was asked for");

    type Outcome = fn(u64) -> Result<f64, Stop>;
    let outcomes: [(&str, Outcome); 6] = [
        ("all failed", |_| Err(Stop::failed("on purpose"))),
        ("all pruned", |_| Err(Stop::Pruned)),
        ("all NaN", |_| Ok(f64::NAN)),
        ("all infinite", |_| Ok(f64::INFINITY)),
        ("all equal", |_| Ok(1.0)),
        ("infinite both ways", |n| {
            Ok([f64::NEG_INFINITY, f64::INFINITY, 0.0][n as usize % 3])
        }),
    ];
    for (name, outcome) in outcomes {
        for direction in [Direction::Minimize, Direction::Maximize] {
            let mut study = open(builder(make, 7).direction(direction).concurrency(2));
            optimize(&mut study, 40, |trial| {
                // What the objective would have returned does not matter, only what it drew.
                let _ = objective(trial);
                outcome(trial.number())
            });
            for trial in study.trials() {
                assert!(
                    trial.params.0.len() >= 5,
                    "{name}: a parameter was not drawn"
                );
                for a in &trial.params.0 {
                    let inside = a.domain.contains(a.internal);
                    assert!(inside, "{name}: {} = {}", a.name, a.internal);
                }
            }
        }
    }

    let two = [Direction::Minimize, Direction::Maximize];
    let mut study = open(builder(make, 7).directions(two));
    let done = study.optimize(Budget::trials(40), |trial| {
        let value = objective(trial)?;
        Ok([value, trial.params().0[0].internal])
    });
    assert!(done.is_ok(), "two directions: {done:?}");
}

/// Ranges, kinds and parameters that change from trial to trial.
pub fn a_changing_space_does_no_harm(make: Make<'_>) {
    let mut study = open(builder(make, 8).concurrency(2));
    optimize(&mut study, 60, |trial| {
        let n = trial.number() as i64;
        let top = trial.int("top", 1..=10).uniform()?;
        let within = trial.int("within", 0..=top).uniform()?;
        let moving = trial
            .float("moving", 0.0..=1.0 + (n / 20) as f64)
            .uniform()?;
        let kind = match n % 3 {
            0 => trial.float("kind", 0.0..=1.0).uniform()?,
            1 => trial.int("kind", 0..=5).uniform()? as f64,
            _ => trial.categorical("kind", [1.0, 2.0])?,
        };
        let own = trial.float(&format!("own{}", n % 17), 1.0..=2.0).log()?;
        if within > top {
            return Err(Stop::failed("outside of its range"));
        }
        Ok(within as f64 + moving + kind + own)
    });
    assert_eq!(study.progress().complete, 60, "every trial is complete");
}
