//! How long a trial runs, and the limit on it.
//!
//! **Contract.** A trial's clock goes while at least one thread works on the trial, and stands still while none does. A thread
//! that waits for parts of its trial takes up whatever else the pool has to do, parts of other trials among it; it works
//! on one trial at a time, the one of the part that it began last. So no trial is charged for the work of another, but for
//! those of a study that it runs itself: they are its own work.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// A limit on the time of one trial.
#[derive(Clone)]
pub(crate) struct TimeLimit(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    limit: Duration,
    time: Mutex<Time>,
    /// The trial whose work it is to run this one.
    outer: Option<TimeLimit>,
}

/// What a trial has used so far.
struct Time {
    /// Seconds, up to `since`.
    spent: f64,
    since: Timestamp,
    /// Threads that work on the trial.
    at_work: usize,
}

impl Time {
    fn until(&self, now: Timestamp) -> f64 {
        match self.at_work {
            0 => self.spent,
            // A clock that goes backwards takes nothing back.
            _ => self.spent + now.seconds_since(self.since).max(0.0),
        }
    }
}

thread_local! {
    /// What this thread works on.
    static WORK: RefCell<Option<TimeLimit>> = const { RefCell::new(None) };
}

impl TimeLimit {
    /// Of a trial that somebody has begun to work on: its clock goes.
    pub(crate) fn new(clock: Arc<dyn Clock>, limit: Duration) -> Self {
        let time = Mutex::new(Time {
            spent: 0.0,
            since: clock.now(),
            at_work: 1,
        });
        TimeLimit(Arc::new(Inner {
            clock,
            limit,
            time,
            outer: WORK.with_borrow(Clone::clone),
        }))
    }

    /// Sets the clock to 0 and stops it, until the first [`TimeLimit::part`] begins.
    pub(crate) fn reset(&self) {
        let mut time = self.time();
        (time.spent, time.at_work) = (0.0, 0);
    }

    /// What to say of a trial that runs or ran at `now`, if that is too late.
    pub(crate) fn exceeded(&self, now: Timestamp) -> Option<String> {
        let limit = self.0.limit.as_secs_f64();
        (self.time().until(now) > limit)
            .then(|| format!("took longer than the limit of {limit} s for a trial"))
    }

    /// As [`TimeLimit::exceeded`], at this moment.
    pub(crate) fn exceeded_now(&self) -> Option<String> {
        self.exceeded(self.0.clock.now())
    }

    /// Runs a part of the trial's work. What the thread was at stands still meanwhile.
    pub(crate) fn part<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Goes back to what was before, after a panic as well.
        struct Back(Option<TimeLimit>);
        impl Drop for Back {
            fn drop(&mut self) {
                turn_to(self.0.take());
            }
        }
        let _back = Back(turn_to(Some(self.clone())));
        work()
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        // Nothing panics while it is held.
        self.0.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: isize) {
        let now = self.0.clock.now();
        let mut time = self.time();
        time.spent = time.until(now);
        time.since = now;
        time.at_work = time.at_work.saturating_add_signed(change);
        drop(time);
        if let Some(outer) = &self.0.outer {
            outer.count(change);
        }
    }
}

/// Makes this thread work on `next`; what it worked on.
fn turn_to(next: Option<TimeLimit>) -> Option<TimeLimit> {
    let before = WORK.with_borrow_mut(|work| std::mem::replace(work, next.clone()));
    let same = |a: &TimeLimit, b: &TimeLimit| Arc::ptr_eq(&a.0, &b.0);
    match (&before, &next) {
        (Some(before), Some(next)) if same(before, next) => {}
        _ => {
            // First in, then out: a trial that both are part of does not stop between.
            next.iter().for_each(|next| next.count(1));
            before.iter().for_each(|before| before.count(-1));
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_clock_goes_while_a_thread_is_at_work() {
        let clock = Arc::new(ManualClock::default());
        let limit = || TimeLimit::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(9));
        let (one, two) = (limit(), limit());
        let spent = |of: &TimeLimit| of.time().until(clock.now());
        clock.advance(1.0);
        // Asked for and not told yet.
        assert_eq!(spent(&one), 1.0);
        one.reset();
        two.reset();
        clock.advance(1.0);
        assert_eq!(spent(&one), 0.0);
        one.part(|| {
            clock.advance(2.0);
            // The thread takes up the other one, which takes up this one again.
            two.part(|| {
                clock.advance(4.0);
                one.part(|| clock.advance(0.5));
                // A second thread at work on the first keeps its clock going, once and not twice.
                std::thread::scope(|scope| {
                    scope.spawn(|| one.part(|| one.part(|| clock.advance(0.25))));
                });
            });
            clock.advance(8.0);
            let panics = || two.part(|| panic!("on purpose"));
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
            assert!(caught.is_err());
            clock.advance(1.0);
        });
        clock.advance(16.0);
        assert_eq!(spent(&one), 2.0 + 0.5 + 0.25 + 8.0 + 1.0);
        assert_eq!(spent(&two), 4.0 + 0.25);
        assert!(one.exceeded_now().is_some() && two.exceeded_now().is_none());
    }

    #[test]
    fn the_trials_of_a_study_within_a_trial_are_its_work() {
        let clock = Arc::new(ManualClock::default());
        let limit = || TimeLimit::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(9));
        let spent = |of: &TimeLimit| of.time().until(clock.now());
        let outer = limit();
        outer.reset();
        let inner = outer.part(|| {
            clock.advance(1.0);
            let inner = limit();
            inner.reset();
            inner.part(|| clock.advance(2.0));
            clock.advance(4.0);
            inner
        });
        // Taken up elsewhere, it is still the outer one's.
        inner.part(|| clock.advance(8.0));
        assert_eq!((spent(&outer), spent(&inner)), (15.0, 10.0));
    }
}
