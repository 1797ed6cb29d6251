//! The search space: values, domains of one parameter, and assignments.
//!
//! A [`Domain`] says which values one parameter may take. Inside the engine a value is a single `f64`, its
//! *internal* form, as in Optuna's storage: a float as it is (never its logarithm), an integer as a float, a
//! category as the index of its choice. [`Domain::value`] and [`Domain::internal`] convert.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A parameter's value as the user sees it, and a choice of a categorical parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "this must be a single value: a number, text, true, false or null"
)]
pub enum Value {
    /// Nothing, JSON's `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// Text.
    Str(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v}"),
            Value::Str(v) => f.write_str(v),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident($convert:expr)),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(v: $from) -> Self {
                #[allow(clippy::redundant_closure_call)]
                Value::$variant(($convert)(v))
            }
        }
    )*};
}
value_from! {
    bool => Bool(|v| v),
    i64 => Int(|v| v),
    i32 => Int(i64::from),
    u32 => Int(i64::from),
    f64 => Float(|v| v),
    String => Str(|v| v),
    &str => Str(str::to_owned),
}

/// The values that one parameter may take. Build one with [`Domain::float`], [`Domain::int`] or
/// [`Domain::categorical`], which check it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Domain {
    /// Real numbers in `low..=high`.
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value; with a step, a value that steps from `low` reach.
        high: f64,
        /// Distance of allowed values, or none for all.
        step: Option<f64>,
        /// Whether the scale is logarithmic.
        log: bool,
    },
    /// Whole numbers in `low..=high`.
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value, one that steps from `low` reach.
        high: i64,
        /// Distance of allowed values, at least 1.
        step: i64,
        /// Whether the scale is logarithmic.
        log: bool,
    },
    /// One of several choices without order.
    Categorical {
        /// The choices, all different, at least one.
        choices: Vec<Value>,
    },
}

/// What is wrong with a domain or an assignment.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// Lower and upper bound are in the wrong order.
    #[error("bounds are reversed: [{low}, {high}]; write the smaller one first")]
    Reversed {
        /// The bound given first.
        low: f64,
        /// The bound given second.
        high: f64,
    },
    /// A bound is NaN or infinite.
    #[error("bounds must be finite numbers, not [{low}, {high}]")]
    NotFinite {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// A logarithmic scale from zero or below, or an integer one from below 1.
    #[error(
        "a log scale cannot start at {low}; the lower bound must be above 0 (integers: at least 1)"
    )]
    LogFromZero {
        /// The lower bound.
        low: f64,
    },
    /// A step that is not positive, or one together with a logarithmic scale.
    #[error("step {step} is not allowed: it must be above 0 and cannot be combined with `log`")]
    Step {
        /// The step given.
        step: f64,
    },
    /// No choices.
    #[error("a categorical parameter needs at least one choice")]
    NoChoices,
    /// The same choice twice.
    #[error("choice `{choice}` is listed twice")]
    DuplicateChoice {
        /// The choice.
        choice: Value,
    },
    /// A value outside of its domain.
    #[error("{value} is not in {domain}")]
    NotInDomain {
        /// The value.
        value: Value,
        /// The domain, printed.
        domain: String,
    },
}

impl Domain {
    /// Real numbers in `low..=high`. With `step`, `high` is lowered to the last value that steps reach.
    ///
    /// # Errors
    /// Reversed or non-finite bounds, a log scale from 0 or below, a step that is not positive or comes
    /// together with `log`.
    pub fn float(low: f64, high: f64, step: Option<f64>, log: bool) -> Result<Self, SpaceError> {
        if !low.is_finite() || !high.is_finite() {
            return Err(SpaceError::NotFinite { low, high });
        }
        if low > high {
            return Err(SpaceError::Reversed { low, high });
        }
        if log && low <= 0.0 {
            return Err(SpaceError::LogFromZero { low });
        }
        let mut high = high;
        if let Some(step) = step {
            if !(step.is_finite() && step > 0.0) || log {
                return Err(SpaceError::Step { step });
            }
            // A tolerance of 1e-8 steps lets 0.1 reach 0.9 from 0.0 in spite of rounding.
            high = low + ((high - low) / step + 1e-8).floor() * step;
        }
        Ok(Domain::Float {
            low,
            high,
            step,
            log,
        })
    }

    /// Whole numbers in `low..=high`; `high` is lowered to the last value that steps reach.
    ///
    /// # Errors
    /// Reversed bounds, a log scale from below 1, a step below 1, or a step above 1 together with `log`.
    pub fn int(low: i64, high: i64, step: i64, log: bool) -> Result<Self, SpaceError> {
        if low > high {
            return Err(SpaceError::Reversed {
                low: low as f64,
                high: high as f64,
            });
        }
        if log && low < 1 {
            return Err(SpaceError::LogFromZero { low: low as f64 });
        }
        if step < 1 || (log && step != 1) {
            return Err(SpaceError::Step { step: step as f64 });
        }
        let reach = i128::from(high) - i128::from(low);
        let high = (i128::from(low) + reach / i128::from(step) * i128::from(step)) as i64;
        Ok(Domain::Int {
            low,
            high,
            step,
            log,
        })
    }

