//! What the command line prints, on configurations that ship and on small ones.

use std::io::Write as _;
use std::process::Stdio;

use automl::tune::experiment::Experiment;
use automl::tune::job::Job;
use serde_json::Value as Json;

use crate::program::{Desk, config, config_path, small_table, text};

/// Every verb, with its subcommands.
const VERBS: &[&[&str]] = &[
    &[],
    &["study"],
    &["optimize"],
    &["ask"],
    &["tell"],
    &["importance"],
    &["studies"],
    &["trials"],
    &["best"],
    &["show"],
    &["predict"],
    &["explain"],
    &["import"],
    &["import", "optuna"],
    &["export"],
    &["export", "onnx"],
    &["export", "mlflow"],
    &["export", "csv"],
    &["export", "json"],
    &["export", "parquet"],
    &["registry"],
    &["registry", "list"],
    &["registry", "show"],
    &["registry", "register"],
    &["registry", "promote"],
    &["registry", "rollback"],
    &["registry", "log"],
    &["tracking"],
    &["tracking", "sync"],
    &["tracking", "status"],
    &["data"],
    &["data", "fetch"],
    &["data", "split"],
    &["list"],
];

#[test]
fn every_verb_has_help() {
    let desk = Desk::new();
    let mut all = String::new();
    for verb in VERBS {
        let mut args = verb.to_vec();
        args.push("--help");
        let shown = desk.done(&args);
        assert!(shown.contains("Usage: automl"), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 112, "{line}");
        }
        all.push_str(&format!(
            "$ automl {}\n{}\n",
            args.join(" "),
            shown.trim_end()
        ));
        // The short form says the same verbs and options.
        args.pop();
        args.push("-h");
        desk.done(&args);
    }
    insta::assert_snapshot!("help", all);
}

/// A desk with the small table and an experiment on it, named `small`.
fn small(more: &str) -> Desk {
    let desk = Desk::new();
    desk.write("d.csv", small_table());
    desk.write("e.yaml", experiment(more));
    desk
}

fn experiment(more: &str) -> String {
    format!(
        "name: small
seed: 1
data: {{path: d.csv, target: y, positive: \"yes\"}}
cv: {{folds: 3}}
search:
  trials: 4
  concurrency: 2
  sampler: random
  learners: [gbt]
  params:
    gbt.max_depth: {{int: [2, 4]}}
    gbt.learning_rate: {{float: [0.05, 0.3], log: true}}
    gbt.n_estimators: 20
    gbt.min_leaf: 3
{more}"
    )
}

/// Numbers that are times, hashes and hosts, as words.
fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"[0-9a-f]{64}", "[sha256]"),
        (r"sha256 [0-9a-f]{8}…", "sha256 [start]…"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "[time]"),
        (r"\d:\d\d left", "[time] left"),
        (r"[\w.-]+@[\w.-]+ small", "[who] small"),
        (r"automl \d+\.\d+\.\d+ on \S+", "automl [version] on [host]"),
        (
            r"(?m)^peak_memory_bytes +\d+$",
            "peak_memory_bytes  [bytes]",
        ),
        (r"\b\d+\.\d{3,4}(e-\d+)?\b", "[score]"),
        (r"#\d+ gbt", "#[number] gbt"),
        (r"trial \d+ of study", "trial [number] of study"),
        (r"study small trial \d+", "study small trial [number]"),
    ]
}

macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({filters => filters()}, { insta::assert_snapshot!($name, $text) })
    };
}

#[test]
fn a_study_in_plain_text() {
    let desk = small("registry: {gate: [roc_auc >= 0.5]}\n");
    let (out, err) = desk.ends(0, &["study", "e.yaml"]);
    snapshot!("study", format!("{out}--- stderr\n{err}"));
    // Quiet means results only.
    let (_, err) = desk.ends(0, &["study", "e.yaml", "--quiet"]);
    assert_eq!(err, "");
}

