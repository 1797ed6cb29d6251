//! Methods by name: what the tables of samplers and pruners have in common.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::names;

/// One method by name.
pub struct Entry<M: ?Sized> {
    /// As in `tpe`.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// Makes one from its parameters, a JSON object; `null` stands for the defaults.
    pub build: fn(&Json) -> Result<Box<M>, MethodError>,
}

/// What can be wrong with the choice of a method.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// No method of this name.
    #[error("there is no {kind} `{name}`; {hint}")]
    Unknown {
        /// What was asked for, as in `sampler`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// What may have been meant, or the list.
        hint: String,
    },
    /// A parameter that is unknown, of the wrong type or out of range.
    #[error("`{method}`: {what}")]
    Param {
        /// The method.
        method: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Neither a name nor one name with settings.
    #[error("a {kind} is a name, or one name with settings, not {given}")]
    Spec {
        /// What was asked for, as in `pruner`.
        kind: &'static str,
        /// What was given.
        given: String,
    },
}

impl MethodError {
    /// A parameter of `method` that is wrong.
    pub fn param(method: &'static str, what: impl Into<String>) -> Self {
        MethodError::Param {
            method,
            what: what.into(),
        }
    }
}

/// For a method without parameters.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

/// Makes the method called `name`, of a table of methods of one `kind`.
///
/// # Errors
/// When there is no such method, with the likeliest name, or when a parameter is wrong.
pub(super) fn by_name<M: ?Sized>(
    kind: &'static str,
    table: &[Entry<M>],
    name: &str,
    params: &Json,
) -> Result<Box<M>, MethodError> {
    if let Some(entry) = table.iter().find(|e| e.name == name) {
        return (entry.build)(params);
    }
    Err(MethodError::Unknown {
        kind,
        name: name.to_owned(),
        hint: names::hint(name, table.iter().map(|e| e.name)),
    })
}

/// Reads the parameters of `method`.
///
/// # Errors
/// The first one that is unknown or of the wrong type.
pub(super) fn read<P: Default + DeserializeOwned>(
    method: &'static str,
    params: &Json,
) -> Result<P, MethodError> {
    if params.is_null() {
        return Ok(P::default());
    }
    serde_json::from_value(params.clone()).map_err(|error| {
        let (key, error) = first_wrong::<P>(params).unwrap_or((None, error));
        let what = match key {
            Some(key) => format!("`{key}`: {error}"),
            None => error.to_string(),
        };
        MethodError::Param { method, what }
    })
}

/// The first parameter with a value that is wrong by itself, and what is wrong with it.
fn first_wrong<P: DeserializeOwned>(params: &Json) -> Option<(Option<&String>, serde_json::Error)> {
    params.as_object()?.iter().find_map(|(key, value)| {
        let alone = Json::from_iter([(key.clone(), value.clone())]);
        let error = serde_json::from_value::<P>(alone).err()?;
        // That of an unknown parameter names it.
        let named = error.to_string().contains(&format!("`{key}`"));
        Some(((!named).then_some(key), error))
    })
}
