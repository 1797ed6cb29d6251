//! Evaluation: the same folds and the same matrix for every learner and every trial.
//!
//! An [`Encoded`] dataset is made once for each way of preprocessing. Folds are row lists into it; what preprocessing has
//! to fit is fitted per fold on its training rows and handed to the learner beside the matrix.

use rayon::prelude::*;

use crate::data::split::Fold;
use crate::data::table::Dataset;
use crate::seed::Seed;

use super::features::Features;
use super::learner::{LearnError, Learner, Limit, Model, Rounds, TrainingSet};
use super::preprocess::{Encoder, Preprocess, PreprocessError, Transform, fit_fills};

/// Bins per numeric feature.
pub const MAX_BINS: usize = 255;

/// A dataset encoded in one way, with the fills of each fold and of all training rows.
pub struct Encoded {
    /// How columns become features.
    pub encoder: Encoder,
    /// The shared matrix; edges come from the training rows.
    pub features: Features,
    fold_fills: Vec<Vec<f64>>,
    train_fills: Vec<f64>,
}

impl Encoded {
    /// Encodes all rows of `dataset`; bins are fitted on `train`, fills on `train` and on the training rows of each fold.
    ///
    /// # Errors
    /// See [`Encoder::new`].
    pub fn new(
        dataset: &Dataset,
        spec: &Preprocess,
        train: &[u32],
        folds: &[Fold],
    ) -> Result<Self, PreprocessError> {
        let encoder = Encoder::new(spec, &dataset.table.schema)?;
        let features = Features::build(&dataset.table, &encoder, train, MAX_BINS);
        let fills = |rows: &[u32]| fit_fills(spec.missing, &encoder, &features, rows);
        let fold_fills = folds.iter().map(|f| fills(&f.train)).collect();
        let train_fills = fills(train);
        Ok(Encoded {
            encoder,
            features,
            fold_fills,
            train_fills,
        })
    }

    /// Fits on the training rows of every fold and predicts its other rows, folds in parallel. One block of
    /// predictions per fold, row-major in the order of [`Fold::test`].
    ///
    /// # Errors
    /// That of the first fold, in order, that failed.
    pub fn cross_predict(
        &self,
        learner: &dyn Learner,
        dataset: &Dataset,
        folds: &[Fold],
        seed: Seed,
    ) -> Result<Vec<Vec<f64>>, LearnError> {
        let results: Vec<Result<Vec<f64>, LearnError>> = (0..folds.len())
            .into_par_iter()
            .map(|i| self.predict_fold(learner, dataset, folds, i, seed, None))
            .collect();
        results.into_iter().collect()
    }

    /// One block of [`Encoded::cross_predict`], with the same bits: that of the fold at `index` of `folds`. `limit` is
    /// [`TrainingSet::limit`].
    ///
    /// # Errors
    /// That of the learner.
    pub fn predict_fold(
        &self,
        learner: &dyn Learner,
        dataset: &Dataset,
        folds: &[Fold],
        index: usize,
        seed: Seed,
        limit: Option<&dyn Limit>,
    ) -> Result<Vec<f64>, LearnError> {
        let (fold, fills) = (&folds[index], &self.fold_fills[index]);
        let data = TrainingSet {
            limit,
            ..self.training_set(dataset, &fold.train, fills)
        };
        data.part(|| {
            let model = learner.fit(&data, seed.child("fold", index as u64))?;
            Ok(model.predict_rows(&self.features, &fold.test, fills))
        })
    }

    /// Begins what [`Encoded::predict_fold`] does whole, where the learner fits round by round. The test rows of the fold
    /// are watched.
    ///
    /// # Errors
    /// That of the learner.
    pub fn begin_fold<'a>(
        &'a self,
        learner: &'a dyn Learner,
        dataset: &'a Dataset,
        folds: &'a [Fold],
        index: usize,
        seed: Seed,
    ) -> Option<Result<Box<dyn Rounds + 'a>, LearnError>> {
        let (fold, fills) = (&folds[index], &self.fold_fills[index]);
        let data = self.training_set(dataset, &fold.train, fills);
        learner.begin(&data, &fold.test, seed.child("fold", index as u64))
    }

    /// Fits on all training rows.
    ///
    /// # Errors
    /// That of the learner.
    pub fn fit(
        &self,
        learner: &dyn Learner,
        dataset: &Dataset,
        train: &[u32],
        seed: Seed,
    ) -> Result<(Transform, Box<dyn Model>), LearnError> {
        let data = self.training_set(dataset, train, &self.train_fills);
        let model = learner.fit(&data, seed)?;
        let schema = dataset.table.schema.clone();
        Ok((
            Transform::new(schema, self.encoder.clone(), &self.train_fills),
            model,
        ))
    }

    /// Predicts rows of the dataset with a model of [`Encoded::fit`].
    pub fn predict(&self, model: &dyn Model, rows: &[u32]) -> Vec<f64> {
        model.predict_rows(&self.features, rows, &self.train_fills)
    }

    fn training_set<'a>(
        &'a self,
        dataset: &'a Dataset,
        rows: &'a [u32],
        fills: &'a [f64],
    ) -> TrainingSet<'a> {
        let target = &dataset.target;
        TrainingSet {
            features: &self.features,
            target,
            rows,
            weights: dataset.weights.as_deref(),
            fills,
            limit: None,
        }
    }
}
