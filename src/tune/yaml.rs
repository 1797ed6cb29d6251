//! Reading YAML with errors that a person can act on: file, line, column, the lines around, and the key that was meant.

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_saphyr::Spanned;

/// The text is not what it should be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct YamlError {
    text: String,
}

impl YamlError {
    /// A message that already names its place.
    pub(super) fn new(text: String) -> Self {
        YamlError { text }
    }
}

/// Reads a document. `file` is how messages call it.
///
/// # Errors
/// Not YAML, an unknown or duplicate key, a value of the wrong type; each with its place.
pub(super) fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let mut message = error.to_string().replace("<input>", file);
        message = message.replace(
            ", set DuplicateKeyPolicy in Options if acceptable",
            "; remove or rename one",
        );
        message = message
            .strip_prefix("error: ")
            .map_or(message.clone(), str::to_owned);
        if let Some(hint) = meant(&message) {
            message.push_str(&format!("\nhint: did you mean `{hint}`?"));
        }
        YamlError {
            text: format!("{file}: {message}"),
        }
    })
}

/// A message at a place of the file.
pub(super) fn at<T>(value: &Spanned<T>, file: &str, what: &str) -> YamlError {
    let (line, column) = (value.defined.line(), value.defined.column());
    YamlError {
        text: format!("{file}:{line}:{column}: {what}"),
    }
}

/// The known key closest to the unknown one in "unknown field `a`, expected one of b, c".
fn meant(message: &str) -> Option<String> {
    let line = message
        .lines()
        .find(|l| l.contains("unknown field `") || l.contains("unknown variant `"))?;
    let typed = line.split('`').nth(1)?;
    let known = line.split_once("expected ")?.1;
    closest(
        typed,
        known
            .trim_start_matches("one of ")
            .split(", ")
            .map(|k| k.trim_matches('`')),
    )
}

/// The name closest to what was typed, if one is close.
pub(super) fn closest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|k| (strsim::damerau_levenshtein(typed, k), k))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 3)
        .min()
        .map(|(_, k)| k.to_owned())
}

/// A mapping that keeps the order of its keys and where each value stands.
#[derive(Clone, Debug)]
pub struct Ordered<T>(pub Vec<(String, Spanned<T>)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Ordered(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (k, &v.value)))
    }
}
