use serde_json::{Value as Json, json};

use super::*;
use crate::data::table::{Field, Kind, Schema, Table, Target};
use crate::learn::features::Features;
use crate::learn::preprocess::{Encoder, Preprocess};
use crate::learn::table::find;

/// The features of named columns as trees would get them.
fn features(columns: Vec<(Kind, usize, Vec<f64>)>) -> Features {
    let rows = columns[0].2.len();
    let mut fields = Vec::new();
    let mut cells = Vec::new();
    for (i, (kind, levels, values)) in columns.into_iter().enumerate() {
        fields.push(Field {
            name: format!("x{i}"),
            kind,
            levels: (0..levels).map(|l| format!("l{l}")).collect(),
        });
        cells.push(values.into());
    }
    let schema = Schema {
        fields,
        missing: Vec::new(),
    };
    let table = Table {
        schema,
        columns: cells,
        rows,
    };
    let encoder = Encoder::new(&Preprocess::default(), &table.schema).unwrap();
    let all: Vec<u32> = (0..rows as u32).collect();
    Features::build(&table, &encoder, &all, 255)
}

fn target(task: Task, values: Vec<f64>) -> Target {
    let classes = match task {
        Task::Regression => 0,
        Task::Binary => 2,
        Task::Multiclass => 3,
    };
    Target {
        name: "y".to_owned(),
        task,
        classes: (0..classes).map(|c| format!("c{c}")).collect(),
        values,
    }
}

fn net(params: Json) -> ElasticNet {
    serde_json::from_value::<ElasticNetParams>(params)
        .unwrap()
        .build()
        .unwrap()
}

fn fit(
    net: &ElasticNet,
    features: &Features,
    target: &Target,
    weights: Option<&[f64]>,
) -> LinearModel {
    let rows: Vec<u32> = (0..features.rows as u32).collect();
    let fills = vec![f64::NAN; features.len()];
    let data = TrainingSet {
        features,
        target,
        rows: &rows,
        weights,
        fills: &fills,
        limit: None,
    };
    net.fit_linear(&data).unwrap()
}

fn numbers(json: &Json) -> Vec<f64> {
    let list = json.as_array().unwrap();
    list.iter()
        .map(|v| v.as_f64().unwrap_or(f64::NAN))
        .collect()
}

#[test]
fn predictions_are_those_of_scikit_learn() {
    let golden: Json =
        serde_json::from_str(include_str!("../../../tests/golden/linear.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let task: Task = serde_json::from_value(case["task"].clone()).unwrap();
        let mut columns: Vec<(Kind, usize, Vec<f64>)> = case["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (Kind::Numeric, 0, numbers(c)))
            .collect();
        if case["levels"].is_array() {
            columns.push((Kind::Categorical, 4, numbers(&case["levels"])));
        }
        let features = features(columns);
        let target = target(task, numbers(&case["truth"]));
        let weights = case["weights"]
            .is_array()
            .then(|| numbers(&case["weights"]));
        let model = fit(
            &net(case["params"].clone()),
            &features,
            &target,
            weights.as_deref(),
        );
        let rows: Vec<u32> = (0..features.rows as u32).collect();
        let fills = vec![f64::NAN; features.len()];
        let ours = model.predict_rows(&features, &rows, &fills);
        let theirs = numbers(&case["predictions"]);
        assert_eq!(ours.len(), theirs.len());
        // The saga solver stops when its steps are small, some 1e-7 before the optimum; probabilities are compared
        // as they are, numbers against the spread of the target (about 100).
        let tolerance = if task == Task::Regression { 1e-5 } else { 2e-6 };
        for (a, b) in ours.iter().zip(&theirs) {
            assert!(
                (a - b).abs() < tolerance,
                "{task:?} {}: {a}, scikit-learn {b}",
                case["params"]
            );
        }
    }
}

#[test]
fn the_penalty_means_the_same_in_any_unit() {
    let x: Vec<f64> = (0..50).map(|i| f64::from(i * 7 % 50)).collect();
    let y: Vec<f64> = (0..50)
        .map(|i| f64::from(i * 7 % 50 + i * 11 % 13))
        .collect();
    let net = net(json!({"alpha": 0.1}));
    let predict = |unit: f64| {
        let features = features(vec![(
            Kind::Numeric,
            0,
            x.iter().map(|v| v * unit).collect(),
        )]);
        let target = target(Task::Regression, y.iter().map(|v| v / unit).collect());
        let model = fit(&net, &features, &target, None);
        let mut out = [0.0];
        model.predict_row(&[20.0 * unit], &mut out);
        out[0] * unit
    };
    let base = predict(1.0);
    for unit in [1e-6, 1e9, 1e200] {
        assert!((predict(unit) / base - 1.0).abs() < 1e-9, "{unit}");
    }
}

#[test]
fn lasso_sets_coefficients_to_zero_and_leaves_them_out() {
    let noise: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101)).collect();
    let signal: Vec<f64> = (0..200).map(|i| f64::from(i * 7 % 50)).collect();
    let y: Vec<f64> = signal
        .iter()
        .map(|s| f64::from(u8::from(*s > 25.0)))
        .collect();
    let features = features(vec![(Kind::Numeric, 0, noise), (Kind::Numeric, 0, signal)]);
    let target = target(Task::Binary, y);
    let model = fit(
        &net(json!({"alpha": 0.1, "l1_ratio": 1.0})),
        &features,
        &target,
        None,
    );
    assert_eq!(model.terms().len(), 1);
    assert_eq!(model.importance().unwrap(), [0.0, 1.0]);
    // A penalty that leaves nothing predicts the share of the positive class.
    let model = fit(
        &net(json!({"alpha": 10.0, "l1_ratio": 1.0})),
        &features,
        &target,
        None,
    );
    let mut out = [0.0];
    model.predict_row(&[0.0, 0.0], &mut out);
    let share = target.values.iter().sum::<f64>() / 200.0;
    assert!((out[0] - share).abs() < 1e-12);
}

