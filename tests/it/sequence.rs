//! A study is a sequence: threads, signals and crashes decide how much of it is seen, never what it is.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use automl::fsio;
use automl::seed::Seed;
use automl::study::record::TrialState;
use automl::tracking::Store;
use automl::tune::experiment::Experiment;
use automl::tune::job::Job;
use rand::RngExt as _;
use serde_json::{Value as Json, json};

use crate::program::{Desk, config_path};

const TRIALS: usize = 24;

/// A desk with an experiment on the example table, of `TRIALS` short trials with conditions and two learners.
pub fn desk() -> Desk {
    desk_with("random_forest, gbt", "")
}

/// The same with other learners and more keys.
fn desk_with(learners: &str, more: &str) -> Desk {
    let desk = Desk::new();
    std::fs::copy(config_path("example.csv"), desk.path("example.csv")).unwrap();
    desk.write(
        "e.yaml",
        format!(
            "name: s
seed: 11
data: {{path: example.csv, target: bought}}
cv: {{folds: 4}}
search:
  trials: {TRIALS}
  concurrency: 3
  sampler: {{tpe: {{n_startup_trials: 6}}}}
  learners: [{learners}]
  params:
    preprocess: {{categorical: [native, one_hot]}}
    random_forest.n_estimators: {{int: [50, 150]}}
    random_forest.max_features: {{float: [0.2, 1.0]}}
    gbt.n_estimators: {{int: [50, 200]}}
    gbt.learning_rate: {{float: [0.05, 0.3], log: true}}
    gbt.subsample: {{float: [0.5, 1.0]}}
{more}"
        ),
    );
    desk
}

/// What must be the same: of each trial all but times and memory, and the hash of the model.
#[derive(Debug, PartialEq)]
pub struct Result {
    trials: Vec<Json>,
    best: Json,
    holdout: Json,
    last: Json,
    sha256: String,
}

/// Runs the study in `store` to its end.
pub fn finish(desk: &Desk, store: &str, more: &[&str]) -> Result {
    let mut args = vec![
        "study", "e.yaml", "--store", store, "--quiet", "--format", "json",
    ];
    args.extend(more);
    let report = desk.json(&args);
    let trials = desk.json(&["trials", "s", "--store", store, "--format", "json"]);
    let keep = |trial: &Json| {
        json!({
            "number": trial["number"],
            "state": trial["state"],
            "values": trial["values"],
            "params": trial["params"],
            "folds": trial["user_attrs"]["folds"],
            "learner": trial["user_attrs"]["learner"],
        })
    };
    let model = desk.path(report["model"]["path"].as_str().unwrap());
    let sha256 = fsio::sha256(&std::fs::read(model).unwrap());
    assert_eq!(report["model"]["sha256"], json!(sha256));
    Result {
        trials: trials.as_array().unwrap().iter().map(keep).collect(),
        best: report["best"].clone(),
        holdout: report["holdout"].clone(),
        last: json!([report["final"], report["calibration"]]),
        sha256,
    }
}

/// How many trials of the store are finished.
fn finished(desk: &Desk, store: &str) -> usize {
    let trials = desk.json(&["trials", "s", "--store", store, "--format", "json"]);
    let done = |t: &&Json| t["state"] == "COMPLETE" || t["state"] == "FAIL";
    trials.as_array().unwrap().iter().filter(done).count()
}

