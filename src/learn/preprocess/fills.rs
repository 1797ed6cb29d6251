//! What stands in for missing values, and the fitted transform that a model file carries.

use serde::{Deserialize, Serialize};

use crate::data::table::Schema;
use crate::learn::features::Features;

use super::{Encode, Encoder, Missing};

/// One fill per feature, fitted on `rows` alone; NaN where the learner sees the value as missing.
///
/// A feature without any value in `rows` is filled with 0.
pub fn fit_fills(
    missing: Missing,
    encoder: &Encoder,
    features: &Features,
    rows: &[u32],
) -> Vec<f64> {
    let mut present = Vec::new();
    encoder
        .rules
        .iter()
        .zip(&features.columns)
        .map(|(rule, column)| {
            if missing == Missing::Native || !rule.can_be_filled() {
                return f64::NAN;
            }
            present.clear();
            present.extend(
                rows.iter()
                    .map(|&r| column.values[r as usize])
                    .filter(|v| !v.is_nan()),
            );
            match missing {
                Missing::Native => f64::NAN,
                Missing::Zero => 0.0,
                _ if present.is_empty() => 0.0,
                Missing::Mean => present.iter().sum::<f64>() / present.len() as f64,
                Missing::Median => median(&mut present),
            }
        })
        .collect()
}

/// The middle value, or the mean of the two middle ones. `values` is reordered and must not be empty.
fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return upper;
    }
    let lower = below
        .iter()
        .copied()
        .max_by(f64::total_cmp)
        .unwrap_or(upper);
    (lower + upper) / 2.0
}

/// Everything between a row of the table and the model: schema, encoding and fitted fills.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// The columns a row must have.
    pub schema: Schema,
    /// Which feature comes from which column.
    pub encoder: Encoder,
    /// One per feature; none where a missing value stays missing.
    pub fills: Vec<Option<f64>>,
}

impl Transform {
    /// Joins what was fitted; NaN fills become none.
    pub fn new(schema: Schema, encoder: Encoder, fills: &[f64]) -> Self {
        let fills = fills.iter().map(|f| (!f.is_nan()).then_some(*f)).collect();
        Transform {
            schema,
            encoder,
            fills,
        }
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.encoder.rules.len()
    }

    /// Checks what was read from a file: every rule must point at a column.
    pub(crate) fn check(&self) -> Result<(), String> {
        let columns = self.schema.fields.len();
        let outside = |rule: &Encode| rule.column() >= columns;
        if self.encoder.rules.iter().any(outside) {
            return Err("an encoding rule points outside of the schema".to_owned());
        }
        if self.encoder.names.len() != self.width() || self.fills.len() != self.width() {
            return Err("names, rules and fills differ in number".to_owned());
        }
        Ok(())
    }

    /// Turns a row of the table, in schema order with NaN for missing, into the numbers a model takes.
    pub fn apply(&self, row: &[f64], out: &mut [f64]) {
        self.encoder.apply(row, out);
        for (value, fill) in out.iter_mut().zip(&self.fills) {
            if let (true, Some(fill)) = (value.is_nan(), fill) {
                *value = *fill;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0]), 2.5);
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&mut [9.0, 1.0, 5.0, 2.0]), 3.5);
    }
}
