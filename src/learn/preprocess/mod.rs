//! From table columns to features: numbers, indicators or native categories.
//!
//! A [`Preprocess`] is what the user writes. With a schema it becomes an [`Encoder`], which turns a row of the table
//! into a row of features and knows nothing of other rows. What has to be fitted, the [`fills`](fit_fills) of missing
//! values, is fitted on training rows only and is applied through codes, so the shared matrix is never copied. A level
//! that is absent from the training rows of a fold gives a feature that is constant there, which no learner uses.

mod encode;
mod fills;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use encode::{Encode, Encoder, ZERO};
pub use fills::{Transform, fit_fills};

/// What stands in for a missing number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Nothing: trees send missing values to the better side of each split.
    #[default]
    Native,
    /// The median of the training rows.
    Median,
    /// The mean of the training rows.
    Mean,
    /// Zero.
    Zero,
}

/// How columns with three or more levels become features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Categories {
    /// One feature whose levels have no order; only trees can use it.
    #[default]
    Native,
    /// One 0/1 feature per level.
    OneHot,
}

/// How columns become features. A column takes the first rule that fits: named in `one_hot` or `native`, all levels
/// have a number in `levels`, two levels (0 and 1), the default of `categories`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// What stands in for a missing number.
    pub missing: Missing,
    /// Columns with three or more levels that no other rule names.
    pub categories: Categories,
    /// Numbers for levels: a column whose levels are all listed becomes that number.
    pub levels: BTreeMap<String, f64>,
    /// Columns that become one 0/1 feature per level.
    pub one_hot: Vec<String>,
    /// Columns that stay categories.
    pub native: Vec<String>,
    /// Leave out the indicator of each column's first level, which the others imply.
    pub drop_first: bool,
}

/// A named way of preprocessing.
pub struct Preset {
    /// The name to write in an experiment file.
    pub name: &'static str,
    /// One line for help.
    pub summary: &'static str,
    /// The rules themselves.
    pub build: fn() -> Preprocess,
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "native",
        summary: "trees take categories and missing values as they are",
        build: Preprocess::default,
    },
    Preset {
        name: "one_hot",
        summary: "a 0/1 feature per level, missing numbers become the median",
        build: || Preprocess {
            missing: Missing::Median,
            categories: Categories::OneHot,
            ..Preprocess::default()
        },
    },
    Preset {
        name: "telco",
        summary: "the usual recipe for the Telco churn data: Yes/No to 1/0, four columns one-hot, median",
        build: telco,
    },
];

fn telco() -> Preprocess {
    let numbers = [
        ("Yes", 1.0),
        ("No", 0.0),
        ("No internet service", 0.0),
        ("No phone service", 0.0),
    ];
    let hot = ["gender", "InternetService", "Contract", "PaymentMethod"];
    Preprocess {
        missing: Missing::Median,
        categories: Categories::OneHot,
        levels: numbers
            .map(|(level, number)| (level.to_owned(), number))
            .into(),
        one_hot: hot.map(str::to_owned).into(),
        native: Vec::new(),
        drop_first: true,
    }
}

/// What is wrong with a preprocessing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// A rule names a column that the data does not have, or that is no category.
    #[error("`{rule}` names `{column}`, {what}")]
    Column {
        /// The key that names it.
        rule: &'static str,
        /// The column.
        column: String,
        /// Why not, and which columns there are.
        what: String,
    },
    /// More levels than a code can tell apart.
    #[error(
        "column `{column}` has {levels} levels, more than the 254 that can be told apart; drop it or put it under `one_hot`"
    )]
    Levels {
        /// The column.
        column: String,
        /// How many it has.
        levels: usize,
    },
    /// No feature is left.
    #[error("no feature is left to learn from")]
    NoFeatures,
}
