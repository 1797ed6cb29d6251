//! One study in several processes: whoever runs its trials, comes late, or is killed, the study is the same.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::program::Desk;
use crate::sequence;

const SPACE: &str = "\
direction: minimize
concurrency: 6
sampler: {tpe: {n_startup_trials: 8}}
params:
  x: {float: [-1.0, 2.0]}
  n: {int: [1, 40], log: true}
  k: {categorical: [a, b]}
";

/// A program that takes a while for each trial.
const PROGRAM: [&str; 4] = [
    "--",
    "sh",
    "-c",
    "sleep 0.06; [ {k} = a ] && s=1 || s=2; awk \"BEGIN { print ({x} - 0.3)^2 + {n} / 40 + $s }\"",
];

/// A desk with the space file.
pub fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("s.yaml", SPACE);
    desk
}

/// The command that leads the study of `trials` trials.
pub fn lead(desk: &Desk, store: &str, trials: &str, more: &[&str]) -> Command {
    let mut args = vec!["optimize", "s.yaml", "--seed", "5", "--trials", trials];
    args.extend([
        "--store",
        store,
        "--quiet",
        "--threads",
        "2",
        "--lease",
        "1",
    ]);
    args.extend(more);
    args.extend(PROGRAM);
    started(desk, &args)
}

pub fn worker(desk: &Desk, store: &str, more: &[&str]) -> Command {
    let mut args = vec!["worker", "s", "--store", store, "--quiet", "--lease", "1"];
    args.extend(["--format", "json"]);
    args.extend(more);
    started(desk, &args)
}

