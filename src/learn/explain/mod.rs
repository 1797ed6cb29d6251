//! Explanation: what a prediction rests on, and what a model rests on as a whole.
//!
//! | question | answer | paper or reference |
//! |---|---|---|
//! | why this prediction? | [`shap()`]: exact SHAP values of tree ensembles | Lundberg et al. 2020, Algorithm 2; the Python package `shap` |
//! | what does the score rest on? | [`permutation()`]: how much worse it gets when a column is shuffled | Breiman 2001; scikit-learn |
//! | what did training use? | [`gain`]: share of the total gain of all splits | Breiman et al. 1984 |
//! | how does a column act? | [`dependence()`]: mean prediction as the column changes | Friedman 2001; scikit-learn |
//!
//! **Contract.** Everything is told by column of the data, as its reader knows it: the values of the features that a column
//! was encoded into are added up. Rows are as [`crate::data::rows::RowReader`] gives them: one number per column of the
//! schema, NaN for missing. Results do not depend on the number of threads.

mod dependence;
mod effect;
mod permutation;
pub mod picture;
mod quadrature;
mod shap;
#[cfg(test)]
mod tests;

pub use dependence::{Dependence, Place, dependence};
pub use effect::{Direction, Effect, effects};
pub use permutation::{Importance, Truth, permutation};
pub use shap::{Shap, tree_shap};

use rayon::prelude::*;

use super::metric::MetricError;
use super::pipeline::Pipeline;
use super::preprocess::{Encode, Transform};
use super::tree::view::Link;
use crate::data::table::Task;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The model is not made of trees whose SHAP values are known.
    #[error(
        "SHAP values are for tree ensembles (random_forest, gbt), and this model is a `{kind}`; use the method `permutation`"
    )]
    NoTrees {
        /// The learner's name.
        kind: &'static str,
    },
    /// The model file does not say how much training data reached each leaf.
    #[error(
        "the model file has no covers (how many training rows reached each leaf), which SHAP values need; \
         fit the model again with this release, or use the method `permutation`"
    )]
    NoCovers,
    /// The model keeps no gains.
    #[error("a `{kind}` keeps no gains; use the method `permutation`")]
    NoGain {
        /// The learner's name.
        kind: &'static str,
    },
    /// No rows.
    #[error("there are no rows to explain")]
    NoRows,
    /// No such column.
    #[error("the model does not use a column `{column}`; it uses {known}")]
    Column {
        /// What was asked for.
        column: String,
        /// All columns, separated by commas.
        known: String,
    },
    /// The metric has no value for these rows.
    #[error(transparent)]
    Metric(#[from] MetricError),
}

/// What SHAP values of an output are measured in.
pub fn unit(pipeline: &Pipeline, output: usize) -> String {
    let card = &pipeline.card;
    let link = pipeline.model.ensemble().map(|e| e.link);
    let class = match card.task {
        Task::Regression => return card.target.clone(),
        Task::Binary => &card.classes[1],
        Task::Multiclass => &card.classes[output],
    };
    let what = match link {
        Some(Link::Logistic) => "log odds of",
        Some(Link::Softmax) => "score (before softmax) of",
        _ => "probability of",
    };
    format!("{what} {} = {class}", card.target)
}

/// A cell as its reader knows it: a number, a level, or `missing`.
pub fn cell_text(pipeline: &Pipeline, column: usize, value: f64) -> String {
    let field = &pipeline.transform.schema.fields[column];
    if value.is_nan() {
        "missing".to_owned()
    } else {
        let level = field.levels.get(value as usize).cloned();
        level.unwrap_or_else(|| value.to_string())
    }
}

/// The column of the schema that each feature is made of.
pub fn column_of_features(transform: &Transform) -> Vec<usize> {
    let column = |rule: &Encode| match rule {
        Encode::Number { column }
        | Encode::Mapped { column, .. }
        | Encode::Indicator { column, .. }
        | Encode::Level { column, .. } => *column,
    };
    transform.encoder.rules.iter().map(column).collect()
}

/// The exact SHAP values of rows (row-major, one number per column of the schema), by column of the schema. See
/// [`Shap`] for what they add up to; log odds for boosting of two classes.
///
/// # Errors
/// [`ExplainError::NoRows`], [`ExplainError::NoTrees`], [`ExplainError::NoCovers`].
pub fn shap(pipeline: &Pipeline, rows: &[f64]) -> Result<Shap, ExplainError> {
    let columns = pipeline.transform.schema.fields.len();
    if rows.is_empty() {
        return Err(ExplainError::NoRows);
    }
    let ensemble = pipeline.model.ensemble().ok_or(ExplainError::NoTrees {
        kind: pipeline.model.kind(),
    })?;
    let encoded = encode(pipeline, rows);
    let by_feature = tree_shap(&ensemble, &encoded)?;
    Ok(by_feature.grouped(&column_of_features(&pipeline.transform), columns))
}

/// The features of rows, row-major.
fn encode(pipeline: &Pipeline, rows: &[f64]) -> Vec<f64> {
    let width = pipeline.transform.width();
    let columns = pipeline.transform.schema.fields.len();
    let mut encoded = vec![0.0; rows.len() / columns * width];
    encoded
        .par_chunks_mut(width)
        .zip(rows.par_chunks(columns))
        .for_each(|(out, row)| pipeline.transform.apply(row, out));
    encoded
}

/// The share of the total gain by column of the schema, summing to 1 (or all 0).
///
/// # Errors
/// [`ExplainError::NoGain`] when the model keeps none.
pub fn gain(pipeline: &Pipeline) -> Result<Vec<f64>, ExplainError> {
    let gains = pipeline.model.importance().ok_or(ExplainError::NoGain {
        kind: pipeline.model.kind(),
    })?;
    let mut by_column = vec![0.0; pipeline.transform.schema.fields.len()];
    for (column, gain) in column_of_features(&pipeline.transform)
        .into_iter()
        .zip(gains)
    {
        by_column[column] += gain;
    }
    Ok(by_column)
}

/// Predictions of rows, `rows × width`.
pub fn predict(pipeline: &Pipeline, rows: &[f64]) -> Vec<f64> {
    let columns = pipeline.transform.schema.fields.len();
    let mut out = vec![0.0; rows.len() / columns * pipeline.width()];
    out.par_chunks_mut(pipeline.width())
        .zip(rows.par_chunks(columns))
        .for_each_init(Vec::new, |features, (out, row)| {
            pipeline.predict_row(row, features, out);
        });
    out
}
