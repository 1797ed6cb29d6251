//! `automl tracking`: what an MLflow server has of the studies, and sending it the rest.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use crate::cli::mlflow::{counted, sync_command, versions};
use crate::cli::{Ending, Format, StoreArg, output};
use crate::study::{TrialRecord, TrialState};
use crate::tracking::Store;
use crate::tracking::mlflow::background::{guess, left};
use crate::tracking::mlflow::client::Limits;
use crate::tracking::mlflow::run::RunStatus;
use crate::tracking::mlflow::{
    Ending as SearchEnding, MlflowError, ModelFacts, Sender, Target, URI_VARIABLE, address, spool,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl tracking status
  automl tracking sync churn
  AUTOML_MLFLOW_URI=http://localhost:5000 automl tracking sync churn")]
pub(crate) struct TrackingArgs {
    #[command(subcommand)]
    command: TrackingCommand,
}

#[derive(Debug, Subcommand)]
enum TrackingCommand {
    /// Send an MLflow server what it does not have, each run once.
    #[command(after_help = "Examples:
  automl tracking sync                   every study that has a server
  automl tracking sync churn
  automl tracking sync churn --wait 600  try again for ten minutes")]
    Sync {
        /// The study; every one that has a server when not given.
        study: Option<String>,
        /// For how many seconds a server that does not answer is tried again.
        #[arg(long, default_value_t = 30, value_name = "SECONDS")]
        wait: u64,
        #[command(flatten)]
        store: StoreArg,
        /// Print nothing but errors.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Show what MLflow servers have and what is unsent.
    #[command(after_help = "Examples:
  automl tracking status
  automl tracking status --format json")]
    Status {
        /// The study; every one that has a server when not given.
        study: Option<String>,
        #[command(flatten)]
        store: StoreArg,
        /// How to print.
        #[arg(long, default_value = "table")]
        format: Format,
    },
}

pub(crate) fn run(args: TrackingArgs) -> anyhow::Result<Ending> {
    match args.command {
        TrackingCommand::Sync {
            study,
            wait,
            store,
            quiet,
        } => {
            let store = Store::open_existing(&store.store)?;
            let typed = env::var(URI_VARIABLE).ok().filter(|t| !t.trim().is_empty());
            let given = typed
                .map(|t| address(&t).context(URI_VARIABLE))
                .transpose()?;
            let named = study.is_some();
            let studies = studies(&store, study.as_deref())?;
            if studies.is_empty() {
                bail!(
                    "no study in `{}` goes to MLflow\nhint: `{URI_VARIABLE}=http://localhost:5000 automl tracking sync STUDY`",
                    store.folder().display()
                );
            }
            for study in studies {
                // The environment names a server for the study that was asked for, not for all.
                let server = given.clone().filter(|_| named);
                sync(&store, &study, server, Duration::from_secs(wait), quiet)?;
            }
            Ok(Ending::Done)
        }
        TrackingCommand::Status {
            study,
            store,
            format,
        } => {
            let store = Store::open_existing(&store.store)?;
            status(&store, study.as_deref(), format)
        }
    }
}

/// The study that was named, which must exist, else all that have a server.
fn studies(store: &Store, study: Option<&str>) -> anyhow::Result<Vec<String>> {
    let Some(study) = study else {
        return Ok(spool::studies(store.db())?);
    };
    let storage = store.storage();
    if storage.load_study(study)?.is_none() {
        let known = storage.load_studies()?;
        let known: Vec<String> = known.iter().map(|s| format!("`{}`", s.name)).collect();
        let known = match known.is_empty() {
            true => "none yet".to_owned(),
            false => known.join(", "),
        };
        bail!(
            "there is no study `{study}` in `{}`; there are: {known}",
            store.folder().display()
        );
    }
    Ok(vec![study.to_owned()])
}

/// How a study stands. One that was told to run and that nobody runs was killed.
pub(super) fn ending(
    store: &Store,
    study: &str,
    noted: Option<SearchEnding>,
    trials: &[TrialRecord],
) -> SearchEnding {
    match noted {
        None => guess(trials),
        Some(ending) if ending.status != RunStatus::Running => ending,
        Some(running) => match store.lock_study(study) {
            Ok(_) => SearchEnding {
                status: RunStatus::Killed,
                ended: trials.iter().filter_map(|t| t.finished).max(),
            },
            Err(_) => running,
        },
    }
}

fn sync(
    store: &Store,
    name: &str,
    server: Option<String>,
    wait: Duration,
    quiet: bool,
) -> anyhow::Result<()> {
    let storage = store.storage();
    let Some(study) = storage.load_study(name)? else {
        return Ok(());
    };
    let noted = spool::noted(store.db(), name)?;
    let target = match (&noted, server) {
        (Some(noted), None) => noted.target.clone(),
        (noted, Some(server)) => Target {
            server,
            experiment: noted
                .as_ref()
                .map_or_else(|| name.to_owned(), |n| n.target.experiment.clone()),
        },
        (None, None) => {
            return Err(MlflowError::NoServer {
                study: name.to_owned(),
            }
            .into());
        }
    };
    let trials = storage.load_trials(name)?;
    let before = noted.as_ref().and_then(|n| n.ending);
    let ending = ending(store, name, before, &trials);
    spool::note(store.db(), name, &target, before.map(|_| ending))?;
    let models = versions(store, name)?;
    let mut patience = Patience::new(wait);
    loop {
        match attempt(
            store,
            name,
            &study,
            &trials,
            &models,
            ending,
            quiet,
            &mut patience,
        ) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_temporary() && patience.is_left() => {
                if !quiet {
                    eprintln!("{error}; trying again");
                }
                patience.pause();
            }
            Err(error) => {
                let left = left(store, name, &models)?;
                let hint = match error.is_temporary() {
                    true => format!(
                        "\nhint: `{}` when it answers again",
                        sync_command(store, name)
                    ),
                    false => String::new(),
                };
                bail!(
                    "{error}; unsent of `{name}`: {}{hint}",
                    counted(left.trials, "trial")
                );
            }
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one round of `sync`, with what it has loaded"
)]
fn attempt(
    store: &Store,
    name: &str,
    study: &crate::study::record::StudyRecord,
    trials: &[TrialRecord],
    models: &[ModelFacts],
    ending: SearchEnding,
    quiet: bool,
    patience: &mut Patience,
) -> Result<(), MlflowError> {
    let mut sender = Sender::open(store, name, Limits::default())?;
    let open = sender.unsent(trials).len();
    let versions = sender.unsent_models(models).len();
    let mut sent = 0;
    let mut progress = |n: usize| {
        sent += n;
        patience.renew();
    };
    sender.send_all(study, trials, models, ending, &mut progress)?;
    let refused = sender.unsent(trials);
    if !quiet {
        let server = &sender.target().server;
        match (open, versions) {
            (0, 0) => eprintln!("{name}: {server} has everything"),
            _ => eprintln!(
                "{name}: sent {sent} of {} and {} to {server}",
                counted(open, "trial"),
                counted(versions, "model version")
            ),
        }
        if let Some(page) = sender.page() {
            eprintln!("mlflow {page}");
        }
    }
    match refused.first().and_then(|t| sender.refusal(t)) {
        Some(why) => Err(MlflowError::Incomplete {
            refused: refused.len(),
            why,
        }),
        None => Ok(()),
    }
}

/// How long a server that does not answer is tried again.
struct Patience {
    wait: Duration,
    since: Instant,
    pause: Duration,
}

impl Patience {
    fn new(wait: Duration) -> Self {
        Patience {
            wait,
            since: Instant::now(),
            pause: Duration::from_millis(500),
        }
    }

    fn is_left(&self) -> bool {
        self.since.elapsed() + self.pause < self.wait
    }

    fn renew(&mut self) {
        *self = Patience::new(self.wait);
    }

    fn pause(&mut self) {
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(Duration::from_secs(10));
    }
}

fn status(store: &Store, study: Option<&str>, format: Format) -> anyhow::Result<Ending> {
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    for name in studies(store, study)? {
        let Some(noted) = spool::noted(store.db(), &name)? else {
            return Err(MlflowError::NoServer { study: name }.into());
        };
        let models = versions(store, &name)?;
        let left = left(store, &name, &models)?;
        let trials = store.storage().load_trials(&name)?;
        let count =
            |state: fn(&TrialState) -> bool| trials.iter().filter(|t| state(&t.state)).count();
        let finished = count(|s| s.is_finished());
        rows.push(vec![
            name.clone(),
            noted.target.server.clone(),
            (finished - left.trials).to_string(),
            left.trials.to_string(),
            left.refused.to_string(),
            left.models.to_string(),
            if left.study { "no" } else { "yes" }.to_owned(),
        ]);
        let why = left.why.map_or(Json::Null, Json::from);
        documents.push(json!({
            "study": name, "server": noted.target.server, "experiment": noted.target.experiment,
            "trials": {"sent": finished - left.trials, "unsent": left.trials, "refused": left.refused},
            "models_unsent": left.models, "study_sent": !left.study, "refused_because": why,
        }));
    }
    let header = [
        "study",
        "server",
        "sent",
        "unsent",
        "refused",
        "models unsent",
        "end sent",
    ];
    match format {
        Format::Table => output::print_table(&header, &rows)?,
        Format::Csv => output::print_csv(&header, &rows)?,
        Format::Json => output::print_json(&Json::Array(documents))?,
    }
    Ok(Ending::Done)
}
