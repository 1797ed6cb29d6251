//! The grammar of parameters in experiment and space files.
//!
//! A parameter is a fixed value or a domain: `{float: [0.01, 0.3], log: true}`, `{int: [2, 10]}`, `{categorical: [a, b]}`,
//! with an optional `step` and an optional `when: {other: value}`. A fixed value that is keys with values itself is written
//! `{value: {…}}`.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::study::declared::{DeclaredError, Param, Space};
use crate::study::space::{Domain, Params, SpaceError, Value};

use super::yaml::{Ordered, ValueOr, YamlError, at, closest, value_or};

/// One parameter as written.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ParamSpec {
    /// A domain to search.
    Search(SearchSpec),
    /// A value that does not change.
    Fixed(#[serde(serialize_with = "as_written")] Json),
}

/// Keys with values below `value`, so that they can be read again.
fn as_written<S: serde::Serializer>(value: &Json, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Json::Object(_) => serializer.collect_map([("value", value)]),
        other => other.serialize(serializer),
    }
}

impl<'de> Deserialize<'de> for ParamSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WHAT: &str =
            "one value, or a domain such as `{float: [0.01, 0.3], log: true}` or `{int: [2, 10]}`";
        let search: SearchSpec = match value_or(deserializer, WHAT, true)? {
            ValueOr::Value(value) => return Ok(ParamSpec::Fixed(json(&value))),
            ValueOr::List(list) => return Ok(ParamSpec::Fixed(Json::Array(list))),
            ValueOr::Keys(search) => search,
        };
        let says_more = search.says_more();
        let SearchSpec {
            value: Some(value), ..
        } = search
        else {
            return Ok(ParamSpec::Search(search));
        };
        if says_more {
            let what = "`value` is fixed and goes with no other key; remove the others";
            return Err(D::Error::custom(what));
        }
        Ok(ParamSpec::Fixed(value))
    }
}

/// A domain as written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// A fixed value of any form, for those that are keys with values themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Bounds of real numbers.
    #[serde(
        default,
        deserialize_with = "bounds",
        skip_serializing_if = "Option::is_none"
    )]
    pub float: Option<[f64; 2]>,
    /// Bounds of whole numbers.
    #[serde(
        default,
        deserialize_with = "bounds",
        skip_serializing_if = "Option::is_none"
    )]
    pub int: Option<[i64; 2]>,
    /// Choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categorical: Option<Vec<Value>>,
    /// Whether the scale is logarithmic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
    /// Distance of allowed values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// The most rounds of a learner that fits round by round, of which each trial takes the best number. Not searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Other parameters and the values at which this one exists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, OneOrMany>,
}

/// Two numbers. A list of another length is said to be one, where an array would stop at its third item.
fn bounds<'de, T: Copy + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<[T; 2]>, D::Error> {
    match Vec::<T>::deserialize(deserializer)?[..] {
        [low, high] => Ok(Some([low, high])),
        ref other => Err(D::Error::custom(format!(
            "there must be two bounds, as in `[1, 10]`, not {}",
            other.len()
        ))),
    }
}

/// One value or a list of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "this must be a value or a list of values, as in `when: {gbt.max_depth: [2, 3]}`"
)]
pub enum OneOrMany {
    /// Several.
    Many(Vec<Value>),
    /// One.
    One(Value),
}

impl SearchSpec {
    /// Whether there is anything beside `value` or `up_to`.
    pub(super) fn says_more(&self) -> bool {
        self.float.is_some()
            || self.int.is_some()
            || self.categorical.is_some()
            || self.log
            || self.step.is_some()
            || !self.when.is_empty()
            || (self.value.is_some() && self.up_to.is_some())
    }

    /// `param` with the conditions that are written here.
    pub(super) fn conditions(&self, mut param: Param) -> Param {
        for (on, values) in &self.when {
            let values = match values {
                OneOrMany::One(value) => vec![value.clone()],
                OneOrMany::Many(values) => values.clone(),
            };
            param = param.when(on.as_str(), values);
        }
        param
    }

