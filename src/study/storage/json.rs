//! JSON as Optuna writes it, in database and journal: attributes that may hold bare `NaN` and `Infinity`, and search
//! domains ("distributions") under the names that Optuna gave them over time.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::super::space::{Domain, Value};

/// Marks a bare `NaN`, `Infinity` or `-Infinity` among the choices of a parameter: no text begins like this.
const BARE: &str = "\u{0}bare:";

/// Reads an attribute. JSON has no word for `NaN`, `Infinity` and `-Infinity`; Python writes them bare, and they
/// are read as text of that name.
pub(super) fn read(text: &str) -> Result<Json, String> {
    read_marked(text, "")
}

/// Reads a line of a journal, in which numbers as well as attributes may be bare words: [`real`] gets the numbers,
/// [`plain`] the attributes.
pub(super) fn read_line(text: &str) -> Result<Json, String> {
    read_marked(text, BARE).or_else(|error| match mend_surrogates(text) {
        Some(mended) => read_marked(&mended, BARE),
        None => Err(error),
    })
}

/// A number of a line.
pub(super) fn real(json: &Json) -> Option<f64> {
    match json.as_str().and_then(|text| text.strip_prefix(BARE)) {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => json.as_f64(),
    }
}

/// An attribute of a line, with bare words as text.
pub(super) fn plain(json: &Json) -> Json {
    match json {
        Json::String(text) => Json::from(text.strip_prefix(BARE).unwrap_or(text)),
        Json::Array(list) => list.iter().map(plain).collect(),
        Json::Object(map) => map.iter().map(|(k, v)| (k.clone(), plain(v))).collect(),
        other => other.clone(),
    }
}

/// `text` with escapes of half a character, which Python writes and no UTF-8 can hold, turned into the replacement
/// character; `None` without any.
fn mend_surrogates(text: &str) -> Option<String> {
    let unit = |rest: &str| {
        let digits = rest.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut found = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let take = match (c, unit(rest)) {
            ('\\', Some(0xD800..=0xDBFF)) => match unit(&rest[6..]) {
                Some(0xDC00..=0xDFFF) => 12,
                _ => 0,
            },
            ('\\', Some(0xDC00..=0xDFFF)) => 0,
            ('\\', _) => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (c, _) => c.len_utf8(),
        };
        if take == 0 {
            found = true;
            out.push_str("\\ufffd");
            rest = &rest[6..];
        } else {
            out.push_str(&rest[..take]);
            rest = &rest[take..];
        }
    }
    found.then_some(out)
}

fn read_marked(text: &str, mark: &str) -> Result<Json, String> {
    match serde_json::from_str(text) {
        Ok(json) => Ok(json),
        Err(error) => match quote_bare(text, mark) {
            Some(quoted) => serde_json::from_str(&quoted).map_err(|e| e.to_string()),
            None => Err(error.to_string()),
        },
    }
}

/// `text` with every bare `NaN` and infinity turned into a string that begins with `mark`; `None` without any.
fn quote_bare(text: &str, mark: &str) -> Option<String> {
    let mark = serde_json::to_string(mark).ok()?;
    let mark = mark.trim_matches('"');
    let mut out = String::with_capacity(text.len() + 16);
    let mut found = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let end = string_end(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let word = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|w| rest.starts_with(w));
        if let Some(word) = word {
            found = true;
            let _ = write!(out, "\"{mark}{word}\"");
            rest = &rest[word.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    found.then_some(out)
}

/// The length of the string literal that `text` begins with, quotes included.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut i = 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

/// A domain as Optuna writes it, down to the spaces.
pub(super) fn write_domain(domain: &Domain) -> String {
    match domain {
        Domain::Float {
            low,
            high,
            step,
            log,
        } => {
            let step = step.map_or("null".to_owned(), number);
            format!(
                "{{\"name\": \"FloatDistribution\", \"attributes\": {{\"step\": {step}, \"low\": {}, \"high\": {}, \
                 \"log\": {log}}}}}",
                number(*low),
                number(*high)
            )
        }
        Domain::Int {
            low,
            high,
            step,
            log,
        } => format!(
            "{{\"name\": \"IntDistribution\", \"attributes\": {{\"log\": {log}, \"step\": {step}, \"low\": {low}, \
             \"high\": {high}}}}}"
        ),
        Domain::Categorical { choices } => {
            let choices: Vec<String> = choices.iter().map(choice).collect();
            format!(
                "{{\"name\": \"CategoricalDistribution\", \"attributes\": {{\"choices\": [{}]}}}}",
                choices.join(", ")
            )
        }
    }
}

/// A number that Python's `json` reads back to the same bits.
pub(super) fn number(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        format!("{v:?}")
    }
}

fn choice(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => number(*v),
        // Quoting and escaping of text cannot fail.
        Value::Str(v) => Json::String(v.clone()).to_string(),
    }
}

