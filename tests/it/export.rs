//! `automl export csv|json|parquet`: what other programs find in it.

use std::process::Command;

use serde_json::{Value as Json, json};

use crate::optuna_interop::python;
use crate::program::Desk;
use crate::workers;

/// A study of a program with all sorts of trials.
fn desk() -> Desk {
    let desk = workers::desk();
    let objective = "[ {k} = a ] && echo inf || { [ {n} -gt 12 ] && exit 1; echo {x}; }";
    desk.done(&[
        "optimize",
        "s.yaml",
        "--seed",
        "5",
        "--trials",
        "12",
        "--sampler",
        "random",
        "--quiet",
        "--",
        "sh",
        "-c",
        objective,
    ]);
    desk
}

#[test]
fn every_form_says_the_same_of_a_study() {
    let desk = desk();
    let shown = desk.done(&["export", "csv", "s"]);
    let said = desk.ends(0, &["export", "csv", "s", "--output", "s.csv"]).1;
    assert!(said.contains("s → s.csv (12 trials × 9 columns:"), "{said}");
    assert_eq!(desk.read("s.csv"), shown);
    let mut read = csv::Reader::from_reader(shown.as_bytes());
    let header: Vec<String> = read.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        header,
        [
            "number",
            "value",
            "datetime_start",
            "datetime_complete",
            "duration",
            "params_x",
            "params_n",
            "params_k",
            "state"
        ]
    );
    desk.done(&["export", "json", "s", "--output", "s.json"]);
    let records: Vec<Json> = serde_json::from_str(&desk.read("s.json")).unwrap();
    let trials = desk.json(&["trials", "s", "--format", "json"]);
    let trials = trials.as_array().unwrap();
    let rows: Vec<csv::StringRecord> = read.records().collect::<Result<_, _>>().unwrap();
    assert_eq!((rows.len(), records.len()), (12, 12));
    let mut infinite = 0;
    for ((row, record), trial) in rows.iter().zip(&records).zip(trials) {
        let failed = trial["state"] == "FAIL";
        assert_eq!(record["state"], trial["state"]);
        assert_eq!(record["value"], trial["value"]);
        assert_eq!(row[1].is_empty(), failed);
        infinite += usize::from(&row[1] == "inf");
        assert_eq!(record["params_x"], trial["params"]["x"]);
        let x: f64 = row[5].parse().unwrap();
        assert_eq!(json!(x), trial["params"]["x"]);
        assert_eq!(row[7], trial["params"]["k"]);
        let iso = trial["datetime_start"].as_str().unwrap().replace(' ', "T") + "Z";
        assert_eq!(
            (&row[2], record["datetime_start"].as_str()),
            (&*iso, Some(&*iso))
        );
        let seconds: f64 = row[4].parse().unwrap();
        assert!((0.0..60.0).contains(&seconds));
    }
    assert!(
        infinite > 0 && trials.iter().any(|t| t["state"] == "FAIL"),
        "{shown}"
    );
}

#[test]
fn an_unknown_study_and_a_folder_that_is_not_there_leave_nothing() {
    let desk = desk();
    // Not `refused`: a reader may bring the database's own files up to date.
    let refused = |args: &[&str]| desk.ends(2, args).1;
    let error = refused(&["export", "json", "t", "--output", "t.json"]);
    assert!(error.contains("`t`") && error.contains("`s`"), "{error}");
    let error = refused(&["export", "csv", "s", "--output", "none/s.csv"]);
    assert!(error.contains("none/s.csv"), "{error}");
    assert!(!desk.path("t.json").exists() && !desk.path("none").exists());
    if cfg!(not(feature = "parquet")) {
        let error = refused(&["export", "parquet", "s", "--output", "s.parquet"]);
        assert!(error.contains("--features parquet"), "{error}");
        assert!(
            error.contains("automl export csv s --output s.csv"),
            "{error}"
        );
    }
}

#[test]
fn pandas_finds_the_table_of_optuna() {
    let Some(python) = python() else { return };
    let desk = desk();
    desk.done(&["export", "csv", "s", "--output", "s.csv"]);
    desk.done(&["export", "json", "s", "--output", "s.json"]);
    let script = "
try:
    import pandas
except ImportError:
    raise SystemExit('skipped')
import optuna
study = optuna.load_study(study_name='s', storage='sqlite:///automl-store/automl.db')
theirs = study.trials_dataframe(attrs=('number', 'value', 'params', 'state'))
times = ['datetime_start', 'datetime_complete']
ours = pandas.read_csv('s.csv', parse_dates=times, float_precision='round_trip')
assert set(theirs.columns) <= set(ours.columns), (theirs.columns, ours.columns)
for name in theirs.columns:
    left, right = list(theirs[name]), list(ours[name])
    assert all(a == b or (a != a and b != b) for a, b in zip(left, right)), (name, left, right)
took = (ours.datetime_complete - ours.datetime_start).dt.total_seconds()
assert (abs(took - ours.duration) < 1e-9).all()
assert str(ours.datetime_start.dt.tz) == 'UTC', ours.datetime_start.dt.tz
records = pandas.read_json('s.json')
assert list(records.params_n) == list(ours.params_n)
print(len(ours))
";
    let out = Command::new(python)
        .args(["-W", "ignore", "-c", script])
        .current_dir(desk.path("."))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    if error.contains("skipped") {
        eprintln!("skipped: no pandas");
        return;
    }
    assert!(out.status.success(), "{error}");
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "12");
}
