//! `--from` and `--without`: a study that begins with the trials of another one. The same for every verb that makes studies.

use std::sync::Arc;

use anyhow::bail;
use clap::Args;

use crate::study::engine::ADDED;
use crate::study::{Study, StudyError, TrialRecord};
use crate::tracking::Store;

/// Which trials of which study.
#[derive(Clone, Debug, Args)]
pub(super) struct Earlier {
    /// Begin with the finished trials of this study, as far as they fit the space: to go on in a larger one, or without
    /// some trials.
    #[arg(long, value_name = "STUDY")]
    from: Option<String>,
    /// Leave out these trials of `--from`, as in 3,17.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "from")]
    without: Vec<u64>,
}

impl Earlier {
    /// No trials of any study.
    pub fn none() -> Self {
        Earlier {
            from: None,
            without: Vec::new(),
        }
    }

    /// The study that is begun with, if there is one.
    pub fn study(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// The trials that are wanted, for the study `name`.
    pub fn trials(&self, store: &Store, name: &str) -> anyhow::Result<Vec<TrialRecord>> {
        let Some(from) = &self.from else {
            return Ok(Vec::new());
        };
        if from == name {
            bail!(
                "--from: a study cannot begin with itself; write `--name {from}-2` for the new one"
            );
        }
        let mut trials = store.storage().load_trials(from)?;
        if let Some(no) = self.without.iter().find(|n| **n >= trials.len() as u64) {
            let count = trials.len();
            bail!("--without: study `{from}` has no trial {no}; it has {count} trials");
        }
        trials.retain(|t| t.state.is_finished() && !self.without.contains(&t.number));
        Ok(trials)
    }

    /// Adds those of `earlier` that are not there yet, before the first of the study's own. `adopt` makes of each what it is in
    /// the new study, or says why it cannot be there.
    pub fn add(
        &self,
        study: &mut Study,
        earlier: &[TrialRecord],
        adopt: &dyn Fn(&TrialRecord) -> Result<TrialRecord, String>,
    ) -> anyhow::Result<()> {
        let Some(from) = &self.from else {
            return Ok(());
        };
        if own(study) > 0 {
            if study.trials().iter().all(|t| !is_added(t)) {
                eprintln!(
                    "note: study `{}` was begun without `--from {from}`, and goes on so",
                    study.name()
                );
            }
            return Ok(());
        }
        // A run that was killed on the way has added the first ones.
        let last = study.trials().last().map(|t| &t.system_attrs[ADDED]);
        let last = last.and_then(|source| source["number"].as_u64());
        let mut unfit = Vec::new();
        for trial in earlier.iter().filter(|t| last.is_none_or(|n| t.number > n)) {
            let adopted = adopt(trial).map_err(|why| StudyError::Add {
                number: trial.number,
                why,
            });
            match adopted.and_then(|trial| study.add_trial(from, &trial)) {
                Err(error @ StudyError::Add { .. }) => unfit.push(error),
                other => drop(other?),
            }
        }
        if let Some(first) = unfit.first() {
            eprintln!(
                "note: {} of {} trials of `{from}` are left out; {first}",
                unfit.len(),
                earlier.len()
            );
        }
        Ok(())
    }
}

fn is_added(trial: &Arc<TrialRecord>) -> bool {
    trial.system_attrs.contains_key(ADDED)
}

/// How many trials the study has that were not added.
pub(super) fn own(study: &Study) -> usize {
    study.trials().iter().filter(|t| !is_added(t)).count()
}
