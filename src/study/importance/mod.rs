//! How much each parameter of a study matters.
//!
//! Two methods, both with the results of Optuna 5:
//! - [PED-ANOVA](ped_anova) (Watanabe, Bansal, Hutter 2023), for conditional parameters as in Conditional PED-ANOVA
//!   (2026): how far the distribution of a parameter among the best tenth of the trials is from that among all. It is
//!   fast, and knows parameters that only some trials have.
//! - [fANOVA](fanova) (Hutter, Hoos, Leyton-Brown 2014): which share of the variance of a random forest fitted to the
//!   trials a parameter explains by itself.
//!
//! **Contract.** Shares are at least 0 and add up to 1, the largest first; where nothing matters, all are equal. They are
//! a function of the complete trials with finite values, the same bits on any number of threads.

pub mod fanova;
mod forest;
pub mod ped_anova;
#[cfg(test)]
mod tests;

use crate::names;

use super::record::{Direction, TrialRecord, TrialState};

/// Parameters with their shares, the largest first.
pub type Shares = Vec<(String, f64)>;

/// One method by name.
pub struct MethodEntry {
    /// As in `ped_anova`.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// Assesses the trials of a study with these directions.
    pub assess: fn(&[&TrialRecord], &[Direction]) -> Result<Shares, ImportanceError>,
}

/// Every method, the default first.
pub const METHODS: &[MethodEntry] = &[
    MethodEntry {
        name: "ped_anova",
        summary: "how the best tenth of the trials differ from all trials",
        assess: ped_anova::assess,
    },
    MethodEntry {
        name: "fanova",
        summary: "the share of a forest's variance that each parameter explains alone",
        assess: fanova::assess,
    },
];

/// Why importance cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportanceError {
    /// No method of this name.
    #[error("there is no method `{name}`; {hint}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// What may have been meant, or the list.
        hint: String,
    },
    /// Nothing to compare.
    #[error(
        "importance needs at least 2 complete trials with finite values, and there are {found}"
    )]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// A method for one value.
    #[error("fanova is for studies with one direction, and this one has {found}; use `ped_anova`")]
    Several {
        /// How many there are.
        found: usize,
    },
    /// No parameter is part of every trial.
    #[error("no parameter is part of every complete trial, which fanova needs; use `ped_anova`")]
    NothingCommon,
}

/// The method called `name`.
///
/// # Errors
/// [`ImportanceError::Unknown`].
pub fn by_name(name: &str) -> Result<&'static MethodEntry, ImportanceError> {
    let found = METHODS.iter().find(|m| m.name == name);
    found.ok_or_else(|| ImportanceError::Unknown {
        name: name.to_owned(),
        hint: names::hint(name, METHODS.iter().map(|m| m.name)),
    })
}

/// The trials that can be compared.
fn comparable<'a>(trials: &[&'a TrialRecord]) -> Result<Vec<&'a TrialRecord>, ImportanceError> {
    let finite = |t: &&TrialRecord| {
        t.state == TrialState::Complete
            && !t.values.is_empty()
            && t.values.iter().all(|v| v.is_finite())
    };
    let found: Vec<&TrialRecord> = trials.iter().copied().filter(finite).collect();
    if found.len() < 2 {
        return Err(ImportanceError::TooFew { found: found.len() });
    }
    Ok(found)
}

/// Shares of one, the largest first; of equals, the one given first.
fn shares(mut parts: Shares) -> Shares {
    let whole: f64 = parts.iter().map(|(_, part)| part).sum();
    let n = parts.len() as f64;
    for (_, part) in &mut parts {
        *part = if whole > 0.0 { *part / whole } else { 1.0 / n };
    }
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts
}