    /// One of `choices`.
    ///
    /// # Errors
    /// No choices, or the same choice twice.
    pub fn categorical<V: Into<Value>>(
        choices: impl IntoIterator<Item = V>,
    ) -> Result<Self, SpaceError> {
        let choices: Vec<Value> = choices.into_iter().map(Into::into).collect();
        if choices.is_empty() {
            return Err(SpaceError::NoChoices);
        }
        for (i, choice) in choices.iter().enumerate() {
            if choices[..i].contains(choice) {
                return Err(SpaceError::DuplicateChoice {
                    choice: choice.clone(),
                });
            }
        }
        Ok(Domain::Categorical { choices })
    }

    /// Whether only one value is possible.
    pub fn is_single(&self) -> bool {
        match self {
            Domain::Float { low, high, .. } => low == high,
            Domain::Int { low, high, .. } => low == high,
            Domain::Categorical { choices } => choices.len() == 1,
        }
    }

    /// The value that an internal number stands for. A number outside is clamped to the domain.
    pub fn value(&self, internal: f64) -> Value {
        match self {
            Domain::Float { .. } => Value::Float(internal),
            Domain::Int { .. } => Value::Int(internal as i64),
            Domain::Categorical { choices } => {
                choices[(internal.max(0.0) as usize).min(choices.len() - 1)].clone()
            }
        }
    }

    /// The internal number of a value.
    ///
    /// # Errors
    /// [`SpaceError::NotInDomain`] when the value is of another type or outside.
    pub fn internal(&self, value: &Value) -> Result<f64, SpaceError> {
        let number = match (self, value) {
            (Domain::Float { .. }, Value::Float(v)) => Some(*v),
            (Domain::Float { .. } | Domain::Int { .. }, Value::Int(v)) => Some(*v as f64),
            (Domain::Int { .. }, Value::Float(v)) if v.fract() == 0.0 => Some(*v),
            (Domain::Categorical { choices }, v) => {
                choices.iter().position(|c| c == v).map(|i| i as f64)
            }
            _ => None,
        };
        number
            .filter(|n| self.contains(*n))
            .ok_or_else(|| SpaceError::NotInDomain {
                value: value.clone(),
                domain: self.to_string(),
            })
    }

    /// Whether an internal number is a value of this domain.
    pub fn contains(&self, internal: f64) -> bool {
        match self {
            Domain::Float {
                low, high, step, ..
            } => {
                // A hundred-millionth of a step, and what rounding does to numbers far larger than the step.
                let slack = step.map_or(0.0, |s| {
                    1e-8 * s + 4.0 * f64::EPSILON * (internal.abs() + low.abs())
                });
                let on_grid = step.is_none_or(|s| {
                    let k = (internal - low) / s;
                    (k - k.round()).abs() * s <= slack
                });
                internal >= low - slack && internal <= high + slack && on_grid
            }
            Domain::Int {
                low, high, step, ..
            } => {
                internal.fract() == 0.0
                    && internal >= *low as f64
                    && internal <= *high as f64
                    && (i128::from(internal as i64) - i128::from(*low)) % i128::from(*step) == 0
            }
            Domain::Categorical { choices } => {
                internal.fract() == 0.0 && internal >= 0.0 && internal < choices.len() as f64
            }
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Float {
                low,
                high,
                step,
                log,
            } => {
                write!(f, "float [{low}, {high}]")?;
                if let Some(step) = step {
                    write!(f, " step {step}")?;
                }
                if *log { write!(f, " log") } else { Ok(()) }
            }
            Domain::Int {
                low,
                high,
                step,
                log,
            } => {
                write!(f, "int [{low}, {high}]")?;
                if *step != 1 {
                    write!(f, " step {step}")?;
                }
                if *log { write!(f, " log") } else { Ok(()) }
            }
            Domain::Categorical { choices } => {
                let names: Vec<String> = choices.iter().map(Value::to_string).collect();
                write!(f, "categorical [{}]", names.join(", "))
            }
        }
    }
}

/// One parameter with the value it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The parameter's name.
    pub name: String,
    /// What it could have been.
    pub domain: Domain,
    /// What it is, in internal form.
    pub internal: f64,
}

impl Assignment {
    /// What it is, as the user sees it.
    pub fn value(&self) -> Value {
        self.domain.value(self.internal)
    }
}

/// The parameters of one trial in the order in which they were drawn; names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(pub Vec<Assignment>);

impl Params {
    /// The assignment of `name`, if it was drawn.
    pub fn assignment(&self, name: &str) -> Option<&Assignment> {
        self.0.iter().find(|a| a.name == name)
    }

    /// Iterates over name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.0.iter().map(|a| (a.name.as_str(), a.value()))
    }
}
