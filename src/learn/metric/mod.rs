//! Metrics: one table of names, and what each makes of a truth and the predictions for it.
//!
//! **Contract.** A metric is a pure function: no randomness, no threads, sums in row order (in score order for ranking
//! metrics), logarithms in software, so the same bits on every machine. Where a metric is undefined (ROC AUC with
//! one class) the answer is an error, never NaN. Definitions follow scikit-learn; `tests/golden/metrics.json` holds its
//! values. A name asked for a multiclass task means its macro (one-vs-rest) variant.

mod label;
mod probability;
mod ranking;
mod regression;

use crate::data::table::Task;

/// Why there is no score.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// No metric has this name.
    #[error("there is no metric `{name}`; {} {known}", hint(.suggestion))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, if one is near.
        suggestion: Option<&'static str>,
        /// The names that fit, separated by commas.
        known: String,
    },
    /// The metric is for other tasks.
    #[error("`{metric}` is not a metric of a {} task; those are: {known}", task_name(*.task))]
    Task {
        /// The metric's name.
        metric: &'static str,
        /// The task it was asked for.
        task: Task,
        /// The names that fit, separated by commas.
        known: String,
    },
    /// Truth, predictions and weights do not fit together.
    #[error("cannot score: {what}")]
    Shape {
        /// What does not fit, with both numbers.
        what: String,
    },
    /// A value that cannot be.
    #[error("cannot score: row {row} (from 0): {what}")]
    Value {
        /// Row within the scored rows, from 0.
        row: usize,
        /// What was found and what is allowed.
        what: String,
    },
    /// The metric has no value for this truth.
    #[error("`{metric}` is undefined: {why}")]
    Undefined {
        /// The metric's name.
        metric: &'static str,
        /// The reason.
        why: &'static str,
    },
}

fn hint(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or("metrics:".to_owned(), |s| {
        format!("did you mean `{s}`? Metrics:")
    })
}

fn task_name(task: Task) -> &'static str {
    match task {
        Task::Binary => "binary",
        Task::Multiclass => "multiclass",
        Task::Regression => "regression",
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Larger is better.
    Maximize,
    /// Smaller is better.
    Minimize,
}

impl Goal {
    /// Whether the score `a` is better than `b`.
    pub fn better(self, a: f64, b: f64) -> bool {
        match self {
            Goal::Maximize => a > b,
            Goal::Minimize => a < b,
        }
    }
}

/// Predictions as models give them.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// What was predicted.
    pub task: Task,
    /// Numbers per row: 1 for binary (probability of the positive class) and regression, else the number of classes.
    pub width: usize,
    /// Row-major, `rows × width`.
    pub values: &'a [f64],
}

impl<'a> Scores<'a> {
    /// Predictions for a task; nothing is checked before scoring.
    pub fn new(task: Task, width: usize, values: &'a [f64]) -> Self {
        Scores {
            task,
            width,
            values,
        }
    }

    /// Number of classes; 0 for regression.
    pub fn classes(&self) -> usize {
        match self.task {
            Task::Binary => 2,
            Task::Multiclass => self.width,
            Task::Regression => 0,
        }
    }

    /// The predicted class of a row: binary is positive at or above the threshold, multiclass is the first of the most
    /// probable ones.
    fn label(&self, row: usize, threshold: f64) -> usize {
        if self.task == Task::Binary {
            return usize::from(self.values[row] >= threshold);
        }
        let row = &self.values[row * self.width..(row + 1) * self.width];
        let mut best = 0;
        for (class, &p) in row.iter().enumerate() {
            if p > row[best] {
                best = class;
            }
        }
        best
    }
}

/// One checked question: truth and predictions fit together, every value is possible.
struct Case<'a> {
    truth: &'a [f64],
    scores: Scores<'a>,
    weights: Option<&'a [f64]>,
    threshold: f64,
}

impl Case<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |w| w[row])
    }

    /// The weighted mean over the rows, summed in row order.
    fn mean(&self, of: impl Fn(usize) -> f64) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for row in 0..self.truth.len() {
            let weight = self.weight(row);
            sum += weight * of(row);
            total += weight;
        }
        sum / total
    }
}

/// What a metric gives: its value, or why it has none.
type Outcome = Result<f64, &'static str>;

