//! `logistic`: logistic regression for two or more classes, fitted by linfa-logistic 0.8 (L-BFGS).
//!
//! It minimises the summed log loss plus `alpha / 2` times the squared coefficients (not the intercept): scikit-learn's
//! `LogisticRegression(C = 1 / alpha)`. Features are standardised inside, with the mean and standard deviation of the
//! training rows. linfa takes no row weights. The matrix products of the fit pick their instructions by the processor, so
//! coefficients may differ in the last digits between machines of different kinds; a fitted model predicts the same
//! bits everywhere.

use linfa::traits::Fit;
use linfa::{DatasetBase, ParamGuard};
use linfa_logistic::{LogisticRegression, MultiLogisticRegression};
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::learn::learner::{LearnError, Learner, Linear, Model, TrainingSet};
use crate::learn::tree::view::Link;
use crate::seed::Seed;

use super::{Matrix, within};

/// The name in the table of learners.
pub const NAME: &str = "logistic";

/// More classes than any table has: a damaged file must not ask for a prediction that fills the memory.
const MAX_CLASSES: usize = 1 << 16;

/// The format that is written, and the only one so far.
const FORMAT: u32 = 1;

/// Hyperparameters of `logistic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticParams {
    /// Weight of the squared coefficients, 0 to 1e6.
    pub alpha: f64,
    /// Most iterations, 1 to 100000.
    pub max_iterations: u32,
    /// The gradient's length at which it is done, 1e-10 to 1e3; it grows with the rows.
    pub gradient_tolerance: f64,
}

impl Default for LogisticParams {
    fn default() -> Self {
        LogisticParams {
            alpha: 1.0,
            max_iterations: 100,
            gradient_tolerance: 1e-4,
        }
    }
}

impl LogisticParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`LearnError::Params`] with name, value and allowed range.
    pub fn build(self) -> Result<Logistic, LearnError> {
        within(NAME, "alpha", self.alpha, 0.0..=1e6)?;
        within(NAME, "max_iterations", self.max_iterations, 1..=100_000)?;
        within(
            NAME,
            "gradient_tolerance",
            self.gradient_tolerance,
            1e-10..=1e3,
        )?;
        Ok(Logistic { params: self })
    }
}

/// The learner `logistic`.
#[derive(Clone, Debug)]
pub struct Logistic {
    params: LogisticParams,
}

impl Learner for Logistic {
    fn fit(&self, data: &TrainingSet<'_>, _seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let task = data.target.task;
        if task == Task::Regression {
            return Err(LearnError::Task {
                learner: NAME,
                task,
            });
        }
        let fail = |what: &str| LearnError::Data {
            learner: NAME,
            what: what.to_owned(),
        };
        data.goes_on(NAME, most_bytes(data))?;
        let matrix = Matrix::new(NAME, data, true)?;
        if matrix.weights.is_some() {
            return Err(fail(
                "it takes no row weights; leave them out or use another learner",
            ));
        }
        if matrix.target.iter().all(|t| *t == matrix.target[0]) {
            return Err(fail("all training rows are of one class"));
        }
        let scaling = Scaling::new(&matrix);
        let mut x = Array2::zeros((matrix.rows, matrix.columns));
        for ((row, column), place) in x.indexed_iter_mut() {
            *place = scaling.apply(column, matrix.values[row * matrix.columns + column]);
        }
        let labels: Array1<usize> = matrix.target.iter().map(|t| *t as usize).collect();
        let dataset = DatasetBase::new(x, labels);
        let scores = match task {
            Task::Multiclass => self.several(&dataset)?,
            _ => vec![self.two(&dataset)?],
        };
        let saved = Saved {
            format: FORMAT,
            kind: NAME.to_owned(),
            fitted_by: "linfa-logistic 0.8".to_owned(),
            task,
            classes: data.target.classes.len(),
            scaling,
            scores,
        };
        // A fit that ran away is an error here rather than a model that answers NaN.
        saved.check().map_err(|what| LearnError::Foreign {
            learner: NAME,
            what,
        })?;
        Ok(Box::new(LogisticModel { saved }))
    }
}

