//! Racing: a trial that reports its blocks one by one stops when it can no longer be expected to win.
//!
//! Blocks are the folds of a cross-validation, or instances, in the same order for every trial; a trial's value is the
//! mean of its blocks. What all trials share in a block (an easy fold, a hard one) says nothing about the trial, so it
//! is taken out: reports are compared with what complete trials reported at the same blocks.
//!
//! **Model.** Trial *j* reports `y_jk = m_j + b_k + e_jk` at block *k*. The effects `b` of blocks and the variance of the
//! noise `e` come from the complete trials, by a two-way analysis of variance. While there are few of them, the variance
//! is drawn towards the spread of the best trial's own reports, which is too large and therefore patient. The level
//! `m` of the trial has a normal prior with the centre and width of the levels of trials before it. Together with the
//! blocks seen so far this gives the mean over all blocks as a Student distribution.
//!
//! **Decision.** The trial stops when the probability that its mean over all blocks beats that of the best complete trial
//! is below `chance`. So the best trial has always been evaluated in full. A trial that may be among the best tenth, from
//! which a sampler learns most, gets `contender_share` of the blocks in any case. What a stopped trial teaches is the
//! centre of its distribution ([`super::ESTIMATE`]): what its mean would have been, as far as anyone can tell.
//!
//! In the line of Maron and Moore, *Hoeffding races* (NIPS 1993), and Birattari et al., *F-Race* (GECCO 2002), with the
//! blocks' effects and the noise learnt from the history.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::stats::student;
use crate::study::record::{Attrs, TrialRecord};

use super::{Context, ESTIMATE, Pruner, PrunerError};

/// The parameters of [`Racing`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RacingParams {
    /// A trial whose probability to win is below this stops; above 0 and below 1.
    pub chance: f64,
    /// Nothing is stopped before so many blocks, at least 1.
    pub min_blocks: usize,
    /// A trial that may be among the best tenth is not stopped before this share of all blocks, 0 to 1: the sampler learns
    /// most from those.
    pub contender_share: f64,
    /// A trial whose probability to be among the best tenth is at least this is a contender.
    pub contender_chance: f64,
    /// Nothing is stopped before so many trials are complete, at least 1.
    pub n_startup_trials: usize,
}

impl Default for RacingParams {
    fn default() -> Self {
        RacingParams {
            chance: 0.2,
            min_blocks: 1,
            contender_share: 0.4,
            contender_chance: 0.1,
            n_startup_trials: 1,
        }
    }
}

/// Stops what can no longer be expected to win; see the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Racing {
    params: RacingParams,
}

impl Racing {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When a parameter is out of its range.
    pub fn new(params: RacingParams) -> Result<Self, PrunerError> {
        let refuse = |what: String| Err(PrunerError::param("racing", what));
        if !(params.chance > 0.0 && params.chance < 1.0) {
            return refuse(format!(
                "`chance` must be above 0 and below 1, not {}",
                params.chance
            ));
        }
        if params.min_blocks == 0 {
            return refuse("`min_blocks` must be at least 1".to_owned());
        }
        if params.n_startup_trials == 0 {
            return refuse("`n_startup_trials` must be at least 1".to_owned());
        }
        Ok(Racing { params })
    }
}

impl Pruner for Racing {
    fn name(&self) -> &'static str {
        "racing"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn prune(&self, ctx: &Context<'_>, notes: &mut Attrs) -> bool {
        notes.remove(ESTIMATE);
        let Some(field) = Field::of(ctx) else {
            return false;
        };
        if field.rows.len() < self.params.n_startup_trials {
            return false;
        }
        let seen: Vec<(usize, f64)> = field.seen(ctx);
        if seen.len() < self.params.min_blocks.max(1) || seen.len() >= field.steps.len() {
            return false;
        }
        if seen.iter().any(|(_, v)| !v.is_finite()) {
            return false;
        }
        let outlook = field.outlook(&seen, prior(ctx));
        let few = (seen.len() as f64) < self.params.contender_share * field.steps.len() as f64;
        let contends = few
            && best_tenth(ctx)
                .is_some_and(|v| outlook.chance_below(v) >= self.params.contender_chance);
        let stops = !contends && outlook.chance_below(field.best) < self.params.chance;
        if stops {
            let value = ctx.direction().loss(outlook.mean);
            notes.insert(ESTIMATE.to_owned(), json!(value));
        }
        stops
    }
}

/// The complete trials, as losses by block.
struct Field {
    /// The blocks.
    steps: Vec<i64>,
    /// One row per complete trial with a finite report at every block.
    rows: Vec<Vec<f64>>,
    /// The mean of the best one.
    best: f64,
    /// The spread of the best one's reports, which includes that of the blocks.
    spread: f64,
}

/// What is known of a trial's mean over all blocks: a Student distribution.
struct Outlook {
    mean: f64,
    scale: f64,
    freedom: f64,
}

impl Outlook {
    fn chance_below(&self, value: f64) -> f64 {
        if self.scale > 0.0 {
            student::cdf((value - self.mean) / self.scale, self.freedom)
        } else if self.mean < value {
            1.0
        } else {
            0.0
        }
    }
}

