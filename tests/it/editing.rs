//! Editing the history of an experiment: a study that begins with trials of another one.

use serde_json::Value as Json;

use crate::program::{Desk, config_path};

const FIXED: &str =
    "    gbt.n_estimators: 30\n    gbt.learning_rate: {float: [0.05, 0.2], log: true}\n";

/// An experiment on the example table.
fn experiment(name: &str, learners: &str, params: &str, more: &str) -> String {
    format!(
        "name: {name}
seed: 3
data: {{path: example.csv, target: bought}}
cv: {{folds: 3}}
search:
  trials: 8
  concurrency: 2
  learners: [{learners}]
  params:
{params}{more}"
    )
}

fn desk() -> Desk {
    let desk = Desk::new();
    std::fs::copy(config_path("example.csv"), desk.path("example.csv")).unwrap();
    desk.write("a.yaml", experiment("a", "gbt", FIXED, ""));
    desk.json(&["study", "a.yaml", "--quiet", "--format", "json"]);
    desk
}

fn trials(desk: &Desk, study: &str) -> Vec<Json> {
    let trials = desk.json(&["trials", study, "--format", "json"]);
    trials.as_array().unwrap().clone()
}

fn run(desk: &Desk, file: &str, more: &[&str]) -> (Json, String) {
    let mut args = vec!["study", file, "--quiet", "--format", "json"];
    args.extend(more);
    let (out, said) = desk.ends(0, &args);
    (serde_json::from_str(&out).unwrap(), said)
}

/// Wider ranges, what was fixed searched, and another learner: the trials but for two go on.
#[test]
fn a_wider_search_begins_with_the_trials_of_another() {
    let desk = desk();
    let wide = "    gbt.n_estimators: {int: [10, 60]}
    gbt.learning_rate: {float: [0.01, 0.5], log: true}
    random_forest.n_estimators: {int: [10, 30]}
";
    desk.write("b.yaml", experiment("b", "random_forest, gbt", wide, ""));
    let (_, said) = run(
        &desk,
        "b.yaml",
        &["--from", "a", "--without", "2,5", "--trials", "10"],
    );
    assert_eq!(said, "");
    let (old, new) = (trials(&desk, "a"), trials(&desk, "b"));
    assert_eq!(new.len(), 10);
    let kept: Vec<&Json> = old
        .iter()
        .filter(|t| t["number"] != 2 && t["number"] != 5)
        .collect();
    assert_eq!(kept.len(), 6);
    for (old, new) in kept.iter().zip(&new) {
        assert_eq!(old["values"], new["values"]);
        let params = &new["params"];
        assert_eq!(params["learner"], "gbt");
        assert_eq!(params["gbt.n_estimators"], 30);
        assert_eq!(
            params["gbt.learning_rate"],
            old["params"]["gbt.learning_rate"]
        );
        assert_eq!(new["system_attrs"]["automl:added"]["number"], old["number"]);
        assert_eq!(new["intermediate_values"], old["intermediate_values"]);
    }
    // The same command again adds nothing.
    run(
        &desk,
        "b.yaml",
        &["--from", "a", "--without", "2,5", "--trials", "11"],
    );
    assert_eq!(trials(&desk, "b")[..10], new);

    // Back to what they were, through the other study: what is fixed is no parameter.
    desk.write("c.yaml", experiment("c", "gbt", FIXED, ""));
    let (_, said) = run(&desk, "c.yaml", &["--from", "b", "--trials", "7"]);
    let again = trials(&desk, "c");
    for (old, new) in kept.iter().zip(&again) {
        assert_eq!(
            (&old["values"], &old["params"]),
            (&new["values"], &new["params"])
        );
        // What it was first is known to all that follow.
        assert_eq!(new["system_attrs"]["automl:added"]["origin"], old["number"]);
    }
    assert!(
        said.contains("of 11 trials of `b` are left out; trial "),
        "{said}"
    );
}

