use rand::RngExt;

use super::decision_tree::{DecisionTreeParams, Quality};
use super::logistic::LogisticParams;
use super::smartcore_forest::SmartcoreForestParams;
use super::*;
use crate::data::table::Target;
use crate::learn::features::{Feature, Features};
use crate::learn::learner::{Learner, Model};
use crate::learn::metric::{self, Scores};
use crate::seed::Seed;

type Load = fn(&str) -> Result<Box<dyn Model>, LearnError>;

/// Features by hand: the adapters read values only, so codes stay empty.
fn features(columns: Vec<(&str, FeatureKind, Vec<f64>)>) -> Features {
    let rows = columns[0].2.len();
    let column = |(name, kind, values): (&str, FeatureKind, Vec<f64>)| Feature {
        name: name.to_owned(),
        kind,
        codes: Vec::new(),
        values: values.into(),
        has_missing: true,
    };
    Features {
        columns: columns.into_iter().map(column).collect(),
        rows,
        ..Features::default()
    }
}

fn numeric() -> FeatureKind {
    FeatureKind::Numeric { edges: Vec::new() }
}

/// Rows with a signal in `a`, `b` and a boolean, noise, and a column that repeats another.
fn made(task: Task, rows: usize) -> (Features, Target) {
    let mut rng = Seed::root(7).child("made", task as u64).rng();
    let mut of = |levels: f64| -> Vec<f64> {
        (0..rows)
            .map(|_| (rng.random::<f64>() * levels).floor() / levels)
            .collect()
    };
    let (a, b, flag, noise) = (of(1e6), of(20.0), of(2.0), of(50.0));
    let luck = of(1e6);
    let classes = match task {
        Task::Binary => 2,
        Task::Multiclass => 3,
        Task::Regression => 0,
    };
    let values = (0..rows)
        .map(|i| {
            let z = 2.0 * a[i] - 1.5 * b[i] + flag[i] + 0.5 * luck[i];
            match task {
                Task::Binary => f64::from(u8::from(z > 1.0)),
                Task::Multiclass => f64::from(u8::from(z > 0.5)) + f64::from(u8::from(z > 1.1)),
                Task::Regression => 10.0 * z,
            }
        })
        .collect();
    let target = Target {
        name: "y".to_owned(),
        task,
        classes: (0..classes).map(|c| format!("class {c}")).collect(),
        values,
    };
    let flag = flag.iter().map(|f| f * 2.0).collect();
    let features = features(vec![
        ("a", numeric(), a),
        ("b", numeric(), b.clone()),
        ("flag", FeatureKind::Categorical { levels: 2 }, flag),
        ("noise", numeric(), noise),
        ("b again", numeric(), b.iter().map(|b| 1.0 - b).collect()),
    ]);
    (features, target)
}

fn learners() -> Vec<(&'static str, Box<dyn Learner>, Load)> {
    let forest = SmartcoreForestParams {
        n_estimators: 30,
        min_samples_leaf: 3,
        ..Default::default()
    };
    vec![
        (
            decision_tree::NAME,
            Box::new(DecisionTreeParams::default().build().unwrap()),
            decision_tree::load,
        ),
        (
            logistic::NAME,
            Box::new(LogisticParams::default().build().unwrap()),
            logistic::load,
        ),
        (
            smartcore_forest::NAME,
            Box::new(forest.build().unwrap()),
            smartcore_forest::load,
        ),
    ]
}

