//! The table of pruners: what experiment files, help texts and error messages know of them.

use serde_json::Value as Json;

use crate::study::method::{self, Entry, MethodError, NoParams, read};

use super::halving::{Asha, AshaParams, Hyperband, HyperbandParams};
use super::patient::{Patient, PatientParams};
use super::percentile::{Median, MedianParams, Percentile, PercentileParams};
use super::racing::{Racing, RacingParams};
use super::threshold::{Threshold, ThresholdParams};
use super::wilcoxon::{Wilcoxon, WilcoxonParams};
use super::{NoPruner, Pruner};

/// One pruner by name.
pub type PrunerEntry = Entry<dyn Pruner>;
/// What can be wrong with the choice of a pruner.
pub type PrunerError = MethodError;

/// Every pruner of this crate.
pub const PRUNERS: &[PrunerEntry] = &[
    PrunerEntry {
        name: "none",
        summary: "stops nothing",
        build: |params| {
            let NoParams {} = read("none", params)?;
            Ok(Box::new(NoPruner))
        },
    },
    PrunerEntry {
        name: "racing",
        summary: "scores of folds one by one: stops what can no longer be expected to win",
        build: |params| {
            let params: RacingParams = read("racing", params)?;
            Ok(Box::new(Racing::new(params)?))
        },
    },
    PrunerEntry {
        name: "median",
        summary: "stops what is worse than the median of earlier trials at the same step",
        build: |params| {
            let params: MedianParams = read("median", params)?;
            Ok(Box::new(Median::new(params)?))
        },
    },
    PrunerEntry {
        name: "percentile",
        summary: "stops what is not among the best percent of earlier trials at the same step",
        build: |params| {
            let params: PercentileParams = read("percentile", params)?;
            Ok(Box::new(Percentile::new(params)?))
        },
    },
    PrunerEntry {
        name: "asha",
        summary: "asynchronous successive halving: one in four goes on from each rung",
        build: |params| {
            let params: AshaParams = read("asha", params)?;
            Ok(Box::new(Asha::new(params)?))
        },
    },
    PrunerEntry {
        name: "hyperband",
        summary: "successive halving in several brackets with different first rungs",
        build: |params| {
            let params: HyperbandParams = read("hyperband", params)?;
            Ok(Box::new(Hyperband::new(params)?))
        },
    },
    PrunerEntry {
        name: "wilcoxon",
        summary: "stops what is worse than the best trial fold by fold, by a signed-rank test",
        build: |params| {
            let params: WilcoxonParams = read("wilcoxon", params)?;
            Ok(Box::new(Wilcoxon::new(params)?))
        },
    },
    PrunerEntry {
        name: "patient",
        summary: "lets another pruner stop only what has not become better for a while",
        build: |params| {
            let params: PatientParams = read("patient", params)?;
            Ok(Box::new(Patient::new(params)?))
        },
    },
    PrunerEntry {
        name: "threshold",
        summary: "stops what reports NaN or a value outside of `lower` and `upper`",
        build: |params| {
            let params: ThresholdParams = read("threshold", params)?;
            Ok(Box::new(Threshold::new(params)?))
        },
    },
];

/// The pruner called `name` with `params`, a JSON object or `null` for the defaults.
///
/// # Errors
/// When there is no such pruner, with the likeliest name, or when a parameter is wrong.
pub fn by_name(name: &str, params: &Json) -> Result<Box<dyn Pruner>, PrunerError> {
    method::by_name(KIND, PRUNERS, name, params)
}

const KIND: &str = "pruner";

/// The pruner of `"name"` or `{"name": {"setting": value}}`.
pub(super) fn by_spec(spec: &Json) -> Result<Box<dyn Pruner>, PrunerError> {
    let refuse = || PrunerError::Spec {
        kind: KIND,
        given: spec.to_string(),
    };
    match spec {
        Json::String(name) => by_name(name, &Json::Null),
        Json::Object(map) if map.len() == 1 => match map.iter().next() {
            Some((name, params)) => by_name(name, params),
            None => Err(refuse()),
        },
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_say_what_was_meant() {
        let error = |name, params: Json| match by_name(name, &params) {
            Ok(_) => panic!("{name} with {params} is wrong"),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            error("medain", Json::Null),
            "there is no pruner `medain`; did you mean `median`?"
        );
        assert!(error("luck", Json::Null).contains("known are `none`, `racing`"));
        assert!(error("median", json!({"startup": 3})).contains("`n_startup_trials`"));
        assert!(error("percentile", json!({"percentile": 101.0})).contains("100"));
        assert!(error("asha", json!({"bootstrap_count": 1})).contains("min_resource"));
        assert!(error("hyperband", json!({"reduction_factor": 1})).contains("at least 2"));
        assert!(error("threshold", Json::Null).contains("lower"));
        assert!(error("patient", json!({"pruner": {"a": 1, "b": 2}})).contains("one name"));
        assert!(error("wilcoxon", json!({"p_threshold": 1.5})).contains("p_threshold"));
        assert!(error("racing", json!({"chance": 0.0})).contains("chance"));
        assert!(error("none", json!({"seed": 3})).contains("seed"));
    }

    #[test]
    fn the_table_builds_what_it_names() {
        for entry in PRUNERS {
            let params = match entry.name {
                "threshold" => json!({"upper": 1.0}),
                "patient" => json!({"pruner": {"percentile": {"percentile": 10.0}}}),
                _ => Json::Null,
            };
            let pruner = by_name(entry.name, &params).expect("right");
            assert_eq!(pruner.name(), entry.name);
            // What a pruner says of itself makes it again.
            let again = by_name(entry.name, &pruner.params()).expect("its own parameters");
            assert_eq!(again.params(), pruner.params());
        }
    }
}
