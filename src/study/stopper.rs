//! Stoppers end a study when going on is not worth it.
//!
//! **Contract.** Before trial *k* begins, every stopper is asked with what trial *k* may see by the sequence rule. Hence a
//! stopper that does not look at the time ends a study after the same trial on any number of threads, interrupted or
//! not. Stoppers are not part of what a study is: it may go on without them or with others.
//!
//! How many trials and how much time there is at most is told by a [`Budget`](super::Budget).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::names;
use crate::stats::normal;

use super::record::{Direction, TrialRecord, TrialState};

/// What a stopper may know before a trial begins.
pub struct Context<'a> {
    /// The number of the trial that would begin.
    pub trial: u64,
    /// Finished trials that this trial may see, by number.
    pub history: &'a [Arc<TrialRecord>],
    /// One per objective value.
    pub directions: &'a [Direction],
    /// Seconds since [`Study::optimize`](super::Study::optimize) began, or the study was opened.
    pub seconds: f64,
}

impl<'a> Context<'a> {
    /// The direction of a study that has one.
    fn direction(&self) -> Option<Direction> {
        match self.directions {
            [direction] => Some(*direction),
            _ => None,
        }
    }

    /// The best complete and feasible trial of `history`, with its loss; of equals the first.
    fn best(&self, history: &'a [Arc<TrialRecord>]) -> Option<(&'a TrialRecord, f64)> {
        let direction = self.direction()?;
        let losses = history
            .iter()
            .filter(|t| t.is_eligible())
            .filter_map(|t| Some((t.as_ref(), direction.loss(t.value()?))));
        losses.reduce(|a, b| if b.1 < a.1 { b } else { a })
    }
}

/// Decides whether a study ends; see the module for the contract. Object-safe.
pub trait Stopper: Send + Sync {
    /// The name in the table of stoppers, as in `target`.
    fn name(&self) -> &'static str;

    /// Why the study should end now, in words for the user; none while it should go on.
    fn stop(&self, ctx: &Context<'_>) -> Option<String>;
}

impl<S: Stopper + ?Sized> Stopper for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn stop(&self, ctx: &Context<'_>) -> Option<String> {
        (**self).stop(ctx)
    }
}

/// One stopper by name.
pub struct StopperEntry {
    /// As in `target`.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// Makes one from its setting: a number, or `true` where there is nothing to set.
    pub build: fn(&Json) -> Result<Box<dyn Stopper>, StopperError>,
}

/// Every stopper of this crate.
pub const STOPPERS: &[StopperEntry] = &[
    StopperEntry {
        name: "target",
        summary: "ends when a trial reaches this value",
        build: |setting| {
            Ok(Box::new(Target {
                value: read("target", setting)?,
            }))
        },
    },
    StopperEntry {
        name: "no_improvement",
        summary: "ends when so many trials in a row were no better than the best before them",
        build: |setting| {
            let trials = read::<u64>("no_improvement", setting)?;
            if trials == 0 {
                return Err(StopperError::setting(
                    "no_improvement",
                    "must be at least 1",
                ));
            }
            Ok(Box::new(NoImprovement { trials }))
        },
    },
    StopperEntry {
        name: "noise",
        summary: "ends when as many trials again are expected to gain less than the noise of cross-validation",
        build: |setting| {
            let factor = match setting {
                Json::Bool(true) | Json::Null => 1.0,
                other => read::<f64>("noise", other)?,
            };
            if !(factor.is_finite() && factor > 0.0) {
                return Err(StopperError::setting(
                    "noise",
                    "must be `true` or a number above 0",
                ));
            }
            Ok(Box::new(Noise { factor }))
        },
    },
    StopperEntry {
        name: "trials",
        summary: "ends when the study has so many trials",
        build: |setting| {
            Ok(Box::new(Trials {
                trials: read("trials", setting)?,
            }))
        },
    },
    StopperEntry {
        name: "seconds",
        summary: "begins no trial after so many seconds",
        build: |setting| {
            Ok(Box::new(Seconds {
                seconds: read("seconds", setting)?,
            }))
        },
    },
];