fn set<'a>(
    features: &'a Features,
    target: &'a Target,
    rows: &'a [u32],
    fills: &'a [f64],
) -> TrainingSet<'a> {
    TrainingSet {
        features,
        target,
        rows,
        weights: None,
        fills,
        limit: None,
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

const FILLS: [f64; 5] = [f64::NAN; 5];

#[test]
fn every_learner_predicts_rows_it_has_not_seen() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        let (features, target) = made(task, 900);
        let train: Vec<u32> = (0..600).collect();
        let test: Vec<u32> = (600..900).collect();
        let data = set(&features, &target, &train, &FILLS);
        for (name, learner, load) in learners() {
            let fitted = learner.fit(&data, Seed::root(1));
            if task == Task::Regression && name != smartcore_forest::NAME {
                assert!(matches!(fitted, Err(LearnError::Task { .. })), "{name}");
                continue;
            }
            let model = fitted.unwrap();
            assert_eq!(model.kind(), name);
            let out = model.predict_rows(&features, &test, &FILLS);
            let (metric, least) = match task {
                Task::Regression => ("r2", 0.8),
                // linfa prunes siblings of one label, which costs probabilities their order.
                _ if name == decision_tree::NAME => ("roc_auc", 0.78),
                _ => ("roc_auc", 0.92),
            };
            let scores = Scores::new(task, model.width(), &out);
            let value = metric::find_for(metric, task)
                .unwrap()
                .score(&target.values[600..], scores, None, 0.5)
                .unwrap();
            assert!(value > least, "{name}: {metric} {value} for {task:?}");

            let loaded = load(&model.save().unwrap()).unwrap();
            assert_eq!(loaded.kind(), name);
            assert_eq!(loaded.save().unwrap(), model.save().unwrap());
            let again = loaded.predict_rows(&features, &test, &FILLS);
            assert_eq!(bits(&again), bits(&out), "{name}: saved and loaded");

            if let Some(importance) = model.importance() {
                let sum: f64 = importance.iter().sum();
                assert!((sum - 1.0).abs() < 1e-12, "{name}: {sum}");
                assert!(importance[0] > importance[3], "{name}: {importance:?}");
            }
        }
    }
}

/// linfa-trees and its hash maps draw a new order in every thread and for every fit.
#[test]
fn the_same_data_and_seed_give_the_same_model() {
    for task in [Task::Binary, Task::Multiclass] {
        let (mut features, target) = made(task, 400);
        // Few values and equal columns: as many ties as can be.
        for column in &mut features.columns {
            let coarse = column.values.iter().map(|v| (v * 4.0).floor()).collect();
            column.values = std::sync::Arc::new(coarse);
        }
        let rows: Vec<u32> = (0..400).collect();
        let data = set(&features, &target, &rows, &FILLS);
        for (name, learner, _) in learners() {
            let save = || {
                let model = learner.fit(&data, Seed::root(3)).unwrap();
                model.save().unwrap()
            };
            let first = save();
            for _ in 0..8 {
                assert_eq!(std::thread::scope(|s| s.spawn(save).join().unwrap()), first);
            }
            if name == smartcore_forest::NAME {
                let other = learner.fit(&data, Seed::root(4)).unwrap().save().unwrap();
                assert_ne!(other, first, "the seed decides");
            }
        }
    }
}

#[test]
fn leaves_that_tie_do_not_depend_on_hash_order() {
    // Two rows for each value of `x`, and no other feature to tell them apart: half of the leaves tie.
    let mut rng = Seed::root(5).rng();
    let x: Vec<f64> = (0..1200).map(|i| f64::from(i / 2)).collect();
    let values = (0..1200).map(|_| f64::from(u8::from(rng.random::<f64>() < 0.5)));
    let target = Target {
        name: "y".to_owned(),
        task: Task::Binary,
        classes: vec!["no".to_owned(), "yes".to_owned()],
        values: values.collect(),
    };
    let features = features(vec![("x", numeric(), x)]);
    let rows: Vec<u32> = (0..1200).collect();
    for weighted in [false, true] {
        let weights: Vec<f64> = target
            .values
            .iter()
            .map(|y| 1.0 + 2.0 * (1.0 - y))
            .collect();
        let mut data = set(&features, &target, &rows, &[f64::NAN]);
        data.weights = weighted.then_some(&weights);
        let learner = DecisionTreeParams {
            max_depth: 40,
            split_quality: Quality::Entropy,
            ..Default::default()
        }
        .build()
        .unwrap();
        let save = || learner.fit(&data, Seed::root(0)).unwrap().save().unwrap();
        let first = save();
        assert!(first.len() > 2000, "a tree with many leaves");
        for _ in 0..20 {
            assert_eq!(save(), first);
        }
    }
}