/// Starts the study and waits until it says that `count` trials are finished, and a little longer.
fn start_until(desk: &Desk, store: &str, count: u64, longer: Duration) -> Child {
    let mut child = desk
        .command(&["study", "e.yaml", "--store", store, "--threads", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reached = lines.by_ref().any(|line| {
        let line = line.unwrap();
        let said = line
            .split_once('/')
            .and_then(|(n, _)| n.parse::<u64>().ok());
        said.is_some_and(|n| n >= count)
    });
    assert!(reached, "the study ended before {count} trials");
    // The rest of what it says must go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    std::thread::sleep(longer);
    child
}

#[test]
fn threads_do_not_change_trials_or_model() {
    let desk = desk();
    let first = finish(&desk, "one", &["--threads", "1"]);
    assert_eq!(first.trials.len(), TRIALS);
    for (i, trial) in first.trials.iter().enumerate() {
        assert_eq!(trial["number"], json!(i));
        assert_eq!(trial["state"], "COMPLETE");
    }
    for (store, threads) in [
        ("one-again", "1"),
        ("two", "2"),
        ("two-again", "2"),
        ("many", "7"),
    ] {
        assert_eq!(
            finish(&desk, store, &["--threads", threads]),
            first,
            "{store}"
        );
    }
}

#[test]
fn a_killed_study_goes_on_as_if_nothing_had_been() {
    let desk = desk();
    let whole = finish(&desk, "whole", &[]);
    let mut rng = Seed::root(2026).child("kill", 0).rng();
    let mut in_the_middle = 0;
    for round in 0..5 {
        let store = format!("killed-{round}");
        let count = rng.random_range(2..18);
        let longer = Duration::from_micros(rng.random_range(0..20_000));
        let mut child = start_until(&desk, &store, count, longer);
        // SIGKILL on Unix: the process gets no chance to tidy up.
        child.kill().unwrap();
        child.wait().unwrap();
        let left = finished(&desk, &store);
        assert!(
            left as u64 >= count,
            "{left} of {count} finished trials are kept"
        );
        in_the_middle += usize::from(left < TRIALS);
        assert_eq!(
            finish(&desk, &store, &["--resume"]),
            whole,
            "killed after {left} trials"
        );
    }
    assert!(
        in_the_middle >= 2,
        "only {in_the_middle} kills were in the middle"
    );
}

#[test]
fn a_study_killed_again_and_again_ends_the_same() {
    let desk = desk();
    let whole = finish(&desk, "whole", &[]);
    for count in [2, 9, 14] {
        let mut child = start_until(&desk, "killed", count, Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(finish(&desk, "killed", &[]), whole);
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_keeps_its_trials_and_resumes() {
    let desk = desk();
    let whole = finish(&desk, "whole", &[]);
    let mut child = start_until(&desk, "stopped", 3, Duration::ZERO);
    let signal = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(signal.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left = finished(&desk, "stopped");
    assert!((3..TRIALS).contains(&left), "{left}");
    // Nothing is left half-done.
    let trials = desk.json(&["trials", "s", "--store", "stopped", "--format", "json"]);
    assert_eq!(trials.as_array().unwrap().len(), left);
    assert_eq!(finish(&desk, "stopped", &["--resume"]), whole);
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_stops_at_once_and_loses_nothing() {
    let desk = desk();
    let whole = finish(&desk, "whole", &[]);
    let mut child = start_until(&desk, "stopped", 6, Duration::ZERO);
    let id = child.id().to_string();
    for _ in 0..2 {
        // The second one may find nobody, when what ran was finished in between.
        Command::new("kill")
            .args(["-INT", &id])
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(finished(&desk, "stopped") >= 6);
    assert_eq!(finish(&desk, "stopped", &["--resume"]), whole);
}

#[test]
fn more_trials_continue_the_same_sequence() {
    let desk = desk();
    let twelve = finish(&desk, "twelve", &["--trials", "12"]);
    let six = finish(&desk, "steps", &["--trials", "6"]);
    assert_eq!(six.trials, twelve.trials[..6]);
    assert_eq!(finish(&desk, "steps", &["--trials", "12"]), twelve);
    // Asking for what is there runs nothing and gives the same model.
    assert_eq!(finish(&desk, "steps", &["--trials", "12"]), twelve);
    let versions = desk.json(&["registry", "list", "--store", "twelve", "--format", "json"]);
    assert_eq!(versions.as_array().unwrap().len(), 1);
}

#[test]
fn a_time_limit_shows_a_prefix() {
    let desk = desk();
    let whole = finish(&desk, "whole", &[]);
    let part = finish(&desk, "short", &["--timeout", "0.05"]);
    assert!(!part.trials.is_empty());
    assert_eq!(part.trials, whole.trials[..part.trials.len()]);
    assert_eq!(finish(&desk, "short", &["--resume"]).trials, whole.trials);
}

#[test]
fn another_seed_gives_other_trials() {
    let desk = desk();
    let first = finish(&desk, "a", &["--trials", "6"]);
    let other = finish(&desk, "b", &["--trials", "6", "--seed", "12"]);
    assert_ne!(first.trials, other.trials);
}

/// Experiments whose final model is made of many trials.
fn ensemble_desk() -> Desk {
    desk_with(
        "random_forest, gbt, elastic_net",
        "final: ensemble\ncalibration: auto\n",
    )
}

#[test]
fn an_ensemble_is_the_same_on_any_number_of_threads_interrupted_or_not() {
    let desk = ensemble_desk();
    let whole = finish(&desk, "whole", &["--threads", "1"]);
    assert!(whole.last[0]["members"].as_array().is_some(), "{whole:?}");
    assert_eq!(finish(&desk, "two", &["--threads", "2"]), whole);
    for count in [3, 12, 20] {
        let mut child = start_until(&desk, "killed", count, Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(finish(&desk, "killed", &["--resume"]), whole);
    assert_eq!(
        finish(&desk, "steps", &["--trials", "7"]).trials,
        whole.trials[..7]
    );
    assert_eq!(finish(&desk, "steps", &[]), whole);
}

#[test]
fn predictions_that_are_lost_or_damaged_are_made_again() {
    let desk = ensemble_desk();
    let whole = finish(&desk, "s", &[]);
    let store = Store::open_existing(desk.path("s")).unwrap();
    let mut experiment = Experiment::parse(&desk.read("e.yaml"), "e.yaml").unwrap();
    experiment.data.path = Some(desk.path("example.csv"));
    let job = Job::prepare(experiment, "e.yaml", None, None).unwrap();
    let kept = store.predictions("s");
    let trials = store.storage().load_trials("s").unwrap();
    let mut found = 0;
    for trial in trials.iter().filter(|t| t.state == TrialState::Complete) {
        // What was kept is what a trial that is read back from the database asks for.
        let key = job.key(trial.number, &trial.params);
        let numbers = kept.read(trial.number, &key).expect("it was kept");
        assert_eq!(numbers.len(), job.split.train.len());
        found += 1;
    }
    assert_eq!(found, TRIALS);
    for trial in 0..TRIALS as u64 {
        let file = kept.file(trial);
        let mut bytes = std::fs::read(&file).unwrap();
        match trial % 4 {
            0 => std::fs::remove_file(&file).unwrap(),
            1 => std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
            2 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&file, &bytes).unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(finish(&desk, "s", &[]), whole);
    std::fs::remove_dir_all(desk.path("s").join("predictions")).unwrap();
    assert_eq!(finish(&desk, "s", &[]), whole);
    // A folder that cannot be: the study goes on without it and says so.
    std::fs::create_dir(desk.path("other")).unwrap();
    desk.write("other/predictions", "in the way");
    let (_, err) = desk.ends(0, &["study", "e.yaml", "--store", "other", "--quiet"]);
    assert!(err.contains("were not kept"), "{err}");
    assert_eq!(finish(&desk, "other", &[]), whole);
}

#[test]
fn the_final_model_can_be_asked_for_after_the_search() {
    let desk = desk_with("random_forest, gbt, elastic_net", "");
    let best = finish(&desk, "s", &[]);
    assert_eq!(best.last, json!([null, null]));
    let text = desk.read("e.yaml");
    desk.write(
        "e.yaml",
        format!("{text}final: ensemble\ncalibration: platt\n"),
    );
    let ensemble = finish(&desk, "s", &[]);
    assert_eq!(ensemble.trials, best.trials);
    assert_eq!(ensemble.last[1]["method"], "platt");
    assert_ne!(ensemble.sha256, best.sha256);
    desk.write("e.yaml", text);
    assert_eq!(finish(&desk, "s", &[]), best);
}
