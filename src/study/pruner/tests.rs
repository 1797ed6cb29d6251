//! Every pruner of the table through the suite, and against Optuna's decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::seed::Seed;
use crate::study::record::{Attrs, Direction, TrialRecord, TrialState};

use super::{Context, PRUNERS, by_name, conformance};

#[test]
fn every_pruner_conforms() {
    for entry in PRUNERS {
        let params = match entry.name {
            "threshold" => vec![json!({"lower": -50.0, "upper": 12.0})],
            "patient" => vec![
                json!({"patience": 1}),
                json!({"patience": 2, "pruner": "racing"}),
            ],
            _ => vec![Json::Null],
        };
        for params in params {
            conformance::run(|| by_name(entry.name, &params).expect("right"));
        }
    }
}

/// What Optuna 5.0.0 decided at every report of studies with made-up reports: `tests/golden/pruners.py`.
#[test]
fn decisions_are_those_of_optuna() {
    let golden = include_str!("../../../tests/golden/pruners.json");
    let golden: Json = serde_json::from_str(golden).expect("JSON");
    let mut decisions = [0, 0];
    for case in golden["cases"].as_array().expect("a list") {
        let name = case["pruner"].as_str().expect("a name");
        let pruner = by_name(name, &case["params"]).expect("a known pruner");
        let direction = match case["direction"].as_str() {
            Some("maximize") => Direction::Maximize,
            _ => Direction::Minimize,
        };
        let mut history: Vec<Arc<TrialRecord>> = Vec::new();
        for (number, trial) in case["trials"]
            .as_array()
            .expect("a list")
            .iter()
            .enumerate()
        {
            let mut record = TrialRecord::waiting(number as u64);
            let (mut reports, mut notes) = (BTreeMap::new(), Attrs::new());
            for report in trial["reports"].as_array().expect("a list") {
                let step = report[0].as_i64().expect("a step");
                reports.insert(step, report[1].as_f64().unwrap_or(f64::NAN));
                let ask = |directions: &[Direction], notes: &mut Attrs| {
                    let context = Context {
                        trial: record.number,
                        reports: &reports,
                        history: &history,
                        directions,
                        seed: Seed::root(0),
                    };
                    pruner.prune(&context, notes)
                };
                // Of several directions the first counts; what needs a best trial stops nothing.
                let other = match direction {
                    Direction::Minimize => Direction::Maximize,
                    Direction::Maximize => Direction::Minimize,
                };
                let of_two = ask(&[direction, other], &mut notes.clone());
                let stops = ask(&[direction], &mut notes);
                assert_eq!(of_two, stops && name != "wilcoxon", "{name}");
                decisions[usize::from(stops)] += 1;
                let params = &case["params"];
                assert_eq!(
                    Some(stops),
                    report[2].as_bool(),
                    "{name} {params}, trial {number}, step {step}"
                );
            }
            record.intermediate = reports;
            record.system_attrs = notes;
            match trial["value"].as_f64() {
                Some(value) => {
                    record.values = vec![value];
                    record.state = TrialState::Complete;
                }
                None => record.state = TrialState::Pruned,
            }
            history.push(Arc::new(record));
        }
    }
    assert!(decisions.iter().all(|n| *n > 500), "{decisions:?}");
}

/// Ten blocks with effects that all trials share. The true mean of a trial over the ten blocks is `x²` and the mean effect.
#[test]
fn a_race_is_short_and_its_estimates_are_true() {
    use crate::study::sampler::random::Random;
    use crate::study::{Budget, Stop, Study};
    use rand::RngExt as _;

    let racing = by_name("racing", &Json::Null).expect("right");
    let builder = Study::builder("race").sampler(Random).pruner(racing);
    let mut study = builder.seed(4).open().expect("it opens");
    let effect = |step: i64| (step * 7 % 10) as f64;
    study
        .optimize(Budget::trials(100), |trial| {
            let x = trial.float("x", -3.0..=3.0).uniform()?;
            let mut rng = trial.seed().child("noise", 0).rng();
            let mut sum = 0.0;
            for step in 1..=10 {
                let noise: f64 = rng.random_range(-0.2..0.2);
                let score = x * x + effect(step) + noise;
                sum += score;
                trial.report(step, score);
                if trial.should_prune() {
                    return Err(Stop::Pruned);
                }
            }
            Ok(sum / 10.0)
        })
        .expect("it runs");
    let blocks: usize = study.trials().iter().map(|t| t.intermediate.len()).sum();
    assert!(blocks < 350, "{blocks} of 1000");
    let best = study.best().expect("the first trial is complete");
    assert_eq!(best.intermediate.len(), 10);
    let mut squares = Vec::new();
    for trial in study.trials() {
        let x = trial.params.0[0].internal;
        let expected = trial
            .expected()
            .expect("every trial has a value or an estimate");
        let miss = expected - (x * x + 4.5);
        // What is stopped is not better than the best.
        assert!(trial.state == TrialState::Complete || expected > best.values[0]);
        squares.push(miss * miss);
    }
    let error = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    // The noise of one block is 0.115; its effect would be 2.9.
    assert!(error < 0.3, "{error}");
}