/// Reads a domain, also one of the names that Optuna used before 3.0.
pub(super) fn read_domain(text: &str) -> Result<Domain, String> {
    let json = read_marked(text, BARE)?;
    let name = json
        .get("name")
        .and_then(Json::as_str)
        .ok_or("a distribution without a name")?;
    let attributes = json
        .get("attributes")
        .ok_or("a distribution without attributes")?;
    let field = |key: &str| attributes.get(key).filter(|v| !v.is_null());
    let real = |key: &str| {
        field(key)
            .and_then(Json::as_f64)
            .ok_or_else(|| format!("`{key}` of {name} is not a number"))
    };
    let whole = |key: &str| {
        field(key)
            .and_then(|v| {
                v.as_i64().or_else(|| {
                    v.as_f64()
                        .filter(|v| v.fract() == 0.0 && v.abs() < 9e18)
                        .map(|v| v as i64)
                })
            })
            .ok_or_else(|| format!("`{key}` of {name} is not a whole number"))
    };
    let flag = |key: &str| field(key).and_then(Json::as_bool).unwrap_or(false);
    let domain = match name {
        "FloatDistribution" => float(
            real("low")?,
            real("high")?,
            field("step").map(|_| real("step")).transpose()?,
            flag("log"),
        )?,
        "UniformDistribution" => float(real("low")?, real("high")?, None, false)?,
        "LogUniformDistribution" => float(real("low")?, real("high")?, None, true)?,
        "DiscreteUniformDistribution" => {
            float(real("low")?, real("high")?, Some(real("q")?), false)?
        }
        "IntDistribution" | "IntUniformDistribution" | "IntLogUniformDistribution" => {
            let step = field("step").map_or(Ok(1), |_| whole("step"))?;
            let log = name == "IntLogUniformDistribution" || flag("log");
            let (low, high) = (whole("low")?, whole("high")?);
            Domain::int(low, high, step, log).map_err(|e| e.to_string())?
        }
        "CategoricalDistribution" => {
            let choices = field("choices")
                .and_then(Json::as_array)
                .filter(|choices| !choices.is_empty())
                .ok_or("a CategoricalDistribution without choices")?;
            // Not through the checking constructor: what Optuna accepted, such as NaN twice, is read as it is.
            Domain::Categorical {
                choices: choices
                    .iter()
                    .map(read_choice)
                    .collect::<Result<Vec<Value>, String>>()?,
            }
        }
        other => return Err(format!("the unknown distribution `{other}`")),
    };
    Ok(domain)
}

/// Checks the bounds, and keeps the upper one to the bit: Optuna rounds it to the grid in decimal arithmetic.
fn float(low: f64, high: f64, step: Option<f64>, log: bool) -> Result<Domain, String> {
    Domain::float(low, high, step, log).map_err(|e| e.to_string())?;
    Ok(Domain::Float {
        low,
        high,
        step,
        log,
    })
}

