//! Optuna and our workers add trials to one study at the same time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;

use automl::study::record::{TrialRecord, TrialState};
use automl::study::space::Value;

use crate::optuna_interop::{check, open, python};
use crate::program::Desk;
use crate::workers;

/// What `workers.rs` and `optuna_check.py` compute from the parameters of a trial; `awk` prints six digits.
fn objective(trial: &TrialRecord) -> f64 {
    let number = |name: &str| match trial.params.assignment(name).unwrap().value() {
        Value::Float(v) => v,
        Value::Int(v) => v as f64,
        Value::Str(v) => f64::from(u8::from(v == "b")) + 1.0,
        other => panic!("{name}: {other}"),
    };
    (number("x") - 0.3).powi(2) + number("n") / 40.0 + number("k")
}

/// `place` is the store as the program takes it, `database` as the storage does.
pub fn everybody_adds_trials(python: &Path, desk: &Desk, place: &str, database: &Path) {
    const TRIALS: usize = 120;
    let mut optuna = check(python, "mixed", database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(optuna.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    let leader = workers::lead(desk, place, &TRIALS.to_string(), &[])
        .spawn()
        .unwrap();
    let worker = workers::worker(desk, place, &[]).spawn().unwrap();
    // Optuna loads a study that is there.
    workers::wait_for(desk, place, 3);
    let mut word = optuna.stdin.take().unwrap();
    word.write_all(b"go\n").unwrap();
    for process in [optuna, leader, worker] {
        workers::ended(process);
    }
    let trials = open(database).load_trials("s").unwrap();
    // Optuna may have begun the last ones beyond the budget.
    assert!(
        (TRIALS..TRIALS + 12).contains(&trials.len()),
        "{}",
        trials.len()
    );
    let is_theirs = |t: &&TrialRecord| t.user_attrs.contains_key("by");
    let theirs: Vec<u64> = trials.iter().filter(is_theirs).map(|t| t.number).collect();
    assert_eq!(theirs.len(), 12, "every trial of Optuna is there, once");
    let last = trials.iter().rev().find(|t| !is_theirs(t)).unwrap();
    let between = theirs.iter().filter(|n| **n < last.number).count();
    assert!(between >= 4, "they ran at the same time: {theirs:?}");
    for (number, trial) in trials.iter().enumerate() {
        assert_eq!(trial.number, number as u64);
        assert_eq!(trial.state, TrialState::Complete, "trial {number}");
        assert_eq!(trial.params.0.len(), 3, "trial {number}");
        let (value, computed) = (trial.values[0], objective(trial));
        assert!(
            (value - computed).abs() < 1e-4,
            "trial {number}: {value} is not the value {computed} of its parameters"
        );
    }
}

#[test]
fn optuna_and_workers_share_a_study_in_a_folder() {
    let Some(python) = python() else { return };
    let desk = workers::desk();
    let database = desk.path("store/automl.db");
    everybody_adds_trials(&python, &desk, "store", &database);
}

#[cfg(all(unix, feature = "postgres"))]
#[test]
fn optuna_and_workers_share_a_study_on_a_server() {
    let Some((python, server)) = crate::optuna_interop::on_postgres::both() else {
        return;
    };
    let desk = workers::desk();
    let url = server.new_url();
    everybody_adds_trials(&python, &desk, &url, Path::new(&url));
}
