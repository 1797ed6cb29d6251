//! Learners of other libraries behind our traits: linfa's decision tree and logistic regression, smartcore's random
//! forest. They widen the table of learners and cross-check our own in tests.
//!
//! **Contract.** A library's types stay inside the file that adapts it, and so does its release: what was fitted is
//! copied into structures of ours, and those predict and are saved. A saved model therefore loads without the library and
//! does not change with it. These learners know no missing values and no unordered categories: a missing value that has
//! no fill is an error when fitting, and a category counts as the number of its level. Their fits cannot be interrupted: what
//! limits a fit is asked before it, with what it needs at most, and between the fits of several classes.

pub mod decision_tree;
pub mod logistic;
pub mod smartcore_forest;
mod trees;

use std::ops::RangeInclusive;

use crate::data::table::Task;

use super::features::FeatureKind;
use super::learner::{LearnError, TrainingSet};

/// The training rows as plain numbers.
struct Matrix {
    /// Training rows with a weight above 0.
    rows: usize,
    /// Number of features.
    columns: usize,
    /// Row-major, all finite.
    values: Vec<f64>,
    /// A class index or number per row.
    target: Vec<f64>,
    /// A weight per row with mean 1; none where all are the same.
    weights: Option<Vec<f64>>,
}

impl Matrix {
    /// Decodes the training rows. `linear` learners multiply by level codes, which means nothing beyond two levels.
    fn new(
        learner: &'static str,
        data: &TrainingSet<'_>,
        linear: bool,
    ) -> Result<Self, LearnError> {
        let fail = |what: String| Err(LearnError::Data { learner, what });
        let columns = data.features.len();
        if columns == 0 {
            return fail("there are no features".to_owned());
        }
        if linear {
            for column in &data.features.columns {
                if let FeatureKind::Categorical { levels } = column.kind
                    && levels > 2
                {
                    return fail(format!(
                        "feature `{}` has {levels} levels without an order; encode it as one indicator per level (one-hot)",
                        column.name
                    ));
                }
            }
        }
        let used: Vec<u32> = data
            .rows
            .iter()
            .copied()
            .filter(|&row| data.weight(row) > 0.0)
            .collect();
        if used.is_empty() {
            return fail("there are no training rows with a weight above 0".to_owned());
        }
        let mut values = vec![0.0; used.len() * columns];
        for (&row, place) in used.iter().zip(values.chunks_exact_mut(columns)) {
            data.features.decode_row(row, data.fills, place);
            if let Some(at) = place.iter().position(|v| !v.is_finite()) {
                let name = &data.features.columns[at].name;
                return fail(if place[at].is_nan() {
                    format!(
                        "feature `{name}` is missing in row {row} (from 0), and this learner takes no missing values; \
                         set `missing: median`"
                    )
                } else {
                    format!("feature `{name}` is infinite in row {row} (from 0)")
                });
            }
        }
        let first = data.weight(used[0]);
        let weights = used.iter().any(|&row| data.weight(row) != first).then(|| {
            let total: f64 = used.iter().map(|&row| data.weight(row)).sum();
            let scale = used.len() as f64 / total;
            used.iter().map(|&row| data.weight(row) * scale).collect()
        });
        Ok(Matrix {
            rows: used.len(),
            columns,
            target: used
                .iter()
                .map(|&row| data.target.values[row as usize])
                .collect(),
            values,
            weights,
        })
    }

    /// The bytes of one number for every row and feature of a training set.
    fn bytes(data: &TrainingSet<'_>) -> u64 {
        8 * data.rows.len() as u64 * data.features.len() as u64
    }

    fn weight(&self, row: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |w| w[row])
    }

    /// 1 where the row's class is `class`, else 0.
    fn one_vs_rest(&self, class: usize) -> Vec<f64> {
        let is = |t: &f64| f64::from(u8::from(*t as usize == class));
        self.target.iter().map(is).collect()
    }
}

/// What to predict, one column each: the positive class, every class against the rest, or the number itself.
fn target_columns(task: Task, classes: usize, matrix: &Matrix) -> Vec<Vec<f64>> {
    match task {
        Task::Binary => vec![matrix.one_vs_rest(1)],
        Task::Multiclass => (0..classes).map(|c| matrix.one_vs_rest(c)).collect(),
        Task::Regression => vec![matrix.target.clone()],
    }
}

/// A hyperparameter within its range, or an error with name, value and range.
fn within<T: PartialOrd + std::fmt::Display + Copy>(
    learner: &'static str,
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), LearnError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(LearnError::Params {
        learner,
        what: format!(
            "`{name}` is {value}, allowed is {} to {}",
            range.start(),
            range.end()
        ),
    })
}

#[cfg(test)]
mod tests;
