//! Gates: what a version must show before it is promoted.
//!
//! In YAML a gate is a list of rules, or a map that also names the stage it leads to:
//!
//! ```yaml
//! gate:
//!   - roc_auc >= 0.84
//!   - log_loss <= 0.45
//!   - beats: production
//! ```
//!
//! A rule compares a holdout metric with a number. `beats: production` asks that the version's primary metric is
//! strictly better than that of the production version, measured on the same rows; without a production version it
//! passes, and says so.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::RegistryError;
use super::version::{Primary, Stage, VersionRecord};
use crate::names;

/// How a metric is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `==`
    Equal,
}

impl Comparison {
    /// Longer symbols first, so that `>=` is not read as `>`.
    const ALL: [(Comparison, &'static str); 5] = [
        (Comparison::AtLeast, ">="),
        (Comparison::AtMost, "<="),
        (Comparison::Equal, "=="),
        (Comparison::Above, ">"),
        (Comparison::Below, "<"),
    ];

    fn symbol(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(c, _)| *c == self)
            .map_or("?", |(_, symbol)| symbol)
    }

    /// NaN holds for nothing.
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Comparison::AtLeast => value >= bound,
            Comparison::Above => value > bound,
            Comparison::AtMost => value <= bound,
            Comparison::Below => value < bound,
            Comparison::Equal => value == bound,
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// A holdout metric compared with a number.
    Compare {
        /// The metric's name.
        metric: String,
        /// How.
        comparison: Comparison,
        /// With what; finite.
        bound: f64,
    },
    /// Better than the production version by the primary metric.
    BeatsProduction,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Compare {
                metric,
                comparison,
                bound,
            } => write!(f, "{metric} {} {bound}", comparison.symbol()),
            Rule::BeatsProduction => f.write_str("beats: production"),
        }
    }
}

impl FromStr for Rule {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let refuse = |what: String| {
            Err(RegistryError::Rule {
                rule: text.to_owned(),
                what,
            })
        };
        if let Some(rest) = text.trim().strip_prefix("beats")
            && rest.starts_with([':', ' '])
        {
            let what = rest.trim_start_matches(':').trim();
            return if what == "production" {
                Ok(Rule::BeatsProduction)
            } else {
                refuse(format!("only `production` can be beaten, not `{what}`"))
            };
        }
        let found = Comparison::ALL
            .into_iter()
            .find_map(|(c, symbol)| text.split_once(symbol).map(|(l, r)| (c, l, r)));
        let Some((comparison, metric, bound)) = found else {
            return refuse("it has none of >=, >, <=, <, ==".to_owned());
        };
        let (metric, bound) = (metric.trim(), bound.trim());
        let is_name = metric.starts_with(|c: char| c.is_ascii_alphabetic())
            && metric
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.@".contains(c));
        if !is_name {
            return refuse(format!("`{metric}` is not the name of a metric"));
        }
        match bound.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Rule::Compare {
                metric: metric.to_owned(),
                comparison,
                bound: value,
            }),
            _ => refuse(format!("`{bound}` is not a number")),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RuleVisitor;
        impl<'de> Visitor<'de> for RuleVisitor {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a gate rule such as `roc_auc >= 0.84` or `beats: production`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rule, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
                let Some((key, value)) = map.next_entry::<String, String>()? else {
                    return Err(de::Error::custom(
                        "an empty gate rule; write it like `roc_auc >= 0.84`",
                    ));
                };
                if let Some((other, _)) = map.next_entry::<String, String>()? {
                    return Err(de::Error::custom(format!(
                        "the gate rule `{key}` also has the key `{other}`; begin each rule with `- `"
                    )));
                }
                format!("{key}: {value}").parse().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(RuleVisitor)
    }
}

/// All rules must hold. No rules hold always.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// The rules.
    pub rules: Vec<Rule>,
    /// The stage that a version which passes moves to: `staging` unless said otherwise.
    pub stage: Stage,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            rules: Vec::new(),
            stage: Stage::Staging,
        }
    }
}

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GateVisitor;
        impl<'de> Visitor<'de> for GateVisitor {
            type Value = Gate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of gate rules such as `- roc_auc >= 0.84`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Gate, E> {
                Ok(Gate {
                    rules: vec![text.parse().map_err(E::custom)?],
                    ..Gate::default()
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Gate, A::Error> {
                let mut gate = Gate::default();
                while let Some(rule) = seq.next_element()? {
                    gate.rules.push(rule);
                }
                Ok(gate)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Gate, A::Error> {
                let mut gate = Gate::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "rules" => gate.rules = map.next_value()?,
                        "stage" => gate.stage = map.next_value()?,
                        _ => {
                            return Err(de::Error::custom(format!(
                                "unknown key `{key}` in a gate; it is a list of rules, as in \
                                 `- roc_auc >= 0.84` and `- beats: production`, or has the keys `rules` and `stage`"
                            )));
                        }
                    }
                }
                if !matches!(gate.stage, Stage::Staging | Stage::Production) {
                    return Err(de::Error::custom(format!(
                        "a gate leads to `staging` or `production`, not to `{}`",
                        gate.stage
                    )));
                }
                Ok(gate)
            }
        }
        deserializer.deserialize_any(GateVisitor)
    }
}