fn started(desk: &Desk, args: &[&str]) -> Command {
    let mut command = desk.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a process printed that must have succeeded.
pub fn ended(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {err}", output.status);
    String::from_utf8(out).unwrap()
}

/// What must be the same of every trial.
pub fn history(desk: &Desk, store: &str) -> Vec<Json> {
    let trials = desk.json(&["trials", "s", "--store", store, "--format", "json"]);
    let keep = |t: &Json| {
        json!([
            t["number"],
            t["state"],
            t["value"],
            t["params"],
            t["system_attrs"]["automl:drawn_by"]
        ])
    };
    trials.as_array().unwrap().iter().map(keep).collect()
}

/// How many trials the store lists as finished.
pub fn finished(desk: &Desk, store: &str) -> usize {
    let output = desk.run(&["trials", "s", "--store", store, "--format", "json"]);
    let trials: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let trials = trials.as_array().map_or(&[][..], Vec::as_slice);
    trials.iter().filter(|t| t["state"] == "COMPLETE").count()
}

/// Waits until that many trials are finished.
pub fn wait_for(desk: &Desk, store: &str, count: usize) {
    let begun = Instant::now();
    while finished(desk, store) < count {
        assert!(begun.elapsed() < Duration::from_secs(120), "{count} trials");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The study by one process alone.
pub fn alone(desk: &Desk, trials: &str) -> Vec<Json> {
    ended(lead(desk, "alone", trials, &[]).spawn().unwrap());
    history(desk, "alone")
}

#[test]
fn workers_that_come_and_die_make_the_study_of_one() {
    let desk = desk();
    let trials = "60";
    // Workers may be there before the study is.
    let early = worker(&desk, "many", &[]).spawn().unwrap();
    let leader = lead(&desk, "many", trials, &[]).spawn().unwrap();
    let mut killed = worker(&desk, "many", &["--at-once", "2"]).spawn().unwrap();
    let few = worker(&desk, "many", &["--max-trials", "3"])
        .spawn()
        .unwrap();
    wait_for(&desk, "many", 15);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let late = worker(&desk, "many", &[]).spawn().unwrap();
    ended(leader);
    let reports = [early, few, late].map(|worker| {
        let report: Json = serde_json::from_str(&ended(worker)).unwrap();
        report["ran"].as_u64().unwrap()
    });
    // How the trials fell to them is chance.
    assert!(
        reports[1] <= 3 && reports.iter().sum::<u64>() > 0,
        "{reports:?}"
    );
    assert_eq!(history(&desk, "many"), alone(&desk, trials));
}

#[test]
fn a_study_goes_on_without_the_process_that_led_it() {
    let desk = desk();
    let mut leader = lead(&desk, "many", "40", &[]).spawn().unwrap();
    let workers: Vec<Child> = (0..2)
        .map(|_| worker(&desk, "many", &[]).spawn().unwrap())
        .collect();
    wait_for(&desk, "many", 10);
    leader.kill().unwrap();
    leader.wait().unwrap();
    for worker in workers {
        let report: Json = serde_json::from_str(&ended(worker)).unwrap();
        assert_eq!(report["ended"], "it has all its trials");
    }
    // The result is there for whoever leads next.
    ended(lead(&desk, "many", "40", &[]).spawn().unwrap());
    assert_eq!(history(&desk, "many"), alone(&desk, "40"));
}

#[test]
fn workers_of_an_experiment_leave_its_model_as_it_is() {
    let desk = sequence::desk();
    let alone = sequence::finish(&desk, "alone", &[]);
    let worker = [
        "worker",
        "s",
        "--store",
        "many",
        "--quiet",
        "--threads",
        "1",
    ];
    let workers: Vec<Child> = (0..2)
        .map(|_| started(&desk, &worker).spawn().unwrap())
        .collect();
    let many = sequence::finish(&desk, "many", &["--threads", "1"]);
    workers.into_iter().for_each(|worker| drop(ended(worker)));
    assert_eq!(many, alone);
    // Other data is no place to run its trials.
    desk.write("other.csv", crate::program::small_table());
    let args = ["worker", "s", "--store", "many", "--data", "other.csv"];
    let error = desk.refused(&args);
    assert!(
        error.contains("other.csv") || error.contains("`dataset"),
        "{error}"
    );
}

#[test]
fn a_worker_without_a_study_says_what_to_do() {
    let desk = desk();
    let error = desk.refused(&["worker", "s", "--wait", "0"]);
    assert!(
        error.contains("there is no store in `automl-store`"),
        "{error}"
    );
    desk.done(&["ask", "s.yaml"]);
    let error = desk.refused(&["worker", "nobody", "--wait", "0"]);
    assert!(error.contains("there is no study `nobody`"), "{error}");
    let error = desk.refused(&["worker", "s", "--wait", "0"]);
    assert!(error.contains("nobody leads study `s`"), "{error}");
}

#[test]
fn an_asked_trial_is_given_to_another_when_its_lease_lapses() {
    let desk = desk();
    let ask = [
        "ask",
        "s.yaml",
        "--lease",
        "3",
        "--concurrency",
        "1",
        "--format",
        "json",
    ];
    let first = desk.json(&ask);
    assert_eq!(first["lease"], json!({"token": 1, "seconds": 3.0}));
    let stale = || desk.json(&["trials", "s", "--format", "json"])[0]["state"].clone();
    desk.ends(2, &ask);
    desk.done(&["tell", "s", "0", "--alive", "--token", "1"]);
    std::thread::sleep(Duration::from_millis(3300));
    assert_eq!(stale(), "STALE");
    let second = desk.json(&ask);
    assert_eq!(second["lease"]["token"], 2);
    for key in ["number", "params", "seed"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    let late = ["tell", "s", "0", "--value", "1", "--token", "1"];
    let error = desk.refused(&late);
    assert!(error.contains("taken over"), "{error}");
    assert!(
        desk.refused(&["tell", "s", "0", "--alive", "--token", "1"])
            .contains("not held")
    );
    desk.done(&["tell", "s", "0", "--value", "2", "--token", "2"]);
    let told = desk.json(&["trials", "s", "--format", "json"]);
    assert_eq!(
        (&told[0]["state"], &told[0]["value"]),
        (&json!("COMPLETE"), &json!(2.0))
    );
}
