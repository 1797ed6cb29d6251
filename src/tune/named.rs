//! What a file names from a table: a sampler or a pruner, with or without settings.
//!
//! ```yaml
//! sampler: tpe
//! pruner: {racing: {chance: 0.02}}
//! ```

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::study::method::MethodError;
use crate::study::pruner::{self, Pruner};
use crate::study::sampler::{self, Sampler};

use super::yaml::{ValueOr, plain, value_or};

/// A table that things are named from.
pub trait Table {
    /// What it makes.
    type Made;
    /// What belongs under the key.
    const WHAT: &'static str;
    /// What holds when nothing is written.
    const DEFAULT: &'static str;

    /// Makes what `name` says.
    ///
    /// # Errors
    /// An unknown name or setting, in words.
    fn make(name: &str, settings: &Json) -> Result<Self::Made, String>;
}

/// The error in words that a user of files knows.
fn said(error: &MethodError) -> String {
    match error {
        MethodError::Param { method, what } => format!("{method}: {}", plain(what)),
        other => other.to_string(),
    }
}

/// The table of samplers.
#[derive(Clone, Copy, Debug)]
pub struct Samplers;

impl Table for Samplers {
    type Made = Box<dyn Sampler>;
    const WHAT: &'static str =
        "a sampler such as `auto`, or one with settings such as `{tpe: {n_startup_trials: 20}}`";
    const DEFAULT: &'static str = "auto";

    fn make(name: &str, settings: &Json) -> Result<Self::Made, String> {
        sampler::by_name(name, settings).map_err(|error| said(&error))
    }
}

/// The table of pruners.
#[derive(Clone, Copy, Debug)]
pub struct Pruners;

impl Table for Pruners {
    type Made = Box<dyn Pruner>;
    const WHAT: &'static str =
        "a pruner such as `racing`, or one with settings such as `{racing: {chance: 0.02}}`";
    const DEFAULT: &'static str = "none";

    fn make(name: &str, settings: &Json) -> Result<Self::Made, String> {
        pruner::by_name(name, settings).map_err(|error| said(&error))
    }
}

/// A sampler by name, or with settings.
pub type SamplerSpec = Named<Samplers>;
/// A pruner by name, or with settings.
pub type PrunerSpec = Named<Pruners>;

/// A name from a table, or one with its settings.
#[derive(Clone, Debug)]
pub struct Named<T> {
    name: String,
    /// `None` when only the name is written.
    settings: Option<Json>,
    table: PhantomData<T>,
}

impl<T: Table> Named<T> {
    /// `name` with its defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Named {
            name: name.into(),
            settings: None,
            table: PhantomData,
        }
    }

    /// The name in the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is named. Messages begin with `key`, where it is written.
    ///
    /// # Errors
    /// An unknown name or setting.
    pub fn build(&self, key: &str) -> Result<T::Made, String> {
        let settings = self.settings.as_ref().unwrap_or(&Json::Null);
        T::make(&self.name, settings).map_err(|what| format!("{key}: {what}"))
    }
}

impl<T: Table> Default for Named<T> {
    fn default() -> Self {
        Named::new(T::DEFAULT)
    }
}

impl<'de, T: Table> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match value_or(deserializer, T::WHAT, false)? {
            ValueOr::Value(name) => Ok(Named::new(name.to_string())),
            ValueOr::List(_) => Err(D::Error::custom(format!("this must be {}", T::WHAT))),
            ValueOr::Keys(mut named) => {
                let named: &mut BTreeMap<String, Json> = &mut named;
                match (named.pop_first(), named.is_empty()) {
                    (Some((name, settings)), true) => Ok(Named {
                        settings: Some(settings),
                        ..Named::new(name)
                    }),
                    _ => Err(D::Error::custom(format!("write {}", T::WHAT))),
                }
            }
        }
    }
}

impl<T: Table> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.settings {
            None => serializer.serialize_str(&self.name),
            Some(settings) => serializer.collect_map([(&self.name, settings)]),
        }
    }
}