/// One metric.
#[derive(Debug)]
pub struct MetricEntry {
    /// The name in configuration files and reports.
    pub name: &'static str,
    /// One line for `--help` and the documentation.
    pub summary: &'static str,
    /// Which way is better.
    pub goal: Goal,
    /// The tasks it fits.
    pub tasks: &'static [Task],
    /// Whether it judges labels, which a threshold makes of the probabilities of two classes.
    pub on_labels: bool,
    /// The entry that this is another name of; reports leave such names out.
    pub same_as: Option<&'static str>,
    compute: fn(&Case<'_>) -> Outcome,
}

impl MetricEntry {
    /// Whether the metric is one of this task.
    pub fn fits(&self, task: Task) -> bool {
        self.tasks.contains(&task)
    }

    /// Scores predictions.
    ///
    /// `truth` holds a class index or a number per row, `weights` a finite number of at least 0 per row, not all 0.
    /// `threshold` is the least probability that counts as positive, 0.5 unless something better is known; only
    /// binary metrics on labels read it.
    pub fn score(
        &self,
        truth: &[f64],
        scores: Scores<'_>,
        weights: Option<&[f64]>,
        threshold: f64,
    ) -> Result<f64, MetricError> {
        if !self.fits(scores.task) {
            return Err(MetricError::Task {
                metric: self.name,
                task: scores.task,
                known: known(Some(scores.task)),
            });
        }
        self.value(&check(truth, scores, weights, threshold)?)
    }

