//! The space file: what is searched when the objective is a program of the user's own, in YAML.
//!
//! It has the keys of the `search` part of an experiment file without learners, and the direction of each value:
//!
//! ```yaml
//! direction: minimize            # or directions: [minimize, maximize]
//! params:
//!   lr:    {float: [1.0e-6, 1.0], log: true}
//!   model: {categorical: [net, forest]}
//!   depth: {int: [1, 32], when: {model: forest}}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::study::declared::Space;
use crate::study::record::Direction;
use crate::study::space::Value;

use super::experiment::TrackingSpec;
use super::named::{PrunerSpec, SamplerSpec};
use super::params::{self, ParamSpec};
use super::yaml::{Ordered, YamlError, closest, parse};

/// A space file as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceFile {
    /// Whether smaller or larger values are better; `minimize` when neither this nor `directions` is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// One direction per value, for several values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions: Option<Vec<Direction>>,
    /// How many trials.
    #[serde(default = "hundred")]
    pub trials: u64,
    /// No trial begins after this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// How many trials run at once. It is part of what the study is; threads are not.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// What proposes parameters: a name, or `{name: {setting: value}}`.
    #[serde(default)]
    pub sampler: SamplerSpec,
    /// What stops trials that report and are not worth their cost.
    #[serde(default)]
    pub pruner: PrunerSpec,
    /// The parameters; see [`super::params`].
    pub params: Ordered<ParamSpec>,
    /// Points to try first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<BTreeMap<String, Value>>,
    /// Who is told of the trials.
    #[serde(default)]
    pub tracking: TrackingSpec,
}

fn hundred() -> u64 {
    100
}

fn one() -> usize {
    1
}

impl SpaceFile {
    /// Reads and checks a space file and what it says of the space. `file` is how messages call it.
    ///
    /// # Errors
    /// Anything that can be known to be wrong before the first trial, with its place.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Space), YamlError> {
        let read: SpaceFile = parse(text, file, "`params`")?;
        let wrong = |what: String| YamlError::new(format!("{file}: {what}"));
        if read.direction.is_some() && read.directions.is_some() {
            return Err(wrong(
                "write either `direction` or `directions`, not both".to_owned(),
            ));
        }
        if read.directions.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong(
                "directions: write one for each value, as in `[minimize, maximize]`".to_owned(),
            ));
        }
        if read.params.0.is_empty() {
            return Err(wrong("params: declare at least one parameter".to_owned()));
        }
        if read.trials == 0 {
            return Err(wrong("trials: must be at least 1".to_owned()));
        }
        if read.concurrency == 0 {
            return Err(wrong("concurrency: must be at least 1".to_owned()));
        }
        if read.timeout.is_some_and(|t| !(t.is_finite() && t > 0.0)) {
            return Err(wrong(
                "timeout: must be a number of seconds above 0".to_owned(),
            ));
        }
        read.sampler.build("sampler").map_err(wrong)?;
        read.pruner.build("pruner").map_err(wrong)?;
        let space = params::space(&read.params, "params", file)?;
        for (i, point) in read.enqueue.iter().enumerate() {
            check_point(&space, point).map_err(|what| wrong(format!("enqueue[{i}]: {what}")))?;
        }
        Ok((read, space))
    }

    /// One per value of the objective.
    pub fn directions(&self) -> Vec<Direction> {
        match (&self.directions, self.direction) {
            (Some(several), _) => several.clone(),
            (None, Some(one)) => vec![one],
            (None, None) => vec![Direction::Minimize],
        }
    }
}

