//! `automl predict` on the rows that a study held out gives what the study measured, and what the library predicts.

use std::sync::Arc;

use automl::data::rows::RowReader;
use automl::data::table::Task;
use automl::learn::metric::{self, Scores};
use automl::learn::pipeline::Pipeline;
use automl::tracking::Store;
use automl::tune::experiment::Experiment;
use automl::tune::job::Job;
use serde_json::{Value as Json, json};

use crate::program::{Desk, config, config_path};

/// The cells of a CSV file by row, without its header; and the header.
fn cells(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let rows = reader
        .records()
        .map(|r| r.unwrap().iter().map(str::to_owned).collect())
        .collect();
    (header, rows)
}

/// What a study reported, and what `predict` wrote for its held-out rows.
struct Case {
    desk: Desk,
    report: Json,
    task: Task,
    /// Row-major.
    predicted: Vec<f64>,
    labels: Vec<String>,
    truth: Vec<String>,
}

/// Runs `e.yaml` of the desk, splits its data, and predicts the held-out rows.
fn run(desk: Desk, task: Task, target: &str) -> Case {
    let report = desk.json(&["study", "e.yaml", "--quiet", "--format", "json"]);
    desk.done(&["data", "split", "e.yaml", "--output", "parts"]);
    let model = format!("{}:1", report["model"]["name"].as_str().unwrap());
    desk.done(&[
        "predict",
        "--model",
        &model,
        "--input",
        "parts/holdout.csv",
        "--output",
        "out.csv",
    ]);
    let (header, rows) = cells(&desk.read("parts/holdout.csv"));
    let at = header.iter().position(|h| h == target).unwrap();
    let truth = rows.iter().map(|r| r[at].clone()).collect();
    let (header, rows) = cells(&desk.read("out.csv"));
    assert_eq!(header[0], "prediction");
    let skip = usize::from(task != Task::Regression);
    let numbers = rows.iter().flat_map(|r| &r[skip..]);
    let predicted = numbers.map(|n| n.parse::<f64>().unwrap()).collect();
    let labels = rows.iter().map(|r| r[0].clone()).collect();
    Case {
        desk,
        report,
        task,
        predicted,
        labels,
        truth,
    }
}

impl Case {
    /// The metrics of the report, calculated again from what was predicted.
    fn check_metrics(&self) {
        let classes: Vec<String> = match self.task {
            Task::Regression => Vec::new(),
            _ => serde_json::from_value(self.report["holdout"]["classes"].clone()).unwrap(),
        };
        let truth: Vec<f64> = match self.task {
            Task::Regression => self.truth.iter().map(|t| t.parse().unwrap()).collect(),
            _ => self
                .truth
                .iter()
                .map(|t| classes.iter().position(|c| c == t).unwrap() as f64)
                .collect(),
        };
        let width = self.predicted.len() / truth.len();
        let given = Scores::new(self.task, width, &self.predicted);
        let mut seen = Vec::new();
        let mut check = |reported: &Json, threshold: f64| {
            // At the threshold only metrics of labels are reported: the others do not depend on it.
            let reported = |name| reported[name].as_f64();
            let mut names = 0;
            for (name, value) in metric::all(&truth, given, threshold).unwrap() {
                let Some(expected) = reported(name) else {
                    assert_ne!(threshold, 0.5, "{name}");
                    assert!(!metric::find(name).unwrap().on_labels, "{name}");
                    continue;
                };
                names += 1;
                assert!(
                    (value - expected).abs() <= 1e-12,
                    "{name}: {value} and {expected}"
                );
            }
            seen.push(names);
        };
        let holdout = &self.report["holdout"];
        check(holdout, 0.5);
        if self.task == Task::Binary {
            check(
                &holdout["at_threshold"],
                holdout["threshold"].as_f64().unwrap(),
            );
        }
        assert!(seen.iter().all(|names| *names >= 3), "{seen:?}");
        if self.task != Task::Regression {
            // The labels are those of the confusion matrix.
            let mut confusion = vec![vec![0u64; classes.len()]; classes.len()];
            for (label, &class) in self.labels.iter().zip(&truth) {
                let to = classes.iter().position(|c| c == label).unwrap();
                confusion[class as usize][to] += 1;
            }
            assert_eq!(holdout["confusion"], json!(confusion));
        }
    }

