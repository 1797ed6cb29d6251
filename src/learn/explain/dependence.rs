//! Partial dependence of one column (Friedman 2001): the mean prediction of all rows, with the column set to one value
//! after the other; as `sklearn.inspection.partial_dependence` with `method="brute"` does. The curves of single rows
//! (individual conditional expectation, Goldstein et al. 2015) are kept for some of them.

use super::{ExplainError, predict};
use crate::data::table::Kind;
use crate::learn::pipeline::Pipeline;

/// One value of the column.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// What the column is set to: a number, or the code of a level.
    pub value: f64,
    /// As a reader knows it: the number or the level.
    pub label: String,
    /// Share of the rows that have this level; for numbers the share at most this one.
    pub share: f64,
    /// The mean prediction by output.
    pub mean: Vec<f64>,
    /// Predictions of single rows, `curves × outputs`.
    pub curves: Vec<f64>,
}

/// How predictions depend on one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependence {
    /// Position of the column in the schema.
    pub column: usize,
    /// Whether the column's values have no order.
    pub levels: bool,
    /// In order of numbers, or of levels.
    pub places: Vec<Place>,
}

/// The dependence on the column called `name` over `rows` (row-major, one number per column of the schema). A
/// numeric column is set to at most `grid` of its own values, at even quantiles; a category to each of its levels.
/// `curves` rows, spread evenly, keep their own curves.
///
/// # Errors
/// [`ExplainError::NoRows`] without rows or without a value in the column; [`ExplainError::Column`] for one the model
/// does not have.
pub fn dependence(
    pipeline: &Pipeline,
    rows: &[f64],
    name: &str,
    grid: usize,
    curves: usize,
) -> Result<Dependence, ExplainError> {
    let fields = &pipeline.transform.schema.fields;
    let Some(column) = pipeline.transform.schema.position(name) else {
        let known: Vec<String> = fields.iter().map(|f| format!("`{}`", f.name)).collect();
        return Err(ExplainError::Column {
            column: name.to_owned(),
            known: known.join(", "),
        });
    };
    let width = fields.len();
    let cells: Vec<f64> = rows.chunks_exact(width).map(|row| row[column]).collect();
    let mut present: Vec<f64> = cells.iter().copied().filter(|v| !v.is_nan()).collect();
    present.sort_unstable_by(f64::total_cmp);
    let field = &fields[column];
    let levels = field.kind != Kind::Numeric;
    let values = if levels {
        (0..field.levels.len()).map(|l| l as f64).collect()
    } else {
        quantiles(&present, grid)
    };
    if values.is_empty() || rows.is_empty() {
        return Err(ExplainError::NoRows);
    }
    let outputs = pipeline.width();
    let count = cells.len();
    let kept = curves.min(count);
    let mut set = rows.to_vec();
    let places = values.into_iter().map(|value| {
        set.iter_mut()
            .skip(column)
            .step_by(width)
            .for_each(|cell| *cell = value);
        let predictions = predict(pipeline, &set);
        let mut mean = vec![0.0; outputs];
        for row in predictions.chunks_exact(outputs) {
            mean.iter_mut().zip(row).for_each(|(m, p)| *m += p);
        }
        mean.iter_mut().for_each(|m| *m /= count as f64);
        let curve = |i: usize| {
            let row = i * count / kept;
            predictions[row * outputs..(row + 1) * outputs].to_vec()
        };
        let known = present.len().max(1) as f64;
        let with = present
            .iter()
            .filter(|v| if levels { **v == value } else { **v <= value });
        Place {
            value,
            label: if levels {
                field.levels[value as usize].clone()
            } else {
                value.to_string()
            },
            share: with.count() as f64 / known,
            mean,
            curves: (0..kept).flat_map(curve).collect(),
        }
    });
    Ok(Dependence {
        column,
        levels,
        places: places.collect(),
    })
}

/// At most `count` different values at even quantiles of `sorted`, the smallest and the largest among them.
fn quantiles(sorted: &[f64], count: usize) -> Vec<f64> {
    let mut distinct = sorted.to_vec();
    distinct.dedup();
    if distinct.len() <= count.max(2) {
        return distinct;
    }
    let last = sorted.len() - 1;
    let steps = count.max(2) - 1;
    let mut values: Vec<f64> = (0..=steps).map(|i| sorted[i * last / steps]).collect();
    values.dedup();
    values
}
