//! The space that an experiment's learners make.
//!
//! Parameters are written as [`super::params`] says. `learner.name` belongs to that learner and exists only when it is
//! chosen; `preprocess` chooses among presets. A learner of which no parameter is given is searched over the default
//! space of its table entry.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::learn::learner::LearnError;
use crate::learn::preprocess::PRESETS;
use crate::learn::table::{self, LearnerEntry};
use crate::study::declared::{Param, Space};
use crate::study::space::{Domain, Params, Value};

use super::params::{ParamSpec, json, misplaced};
use super::yaml::{Ordered, YamlError, at, closest, parse, plain};

/// The parameter that names the learner.
pub const LEARNER: &str = "learner";
/// The parameter that names the preset of preprocessing.
pub const PREPROCESS: &str = "preprocess";

/// The space of an experiment and what in it is fixed.
#[derive(Clone, Debug)]
pub struct Search {
    /// What the study draws.
    pub space: Space,
    /// The learners that can be chosen.
    pub learners: Vec<String>,
    /// Fixed hyperparameters by learner.
    pub fixed: BTreeMap<String, Map<String, Json>>,
    /// Learners whose fixed number of rounds is the most of which each trial takes the best.
    pub up_to: BTreeSet<&'static str>,
}

impl Search {
    /// Joins learners and parameters to a space. `file` is how messages call the experiment.
    ///
    /// # Errors
    /// An unknown learner or preset, a parameter of a learner that is not searched, a bad domain, a bad condition.
    pub fn new(
        learners: &[String],
        params: &Ordered<ParamSpec>,
        file: &str,
    ) -> Result<Self, YamlError> {
        let mut search = Builder {
            file,
            space: Vec::new(),
            fixed: BTreeMap::new(),
            up_to: BTreeSet::new(),
        };
        let mut entries: Vec<&'static LearnerEntry> = Vec::new();
        for name in learners {
            let entry =
                table::find(name).map_err(|e| search.error(&format!("search.learners: {e}")))?;
            if entries.iter().any(|e| e.name == entry.name) {
                return Err(search.error(&format!("search.learners: `{name}` is listed twice")));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(search.error("search.learners: name at least one learner"));
        }
        if entries.len() > 1 {
            let names = Domain::categorical(learners.iter().map(String::as_str))
                .map_err(|e| search.error(&format!("search.learners: {e}")))?;
            search.space.push(Param::new(LEARNER, names));
        }
        for (name, spec) in &params.0 {
            if name == PREPROCESS {
                search.preprocess(spec)?;
            } else if !entries.iter().any(|e| owner(name) == Some(e.name)) {
                let known = entries.iter().map(|e| e.name).chain([PREPROCESS]);
                let typed = owner(name).unwrap_or(name);
                let hint = closest(typed, known.clone())
                    .map_or(String::new(), |k| format!("; did you mean `{k}`?"));
                let known: Vec<&str> = known.collect();
                let what = format!(
                    "`{name}` belongs to no learner that is searched; write `learner.parameter` with one of {}{hint}",
                    known.join(", ")
                );
                return Err(at(spec, file, &what));
            }
        }
        for entry in &entries {
            search.fixed.insert(entry.name.to_owned(), Map::new());
            let several = entries.len() > 1;
            let mut own = params
                .0
                .iter()
                .filter(|(name, _)| owner(name) == Some(entry.name))
                .peekable();
            if own.peek().is_some() {
                for (name, spec) in own {
                    search.add(entry, name, spec, several)?;
                }
            } else {
                let defaults: Ordered<ParamSpec> = parse(entry.space, entry.name, "one parameter")?;
                for (name, spec) in &defaults.0 {
                    search.add(entry, &format!("{}.{name}", entry.name), spec, several)?;
                }
            }
        }
        let Builder {
            space,
            fixed,
            up_to,
            ..
        } = search;
        let space =
            Space::new(space).map_err(|error| misplaced(&error, params, "search.params", file))?;
        let learners = entries.iter().map(|e| e.name.to_owned()).collect();
        Ok(Search {
            space,
            learners,
            fixed,
            up_to,
        })
    }

    /// Checks a point to try first: each name is a parameter, and each value one that it can have.
    ///
    /// # Errors
    /// The first name or value that is not possible, and what would be.
    pub fn check_point(&self, point: &BTreeMap<String, Value>) -> Result<(), String> {
        for (name, value) in point {
            let Some(param) = self.space.param(name) else {
                let known: Vec<&str> = self
                    .space
                    .params()
                    .iter()
                    .map(|p| p.name.as_str())
                    .collect();
                let hint = closest(name, known.iter().copied())
                    .map_or(String::new(), |k| format!("did you mean `{k}`? "));
                return Err(format!(
                    "`{name}` is not searched; {hint}Searched: {}",
                    known.join(", ")
                ));
            };
            param
                .domain
                .internal(value)
                .map_err(|e| format!("`{name}`: {e}"))?;
        }
        Ok(())
    }

    /// The learner of a trial.
    pub fn learner(&self, params: &Params) -> String {
        match params.assignment(LEARNER).map(|a| a.value()) {
            Some(Value::Str(name)) => name,
            _ => self.learners[0].clone(),
        }
    }

    /// The hyperparameters of a trial's learner, fixed ones included, without prefix. `rounds` are those that the trial
    /// took of the most there may be.
    pub fn hyperparameters(
        &self,
        learner: &str,
        params: &Params,
        rounds: Option<u64>,
    ) -> Map<String, Json> {
        let mut all = self.fixed.get(learner).cloned().unwrap_or_default();
        if let (Some(rounds), Ok(entry)) = (rounds, table::find(learner))
            && let Some(name) = entry.rounds
        {
            all.insert(name.to_owned(), Json::from(rounds));
        }
        for (name, value) in params.iter() {
            if let Some(own) = name.strip_prefix(learner).and_then(|n| n.strip_prefix('.')) {
                all.insert(own.to_owned(), json(&value));
            }
        }
        all
    }
}

fn owner(name: &str) -> Option<&str> {
    name.split_once('.').map(|(owner, _)| owner)
}

struct Builder<'a> {
    file: &'a str,
    space: Vec<Param>,
    fixed: BTreeMap<String, Map<String, Json>>,
    up_to: BTreeSet<&'static str>,
}

