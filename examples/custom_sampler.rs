//! A sampler of one's own: hill climbing from the best trial so far, with steps that shrink.
//!
//! A sampler is a pure function of what it may see, so a study with it resumes and runs in parallel like any
//! other. The conformance suite checks that.
//!
//! `cargo run --release --example custom_sampler`

use automl::study::sampler::{Context, Sampler, conformance, random::Random};
use automl::study::{Budget, Domain, Study, StudyError};
use rand::RngExt as _;

struct HillClimber {
    /// The first step, as a part of the range.
    reach: f64,
}

impl Sampler for HillClimber {
    fn name(&self) -> &'static str {
        "hill-climber"
    }

    fn params(&self) -> serde_json::Value {
        serde_json::json!({ "reach": self.reach })
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        let direction = ctx.directions[0];
        let known = ctx.history.iter().filter_map(|t| {
            let at = t.params.assignment(name).filter(|a| a.domain == *domain)?;
            Some((direction.loss(t.value()?), at.internal))
        });
        let best = known.min_by(|a, b| a.0.total_cmp(&b.0));
        match (best, domain) {
            (
                Some((_, center)),
                &Domain::Float {
                    low,
                    high,
                    step: None,
                    log: false,
                },
            ) => {
                let reach = self.reach * (high - low) / (1.0 + ctx.trial as f64 / 10.0);
                let mut rng = ctx.seed.child(name, 0).rng();
                (center + reach * rng.random_range(-1.0..=1.0)).clamp(low, high)
            }
            // Nothing to climb from, or nothing to climb on.
            _ => Random.propose_one(ctx, name, domain),
        }
    }
}

fn main() -> Result<(), StudyError> {
    conformance::run(|| Box::new(HillClimber { reach: 0.5 }));

    let mut study = Study::builder("hills")
        .sampler(HillClimber { reach: 0.5 })
        .concurrency(2)
        .open()?;
    study.optimize(Budget::trials(100), |trial| {
        let x = trial.float("x", -5.0..=5.0).uniform()?;
        let y = trial.float("y", -5.0..=5.0).uniform()?;
        Ok((x - 1.0) * (x - 1.0) + (y + 2.0) * (y + 2.0))
    })?;
    if let Some(best) = study.best() {
        println!("best value {:.5} of trial {}", best.values[0], best.number);
    }
    Ok(())
}