/// What can be wrong with the choice of a stopper.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StopperError {
    /// No stopper of this name.
    #[error("there is no stopper `{name}`; {hint}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// What may have been meant, or the list.
        hint: String,
    },
    /// A setting of the wrong type or out of range.
    #[error("`{stopper}`: {what}")]
    Setting {
        /// The stopper.
        stopper: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl StopperError {
    fn setting(stopper: &'static str, what: &str) -> Self {
        StopperError::Setting {
            stopper,
            what: what.to_owned(),
        }
    }
}

/// The stopper called `name` with its setting.
///
/// # Errors
/// When there is no such stopper, or when the setting is wrong.
pub fn by_name(name: &str, setting: &Json) -> Result<Box<dyn Stopper>, StopperError> {
    match STOPPERS.iter().find(|e| e.name == name) {
        Some(entry) => (entry.build)(setting),
        None => Err(StopperError::Unknown {
            name: name.to_owned(),
            hint: names::hint(name, STOPPERS.iter().map(|e| e.name)),
        }),
    }
}

fn read<T: for<'a> Deserialize<'a>>(
    stopper: &'static str,
    setting: &Json,
) -> Result<T, StopperError> {
    serde_json::from_value(setting.clone()).map_err(|error| StopperError::Setting {
        stopper,
        what: error.to_string(),
    })
}

/// Ends a study of one direction when a trial reaches a value.
#[derive(Clone, Debug)]
pub struct Target {
    /// The value, in the direction of the study.
    pub value: f64,
}

impl Stopper for Target {
    fn name(&self) -> &'static str {
        "target"
    }

    fn stop(&self, ctx: &Context<'_>) -> Option<String> {
        let (best, loss) = ctx.best(ctx.history)?;
        (loss <= ctx.direction()?.loss(self.value)).then(|| {
            format!(
                "trial {} reached {}, the target is {}",
                best.number, best.values[0], self.value
            )
        })
    }
}

/// Ends a study of one direction when the latest trials brought nothing better. Failed trials count.
#[derive(Clone, Debug)]
pub struct NoImprovement {
    /// How many trials in a row, at least 1.
    pub trials: u64,
}

impl Stopper for NoImprovement {
    fn name(&self) -> &'static str {
        "no_improvement"
    }

    fn stop(&self, ctx: &Context<'_>) -> Option<String> {
        let (best, _) = ctx.best(ctx.history)?;
        let since = ctx.history.len() as u64 - 1 - best.number;
        (since >= self.trials).then(|| {
            format!(
                "the last {since} trials were no better than trial {}",
                best.number
            )
        })
    }
}

/// Ends a study of one direction when as many trials again as it has had are expected to gain less than what cross-validation
/// can tell apart.
///
/// The value of a trial must be the mean of its reports, the scores of folds. The noise is the standard error of the
/// best trial's mean with the correction of Nadeau and Bengio for overlapping training sets, `√(s² (1/k + 1/(k − 1)))`,
/// as in Makarova et al., *Automatic Termination for Hyperparameter Optimization* (AutoML 2022). Their bound on the regret
/// needs a Gaussian process; here the expected gain is that of the best of `n` further draws from a normal distribution
/// with the median of the latest `n` trials and the width of their better half, where `n` is half of the study and at
/// least 20. A sampler that still gets better widens that half, so the study goes on.
#[derive(Clone, Debug)]
pub struct Noise {
    /// How much of the noise the expected gain must stay below; 1 is the noise itself.
    pub factor: f64,
}

/// The least number of trials that an expectation is drawn from.
const WINDOW: usize = 20;

