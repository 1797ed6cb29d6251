//! A learner of one's own, cross-validated beside the built-in ones on the same folds of the same matrix.
//!
//! The learner is k nearest neighbours: it keeps the training rows, each feature divided by its spread, and predicts
//! the share of the positive class among the `k` closest.
//!
//! `cargo run --release --example custom_learner`

use std::path::PathBuf;

use automl::data::split::k_fold;
use automl::data::table::Task;
use automl::data::telco;
use automl::learn::evaluate::Encoded;
use automl::learn::features::Features;
use automl::learn::learner::{LearnError, Learner, Model, TrainingSet};
use automl::learn::metric::{self, Scores};
use automl::learn::table;
use automl::seed::Seed;
use automl::tune::experiment::preset;
use serde_json::json;

/// The unfitted thing: hyperparameters.
struct Neighbours {
    k: usize,
}

/// The fitted thing.
struct NeighbourModel {
    k: usize,
    /// What each feature is multiplied by.
    scales: Vec<f64>,
    /// The training rows, scaled, one after the other.
    rows: Vec<f64>,
    /// 1 for the positive class.
    classes: Vec<f64>,
}

impl Learner for Neighbours {
    fn fit(&self, data: &TrainingSet<'_>, _seed: Seed) -> Result<Box<dyn Model>, LearnError> {
        let learner = "neighbours";
        let task = data.target.task;
        if task != Task::Binary {
            return Err(LearnError::Task { learner, task });
        }
        let Features { columns, .. } = data.features;
        let mut rows = vec![0.0; data.rows.len() * columns.len()];
        for (out, &row) in rows.chunks_exact_mut(columns.len()).zip(data.rows) {
            // The fills were fitted on these rows; what they leave open is still NaN.
            data.features.decode_row(row, data.fills, out);
        }
        if rows.iter().any(|v| v.is_nan()) {
            let what = "missing values need a fill; use `preprocess: one_hot`".to_owned();
            return Err(LearnError::Data { learner, what });
        }
        let n = data.rows.len() as f64;
        let scales = (0..columns.len()).map(|i| {
            let column = || rows.iter().skip(i).step_by(columns.len());
            let mean = column().sum::<f64>() / n;
            let variance = column().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            if variance > 0.0 {
                1.0 / variance.sqrt()
            } else {
                0.0
            }
        });
        let scales: Vec<f64> = scales.collect();
        for row in rows.chunks_exact_mut(scales.len()) {
            row.iter_mut().zip(&scales).for_each(|(v, s)| *v *= s);
        }
        let class = |&row: &u32| data.target.values[row as usize];
        let classes = data.rows.iter().map(class).collect();
        Ok(Box::new(NeighbourModel {
            k: self.k,
            scales,
            rows,
            classes,
        }))
    }
}

impl Model for NeighbourModel {
    fn kind(&self) -> &'static str {
        "neighbours"
    }

    fn width(&self) -> usize {
        1
    }

    fn features(&self) -> usize {
        self.scales.len()
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        let width = self.scales.len();
        let distance = |known: &[f64]| -> f64 {
            let parts = known.iter().zip(row).zip(&self.scales);
            parts.map(|((k, v), s)| (k - v * s) * (k - v * s)).sum()
        };
        let mut all: Vec<(f64, f64)> = self
            .rows
            .chunks_exact(width)
            .map(distance)
            .zip(self.classes.iter().copied())
            .collect();
        let k = self.k.min(all.len());
        // Ties go to the class with the smaller number, so that the prediction does not depend on the sort.
        let order = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
        all.select_nth_unstable_by(k - 1, order);
        out[0] = all[..k].iter().map(|(_, class)| class).sum::<f64>() / k as f64;
    }

    fn save(&self) -> Result<String, LearnError> {
        Ok(
            json!({"k": self.k, "scales": self.scales, "rows": self.rows, "classes": self.classes})
                .to_string(),
        )
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::var_os("AUTOML_DATA_DIR").map(PathBuf::from);
    let dataset = telco::load(&telco::resolve(None, folder.as_deref())?, &telco::options())?;
    let rows: Vec<u32> = (0..dataset.table.rows as u32).collect();
    let seed = Seed::root(42);
    let folds = k_fold(&dataset.target, &rows, 3, 1, true, seed.child("cv", 0))?;
    // Encoded and binned once; every learner below reads the same matrix.
    let encoded = Encoded::new(&dataset, &preset("telco")?, &rows, &folds)?;

    let mut learners: Vec<(String, Box<dyn Learner>)> = Vec::new();
    for k in [5, 50] {
        learners.push((format!("neighbours, k = {k}"), Box::new(Neighbours { k })));
    }
    for name in ["random_forest", "gbt"] {
        // With its defaults; hyperparameters would be keys of the map.
        let learner = (table::find(name)?.build)(serde_json::Map::new())?;
        learners.push((name.to_owned(), learner));
    }
    let roc_auc = metric::find_for("roc_auc", dataset.target.task)?;
    println!("{}, 3 folds", dataset.name);
    for (name, learner) in &learners {
        let predictions = encoded.cross_predict(learner.as_ref(), &dataset, &folds, seed)?;
        let mut sum = 0.0;
        for (fold, predicted) in folds.iter().zip(&predictions) {
            let truth: Vec<f64> = fold
                .test
                .iter()
                .map(|&r| dataset.target.values[r as usize])
                .collect();
            sum += roc_auc.score(&truth, Scores::new(Task::Binary, 1, predicted), None, 0.5)?;
        }
        println!("  {name:20} roc_auc {:.4}", sum / folds.len() as f64);
    }
    Ok(())
}
