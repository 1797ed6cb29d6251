//! Permutation importance: how much worse a score gets when the cells of one column change places among the rows (Breiman
//! 2001), as `sklearn.inspection.permutation_importance` measures it.

use rand::RngExt as _;

use super::{ExplainError, column_of_features, predict};
use crate::learn::metric::{Goal, MetricEntry, Scores};
use crate::learn::pipeline::Pipeline;
use crate::seed::Seed;

/// What is known of the rows and how predictions are judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// One class index or number per row.
    pub values: &'a [f64],
    /// Judges the predictions.
    pub metric: &'a MetricEntry,
}

/// How the score rests on each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// The score with all columns as they are.
    pub score: f64,
    /// By column of the schema, then by repeat: how much worse the score got; below 0 where it got better.
    pub losses: Vec<Vec<f64>>,
}

impl Importance {
    /// Mean and standard deviation over the repeats, by column.
    pub fn summary(&self) -> Vec<(f64, f64)> {
        let summary = |losses: &Vec<f64>| {
            let n = losses.len().max(1) as f64;
            let mean = losses.iter().sum::<f64>() / n;
            let squares: f64 = losses.iter().map(|l| (l - mean) * (l - mean)).sum();
            (mean, (squares / n).sqrt())
        };
        self.losses.iter().map(summary).collect()
    }
}

/// Shuffles each column of `rows` (row-major, one number per column of the schema) `repeats` times. The columns of the
/// schema are shuffled, not their features: the indicators of one column move together.
///
/// # Errors
/// [`ExplainError::NoRows`], and [`ExplainError::Metric`] where the metric does not fit or has no value.
pub fn permutation(
    pipeline: &Pipeline,
    rows: &[f64],
    truth: Truth<'_>,
    repeats: usize,
    seed: Seed,
) -> Result<Importance, ExplainError> {
    if rows.is_empty() {
        return Err(ExplainError::NoRows);
    }
    let columns = pipeline.transform.schema.fields.len();
    let count = rows.len() / columns;
    let score = |predictions: &[f64]| {
        let scores = Scores::new(pipeline.card.task, pipeline.width(), predictions);
        let Truth { values, metric } = truth;
        metric.score(values, scores, None, pipeline.card.threshold)
    };
    let whole = score(&predict(pipeline, rows))?;
    let used = column_of_features(&pipeline.transform);
    let one = |column: usize, repeat: usize| {
        // What no feature reads can be shuffled without a difference.
        if !used.contains(&column) {
            return Ok(0.0);
        }
        let mut rng = seed
            .child("column", column as u64)
            .child("repeat", repeat as u64)
            .rng();
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, rng.random_range(0..=i as u64) as usize);
        }
        let mut shuffled = rows.to_vec();
        for (row, from) in order.into_iter().enumerate() {
            shuffled[row * columns + column] = rows[from * columns + column];
        }
        let now = score(&predict(pipeline, &shuffled))?;
        Ok(match truth.metric.goal {
            Goal::Maximize => whole - now,
            Goal::Minimize => now - whole,
        })
    };
    // One at a time, so that memory stays at one copy of the rows; rows are predicted in parallel.
    let losses: Result<Vec<Vec<f64>>, ExplainError> = (0..columns)
        .map(|column| (0..repeats).map(|repeat| one(column, repeat)).collect())
        .collect();
    Ok(Importance {
        score: whole,
        losses: losses?,
    })
}
