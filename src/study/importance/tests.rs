//! Importance equals Optuna's on the same trials (tests/golden/importance.py), and what holds for any trials.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::*;
use crate::study::space::{Assignment, Domain, Params, Value};

#[derive(Deserialize)]
struct Golden {
    optuna: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    directions: Vec<Direction>,
    trials: Vec<Point>,
    ped_anova: BTreeMap<String, f64>,
    /// Mean and standard deviation over ten seeds.
    fanova: Option<BTreeMap<String, (f64, f64)>>,
}

#[derive(Deserialize)]
struct Point {
    values: Vec<f64>,
    params: Vec<(String, BTreeMap<String, Json>, f64)>,
}

fn domain(written: &BTreeMap<String, Json>) -> Domain {
    let log = written.get("log").and_then(Json::as_bool).unwrap_or(false);
    let bound = |key: &str, i: usize| written[key][i].as_f64().unwrap();
    if let Some(choices) = written.get("categorical") {
        let choices: Vec<Value> = serde_json::from_value(choices.clone()).unwrap();
        Domain::categorical(choices).unwrap()
    } else if written.contains_key("float") {
        let step = written["step"].as_f64();
        Domain::float(bound("float", 0), bound("float", 1), step, log).unwrap()
    } else {
        let step = written["step"].as_i64().unwrap();
        Domain::int(bound("int", 0) as i64, bound("int", 1) as i64, step, log).unwrap()
    }
}

fn complete(number: u64, values: Vec<f64>, params: Vec<Assignment>) -> TrialRecord {
    TrialRecord {
        state: TrialState::Complete,
        values,
        params: Params(params),
        ..TrialRecord::waiting(number)
    }
}

impl Case {
    fn records(&self) -> Vec<TrialRecord> {
        let assignment =
            |(name, written, internal): &(String, BTreeMap<String, Json>, f64)| Assignment {
                name: name.clone(),
                domain: domain(written),
                internal: *internal,
            };
        let record = |(i, point): (usize, &Point)| {
            let params = point.params.iter().map(assignment).collect();
            complete(i as u64, point.values.clone(), params)
        };
        self.trials.iter().enumerate().map(record).collect()
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/importance.json")).unwrap()
}

fn assessed(method: &str, records: &[TrialRecord], directions: &[Direction]) -> Shares {
    let trials: Vec<&TrialRecord> = records.iter().collect();
    (by_name(method).unwrap().assess)(&trials, directions).unwrap()
}

#[test]
fn ped_anova_is_that_of_optuna() {
    let golden = golden();
    for case in &golden.cases {
        let shares = assessed("ped_anova", &case.records(), &case.directions);
        assert_eq!(shares.len(), case.ped_anova.len(), "{}", case.name);
        for (name, share) in shares {
            let theirs = case.ped_anova[&name];
            // The same formulas; logarithms and error functions differ in their last bits.
            assert!(
                (share - theirs).abs() <= 1e-9,
                "{} `{name}`: {share}, and {theirs} in Optuna {}",
                case.name,
                golden.optuna
            );
        }
    }
}

#[test]
fn fanova_is_that_of_optuna_within_noise() {
    for case in golden().cases {
        let Some(theirs) = &case.fanova else { continue };
        let shares = assessed("fanova", &case.records(), &case.directions);
        assert_eq!(shares.len(), theirs.len(), "{}", case.name);
        for (name, share) in shares {
            let (mean, deviation) = theirs[&name];
            // One forest against the spread of ten others.
            assert!(
                (share - mean).abs() <= 4.0 * deviation + 1e-4,
                "{} `{name}`: {share}, and {mean} ± {deviation} in Optuna",
                case.name
            );
        }
    }
}

#[test]
fn fanova_of_a_known_function_is_its_variance() {
    // A sum of two steps on a full grid: the variances are 1 and 4 to each other, whatever the trees do.
    let unit = Domain::float(0.0, 1.0, None, false).unwrap();
    let mut records = Vec::new();
    for i in 0..20 {
        for j in 0..20 {
            let at = |k: i32| (f64::from(k) + 0.5) / 20.0;
            let half = |k: i32| f64::from(u8::from(k >= 10));
            let param = |name: &str, k| Assignment {
                name: name.to_owned(),
                domain: unit.clone(),
                internal: at(k),
            };
            let params = vec![
                param("x", i),
                param("y", j),
                param("z", (i * 7 + j * 3) % 20),
            ];
            records.push(complete(
                records.len() as u64,
                vec![half(i) + 2.0 * half(j)],
                params,
            ));
        }
    }
    let shares = assessed("fanova", &records, &[Direction::Minimize]);
    assert_eq!(shares[0].0, "y");
    assert!((shares[0].1 - 0.8).abs() < 1e-12, "{shares:?}");
    assert!((shares[1].1 - 0.2).abs() < 1e-12, "{shares:?}");
    assert_eq!(shares[2].1, 0.0);
}

#[test]
fn threads_do_not_change_shares() {
    let golden = golden();
    let case = golden.cases.iter().find(|c| c.name == "numbers").unwrap();
    let records = case.records();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| assessed("fanova", &records, &case.directions))
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn what_cannot_be_assessed_is_said() {
    let golden = golden();
    let case = golden.cases.iter().find(|c| c.name == "mixed").unwrap();
    let mut records = case.records();
    let error = |method: &str, records: &[TrialRecord], directions: &[Direction]| {
        let trials: Vec<&TrialRecord> = records.iter().collect();
        let assess = by_name(method).unwrap().assess;
        assess(&trials, directions).unwrap_err()
    };
    for method in METHODS {
        let few = error(method.name, &records[..1], &case.directions);
        assert_eq!(few, ImportanceError::TooFew { found: 1 });
        error(method.name, &[], &case.directions);
    }
    let two = error(
        "fanova",
        &records,
        &[Direction::Minimize, Direction::Minimize],
    );
    assert_eq!(two, ImportanceError::Several { found: 2 });
    assert!(by_name("fanove").is_err());

    // Failed and infinite trials change nothing.
    let before = METHODS
        .iter()
        .map(|m| assessed(m.name, &records, &case.directions));
    let before: Vec<Shares> = before.collect();
    let mut failed = records[0].clone();
    failed.state = TrialState::Fail;
    failed.values.clear();
    let mut infinite = records[1].clone();
    infinite.values = vec![f64::NEG_INFINITY];
    records.extend([failed, infinite]);
    let after = METHODS
        .iter()
        .map(|m| assessed(m.name, &records, &case.directions));
    assert_eq!(before, after.collect::<Vec<Shares>>());

    // Where all values are one, nothing matters more than anything else.
    for record in &mut records {
        if record.state == TrialState::Complete {
            record.values = vec![2.5];
        }
    }
    for method in METHODS {
        let equal = assessed(method.name, &records, &case.directions);
        assert!(equal.iter().all(|(_, share)| *share == 0.25), "{equal:?}");
    }
}
