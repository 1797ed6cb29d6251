//! The fields of a journal's lines.

use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::study::record::TrialState;
use crate::study::space::Domain;

use super::super::{Lease, json};
use super::replay::Holding;

/// The field with the number of lines that follow in the same call. Optuna reads fields by name, and not this one.
pub(super) const LEFT: &str = "automl_left";
/// The field of a line whose time is there because Optuna wants one, and is not known.
pub(super) const NO_TIME: &str = "automl_no_time";

/// Whether Optuna takes both as domains of one parameter in one study.
pub(super) fn agree(a: &Domain, b: &Domain) -> bool {
    match (a, b) {
        (Domain::Float { log: a, .. }, Domain::Float { log: b, .. })
        | (Domain::Int { log: a, .. }, Domain::Int { log: b, .. }) => a == b,
        // By what is written: NaN equals itself there.
        (Domain::Categorical { .. }, Domain::Categorical { .. }) => {
            json::write_domain(a) == json::write_domain(b)
        }
        _ => false,
    }
}

pub(super) fn holding(value: &Json) -> Option<Holding> {
    Some(Holding {
        lease: Lease {
            owner: value.get("owner")?.as_str()?.to_owned(),
            token: value.get("token")?.as_u64()?,
            seconds: value.get("seconds")?.as_f64()?,
        },
        beat: value.get("beat")?.as_u64()?,
        renewed: Timestamp(value.get("renewed_us")?.as_i64()?),
    })
}

pub(super) fn field<'a, T>(
    line: &'a Json,
    key: &str,
    read: impl Fn(&'a Json) -> Option<T>,
) -> Result<T, String> {
    match line.get(key) {
        None => Err(format!("`{key}` is missing")),
        Some(value) => {
            read(value).ok_or_else(|| format!("`{key}` is {value}, which cannot be understood"))
        }
    }
}

pub(super) fn id(line: &Json, key: &str) -> Result<usize, String> {
    field(line, key, |v| v.as_u64()?.try_into().ok())
}

pub(super) fn one_attr(line: &Json, key: &str) -> Result<(String, Json), String> {
    let attrs = field(line, key, Json::as_object)?;
    match attrs.iter().next() {
        Some((name, value)) if attrs.len() == 1 => Ok((name.clone(), json::plain(value))),
        _ => Err(format!("`{key}` has {} keys instead of one", attrs.len())),
    }
}

pub(super) fn numbers(values: &[Json]) -> Result<Vec<f64>, String> {
    let numbers = values.iter().map(json::real).collect::<Option<_>>();
    numbers.ok_or_else(|| format!("the values {values:?}"))
}

pub(super) fn time(line: &Json, key: &str) -> Result<Option<Timestamp>, String> {
    if line.get(key).is_none_or(Json::is_null) || line.get(NO_TIME).is_some() {
        return Ok(None);
    }
    field(line, key, |v| Timestamp::from_iso(v.as_str()?)).map(Some)
}

/// The numbers that Optuna gives to states, by their place.
const STATES: [TrialState; 5] = [
    TrialState::Running,
    TrialState::Complete,
    TrialState::Pruned,
    TrialState::Fail,
    TrialState::Waiting,
];

pub(super) fn state_of(code: &Json) -> Result<TrialState, String> {
    let index = code.as_u64().and_then(|code| usize::try_from(code).ok());
    let state = index.and_then(|index| STATES.get(index));
    state.copied().ok_or_else(|| format!("the state {code}"))
}

pub(super) fn state_code(state: TrialState) -> usize {
    STATES.iter().position(|s| *s == state).unwrap_or(0)
}
