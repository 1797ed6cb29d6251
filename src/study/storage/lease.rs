//! Who runs a trial, when several processes run one study.
//!
//! A trial in flight is held under a [`Lease`], which its owner renews. One that was not renewed for longer than it lasts
//! has lapsed, and another process may begin the trial again, under its number and with its parameters. Every claim has
//! a token that is larger than the one before, and a result counts only under the token that holds the trial: an owner
//! that was taken for dead and is not cannot write over another's result.

use crate::study::record::{TrialRecord, TrialState};

/// The right to run a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Which process, unique among all that share the storage.
    pub owner: String,
    /// The fencing token, from 1; larger for every later claim of the same trial.
    pub token: u64,
    /// How long it lasts without being renewed, in seconds above 0; may be infinite.
    pub seconds: f64,
}

/// A lease as the storage knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The trial's number.
    pub number: u64,
    /// Under which lease it runs.
    pub lease: Lease,
    /// How often the lease was renewed. While this changes, the owner lives, whatever the clocks say.
    pub beat: u64,
    /// Seconds since the lease was taken or renewed, by the storage's clock; negative when that went backwards.
    pub age: f64,
}

impl Held {
    /// Whether the lease was not renewed in time, by the storage's clock.
    pub fn has_lapsed(&self) -> bool {
        self.age > self.lease.seconds
    }
}

/// What a write has to do with the lease of its trial.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    /// Nothing: this process runs the study alone. A lease that the trial has ends.
    Alone,
    /// The trial begins under `lease`, if it has not begun, or runs under `over` or, when that is `None`, under no lease and
    /// with the same parameters: one that another program has begun meanwhile is its own.
    Begin {
        /// The new lease.
        lease: &'a Lease,
        /// The lapsed lease that is taken over.
        over: Option<&'a Lease>,
    },
    /// The trial ends, if it runs under this lease.
    End(&'a Lease),
}

/// One trial to be written.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The whole trial.
    pub trial: &'a TrialRecord,
    /// Under which right.
    pub claim: Claim<'a>,
}

impl Lease {
    /// Whether both are the same claim, whatever their duration.
    pub(super) fn is(&self, other: &Lease) -> bool {
        (&self.owner, self.token) == (&other.owner, other.token)
    }
}

impl Write<'_> {
    /// Whether the claim holds: the trial is stored as `before`, and runs under `held`.
    pub(super) fn holds(&self, before: Option<&TrialRecord>, held: Option<&Lease>) -> bool {
        let is_held = |by: &Lease| held.is_some_and(|held| held.is(by));
        match (self.claim, before.map(|t| t.state)) {
            (Claim::Alone, _) => true,
            (Claim::Begin { .. }, None | Some(TrialState::Waiting)) => true,
            (Claim::Begin { lease, over }, Some(TrialState::Running)) => {
                is_held(lease)
                    || match (held, over) {
                        (Some(held), Some(over)) => held.is(over),
                        // One with other parameters was begun by another program.
                        (held, over) => {
                            held.is_none()
                                && over.is_none()
                                && before.is_some_and(|t| t.params == self.trial.params)
                        }
                    }
            }
            (Claim::End(lease), Some(TrialState::Running)) => is_held(lease),
            (Claim::End(_), Some(_)) => self.is_repeated(before),
            _ => false,
        }
    }

    /// Whether the trial ended by this very write, and nobody knew.
    pub(super) fn is_repeated(&self, before: Option<&TrialRecord>) -> bool {
        let end = |t: &TrialRecord| (t.state, t.finished);
        before.is_some_and(|t| t.state.is_finished() && end(t) == end(self.trial))
    }
}

/// What became of a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It is stored.
    Done,
    /// Another process holds or finished the trial; nothing of it was written.
    Refused,
}
