//! Exported models are read back from their bytes and computed, one row at a time, by a few lines per operator that follow
//! the ONNX specification. (`tests/it/onnx.rs` does the same with ONNX Runtime.)

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;

use super::proto::{AttributeProto, DataType, ModelProto, NodeProto, TensorProto};
use super::*;
use crate::data::table::{Field, Schema};
use crate::learn::import::{self, Options};
use crate::learn::model::TreeModel;
use crate::learn::pipeline::Card;
use crate::learn::preprocess::{Encoder, Transform};
use crate::learn::tree::nodes::{Split, Tree};

/// A value for one row: numbers (truth values are 0 and 1) or texts, and the length of the last axis.
#[derive(Clone, Debug)]
struct Value {
    numbers: Vec<f64>,
    texts: Vec<String>,
    last: usize,
}

fn numbers(numbers: Vec<f64>) -> Value {
    let last = numbers.len();
    Value {
        numbers,
        texts: Vec::new(),
        last,
    }
}

fn tensor(t: &TensorProto) -> Value {
    let eight = |c: &[u8]| <[u8; 8]>::try_from(c).unwrap();
    let chunks = t.raw_data.chunks_exact(8);
    let numbers = match t.data_type {
        d if d == DataType::Double as i32 => chunks.map(|c| f64::from_le_bytes(eight(c))).collect(),
        d if d == DataType::Int64 as i32 => chunks
            .map(|c| i64::from_le_bytes(eight(c)) as f64)
            .collect(),
        d if d == DataType::Uint8 as i32 => t.raw_data.iter().map(|b| f64::from(*b)).collect(),
        _ => Vec::new(),
    };
    let text = |b: &Vec<u8>| String::from_utf8(b.clone()).unwrap();
    Value {
        numbers,
        texts: t.string_data.iter().map(text).collect(),
        last: t.dims.last().map_or(1, |d| *d as usize),
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> &'a AttributeProto {
    let found = node.attribute.iter().find(|a| a.name == name);
    found.unwrap_or_else(|| panic!("{} has no {name}", node.op_type))
}

fn has(node: &NodeProto, name: &str) -> bool {
    node.attribute.iter().any(|a| a.name == name)
}

fn attribute_numbers(node: &NodeProto, name: &str) -> Vec<f64> {
    tensor(attribute(node, name).t.as_ref().unwrap()).numbers
}

/// Element by element, where one of the two may be a single number.
fn each(a: &Value, b: &Value, of: impl Fn(f64, f64) -> f64) -> Value {
    let long = if a.numbers.len() >= b.numbers.len() {
        a
    } else {
        b
    };
    let at = |v: &Value, i: usize| v.numbers[if v.numbers.len() == 1 { 0 } else { i }];
    let all = (0..long.numbers.len()).map(|i| of(at(a, i), at(b, i)));
    Value {
        numbers: all.collect(),
        ..long.clone()
    }
}

fn one(a: &Value, of: impl Fn(f64) -> f64) -> Value {
    each(a, a, |x, _| of(x))
}

fn truth(b: bool) -> f64 {
    f64::from(u8::from(b))
}

fn run(model: &ModelProto, inputs: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let graph = model.graph.as_ref().unwrap();
    let mut values = inputs.clone();
    for constant in &graph.initializer {
        values.insert(constant.name.clone(), tensor(constant));
    }
    for node in &graph.node {
        let of = |i: usize| &values[&node.input[i]];
        let made = match node.op_type.as_str() {
            "Unsqueeze" | "Squeeze" | "Cast" => of(0).clone(),
            "Concat" => numbers(
                (0..node.input.len())
                    .flat_map(|i| of(i).numbers.clone())
                    .collect(),
            ),
            "IsNaN" => one(of(0), |x| truth(x.is_nan())),
            "Abs" => one(of(0), f64::abs),
            "Floor" => one(of(0), f64::floor),
            "Exp" => one(of(0), f64::exp),
            "Sigmoid" => one(of(0), |x| 1.0 / (1.0 + (-x).exp())),
            "Add" => each(of(0), of(1), |a, b| a + b),
            "Sub" => each(of(0), of(1), |a, b| a - b),
            "Div" => each(of(0), of(1), |a, b| a / b),
            "Less" => each(of(0), of(1), |a, b| truth(a < b)),
            "LessOrEqual" => each(of(0), of(1), |a, b| truth(a <= b)),
            "GreaterOrEqual" => each(of(0), of(1), |a, b| truth(a >= b)),
            "And" => each(of(0), of(1), |a, b| a * b),
            "Where" => {
                let pairs = each(of(1), of(2), |a, _| a);
                let others = each(of(1), of(2), |_, b| b);
                let chosen = of(0).numbers.iter().enumerate();
                numbers(
                    chosen
                        .map(|(i, c)| {
                            if *c == 1.0 {
                                pairs.numbers[i]
                            } else {
                                others.numbers[i]
                            }
                        })
                        .collect(),
                )
            }
            "Softmax" => {
                let exps = one(of(0), f64::exp);
                let sum: f64 = exps.numbers.iter().sum();
                one(&exps, |x| x / sum)
            }
            "ArgMax" => {
                let all = &of(0).numbers;
                let best = all.iter().copied().fold(f64::MIN, f64::max);
                numbers(vec![all.iter().position(|x| *x == best).unwrap() as f64])
            }
            "Gather" if attribute(node, "axis").i == Some(1) => {
                numbers(vec![of(0).numbers[of(1).numbers[0] as usize]])
            }
            "Gather" if !of(0).texts.is_empty() => Value {
                texts: vec![of(0).texts[of(1).numbers[0] as usize].clone()],
                ..numbers(Vec::new())
            },
            "Gather" => {
                let width = of(0).last;
                let rows = of(1).numbers.iter().map(|&i| i as usize * width);
                let all = rows.flat_map(|i| of(0).numbers[i..i + width].to_vec());
                Value {
                    numbers: all.collect(),
                    texts: Vec::new(),
                    last: width,
                }
            }
            "ReduceSum" => {
                let mut sums = vec![0.0; of(0).last];
                for row in of(0).numbers.chunks(of(0).last) {
                    sums.iter_mut().zip(row).for_each(|(s, x)| *s += x);
                }
                numbers(sums)
            }
            "MatMul" => {
                let width = of(1).last;
                let mut sums = vec![0.0; width];
                for (x, row) in of(0).numbers.iter().zip(of(1).numbers.chunks(width)) {
                    sums.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
                }
                numbers(sums)
            }
            "LabelEncoder" => {
                let (found, values, default) = if has(node, "keys_strings") {
                    let keys = &attribute(node, "keys_strings").strings;
                    let found = keys.iter().position(|k| *k == of(0).texts[0].as_bytes());
                    let values = &attribute(node, "values_int64s").ints;
                    let values: Vec<f64> = values.iter().map(|v| *v as f64).collect();
                    let default = attribute(node, "default_int64").i.unwrap() as f64;
                    (found, values, default)
                } else {
                    let keys = attribute_numbers(node, "keys_tensor");
                    let found = keys.iter().position(|k| *k == of(0).numbers[0]);
                    let values = attribute_numbers(node, "values_tensor");
                    (found, values, attribute_numbers(node, "default_tensor")[0])
                };
                numbers(vec![found.map_or(default, |i| values[i])])
            }
            "TreeEnsemble" => numbers(trees(node, &of(0).numbers)),
            other => panic!("{other}"),
        };
        values.insert(node.output[0].clone(), made);
    }
    values
}

fn trees(node: &NodeProto, row: &[f64]) -> Vec<f64> {
    let ints = |name: &str| &attribute(node, name).ints;
    let splits = attribute_numbers(node, "nodes_splits");
    let modes = attribute_numbers(node, "nodes_modes");
    let weights = attribute_numbers(node, "leaf_weights");
    let mut sets: Vec<Vec<f64>> = vec![Vec::new()];
    if has(node, "membership_values") {
        for number in attribute_numbers(node, "membership_values") {
            if number.is_nan() {
                sets.push(Vec::new());
            } else {
                sets.last_mut().unwrap().push(number);
            }
        }
    }
    let mut sums = vec![0.0; attribute(node, "n_targets").i.unwrap() as usize];
    for &root in ints("tree_roots") {
        let mut at = root as usize;
        loop {
            let x = row[ints("nodes_featureids")[at] as usize];
            let holds = if x.is_nan() {
                ints("nodes_missing_value_tracks_true")[at] == 1
            } else if modes[at] == 6.0 {
                let set = modes[..at].iter().filter(|m| **m == 6.0).count();
                sets[set].contains(&x)
            } else {
                assert_eq!(modes[at], 0.0);
                x <= splits[at]
            };
            let (to, leaf) = if holds {
                ("nodes_truenodeids", "nodes_trueleafs")
            } else {
                ("nodes_falsenodeids", "nodes_falseleafs")
            };
            let is_leaf = ints(leaf)[at] == 1;
            at = ints(to)[at] as usize;
            if is_leaf {
                sums[ints("leaf_targetids")[at] as usize] += weights[at];
                break;
            }
        }
    }
    sums
}

/// Compares a pipeline with what it exports, on rows of numbers or level codes, one per column of the schema.
fn agrees(pipeline: &Pipeline, rows: &[Vec<f64>]) {
    let bytes = export(pipeline).unwrap();
    assert_eq!(bytes, export(pipeline).unwrap());
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    assert_eq!(model.encode_to_vec(), bytes);
    let graph = model.graph.as_ref().unwrap();
    let schema = &pipeline.transform.schema;
    for row in rows {
        let mut inputs = BTreeMap::new();
        for input in &graph.input {
            let column = schema.position(&input.name).unwrap();
            let (field, x) = (&schema.fields[column], row[column]);
            let level = field.levels.get(x as usize).filter(|_| !x.is_nan());
            let kind = input.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
            let value = if kind.elem_type == DataType::String as i32 {
                Value {
                    texts: vec![level.map_or("unheard of", String::as_str).to_owned()],
                    ..numbers(Vec::new())
                }
            } else if field.levels.is_empty() {
                numbers(vec![x])
            } else {
                numbers(vec![level.map_or(f64::NAN, |l| l.parse().unwrap())])
            };
            inputs.insert(input.name.clone(), value);
        }
        let out = run(&model, &inputs);
        let mut ours = vec![0.0; pipeline.width()];
        pipeline.predict_row(row, &mut Vec::new(), &mut ours);
        let outputs: Vec<&Value> = graph.output.iter().map(|o| &out[&o.name]).collect();
        let theirs: Vec<f64> = match pipeline.card.task {
            Task::Regression => vec![outputs[0].numbers[0]],
            Task::Binary => vec![outputs[2].numbers[0]],
            Task::Multiclass => outputs[1..].iter().map(|o| o.numbers[0]).collect(),
        };
        // Models from XGBoost add in 32 bits.
        let tolerance = if pipeline.model.kind() == "xgboost" {
            1e-6
        } else {
            1e-13
        };
        for (a, b) in ours.iter().zip(&theirs) {
            let apart = (a - b).abs() / a.abs().max(1.0);
            assert!(apart <= tolerance, "{row:?}: {ours:?} and {theirs:?}");
        }
        // Where two classes tie up to rounding, the order of additions decides.
        let ties = |a: &f64| ours.iter().filter(|b| (*a - **b).abs() < 1e-13).count() > 1;
        if let Some(label) = pipeline.label(&ours)
            && !ours.iter().any(ties)
        {
            assert_eq!(outputs[0].texts, [label], "{row:?}");
        }
    }
}

/// Rows with every level, numbers around the thresholds, and missing values.
fn probes(schema: &Schema) -> Vec<Vec<f64>> {
    let cell = |field: &Field, i: usize| match i % 7 {
        0 => f64::NAN,
        _ if field.levels.is_empty() => [-2.0, 0.0, 0.3, 1.0, 3.0, 7.5, 300.0][i / 2 % 7],
        _ => (i / 3 % field.levels.len()) as f64,
    };
    let row = |i: usize| {
        let fields = schema.fields.iter().enumerate();
        fields.map(|(c, f)| cell(f, i * (2 * c + 1) + c)).collect()
    };
    (0..300).map(row).collect()
}

#[test]
fn imported_models_of_every_kind() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/imports");
    let names = [
        "lightgbm_binary.txt",
        "lightgbm_zero.txt",
        "lightgbm_multiclass.txt",
        "lightgbm_forest.txt",
        "xgboost2_binary.json",
        "xgboost2_multiclass.json",
        "xgboost2_dart.json",
        "xgboost3_binary.json",
    ];
    for name in names {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let pipeline = import::import(&bytes, None, &Options::default()).unwrap();
        agrees(&pipeline, &probes(&pipeline.transform.schema));
    }
}