fn keys(value: &Json) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn a_study_in_json_has_the_promised_names() {
    let desk = small("");
    let (out, err) = desk.ends(0, &["study", "e.yaml", "--format", "json", "--quiet"]);
    assert_eq!(err, "");
    assert_eq!(out.lines().count(), 1);
    let report: Json = serde_json::from_str(&out).unwrap();
    let promised: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "study", "dataset", "trials", "best", "holdout", "model", "seconds",
            ],
        ),
        ("/dataset", &["name", "sha256", "rows", "features"]),
        ("/trials", &["complete", "pruned", "failed", "running"]),
        ("/best", &["number", "value", "learner", "params", "folds"]),
        ("/holdout", &["roc_auc", "accuracy"]),
        ("/model", &["name", "version", "stage", "path", "sha256"]),
    ];
    for (at, names) in promised {
        let part = report.pointer(at).unwrap();
        for name in *names {
            assert!(keys(part).contains(name), "{at}/{name} in {:?}", keys(part));
        }
    }
    assert_eq!(report["trials"]["complete"], 4);
    assert_eq!(report["dataset"]["rows"], 60);
    assert_eq!(report["model"]["stage"], "candidate");
    assert_eq!(report["best"]["folds"].as_array().unwrap().len(), 3);
}

#[test]
fn trials_as_table_csv_and_json() {
    let desk = small("");
    desk.done(&["study", "e.yaml", "--quiet"]);
    let mut all = String::new();
    for args in [
        &["studies"][..],
        &["trials", "small"],
        &["best", "small"],
        &["show", "small", "0"],
    ] {
        for format in ["table", "csv", "json"] {
            let mut args = args.to_vec();
            args.extend(["--format", format]);
            let shown = desk.done(&args);
            if format == "json" {
                let document: Json = serde_json::from_str(&shown).unwrap();
                let first = document.get(0).unwrap_or(&document);
                all.push_str(&format!(
                    "$ automl {}\n{}\n",
                    args.join(" "),
                    keys(first).join(" ")
                ));
            } else {
                // Scores are in other tests; here it is the layout that counts.
                let first = shown.lines().next().unwrap_or("");
                let names: Vec<&str> = match format {
                    "csv" => shown.lines().filter_map(|l| l.split(',').next()).collect(),
                    _ => shown.lines().filter_map(|l| l.split("  ").next()).collect(),
                };
                all.push_str(&format!(
                    "$ automl {}\n{first}\n{}\n",
                    args.join(" "),
                    names.join("|")
                ));
            }
        }
    }
    snapshot!("trials", all);
    // CSV and JSON carry the same numbers to the last digit.
    let (csv, json) = (
        desk.done(&["trials", "small", "--format", "csv"]),
        desk.json(&["trials", "small", "--format", "json"]),
    );
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(
        header.iter().collect::<Vec<_>>(),
        [
            "number",
            "state",
            "value",
            "seconds",
            "gbt.max_depth",
            "gbt.learning_rate"
        ]
    );
    for (row, trial) in reader.records().zip(json.as_array().unwrap()) {
        let row = row.unwrap();
        assert_eq!(
            row[2].parse::<f64>().unwrap(),
            trial["value"].as_f64().unwrap()
        );
        assert_eq!(
            row[4].parse::<i64>().unwrap(),
            trial["params"]["gbt.max_depth"].as_i64().unwrap()
        );
        let rate = trial["params"]["gbt.learning_rate"].as_f64().unwrap();
        assert_eq!(row[5].parse::<f64>().unwrap(), rate);
    }
    let best = desk.json(&["best", "small", "--format", "json"]);
    let number = best["number"].to_string();
    assert_eq!(
        desk.json(&["show", "small", &number, "--format", "json"]),
        best
    );
}