#[test]
fn an_unseen_level_and_a_missing_one_are_told_apart_from_none() {
    let levels: Vec<f64> = (0..90).map(|i| f64::from(i % 3)).collect();
    let y: Vec<f64> = levels
        .iter()
        .map(|l| f64::from(u8::from(*l == 1.0)))
        .collect();
    // Level 3 is known to the data and in no training row.
    let features = features(vec![(Kind::Categorical, 4, levels)]);
    let model = fit(&net(json!({})), &features, &target(Task::Binary, y), None);
    assert!(
        model
            .terms()
            .iter()
            .all(|t| matches!(t.part, TermPart::Level(0..=2)))
    );
    let predict = |value: f64| {
        let mut out = [0.0];
        model.predict_row(&[value], &mut out);
        out[0]
    };
    assert!(predict(1.0) > 0.9 && predict(0.0) < 0.1 && predict(2.0) < 0.1);
    assert_eq!(predict(3.0), predict(f64::NAN));
    assert!(predict(3.0) > predict(0.0) && predict(3.0) < predict(1.0));
}

#[test]
fn collinear_and_separable_data_end_with_finite_numbers() {
    let x: Vec<f64> = (0..60).map(f64::from).collect();
    let y: Vec<f64> = x.iter().map(|v| f64::from(u8::from(*v > 30.0))).collect();
    let twice: Vec<f64> = x.iter().map(|v| 2.0 * v + 1.0).collect();
    let features = features(vec![(Kind::Numeric, 0, x), (Kind::Numeric, 0, twice)]);
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        for l1_ratio in [0.0, 0.5] {
            let net = net(json!({"alpha": 0.0, "l1_ratio": l1_ratio}));
            let model = fit(&net, &features, &target(task, y.clone()), None);
            let mut out = vec![0.0; model.width()];
            model.predict_row(&[59.0, 119.0], &mut out);
            assert!(out.iter().all(|p| p.is_finite()));
            assert!(out[out.len().min(2) - 1] > 0.9, "{task:?} {out:?}");
        }
    }
}

#[test]
fn too_many_columns_are_refused_with_their_number() {
    let levels: Vec<f64> = (0..200).map(f64::from).collect();
    let many = (0..30).map(|_| (Kind::Categorical, 200, levels.clone()));
    let features = features(many.collect());
    let target = target(Task::Regression, levels);
    let rows: Vec<u32> = (0..200).collect();
    let data = TrainingSet {
        features: &features,
        target: &target,
        rows: &rows,
        weights: None,
        fills: &[f64::NAN; 30],
        limit: None,
    };
    let error = net(json!({})).fit_linear(&data).unwrap_err().to_string();
    assert!(
        error.contains("6030 columns") && error.contains("4096"),
        "{error}"
    );
}

#[test]
fn wrong_hyperparameters_are_refused() {
    let entry = find(NAME).unwrap();
    for (key, value, said) in [
        ("alpha", json!(-1.0), "`alpha: -1` is out of range"),
        ("l1_ratio", json!(1.5), "`l1_ratio: 1.5` is out of range"),
        ("max_iter", json!(0), "`max_iter: 0` is out of range"),
        ("tol", json!(0.0), "above 0"),
        ("C", json!(1.0), "unknown field `C`"),
    ] {
        let given = [(key.to_owned(), value)].into_iter().collect();
        let error = (entry.build)(given).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}
