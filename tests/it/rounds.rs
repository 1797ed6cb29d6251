//! Boosting round by round: what pruners see of it, the best of all numbers of rounds, and limits of time inside a fit.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::program::{Desk, config_path};

/// A desk with an experiment on the example table, with these lines under `search` and these parameters.
fn desk(search: &str, params: &str) -> Desk {
    let desk = Desk::new();
    std::fs::copy(config_path("example.csv"), desk.path("example.csv")).unwrap();
    desk.write("e.yaml", experiment(search, params));
    desk
}

fn experiment(search: &str, params: &str) -> String {
    format!(
        "name: s
seed: 11
data: {{path: example.csv, target: bought}}
cv: {{folds: 4}}
search:
  concurrency: 2
  sampler: random
  learners: [gbt]
{search}
  params:
    gbt.learning_rate: {{float: [0.001, 0.5], log: true}}
{params}"
    )
}

fn study(desk: &Desk, more: &[&str]) -> (Json, Vec<Json>) {
    let mut args = vec!["study", "e.yaml", "--store", "st", "--quiet"];
    args.extend(["--format", "json"]);
    args.extend(more);
    let report = desk.json(&args);
    let trials = desk.json(&["trials", "s", "--store", "st", "--format", "json"]);
    (report, trials.as_array().unwrap().clone())
}

#[test]
fn the_best_number_of_rounds_comes_from_one_fit() {
    let desk = desk("  trials: 6", "    gbt.n_estimators: {up_to: 80}\n");
    let (report, trials) = study(&desk, &[]);
    let mut chosen = Vec::new();
    for trial in &trials {
        let rounds = trial["user_attrs"]["rounds"].as_u64().unwrap();
        assert!(rounds % 2 == 0 && (2..=80).contains(&rounds));
        chosen.push(rounds);
    }
    assert!(chosen.iter().any(|r| *r != chosen[0]), "{chosen:?}");

    // Fits of that many rounds alone, and of all, which are no better.
    for (store, rounds) in [("chosen", chosen[0]), ("all", 80)] {
        let point = &trials[0]["params"];
        let enqueue = format!("  trials: 1\n  enqueue: [{point}]");
        let params = format!("    gbt.n_estimators: {rounds}\n");
        desk.write("one.yaml", experiment(&enqueue, &params));
        let alone = desk.json(&[
            "study", "one.yaml", "--store", store, "--quiet", "--format", "json",
        ]);
        let (one, first) = (&alone["best"]["value"], &trials[0]["values"][0]);
        if store == "chosen" {
            assert_eq!(one, first);
            assert_eq!(alone["best"]["folds"], trials[0]["user_attrs"]["folds"]);
        } else {
            assert!(one.as_f64().unwrap() <= first.as_f64().unwrap());
        }
    }

    // The model has the rounds of its trial.
    let best = report["best"]["number"].as_u64().unwrap() as usize;
    let model = report["model"]["path"].as_str().unwrap();
    let text = std::fs::read_to_string(desk.path(model)).unwrap();
    let model: Json = serde_json::from_str(&text).unwrap();
    let trees = model["model"]["trees"].as_array().unwrap().len();
    assert_eq!(json!(trees), json!(chosen[best]));
}

#[test]
fn a_pruner_sees_rounds() {
    let search = "  trials: 12\n  pruner: {median: {n_startup_trials: 2}}\n  steps: rounds";
    let desk = desk(search, "    gbt.n_estimators: 60\n");
    let (one, trials) = study(&desk, &["--threads", "1"]);
    let steps = |t: &Json| t["intermediate_values"].as_object().unwrap().len();
    let pruned: Vec<&Json> = trials.iter().filter(|t| t["state"] == "PRUNED").collect();
    assert!(!pruned.is_empty(), "nothing was pruned");
    for trial in &trials {
        let marks = steps(trial);
        assert!(trial["intermediate_values"]["2"].is_number());
        assert_eq!(marks == 30, trial["state"] == "COMPLETE", "{marks}");
        // The last mark is the value.
        if marks == 30 {
            assert_eq!(trial["intermediate_values"]["60"], trial["values"][0]);
        }
    }
    let other = desk_like(&desk);
    let (two, _) = study(&other, &["--threads", "3"]);
    assert_eq!(one["model"]["sha256"], two["model"]["sha256"]);
}

fn desk_like(desk: &Desk) -> Desk {
    let other = Desk::new();
    for file in ["e.yaml", "example.csv"] {
        std::fs::copy(desk.path(file), other.path(file)).unwrap();
    }
    other
}

#[test]
fn what_does_not_go_together_is_said() {
    for (search, params, what) in [
        (
            "  pruner: racing\n  steps: rounds",
            "",
            "e.yaml: search.steps: `racing` compares folds; write `steps: folds`, or another pruner such as `median`",
        ),
        (
            "  pruner: median",
            "    gbt.n_estimators: {up_to: 50}\n",
            "e.yaml: search.params: the best number of rounds of `gbt` is known when all folds have run, and `median` stops trials between folds; write `steps: rounds` or `pruner: none`",
        ),
        (
            "",
            "    gbt.n_estimators: {up_to: 50, log: true}\n",
            "`gbt.n_estimators`: `up_to` goes with no other key; remove the others",
        ),
        (
            "",
            "    gbt.n_estimators: {up_to: 0}\n",
            "`gbt.n_estimators`: ",
        ),
        (
            "",
            "    gbt.max_leaves: {up_to: 50}\n",
            "`up_to` is for the number of rounds",
        ),
    ] {
        let desk = desk(search, params);
        let message = desk.refused(&["study", "e.yaml"]);
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn a_fit_past_its_limit_ends_within_a_second() {
    let search = "  trials: 3\n  trial_timeout: 1.5\n  enqueue: [{gbt.n_estimators: 5}, {gbt.n_estimators: 90000}, {gbt.n_estimators: 100000}]";
    let params =
        "    gbt.n_estimators: {int: [5, 100000]}\n    gbt.max_leaves: 255\n    gbt.min_leaf: 1\n";
    // Two at once: a thread that waits for folds of the first trial may begin one of the second.
    let desk = desk(search, params);
    let began = Instant::now();
    let (report, trials) = study(&desk, &["--threads", "2"]);
    assert_eq!(report["trials"]["failed"], 2);
    assert!(began.elapsed() < Duration::from_secs(15));
    for trial in &trials[1..] {
        let why = trial["system_attrs"]["fail_reason"].as_str().unwrap();
        assert_eq!(why, "took longer than the limit of 1.5 s for a trial");
    }
}