impl Stopper for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn stop(&self, ctx: &Context<'_>) -> Option<String> {
        let direction = ctx.direction()?;
        let (best, loss) = ctx.best(ctx.history)?;
        let scores: Vec<f64> = best.intermediate.values().copied().collect();
        let k = scores.len() as f64;
        if scores.len() < 2 || scores.iter().any(|v| !v.is_finite()) || !loss.is_finite() {
            return None;
        }
        let mean = scores.iter().sum::<f64>() / k;
        let squares = scores.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
        let noise = (squares / (k - 1.0) * (1.0 / k + 1.0 / (k - 1.0))).sqrt();

        let informative = ctx.history.iter().filter(|t| t.state != TrialState::Fail);
        let losses: Vec<f64> = informative
            .filter_map(|t| t.expected())
            .filter(|v| v.is_finite())
            .map(|v| direction.loss(v))
            .collect();
        let window = (losses.len() / 2).max(WINDOW);
        let mut latest = losses.get(losses.len().checked_sub(window)?..)?.to_vec();
        latest.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| latest[(share * (latest.len() - 1) as f64 + 0.5) as usize];
        // One standard deviation below the median of a normal distribution are 15.87 %.
        let (centre, width) = (at(0.5), at(0.5) - at(0.1587));
        let gain = expected_gain(loss, centre, width, window as f64);
        (gain < self.factor * noise).then(|| {
            format!(
                "{window} more trials are expected to gain {gain:.2e}, the noise of cross-validation is {noise:.2e}"
            )
        })
    }
}

/// How far the best of `draws` draws from a normal distribution is expected to be below `best`, 0 where it is not.
fn expected_gain(best: f64, centre: f64, width: f64, draws: f64) -> f64 {
    if width <= 0.0 {
        return (best - centre).max(0.0);
    }
    // ∫ P(the smallest < x) dx up to `best`, by the trapezoidal rule over what is not nearly certain.
    let (low, high) = (-10.0, (best - centre) / width);
    if high <= low {
        return 0.0;
    }
    let steps = 400;
    let step = (high - low) / f64::from(steps);
    let below = |i: i32| {
        let left = -normal::cdf(low + step * f64::from(i));
        -libm::expm1(draws * libm::log1p(left.max(-1.0 + 1e-16)))
    };
    let inner: f64 = (1..steps).map(below).sum();
    width * step * (inner + 0.5 * (below(0) + below(steps)))
}

/// Ends a study that has so many trials.
#[derive(Clone, Debug)]
pub struct Trials {
    /// How many, those of earlier runs included.
    pub trials: u64,
}

impl Stopper for Trials {
    fn name(&self) -> &'static str {
        "trials"
    }

    fn stop(&self, ctx: &Context<'_>) -> Option<String> {
        (ctx.trial >= self.trials).then(|| format!("there are {} trials", self.trials))
    }
}

/// Begins no trial after a time.
#[derive(Clone, Debug)]
pub struct Seconds {
    /// How many.
    pub seconds: f64,
}