    fn value(&self, case: &Case<'_>) -> Result<f64, MetricError> {
        (self.compute)(case).map_err(|why| MetricError::Undefined {
            metric: self.name,
            why,
        })
    }
}

const CLASSES: &[Task] = &[Task::Binary, Task::Multiclass];
const MULTICLASS: &[Task] = &[Task::Multiclass];
const REGRESSION: &[Task] = &[Task::Regression];

/// Shortens the table: a metric under its own name.
const fn entry(
    name: &'static str,
    goal: Goal,
    tasks: &'static [Task],
    compute: fn(&Case<'_>) -> Outcome,
    summary: &'static str,
) -> MetricEntry {
    MetricEntry {
        name,
        summary,
        goal,
        tasks,
        on_labels: false,
        same_as: None,
        compute,
    }
}

/// Shortens the table: a metric of labels.
const fn on_labels(mut entry: MetricEntry) -> MetricEntry {
    entry.on_labels = true;
    entry
}

/// Shortens the table: the spelled-out name that a metric has for multiclass tasks.
const fn alias(
    name: &'static str,
    same_as: &'static str,
    compute: fn(&Case<'_>) -> Outcome,
    summary: &'static str,
) -> MetricEntry {
    MetricEntry {
        name,
        summary,
        goal: Goal::Maximize,
        tasks: MULTICLASS,
        on_labels: false,
        same_as: Some(same_as),
        compute,
    }
}

/// All metrics, in the order of reports.
pub static METRICS: &[MetricEntry] = {
    use Goal::{Maximize, Minimize};
    &[
        entry(
            "roc_auc",
            Maximize,
            CLASSES,
            ranking::roc_auc,
            "area under the ROC curve; multiclass: macro mean of one-vs-rest",
        ),
        alias(
            "roc_auc_ovr",
            "roc_auc",
            ranking::roc_auc,
            "macro mean of the one-vs-rest areas under the ROC curve",
        ),
        entry(
            "average_precision",
            Maximize,
            CLASSES,
            ranking::average_precision,
            "area under the precision-recall curve by steps; multiclass: macro mean of one-vs-rest",
        ),
        entry(
            "log_loss",
            Minimize,
            CLASSES,
            probability::log_loss,
            "mean negative natural logarithm of the probability given to the true class, clipped at 2.2e-16",
        ),
        entry(
            "brier",
            Minimize,
            CLASSES,
            probability::brier,
            "mean squared error of the probability, 0 to 1; multiclass: summed over classes, 0 to 2",
        ),
        on_labels(entry(
            "accuracy",
            Maximize,
            CLASSES,
            label::accuracy,
            "share of rows with the right label",
        )),
        on_labels(entry(
            "balanced_accuracy",
            Maximize,
            CLASSES,
            label::balanced_accuracy,
            "mean recall of the classes that occur",
        )),
        on_labels(entry(
            "precision",
            Maximize,
            CLASSES,
            label::precision,
            "share of true positives among predicted positives, 0 without any; multiclass: macro mean",
        )),
        alias(
            "precision_macro",
            "precision",
            label::precision,
            "mean precision of the classes",
        ),
        on_labels(entry(
            "recall",
            Maximize,
            CLASSES,
            label::recall,
            "share of positives that are found, 0 without any; multiclass: macro mean",
        )),
        alias(
            "recall_macro",
            "recall",
            label::recall,
            "mean recall of the classes",
        ),
        on_labels(entry(
            "f1",
            Maximize,
            CLASSES,
            label::f1,
            "harmonic mean of precision and recall; multiclass: macro mean",
        )),
        alias("f1_macro", "f1", label::f1, "mean F1 of the classes"),
        entry(
            "f1_weighted",
            Maximize,
            MULTICLASS,
            label::f1_weighted,
            "mean F1 of the classes, weighted by their rows",
        ),
        on_labels(entry(
            "mcc",
            Maximize,
            CLASSES,
            label::mcc,
            "Matthews correlation of labels, -1 to 1, 0 where one side has a single class",
        )),
        entry(
            "ece",
            Minimize,
            CLASSES,
            probability::ece,
            "expected calibration error, 10 equal bins of the positive probability; multiclass: of the confidence",
        ),
        entry(
            "r2",
            Maximize,
            REGRESSION,
            regression::r2,
            "share of the variance that is explained, at most 1",
        ),
        entry(
            "rmse",
            Minimize,
            REGRESSION,
            regression::rmse,
            "root of the mean squared error, in units of the target",
        ),
        entry(
            "mae",
            Minimize,
            REGRESSION,
            regression::mae,
            "mean absolute error, in units of the target",
        ),
        entry(
            "mse",
            Minimize,
            REGRESSION,
            regression::mse,
            "mean squared error",
        ),
        entry(
            "medae",
            Minimize,
            REGRESSION,
            regression::medae,
            "median absolute error, in units of the target",
        ),
        entry(
            "mape",
            Minimize,
            REGRESSION,
            regression::mape,
            "mean absolute error as a share of the target, 0.1 for 10%",
        ),
    ]
};

/// The names that fit a task (all without one), separated by commas.
fn known(task: Option<Task>) -> String {
    let names: Vec<_> = METRICS
        .iter()
        .filter(|m| task.is_none_or(|t| m.fits(t)))
        .map(|m| m.name)
        .collect();
    names.join(", ")
}

/// The metric `name`.
///
/// # Errors
/// [`MetricError::Unknown`] with the nearest name and the list of all.
pub fn find(name: &str) -> Result<&'static MetricEntry, MetricError> {
    look_up(name, None)
}

/// The metric `name` for a task.
///
/// # Errors
/// [`MetricError::Unknown`] or [`MetricError::Task`], both with the list of those that fit the task.
pub fn find_for(name: &str, task: Task) -> Result<&'static MetricEntry, MetricError> {
    let found = look_up(name, Some(task))?;
    if found.fits(task) {
        Ok(found)
    } else {
        Err(MetricError::Task {
            metric: found.name,
            task,
            known: known(Some(task)),
        })
    }
}

fn look_up(name: &str, task: Option<Task>) -> Result<&'static MetricEntry, MetricError> {
    if let Some(found) = METRICS.iter().find(|m| m.name == name) {
        return Ok(found);
    }
    let typed = name.to_lowercase().replace(['-', ' '], "_");
    let mut nearest: Option<(f64, &'static str)> = None;
    for metric in METRICS.iter().filter(|m| task.is_none_or(|t| m.fits(t))) {
        // `auc` means `roc_auc`, whatever else looks like it.
        let likeness = match metric.name.split('_').any(|word| word == typed) {
            true => 1.0,
            false => strsim::jaro_winkler(&typed, metric.name),
        };
        if likeness > nearest.map_or(0.8, |(best, _)| best) {
            nearest = Some((likeness, metric.name));
        }
    }
    Err(MetricError::Unknown {
        name: name.to_owned(),
        suggestion: nearest.map(|(_, name)| name),
        known: known(task),
    })
}

/// Every metric of the task that is defined here, by its own name, in the order of [`METRICS`]: the holdout report.
pub fn all(
    truth: &[f64],
    scores: Scores<'_>,
    threshold: f64,
) -> Result<Vec<(&'static str, f64)>, MetricError> {
    all_weighted(truth, scores, None, threshold)
}

/// As [`all`], with a finite number of at least 0 per row, not all 0.
pub fn all_weighted(
    truth: &[f64],
    scores: Scores<'_>,
    weights: Option<&[f64]>,
    threshold: f64,
) -> Result<Vec<(&'static str, f64)>, MetricError> {
    let case = check(truth, scores, weights, threshold)?;
    Ok(METRICS
        .iter()
        .filter(|m| m.fits(scores.task) && m.same_as.is_none())
        .filter_map(|m| Some((m.name, (m.compute)(&case).ok()?)))
        .collect())
}

/// Rows by true class, then by predicted class: `confusion[truth][predicted]`.
///
/// # Errors
/// For regression, and where truth and predictions do not fit.
pub fn confusion(
    truth: &[f64],
    scores: Scores<'_>,
    threshold: f64,
) -> Result<Vec<Vec<u64>>, MetricError> {
    if scores.task == Task::Regression {
        return Err(MetricError::Shape {
            what: "a confusion matrix needs classes, and this is a regression".to_owned(),
        });
    }
    let case = check(truth, scores, None, threshold)?;
    let mut counts = vec![vec![0; scores.classes()]; scores.classes()];
    for (row, &class) in case.truth.iter().enumerate() {
        counts[class as usize][scores.label(row, threshold)] += 1;
    }
    Ok(counts)
}

/// The threshold with the largest F1 on these rows, and that F1.
///
/// The threshold lies halfway between two neighbouring distinct probabilities (it is 0 when every row is best called
/// positive); among equals the highest wins. Choose it on out-of-fold predictions, never on the holdout.
///
/// # Errors
/// [`MetricError::Undefined`] without positives, and where truth and predictions do not fit.
pub fn best_f1_threshold(truth: &[f64], positive: &[f64]) -> Result<(f64, f64), MetricError> {
    let case = check(truth, Scores::new(Task::Binary, 1, positive), None, 0.5)?;
    ranking::best_f1_threshold(case.truth, positive)
        .map_err(|why| MetricError::Undefined { metric: "f1", why })
}

/// Everything that every metric relies on.
fn check<'a>(
    truth: &'a [f64],
    scores: Scores<'a>,
    weights: Option<&'a [f64]>,
    threshold: f64,
) -> Result<Case<'a>, MetricError> {
    let shape = |what: String| Err(MetricError::Shape { what });
    let rows = truth.len();
    let width = scores.width;
    if rows == 0 {
        return shape("there are no rows".to_owned());
    }
    if u32::try_from(rows).is_err() {
        return shape(format!("{rows} rows are more than {}", u32::MAX));
    }
    match scores.task {
        Task::Binary | Task::Regression if width != 1 => {
            return shape(format!(
                "a {} task has 1 number per prediction, not {width}",
                task_name(scores.task)
            ));
        }
        Task::Multiclass if width < 2 => {
            return shape(format!(
                "a multiclass task has a probability per class, not {width}"
            ));
        }
        _ => {}
    }
    if rows.checked_mul(width) != Some(scores.values.len()) {
        return shape(format!(
            "{rows} rows of {width} predictions make {} numbers, not {}",
            rows.saturating_mul(width),
            scores.values.len()
        ));
    }
    if let Some(weights) = weights {
        if weights.len() != rows {
            return shape(format!("{rows} rows but {} weights", weights.len()));
        }
        if let Some(row) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            return bad(
                row,
                format!("weight {} is not a number of at least 0", weights[row]),
            );
        }
        if weights.iter().all(|w| *w == 0.0) {
            return shape("every weight is 0".to_owned());
        }
    }
    if scores.task == Task::Regression {
        for (what, values) in [("truth", truth), ("prediction", scores.values)] {
            if let Some(row) = values.iter().position(|v| !v.is_finite()) {
                return bad(
                    row,
                    format!("{what} {} is not a finite number", values[row]),
                );
            }
        }
    } else {
        check_classes(truth, scores)?;
    }
    Ok(Case {
        truth,
        scores,
        weights,
        threshold,
    })
}

fn check_classes(truth: &[f64], scores: Scores<'_>) -> Result<(), MetricError> {
    let classes = scores.classes();
    let is_class = |t: f64| t >= 0.0 && t < classes as f64 && t.trunc() == t;
    if let Some(row) = truth.iter().position(|t| !is_class(*t)) {
        return bad(
            row,
            format!("class {} is not one of 0..{classes}", truth[row]),
        );
    }
    let is_probability = |p: &f64| (0.0..=1.0).contains(p);
    if let Some(at) = scores.values.iter().position(|p| !is_probability(p)) {
        return bad(
            at / scores.width,
            format!("{} is not a probability", scores.values[at]),
        );
    }
    if scores.width > 1 {
        for (row, values) in scores.values.chunks_exact(scores.width).enumerate() {
            let sum: f64 = values.iter().sum();
            if (sum - 1.0).abs() > 1e-6 {
                return bad(row, format!("the probabilities sum to {sum}, not 1"));
            }
        }
    }
    Ok(())
}

fn bad<T>(row: usize, what: String) -> Result<T, MetricError> {
    Err(MetricError::Value { row, what })
}

#[cfg(test)]
mod tests;
