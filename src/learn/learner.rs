//! Learners and models: two types, because an unfitted thing cannot predict.
//!
//! **Contract.** Fitting is a function of the training set and the seed: the same bits on any number of threads.
//! A model predicts the same bits for a row of the shared matrix and for the same row read from a file.

use crate::data::table::{Target, Task};
use crate::seed::Seed;

use super::features::Features;
use super::tree::view::{Ensemble, Link};

/// Why a learner or model could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// A hyperparameter outside of its range, or of the wrong type.
    #[error("{learner}: {what}")]
    Params {
        /// The learner's name.
        learner: &'static str,
        /// What is wrong and what is allowed.
        what: String,
    },
    /// The learner cannot do this task.
    #[error("{learner} cannot do {task:?}")]
    Task {
        /// The learner's name.
        learner: &'static str,
        /// The task asked for.
        task: Task,
    },
    /// No rows, or something else that makes fitting impossible.
    #[error("{learner}: {what}")]
    Data {
        /// The learner's name.
        learner: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A library behind an adapter failed.
    #[error("{learner}: {what}")]
    Foreign {
        /// The learner's name.
        learner: &'static str,
        /// What it said.
        what: String,
    },
    /// The fit was told not to go on.
    #[error("{learner}: the fit was ended before it was done")]
    Stopped {
        /// The learner's name.
        learner: &'static str,
    },
    /// Not the saved form of this model.
    #[error("the saved {kind} cannot be read: {what}")]
    Saved {
        /// The kind of model that was expected.
        kind: &'static str,
        /// What was found wrong.
        what: String,
    },
}

/// The rows to learn from: a view into the shared matrix, nothing is copied.
#[derive(Clone, Copy)]
pub struct TrainingSet<'a> {
    /// The encoded features of all rows of the dataset.
    pub features: &'a Features,
    /// What to predict, for all rows.
    pub target: &'a Target,
    /// The rows to use, ascending, without repeats.
    pub rows: &'a [u32],
    /// A weight for every row of the dataset, finite and not negative; none means 1 each.
    pub weights: Option<&'a [f64]>,
    /// What stands in for a missing value of each feature, fitted on `rows`; NaN leaves it missing.
    pub fills: &'a [f64],
    /// What limits the fit; none means nothing does. It ends a fit, and never changes one.
    pub limit: Option<&'a dyn Limit>,
}

/// A limit on a fit: on its time, on the memory that it holds, or on anything else.
pub trait Limit: Sync {
    /// Whether a fit goes on that holds so many bytes: of the model as far as it is fitted, and of what one thread fits it in.
    /// Asked between trees, rounds and passes, by any thread, and when the fit is done. The largest number that a fit tells
    /// is the same on any number of threads. A learner that cannot tell on the way tells before it begins what it
    /// needs at most.
    fn goes_on(&self, held: u64) -> bool;

    /// Runs a part of the fit on the thread that took it up. Calls `work` once.
    fn part(&self, work: &mut dyn FnMut()) {
        work();
    }
}

impl TrainingSet<'_> {
    /// What `learner` asks now and then while it fits, and holds so many bytes; see [`Limit::goes_on`].
    ///
    /// # Errors
    /// [`LearnError::Stopped`] when the fit shall not go on.
    pub fn goes_on(&self, learner: &'static str, held: u64) -> Result<(), LearnError> {
        match self.limit {
            Some(limit) if !limit.goes_on(held) => Err(LearnError::Stopped { learner }),
            _ => Ok(()),
        }
    }

    /// Runs a large part of a fit that is shared out to threads, so that its time counts as the fit's.
    pub fn part<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(limit) = self.limit else {
            return work();
        };
        let (mut work, mut done) = (Some(work), None);
        limit.part(&mut || done = work.take().map(|work| work()).or(done.take()));
        match (done, work) {
            (Some(done), _) => done,
            // A limit that did not keep to its contract.
            (None, Some(work)) => work(),
            (None, None) => unreachable!("the work is gone only when it is done"),
        }
    }

    /// The weight of a row.
    pub fn weight(&self, row: u32) -> f64 {
        self.weights.map_or(1.0, |w| w[row as usize])
    }

    /// The targets of some rows.
    pub fn targets(&self, rows: &[u32]) -> Vec<f64> {
        let value = |row: &u32| self.target.values[*row as usize];
        rows.iter().map(value).collect()
    }

    /// The weights of some rows.
    pub fn weights_of(&self, rows: &[u32]) -> Vec<f64> {
        rows.iter().map(|&row| self.weight(row)).collect()
    }
}

