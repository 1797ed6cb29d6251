//! Writes a pipeline as an ONNX model that needs nothing else: encoding, fills, trees or coefficients, link, labels.
//!
//! **Contract.** For the same cells the exported model gives the pipeline's probabilities up to the last bits of `exp`
//! and of sums, and its labels unless those bits decide between two classes. (XGBoost's models add in 32 bits, their exports
//! in 64.) Inputs are one value per row, `[N]`, for every column that a feature reads: 64-bit
//! floats, NaN for missing, for numbers and for levels that are all numbers; texts for other levels, where each text that
//! is no level counts as missing. Outputs are one value per row as well, since several tools flatten them: `label` and
//! `p_<class>` for each class, or `prediction` for a number. Computation is in 64-bit floats throughout, because a value
//! beside a threshold could otherwise take the wrong way. The same pipeline gives the same bytes.
//!
//! The operators are those of opset 21 and ai.onnx.ml 5 (ONNX 1.16, ONNX Runtime 1.19 and later).

mod encode;
mod ensemble;
mod graph;
mod linear;
pub mod proto;

use prost::Message as _;

use crate::data::table::{Kind, Task};

use super::pipeline::Pipeline;
use super::preprocess::Encode;
use super::tree::view::{Ensemble, Link, NodeView, Test};
use graph::{Graph, ML};
use proto::{DataType, ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// The version of the file format itself.
const IR_VERSION: i64 = 10;
/// The version of the standard operators.
const OPSET: i64 = 21;
/// The version of the operators for trees and labels.
const ML_OPSET: i64 = 5;

/// Why a pipeline cannot be exported.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A kind of model that has no form in ONNX here.
    #[error(
        "a `{kind}` model cannot be exported to ONNX; `random_forest`, `gbt`, `logistic` and imported models can"
    )]
    Model {
        /// The model's kind.
        kind: String,
    },
    /// An encoding rule that does not go with the kind of its column, as no release of this program writes.
    #[error("feature `{feature}` is encoded in a way that cannot be exported to ONNX")]
    Rule {
        /// The feature's name.
        feature: String,
    },
    /// A feature that trees read both as a number and as a set of levels.
    #[error(
        "feature {feature} is both a number and a level to the trees, which cannot be exported to ONNX"
    )]
    Mixed {
        /// Position of the feature.
        feature: usize,
    },
}

/// How the model reads a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    /// As a number.
    Number,
    /// As one of so many levels, in sets only: the matrix counts them from [`encode::LEVELS_FROM`].
    Levels(usize),
    /// As one of so many levels, in sets and in comparisons: the matrix counts them from 0.
    Codes(usize),
}

/// The bytes of the ONNX model.
///
/// # Errors
/// [`OnnxError`] when the model or a rule of its encoding cannot be expressed.
pub fn export(pipeline: &Pipeline) -> Result<Vec<u8>, OnnxError> {
    let transform = &pipeline.transform;
    let columns = encode::read_columns(transform);
    let fields = columns.iter().map(|&c| &transform.schema.fields[c]);
    let inputs: Vec<String> = fields.clone().map(|f| f.name.clone()).collect();
    let outputs = Outputs::new(pipeline, &inputs);
    let mut graph = Graph::new("automl", inputs.iter().cloned().chain(outputs.names()));
    for field in fields {
        let doc = match field.kind {
            Kind::Numeric => "a number, NaN for missing".to_owned(),
            _ => format!(
                "one of: {}; anything else counts as missing",
                field.levels.join(", ")
            ),
        };
        graph.input(&field.name, encode::holds(field), &doc);
    }
    let ensemble = pipeline.model.ensemble();
    let uses = match &ensemble {
        Some(ensemble) => uses(pipeline, ensemble)?,
        None => vec![Use::Number; transform.width()],
    };
    let linear = pipeline.model.linear();
    let predictions = if let Some(ensemble) = ensemble {
        let matrix = encode::matrix(&mut graph, transform, &uses)?;
        let sums = ensemble::sums(&mut graph, &ensemble, &matrix, &uses)?;
        let trees = ensemble.trees.len().max(1) as f64;
        link(&mut graph, ensemble.link, trees, sums)
    } else if let Some(linear) = linear {
        let matrix = encode::matrix(&mut graph, transform, &uses)?;
        let sums = linear::sums(&mut graph, &linear, &matrix);
        link(&mut graph, linear.link, 1.0, sums)
    } else {
        return Err(OnnxError::Model {
            kind: pipeline.model.kind().to_owned(),
        });
    };
    outputs.write(&mut graph, pipeline, &predictions);

    let set = |domain: &str, version| OperatorSetIdProto {
        domain: domain.to_owned(),
        version,
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "automl".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: format!(
            "{} for `{}`, with its preprocessing",
            pipeline.model.kind(),
            pipeline.card.target
        ),
        graph: Some(graph.finish()),
        opset_import: vec![set("", OPSET), set(ML, ML_OPSET)],
        metadata_props: metadata(pipeline),
    };
    Ok(model.encode_to_vec())
}

