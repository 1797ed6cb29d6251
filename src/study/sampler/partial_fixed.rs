//! Another sampler with some parameters held at one value.
//!
//! The other sampler sees the whole history and proposes as ever; what it says of the held parameters is replaced. A value
//! that a parameter cannot take is passed over. Where the study avoids points that were tried, it leaves held parameters
//! as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::study::space::{Domain, Params, Value};

use super::{Context, Sampler, SamplerError, by_name};

/// The parameters of [`PartialFixed`], as they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartialFixedParams {
    /// The values of the held parameters by name.
    pub fixed: BTreeMap<String, Value>,
    /// The name of the sampler that draws the others; `tpe` when it is empty.
    pub sampler: String,
    /// Its parameters.
    pub params: Json,
}

/// Another sampler with some parameters held; see the [module](self).
pub struct PartialFixed {
    fixed: BTreeMap<String, Value>,
    inner: Box<dyn Sampler>,
}

impl PartialFixed {
    /// Holds the parameters of `fixed` and leaves the others to `inner`.
    pub fn new(fixed: BTreeMap<String, Value>, inner: impl Sampler + 'static) -> Self {
        PartialFixed {
            fixed,
            inner: Box::new(inner),
        }
    }

    /// From what was written.
    ///
    /// # Errors
    /// When there is no such sampler or its parameters are wrong.
    pub fn by_params(params: PartialFixedParams) -> Result<Self, SamplerError> {
        let name = match params.sampler.as_str() {
            "" => "tpe",
            name => name,
        };
        Ok(Self::new(params.fixed, by_name(name, &params.params)?))
    }

    fn held(&self, name: &str, domain: &Domain) -> Option<f64> {
        domain.internal(self.fixed.get(name)?).ok()
    }
}

impl Sampler for PartialFixed {
    fn name(&self) -> &'static str {
        "partial_fixed"
    }

    fn params(&self) -> Json {
        json!({"fixed": self.fixed, "sampler": self.inner.name(), "params": self.inner.params()})
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let mut params = self.inner.propose(ctx);
        for a in &mut params.0 {
            if let Some(held) = self.held(&a.name, &a.domain) {
                a.internal = held;
            }
        }
        params
    }

    fn exhausted(&self, ctx: &Context<'_>) -> bool {
        self.inner.exhausted(ctx)
    }

    fn holds(&self, name: &str, domain: &Domain) -> bool {
        self.held(name, domain).is_some() || self.inner.holds(name, domain)
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        self.held(name, domain)
            .unwrap_or_else(|| self.inner.propose_one(ctx, name, domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::sampler::random::Random;
    use crate::study::{Budget, Ended, Study};

    #[test]
    fn held_parameters_stay_and_the_study_ends_with_the_rest() {
        let fixed = BTreeMap::from([("a".to_owned(), 2.into()), ("x".to_owned(), 9.0.into())]);
        let mut study = Study::builder("s")
            .sampler(PartialFixed::new(fixed, Random))
            .open()
            .expect("opens");
        let ended = study.optimize(Budget::trials(30), |trial| {
            let a = trial.int("a", 0..=3).uniform()?;
            let b = trial.int("b", 0..=3).uniform()?;
            // 9 is not in its range.
            let x = trial.float("x", 0.0..=1.0).step(0.5)?;
            assert_eq!(a, 2);
            Ok(b as f64 + x)
        });
        assert_eq!(ended.expect("runs"), Ended::Exhausted);
        assert_eq!(study.progress().failed, 0);
        assert_eq!(study.trials().len(), 12);
    }
}
