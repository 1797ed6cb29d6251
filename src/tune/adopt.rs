//! Trials of another experiment's study as trials of this one: whether their scores mean the same here, and what they are in
//! this search.
//!
//! **Contract.** An adopted trial has the score that this experiment would have given it: the same rows, folds, metric and
//! hyperparameters. What was fixed there and is searched here becomes a parameter, and the other way round.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::learn::table;
use crate::study::engine::ADDED;
use crate::study::record::TrialRecord;
use crate::study::space::{Assignment, Value};

use super::curve::{ROUNDS, rounds};
use super::job::{Job, Reports};
use super::params::json;
use super::search::LEARNER;

/// A part of two experiments that differs, and with it what their scores mean.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "its scores were measured with `{key}` {was}, and here it is {is}, so they cannot be compared"
)]
pub struct Differs {
    /// Where, as in `cv.folds`.
    pub key: String,
    /// What it is in the other experiment.
    pub was: Json,
    /// What it is in this one.
    pub is: Json,
}

/// What of a fingerprint changes no score: the name of the data, and what each trial is compared by in [`Job::adopt`].
const NO_MATTER: [&str; 3] = ["dataset", "fixed", "up_to"];

impl Job {
    /// Whether scores of an experiment with the fingerprint `before` and this seed mean the same as here.
    ///
    /// # Errors
    /// The first part that differs.
    pub fn comparable(&self, before: &Json, seed: u64) -> Result<(), Differs> {
        // Rows are drawn for holdout and folds by the seed.
        let own = Json::from(self.experiment.seed);
        let seeds = difference(
            &Json::from_iter([("seed", Json::from(seed))]),
            &Json::from_iter([("seed", own)]),
        );
        let without = |facts: &Json| {
            let facts = facts.as_object().cloned().unwrap_or_default().into_iter();
            Json::Object(
                facts
                    .filter(|(key, _)| !NO_MATTER.contains(&key.as_str()))
                    .collect(),
            )
        };
        match difference(&without(before), &without(&self.fingerprint())).or(seeds) {
            Some((key, was, is)) => Err(Differs { key, was, is }),
            None => Ok(()),
        }
    }

