//! The fitted linear model: standardised terms, their coefficients, and a link.

use serde::{Deserialize, Serialize};

use crate::learn::features::Features;
use crate::learn::learner::{LearnError, Model};
use crate::stats::special::{sigmoid, softmax};

use super::NAME;
use super::design::Part;

/// The newest format of saved linear models that this release reads, and the one it writes.
const FORMAT: u32 = 1;

/// More numbers per prediction than any table has classes: a damaged file must not ask for memory without end.
const MOST_OUTPUTS: usize = 1 << 16;

/// Standardised numbers are kept within this, so that a cell of 1e308 gives a certain prediction and not NaN.
const FAR: f64 = 1e100;

/// How scores become a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The score is the prediction.
    Identity,
    /// The logistic function of the score.
    Logistic,
    /// Softmax over the scores of the classes.
    Softmax,
}

/// What of a feature a term takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TermPart {
    /// The number, or `fill` where it is missing.
    Value {
        /// What stands in for a missing number.
        fill: f64,
    },
    /// 1 where the feature has this level, else 0.
    Level(usize),
    /// 1 where the feature is missing, else 0.
    Missing,
}

/// One term: `(x − mean) / deviation`, and what it adds to each score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearTerm {
    /// Position of the feature.
    pub feature: usize,
    /// What of it is taken.
    pub part: TermPart,
    /// What is subtracted.
    pub mean: f64,
    /// What it is divided by, above 0.
    pub deviation: f64,
    /// One per score, on the standardised scale.
    pub coefficients: Vec<f64>,
}

impl LinearTerm {
    /// The standardised number of an encoded value; NaN is missing.
    #[inline]
    fn number(&self, value: f64) -> f64 {
        let x = match self.part {
            TermPart::Value { fill } if value.is_nan() => fill,
            TermPart::Value { .. } => value,
            TermPart::Level(level) => f64::from(u8::from(value == level as f64)),
            TermPart::Missing => f64::from(u8::from(value.is_nan())),
        };
        ((x - self.mean) / self.deviation).clamp(-FAR, FAR)
    }
}

/// A fitted linear model. Terms whose coefficients are all zero are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearModel {
    format: u32,
    link: Link,
    features: usize,
    intercepts: Vec<f64>,
    terms: Vec<LinearTerm>,
}

impl LinearModel {
    pub(super) fn new(
        link: Link,
        features: usize,
        intercepts: Vec<f64>,
        mut terms: Vec<LinearTerm>,
    ) -> Self {
        terms.retain(|t| t.coefficients.iter().any(|c| *c != 0.0));
        LinearModel {
            format: FORMAT,
            link,
            features,
            intercepts,
            terms,
        }
    }

    /// How scores become a prediction.
    pub fn link(&self) -> Link {
        self.link
    }

    /// What each score begins with: one, or one per class.
    pub fn intercepts(&self) -> &[f64] {
        &self.intercepts
    }

    /// The terms, in the order in which they are added.
    pub fn terms(&self) -> &[LinearTerm] {
        &self.terms
    }

    /// Whether it predicts finite numbers: what a damaged file, or a fit that ran away, does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let outputs = self.intercepts.len();
        let fits = match self.link {
            Link::Identity | Link::Logistic => outputs == 1,
            Link::Softmax => (2..=MOST_OUTPUTS).contains(&outputs),
        };
        if !fits {
            return Err(format!("{:?} does not go with {outputs} scores", self.link));
        }
        if self.features > usize::from(u16::MAX) {
            return Err(format!("{} features are too many", self.features));
        }
        let finite = |numbers: &[f64]| numbers.iter().all(|n| n.is_finite());
        for term in &self.terms {
            let fill = match term.part {
                TermPart::Value { fill } => fill,
                _ => 0.0,
            };
            if term.feature >= self.features
                || term.coefficients.len() != outputs
                || !finite(&term.coefficients)
                || !finite(&[term.mean, term.deviation, fill])
                || term.deviation <= 0.0
            {
                return Err(format!("a term of feature {} does not fit", term.feature));
            }
        }
        if !finite(&self.intercepts) {
            return Err("an intercept is not finite".to_owned());
        }
        Ok(())
    }

    #[inline]
    fn finish(&self, out: &mut [f64]) {
        match self.link {
            Link::Identity => {}
            Link::Logistic => out[0] = sigmoid(out[0]),
            Link::Softmax => softmax(out),
        }
    }
}

pub(super) fn part(part: Part, fill: f64) -> TermPart {
    match part {
        Part::Value => TermPart::Value { fill },
        Part::Level(level) => TermPart::Level(level),
        Part::Missing => TermPart::Missing,
    }
}

impl Model for LinearModel {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn width(&self) -> usize {
        self.intercepts.len()
    }

    fn features(&self) -> usize {
        self.features
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.intercepts);
        for term in &self.terms {
            let number = term.number(row[term.feature]);
            for (out, c) in out.iter_mut().zip(&term.coefficients) {
                *out += c * number;
            }
        }
        self.finish(out);
    }

    fn predict_rows(&self, features: &Features, rows: &[u32], fills: &[f64]) -> Vec<f64> {
        let width = self.width();
        let mut out = self.intercepts.repeat(rows.len());
        // Term by term: each reads one column, and the sums are those of one row after the other.
        for term in &self.terms {
            let values = &features.columns[term.feature].values;
            let fill = fills[term.feature];
            for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
                let value = values[row as usize];
                let number = term.number(if value.is_nan() { fill } else { value });
                for (out, c) in out.iter_mut().zip(&term.coefficients) {
                    *out += c * number;
                }
            }
        }
        out.chunks_exact_mut(width).for_each(|o| self.finish(o));
        out
    }

    /// Shares of the summed absolute coefficients on the standardised scale.
    fn importance(&self) -> Option<Vec<f64>> {
        let mut shares = vec![0.0; self.features];
        for term in &self.terms {
            // The sum of huge numbers must not overflow.
            let own = term.coefficients.iter().map(|c| c.abs().min(FAR));
            shares[term.feature] += own.sum::<f64>();
        }
        let all: f64 = shares.iter().sum();
        if all > 0.0 {
            shares.iter_mut().for_each(|s| *s /= all);
        }
        Some(shares)
    }

    fn save(&self) -> Result<String, LearnError> {
        serde_json::to_string(self).map_err(|e| LearnError::Saved {
            kind: NAME,
            what: e.to_string(),
        })
    }
}

/// Reads the saved form.
///
/// # Errors
/// [`LearnError::Saved`] if it is not one.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    let wrong = |what: String| LearnError::Saved { kind: NAME, what };
    let model: LinearModel = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    if model.format > FORMAT {
        return Err(wrong(format!(
            "format {} is newer than this release reads ({FORMAT}); update automl",
            model.format
        )));
    }
    model.check().map_err(wrong)?;
    Ok(Box::new(model))
}
