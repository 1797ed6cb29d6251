//! Reading YAML with errors that a person can act on: file, line, column, the lines around, and the key that was meant.

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_saphyr::Spanned;

use crate::study::space::Value;

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

/// Reads a document. `file` is how messages call it, `least` what it must have.
///
/// # Errors
/// Not YAML, an unknown or duplicate key, a value of the wrong type; each with its place.
pub(super) fn parse<T: DeserializeOwned>(
    text: &str,
    file: &str,
    least: &str,
) -> Result<T, YamlError> {
    if text.trim().is_empty() {
        return Err(YamlError::new(format!(
            "{file}: the file is empty; it needs at least {least}"
        )));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let what = said(error);
        // Positions count from 1; 0 means unknown.
        let place = error.location().map(|l| (l.line(), l.column()));
        let Some((line, column)) = place.filter(|(line, _)| *line > 0) else {
            return YamlError::new(format!("{file}: {what}"));
        };
        let shown = text.lines().nth(line as usize - 1).unwrap_or("");
        let indent = " ".repeat(line.to_string().len());
        let caret = " ".repeat(column.max(1) as usize - 1);
        YamlError::new(format!(
            "{file}:{line}:{column}: {what}\n {line} | {shown}\n {indent} | {caret}^"
        ))
    })
}

/// What the reader of YAML found wrong, in words that need no knowledge of it.
fn said(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::SerdeUnknownField {
            field, expected, ..
        } => unknown("key", field, expected.iter().copied()),
        E::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected.iter().copied()),
        E::SerdeMissingField { field, .. } => format!("the key `{field}` is missing here"),
        E::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | E::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => mismatch(unexpected, expected),
        E::InvalidScalar { ty, .. } => format!("this must be {}", kind(ty)),
        E::Unexpected { expected, .. } => format!("this must be {}", kind(expected)),
        E::NonFiniteFloat { value, .. } => format!("`{value}` is not a finite number"),
        E::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is here twice; remove or rename one")
        }
        E::InvalidCharNotSingleScalar { .. } => "this must be one character".to_owned(),
        E::InvalidBooleanStrict { .. } => "this must be true or false".to_owned(),
        E::NullIntoString { .. } => "this must be text, and there is nothing".to_owned(),
        E::Message { msg, .. } => plain(msg),
        other => {
            // A parser's message comes with a place of its own, which is printed already.
            let text = other.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let first = text.lines().next().unwrap_or_default();
            let first = first.split(" at line ").next().unwrap_or(first);
            match first.strip_prefix("line ").and_then(|t| t.split_once(": ")) {
                Some((_, what)) => what.to_owned(),
                None => first.to_owned(),
            }
        }
    }
}

/// A message of serde in plain words; other messages as they are.
pub(crate) fn plain(message: &str) -> String {
    // Behind the key that it is about.
    if let Some((key, rest)) = message.strip_prefix('`').and_then(|m| m.split_once("`: ")) {
        return format!("`{key}`: {}", plain(rest));
    }
    let known = |list: &str| -> Vec<String> {
        let list = list.trim_start_matches("one of ");
        list.split(['`', ',', ' '])
            .filter(|k| !k.is_empty() && *k != "or")
            .map(str::to_owned)
            .collect()
    };
    for (start, what) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        if let Some((typed, rest)) = message.strip_prefix(start).and_then(|m| m.split_once('`')) {
            let known = rest.strip_prefix(", expected ").map_or(Vec::new(), known);
            return unknown(what, typed, known.iter().map(String::as_str));
        }
    }
    for start in ["invalid type: ", "invalid value: "] {
        let parts = message
            .strip_prefix(start)
            .and_then(|m| m.split_once(", expected "));
        if let Some((found, expected)) = parts {
            return mismatch(found, expected);
        }
    }
    match message.strip_prefix("missing field `") {
        Some(rest) => format!("the key `{} is missing", rest),
        None => message.to_owned(),
    }
}

fn unknown<'a>(what: &str, typed: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint =
        closest(typed, known.clone()).map_or(String::new(), |k| format!("; did you mean `{k}`?"));
    let known: Vec<&str> = known.collect();
    if known.is_empty() {
        return format!("unknown {what} `{typed}`; there are none here");
    }
    let separator = if hint.is_empty() { "; known" } else { " Known" };
    format!(
        "unknown {what} `{typed}`{hint}{separator}: {}",
        known.join(", ")
    )
}

fn mismatch(found: &str, expected: &str) -> String {
    let found = match found {
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" | "Option value" => "nothing".to_owned(),
        // integer `3`, floating point `1.5`, boolean `true`, string "text"
        other => match other.split_once(['`', '"']) {
            Some((_, rest)) => format!("`{}`", rest.trim_end_matches(['`', '"'])),
            None => other.to_owned(),
        },
    };
    format!("this must be {}, not {found}", kind(expected))
}

/// What a value must be.
fn kind(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" | "float" | "floating point" => "a number",
        "bool" | "a boolean" | "boolean" => "true or false",
        "a string" | "string" | "string scalar" | "scalar" => "text",
        "mapping start" | "a map" | "map" => "keys with values, as in `{key: value}`",
        "sequence start" | "a sequence" | "sequence" => "a list, as in `[a, b]`",
        other if other.starts_with("struct ") => "keys with values, as in `{key: value}`",
        other => other,
    }
}

/// A single value, a list, or keys with values.
pub(super) enum ValueOr<M> {
    /// A single value.
    Value(Value),
    /// A list.
    List(Vec<serde_json::Value>),
    /// Keys with values.
    Keys(M),
}

/// Reads any of these forms, keeping the messages of all; a list only where `lists` says so. `expected` says what belongs here.
pub(super) fn value_or<'de, M: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    lists: bool,
) -> Result<ValueOr<M>, D::Error> {
    struct Both<M> {
        expected: &'static str,
        lists: bool,
        keys: std::marker::PhantomData<M>,
    }
    impl<'de, M: Deserialize<'de>> Visitor<'de> for Both<M> {
        type Value = ValueOr<M>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.expected)
        }
        fn visit_bool<E: de::Error>(self, v: bool) -> Result<Self::Value, E> {
            Ok(ValueOr::Value(Value::Bool(v)))
        }
        fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
            Ok(ValueOr::Value(Value::Int(v)))
        }
        fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
            let value = i64::try_from(v).map_or(Value::Float(v as f64), Value::Int);
            Ok(ValueOr::Value(value))
        }
        fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
            Ok(ValueOr::Value(Value::Float(v)))
        }
        fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
            Ok(ValueOr::Value(Value::Str(v.to_owned())))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(ValueOr::Value(Value::Null))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            if !self.lists {
                return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
            }
            let mut list = Vec::new();
            while let Some(item) = seq.next_element()? {
                list.push(item);
            }
            Ok(ValueOr::List(list))
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            M::deserialize(de::value::MapAccessDeserializer::new(map)).map(ValueOr::Keys)
        }
    }
    deserializer.deserialize_any(Both {
        expected,
        lists,
        keys: std::marker::PhantomData,
    })
}

/// A message at a place of the file.
pub(super) fn at<T>(value: &Spanned<T>, file: &str, what: &str) -> YamlError {
    let (line, column) = (value.defined.line(), value.defined.column());
    YamlError {
        text: format!("{file}:{line}:{column}: {what}"),
    }
}

/// The name closest to what was typed, if one is close or begins with it.
pub(super) fn closest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let begun = |k: &str| typed.len() >= 3 && k.starts_with(typed);
    known
        .map(|k| (strsim::damerau_levenshtein(typed, k), k))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 3 || begun(k))
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