    /// The checked domain, or what is wrong with it.
    pub fn domain(&self) -> Result<Domain, String> {
        if self.up_to.is_some() {
            return Err("`up_to` is for the number of rounds of a learner that fits round by round, as in `gbt.n_estimators: {up_to: 400}`".to_owned());
        }
        let text = |e: SpaceError| e.to_string();
        match (self.float, self.int, &self.categorical) {
            (Some([low, high]), None, None) => Domain::float(low, high, self.step, self.log).map_err(text),
            (None, Some([low, high]), None) => {
                let step = self.step.unwrap_or(1.0);
                if step.fract() != 0.0 {
                    return Err(format!("the step of an int must be a whole number, not {step}"));
                }
                Domain::int(low, high, step as i64, self.log).map_err(text)
            }
            (None, None, Some(choices)) if !self.log && self.step.is_none() => {
                Domain::categorical(choices.iter().cloned()).map_err(text)
            }
            (None, None, Some(_)) => Err("a categorical parameter has no `log` and no `step`".to_owned()),
            _ => Err("write exactly one of `float: [low, high]`, `int: [low, high]` and `categorical: [a, b]`".to_owned()),
        }
    }
}

/// A value as JSON.
pub fn json(value: &Value) -> Json {
    // Values are plain data; a number that is not finite has no JSON form and becomes null.
    serde_json::to_value(value).unwrap_or(Json::Null)
}

/// Parameters as a JSON object, in the order in which they were drawn.
pub fn object(params: &Params) -> Json {
    let pairs = params
        .iter()
        .map(|(name, value)| (name.to_owned(), json(&value)));
    Json::Object(pairs.collect())
}

/// The space of parameters that belong to nobody else, as in a space file. A fixed value is a parameter with one
/// choice. `key` is where they stand in `file`.
///
/// # Errors
/// A bad domain, a bad condition, a fixed value that is a list or keys with values; each with its place.
pub fn space(params: &Ordered<ParamSpec>, key: &str, file: &str) -> Result<Space, YamlError> {
    let mut made = Vec::with_capacity(params.0.len());
    for (name, spec) in &params.0 {
        let wrong = |what: &str| at(spec, file, &format!("`{name}`: {what}"));
        made.push(match &spec.value {
            ParamSpec::Search(search) => {
                let domain = search.domain().map_err(|e| wrong(&e))?;
                search.conditions(Param::new(name, domain))
            }
            ParamSpec::Fixed(value) => {
                let Ok(value) = serde_json::from_value::<Value>(value.clone()) else {
                    return Err(wrong(
                        "a fixed value must be a number, text, true, false or null; to search it write \
                         `{float: [low, high]}`, `{int: [low, high]}` or `{categorical: [a, b]}`",
                    ));
                };
                // One choice is always right.
                let only = Domain::categorical([value]).map_err(|e| wrong(&e.to_string()))?;
                Param::new(name, only)
            }
        });
    }
    Space::new(made).map_err(|error| misplaced(&error, params, key, file))
}

/// An error of a declared space at the place of the parameter it is about.
pub(super) fn misplaced(
    error: &DeclaredError,
    params: &Ordered<ParamSpec>,
    key: &str,
    file: &str,
) -> YamlError {
    let mut what = error.to_string();
    let name = match error {
        DeclaredError::Duplicate { name }
        | DeclaredError::LaterCondition { name, .. }
        | DeclaredError::ConditionValue { name, .. }
        | DeclaredError::EmptyCondition { name, .. } => name,
        DeclaredError::UnknownCondition { name, on, known } => {
            if known.is_empty() {
                what = what.replace("; known: ", "; none is declared before it");
            } else if let Some(hint) = closest(on, known.split(", ")) {
                what.push_str(&format!("; did you mean `{hint}`?"));
            }
            name
        }
    };
    match params.0.iter().find(|(n, _)| n == name) {
        Some((_, spec)) => at(spec, file, &what),
        None => YamlError::new(format!("{file}: {key}: {what}")),
    }
}
