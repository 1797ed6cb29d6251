//! A declared search space: parameters in order, each with the conditions under which it exists.
//!
//! Running a [`Space`] is the same as an objective that draws parameter by parameter and uses `if`. What is
//! gained: the engine draws all parameters when a trial is asked for, so trials in flight are fully known, and a
//! resumed study can tell whether its space changed.

use std::collections::BTreeMap;

use super::space::{Assignment, Domain, Params, Value};
use super::trial::{Trial, TrialError};

/// Parameters in the order in which they are drawn. Made by [`Space::new`], which checks them.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    params: Vec<Param>,
}

/// One parameter of a [`Space`].
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Unique in the space.
    pub name: String,
    /// The values it may take.
    pub domain: Domain,
    /// It exists when all of these hold; always, when there are none.
    pub when: Vec<Condition>,
}

impl Param {
    /// A parameter that always exists.
    pub fn new(name: impl Into<String>, domain: Domain) -> Self {
        Param {
            name: name.into(),
            domain,
            when: Vec::new(),
        }
    }

    /// The same parameter, existing only when `param` is one of `any_of` (and earlier conditions hold).
    pub fn when<V: Into<Value>>(
        mut self,
        param: impl Into<String>,
        any_of: impl IntoIterator<Item = V>,
    ) -> Self {
        self.when.push(Condition {
            param: param.into(),
            any_of: any_of.into_iter().map(Into::into).collect(),
        });
        self
    }
}

/// Holds when an earlier parameter exists and has one of several values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The earlier parameter.
    pub param: String,
    /// Its values for which the condition holds, at least one.
    pub any_of: Vec<Value>,
}

/// What is wrong with a declared space.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclaredError {
    /// Two parameters of one name.
    #[error("parameter `{name}` is declared twice; rename or remove one")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A condition on a parameter that does not exist.
    #[error("parameter `{name}` depends on `{on}`, which is not a parameter; known: {known}")]
    UnknownCondition {
        /// The parameter with the condition.
        name: String,
        /// What it depends on.
        on: String,
        /// The parameters declared before it.
        known: String,
    },
    /// A condition on a parameter that is drawn later, or on itself.
    #[error(
        "parameter `{name}` depends on `{on}`, which must be declared before it; move `{on}` up"
    )]
    LaterCondition {
        /// The parameter with the condition.
        name: String,
        /// What it depends on.
        on: String,
    },
    /// A condition that can never hold.
    #[error("parameter `{name}` exists when `{on}` is `{value}`, but `{on}` is {domain}")]
    ConditionValue {
        /// The parameter with the condition.
        name: String,
        /// What it depends on.
        on: String,
        /// The value that is not possible.
        value: Value,
        /// The domain of `on`, printed.
        domain: String,
    },
    /// A condition without values.
    #[error("parameter `{name}` depends on `{on}` without a value; list at least one")]
    EmptyCondition {
        /// The parameter with the condition.
        name: String,
        /// What it depends on.
        on: String,
    },
}

impl Space {
    /// Checks and keeps `params`.
    ///
    /// # Errors
    /// A duplicate name; a condition on an unknown or later parameter, without values, or on a value that the
    /// parameter cannot take.
    pub fn new(params: Vec<Param>) -> Result<Self, DeclaredError> {
        let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
        for (i, param) in params.iter().enumerate() {
            let name = || param.name.clone();
            if names[..i].contains(&param.name.as_str()) {
                return Err(DeclaredError::Duplicate { name: name() });
            }
            for condition in &param.when {
                let on = || condition.param.clone();
                let Some(at) = names.iter().position(|n| *n == condition.param) else {
                    return Err(DeclaredError::UnknownCondition {
                        name: name(),
                        on: on(),
                        known: names[..i].join(", "),
                    });
                };
                if at >= i {
                    return Err(DeclaredError::LaterCondition {
                        name: name(),
                        on: on(),
                    });
                }
                if condition.any_of.is_empty() {
                    return Err(DeclaredError::EmptyCondition {
                        name: name(),
                        on: on(),
                    });
                }
                let domain = &params[at].domain;
                for value in &condition.any_of {
                    if domain.internal(value).is_err() {
                        return Err(DeclaredError::ConditionValue {
                            name: name(),
                            on: on(),
                            value: value.clone(),
                            domain: domain.to_string(),
                        });
                    }
                }
            }
        }
        Ok(Space { params })
    }

