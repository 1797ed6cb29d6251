//! Imported models against the programs' own predictions, kept under `tests/golden/imports/`, and files that are no models.

use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::data::rows::RowReader;
use crate::learn::pipeline::Pipeline;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    options: CaseOptions,
    csv: String,
    expected: Json,
}

#[derive(Deserialize)]
struct CaseOptions {
    #[serde(default)]
    classes: Vec<String>,
    #[serde(default)]
    levels: BTreeMap<String, Vec<String>>,
}

use serde_json::Value as Json;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/imports");
    std::fs::read(folder.join(name)).unwrap()
}

fn predictions(pipeline: &Pipeline, csv: &str) -> Vec<Vec<f64>> {
    let schema = &pipeline.transform.schema;
    let mut reader = RowReader::new(csv.as_bytes(), "rows.csv", schema).unwrap();
    let mut row = vec![0.0; schema.fields.len()];
    let (mut features, mut all) = (Vec::new(), Vec::new());
    let mut matrix = Vec::new();
    while reader.next_row(&mut row).unwrap() {
        let mut out = vec![0.0; pipeline.width()];
        pipeline.predict_row(&row, &mut features, &mut out);
        matrix.extend_from_slice(&features);
        all.push(out);
    }
    let mut at_once = vec![0.0; all.len() * pipeline.width()];
    pipeline.model.predict_matrix(&matrix, &mut at_once);
    assert_eq!(at_once, all.concat(), "rows at once");
    all
}

/// Predictions of every case of a file within `tolerance` of the program's, relative where they are above 1.
fn agrees(name: &str, tolerance: f64) {
    let golden_file: Golden = serde_json::from_slice(&golden(name)).unwrap();
    assert!(golden_file.cases.len() >= 4);
    for case in golden_file.cases {
        let options = Options {
            classes: case.options.classes,
            levels: case.options.levels,
            ..Options::default()
        };
        let imported = import(&golden(&case.file), None, &options).unwrap();
        let bytes = imported.save().unwrap();
        let pipeline = Pipeline::load(&bytes).unwrap();
        assert_eq!(pipeline.save().unwrap(), bytes, "{}", case.file);
        let ours = predictions(&pipeline, &case.csv);
        assert_eq!(ours, predictions(&imported, &case.csv));
        let expected: Vec<Vec<f64>> = match &case.expected[0] {
            Json::Array(_) => serde_json::from_value(case.expected).unwrap(),
            _ => serde_json::from_value::<Vec<f64>>(case.expected)
                .unwrap()
                .into_iter()
                .map(|p| vec![p])
                .collect(),
        };
        assert_eq!(ours.len(), expected.len());
        for (row, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            for (a, b) in ours.iter().zip(expected) {
                let apart = (a - b).abs() / b.abs().max(1.0);
                assert!(apart <= tolerance, "{}, row {row}: {a} and {b}", case.file);
            }
        }
    }
}

#[test]
fn lightgbm_models_predict_the_same() {
    // Both add in 64 bits; `exp` may differ in its last bits.
    agrees("lightgbm.json", 1e-14);
}

#[test]
fn xgboost_models_predict_the_same() {
    // XGBoost's `exp` has 32 bits.
    agrees("xgboost2.json", 2.5e-7);
    agrees("xgboost3.json", 2.5e-7);
}

proptest! {
    #[test]
    fn at_most_is_less_in_32_bits(bits in any::<u32>(), steps in -40_i64..40) {
        let threshold = f32::from_bits(bits);
        prop_assume!(threshold.is_finite() && threshold > f32::MIN);
        let bound = xgboost::at_most(threshold);
        // Beside the bound, where a mistake would show, and beside the threshold.
        for near in [bound, f64::from(threshold), f64::from(threshold.next_down())] {
            let step = |x: f64| if steps < 0 { x.next_down() } else { x.next_up() };
            let x = (0..steps.abs()).fold(near, |x, _| step(x));
            prop_assert_eq!((x as f32) < threshold, x <= bound, "{} {} {}", x, threshold, bound);
        }
    }

    #[test]
    fn no_damage_panics(cut in 0_usize..20_000, at in 0_usize..20_000, byte in any::<u8>(), which in 0_usize..4) {
        let name = ["lightgbm_binary.txt", "lightgbm_multiclass.txt", "xgboost2_dart.json", "xgboost3_binary.json"][which];
        let whole = golden(name);
        prop_assert!(import(&whole[..cut % whole.len()], None, &Options::default()).is_err() || name.ends_with("txt"));
        let mut changed = whole.clone();
        let at = at % whole.len();
        changed[at] = byte;
        if let Ok(pipeline) = import(&changed, None, &Options::default()) {
            // What is accepted must be a model that can be saved, read and used.
            let pipeline = Pipeline::load(&pipeline.save().unwrap()).unwrap();
            let row = vec![0.5; pipeline.transform.schema.fields.len()];
            pipeline.predict_row(&row, &mut Vec::new(), &mut vec![0.0; pipeline.width()]);
        }
    }
}

