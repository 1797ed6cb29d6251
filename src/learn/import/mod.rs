//! Models of other programs as pipelines of ours: LightGBM's text files and XGBoost's JSON files.
//!
//! **Contract.** For the same cells an imported pipeline gives the program's own prediction: exactly the same leaves, and
//! same sums (those of XGBoost in 32 bits), up to the last bits of `exp`. The columns are the features by name, in the order of the
//! file. Afterwards nothing distinguishes the pipeline from one that was fitted here: it is saved, predicts, is
//! registered, explained (leaves keep their cover) and exported alike. What cannot be expressed is refused by name.
//!
//! The formats are those of LightGBM `src/io/gbdt_model_text.cpp` and `tree.cpp` (versions 3 and 4), and of XGBoost
//! `doc/model.schema` (1.6 to 3).

mod lightgbm;
mod trees;
mod xgboost;

use std::collections::BTreeMap;
use std::fmt;

use crate::data::table::{Field, Kind, Schema, Task};

use super::learner::{LearnError, Model};
use super::model::TreeModel;
use super::pipeline::{Card, Pipeline};
use super::preprocess::{Encode, Encoder, Transform};
use super::tree::nodes::Tree;
use super::tree::view::Link;

/// The kinds of imported models in a model file, with what reads them.
pub const KINDS: &[(Program, Load)] = &[
    (Program::Lightgbm, |text| load(Program::Lightgbm, text)),
    (Program::Xgboost, |text| load(Program::Xgboost, text)),
];

/// What reads the saved form of a model.
pub type Load = fn(&str) -> Result<Box<dyn Model>, LearnError>;

fn load(program: Program, text: &str) -> Result<Box<dyn Model>, LearnError> {
    Ok(Box::new(TreeModel::load(program.kind(), text)?))
}

/// A program whose models can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// LightGBM, `Booster.save_model("model.txt")`.
    Lightgbm,
    /// XGBoost, `Booster.save_model("model.json")`.
    Xgboost,
}

impl Program {
    /// The kind of its models in a model file.
    pub fn kind(self) -> &'static str {
        match self {
            Program::Lightgbm => "lightgbm",
            Program::Xgboost => "xgboost",
        }
    }

    /// The program that wrote these bytes, as far as their beginning tells.
    pub fn of(bytes: &[u8]) -> Option<Program> {
        let text = bytes.trim_ascii_start();
        if text.starts_with(b"tree") {
            Some(Program::Lightgbm)
        } else if text.starts_with(b"{") {
            Some(Program::Xgboost)
        } else {
            None
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::Lightgbm => "LightGBM",
            Program::Xgboost => "XGBoost",
        })
    }
}

/// What the file of a model does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Name of the column that it predicts; `target` without one.
    pub target: Option<String>,
    /// Names of the classes in the order of their numbers; `0`, `1`, … without them.
    pub classes: Vec<String>,
    /// For two classes, the probability from which a row is positive; 0.5 without one.
    pub threshold: Option<f64>,
    /// The names of the levels of columns, in the order of the codes that the program used.
    pub levels: BTreeMap<String, Vec<String>>,
}

/// Why a model could not be imported.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not a file of a program that is known.
    #[error(
        "it is neither a LightGBM text model (`booster.save_model(\"model.txt\")`) nor an XGBoost JSON model (`booster.save_model(\"model.json\")`)"
    )]
    Unknown,
    /// XGBoost's binary formats.
    #[error(
        "it is an XGBoost model in a binary format; save it as JSON with `booster.save_model(\"model.json\")`"
    )]
    Binary,
    /// Not what the program writes.
    #[error("it is no whole {program} model: {what}")]
    Damaged {
        /// The program.
        program: Program,
        /// What is wrong, with its place.
        what: String,
    },
    /// What a pipeline of ours cannot do.
    #[error("this {program} model cannot be imported: {what}")]
    Unsupported {
        /// The program.
        program: Program,
        /// What it has that cannot be expressed.
        what: String,
    },
    /// The options do not go with the model.
    #[error("{what}")]
    Options {
        /// What does not fit.
        what: String,
    },
}

/// A file that has been read.
struct Parsed {
    program: Program,
    /// As in `LightGBM v4, binary`.
    origin: String,
    task: Task,
    link: Link,
    base: Vec<f64>,
    columns: Vec<Column>,
    trees: Vec<Tree>,
    /// Gains by feature.
    gains: Vec<f64>,
}

/// A feature of the model as a column.
struct Column {
    name: String,
    reads: Reads,
}