    /// The library's own refit predicts the same bits, from rows of its table as from rows of the file.
    fn check_library(&self, mut experiment: Experiment) {
        let store = Store::open_existing(self.desk.path("automl-store")).unwrap();
        let trials = store.storage().load_trials(&experiment.name).unwrap();
        let best = self.report["best"]["number"].as_u64().unwrap() as usize;
        if let Some(path) = &experiment.data.path {
            experiment.data.path = Some(self.desk.path(path.to_str().unwrap()));
        }
        let job = Job::prepare(experiment, "e.yaml", None, None).unwrap();
        // Nothing was kept here: what the command read from the store is made again.
        let trials: Vec<_> = trials.into_iter().map(Arc::new).collect();
        let outcome = job.finish(&trials, &trials[best], &|_| None).unwrap();
        for (name, value) in &outcome.holdout {
            assert_eq!(
                self.report["holdout"][name].as_f64(),
                Some(*value),
                "{name}"
            );
        }
        let saved = std::fs::read(
            self.desk
                .path(self.report["model"]["path"].as_str().unwrap()),
        )
        .unwrap();
        assert_eq!(outcome.pipeline.save().unwrap(), saved);
        let loaded = Pipeline::load(&saved).unwrap();
        let table = &job.dataset.table;
        let width = loaded.width();
        assert_eq!(self.predicted.len(), job.split.test.len() * width);
        let (mut features, mut out) = (Vec::new(), vec![0.0; width]);
        for (&row, said) in job.split.test.iter().zip(self.predicted.chunks(width)) {
            let cells: Vec<f64> = table.columns.iter().map(|c| c[row as usize]).collect();
            for pipeline in [&outcome.pipeline, &loaded] {
                pipeline.predict_row(&cells, &mut features, &mut out);
                for (a, b) in out.iter().zip(said) {
                    assert_eq!(a.to_bits(), b.to_bits(), "row {row}");
                }
            }
        }
    }
}

#[test]
fn on_categories_and_missing_values_as_they_are() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("configs")).unwrap();
    std::fs::copy(config_path("example.csv"), desk.path("configs/example.csv")).unwrap();
    let text = config("csv.yaml");
    desk.write("e.yaml", &text);
    let case = run(desk, Task::Binary, "bought");
    case.check_metrics();
    case.check_library(Experiment::parse(&text, "e.yaml").unwrap());
}

#[test]
fn on_generated_telco_rows_with_the_preset() {
    let desk = Desk::new();
    let text = config("quick.yaml").replace("trials: 12", "trials: 6");
    desk.write("e.yaml", &text);
    let case = run(desk, Task::Binary, "Churn");
    case.check_metrics();
    case.check_library(Experiment::parse(&text, "e.yaml").unwrap());
}

/// A table with categories and gaps, and an experiment on it.
fn generated(target: impl Fn(u32) -> String, learners: &str) -> (Desk, String) {
    let mut rows = String::from("u,v,w,y\n");
    for i in 0u32..240 {
        let u = if i % 11 == 3 {
            String::new()
        } else {
            format!("{}", i * 37 % 101)
        };
        let v = ["red", "green", "", "blue"][(i * 13 % 4) as usize];
        rows.push_str(&format!(
            "{u},{v},{},{}\n",
            f64::from(i * 29 % 83) / 7.0,
            target(i)
        ));
    }
    let desk = Desk::new();
    desk.write("d.csv", rows);
    let text = format!(
        "name: g\ndata: {{path: d.csv, target: y}}\ncv: {{folds: 3}}\nsearch:\n  trials: 6\n  learners: [{learners}]\n  \
         params:\n    preprocess: {{categorical: [native, one_hot]}}\n    gbt.n_estimators: 30\n    gbt.max_depth: \
         {{int: [2, 4]}}\n    gbt.min_leaf: 5\n    random_forest.n_estimators: 20\n"
    );
    desk.write("e.yaml", &text);
    (desk, text)
}

