//! The lines that we and a program exchange, one JSON object each.
//!
//! We send `{"trial": 7, "params": {…}, "seed": …}`. The program answers with any number of
//! `{"report": {"step": 1, "value": 0.8}}`, each of which gets `{"prune": false}` or `{"prune": true}`, and ends the
//! trial with `{"value": 0.83}`, `{"values": [0.83, 12]}`, `{"fail": "why"}` or `{"pruned": true}`. Beside a value there may
//! be `"constraints": [-0.1, 2]`. `NaN`, `Infinity` and `-Infinity`, which JSON
//! lacks and many writers of JSON print, are understood.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::json;

use crate::study::space::Params;
use crate::tune::params;
use crate::tune::yaml::plain;

/// How much of a program's line a message shows.
const SHOWN: usize = 120;

/// What a program says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Report {
        step: i64,
        value: f64,
    },
    Values {
        values: Vec<f64>,
        constraints: Option<Vec<f64>>,
    },
    Fail(String),
    Pruned,
}

/// The line that begins a trial, without its end.
pub(super) fn question(trial: u64, params: &Params, seed: u32) -> String {
    json!({"trial": trial, "params": params::object(params), "seed": seed}).to_string()
}

/// The answer to a report.
pub(super) fn verdict(prune: bool) -> String {
    json!({ "prune": prune }).to_string()
}

/// Reads a line of a program.
///
/// # Errors
/// It is not of the protocol; the words say what it was and what to do.
pub(super) fn parse(line: &str) -> Result<Said, String> {
    let wrong = |why: &str| {
        let shown: String = line.trim().chars().take(SHOWN).collect();
        let more = if shown.len() < line.trim().len() {
            "…"
        } else {
            ""
        };
        format!(
            "the program printed `{shown}{more}`, which is no answer: {why}; stdout is for answers, print all else to stderr"
        )
    };
    let lines: Lines =
        serde_json::from_str(&with_named_numbers(line)).map_err(|e| wrong(&said(&e)))?;
    let numbers = |list: Vec<Number>| list.into_iter().map(|v| v.0).collect();
    let constraints = lines.constraints.map(numbers);
    let said = match (
        lines.report,
        lines.value,
        lines.values,
        lines.fail,
        lines.pruned,
    ) {
        (None, Some(value), None, None, None) => {
            let values = vec![value.0];
            return Ok(Said::Values {
                values,
                constraints,
            });
        }
        (None, None, Some(values), None, None) => {
            let values = numbers(values);
            return Ok(Said::Values {
                values,
                constraints,
            });
        }
        (Some(Report { step, value }), None, None, None, None) => Said::Report {
            step,
            value: value.0,
        },
        (None, None, None, Some(why), None) => Said::Fail(why),
        (None, None, None, None, Some(true)) => Said::Pruned,
        (None, None, None, None, Some(false)) => {
            return Err(wrong("`pruned` can only be `true`"));
        }
        _ => {
            return Err(wrong(
                "it must have exactly one of `value`, `values`, `fail`, `pruned` and `report`",
            ));
        }
    };
    match constraints {
        None => Ok(said),
        Some(_) => Err(wrong("`constraints` belong beside `value` or `values`")),
    }
}

/// A message of the JSON reader without its place, which is one line of a pipe.
fn said(error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        return "it is not JSON such as `{\"value\": 0.83}`".to_owned();
    }
    let text = error.to_string();
    plain(text.split(" at line ").next().unwrap_or(&text))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    report: Option<Report>,
    value: Option<Number>,
    values: Option<Vec<Number>>,
    fail: Option<String>,
    pruned: Option<bool>,
    constraints: Option<Vec<Number>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    step: i64,
    value: Number,
}