#[test]
fn predict_to_stdout_to_a_file_and_from_stdin() {
    let desk = small("");
    desk.done(&["study", "e.yaml", "--quiet"]);
    desk.write("x.csv", "id,b,a\n1,p,0.9\n2,q,0.1\n3,,\n");
    let base = ["predict", "--model", "small:1", "--input"];
    let to_stdout = desk.done(&[&base[..], &["x.csv"]].concat());
    assert_eq!(to_stdout.lines().next(), Some("prediction,probability"));
    assert_eq!(to_stdout.lines().count(), 4);
    let (out, err) = desk.ends(0, &[&base[..], &["x.csv", "--output", "y.csv"]].concat());
    assert_eq!((out.as_str(), err.as_str()), ("", "3 rows → y.csv\n"));
    assert_eq!(desk.read("y.csv"), to_stdout);
    // An identifier goes through; the model file itself is as good as its name.
    let kept = desk.done(&[&base[..], &["x.csv", "--keep", "id"]].concat());
    let ids: Vec<&str> = kept.lines().filter_map(|l| l.split(',').next()).collect();
    assert_eq!(ids, ["id", "1", "2", "3"]);
    let file = "automl-store/artifacts/models/small/1/model.json";
    assert_eq!(
        desk.done(&["predict", "--model", file, "--input", "x.csv"]),
        to_stdout
    );
    let mut child = desk
        .command(&[&base[..], &["-", "--output", "-"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(desk.read("x.csv").as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), to_stdout);
    // A header alone is no error when predicting: there is nothing to do.
    desk.write("none.csv", "a,b\n");
    let none = desk.run(&[&base[..], &["none.csv"]].concat());
    assert!(matches!(none.status.code(), Some(0 | 2)));
}

#[test]
fn explain_as_table_json_and_page() {
    let desk = small("");
    desk.done(&["study", "e.yaml", "--quiet"]);
    let base = ["explain", "--model", "small:1", "--input", "d.csv"];
    let mut all = String::new();
    for args in [
        &[][..],
        &["--row", "7"],
        &["--method", "gain"],
        &["--method", "permutation", "--repeats", "3"],
        &["--method", "partial", "--column", "b"],
    ] {
        let shown = desk.done(&[&base[..], args].concat());
        all.push_str(&format!("$ automl explain {}\n{shown}\n", args.join(" ")));
        // Every method has every form; the same question gives the same bytes.
        let html = desk.done(&[&base[..], args, &["--format", "html"]].concat());
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        assert!(html.contains("<svg") && !html.contains("<script") && !html.contains("http"));
        assert_eq!(
            html,
            desk.done(&[&base[..], args, &["--format", "html"]].concat())
        );
        let json = desk.json(&[&base[..], args, &["--format", "json"]].concat());
        assert_eq!(json["rows_used"], 60);
        let names: Vec<&str> = json["columns"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|c| c["name"].as_str())
            .collect();
        assert!(names.contains(&"b"), "{names:?}");
    }
    snapshot!("explain", all);
    // Values add up to the score, and the logistic function of that is the prediction.
    let json = desk.json(&[&base[..], &["--format", "json"]].concat());
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 60);
    let scored = desk.done(&["predict", "--model", "small:1", "--input", "d.csv"]);
    for (row, line) in rows.iter().zip(scored.lines().skip(1)) {
        let values = row["values"][0].as_object().unwrap().values();
        let sum: f64 =
            values.map(|v| v.as_f64().unwrap()).sum::<f64>() + json["base"][0].as_f64().unwrap();
        let said: f64 = line.split(',').nth(1).unwrap().parse().unwrap();
        assert!((1.0 / (1.0 + (-sum).exp()) - said).abs() < 1e-9);
        assert!((row["prediction"][0].as_f64().unwrap() - said).abs() < 1e-12);
    }
    // Some of the rows, at random and with the one that was asked for; into a file, whole or not at all.
    let some = [
        &base[..],
        &["--rows", "10", "--row", "60", "--format", "json"],
    ]
    .concat();
    let (out, err) = desk.ends(0, &[&some[..], &["--output", "x.json"]].concat());
    assert_eq!(out, "");
    assert!(
        err.starts_with("note: 1") && err.contains("of 60 rows, drawn at random"),
        "{err}"
    );
    let json: Json = serde_json::from_str(&desk.read("x.json")).unwrap();
    assert_eq!(json["rows"][0]["row"], 60);
}

#[test]
fn what_cannot_be_explained_says_what_to_do() {
    let desk = small("");
    desk.done(&["study", "e.yaml", "--quiet"]);
    desk.write("x.csv", "a,b\n0.5,p\n");
    desk.write("none.csv", "a,b\n");
    desk.write("odd.csv", "a,b,y\n0.5,p,yes\n0.5,p,maybe\n");
    desk.write("one.csv", "a,b,y\n0.5,p,yes\n0.1,p,yes\n");
    let file = "automl-store/artifacts/models/small/1/model.json";
    let mut old: Json = serde_json::from_str(&desk.read(file)).unwrap();
    for tree in old["model"]["trees"].as_array_mut().unwrap() {
        tree.as_object_mut().unwrap().remove("cover").unwrap();
    }
    desk.write("old.json", old.to_string());
    let asks = |model: &str, input: &str, more: &[&str], says: &str| {
        let message =
            desk.refused(&[&["explain", "--model", model, "--input", input], more].concat());
        assert!(message.contains(says), "{message}");
    };
    let permutation = ["--method", "permutation"];
    asks(
        "small:1",
        "x.csv",
        &permutation,
        "`x.csv` has no column `y`",
    );
    asks(
        "small:1",
        "odd.csv",
        &permutation,
        "`odd.csv` line 3, column `y`: `maybe` is none of the model's classes, no, yes",
    );
    asks("small:1", "one.csv", &permutation, "`roc_auc` is undefined");
    asks(
        "small:1",
        "d.csv",
        &["--method", "permutation", "--metric", "rmse"],
        "`rmse` is not a metric of a binary task",
    );
    asks(
        "small:1",
        "none.csv",
        &[],
        "`none.csv` has a header and no rows",
    );
    asks(
        "small:1",
        "x.csv",
        &["--row", "2"],
        "--row 2: `x.csv` has one row",
    );
    asks(
        "small:1",
        "d.csv",
        &["--row", "1", "--method", "gain"],
        "--row goes with --method shap",
    );
    asks(
        "small:1",
        "d.csv",
        &["--method", "partial", "--column", "c"],
        "the model does not use a column `c`; it uses `a`, `b`",
    );
    asks(
        "small:1",
        "d.csv",
        &["--class", "no"],
        "of two classes the positive one is explained, `yes`",
    );
    asks(
        "small:1",
        "d.csv",
        &["--class", "x"],
        "none of the model's classes, no, yes",
    );
    asks(
        "old.json",
        "d.csv",
        &[],
        "fit the model again with this release, or use the method `permutation`",
    );
    asks("small:1", "missing.csv", &[], "cannot read `missing.csv`");
    // What does not need covers works on an old file too.
    desk.done(&[
        "explain",
        "--model",
        "old.json",
        "--input",
        "d.csv",
        "--method",
        "permutation",
    ]);
}

#[test]
fn a_gate_that_refuses_leaves_a_candidate() {
    let desk = small("registry: {gate: [roc_auc >= 1.5, accuracy >= 0.1]}\n");
    let (out, _) = desk.ends(0, &["study", "e.yaml", "--quiet"]);
    snapshot!("gate_refused", out);
    let version = desk.json(&["registry", "show", "small:1", "--format", "json"]);
    assert_eq!(version["stage"], "candidate");
    let (out, err) = desk.ends(
        1,
        &[
            "registry", "promote", "small:1", "staging", "--why", "hurry",
        ],
    );
    assert!(
        out.starts_with("small v1 was not promoted to staging: its gate refused\nrule "),
        "{out}"
    );
    assert_eq!(err, "");
    // The refusals are in the log.
    let log = desk.json(&["registry", "log", "small", "--format", "json"]);
    let actions: Vec<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["action"].as_str())
        .collect();
    assert_eq!(actions, ["register", "refuse", "refuse"]);
}