/// Without new trials the model is that of the first study to the bit: random numbers are those of the first number.
#[test]
fn the_model_of_an_added_trial_is_the_one_it_was() {
    let desk = desk();
    let (a, _) = run(&desk, "a.yaml", &[]);
    let worst = (0..8)
        .find(|n| a["best"]["number"] != *n)
        .unwrap()
        .to_string();
    desk.write("b.yaml", experiment("b", "gbt", FIXED, ""));
    let (b, _) = run(
        &desk,
        "b.yaml",
        &["--from", "a", "--without", &worst, "--trials", "7"],
    );
    assert_eq!(a["best"]["value"], b["best"]["value"]);
    assert_eq!(a["model"]["sha256"], b["model"]["sha256"]);

    // Predictions of added trials, which the new study never made, are made again for an ensemble: with the same bits.
    let all = format!("{}final: ensemble\n", experiment("a", "gbt", FIXED, ""));
    desk.write("a.yaml", &all);
    let (a, _) = run(&desk, "a.yaml", &[]);
    desk.write("d.yaml", all.replace("name: a", "name: d"));
    let (d, _) = run(&desk, "d.yaml", &["--from", "a", "--trials", "8"]);
    assert!(a["final"]["scores"].is_object(), "{a}");
    assert_eq!(a["final"], d["final"]);
    assert_eq!(a["model"]["sha256"], d["model"]["sha256"]);
}

#[test]
fn scores_that_mean_something_else_are_refused() {
    let desk = desk();
    let base = experiment("b", "gbt", FIXED, "");
    for (text, key) in [
        (
            base.replace("folds: 3", "folds: 4"),
            "`cv.folds` 3, and here it is 4",
        ),
        (
            base.replace("seed: 3", "seed: 4"),
            "`seed` 3, and here it is 4",
        ),
        (
            format!("{base}metric: log_loss\n"),
            "`metric` \"roc_auc\", and here it is \"log_loss\"",
        ),
        (format!("{base}preprocess: one_hot\n"), "`preprocess."),
        (
            format!("{base}holdout: {{fraction: 0.3}}\n"),
            "`holdout.fraction` 0.2, and here it is 0.3",
        ),
    ] {
        desk.write("b.yaml", text);
        let (out, said) = desk.ends(2, &["study", "b.yaml", "--from", "a"]);
        assert_eq!(out, "");
        assert!(
            said.contains("study `a` does not go with this experiment"),
            "{said}"
        );
        assert!(said.contains(key), "{said}");
    }
    desk.write("b.yaml", &base);
    for (from, what) in [
        (vec!["--from", "none"], "there is no study `none`"),
        (vec!["--from", "b"], "a study cannot begin with itself"),
        (
            vec!["--from", "a", "--without", "8"],
            "study `a` has no trial 8; it has 8 trials",
        ),
    ] {
        let mut args = vec!["study", "b.yaml"];
        args.extend(from);
        let (_, said) = desk.ends(2, &args);
        assert!(said.contains(what), "{said}");
    }
    let studies = desk.done(&["studies", "--format", "json"]);
    assert!(!studies.contains("\"b\""), "{studies}");

    // Scores of a program are not those of an experiment.
    desk.write("space.yaml", "params:\n  x: {float: [0, 1]}\n");
    desk.done(&[
        "optimize",
        "space.yaml",
        "--trials",
        "2",
        "--quiet",
        "--",
        "sh",
        "-c",
        "echo {x}",
    ]);
    let (_, said) = desk.ends(2, &["study", "b.yaml", "--from", "space"]);
    assert!(
        said.contains("study `space` is not of an experiment file"),
        "{said}"
    );
}

/// Other fixed values are other models: such trials are left out, and the rest of the study goes on.
#[test]
fn trials_of_other_fixed_values_are_left_out() {
    let desk = desk();
    let other = FIXED.replace("n_estimators: 30", "n_estimators: 31");
    desk.write("b.yaml", experiment("b", "gbt", &other, ""));
    let (report, said) = run(&desk, "b.yaml", &["--from", "a", "--trials", "3"]);
    assert!(said.contains("8 of 8 trials of `a` are left out; trial 0 cannot be added: `gbt.n_estimators` was 30, here it is 31"), "{said}");
    assert_eq!(report["trials"]["complete"], 3);
    // Begun without: said, and nothing is added.
    let same = experiment("c", "gbt", FIXED, "");
    desk.write("c.yaml", same);
    run(&desk, "c.yaml", &["--trials", "2"]);
    let (_, said) = run(&desk, "c.yaml", &["--from", "a", "--trials", "3"]);
    assert!(
        said.contains("study `c` was begun without `--from a`"),
        "{said}"
    );
    assert_eq!(trials(&desk, "c").len(), 3);
}
