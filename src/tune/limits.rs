//! What limits a trial while its folds are fitted: time, by the trial's own clock, and memory, by what its fits say that they
//! hold.
//!
//! **Contract.** Whether a trial holds too much depends on the trial alone. Folds that may run side by side count together, each
//! with the most that it held, whether or not there are threads for all; the sum of such numbers is the same in any order.
//! What the process holds is not looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::learn::learner::{LearnError, Limit};
use crate::study::objective::Stop;
use crate::study::trial::Trial;

/// The user attribute with the most memory that a trial's folds said they held, in bytes; of a trial that held too much,
/// where it was stopped.
pub const HELD: &str = "held_bytes";

/// What the folds of one trial hold.
pub(super) struct Account {
    limit: Option<u64>,
    /// What each holds at least: its predictions.
    kept: Vec<u64>,
    /// The most that each has held.
    folds: Vec<AtomicU64>,
    /// The most that all held together.
    most: AtomicU64,
}

impl Account {
    /// Of folds that have not begun. `limit` is in bytes, `kept` what stays of each until the trial ends.
    pub fn new(limit: Option<u64>, kept: Vec<u64>) -> Self {
        Account {
            limit,
            folds: kept.iter().map(|_| AtomicU64::new(0)).collect(),
            kept,
            most: AtomicU64::new(0),
        }
    }

    /// What limits the fit of one fold.
    pub fn fold<'a>(&'a self, trial: &'a Trial, fold: usize) -> FoldLimit<'a> {
        FoldLimit {
            trial,
            account: self,
            fold,
        }
    }

    /// Notes that a fold is done, before the next one begins: only its predictions are kept.
    pub fn done(&self, fold: usize) {
        self.folds[fold].store(self.kept[fold], Ordering::Relaxed);
    }

    /// Bytes that were held at most.
    pub fn bytes(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Why a fit ended, or what ends the trial although no fit did: the memory, else the time, else its error.
    pub fn stop(&self, trial: &Trial, error: LearnError) -> Stop {
        match (self.check(), error, trial.check()) {
            (Err(why), ..) => why,
            (_, LearnError::Stopped { .. }, Err(why)) => why,
            (_, error, _) => error.into(),
        }
    }

    /// Whether the trial keeps to the limit so far.
    pub fn check(&self) -> Result<(), Stop> {
        match self.limit.filter(|limit| self.bytes() > *limit) {
            Some(limit) => Err(Stop::Failed(format!(
                "its folds held more than {}, the limit of `search.trial_memory`; raise the limit, or search smaller models (fewer or smaller trees, fewer columns)",
                amount(limit)
            ))),
            None => Ok(()),
        }
    }

    fn hold(&self, fold: usize, bytes: u64) -> bool {
        let bytes = bytes.saturating_add(self.kept[fold]);
        self.folds[fold].fetch_max(bytes, Ordering::Relaxed);
        let held = self.folds.iter().map(|f| f.load(Ordering::Relaxed));
        let all = held.fold(0, u64::saturating_add);
        self.most.fetch_max(all, Ordering::Relaxed);
        self.limit.is_none_or(|limit| all <= limit)
    }
}

/// An amount of memory in words: `500 MB`.
fn amount(bytes: u64) -> String {
    let (unit, name) = match bytes {
        1_000_000_000.. => (1e9, "GB"),
        1_000_000.. => (1e6, "MB"),
        1_000.. => (1e3, "kB"),
        _ => (1.0, "bytes"),
    };
    format!("{} {name}", (bytes as f64 / unit * 100.0).round() / 100.0)
}

/// What limits the fit of one fold of a trial.
pub(super) struct FoldLimit<'a> {
    trial: &'a Trial,
    account: &'a Account,
    fold: usize,
}

impl Limit for FoldLimit<'_> {
    fn goes_on(&self, held: u64) -> bool {
        self.account.hold(self.fold, held) && self.trial.check().is_ok()
    }

    fn part(&self, work: &mut dyn FnMut()) {
        self.trial.part(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_count_with_the_most_that_each_held() {
        let account = Account::new(Some(1000), vec![10, 20]);
        assert!(account.hold(0, 400));
        assert!(account.hold(0, 100));
        assert!(account.hold(1, 570));
        assert_eq!(account.bytes(), 1000);
        assert!(account.check().is_ok());
        assert!(!account.hold(1, 571));
        assert!(matches!(account.check(), Err(Stop::Failed(why)) if why.contains("1 kB")));

        // One after the other, only predictions are kept.
        let account = Account::new(Some(1000), vec![10, 20]);
        assert!(account.hold(0, 900));
        account.done(0);
        assert!(account.hold(1, 900));
        assert_eq!(account.bytes(), 930);
        assert!(!account.hold(1, 971));
    }

    #[test]
    fn amounts_are_read_again() {
        use crate::tune::program::memory::parse;
        for bytes in [7, 4_000, 500_000_000, 1_500_000_000] {
            assert_eq!(parse(&amount(bytes).replace("bytes", "B")), Ok(bytes));
        }
    }
}