impl Builder<'_> {
    fn error(&self, what: &str) -> YamlError {
        YamlError::new(format!("{}: {what}", self.file))
    }

    fn preprocess(&mut self, spec: &serde_saphyr::Spanned<ParamSpec>) -> Result<(), YamlError> {
        let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
        let known = |v: &Value| matches!(v, Value::Str(s) if names.contains(&s.as_str()));
        match &spec.value {
            ParamSpec::Search(s) if s.categorical.as_ref().is_some_and(|c| c.iter().all(known)) => {
                let domain = s
                    .domain()
                    .map_err(|e| at(spec, self.file, &format!("`{PREPROCESS}`: {e}")))?;
                self.space.push(Param::new(PREPROCESS, domain));
                Ok(())
            }
            _ => {
                let what = format!(
                    "`{PREPROCESS}` must be `{{categorical: [...]}}` of presets: {}",
                    names.join(", ")
                );
                Err(at(spec, self.file, &what))
            }
        }
    }

    fn add(
        &mut self,
        entry: &'static LearnerEntry,
        name: &str,
        spec: &serde_saphyr::Spanned<ParamSpec>,
        several: bool,
    ) -> Result<(), YamlError> {
        let own = &name[entry.name.len() + 1..];
        let search = match &spec.value {
            ParamSpec::Search(search) if entry.rounds == Some(own) && search.up_to.is_some() => {
                if search.says_more() {
                    let what =
                        format!("`{name}`: `up_to` goes with no other key; remove the others");
                    return Err(at(spec, self.file, &what));
                }
                self.up_to.insert(entry.name);
                return self.fix(entry, name, spec, &Json::from(search.up_to));
            }
            ParamSpec::Search(search) => search,
            ParamSpec::Fixed(value) => return self.fix(entry, name, spec, value),
        };
        let domain = search
            .domain()
            .map_err(|e| at(spec, self.file, &format!("`{name}`: {e}")))?;
        let ends = match &domain {
            Domain::Float { low, high, .. } => vec![Value::Float(*low), Value::Float(*high)],
            Domain::Int { low, high, .. } => vec![Value::Int(*low), Value::Int(*high)],
            Domain::Categorical { choices } => choices.clone(),
        };
        let ends: Vec<Json> = ends.iter().map(json).collect();
        self.check(entry, name, spec, &ends)?;
        let mut param = Param::new(name, domain);
        if several && !search.when.contains_key(LEARNER) {
            param = param.when(LEARNER, [entry.name]);
        }
        self.space.push(search.conditions(param));
        Ok(())
    }

    fn fix(
        &mut self,
        entry: &LearnerEntry,
        name: &str,
        spec: &serde_saphyr::Spanned<ParamSpec>,
        value: &Json,
    ) -> Result<(), YamlError> {
        self.check(entry, name, spec, std::slice::from_ref(value))?;
        let own = name[entry.name.len() + 1..].to_owned();
        let fixed = self.fixed.entry(entry.name.to_owned()).or_default();
        fixed.insert(own, value.clone());
        Ok(())
    }

    /// Builds the learner with each of the values alone, so that a hyperparameter it does not have or does not take is
    /// found before any trial runs.
    fn check(
        &self,
        entry: &LearnerEntry,
        name: &str,
        spec: &serde_saphyr::Spanned<ParamSpec>,
        values: &[Json],
    ) -> Result<(), YamlError> {
        let own = &name[entry.name.len() + 1..];
        for value in values {
            let given = Map::from_iter([(own.to_owned(), value.clone())]);
            let Err(error) = (entry.build)(given) else {
                continue;
            };
            let mut what = match error {
                LearnError::Params { what, .. } => plain(&what),
                other => other.to_string(),
            };
            let float = matches!(&spec.value, ParamSpec::Search(s) if s.float.is_some());
            if value.is_array() && what.ends_with("not a list") {
                what.push_str(
                    "; to search it write `{float: [low, high]}` or `{int: [low, high]}`",
                );
            }
            if float && what.contains("a whole number") {
                what.push_str("; write `int: [low, high]`");
            }
            return Err(at(spec, self.file, &format!("`{name}`: {what}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::experiment::Experiment;

    fn search(params: &str) -> Result<Search, String> {
        let text = format!("name: x\ndata: {{source: telco}}\nsearch:\n  params:\n{params}");
        let experiment = Experiment::parse(&text, "x.yaml").map_err(|e| e.to_string())?;
        // What is written back says the same.
        let again = serde_json::to_string(&experiment).expect("plain data");
        let again = Experiment::parse(&again, "again").map_err(|e| e.to_string())?;
        let (learners, params) = (&experiment.search.learners, &experiment.search.params);
        let found = Search::new(learners, params, "x.yaml").map_err(|e| e.to_string())?;
        let twice =
            Search::new(learners, &again.search.params, "again").map_err(|e| e.to_string())?;
        assert_eq!(found.fixed, twice.fixed);
        Ok(found)
    }

    #[test]
    fn fixed_values_may_have_any_form() {
        let found = search(
            "    gbt.class_weight: {value: {\"Yes\": 3}}\n    random_forest.class_weight: balanced\n",
        )
        .unwrap();
        assert_eq!(found.fixed["gbt"]["class_weight"]["Yes"], 3);
        assert_eq!(found.fixed["random_forest"]["class_weight"], "balanced");

        let both = search("    gbt.max_depth: {value: 3, int: [1, 4]}\n").unwrap_err();
        assert!(both.contains("`value` is fixed"), "{both}");
        let negative = search("    gbt.class_weight: {value: {\"Yes\": -3}}\n").unwrap_err();
        assert!(
            negative.contains("`class_weight: Yes: -3` is out of range"),
            "{negative}"
        );
        let rule = search("    gbt.class_weight: balance\n").unwrap_err();
        assert!(rule.contains("must be `balanced`"), "{rule}");
        let list = search("    gbt.max_depth: [1, 2]\n").unwrap_err();
        assert!(list.contains("not a list"), "{list}");
    }
}