/// Reports weigh as much as so many degrees of freedom of the best trial's own spread.
const PRIOR_FREEDOM: f64 = 1.0;
/// The prior of a level comes from so many trials, the latest.
const PRIOR_TRIALS: usize = 30;

impl Field {
    fn of(ctx: &Context<'_>) -> Option<Field> {
        let best = ctx.best()?;
        let direction = ctx.direction();
        let steps: Vec<i64> = best.intermediate.keys().copied().collect();
        let row = |trial: &TrialRecord| -> Option<Vec<f64>> {
            let report = |step| trial.intermediate.get(step).map(|v| direction.loss(*v));
            let row: Option<Vec<f64>> = steps.iter().map(report).collect();
            row.filter(|r| r.iter().all(|v| v.is_finite()))
        };
        let own = row(best).filter(|r| r.len() >= 2)?;
        let rows: Vec<Vec<f64>> = ctx.complete().filter_map(row).collect();
        let level = mean(&own);
        let spread = own.iter().map(|v| (v - level) * (v - level)).sum::<f64>();
        Some(Field {
            best: level,
            spread: spread / (own.len() - 1) as f64,
            rows,
            steps,
        })
    }

    /// The trial's reports as losses, each with the place of its block.
    fn seen(&self, ctx: &Context<'_>) -> Vec<(usize, f64)> {
        let direction = ctx.direction();
        let report =
            |(at, step): (usize, &i64)| Some((at, direction.loss(*ctx.reports.get(step)?)));
        self.steps.iter().enumerate().filter_map(report).collect()
    }

    fn outlook(&self, seen: &[(usize, f64)], prior: Option<(f64, f64)>) -> Outlook {
        let (blocks, trials) = (self.steps.len() as f64, self.rows.len() as f64);
        let levels: Vec<f64> = self.rows.iter().map(|r| mean(r)).collect();
        let effects: Vec<f64> = (0..self.steps.len())
            .map(|k| {
                let above = self.rows.iter().zip(&levels).map(|(row, m)| row[k] - m);
                above.sum::<f64>() / trials
            })
            .collect();
        // What levels and effects leave unexplained, in the complete trials and in this one.
        let mut squares = 0.0;
        for (row, level) in self.rows.iter().zip(&levels) {
            for (y, effect) in row.iter().zip(&effects) {
                let rest = y - level - effect;
                squares += rest * rest;
            }
        }
        let cleared: Vec<f64> = seen.iter().map(|(k, y)| y - effects[*k]).collect();
        let n = seen.len() as f64;
        let own = mean(&cleared);
        let wider = 1.0 + 1.0 / trials;
        let rest = cleared.iter().map(|y| (y - own) * (y - own)).sum::<f64>();
        squares += rest / wider;
        let freedom = PRIOR_FREEDOM + (trials - 1.0) * (blocks - 1.0) + (n - 1.0);
        let noise = (PRIOR_FREEDOM * self.spread + squares) / freedom * wider;

        // The level given the blocks seen, drawn towards those of earlier trials.
        let (mut level, mut variance) = (own, noise / n);
        if let Some((centre, width)) = prior
            && width > 0.0
        {
            let trust = width / (width + variance);
            level = centre + trust * (own - centre);
            variance *= trust;
        }
        let left = blocks - n;
        let shown: f64 = seen.iter().map(|(_, y)| y).sum();
        let hidden = |k: &usize| seen.iter().all(|(at, _)| at != k);
        let ahead: f64 = (0..self.steps.len())
            .filter(hidden)
            .map(|k| level + effects[k])
            .sum();
        Outlook {
            mean: (shown + ahead) / blocks,
            scale: left / blocks * (variance + noise / left).sqrt(),
            freedom,
        }
    }
}

/// The level that the best tenth of the trials before reach.
fn best_tenth(ctx: &Context<'_>) -> Option<f64> {
    let direction = ctx.direction();
    let known = ctx.history.iter().filter_map(|t| t.expected());
    let mut levels: Vec<f64> = known.map(|v| direction.loss(v)).collect();
    levels.sort_unstable_by(f64::total_cmp);
    levels
        .get(levels.len().div_ceil(10).checked_sub(1)?)
        .copied()
}

/// Centre and variance of the levels of the latest trials, by median and quartiles; none while there are few.
fn prior(ctx: &Context<'_>) -> Option<(f64, f64)> {
    let direction = ctx.direction();
    let known = ctx.history.iter().rev().filter_map(|t| t.expected());
    let finite = known.filter(|v| v.is_finite()).map(|v| direction.loss(v));
    let mut levels: Vec<f64> = finite.take(PRIOR_TRIALS).collect();
    if levels.len() < 4 {
        return None;
    }
    levels.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| levels[(share * (levels.len() - 1) as f64 + 0.5) as usize];
    // The quartiles of a normal distribution are 1.349 standard deviations apart.
    let width = (at(0.75) - at(0.25)) / 1.349;
    Some((at(0.5), width * width))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
