//! Metrics on numbers.

use super::{Case, Outcome};

fn error(case: &Case<'_>, row: usize) -> f64 {
    (case.truth[row] - case.scores.values[row]).abs()
}

/// Mean squared error.
pub(super) fn mse(case: &Case<'_>) -> Outcome {
    Ok(case.mean(|row| error(case, row) * error(case, row)))
}

/// Root of the mean squared error.
pub(super) fn rmse(case: &Case<'_>) -> Outcome {
    mse(case).map(f64::sqrt)
}

/// Mean absolute error.
pub(super) fn mae(case: &Case<'_>) -> Outcome {
    Ok(case.mean(|row| error(case, row)))
}

/// Share of explained variance.
pub(super) fn r2(case: &Case<'_>) -> Outcome {
    if case.truth.iter().all(|t| *t == case.truth[0]) {
        return Err("all rows have the same truth");
    }
    let center = case.mean(|row| case.truth[row]);
    let variance = case.mean(|row| (case.truth[row] - center) * (case.truth[row] - center));
    // Weights of 0 can leave a single truth.
    if variance <= 0.0 {
        return Err("all rows with a weight have the same truth");
    }
    Ok(1.0 - mse(case)? / variance)
}

/// Median absolute error: where the weight below and above is the same, halfway between two neighbours.
pub(super) fn medae(case: &Case<'_>) -> Outcome {
    let mut errors: Vec<(f64, f64)> = (0..case.truth.len())
        .map(|row| (error(case, row), case.weight(row)))
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    // Stable, so equal errors keep the order of rows and the sums their order.
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = errors.iter().map(|e| e.1).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (i, (error, weight)) in errors.iter().enumerate() {
        below += weight;
        if below == half
            && let Some(next) = errors.get(i + 1)
        {
            return Ok((error + next.0) / 2.0);
        }
        if below >= half {
            return Ok(*error);
        }
    }
    Err("there are no rows with a weight")
}

/// Mean absolute error relative to the truth.
pub(super) fn mape(case: &Case<'_>) -> Outcome {
    if case.truth.contains(&0.0) {
        return Err("the truth of a row is 0, and an error has no share of that");
    }
    Ok(case.mean(|row| error(case, row) / case.truth[row].abs()))
}