#[test]
fn from_candidate_to_production_and_back() {
    let desk = small("registry: {gate: [roc_auc >= 0.1]}\n");
    let first = desk.json(&["study", "e.yaml", "--format", "json"]);
    assert_eq!(first["model"]["stage"], "staging");
    // The same model again is no new version, and stays where it is.
    let again = desk.json(&["study", "e.yaml", "--format", "json"]);
    assert_eq!(again["model"]["version"], 1);
    assert_eq!(again["model"]["created"], false);
    assert_eq!(again["model"]["sha256"], first["model"]["sha256"]);
    // Other trees make another version.
    desk.write(
        "e2.yaml",
        experiment("registry: {model: small}\n")
            .replace("name: small", "name: other")
            .replace("n_estimators: 20", "n_estimators: 30"),
    );
    let second = desk.json(&["study", "e2.yaml", "--format", "json"]);
    assert_eq!(second["model"]["version"], 2);
    assert_eq!(second["model"]["stage"], "candidate");

    let mut all = String::new();
    let mut step = |args: &[&str]| {
        all.push_str(&format!("$ automl {}\n{}", args.join(" "), desk.done(args)));
    };
    step(&[
        "registry",
        "promote",
        "small:1",
        "production",
        "--why",
        "first",
    ]);
    step(&["registry", "promote", "small:2", "staging"]);
    step(&[
        "registry",
        "promote",
        "small@staging",
        "production",
        "--why",
        "second",
    ]);
    // A rollback does not return to files that were changed.
    let file = "automl-store/artifacts/models/small/1/model.json";
    let kept = desk.read(file);
    desk.write(file, "{}");
    let (_, err) = desk.ends(2, &["registry", "rollback", "small"]);
    assert!(
        err.contains("version 1 of model `small` stays in archived"),
        "{err}"
    );
    desk.write(file, kept);
    step(&["registry", "rollback", "small", "--why", "complaints"]);
    snapshot!("moves", all);
    let stages = desk.json(&["registry", "list", "small", "--format", "json"]);
    let stages: Vec<&str> = stages
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|v| v["stage"].as_str())
        .collect();
    assert_eq!(stages, ["production", "archived"]);
    desk.write("x.csv", "a,b\n0.5,p\n");
    assert_eq!(
        desk.done(&["predict", "--model", "small@production", "--input", "x.csv"]),
        desk.done(&["predict", "--model", "small:1", "--input", "x.csv"])
    );
    // How wide columns are depends on who runs the test.
    let log = desk.done(&["registry", "log"]);
    let log: Vec<String> = log
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let log = log.join("\n");
    snapshot!("log", log);
    for format in ["table", "csv", "json"] {
        desk.done(&["registry", "list", "--format", format]);
        desk.done(&["registry", "show", "small:2", "--format", format]);
        desk.done(&["registry", "log", "--format", format]);
    }
}

