//! The table of samplers: what experiment files, help texts and error messages know of them.

use serde_json::Value as Json;

use crate::study::method::{self, Entry, MethodError, NoParams, read};

use super::Sampler;
use super::auto::Auto;
use super::cmaes::{CmaEs, CmaEsParams};
use super::gp::{Gp, GpParams};
use super::grid::{BruteForce, Grid};
use super::nsga2::{Nsga2, Nsga2Params};
use super::partial_fixed::PartialFixed;
use super::qmc::Qmc;
use super::random::Random;
use super::tpe::{Tpe, TpeParams};

/// One sampler by name.
pub type SamplerEntry = Entry<dyn Sampler>;
/// What can be wrong with the choice of a sampler.
pub type SamplerError = MethodError;

/// Every sampler of this crate.
pub const SAMPLERS: &[SamplerEntry] = &[
    SamplerEntry {
        name: "auto",
        summary: "chooses by trials, space and progress: Gaussian process, local refinement, CMA-ES, TPE",
        build: |params| {
            let NoParams {} = read("auto", params)?;
            Ok(Box::new(Auto::default()))
        },
    },
    SamplerEntry {
        name: "tpe",
        summary: "tree-structured Parzen estimator: draws near good trials and away from bad ones",
        build: |params| {
            let params: TpeParams = read("tpe", params)?;
            Ok(Box::new(Tpe::new(params)?))
        },
    },
    SamplerEntry {
        name: "gp",
        summary: "Gaussian process: few trials for smooth objectives, whole spaces with conditions at once",
        build: |params| {
            let params: GpParams = read("gp", params)?;
            Ok(Box::new(Gp::new(params)?))
        },
    },
    SamplerEntry {
        name: "cmaes",
        summary: "CMA-ES: a normal distribution over the numbers learns where and in which shape trials are good",
        build: |params| {
            let params: CmaEsParams = read("cmaes", params)?;
            Ok(Box::new(CmaEs::new(params)?))
        },
    },
    SamplerEntry {
        name: "nsga2",
        summary: "genetic algorithm: generations of trials, for several directions and long studies",
        build: |params| {
            let params: Nsga2Params = read("nsga2", params)?;
            Ok(Box::new(Nsga2::new(params)?))
        },
    },
    SamplerEntry {
        name: "random",
        summary: "uniform draws, each trial for itself",
        build: |params| {
            let NoParams {} = read("random", params)?;
            Ok(Box::new(Random))
        },
    },
    SamplerEntry {
        name: "qmc",
        summary: "scrambled Sobol points, which fill the space more evenly than random ones",
        build: |params| {
            let NoParams {} = read("qmc", params)?;
            Ok(Box::new(Qmc))
        },
    },
    SamplerEntry {
        name: "grid",
        summary: "every point of a grid once, then the study ends",
        build: |params| Ok(Box::new(Grid::new(read("grid", params)?)?)),
    },
    SamplerEntry {
        name: "brute_force",
        summary: "every point of a discrete space once, conditions included",
        build: |params| Ok(Box::new(BruteForce::new(read("brute_force", params)?))),
    },
    SamplerEntry {
        name: "partial_fixed",
        summary: "another sampler with some parameters held at one value",
        build: |params| {
            Ok(Box::new(PartialFixed::by_params(read(
                "partial_fixed",
                params,
            )?)?))
        },
    },
];

/// The sampler called `name` with `params`, a JSON object or `null` for the defaults.
///
/// # Errors
/// When there is no such sampler, with the likeliest name, or when a parameter is wrong.
pub fn by_name(name: &str, params: &Json) -> Result<Box<dyn Sampler>, SamplerError> {
    method::by_name("sampler", SAMPLERS, name, params)
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
            error("tep", Json::Null),
            "there is no sampler `tep`; did you mean `tpe`?"
        );
        assert_eq!(
            error("genetic", Json::Null),
            "there is no sampler `genetic`; known are `auto`, `tpe`, `gp`, `cmaes`, `nsga2`, `random`, `qmc`, `grid`, `brute_force`, `partial_fixed`"
        );
        let unknown = error("tpe", json!({"n_startup": 3}));
        assert!(unknown.contains("`n_startup_trials`"), "{unknown}");
        assert!(error("tpe", json!({"n_ei_candidates": 0})).contains("n_ei_candidates"));
        assert!(error("random", json!({"seed": 3})).contains("seed"));
    }

    #[test]
    fn the_table_builds_what_it_names() {
        for entry in SAMPLERS {
            let sampler = by_name(entry.name, &Json::Null).expect("defaults are right");
            assert_eq!(sampler.name(), entry.name);
            // What a sampler says of itself makes it again.
            let again = by_name(entry.name, &sampler.params()).expect("its own parameters");
            assert_eq!(again.params(), sampler.params());
        }
    }
}