/// A pipeline with every rule of encoding, fills, and a forest of three classes.
fn forest(task: Task) -> Pipeline {
    let field = |name: &str, levels: &[&str]| Field {
        name: name.to_owned(),
        kind: if levels.is_empty() {
            Kind::Numeric
        } else {
            Kind::Categorical
        },
        levels: levels.iter().map(|&l| l.to_owned()).collect(),
    };
    let schema = Schema {
        fields: vec![
            field("label", &[]),
            field("p_c0", &["x", "y", "z"]),
            field("code", &["0", "1"]),
            field("size", &["L", "M", "S"]),
            field("free", &[]),
        ],
        missing: Vec::new(),
    };
    let rules = vec![
        Encode::Number { column: 0 },
        Encode::Indicator {
            column: 1,
            level: 0,
        },
        Encode::Indicator {
            column: 1,
            level: 2,
        },
        Encode::Mapped {
            column: 2,
            numbers: vec![0.0, 1.0],
        },
        Encode::Level {
            column: 3,
            levels: 3,
        },
        Encode::Mapped {
            column: 3,
            numbers: vec![0.5, f64::NAN],
        },
        Encode::NonZero { column: 4 },
    ];
    let encoder = Encoder {
        names: (0..rules.len()).map(|i| format!("f{i}")).collect(),
        rules,
    };
    let nan = f64::NAN;
    let fills = [1.0, nan, nan, 0.0, nan, 0.25, nan];
    let width = if task == Task::Multiclass { 3 } else { 1 };
    let mut trees = Vec::new();
    for t in 0..40_usize {
        let mut tree = Tree::new(width);
        let mut open = vec![(0, 0)];
        while let Some((node, depth)) = open.pop() {
            let values: Vec<f64> = (0..width)
                .map(|c| ((t + node * 3 + c) % 10) as f64 / 9.0)
                .collect();
            // The first tree is a leaf.
            if depth == 3 || t == 0 {
                tree.set_leaf(node, &values);
                continue;
            }
            let feature = (t + node + depth) % 7;
            let split = if feature == 4 {
                Split::In([[2, 0, 0, 0], [5, 0, 0, 0], [0; 4], [7, 0, 0, 0]][(t + node) % 4])
            } else {
                Split::AtMost {
                    code: 0,
                    threshold: [0.0, 0.25, 0.5, 1.0][(t + node) % 4],
                }
            };
            let left = tree.split(node, feature as u16, split, (t + node) % 2 == 0);
            open.extend([(left, depth + 1), (left + 1, depth + 1)]);
        }
        trees.push(tree);
    }
    Pipeline {
        card: Card {
            task,
            target: "t".to_owned(),
            classes: (0..3 - usize::from(task == Task::Binary))
                .map(|c| format!("c{c}"))
                .collect(),
            threshold: 0.45,
            dataset: "made".to_owned(),
            dataset_sha256: "0".repeat(64),
        },
        transform: Transform::new(schema, encoder, &fills),
        model: Box::new(TreeModel::imported(
            "random_forest",
            false,
            Link::Mean,
            vec![0.0; width],
            trees,
            vec![1.0; 7],
        )),
    }
}