#[test]
fn leaves_hold_the_share_of_the_positive_class() {
    let x = vec![1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 9.0];
    let y = vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0];
    let target = Target {
        name: "y".to_owned(),
        task: Task::Binary,
        classes: vec!["no".to_owned(), "yes".to_owned()],
        values: y,
    };
    // A tiny scale, which linfa alone would take for equal numbers.
    let features = features(vec![("x", numeric(), x.iter().map(|x| x * 1e-9).collect())]);
    let rows: Vec<u32> = (0..9).collect();
    let learner = DecisionTreeParams::default().build().unwrap();
    let data = set(&features, &target, &rows, &[f64::NAN]);
    let model = learner.fit(&data, Seed::root(0)).unwrap();
    let p = |x: f64| {
        let mut out = [0.0];
        model.predict_row(&[x * 1e-9], &mut out);
        out[0]
    };
    assert_eq!((p(1.0), p(1.4), p(1.6), p(2.0)), (0.25, 0.25, 0.8, 0.8));

    let weights = [3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0];
    let data = TrainingSet {
        weights: Some(&weights),
        ..data
    };
    let model = learner.fit(&data, Seed::root(0)).unwrap();
    let mut out = [0.0];
    model.predict_row(&[1e-9], &mut out);
    assert!((out[0] - 1.0 / 6.0).abs() < 1e-12, "{}", out[0]);
    model.predict_row(&[2e-9], &mut out);
    assert!((out[0] - 0.75).abs() < 1e-12, "{}", out[0]);
}

#[test]
fn smartcore_counts_depth_as_splits() {
    let (features, target) = made(Task::Binary, 200);
    let rows: Vec<u32> = (0..200).collect();
    let stumps = SmartcoreForestParams {
        n_estimators: 1,
        max_depth: Some(1),
        max_features: Some(1.0),
        ..Default::default()
    };
    let data = set(&features, &target, &rows, &FILLS);
    let model = stumps.build().unwrap().fit(&data, Seed::root(1)).unwrap();
    let mut out = bits(&model.predict_rows(&features, &rows, &FILLS));
    out.sort_unstable();
    out.dedup();
    assert_eq!(out.len(), 2, "one split has two leaves");
}

#[test]
fn a_class_without_training_rows_has_probability_zero() {
    let (features, mut target) = made(Task::Multiclass, 300);
    for value in &mut target.values {
        *value = value.min(1.0);
    }
    let rows: Vec<u32> = (0..300).collect();
    let data = set(&features, &target, &rows, &FILLS);
    for (name, learner, _) in learners() {
        let model = learner.fit(&data, Seed::root(1)).unwrap();
        let out = model.predict_rows(&features, &rows, &FILLS);
        for row in out.chunks_exact(3) {
            assert_eq!(row[2], 0.0, "{name}");
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{name}");
        }
    }
}

#[test]
fn missing_values_without_a_fill_are_an_error() {
    let (mut features, target) = made(Task::Binary, 60);
    let mut values = features.columns[1].values.to_vec();
    values[17] = f64::NAN;
    features.columns[1].values = std::sync::Arc::new(values);
    let rows: Vec<u32> = (0..60).collect();
    let fills = [f64::NAN, 0.5, f64::NAN, f64::NAN, f64::NAN];
    for (name, learner, _) in learners() {
        let data = set(&features, &target, &rows, &FILLS);
        let said = learner.fit(&data, Seed::root(1)).err().unwrap().to_string();
        assert_eq!(
            said,
            format!(
                "{name}: feature `b` is missing in row 17 (from 0), and this learner takes no missing values; \
                 set `missing: median`"
            )
        );
        let data = set(&features, &target, &rows, &fills);
        let model = learner.fit(&data, Seed::root(1)).unwrap();
        // A row read later may miss a value that no training row missed.
        let mut out = [0.0];
        model.predict_row(&[f64::NAN; 5], &mut out);
        assert!((0.0..=1.0).contains(&out[0]), "{name}");
    }
}

#[test]
fn what_cannot_be_learned_says_why() {
    let (mut features, mut target) = made(Task::Binary, 60);
    let rows: Vec<u32> = (0..60).collect();
    let zero = vec![0.0; 60];
    for (name, learner, _) in learners() {
        let data = set(&features, &target, &[], &FILLS);
        let said = learner.fit(&data, Seed::root(1)).err().unwrap().to_string();
        assert!(said.starts_with(&format!("{name}: there are no training rows")));
        let data = TrainingSet {
            rows: &rows,
            weights: Some(&zero),
            ..data
        };
        assert!(matches!(
            learner.fit(&data, Seed::root(1)),
            Err(LearnError::Data { .. })
        ));
    }
    let logistic = LogisticParams::default().build().unwrap();
    let weights: Vec<f64> = (0..60).map(f64::from).collect();
    let mut data = set(&features, &target, &rows, &FILLS);
    data.weights = Some(&weights);
    let said = logistic.fit(&data, Seed::root(1)).err().unwrap();
    assert!(said.to_string().contains("no row weights"));

    features.columns[2].kind = FeatureKind::Categorical { levels: 3 };
    let data = set(&features, &target, &rows, &FILLS);
    let said = logistic.fit(&data, Seed::root(1)).err().unwrap();
    assert!(said.to_string().contains("`flag` has 3 levels"), "{said}");

    features.columns.remove(2);
    target.values.fill(1.0);
    let data = set(&features, &target, &rows, &FILLS[1..]);
    let said = logistic.fit(&data, Seed::root(1)).err().unwrap();
    assert!(said.to_string().contains("of one class"), "{said}");
}