/// Bytes that a fit holds at most: the numbers as they are, standardised, and once more inside of linfa; by row and class what
/// the gradient is made of; the ten last steps and gradients of L-BFGS, with as many copies on the way.
fn most_bytes(data: &TrainingSet<'_>) -> u64 {
    let outputs = match data.target.task {
        Task::Multiclass => data.target.classes.len(),
        _ => 1,
    };
    let (rows, features) = (data.rows.len() as u64, data.features.len() as u64);
    3 * Matrix::bytes(data) + 8 * outputs as u64 * (4 * rows + 40 * (features + 1)) + 24 * rows
}

type Rows = DatasetBase<Array2<f64>, Array1<usize>>;

fn foreign(e: impl std::fmt::Display) -> LearnError {
    LearnError::Foreign {
        learner: NAME,
        what: e.to_string(),
    }
}

impl Logistic {
    fn two(&self, dataset: &Rows) -> Result<Score, LearnError> {
        let fitted = LogisticRegression::default()
            .alpha(self.params.alpha)
            .max_iterations(u64::from(self.params.max_iterations))
            .gradient_tolerance(self.params.gradient_tolerance)
            .check()
            .map_err(foreign)?
            .fit(dataset)
            .map_err(foreign)?;
        // linfa calls the more frequent class positive; ours is class 1.
        let sign = if fitted.labels().pos.class == 1 {
            1.0
        } else {
            -1.0
        };
        Ok(Score {
            class: 1,
            intercept: sign * fitted.intercept(),
            coefficients: fitted.params().iter().map(|c| sign * c).collect(),
        })
    }

    fn several(&self, dataset: &Rows) -> Result<Vec<Score>, LearnError> {
        let fitted = MultiLogisticRegression::default()
            .alpha(self.params.alpha)
            .max_iterations(u64::from(self.params.max_iterations))
            .gradient_tolerance(self.params.gradient_tolerance)
            .check()
            .map_err(foreign)?
            .fit(dataset)
            .map_err(foreign)?;
        let scores = fitted
            .classes()
            .iter()
            .enumerate()
            .map(|(i, &class)| Score {
                class,
                intercept: fitted.intercept()[i],
                coefficients: fitted.params().column(i).to_vec(),
            });
        Ok(scores.collect())
    }
}

/// Means and standard deviations of the training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scaling {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Scaling {
    fn new(matrix: &Matrix) -> Self {
        let rows = matrix.rows as f64;
        let sums = |of: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; matrix.columns];
            for row in matrix.values.chunks_exact(matrix.columns) {
                for (column, &value) in row.iter().enumerate() {
                    sums[column] += of(column, value);
                }
            }
            sums
        };
        let mean: Vec<f64> = sums(&|_, v| v).into_iter().map(|s| s / rows).collect();
        let squares = sums(&|c, v| (v - mean[c]) * (v - mean[c]));
        let deviation = squares
            .into_iter()
            .zip(&mean)
            .map(|(s, mean)| {
                let deviation = (s / rows).sqrt();
                // What rounding leaves of a constant is no spread.
                if deviation > 1e-12 * mean.abs() {
                    deviation
                } else {
                    1.0
                }
            })
            .collect();
        Scaling { mean, deviation }
    }

    fn apply(&self, column: usize, value: f64) -> f64 {
        (value - self.mean[column]) / self.deviation[column]
    }
}

/// The linear score of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Score {
    class: usize,
    intercept: f64,
    coefficients: Vec<f64>,
}

/// The saved form: a score for the positive class, or one for each class that the training rows had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    kind: String,
    fitted_by: String,
    task: Task,
    classes: usize,
    scaling: Scaling,
    scores: Vec<Score>,
}

