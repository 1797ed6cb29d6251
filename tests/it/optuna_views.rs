//! What Optuna's plots, its dashboard and its choice of the best make of studies that our engine ran.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use automl::study::record::{Direction, TrialState};
use automl::study::storage::Storage;
use automl::study::storage::sqlite::SqliteStorage;
use automl::study::{Budget, Stop, Study, Value, Values};
use serde_json::{Value as Json, json};

use crate::optuna_interop::python;

/// A Python with Optuna and these modules.
fn python_with(modules: &str) -> Option<PathBuf> {
    let python = python()?;
    let found = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output()
        .unwrap();
    if found.status.success() {
        return Some(python);
    }
    eprintln!("skipped: `{}` cannot import {modules}", python.display());
    None
}

fn run(python: &Path, command: &str, file: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/optuna_views.py");
    let out = Command::new(python)
        .arg(script)
        .arg(command)
        .arg(file)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command}: {error}");
    String::from_utf8(out.stdout).unwrap()
}

fn json_of(python: &Path, command: &str, file: &Path) -> Json {
    serde_json::from_str(&run(python, command, file)).unwrap()
}

/// The studies `one`, with two numbers and a choice, reports, pruned and failed trials, and `two`, with two directions,
/// constraints and an enqueued trial that waits.
fn studies(file: &Path) -> (Arc<SqliteStorage>, Study, Study) {
    let storage = Arc::new(SqliteStorage::open(file).unwrap());
    let mut one = Study::builder("one")
        .direction(Direction::Maximize)
        .seed(3)
        .storage(storage.clone())
        .open()
        .unwrap();
    one.optimize(Budget::trials(40), |trial| {
        let x = trial.float("x", -1.0..=1.0).uniform()?;
        let n = trial.int("n", 1..=64).log()?;
        let kind = trial.categorical("kind", [Value::from("a"), Value::Null, Value::Bool(true)])?;
        for step in 0..3 {
            trial.report(step, x * (step + 1) as f64);
        }
        match trial.number() % 10 {
            3 => return Err(Stop::Pruned),
            7 => return Err(Stop::failed("on purpose")),
            _ => {}
        }
        Ok(1.0 - x * x - (n as f64).ln() / 10.0 + f64::from(u8::from(kind == Value::Null)))
    })
    .unwrap();
    let mut two = Study::builder("two")
        .directions([Direction::Minimize, Direction::Minimize])
        .seed(4)
        .storage(storage.clone())
        .open()
        .unwrap();
    two.optimize(Budget::trials(24), |trial| {
        let x = trial.float("x", 0.0..=1.0).uniform()?;
        let y = trial.float("y", 0.0..=1.0).uniform()?;
        trial.constrain([x + y - 1.2, -1.0])?;
        Ok(Values(vec![x, (1.0 - x) * (1.0 + y)]))
    })
    .unwrap();
    let waiting = two.enqueue([("x", 0.125), ("y", 0.5)]).unwrap();
    assert_eq!(waiting, 24);
    (storage, one, two)
}

fn count(study: &Study, states: &[TrialState]) -> u64 {
    let trials = study.trials().iter();
    trials.filter(|t| states.contains(&t.state)).count() as u64
}

#[test]
fn every_plot_of_optuna_shows_our_trials() {
    let Some(python) = python_with("plotly, sklearn") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("automl.db");
    let (_storage, one, two) = studies(&file);
    use TrialState::{Complete, Fail, Pruned};
    let complete = count(&one, &[Complete]);
    assert_eq!((complete, count(&one, &[Pruned])), (32, 4));
    let shown = json_of(&python, "plots", &file);
    let points = |name: &str| -> Vec<u64> {
        let traces = shown[name].as_array().unwrap().iter();
        traces.map(|n| n.as_u64().unwrap()).collect()
    };
    let sum = |name: &str| points(name).iter().sum::<u64>();
    assert_eq!(points("optimization_history")[0], complete);
    assert_eq!(
        sum("timeline"),
        count(&one, &[Complete, Pruned, Fail]),
        "a bar per trial"
    );
    assert_eq!(
        points("intermediate_values"),
        vec![3; count(&one, &[Complete, Pruned]) as usize],
        "a line of three reports per trial"
    );
    assert_eq!(sum("slice"), 3 * complete);
    assert_eq!(
        sum("terminator_improvement"),
        40 + 1,
        "two lines that meet in one point"
    );
    assert_eq!(shown["important"], json!(["kind", "n", "x"]));
    assert_eq!(sum("param_importances"), 3);
    assert_eq!(sum("pareto_front"), count(&two, &[Complete]));
    assert_eq!(points("hypervolume_history")[0], count(&two, &[Complete]));
    for name in ["contour", "edf", "parallel_coordinate", "rank"] {
        assert!(sum(name) >= complete, "{name}: {:?}", points(name));
    }
}

#[test]
fn the_dashboard_lists_our_studies_and_their_trials() {
    let Some(python) = python_with("optuna_dashboard") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("automl.db");
    let (storage, one, two) = studies(&file);
    let before = storage.load_trials("one").unwrap();
    let served = json_of(&python, "dashboard", &file);
    assert_eq!(served.as_object().unwrap().len(), 2);
    for (study, directions) in [
        (&one, json!(["maximize"])),
        (&two, json!(["minimize", "minimize"])),
    ] {
        let found = &served[study.name()];
        assert_eq!(found["name"], study.name());
        assert_eq!(found["directions"], directions);
        let trials = found["trials"].as_array().unwrap();
        assert_eq!(trials.len(), study.trials().len());
        for (ours, shown) in study.trials().iter().zip(trials) {
            assert_eq!(shown["number"], ours.number);
            let state = shown["state"].as_str().unwrap().to_uppercase();
            assert_eq!(json!(state), json!(ours.state));
            if ours.state == TrialState::Complete {
                assert_eq!(shown["values"], json!(ours.values));
            }
            let names: Vec<&str> = shown["params"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            assert_eq!(names.len(), ours.params.0.len(), "trial {}", ours.number);
            assert!(names.iter().all(|n| ours.params.assignment(n).is_some()));
            let reports = shown["intermediate_values"].as_array().unwrap();
            assert_eq!(reports.len(), ours.intermediate.len());
        }
    }
    assert_eq!(storage.load_trials("one").unwrap(), before);
}

#[test]
fn optuna_finds_the_same_best_trials_and_runs_what_we_enqueued() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("automl.db");
    let (storage, one, two) = studies(&file);
    let found = json_of(&python, "fronts", &file);
    let numbers =
        |study: &Study| -> Vec<u64> { study.pareto_front().iter().map(|t| t.number).collect() };
    let front = numbers(&two);
    assert!(front.len() > 2, "{front:?}");
    let broken = two.trials().iter().filter(|t| !t.is_feasible()).count();
    assert!(broken > 2, "constraints exclude some: {broken}");
    assert_eq!(found["two"]["numbers"], json!(front));
    assert_eq!(found["one"]["numbers"], json!(numbers(&one)));
    let constraints: Vec<Vec<f64>> = two.trials().iter().map(|t| t.constraints()).collect();
    assert_eq!(found["two"]["constraints"], json!(constraints));
    run(&python, "pop", &file);
    let trials = storage.load_trials("two").unwrap();
    assert_eq!(trials.len(), 27, "one of three was waiting");
    let popped = &trials[24];
    assert_eq!(popped.state, TrialState::Complete);
    assert_eq!(popped.user_attrs["by"], "optuna");
    assert_eq!(popped.values, [0.125, 0.875 * 1.5]);
    assert!(trials[25..].iter().all(|t| t.values.len() == 2));
}
