//! A pipeline is a fitted transform with a fitted model: it takes rows of a file and gives labels and probabilities.
//!
//! Its file is JSON in a versioned envelope that describes itself: the columns it needs, how they become features, the
//! classes, the threshold, the trees. Reading one runs no code from it, and every link in it is checked first.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::data::table::Task;

use super::learner::{LearnError, Model};
use super::preprocess::Transform;
use super::table;

/// The newest format of model files that this release reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// What a model file says about itself besides the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What kind of prediction it makes.
    pub task: Task,
    /// The column it predicts.
    pub target: String,
    /// Class labels: for two classes the negative one, then the positive one; empty for numbers.
    pub classes: Vec<String>,
    /// For two classes: the probability from which a row is called positive.
    pub threshold: f64,
    /// The dataset it was fitted on.
    pub dataset: String,
    /// sha256 of that dataset.
    pub dataset_sha256: String,
}

/// A fitted transform and model.
pub struct Pipeline {
    /// What it predicts.
    pub card: Card,
    /// From rows of a file to features.
    pub transform: Transform,
    /// From features to predictions.
    pub model: Box<dyn Model>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    format: u32,
    automl: &'static str,
    kind: &'a str,
    card: &'a Card,
    transform: &'a Transform,
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct Opened {
    kind: String,
    card: Card,
    transform: Transform,
    model: Box<RawValue>,
}

impl Pipeline {
    /// Numbers per prediction: 1, or one per class when there are three or more.
    pub fn width(&self) -> usize {
        self.model.width()
    }

    /// Predicts one row of a table: one number per column of the schema, NaN for missing. `features` is scratch space.
    pub fn predict_row(&self, row: &[f64], features: &mut Vec<f64>, out: &mut [f64]) {
        features.resize(self.transform.width(), 0.0);
        self.transform.apply(row, features);
        self.model.predict_row(features, out);
    }

    /// The class that a prediction stands for; none for a regression.
    pub fn label(&self, prediction: &[f64]) -> Option<&str> {
        let class = match self.card.task {
            Task::Regression => return None,
            Task::Binary => usize::from(prediction[0] >= self.card.threshold),
            // The first of equal ones.
            Task::Multiclass => {
                let mut best = 0;
                for (i, p) in prediction.iter().enumerate() {
                    if *p > prediction[best] {
                        best = i;
                    }
                }
                best
            }
        };
        self.card.classes.get(class).map(String::as_str)
    }

    /// The bytes of the model file. The same pipeline gives the same bytes.
    ///
    /// # Errors
    /// [`LearnError::Saved`] when the model cannot be written.
    pub fn save(&self) -> Result<Vec<u8>, LearnError> {
        let bad = |e: serde_json::Error| LearnError::Saved {
            kind: "model",
            what: e.to_string(),
        };
        let model = RawValue::from_string(self.model.save()?).map_err(bad)?;
        let envelope = Envelope {
            format: FORMAT,
            automl: env!("CARGO_PKG_VERSION"),
            kind: self.model.kind(),
            card: &self.card,
            transform: &self.transform,
            model: &model,
        };
        let mut bytes = serde_json::to_vec(&envelope).map_err(bad)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`LearnError::Saved`] when the bytes are no model file, are damaged, or come from a newer release.
    pub fn load(bytes: &[u8]) -> Result<Self, LearnError> {
        let bad = |what: String| LearnError::Saved {
            kind: "model",
            what,
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|e| {
            bad(format!(
                "it is damaged, or no model file that automl wrote ({e})"
            ))
        })?;
        if version.format > FORMAT {
            return Err(bad(format!(
                "format {} is newer than this release reads ({FORMAT}); update automl",
                version.format
            )));
        }
        let opened: Opened = serde_json::from_slice(bytes)
            .map_err(|e| bad(format!("it is damaged or was changed ({e})")))?;
        let load = table::loader(&opened.kind).map_err(|e| bad(e.to_string()))?;
        let model = load(opened.model.get())?;
        let Opened {
            card, transform, ..
        } = opened;
        transform.check().map_err(bad)?;
        if model.features() != transform.width() {
            return Err(bad(format!(
                "the model takes {} features and the transform makes {}",
                model.features(),
                transform.width()
            )));
        }
        let width = if card.task == Task::Multiclass {
            card.classes.len()
        } else {
            1
        };
        if model.width() != width || (card.task == Task::Binary && card.classes.len() != 2) {
            return Err(bad("its classes do not fit its model".to_owned()));
        }
        Ok(Pipeline {
            card,
            transform,
            model,
        })
    }
}