/// A number, or the text of one that JSON does not have.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Number, E> {
                Ok(Number(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Number, E> {
                Ok(Number(v as f64))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Number, E> {
                Ok(Number(v as f64))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Number, E> {
                NAMED
                    .iter()
                    .find(|(name, _)| *name == v)
                    .map(|(_, number)| Number(*number))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(v), &self))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Numbers that JSON does not have, by the names that writers of JSON give them. The longer ones come first.
const NAMED: &[(&str, f64)] = &[
    ("-Infinity", f64::NEG_INFINITY),
    ("Infinity", f64::INFINITY),
    ("NaN", f64::NAN),
];

/// The line with named numbers outside of texts turned into texts.
fn with_named_numbers(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut rest, mut inside) = (line, false);
    while let Some(c) = rest.chars().next() {
        if !inside && let Some((name, _)) = NAMED.iter().find(|(n, _)| rest.starts_with(n)) {
            out.push('"');
            out.push_str(name);
            out.push('"');
            rest = &rest[name.len()..];
            continue;
        }
        let mut taken = c.len_utf8();
        if c == '"' {
            inside = !inside;
        } else if c == '\\' && inside {
            taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let value = |line: &str| match parse(line) {
            Ok(Said::Values { values, .. }) => values,
            other => panic!("{line}: {other:?}"),
        };
        let limits = |line: &str| match parse(line) {
            Ok(Said::Values { constraints, .. }) => constraints,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(limits(r#"{"value": 1}"#), None);
        assert_eq!(limits(r#"{"value": 1, "constraints": null}"#), None);
        assert_eq!(limits(r#"{"value": 1, "constraints": []}"#), Some(vec![]));
        assert_eq!(
            limits(r#"{"constraints": [-1, 0.5, Infinity], "values": [1, 2]}"#),
            Some(vec![-1.0, 0.5, f64::INFINITY])
        );
        assert_eq!(value(r#"{"value": 0.83}"#), [0.83]);
        assert_eq!(value(r#" {"value": 3} "#), [3.0]);
        assert_eq!(value(r#"{"values": [1, -2.5e3]}"#), [1.0, -2500.0]);
        assert_eq!(value(r#"{"value": -Infinity}"#), [f64::NEG_INFINITY]);
        assert_eq!(value(r#"{"value": "Infinity"}"#), [f64::INFINITY]);
        assert!(value(r#"{"value":NaN}"#)[0].is_nan());
        assert_eq!(
            parse(r#"{"fail": "a \"NaN\" here, \\ Infinity"}"#),
            Ok(Said::Fail(r#"a "NaN" here, \ Infinity"#.to_owned()))
        );
        let report = parse(r#"{"report": {"step": 2, "value": 0.5}}"#);
        assert_eq!(
            report,
            Ok(Said::Report {
                step: 2,
                value: 0.5
            })
        );
    }

    #[test]
    fn everything_else_is_named() {
        let why = |line: &str| parse(line).expect_err(line);
        assert_eq!(
            why("epoch 1"),
            "the program printed `epoch 1`, which is no answer: it is not JSON such as `{\"value\": 0.83}`; \
             stdout is for answers, print all else to stderr"
        );
        assert!(why(r#"{"vaule": 1}"#).contains("unknown key `vaule`; did you mean `value`?"));
        assert!(why(r#"{"value": 1, "fail": "x"}"#).contains("exactly one of"));
        assert!(why("{}").contains("exactly one of"));
        assert!(why(r#"{"constraints": [1]}"#).contains("exactly one of"));
        assert!(why(r#"{"fail": "x", "constraints": [1]}"#).contains("beside `value`"));
        assert!(why(r#"{"value": 1, "constraints": 2}"#).contains("is no answer"));
        assert!(why(r#"{"value": 1, "constraints": ["low"]}"#).contains("this must be a number"));
        assert!(why(r#"{"value": null}"#).contains("exactly one of"));
        assert!(why(r#"{"value": "0.8"}"#).contains("this must be a number, not `0.8`"));
        assert!(why(r#"{"report": {"value": 1}}"#).contains("the key `step` is missing"));
        assert!(why(&format!("{}é", "x".repeat(119))).contains("xé`"));
        assert!(why(&"é".repeat(500)).contains("é…`"));
        for line in ["", "3", "[]", "null", "\"", "{\"a\\", "\u{0}", "NaN"] {
            why(line);
        }
    }
}