    /// A trial of an experiment with the fingerprint `before`, which is [`Job::comparable`], as a trial of this one.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn adopt(&self, before: &Json, trial: &TrialRecord) -> Result<TrialRecord, String> {
        let learner = trial.user_attrs.get("learner").and_then(Json::as_str);
        let Some(learner) = learner else {
            return Err("it does not say what its learner was".to_owned());
        };
        if !self.search.learners.iter().any(|known| known == learner) {
            return Err(format!("`{learner}` is not among `search.learners`"));
        }
        let mut trial = trial.clone();
        self.adopt_learner(&mut trial, learner)?;
        self.adopt_hyperparameters(&mut trial, learner, before)?;
        self.adopt_reports(&mut trial);
        Ok(trial)
    }

    /// One learner is no parameter, one of several is.
    fn adopt_learner(&self, trial: &mut TrialRecord, learner: &str) -> Result<(), String> {
        trial.params.0.retain(|a| a.name != LEARNER);
        if self.search.space.param(LEARNER).is_some() {
            let chosen = self.assignment(LEARNER, &Value::Str(learner.to_owned()))?;
            trial.params.0.insert(0, chosen);
        }
        Ok(())
    }

    fn adopt_hyperparameters(
        &self,
        trial: &mut TrialRecord,
        learner: &str,
        before: &Json,
    ) -> Result<(), String> {
        let none = Map::new();
        let fixed = self.search.fixed.get(learner).unwrap_or(&none);
        let counted = table::find(learner).ok().and_then(|entry| entry.rounds);
        // What the trial had, where it had no default.
        let mut had: BTreeMap<String, Json> = BTreeMap::new();
        let there = before["fixed"][learner].as_object().unwrap_or(&none);
        had.extend(
            there
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        if let (Some(name), Some(rounds)) = (counted, rounds(trial)) {
            had.insert(name.to_owned(), Json::from(rounds));
        }
        let prefix = format!("{learner}.");
        for (name, value) in trial.params.iter() {
            if let Some(own) = name.strip_prefix(&prefix) {
                had.insert(own.to_owned(), json(&value));
            }
        }
        let names: BTreeSet<&String> = had.keys().chain(fixed.keys()).collect();
        for own in names {
            let name = format!("{prefix}{own}");
            let most = self.search.up_to.contains(learner) && counted == Some(own.as_str());
            match (had.get(own), fixed.get(own)) {
                // Every number of rounds up to the most is one that a trial can take.
                (Some(was), Some(is)) if most => {
                    if was.as_u64() > is.as_u64() {
                        return Err(format!("`{name}` was {was}, here it is up to {is}"));
                    }
                    trial.user_attrs.insert(ROUNDS.to_owned(), was.clone());
                    trial.params.0.retain(|a| a.name != name);
                }
                (Some(was), Some(is)) if same(was, is) => trial.params.0.retain(|a| a.name != name),
                (Some(was), Some(is)) => {
                    return Err(format!("`{name}` was {was}, here it is {is}"));
                }
                (None, Some(is)) => {
                    return Err(format!("`{name}` had its default, here it is {is}"));
                }
                (Some(was), None) if self.search.space.param(&name).is_some() => {
                    if trial.params.assignment(&name).is_none() {
                        let value = serde_json::from_value(was.clone());
                        let value = value.map_err(|_| format!("`{name}` was {was}"))?;
                        trial.params.0.push(self.assignment(&name, &value)?);
                    }
                    if counted == Some(own.as_str()) {
                        trial.user_attrs.remove(ROUNDS);
                    }
                }
                (Some(was), None) => {
                    return Err(format!("`{name}` was {was}, here it has its default"));
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// What it would have reported here: steps are folds, with scores or means as the pruner asks for.
    fn adopt_reports(&self, trial: &mut TrialRecord) {
        let folds = trial.user_attrs.get("folds").and_then(Json::as_array);
        let Some(folds) = folds.filter(|_| self.reports != Reports::Rounds) else {
            return;
        };
        let scores: Vec<f64> = folds.iter().filter_map(Json::as_f64).collect();
        let mut sum = 0.0;
        let reported = scores.iter().enumerate().map(|(fold, score)| {
            sum += score;
            let value = match self.reports {
                Reports::Means => sum / (fold + 1) as f64,
                _ => *score,
            };
            (fold as i64 + 1, value)
        });
        trial.intermediate = reported.collect();
    }

    fn assignment(&self, name: &str, value: &Value) -> Result<Assignment, String> {
        let Some(param) = self.search.space.param(name) else {
            return Err(format!("`{name}` is not searched"));
        };
        let internal = param.domain.internal(value);
        Ok(Assignment {
            name: name.to_owned(),
            internal: internal.map_err(|error| format!("`{name}`: {error}"))?,
            domain: param.domain.clone(),
        })
    }
}

/// Whether two values of a hyperparameter are one: 1 is 1.0.
fn same(a: &Json, b: &Json) -> bool {
    a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}

/// The number that a trial was first run under, which its random numbers come from: its own, unless it was added.
pub fn origin(trial: &TrialRecord) -> u64 {
    let source = trial.system_attrs.get(ADDED);
    let origin = source.and_then(|source| source["origin"].as_u64());
    origin.unwrap_or(trial.number)
}

/// The first key in which two objects differ, as in `cv.folds`, with both values.
pub fn difference(before: &Json, now: &Json) -> Option<(String, Json, Json)> {
    let (Json::Object(before), Json::Object(now)) = (before, now) else {
        return None;
    };
    let keys = before
        .keys()
        .chain(now.keys().filter(|k| !before.contains_key(*k)));
    let (key, was, is) = keys
        .map(|k| {
            (
                k,
                before.get(k).unwrap_or(&Json::Null),
                now.get(k).unwrap_or(&Json::Null),
            )
        })
        .find(|(_, was, is)| was != is)?;
    match difference(was, is) {
        Some((inner, was, is)) => Some((format!("{key}.{inner}"), was, is)),
        None => Some((key.clone(), was.clone(), is.clone())),
    }
}
