//! Weights of rows that come from their classes.
//!
//! `balanced` is that of scikit-learn: classes weigh `all / (classes × own)`, so each has the same weight in the end. Row
//! weights are multiplied in, and count in `all` and `own`, so that a weight of 2 is the same as the row twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::table::Task;

use super::learner::{LearnError, TrainingSet};
use super::model::check;

/// How much the rows of each class weigh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`class_weight` must be `balanced`, or a weight by label as in `{value: {\"Yes\": 3, \"No\": 1}}`"
)]
pub enum ClassWeight {
    /// A rule by name.
    Rule(ClassWeightRule),
    /// A weight by label, at least 0; labels that are not named weigh 1.
    Of(BTreeMap<String, f64>),
}

/// A rule for the weights of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeightRule {
    /// Every class weighs the same in the end.
    Balanced,
}

impl ClassWeight {
    /// Checks the ranges.
    pub(super) fn check(&self, learner: &'static str) -> Result<(), LearnError> {
        let ClassWeight::Of(by_label) = self else {
            return Ok(());
        };
        by_label.iter().try_for_each(|(label, weight)| {
            check(
                learner,
                &format!("class_weight: {label}"),
                *weight,
                0.0,
                1e9,
            )
        })
    }

    /// A weight for every row of the dataset, those of `data` multiplied in.
    ///
    /// # Errors
    /// [`LearnError::Params`] when there are no classes, or none of a label that is named.
    pub(super) fn of_rows(
        &self,
        learner: &'static str,
        data: &TrainingSet<'_>,
    ) -> Result<Vec<f64>, LearnError> {
        let fail = |what: String| Err(LearnError::Params { learner, what });
        let (target, classes) = (data.target, &data.target.classes);
        if target.task == Task::Regression {
            return fail(format!(
                "`class_weight` needs classes, and `{}` holds numbers; leave it out",
                target.name
            ));
        }
        let mut factors = vec![1.0; classes.len()];
        match self {
            ClassWeight::Rule(ClassWeightRule::Balanced) => {
                let mut own = vec![0.0; classes.len()];
                for &row in data.rows {
                    own[target.values[row as usize] as usize] += data.weight(row);
                }
                let there = own.iter().filter(|w| **w > 0.0).count() as f64;
                let all: f64 = own.iter().sum();
                for (factor, own) in factors.iter_mut().zip(own) {
                    if own > 0.0 {
                        *factor = all / (there * own);
                    }
                }
            }
            ClassWeight::Of(by_label) => {
                for (label, weight) in by_label {
                    match classes.iter().position(|c| c == label) {
                        Some(class) => factors[class] = *weight,
                        None => {
                            return fail(format!(
                                "`class_weight`: `{}` has no class `{label}`; its classes: {}",
                                target.name,
                                classes.join(", ")
                            ));
                        }
                    }
                }
            }
        }
        let of_row = |(row, class): (usize, &f64)| {
            factors[*class as usize] * data.weights.map_or(1.0, |w| w[row])
        };
        Ok(target.values.iter().enumerate().map(of_row).collect())
    }
}