fn read_choice(json: &Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(v) => Value::Bool(*v),
        Json::Number(v) => match v.as_i64() {
            Some(v) => Value::Int(v),
            None => Value::Float(v.as_f64().ok_or_else(|| format!("the choice {v}"))?),
        },
        Json::String(v) => match v.strip_prefix(BARE) {
            Some("NaN") => Value::Float(f64::NAN),
            Some("Infinity") => Value::Float(f64::INFINITY),
            Some("-Infinity") => Value::Float(f64::NEG_INFINITY),
            _ => Value::Str(v.clone()),
        },
        other => {
            return Err(format!(
                "the choice {other}, which is neither a number nor text"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_are_read_and_text_is_left_alone() {
        assert_eq!(read("NaN").unwrap(), Json::from("NaN"));
        assert_eq!(
            read(r#"{"a": [NaN, -Infinity, 1.5], "NaN \" x": "Infinity"}"#).unwrap(),
            serde_json::json!({"a": ["NaN", "-Infinity", 1.5], "NaN \" x": "Infinity"})
        );
        assert!(read("NaN]").is_err());
        assert!(read("").is_err());
        assert!(read("\"open").is_err());
        assert!(read("\"open\\").is_err());
        assert_eq!(read("\"schön\"").unwrap(), Json::from("schön"));
    }

    #[test]
    fn lines_keep_numbers_apart_from_text() {
        let line = read_line(
            r#"{"v": [NaN, -Infinity, Infinity, 1.5, 3], "a": "NaN", "n": {"x": [NaN]}}"#,
        );
        let line = line.unwrap();
        let numbers: Vec<Option<f64>> = line["v"].as_array().unwrap().iter().map(real).collect();
        assert!(numbers[0].unwrap().is_nan());
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(numbers[1..], [Some(low), Some(high), Some(1.5), Some(3.0)]);
        assert_eq!(real(&line["a"]), None);
        assert_eq!(plain(&line["a"]), Json::from("NaN"));
        assert_eq!(plain(&line["n"]), serde_json::json!({"x": ["NaN"]}));
    }

    #[test]
    fn half_a_character_does_not_make_a_line_unreadable() {
        for (text, read) in [
            (r#""\ud83c\udf32 \ud83c x""#, "\u{1f332} \u{fffd} x"),
            (r#""\udf32\ud83c""#, "\u{fffd}\u{fffd}"),
            (r#""\\ud83c \ud83c""#, "\\ud83c \u{fffd}"),
        ] {
            assert_eq!(read_line(text).unwrap(), Json::from(read), "{text}");
        }
        for torn in [r#""\ud83c"#, r#""\ud8"#, r#""\"#, "\"\\ud83cü"] {
            assert!(read_line(torn).is_err(), "{torn}");
        }
    }

    #[test]
    fn domains_round_trip_in_the_text_that_optuna_writes() {
        let texts = [
            r#"{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}"#,
            r#"{"name": "FloatDistribution", "attributes": {"step": 0.25, "low": 0.0, "high": 1.0, "log": false}}"#,
            r#"{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 100}}"#,
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": [null, true, 1.5, 3, "z", "\"ü"]}}"#,
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": [1.0, Infinity, -Infinity, "NaN"]}}"#,
        ];
        for text in texts {
            assert_eq!(write_domain(&read_domain(text).unwrap()), text);
        }
        let nan = r#"{"name": "CategoricalDistribution", "attributes": {"choices": [NaN]}}"#;
        assert_eq!(write_domain(&read_domain(nan).unwrap()), nan);
    }

    #[test]
    fn old_names_are_read() {
        let read = |name: &str, rest: &str| {
            read_domain(&format!(
                r#"{{"name": "{name}", "attributes": {{{rest}}}}}"#
            ))
            .unwrap()
        };
        assert_eq!(
            read("UniformDistribution", r#""low": 0, "high": 2.5"#),
            Domain::float(0.0, 2.5, None, false).unwrap()
        );
        assert_eq!(
            read("LogUniformDistribution", r#""low": 0.1, "high": 2.5"#),
            Domain::float(0.1, 2.5, None, true).unwrap()
        );
        assert_eq!(
            read(
                "DiscreteUniformDistribution",
                r#""low": 0.0, "high": 2.0, "q": 0.5"#
            ),
            Domain::float(0.0, 2.0, Some(0.5), false).unwrap()
        );
        assert_eq!(
            read(
                "IntUniformDistribution",
                r#""low": 0, "high": 9, "step": 3"#
            ),
            Domain::int(0, 9, 3, false).unwrap()
        );
        assert_eq!(
            read(
                "IntLogUniformDistribution",
                r#""low": 1, "high": 9.0, "step": 1"#
            ),
            Domain::int(1, 9, 1, true).unwrap()
        );
    }

    #[test]
    fn unreadable_domains_say_why() {
        for (text, part) in [
            ("{}", "without a name"),
            (r#"{"name": "Gaussian", "attributes": {}}"#, "`Gaussian`"),
            (
                r#"{"name": "FloatDistribution", "attributes": {"low": "x", "high": 1}}"#,
                "`low`",
            ),
            (
                r#"{"name": "FloatDistribution", "attributes": {"low": 2, "high": 1}}"#,
                "reversed",
            ),
            (
                r#"{"name": "CategoricalDistribution", "attributes": {"choices": []}}"#,
                "without choices",
            ),
        ] {
            let error = read_domain(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
