//! Cross-validation round by round, for learners whose fits can be asked on the way: every fold goes on to the next mark, and
//! the mean score there is a point of the trial's curve.
//!
//! **Contract.** The score at a mark is the one that a trial with so many rounds would have, bit for bit. Where a trial's
//! rounds are given as `up_to`, its score is the best of the curve, and the rounds are noted as [`ROUNDS`].

use rayon::prelude::*;

use crate::learn::evaluate::Encoded;
use crate::learn::learner::{LearnError, Learner, Rounds};
use crate::seed::Seed;
use crate::study::objective::Stop;
use crate::study::record::TrialRecord;
use crate::study::trial::Trial;

use super::job::{Job, Reports};
use super::limits::Account;

/// The user attribute with the number of rounds that was best.
pub const ROUNDS: &str = "rounds";

/// Marks of a curve, at most.
const MARKS: usize = 40;

/// Predictions of each fold, and their scores.
pub(super) type Folds = (Vec<Vec<f64>>, Vec<f64>);

type Fit<'a> = Box<dyn Rounds + 'a>;

impl Job {
    /// The predictions and scores of all folds at the mark that counts: the last, or the best where `choose` says so.
    /// `None` when the learner does not fit round by round.
    pub(super) fn by_rounds(
        &self,
        trial: &mut Trial,
        learner: &dyn Learner,
        encoded: &Encoded,
        seed: Seed,
        choose: bool,
        account: &Account,
    ) -> Option<Result<Folds, Stop>> {
        let mut fits: Vec<Fit<'_>> = Vec::with_capacity(self.folds.len());
        for fold in 0..self.folds.len() {
            match encoded.begin_fold(learner, &self.dataset, &self.folds, fold, seed)? {
                Ok(fit) => fits.push(fit),
                Err(error) => return Some(Err(error.into())),
            }
        }
        Some(self.follow(trial, fits, choose, account))
    }

    fn follow(
        &self,
        trial: &mut Trial,
        mut fits: Vec<Fit<'_>>,
        choose: bool,
        account: &Account,
    ) -> Result<Folds, Stop> {
        let total = fits.iter().map(|f| f.total()).max().unwrap_or(0);
        let step = total.div_ceil(MARKS).max(1);
        let direction = self.direction();
        let mut best: Option<(f64, Folds)> = None;
        let mut mark = 0;
        loop {
            mark = (mark + step).min(total);
            let going: &Trial = trial;
            let advanced: Vec<Result<(bool, Vec<f64>), LearnError>> = fits
                .par_iter_mut()
                .enumerate()
                .map(|(fold, fit)| {
                    let limit = account.fold(going, fold);
                    going.part(|| Ok((fit.advance(mark, Some(&limit))?, fit.predict())))
                })
                .collect();
            account.check()?;
            let (mut left, mut predicted, mut scores) = (false, Vec::new(), Vec::new());
            for (fold, result) in advanced.into_iter().enumerate() {
                let (more, predictions) = result.map_err(|error| account.stop(trial, error))?;
                left |= more;
                scores.push(self.score(fold, &predictions)?);
                predicted.push(predictions);
            }
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let over = !left || mark == total;
            if self.reports == Reports::Rounds {
                trial.report(mark as i64, mean);
                if !over && trial.should_prune() {
                    trial.note("folds", scores.as_slice());
                    return Err(Stop::Pruned);
                }
            }
            let better = |(value, _): &(f64, Folds)| direction.better(mean, *value);
            if !choose || best.as_ref().is_none_or(better) {
                if choose {
                    trial.note(ROUNDS, mark);
                }
                best = Some((mean, (predicted, scores)));
            }
            match best {
                Some((_, folds)) if over => return Ok(folds),
                kept => best = kept,
            }
        }
    }
}

/// The rounds that a trial was scored with, when they are not among its parameters.
pub(super) fn rounds(trial: &TrialRecord) -> Option<u64> {
    trial
        .user_attrs
        .get(ROUNDS)
        .and_then(serde_json::Value::as_u64)
}