#[test]
fn lists_of_what_can_be_named() {
    let desk = Desk::new();
    let mut all = String::new();
    for what in ["learners", "metrics", "samplers", "pruners", "presets"] {
        all.push_str(&format!(
            "$ automl list {what}\n{}",
            desk.done(&["list", what])
        ));
    }
    insta::assert_snapshot!("list", all);
}

#[test]
fn data_split_writes_every_row_once() {
    let desk = small("");
    let out = desk.done(&["data", "split", "e.yaml", "--output", "parts"]);
    assert_eq!(
        out,
        "48 rows → parts/train.csv\n12 rows → parts/holdout.csv\n"
    );
    let rows = |name: &str| {
        let text = desk.read(name);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = lines.remove(0);
        (header, lines)
    };
    let (header, mut all) = rows("d.csv");
    let (train_header, train) = rows("parts/train.csv");
    let (test_header, test) = rows("parts/holdout.csv");
    assert_eq!((&train_header, &test_header), (&header, &header));
    let mut joined = [train, test].concat();
    joined.sort();
    all.sort();
    assert_eq!(joined, all);
    // Another seed holds out other rows.
    let before = desk.read("parts/holdout.csv");
    desk.done(&[
        "data", "split", "e.yaml", "--output", "parts", "--seed", "9",
    ]);
    assert_ne!(desk.read("parts/holdout.csv"), before);
}

#[test]
fn every_config_can_be_prepared() {
    let folder = config_path("");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        let mut experiment = Experiment::parse(&config(name), name).unwrap();
        if let Some(path) = &experiment.data.path {
            // Paths in configs are relative to the repository.
            experiment.data.path =
                Some(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        }
        let job =
            Job::prepare(experiment, name, None, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!job.space().params().is_empty(), "{name}");
    }
    // What documents name is there.
    for document in ["README.md", "ARCHITECTURE.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for (at, _) in text.match_indices("configs/") {
            let rest = &text[at + "configs/".len()..];
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || "._-".contains(c)))
                .unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('.');
            let named = !name.is_empty() && name.contains('.');
            assert!(
                !named || config_path(name).is_file(),
                "{document} names configs/{name}"
            );
        }
    }
}

#[test]
fn the_churn_config_is_the_reference_search() {
    let experiment = Experiment::parse(&config("churn.yaml"), "churn.yaml").unwrap();
    assert_eq!(experiment.search.trials, 100);
    assert_eq!(experiment.cv.folds, 5);
    assert_eq!(experiment.search.learners, ["random_forest", "gbt"]);
    assert_eq!(experiment.search.params.0.len(), 12);
}

/// `automl study FILE | head`: the reader goes away, the study comes to its end.
#[test]
fn a_study_outlives_the_reader_of_its_output() {
    let desk = small("registry: {model: m}\n");
    let mut child = desk
        .command(&["study", "e.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let versions = desk.json(&["registry", "list", "--format", "json"]);
    assert!(versions.to_string().contains("\"version\":1"), "{versions}");
}