impl Saved {
    fn check(&self) -> Result<(), String> {
        let features = self.scaling.mean.len();
        let numbers = |v: &[f64]| v.len() == features && v.iter().all(|x| x.is_finite());
        if !numbers(&self.scaling.mean)
            || !numbers(&self.scaling.deviation)
            || self.scaling.deviation.iter().any(|d| *d <= 0.0)
        {
            return Err("the scaling does not fit the features".to_owned());
        }
        let fits = match self.task {
            Task::Binary => self.classes == 2 && self.scores.len() == 1,
            Task::Multiclass => {
                self.classes <= MAX_CLASSES && (1..=self.classes).contains(&self.scores.len())
            }
            Task::Regression => false,
        };
        if !fits {
            return Err(format!(
                "{} scores do not fit a {:?} task of {} classes",
                self.scores.len(),
                self.task,
                self.classes
            ));
        }
        for score in &self.scores {
            if score.class >= self.classes
                || !score.intercept.is_finite()
                || !numbers(&score.coefficients)
            {
                return Err(format!(
                    "the coefficients of class {} are not a finite number per feature",
                    score.class
                ));
            }
        }
        Ok(())
    }
}

/// Reads the saved form.
///
/// # Errors
/// [`LearnError::Saved`] if it is not one.
pub fn load(saved: &str) -> Result<Box<dyn Model>, LearnError> {
    let wrong = |what: String| LearnError::Saved { kind: NAME, what };
    let saved: Saved = serde_json::from_str(saved).map_err(|e| wrong(e.to_string()))?;
    if saved.format != FORMAT {
        return Err(wrong(format!(
            "format {} is not {FORMAT}; a newer automl may have written it",
            saved.format
        )));
    }
    if saved.kind != NAME {
        return Err(wrong(format!("it is a `{}`", saved.kind)));
    }
    saved.check().map_err(wrong)?;
    Ok(Box::new(LogisticModel { saved }))
}

struct LogisticModel {
    saved: Saved,
}

impl LogisticModel {
    fn score(&self, score: &Score, row: &[f64]) -> f64 {
        let mut sum = score.intercept;
        for (column, coefficient) in score.coefficients.iter().enumerate() {
            // A missing value counts as the mean, which is 0 here.
            if !row[column].is_nan() {
                sum += coefficient * self.saved.scaling.apply(column, row[column]);
            }
        }
        sum
    }
}

impl Model for LogisticModel {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn width(&self) -> usize {
        match self.saved.task {
            Task::Multiclass => self.saved.classes,
            Task::Binary | Task::Regression => 1,
        }
    }

    fn features(&self) -> usize {
        self.saved
            .scores
            .first()
            .map_or(0, |s| s.coefficients.len())
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        if self.saved.task != Task::Multiclass {
            out[0] = 1.0 / (1.0 + libm::exp(-self.score(&self.saved.scores[0], row)));
            return;
        }
        // A class that no training row had keeps probability 0.
        out.fill(0.0);
        let mut largest = f64::NEG_INFINITY;
        for score in &self.saved.scores {
            out[score.class] = self.score(score, row);
            largest = largest.max(out[score.class]);
        }
        let mut sum = 0.0;
        for score in &self.saved.scores {
            out[score.class] = libm::exp(out[score.class] - largest);
            sum += out[score.class];
        }
        for p in out {
            *p /= sum;
        }
    }

    fn linear(&self) -> Option<Linear> {
        let features = self.features();
        let mut intercepts = vec![f64::NEG_INFINITY; self.width()];
        let mut coefficients = vec![vec![0.0; features]; self.width()];
        for score in &self.saved.scores {
            let output = if self.width() == 1 { 0 } else { score.class };
            intercepts[output] = score.intercept;
            coefficients[output].clone_from(&score.coefficients);
        }
        Some(Linear {
            link: match self.saved.task {
                Task::Multiclass => Link::Softmax,
                Task::Binary | Task::Regression => Link::Logistic,
            },
            mean: self.saved.scaling.mean.clone(),
            deviation: self.saved.scaling.deviation.clone(),
            intercepts,
            coefficients,
        })
    }

    fn save(&self) -> Result<String, LearnError> {
        serde_json::to_string(&self.saved).map_err(|e| LearnError::Saved {
            kind: NAME,
            what: e.to_string(),
        })
    }
}