fn refused(bytes: &[u8]) -> String {
    refused_with(bytes, &Options::default())
}

fn refused_with(bytes: &[u8], options: &Options) -> String {
    match import(bytes, None, options) {
        Ok(_) => panic!("it was imported"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    let files: [&[u8]; 7] = [
        b"a,b\n1,2\n",
        b"",
        b"binf\0\0",
        b"{L\0\0\0",
        b"{\"a\": 1}",
        b"{\"learner\": [1, 2]}",
        b"tree\nversion=v4\n",
    ];
    insta::assert_snapshot!(files.map(refused).join("\n"));
}

/// A golden model with one text put for another.
fn edited(name: &str, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(golden(name)).unwrap();
    assert!(text.contains(from), "{name} has no {from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn lightgbm_files_that_do_not_fit() {
    let mut said = Vec::new();
    let name = "lightgbm_binary.txt";
    let bytes = golden(name);
    said.push(refused(&bytes[..bytes.len() / 2]));
    said.push(refused(&edited(name, "version=v4", "version=v2")));
    said.push(refused(&edited(name, "is_linear=0", "is_linear=1")));
    said.push(refused(&edited(
        name,
        "objective=binary",
        "objective=multiclassova",
    )));
    said.push(refused(&edited(name, "leaf_value=", "leaf_value=x ")));
    said.push(refused(&edited(name, "left_child=", "left_child=1 ")));
    said.push(refused(&edited(name, "threshold=", "treshold=")));
    said.push(refused(&edited(
        name,
        "max_feature_idx=4",
        "max_feature_idx=9",
    )));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn xgboost_files_that_do_not_fit() {
    let mut said = Vec::new();
    let name = "xgboost2_binary.json";
    let bytes = golden(name);
    said.push(refused(&bytes[..bytes.len() / 2]));
    said.push(refused(&edited(name, "binary:logistic", "binary:hinge")));
    said.push(refused(&edited(
        name,
        "\"name\":\"gbtree\"",
        "\"name\":\"gblinear\"",
    )));
    said.push(refused(&edited(
        name,
        "\"size_leaf_vector\":\"1\"",
        "\"size_leaf_vector\":\"3\"",
    )));
    said.push(refused(&edited(
        name,
        "\"left_children\":[",
        "\"left_children\":[7,",
    )));
    said.push(refused(&edited(name, "\"left_children\"", "\"left\"")));
    said.push(refused(&edited(
        name,
        "\"base_score\":\"",
        "\"base_score\":\"x",
    )));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn options_that_do_not_fit() {
    let mut said = Vec::new();
    let name = "xgboost2_binary.json";
    let with = |edit: &dyn Fn(&mut Options)| {
        let mut options = Options::default();
        edit(&mut options);
        refused_with(&golden(name), &options)
    };
    let list = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    said.push(with(&|o| o.classes = list(&["a", "b", "c"])));
    said.push(with(&|o| o.classes = list(&["a", "a"])));
    said.push(with(&|o| o.target = Some("color".to_owned())));
    said.push(with(&|o| o.threshold = Some(2.0)));
    said.push(with(&|o| {
        o.levels.insert("size".to_owned(), list(&["s"]));
    }));
    said.push(with(&|o| {
        o.levels.insert("a".to_owned(), list(&["s"]));
    }));
    said.push(with(&|o| {
        o.levels.insert("color".to_owned(), list(&["s", " s"]));
    }));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn columns_are_those_of_the_model() {
    let pipeline = import(&golden("lightgbm_binary.txt"), None, &Options::default()).unwrap();
    let fields = &pipeline.transform.schema.fields;
    let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "color", "code"]);
    let levels = ["black", "blue", "green", "ivory", "red", "white"];
    assert_eq!(fields[3].levels, levels);
    assert_eq!(pipeline.card.classes, ["0", "1"]);
    // Leaves keep their cover, which explanations need.
    let ensemble = pipeline.model.ensemble().unwrap();
    let covers = ensemble.trees[0].covers().unwrap();
    assert_eq!(covers[0], 400.0);
}