/// Something that can be fitted. Object-safe.
pub trait Learner: Send + Sync {
    /// Fits a model. Random decisions come from `seed` alone.
    fn fit(&self, data: &TrainingSet<'_>, seed: Seed) -> Result<Box<dyn Model>, LearnError>;

    /// Begins a fit that goes round by round, where the model after fewer rounds is the one that fewer rounds would have
    /// given. `watched` are rows of the dataset to predict on the way. The default has no such fits.
    ///
    /// # Errors
    /// As [`Learner::fit`].
    fn begin<'a>(
        &'a self,
        data: &TrainingSet<'a>,
        watched: &'a [u32],
        seed: Seed,
    ) -> Option<Result<Box<dyn Rounds + 'a>, LearnError>> {
        let _ = (data, watched, seed);
        None
    }
}

/// A fit that goes round by round; see [`Learner::begin`].
pub trait Rounds: Send {
    /// How many rounds the whole fit has at most.
    fn total(&self) -> usize;

    /// Goes on until `round` rounds are done, or none is left. Returns whether any is left. `limit` is
    /// [`TrainingSet::limit`] of these rounds.
    ///
    /// # Errors
    /// As [`Learner::fit`].
    fn advance(&mut self, round: usize, limit: Option<&dyn Limit>) -> Result<bool, LearnError>;

    /// Predictions of the watched rows by what is fitted so far, row-major: the same bits as those of the model.
    fn predict(&mut self) -> Vec<f64>;
}

/// A linear model as anyone may read it: each output is its intercept plus the sum over features of the coefficient times
/// `(value − mean) / deviation`, where a missing value counts as the mean; then the link.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// What the sums go through.
    pub link: Link,
    /// One per feature.
    pub mean: Vec<f64>,
    /// One per feature, above 0.
    pub deviation: Vec<f64>,
    /// One per output; minus infinity for a class that the training rows lacked.
    pub intercepts: Vec<f64>,
    /// For each output one per feature.
    pub coefficients: Vec<Vec<f64>>,
}

/// Something that predicts. Object-safe.
///
/// The width of a prediction is 1 for [`Task::Binary`] (the probability of the positive class) and for
/// [`Task::Regression`] (the number), and the number of classes for [`Task::Multiclass`] (probabilities).
pub trait Model: Send + Sync {
    /// The name in the table of learners, as in `gbt`; it says who can load the saved form.
    fn kind(&self) -> &'static str;

    /// Numbers per prediction, see the trait.
    fn width(&self) -> usize;

    /// Number of features it was fitted on.
    fn features(&self) -> usize;

    /// Predicts one encoded row, one number per feature, NaN where a value is missing and no fill was fitted.
    /// `out` has [`Model::width`] places.
    fn predict_row(&self, row: &[f64], out: &mut [f64]);

    /// Predicts rows of the shared matrix, row-major. The default decodes each row; trees read the codes.
    fn predict_rows(&self, features: &Features, rows: &[u32], fills: &[f64]) -> Vec<f64> {
        let width = self.width();
        let mut out = vec![0.0; rows.len() * width];
        let mut row_values = vec![0.0; features.len()];
        for (place, &row) in out.chunks_exact_mut(width).zip(rows) {
            features.decode_row(row, fills, &mut row_values);
            self.predict_row(&row_values, place);
        }
        out
    }

    /// Predicts encoded rows, one after the other in `matrix`, [`Model::features`] numbers each and NaN where a value is
    /// missing and no fill was fitted. `out` has [`Model::width`] places for each. The same numbers as
    /// [`Model::predict_row`] gives for each row.
    fn predict_matrix(&self, matrix: &[f64], out: &mut [f64]) {
        let rows = matrix.chunks_exact(self.features().max(1));
        for (row, out) in rows.zip(out.chunks_exact_mut(self.width())) {
            self.predict_row(row, out);
        }
    }

    /// Share of the total gain by feature, summing to 1 (or all 0); none where the model has no such notion.
    fn importance(&self) -> Option<Vec<f64>> {
        None
    }

    /// The trees it is made of, for explanation and export; none where it is not made of them.
    fn ensemble(&self) -> Option<Ensemble<'_>> {
        None
    }

    /// The coefficients it is made of, for export; none where it is no linear model.
    fn linear(&self) -> Option<Linear> {
        None
    }

    /// The saved form: JSON text that the loader of [`Model::kind`] reads.
    fn save(&self) -> Result<String, LearnError>;
}
