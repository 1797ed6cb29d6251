//! The encoder: which feature comes from which column, and how.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::table::{Kind, Schema};

use super::{Categories, Preprocess, PreprocessError};

/// How one feature comes from one column of the schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encode {
    /// The number itself.
    Number {
        /// Position of the column.
        column: usize,
    },
    /// The number, where 0 counts as missing: of models that were fitted on sparse data.
    NonZero {
        /// Position of the column.
        column: usize,
    },
    /// A number for each level.
    Mapped {
        /// Position of the column.
        column: usize,
        /// One per level.
        numbers: Vec<f64>,
    },
    /// 1 where the column has this level, else 0, also where it is missing.
    Indicator {
        /// Position of the column.
        column: usize,
        /// Code of the level.
        level: usize,
    },
    /// The level's code, without order.
    Level {
        /// Position of the column.
        column: usize,
        /// How many levels there are.
        levels: usize,
    },
}

/// Numbers up to this size are 0 to [`Encode::NonZero`], as in LightGBM.
pub const ZERO: f64 = 1e-35;

impl Encode {
    /// Position of the column that the feature comes from.
    pub fn column(&self) -> usize {
        match self {
            Encode::Number { column }
            | Encode::NonZero { column }
            | Encode::Mapped { column, .. }
            | Encode::Indicator { column, .. }
            | Encode::Level { column, .. } => *column,
        }
    }

    /// The feature's number from the row of the table; NaN is missing.
    #[inline]
    pub fn apply(&self, row: &[f64]) -> f64 {
        match self {
            Encode::Number { column } | Encode::Level { column, .. } => row[*column],
            Encode::NonZero { column } => non_zero(row[*column]),
            Encode::Mapped { column, numbers } => level_number(row[*column], numbers),
            Encode::Indicator { column, level } => indicator(row[*column], *level),
        }
    }

    /// The feature's numbers for a whole column of the table.
    pub(crate) fn apply_column(&self, columns: &[Arc<Vec<f64>>]) -> Arc<Vec<f64>> {
        match self {
            // Nothing is copied where nothing changes.
            Encode::Number { column } | Encode::Level { column, .. } => columns[*column].clone(),
            Encode::NonZero { column } => {
                Arc::new(columns[*column].iter().map(|&v| non_zero(v)).collect())
            }
            Encode::Mapped { column, numbers } => {
                let number = |v: &f64| level_number(*v, numbers);
                Arc::new(columns[*column].iter().map(number).collect())
            }
            Encode::Indicator { column, level } => {
                let hit = |v: &f64| indicator(*v, *level);
                Arc::new(columns[*column].iter().map(hit).collect())
            }
        }
    }

    /// Whether a missing value can reach the learner and may need a fill.
    pub fn can_be_filled(&self) -> bool {
        matches!(
            self,
            Encode::Number { .. } | Encode::NonZero { .. } | Encode::Mapped { .. }
        )
    }
}

fn non_zero(value: f64) -> f64 {
    if value.abs() <= ZERO { f64::NAN } else { value }
}

fn level_number(code: f64, numbers: &[f64]) -> f64 {
    if code.is_nan() {
        f64::NAN
    } else {
        numbers.get(code as usize).copied().unwrap_or(f64::NAN)
    }
}

fn indicator(code: f64, level: usize) -> f64 {
    f64::from(u8::from(code == level as f64))
}

/// Turns a row of the table into a row of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// One name per feature: the column's, with `=level` for an indicator.
    pub names: Vec<String>,
    /// One rule per feature.
    pub rules: Vec<Encode>,
}

impl Encoder {
    /// Applies the rules of `spec` to the columns of `schema`.
    ///
    /// # Errors
    /// A rule that names an unknown or numeric column, a category with too many levels, no feature at all.
    pub fn new(spec: &Preprocess, schema: &Schema) -> Result<Self, PreprocessError> {
        for (rule, columns) in [("one_hot", &spec.one_hot), ("native", &spec.native)] {
            for column in columns {
                let what = match schema.position(column).map(|i| schema.fields[i].kind) {
                    Some(Kind::Boolean | Kind::Categorical) => continue,
                    Some(_) => format!(
                        "which is numeric; add `types: {{{column}: categorical}}` under `data`"
                    ),
                    None => "which is not a column of the data".to_owned(),
                };
                return Err(PreprocessError::Column {
                    rule,
                    column: column.clone(),
                    what,
                });
            }
        }
        let mut encoder = Encoder {
            names: Vec::new(),
            rules: Vec::new(),
        };
        for (column, field) in schema.fields.iter().enumerate() {
            let numbers: Option<Vec<f64>> = field
                .levels
                .iter()
                .map(|l| spec.levels.get(l).copied())
                .collect();
            let mut push = |name: String, rule| {
                encoder.names.push(name);
                encoder.rules.push(rule);
            };
            let one_hot = match field.kind {
                Kind::Text => continue,
                Kind::Numeric => {
                    push(field.name.clone(), Encode::Number { column });
                    continue;
                }
                _ if spec.one_hot.contains(&field.name) => true,
                _ if spec.native.contains(&field.name) => false,
                _ => {
                    if let Some(numbers) = numbers {
                        push(field.name.clone(), Encode::Mapped { column, numbers });
                        continue;
                    }
                    if field.levels.len() <= 2 {
                        let numbers = (0..field.levels.len()).map(|i| i as f64).collect();
                        push(field.name.clone(), Encode::Mapped { column, numbers });
                        continue;
                    }
                    spec.categories == Categories::OneHot
                }
            };
            if one_hot {
                for level in usize::from(spec.drop_first)..field.levels.len() {
                    push(
                        format!("{}={}", field.name, field.levels[level]),
                        Encode::Indicator { column, level },
                    );
                }
            } else {
                let levels = field.levels.len();
                if levels > 254 {
                    return Err(PreprocessError::Levels {
                        column: field.name.clone(),
                        levels,
                    });
                }
                push(field.name.clone(), Encode::Level { column, levels });
            }
        }
        if encoder.rules.is_empty() {
            return Err(PreprocessError::NoFeatures);
        }
        Ok(encoder)
    }

    /// Encodes one row of the table into `out`, one number per feature.
    pub fn apply(&self, row: &[f64], out: &mut [f64]) {
        for (out, rule) in out.iter_mut().zip(&self.rules) {
            *out = rule.apply(row);
        }
    }
}
