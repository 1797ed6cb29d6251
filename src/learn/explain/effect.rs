//! What SHAP values of many rows say about each column: how much it matters, and which way it works.

use super::Shap;
use crate::data::table::Kind;
use crate::learn::pipeline::Pipeline;

/// Which way a column works.
#[derive(Clone, Debug, PartialEq)]
pub enum Direction {
    /// A number: the correlation of its value and its SHAP value over the rows that have one, −1 to 1.
    Number {
        /// Above 0 when larger numbers raise the score.
        correlation: f64,
    },
    /// A category: position of the level, number of rows with it, mean SHAP value; the level that raises the score most
    /// first. Levels without rows are left out.
    Levels(Vec<(usize, usize, f64)>),
}

/// One column's part in the predictions of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Position in the schema.
    pub column: usize,
    /// Mean absolute SHAP value, summed over outputs.
    pub mean_abs: f64,
    /// For one output.
    pub direction: Direction,
}

/// The effects of all columns that the model reads, the largest first. `rows` are those that were explained (row-major,
/// one number per column of the schema); directions are those of `output`.
pub fn effects(pipeline: &Pipeline, rows: &[f64], shap: &Shap, output: usize) -> Vec<Effect> {
    let fields = &pipeline.transform.schema.fields;
    let mean_abs = shap.mean_abs();
    let used = super::column_of_features(&pipeline.transform);
    let effect = |column: usize| {
        let pairs: Vec<(f64, f64)> = rows
            .chunks_exact(fields.len())
            .enumerate()
            .map(|(r, row)| (row[column], shap.row(r, output)[column]))
            .filter(|(value, _)| !value.is_nan())
            .collect();
        let direction = if fields[column].kind == Kind::Numeric {
            let correlation = correlation(&pairs);
            Direction::Number { correlation }
        } else {
            let mut levels: Vec<(usize, usize, f64)> = (0..fields[column].levels.len())
                .map(|level| {
                    let here = pairs.iter().filter(|(v, _)| *v == level as f64);
                    let (count, sum) = here.fold((0, 0.0), |(n, s), (_, v)| (n + 1, s + v));
                    (level, count, sum / f64::max(count as f64, 1.0))
                })
                .filter(|l| l.1 > 0)
                .collect();
            levels.sort_by(|a, b| b.2.total_cmp(&a.2));
            Direction::Levels(levels)
        };
        Effect {
            column,
            mean_abs: mean_abs[column],
            direction,
        }
    };
    let columns = (0..fields.len()).filter(|c| used.contains(c));
    let mut all: Vec<Effect> = columns.map(effect).collect();
    all.sort_by(|a, b| b.mean_abs.total_cmp(&a.mean_abs));
    all
}

/// Pearson's correlation; 0 where one side does not vary.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len().max(1) as f64;
    let (x, y) = pairs
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
    let (x, y) = (x / n, y / n);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        xx += (a - x) * (a - x);
        yy += (b - y) * (b - y);
        xy += (a - x) * (b - y);
    }
    let scale = (xx * yy).sqrt();
    if scale > 0.0 {
        (xy / scale).clamp(-1.0, 1.0)
    } else {
        0.0
    }
}