    /// The parameters in the order in which they are drawn.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The parameter of this name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| p.name == name)
    }

    /// Draws the parameters of `trial` one after the other, leaving out those whose conditions do not hold.
    ///
    /// # Errors
    /// As [`Trial::draw`].
    pub fn suggest(&self, trial: &mut Trial) -> Result<Params, TrialError> {
        let mut drawn = Params(Vec::with_capacity(self.params.len()));
        for param in &self.params {
            if !param.when.iter().all(|c| c.holds(&drawn)) {
                continue;
            }
            let internal = trial.draw(&param.name, &param.domain)?;
            drawn.0.push(Assignment {
                name: param.name.clone(),
                domain: param.domain.clone(),
                internal,
            });
        }
        Ok(drawn)
    }

    /// The parameter that is drawn after those of `drawn`; `None` when these are all.
    pub(crate) fn after(&self, drawn: &Params) -> Option<&Param> {
        let last = drawn.0.last();
        let at = last.and_then(|a| self.params.iter().position(|p| p.name == a.name));
        let mut rest = self.params[at.map_or(0, |at| at + 1)..].iter();
        rest.find(|p| p.when.iter().all(|c| c.holds(drawn)))
    }

    /// What the space is, as text that is the same in every release: from the name of each parameter to its
    /// domain and conditions. Two spaces are alike exactly when their fingerprints are equal.
    pub fn fingerprint(&self) -> BTreeMap<String, String> {
        let line = |param: &Param| {
            let mut line = match &param.domain {
                // Displayed choices would not tell the text "1" from the number 1.
                Domain::Categorical { choices } => format!("categorical {}", json(choices)),
                other => other.to_string(),
            };
            for condition in &param.when {
                line += &format!(" when {} in {}", condition.param, json(&condition.any_of));
            }
            line
        };
        let lines = self.params.iter().enumerate();
        // The position is part of it: the order of draws is the order of random numbers.
        lines
            .map(|(i, p)| (p.name.clone(), format!("#{i} {}", line(p))))
            .collect()
    }
}

impl Condition {
    fn holds(&self, drawn: &Params) -> bool {
        drawn.assignment(&self.param).is_some_and(|a| {
            // Compared inside the domain, so that 1 and 1.0 are the same value of a float.
            self.any_of
                .iter()
                .any(|v| a.domain.internal(v).is_ok_and(|x| x == a.internal))
        })
    }
}

fn json(values: &[Value]) -> String {
    serde_json::to_string(values).unwrap_or_else(|_| format!("{values:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Param {
        Param::new(
            "model",
            Domain::categorical(["rf", "gbt"]).expect("two choices"),
        )
    }

    fn depth() -> Param {
        Param::new("depth", Domain::int(1, 8, 1, false).expect("bounds"))
    }

    #[test]
    fn wrong_spaces_are_refused_and_named() {
        let error = |params| {
            Space::new(params)
                .expect_err("the space is wrong")
                .to_string()
        };
        assert_eq!(
            error(vec![depth(), depth()]),
            "parameter `depth` is declared twice; rename or remove one"
        );
        assert_eq!(
            error(vec![model(), depth().when("modle", ["rf"])]),
            "parameter `depth` depends on `modle`, which is not a parameter; known: model"
        );
        assert_eq!(
            error(vec![depth().when("model", ["rf"]), model()]),
            "parameter `depth` depends on `model`, which must be declared before it; move `model` up"
        );
        assert_eq!(
            error(vec![model(), depth().when("model", ["svm"])]),
            "parameter `depth` exists when `model` is `svm`, but `model` is categorical [rf, gbt]"
        );
        assert_eq!(
            error(vec![model(), depth().when("model", Vec::<Value>::new())]),
            "parameter `depth` depends on `model` without a value; list at least one"
        );
    }

    #[test]
    fn fingerprints_tell_text_from_numbers_and_orders_apart() {
        let one = |choices: Vec<Value>| {
            let domain = Domain::categorical(choices).expect("two choices");
            Space::new(vec![Param::new("a", domain)]).expect("the space is right")
        };
        let text = one(vec!["1".into(), "2".into()]);
        let numbers = one(vec![1.into(), 2.into()]);
        assert_ne!(text.fingerprint(), numbers.fingerprint());
        let space = Space::new(vec![model(), depth().when("model", ["gbt"])]).expect("right");
        let lines: Vec<String> = space.fingerprint().into_values().collect();
        assert_eq!(
            lines,
            [
                r#"#1 int [1, 8] when model in ["gbt"]"#,
                r#"#0 categorical ["rf","gbt"]"#
            ]
        );
        let swapped = Space::new(vec![depth(), model()]).expect("right");
        assert_ne!(
            swapped.fingerprint(),
            Space::new(vec![model(), depth()])
                .expect("right")
                .fingerprint()
        );
    }
}