#[test]
fn on_three_classes() {
    let target = |i: u32| ["a", "b", "c"][((i * 37 % 101) / 34) as usize].to_owned();
    let (desk, text) = generated(target, "gbt, random_forest");
    let case = run(desk, Task::Multiclass, "y");
    case.check_metrics();
    case.check_library(Experiment::parse(&text, "e.yaml").unwrap());
}

#[test]
fn on_numbers() {
    let target = |i: u32| format!("{}", f64::from(i * 37 % 101) * 1.5 + f64::from(i * 29 % 83));
    let (desk, text) = generated(target, "gbt, random_forest");
    let case = run(desk, Task::Regression, "y");
    case.check_metrics();
    case.check_library(Experiment::parse(&text, "e.yaml").unwrap());
}

#[test]
fn an_unknown_category_counts_as_missing() {
    let target = |i: u32| if i * 13 % 4 < 2 { "no" } else { "yes" }.to_owned();
    let (desk, _) = generated(target, "gbt, random_forest");
    desk.done(&["study", "e.yaml", "--quiet"]);
    let predict = |rows: &str| {
        desk.write("x.csv", format!("w,v,u\n{rows}"));
        desk.ends(0, &["predict", "--model", "g:1", "--input", "x.csv"])
    };
    let (missing, note) = predict("3.5,,7\n");
    assert_eq!(note, "");
    let (unknown, note) = predict("3.5,violet,7\n");
    assert_eq!(unknown, missing);
    assert_eq!(
        note,
        "note: 1 row has a level of `v` that the model never saw; it counts as missing\n"
    );
    let (known, _) = predict("3.5,red,7\n");
    assert_ne!(known, missing);
    // All missing is a row as well.
    let (all, _) = predict(",,\n");
    assert_eq!(all.lines().count(), 2);
    // What the library reads of the same text is the same row.
    let pipeline = Pipeline::load(
        desk.read("automl-store/artifacts/models/g/1/model.json")
            .as_bytes(),
    )
    .unwrap();
    let text = "w,v,u\n3.5,violet,7\n";
    let mut reader = RowReader::new(text.as_bytes(), "x.csv", &pipeline.transform.schema).unwrap();
    let mut row = vec![0.0; 3];
    assert!(reader.next_row(&mut row).unwrap());
    let (mut features, mut out) = (Vec::new(), [0.0]);
    pipeline.predict_row(&row, &mut features, &mut out);
    assert!(
        unknown.trim_end().ends_with(&format!(",{}", out[0])),
        "{unknown}"
    );
}

#[test]
fn of_ensembles_with_calibration() {
    let learners = "gbt, random_forest, elastic_net";
    let score = |i: u32| f64::from(i * 37 % 101) + f64::from(i * 29 % 83) + f64::from(i * 53 % 97);
    let two = |i: u32| if score(i) < 140.0 { "no" } else { "yes" }.to_owned();
    let three = |i: u32| ["a", "b", "c"][((score(i) / 95.0) as usize).min(2)].to_owned();
    let number = |i: u32| format!("{}", score(i) * 1.5 + 0.25);
    let mut ensembles = 0;
    for (task, calibration) in [
        (Task::Binary, "isotonic"),
        (Task::Binary, "platt"),
        (Task::Multiclass, "isotonic"),
        (Task::Multiclass, "auto"),
        (Task::Regression, "none"),
    ] {
        let (desk, text) = match task {
            Task::Binary => generated(two, learners),
            Task::Multiclass => generated(three, learners),
            Task::Regression => generated(number, learners),
        };
        let text = text.replace("trials: 6", "trials: 14")
            + &format!("final: ensemble\ncalibration: {calibration}\n");
        desk.write("e.yaml", &text);
        let case = run(desk, task, "y");
        case.check_metrics();
        let way = case.report["final"]["way"].as_str().unwrap();
        ensembles += usize::from(way != "best");
        if calibration != "none" && calibration != "auto" {
            assert_eq!(case.report["calibration"]["method"], calibration);
        }
        case.check_library(Experiment::parse(&text, "e.yaml").unwrap());
    }
    assert!(ensembles >= 2, "only {ensembles} of 5 are ensembles");
}