#[test]
fn parameters_have_ranges() {
    let said = |e: Result<(), LearnError>| e.unwrap_err().to_string();
    let tree = DecisionTreeParams {
        max_depth: 65,
        ..Default::default()
    };
    assert_eq!(
        said(tree.build().map(drop)),
        "decision_tree: `max_depth` is 65, allowed is 1 to 64"
    );
    let logistic = LogisticParams {
        alpha: f64::NAN,
        ..Default::default()
    };
    assert_eq!(
        said(logistic.build().map(drop)),
        "logistic: `alpha` is NaN, allowed is 0 to 1000000"
    );
    let forest = SmartcoreForestParams {
        max_features: Some(1.5),
        ..Default::default()
    };
    assert_eq!(
        said(forest.build().map(drop)),
        "smartcore_forest: `max_features` is 1.5, allowed is 0.000001 to 1"
    );
    let unknown = serde_json::from_str::<LogisticParams>(r#"{"alfa": 1}"#);
    assert!(unknown.is_err());
    let some: SmartcoreForestParams = serde_json::from_str(r#"{"n_estimators": 7}"#).unwrap();
    assert_eq!((some.n_estimators, some.max_depth), (7, None));
}

#[test]
fn a_damaged_file_is_no_model() {
    let (features, target) = made(Task::Binary, 80);
    let rows: Vec<u32> = (0..80).collect();
    let data = set(&features, &target, &rows, &FILLS);
    for (name, learner, load) in learners() {
        let saved = learner.fit(&data, Seed::root(1)).unwrap().save().unwrap();
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            (name, "gbt"),
            ("\"left\":[1", "\"left\":[9999999"),
            ("\"feature\":[", "\"feature\":[99,"),
            ("\"mean\":[", "\"mean\":[0.5,"),
            ("\"binary\"", "\"multiclass\""),
            ("{", ""),
        ] {
            let damaged = saved.replacen(from, to, 1);
            if damaged == saved {
                continue;
            }
            // A logistic regression with several classes may know one score only.
            if name == logistic::NAME && to == "\"multiclass\"" {
                continue;
            }
            assert!(
                matches!(load(&damaged), Err(LearnError::Saved { .. })),
                "{name}: {from} became {to}"
            );
        }
        assert!(load("").is_err());
    }
}

#[test]
fn logistic_has_the_coefficients_of_scikit_learn() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/logistic.json")).unwrap();
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        let list = value.as_array().unwrap();
        list.iter().map(|v| v.as_f64().unwrap()).collect()
    };
    for case in golden["cases"].as_array().unwrap() {
        let columns: Vec<Vec<f64>> = case["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        let classes = case["classes"].as_u64().unwrap();
        let target = Target {
            name: "y".to_owned(),
            task: if classes == 2 {
                Task::Binary
            } else {
                Task::Multiclass
            },
            classes: (0..classes).map(|c| c.to_string()).collect(),
            values: numbers(&case["truth"]),
        };
        let fills = vec![f64::NAN; columns.len()];
        let features = features(columns.into_iter().map(|c| ("x", numeric(), c)).collect());
        let rows: Vec<u32> = (0..features.rows as u32).collect();
        let learner = LogisticParams {
            alpha: case["alpha"].as_f64().unwrap(),
            max_iterations: 1000,
            gradient_tolerance: 1e-6,
        };
        let data = set(&features, &target, &rows, &fills);
        let model = learner.build().unwrap().fit(&data, Seed::root(1)).unwrap();
        let ours = model.predict_rows(&features, &rows, &fills);
        // Both stop where the gradient is about 1e-6; the probabilities there agree to about that.
        for (ours, theirs) in ours.iter().zip(numbers(&case["probabilities"])) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} and {theirs}");
        }
    }
}
