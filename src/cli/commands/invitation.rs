//! What a worker needs to know to run trials of a study: the verb that leads the study stores it with the study.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::data::telco;
use crate::study::Study;
use crate::study::engine::Share;
use crate::study::record::StudyRecord;
use crate::tracking::{Member, Store};

/// The study attribute that holds an [`Invitation`].
const ATTRIBUTE: &str = "automl:worker";

/// The version of the form in which it is stored.
const FORMAT: u64 = 1;

/// How long a silent process keeps its trials.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LeaseArg {
    /// A trial of a process that is silent for this many seconds is begun again by another that runs the study.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    lease: f64,
}

impl LeaseArg {
    pub(super) fn duration(self) -> anyhow::Result<Duration> {
        match Duration::try_from_secs_f64(self.lease) {
            Ok(lease) if lease >= Duration::from_millis(100) => Ok(lease),
            _ => bail!(
                "--lease: must be a number of seconds from 0.1 up, not {}",
                self.lease
            ),
        }
    }

    /// How the process that leads a study takes part in it. One more trial than threads, so that none of them waits.
    pub(super) fn leading(self, member: &Member, store: &Store) -> anyhow::Result<Share> {
        Ok(Share {
            at_once: rayon::current_num_threads() + 1,
            leads: true,
            // In a folder the lock of the study keeps others away; on a server it cannot.
            take_unleased: !store.is_shared(),
            ..member.share(self.duration()?)
        })
    }
}

/// What a worker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Invitation {
    format: u64,
    /// How many trials the study has in the end.
    pub(super) trials: u64,
    /// What its trials are.
    pub(super) objective: Objective,
}

/// What the trials of a study are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Objective {
    /// Cross-validation, as an experiment file says.
    Experiment {
        /// How messages call the file.
        file: String,
        text: String,
        name: String,
        seed: u64,
        /// Where the data is on the machine that leads.
        data: Option<PathBuf>,
    },
    /// A program of the user's own.
    Program {
        text: String,
        seed: u64,
        sampler: Option<String>,
        pruner: Option<String>,
        concurrency: usize,
        command: Vec<String>,
        /// In seconds.
        trial_timeout: Option<f64>,
        /// In bytes.
        trial_memory: Option<u64>,
    },
}

impl Invitation {
    pub(super) fn new(trials: u64, objective: Objective) -> Self {
        Invitation {
            format: FORMAT,
            trials,
            objective,
        }
    }

    /// That of a stored study; `None` when nobody has led it yet, or from before there were workers.
    pub(super) fn of(study: &StudyRecord) -> anyhow::Result<Option<Self>> {
        let Some(stored) = study.user_attrs.get(ATTRIBUTE) else {
            return Ok(None);
        };
        let format = stored["format"].as_u64();
        if format != Some(FORMAT) {
            bail!(
                "study `{}` is led by another release of this program; use the same one for all processes of a study",
                study.name
            );
        }
        Ok(Some(serde_json::from_value(stored.clone())?))
    }

    /// Lets workers join.
    pub(super) fn offer(&self, study: &mut Study) -> anyhow::Result<()> {
        let json: Json = serde_json::to_value(self)?;
        Ok(study.set_attr(ATTRIBUTE, json)?)
    }
}

/// Where the data of an experiment is, as a worker of the same machine or with the same disks would find it.
pub(super) fn data_file(
    named: Option<&Path>,
    written: Option<&Path>,
    folder: Option<&Path>,
) -> Option<PathBuf> {
    let file = match named.or(written) {
        Some(path) => path.to_owned(),
        None => match telco::resolve(None, folder) {
            Ok(telco::Source::File(path)) => path,
            _ => return None,
        },
    };
    std::path::absolute(file).ok()
}