#[test]
fn every_rule_of_encoding_and_trees_of_several_numbers() {
    for task in [Task::Binary, Task::Multiclass] {
        let pipeline = forest(task);
        agrees(&pipeline, &probes(&pipeline.transform.schema));
    }
}

#[test]
fn inputs_and_outputs_are_one_value_per_row_with_names_of_their_own() {
    let model = ModelProto::decode(export(&forest(Task::Binary)).unwrap().as_slice()).unwrap();
    let graph = model.graph.unwrap();
    let shown = |values: &[proto::ValueInfoProto]| {
        let one = |v: &proto::ValueInfoProto| {
            let kind = v.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
            let dims = &kind.shape.as_ref().unwrap().dim;
            assert_eq!(
                dims.iter()
                    .map(|d| d.dim_param.as_str())
                    .collect::<Vec<_>>(),
                ["N"]
            );
            format!("{}: {:?}", v.name, kind.elem_type())
        };
        values.iter().map(one).collect::<Vec<_>>()
    };
    let inputs = [
        "label: Double",
        "p_c0: String",
        "code: Double",
        "size: String",
        "free: Double",
    ];
    assert_eq!(shown(&graph.input), inputs);
    // A column has the usual name already.
    assert_eq!(
        shown(&graph.output),
        ["label_: String", "p_c0_: Double", "p_c1: Double"]
    );
    let props = model
        .metadata_props
        .iter()
        .map(|p| (p.key.as_str(), p.value.as_str()));
    let props: BTreeMap<&str, &str> = props.collect();
    assert_eq!(props["automl.threshold"], "0.45");
    assert_eq!(props["automl.classes"], r#"["c0","c1"]"#);
    assert_eq!(props["automl.dataset_sha256"], "0".repeat(64));
}

#[test]
fn what_cannot_be_exported_is_named() {
    let mut pipeline = forest(Task::Binary);
    pipeline.transform.encoder.rules[0] = Encode::Indicator {
        column: 0,
        level: 1,
    };
    let error = export(&pipeline).unwrap_err();
    assert_eq!(
        error,
        OnnxError::Rule {
            feature: "f0".to_owned()
        }
    );
    let mut pipeline = forest(Task::Binary);
    pipeline.transform.encoder.rules[4] = Encode::Indicator {
        column: 3,
        level: 1,
    };
    assert_eq!(
        export(&pipeline).unwrap_err(),
        OnnxError::Mixed { feature: 4 }
    );
}