impl Stopper for Seconds {
    fn name(&self) -> &'static str {
        "seconds"
    }

    fn stop(&self, ctx: &Context<'_>) -> Option<String> {
        (ctx.seconds >= self.seconds).then(|| format!("{} seconds are over", self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::sampler::tpe::Tpe;
    use crate::study::{Budget, Ended, Stop, Study, StudyBuilder};
    use serde_json::json;

    fn run(builder: StudyBuilder, threads: usize) -> (Study, Ended) {
        let mut study = builder.concurrency(3).open().expect("it opens");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let ended = pool.expect("a pool").install(|| {
            study.optimize(Budget::trials(300), |trial| {
                let x = trial.float("x", -3.0..=2.0).uniform()?;
                if trial.number() % 9 == 4 {
                    return Err(Stop::failed("on purpose"));
                }
                let wait = 100 * (2 - trial.number() % 3);
                std::thread::sleep(std::time::Duration::from_micros(wait));
                for fold in 1..=5 {
                    trial.report(fold, x * x + 0.1 * fold as f64);
                }
                Ok(x * x + 0.3)
            })
        });
        (study, ended.expect("it runs"))
    }

    fn stopped_by(name: &str, setting: Json, threads: usize) -> (Study, String) {
        let stopper = by_name(name, &setting).expect("right");
        let (study, ended) = run(
            Study::builder("s")
                .sampler(Tpe::default())
                .stopper(stopper)
                .seed(3),
            threads,
        );
        match ended {
            Ended::Stopper { name: by, why } if by == name => (study, why),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn stoppers_end_after_the_same_trial_on_any_number_of_threads() {
        for (name, setting) in [
            ("target", json!(0.301)),
            ("no_improvement", json!(25)),
            ("noise", json!(true)),
            ("trials", json!(17)),
        ] {
            let (one, why) = stopped_by(name, setting.clone(), 1);
            let (many, same) = stopped_by(name, setting, 3);
            assert_eq!(one.trials().len(), many.trials().len(), "{name}");
            assert_eq!(why, same, "{name}");
            assert!(one.trials().len() < 300, "{name}: {why}");
        }
        let (study, why) = stopped_by("target", json!(0.301), 2);
        // The trial that reached it is seen by the third after it.
        let reached = study.best().expect("one is complete");
        assert!(reached.values[0] <= 0.301 && why.contains(&format!("trial {}", reached.number)));
        assert_eq!(study.trials().len() as u64, reached.number + 3);
        let (study, _) = stopped_by("seconds", json!(0.0), 1);
        assert_eq!(study.trials().len(), 0);
    }

    #[test]
    fn a_study_without_gain_in_sight_ends_by_noise_and_one_that_gets_better_does_not() {
        let history = |loss: &dyn Fn(u64) -> f64| -> Vec<Arc<TrialRecord>> {
            (0..60)
                .map(|n| {
                    let mut t = TrialRecord::waiting(n);
                    t.state = TrialState::Complete;
                    t.values = vec![loss(n)];
                    t.intermediate = (0..5).map(|k| (k, loss(n) + 0.01 * k as f64)).collect();
                    Arc::new(t)
                })
                .collect()
        };
        let ask = |history: &[Arc<TrialRecord>]| {
            Noise { factor: 1.0 }.stop(&Context {
                trial: 60,
                history,
                directions: &[Direction::Minimize],
                seconds: 0.0,
            })
        };
        let flat = history(&|n| 1.0 + 0.0001 * (n * 7 % 11) as f64);
        let falling = history(&|n| 10.0 - 0.1 * n as f64);
        assert!(ask(&flat).is_some());
        assert_eq!(ask(&falling), None);
        assert_eq!(ask(&flat[..10]), None, "too few");
    }

    #[test]
    fn the_expected_gain_is_that_of_the_smallest_draw() {
        // One draw from the standard normal distribution: E max(0, −X) = 1/√(2π).
        let one = expected_gain(0.0, 0.0, 1.0, 1.0);
        assert!((one - 0.398_942).abs() < 1e-4, "{one}");
        // The smallest of 100 draws is −2.5076 on average.
        let many = expected_gain(2.0, 0.0, 1.0, 100.0);
        assert!((many - 4.5076).abs() < 1e-3, "{many}");
        assert_eq!(expected_gain(-20.0, 0.0, 1.0, 100.0), 0.0);
    }

    #[test]
    fn settings_are_checked() {
        let error = |name, setting: Json| match by_name(name, &setting) {
            Ok(_) => panic!("{name}: {setting} is wrong"),
            Err(error) => error.to_string(),
        };
        assert!(error("patience", json!(3)).contains("known are `target`, `no_improvement`"));
        assert!(error("no_improvement", json!(0)).contains("at least 1"));
        assert!(error("noise", json!(-1.0)).contains("above 0"));
        assert!(error("target", json!("high")).contains("`target`"));
    }
}