fn check_point(space: &Space, point: &BTreeMap<String, Value>) -> Result<(), String> {
    for (name, value) in point {
        let Some(param) = space.param(name) else {
            let known: Vec<&str> = space.params().iter().map(|p| p.name.as_str()).collect();
            let hint = closest(name, known.iter().copied())
                .map_or(String::new(), |k| format!("did you mean `{k}`? "));
            return Err(format!(
                "`{name}` is not a parameter; {hint}Known: {}",
                known.join(", ")
            ));
        };
        let fits = param.domain.internal(value);
        fits.map_err(|e| format!("`{name}`: {e}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match SpaceFile::parse(text, "s.yaml") {
            Ok(_) => panic!("{text} is wrong"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_example_of_the_documents_is_read() {
        let text = "
directions: [minimize, maximize]
params:
  lr:      {float: [1.0e-6, 1.0], log: true}
  dropout: {float: [0.0, 0.9], step: 0.05}
  units:   {int: [4, 1024], log: true}
  model:   {categorical: [net, forest]}
  depth:   {int: [1, 32], when: {model: forest}}
  rounds:  40
enqueue:
  - {lr: 0.1, model: forest}
";
        let (file, space) = SpaceFile::parse(text, "s.yaml").unwrap();
        assert_eq!(
            file.directions(),
            [Direction::Minimize, Direction::Maximize]
        );
        let lines: Vec<String> = space
            .params()
            .iter()
            .map(|p| p.domain.to_string())
            .collect();
        assert_eq!(
            lines,
            [
                "float [0.000001, 1] log",
                "float [0, 0.9] step 0.05",
                "int [4, 1024] log",
                "categorical [net, forest]",
                "int [1, 32]",
                "categorical [40]",
            ]
        );
        assert_eq!(space.params()[4].when.len(), 1);
        assert_eq!((file.trials, file.concurrency), (100, 1));
        let plain = SpaceFile::parse("params: {x: {float: [0, 1]}}", "s.yaml");
        assert_eq!(plain.unwrap().0.directions(), [Direction::Minimize]);
    }

    #[test]
    fn errors_name_their_place() {
        assert_eq!(
            error(" \n"),
            "s.yaml: the file is empty; it needs at least `params`"
        );
        assert_eq!(
            error("params: {}"),
            "s.yaml: params: declare at least one parameter"
        );
        let reversed = error("params:\n  x: {float: [0, 1]}\n  y: {int: [3, 1]}\n");
        assert!(
            reversed.starts_with("s.yaml:3:6: `y`: bounds are reversed"),
            "{reversed}"
        );
        let when = error("params:\n  m: {categorical: [a, b]}\n  x: {int: [1, 3], when: {n: a}}\n");
        assert!(
            when.starts_with("s.yaml:3:6: parameter `x` depends on `n`"),
            "{when}"
        );
        let key = error("params:\n  x: {flaot: [0, 1]}\n");
        assert!(
            key.starts_with("s.yaml:2:7: unknown key `flaot`; did you mean `float`?"),
            "{key}"
        );
        assert!(
            key.ends_with("\n 2 |   x: {flaot: [0, 1]}\n   |       ^"),
            "{key}"
        );
        let both = error("direction: minimize\ndirections: [minimize]\nparams: {x: {int: [1, 2]}}");
        assert!(
            both.contains("either `direction` or `directions`"),
            "{both}"
        );
        let way = error("direction: minimise\nparams: {x: {int: [1, 2]}}");
        assert!(way.contains("did you mean `minimize`?"), "{way}");
        let point = error("params: {rate: {int: [1, 2]}}\nenqueue: [{rat: 1}]");
        assert!(
            point.contains("enqueue[0]: `rat` is not a parameter; did you mean `rate`?"),
            "{point}"
        );
        let point = error("params: {rate: {int: [1, 2]}}\nenqueue: [{rate: 3}]");
        assert!(point.contains("`rate`: 3 is not in int [1, 2]"), "{point}");
        assert!(
            error("sampler: tep\nparams: {x: {int: [1, 2]}}")
                .contains("sampler: there is no sampler `tep`")
        );
        assert!(error("params: {x: {value: {a: 1}}}").contains("`x`: a fixed value must be"));
        assert!(error("params: {x: [1, 2]}").contains("to search it write"));
    }
}