/// How the trees read each feature.
fn uses(pipeline: &Pipeline, ensemble: &Ensemble<'_>) -> Result<Vec<Use>, OnnxError> {
    let transform = &pipeline.transform;
    let mut compared = vec![false; transform.width()];
    let mut in_sets = vec![false; transform.width()];
    for tree in ensemble.trees {
        for at in 0..tree.len() {
            if let NodeView::Inner { feature, test, .. } = tree.node(at) {
                match test {
                    Test::AtMost(_) => compared[feature] = true,
                    Test::In(_) => in_sets[feature] = true,
                }
            }
        }
    }
    let of = |feature: usize| {
        let rule = &transform.encoder.rules[feature];
        let field = &transform.schema.fields[rule.column()];
        // A set can hold codes below 255, and a code is what the rule gives of the column.
        let codes = match rule {
            Encode::Level { .. } => field.levels.len().min(255),
            Encode::Number { .. } if field.kind == Kind::Numeric => 255,
            _ => 0,
        };
        match (compared[feature], in_sets[feature]) {
            (_, false) => Ok(Use::Number),
            (false, true) if codes > 0 => Ok(Use::Levels(codes)),
            (true, true) if codes > 0 && field.kind != Kind::Numeric => Ok(Use::Codes(codes)),
            _ => Err(OnnxError::Mixed { feature }),
        }
    };
    (0..transform.width()).map(of).collect()
}

/// From sums to predictions.
fn link(graph: &mut Graph, link: Link, trees: f64, sums: String) -> String {
    match link {
        Link::Mean => {
            let trees = graph.doubles(&[], &[trees]);
            graph.op("", "Div", &[&sums, &trees], Vec::new())
        }
        Link::Identity => sums,
        Link::Logistic => graph.op("", "Sigmoid", &[&sums], Vec::new()),
        Link::Exp => graph.op("", "Exp", &[&sums], Vec::new()),
        Link::Softmax => graph.op("", "Softmax", &[&sums], vec![graph::int("axis", 1)]),
    }
}

/// The names of the outputs.
struct Outputs {
    /// The class of each row; for a regression, its number.
    first: String,
    /// One per class; none for a regression.
    probabilities: Vec<String>,
}

impl Outputs {
    /// Names that no input has: an underscore is added where one does.
    fn new(pipeline: &Pipeline, inputs: &[String]) -> Self {
        let mut taken: Vec<String> = inputs.to_vec();
        let mut free = |mut name: String| {
            while taken.contains(&name) {
                name.push('_');
            }
            taken.push(name.clone());
            name
        };
        let first = match pipeline.card.task {
            Task::Regression => "prediction",
            Task::Binary | Task::Multiclass => "label",
        };
        let first = free(first.to_owned());
        let classes = pipeline.card.classes.iter();
        Outputs {
            first,
            probabilities: classes.map(|c| free(format!("p_{c}"))).collect(),
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        std::iter::once(&self.first)
            .chain(&self.probabilities)
            .cloned()
    }

    /// From predictions, rows by outputs, to the outputs of the graph.
    fn write(&self, graph: &mut Graph, pipeline: &Pipeline, predictions: &str) {
        let card = &pipeline.card;
        let class = match card.task {
            Task::Regression => {
                let axis = graph.ints(&[1], &[1]);
                graph.op_to(
                    "",
                    "Squeeze",
                    &[predictions, &axis],
                    Vec::new(),
                    &self.first,
                );
                graph.output(&self.first, DataType::Double, &card.target);
                return;
            }
            Task::Binary => {
                let axis = graph.ints(&[1], &[1]);
                let positive = &self.probabilities[1];
                graph.op_to("", "Squeeze", &[predictions, &axis], Vec::new(), positive);
                let one = graph.doubles(&[], &[1.0]);
                let negative = &self.probabilities[0];
                graph.op_to("", "Sub", &[&one, positive], Vec::new(), negative);
                let threshold = graph.doubles(&[], &[card.threshold]);
                let above = graph.op("", "GreaterOrEqual", &[positive, &threshold], Vec::new());
                let to = vec![graph::int("to", DataType::Int64 as i64)];
                graph.op("", "Cast", &[&above], to)
            }
            Task::Multiclass => {
                for (class, name) in self.probabilities.iter().enumerate() {
                    let class = graph.ints(&[], &[class as i64]);
                    let axis = vec![graph::int("axis", 1)];
                    graph.op_to("", "Gather", &[predictions, &class], axis, name);
                }
                // The first of equal ones, as everywhere.
                let attributes = vec![graph::int("axis", 1), graph::int("keepdims", 0)];
                graph.op("", "ArgMax", &[predictions], attributes)
            }
        };
        let classes = graph.texts(&card.classes);
        graph.op_to(
            "",
            "Gather",
            &[&classes, &class],
            vec![graph::int("axis", 0)],
            &self.first,
        );
        graph.output(
            &self.first,
            DataType::String,
            &format!("class of `{}`", card.target),
        );
        for (name, class) in self.probabilities.iter().zip(&card.classes) {
            graph.output(name, DataType::Double, &format!("probability of `{class}`"));
        }
    }
}

/// What a reader may want to know besides the computation.
fn metadata(pipeline: &Pipeline) -> Vec<StringStringEntryProto> {
    let card = &pipeline.card;
    let mut entries = vec![
        ("automl.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("automl.kind", pipeline.model.kind().to_owned()),
        ("automl.task", format!("{:?}", card.task).to_lowercase()),
        ("automl.target", card.target.clone()),
        ("automl.dataset", card.dataset.clone()),
        ("automl.dataset_sha256", card.dataset_sha256.clone()),
    ];
    if card.task != Task::Regression {
        let classes = serde_json::Value::from(card.classes.clone());
        entries.push(("automl.classes", classes.to_string()));
    }
    if card.task == Task::Binary {
        entries.push(("automl.threshold", card.threshold.to_string()));
    }
    let entry = |(key, value): (&str, String)| StringStringEntryProto {
        key: key.to_owned(),
        value,
    };
    entries.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
