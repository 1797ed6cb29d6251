//! Metrics on predicted labels, all from one (weighted) confusion matrix.

use crate::data::table::Task;

use super::{Case, Outcome};

/// The weights of rows by true and predicted class, with its margins.
struct Confusion {
    hits: Vec<f64>,
    truth: Vec<f64>,
    predicted: Vec<f64>,
    total: f64,
}

impl Confusion {
    fn new(case: &Case<'_>) -> Self {
        let classes = case.scores.classes();
        let mut it = Confusion {
            hits: vec![0.0; classes],
            truth: vec![0.0; classes],
            predicted: vec![0.0; classes],
            total: 0.0,
        };
        for (row, &truth) in case.truth.iter().enumerate() {
            let (truth, label) = (truth as usize, case.scores.label(row, case.threshold));
            let weight = case.weight(row);
            it.truth[truth] += weight;
            it.predicted[label] += weight;
            it.total += weight;
            if truth == label {
                it.hits[truth] += weight;
            }
        }
        it
    }

    fn precision(&self, class: usize) -> f64 {
        share(self.hits[class], self.predicted[class])
    }

    fn recall(&self, class: usize) -> f64 {
        share(self.hits[class], self.truth[class])
    }

    fn f1(&self, class: usize) -> f64 {
        share(
            2.0 * self.hits[class],
            self.truth[class] + self.predicted[class],
        )
    }

    /// The positive class's value, or the mean over the classes that occur in the truth or among the predictions.
    fn macro_mean(&self, task: Task, of: impl Fn(usize) -> f64) -> f64 {
        if task == Task::Binary {
            return of(1);
        }
        mean(
            (0..self.hits.len()).filter(|&c| self.truth[c] + self.predicted[c] > 0.0),
            of,
        )
    }
}

/// `part / whole`, and 0 of nothing, as scikit-learn does.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn mean(classes: impl Iterator<Item = usize>, of: impl Fn(usize) -> f64) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for class in classes {
        sum += of(class);
        count += 1.0;
    }
    share(sum, count)
}

/// Share of rows with the right label.
pub(super) fn accuracy(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    Ok(it.hits.iter().sum::<f64>() / it.total)
}

/// Mean recall of the classes that occur in the truth.
pub(super) fn balanced_accuracy(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    Ok(mean(
        (0..it.hits.len()).filter(|&c| it.truth[c] > 0.0),
        |c| it.recall(c),
    ))
}

/// Precision of the positive class, or macro.
pub(super) fn precision(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    Ok(it.macro_mean(case.scores.task, |c| it.precision(c)))
}

/// Recall of the positive class, or macro.
pub(super) fn recall(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    Ok(it.macro_mean(case.scores.task, |c| it.recall(c)))
}

/// F1 of the positive class, or macro.
pub(super) fn f1(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    Ok(it.macro_mean(case.scores.task, |c| it.f1(c)))
}

/// Mean F1 weighted by the rows of each class.
pub(super) fn f1_weighted(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    let sum: f64 = (0..it.hits.len()).map(|c| it.truth[c] * it.f1(c)).sum();
    Ok(sum / it.total)
}

/// Matthews correlation (Gorodkin's form for several classes).
pub(super) fn mcc(case: &Case<'_>) -> Outcome {
    let it = Confusion::new(case);
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let square = it.total * it.total;
    let both = it.hits.iter().sum::<f64>() * it.total - dot(&it.truth, &it.predicted);
    let spread =
        (square - dot(&it.predicted, &it.predicted)) * (square - dot(&it.truth, &it.truth));
    Ok(if spread > 0.0 {
        both / spread.sqrt()
    } else {
        0.0
    })
}
