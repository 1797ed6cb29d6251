//! Tables: typed columns in memory, and the schema that describes them and outlives them in a model file.

use serde::{Deserialize, Serialize};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Real numbers; missing is NaN.
    Numeric,
    /// Two levels, as in Yes/No, true/false, 0/1.
    Boolean,
    /// A few levels without order.
    Categorical,
    /// Free text or an identifier; not a feature.
    Text,
}

/// One column's name, kind and levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Name in the header.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The levels of a boolean or categorical column in byte order; a cell's code is the index. Else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<String>,
}

/// The columns of a table in file order, and how their cells were read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// One per column.
    pub fields: Vec<Field>,
    /// Cell texts that mean a missing value, besides blank cells; a new file is read as the first one was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Schema {
    /// The position of the column `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }
}

/// The cells of one column as `f64`: a number, or the code of a level; NaN is missing. Text columns hold NaN only,
/// since they are no feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the columns are.
    pub schema: Schema,
    /// One vector per column, each as long as the table.
    pub columns: Vec<Vec<f64>>,
    /// Number of rows.
    pub rows: usize,
}

/// What is to be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Two classes, one of them positive.
    Binary,
    /// Three classes or more.
    Multiclass,
    /// A real number.
    Regression,
}

/// The column to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name in the header.
    pub name: String,
    /// What kind of prediction it asks for.
    pub task: Task,
    /// Class labels; for [`Task::Binary`] the negative one, then the positive one; empty for regression.
    pub classes: Vec<String>,
    /// One per row: the class index or the number. Never NaN.
    pub values: Vec<f64>,
}

/// A table of features with its target and where it came from.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// As in `telco`, `telco-synthetic` or the file's stem.
    pub name: String,
    /// sha256 of the bytes that were read, 64 hexadecimal digits.
    pub sha256: String,
    /// The features: text and dropped columns are not in it.
    pub table: Table,
    /// What to predict.
    pub target: Target,
    /// How much each row counts, a finite number of at least 0 and not all 0; none means the same for all.
    pub weights: Option<Vec<f64>>,
    /// Columns of the file that are no features, in file order, each with the reason in words; without the target.
    pub left_out: Vec<(String, String)>,
}