/// One rule of a gate, evaluated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateRow {
    /// The rule as written.
    pub rule: String,
    /// What the version has; `None` when it was not measured.
    pub value: Option<f64>,
    /// What it needs; `None` when there is nothing to compare with.
    pub required: Option<f64>,
    /// Whether the rule holds.
    pub passed: bool,
    /// What else there is to say; may be empty.
    pub note: String,
}

/// A gate, evaluated for one version. Prints as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateReport {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u64,
    /// Whether every rule holds.
    pub passed: bool,
    /// One row per rule, in order.
    pub rows: Vec<GateRow>,
}

impl GateReport {
    /// As JSON; numbers that are not finite become null.
    pub fn to_json(&self) -> Json {
        let rows: Vec<Json> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "rule": row.rule,
                    "value": row.value,
                    "required": row.required,
                    "passed": row.passed,
                    "note": row.note,
                })
            })
            .collect();
        json!({"model": self.model, "version": self.version, "passed": self.passed, "rows": rows})
    }
}

impl fmt::Display for GateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str("the gate has no rules");
        }
        let mut lines = vec![["rule", "value", "required", "passed", "note"].map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            [
                row.rule.clone(),
                row.value.map_or("–".to_owned(), number),
                row.required.map_or("–".to_owned(), number),
                if row.passed { "yes" } else { "no" }.to_owned(),
                row.note.clone(),
            ]
        }));
        let mut widths = [0; 5];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            let [rule, value, required, passed, note] = line;
            let text = format!(
                "{rule:<0$}  {value:>1$}  {required:>2$}  {passed:<3$}  {note}",
                widths[0], widths[1], widths[2], widths[3]
            );
            f.write_str(text.trim_end())?;
        }
        Ok(())
    }
}

/// Six decimals without trailing zeros: enough to see on which side of a bound a value is.
fn number(v: f64) -> String {
    let text = format!("{v:.6}");
    if !v.is_finite() || (v != 0.0 && v.abs() < 1e-5) {
        return format!("{v:?}");
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Evaluates `gate` for `version`. `production` is the model's production version, if it has one; `primary` is the
/// metric that decides who beats whom.
pub fn evaluate(
    gate: &Gate,
    version: &VersionRecord,
    production: Option<&VersionRecord>,
    primary: &Primary,
) -> GateReport {
    let rows: Vec<GateRow> = gate
        .rules
        .iter()
        .map(|rule| {
            let mut row = match rule {
                Rule::Compare {
                    metric,
                    comparison,
                    bound,
                } => compare(version, metric, *comparison, *bound),
                Rule::BeatsProduction => beats(version, production, primary),
            };
            row.rule = rule.to_string();
            row
        })
        .collect();
    GateReport {
        model: version.model.clone(),
        version: version.version,
        passed: rows.iter().all(|row| row.passed),
        rows,
    }
}

fn row(
    value: Option<f64>,
    required: Option<f64>,
    passed: bool,
    note: impl Into<String>,
) -> GateRow {
    GateRow {
        rule: String::new(),
        value,
        required,
        passed,
        note: note.into(),
    }
}

fn compare(version: &VersionRecord, metric: &str, comparison: Comparison, bound: f64) -> GateRow {
    match version.metrics.get(metric) {
        Some(value) => row(
            Some(*value),
            Some(bound),
            comparison.holds(*value, bound),
            "",
        ),
        None => row(None, Some(bound), false, not_measured(version, metric)),
    }
}

fn not_measured(version: &VersionRecord, metric: &str) -> String {
    if let Some(near) = names::nearest(metric, version.metrics.keys().map(String::as_str)) {
        return format!("`{metric}` was not measured; did you mean `{near}`?");
    }
    let known: Vec<&str> = version.metrics.keys().map(String::as_str).collect();
    format!("`{metric}` was not measured; there is {}", known.join(", "))
}

fn beats(
    version: &VersionRecord,
    production: Option<&VersionRecord>,
    primary: &Primary,
) -> GateRow {
    let metric = primary.metric.as_str();
    let Some(&value) = version.metrics.get(metric) else {
        return row(None, None, false, not_measured(version, metric));
    };
    let Some(other) = production else {
        return row(
            Some(value),
            None,
            true,
            "there is no production version yet",
        );
    };
    let name = format!("version {}", other.version);
    if other.version == version.version {
        return row(
            Some(value),
            Some(value),
            true,
            "it is the production version",
        );
    }
    let Some(&required) = other.metrics.get(metric) else {
        let note = format!("`{metric}` of {name} was not measured");
        return row(Some(value), None, false, note);
    };
    let (ours, theirs) = (&version.dataset, &other.dataset);
    if ours.sha256 != theirs.sha256 || ours.holdout_sha256 != theirs.holdout_sha256 {
        let what = if ours.sha256 == theirs.sha256 {
            "other held-out rows".to_owned()
        } else {
            format!("other data (`{}`)", theirs.name)
        };
        let note = format!("{metric} of {name} was measured on {what} and cannot be compared");
        return row(Some(value), Some(required), false, note);
    }
    let better = !value.is_nan() && primary.direction.better(value, required);
    row(
        Some(value),
        Some(required),
        better,
        format!("{metric} against {name}"),
    )
}