/// How a column is read.
enum Reads {
    Number,
    /// As a number, where 0 counts as missing.
    NonZero,
    /// As levels, in byte order.
    Levels(Vec<String>),
}

/// Reads a model. Without a program its kind is told from its first bytes.
///
/// # Errors
/// [`ImportError`]: not such a model, damaged, or with something that cannot be expressed.
pub fn import(
    bytes: &[u8],
    program: Option<Program>,
    options: &Options,
) -> Result<Pipeline, ImportError> {
    // UBJSON begins with `{` as well, but then comes the type of a length.
    let binary = bytes.starts_with(b"binf") || bytes.starts_with(b"{L") || bytes.starts_with(b"{i");
    if binary && program != Some(Program::Lightgbm) {
        return Err(ImportError::Binary);
    }
    let parsed = match program.or(Program::of(bytes)) {
        None => return Err(ImportError::Unknown),
        Some(Program::Lightgbm) => lightgbm::parse(bytes, options)?,
        Some(Program::Xgboost) => xgboost::parse(bytes, options)?,
    };
    parsed.into_pipeline(options)
}

impl Parsed {
    fn into_pipeline(self, options: &Options) -> Result<Pipeline, ImportError> {
        let refuse = |what: String| Err(ImportError::Options { what });
        for (i, column) in self.columns.iter().enumerate() {
            if self.columns[..i].iter().any(|c| c.name == column.name) {
                return Err(ImportError::Damaged {
                    program: self.program,
                    what: format!("two features are named `{}`", column.name),
                });
            }
        }
        let known = |name: &String| self.columns.iter().any(|c| c.name == *name);
        if let Some(name) = options.levels.keys().find(|n| !known(n)) {
            return refuse(format!(
                "levels are given for `{name}`, which is no feature of the model"
            ));
        }
        let target = options.target.clone().unwrap_or("target".to_owned());
        if known(&target) {
            return refuse(format!(
                "the target cannot be `{target}`, which is a feature; name another"
            ));
        }
        // A probability is of two classes if classes are named.
        let mut task = self.task;
        if self.link == Link::Logistic && !options.classes.is_empty() {
            task = Task::Binary;
        }
        let count = match task {
            Task::Regression => 0,
            Task::Binary => 2,
            Task::Multiclass => self.base.len(),
        };
        let mut classes = options.classes.clone();
        if classes.is_empty() {
            classes = (0..count).map(|c| c.to_string()).collect();
        }
        if classes.len() != count {
            return refuse(format!(
                "{} classes are named and the model has {}",
                classes.len(),
                if count == 0 {
                    "none: it predicts a number".to_owned()
                } else {
                    count.to_string()
                }
            ));
        }
        if let Some(i) = (1..classes.len()).find(|&i| classes[..i].contains(&classes[i])) {
            return refuse(format!("class `{}` is named twice", classes[i]));
        }
        let threshold = options.threshold.unwrap_or(0.5);
        if !(0.0..=1.0).contains(&threshold) {
            return refuse(format!("the threshold {threshold} is not between 0 and 1"));
        }

        let mut schema = Schema::default();
        let mut encoder = Encoder {
            names: Vec::new(),
            rules: Vec::new(),
        };
        for (column, Column { name, reads }) in self.columns.into_iter().enumerate() {
            let (kind, levels, rule) = match reads {
                Reads::Number => (Kind::Numeric, Vec::new(), Encode::Number { column }),
                Reads::NonZero => (Kind::Numeric, Vec::new(), Encode::NonZero { column }),
                Reads::Levels(levels) => {
                    let count = levels.len();
                    let rule = Encode::Level {
                        column,
                        levels: count,
                    };
                    (Kind::Categorical, levels, rule)
                }
            };
            encoder.names.push(name.clone());
            encoder.rules.push(rule);
            schema.fields.push(Field { name, kind, levels });
        }
        let fills = vec![f64::NAN; encoder.rules.len()];
        let model = TreeModel::imported(
            self.program.kind(),
            self.program == Program::Xgboost,
            self.link,
            self.base,
            self.trees,
            self.gains,
        );
        Ok(Pipeline {
            card: Card {
                task,
                target,
                classes,
                threshold,
                dataset: format!("unknown (imported, {})", self.origin),
                dataset_sha256: String::new(),
            },
            transform: Transform::new(schema, encoder, &fills),
            model: Box::new(model),
        })
    }
}

#[cfg(test)]
mod tests;
