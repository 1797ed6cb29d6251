//! The command line: one file per verb under `commands`.
//!
//! **Contract.** Results go to stdout, everything else to stderr. Exit code 0: done. 1: the answer is no (a gate
//! refused). 2: it could not be done, and the message says what to type next. 130: interrupted.

mod commands;
mod mlflow;
mod output;
mod progress;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::study::storage::journal::Repair;
use crate::tracking::{Store, TrackingError};

/// From a CSV to a tuned, tracked, registered model.
#[derive(Debug, Parser)]
#[command(
    name = "automl",
    version,
    max_term_width = 110,
    after_help = "Examples:
  automl study configs/churn.yaml
  automl optimize space.yaml --trials 200 -- python3 objective.py
  automl trials churn
  automl predict --model churn@staging --input new.csv --output scored.csv"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search, refit the best, score it on the holdout, register it.
    Study(commands::study::StudyArgs),
    /// Optimize a program of your own, in any language.
    Optimize(commands::optimize::OptimizeArgs),
    /// Run trials of a study that another process leads, on any machine.
    Worker(commands::worker::WorkerArgs),
    /// Begin the next trial of a space file and print it, for scripts.
    Ask(commands::ask_tell::AskArgs),
    /// End a trial of `ask` with its value or the reason why there is none.
    Tell(commands::ask_tell::TellArgs),
    /// Show how much each parameter of a study matters.
    Importance(commands::importance::ImportanceArgs),
    /// List the studies of a store.
    Studies(commands::trials::StudiesArgs),
    /// List the trials of a study.
    Trials(commands::trials::TrialsArgs),
    /// Show the best trial of a study.
    Best(commands::trials::BestArgs),
    /// Show one trial of a study.
    Show(commands::trials::ShowArgs),
    /// Predict the rows of a file.
    Predict(commands::predict::PredictArgs),
    /// Make a model file of a LightGBM or XGBoost model, or take over studies of Optuna.
    Import(commands::import::ImportArgs),
    /// Write a model or a study in a form that other programs use.
    Export(commands::export::ExportArgs),
    /// Explain predictions and models: SHAP values, importance, partial dependence.
    Explain(commands::explain::ExplainArgs),
    /// List, promote and roll back registered models.
    Registry(commands::registry::RegistryArgs),
    /// Send studies to an MLflow server, and show what is unsent.
    Tracking(commands::tracking::TrackingArgs),
    /// Fetch known data, or split a file as an experiment does.
    Data(commands::data::DataArgs),
    /// Show what experiment files can name: learners, metrics, samplers, pruners, presets.
    List(commands::list::ListArgs),
}

/// Where studies, models and artifacts are.
#[derive(Debug, Clone, Args)]
struct StoreArg {
    /// The store: a folder, journal:FOLDER on a network file system, or postgres://user:password@host/database.
    // The value may hold a password, so help does not show it.
    #[arg(long, env = "AUTOML_STORE", hide_env_values = true, default_value = crate::tracking::DEFAULT_FOLDER, value_name = "DIR|URL")]
    store: PathBuf,
    /// The folder for artifacts, predictions and locks [default: the store's, or automl-artifacts beside a URL].
    #[arg(long, env = "AUTOML_ARTIFACTS", value_name = "DIR")]
    artifacts: Option<PathBuf>,
}

impl StoreArg {
    /// The store, made when there is none.
    fn open(&self) -> Result<Store, TrackingError> {
        let store = match &self.artifacts {
            Some(files) => Store::open_with(&self.store, files),
            None => Store::open(&self.store),
        }?;
        note_journal(&store);
        Ok(store)
    }

    /// The store, which must be there.
    fn open_existing(&self) -> Result<Store, TrackingError> {
        let store = match &self.artifacts {
            Some(files) => Store::open_existing_with(&self.store, files),
            None => Store::open_existing(&self.store),
        }?;
        note_journal(&store);
        Ok(store)
    }
}

/// Has what happens to the journal of a store told while the command runs.
fn note_journal(store: &Store) {
    store.on_repair(note_repair);
    store.on_wait(|lock| {
        eprintln!(
            "note: waiting for the lock `{}`; one that a dead process left behind is removed after 30 s",
            lock.display()
        );
    });
}

fn note_repair(repair: &Repair) {
    eprintln!(
        "note: a write to `{}` was cut off; its {} bytes were set aside in `{}`, and what was written before is all there",
        repair.path.display(),
        repair.bytes,
        repair.saved.display()
    );
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// How a command ended, when it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Done,
    No,
    Interrupted,
}

/// Runs the command line and returns the process's exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, mistakes to stderr with 2.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let ending = match cli.command {
        Command::Study(args) => commands::study::run(args),
        Command::Optimize(args) => commands::optimize::run(args),
        Command::Worker(args) => commands::worker::run(args),
        Command::Ask(args) => commands::ask_tell::ask(args),
        Command::Tell(args) => commands::ask_tell::tell(args),
        Command::Importance(args) => commands::importance::run(args),
        Command::Studies(args) => commands::trials::studies(args),
        Command::Trials(args) => commands::trials::trials(args),
        Command::Best(args) => commands::trials::best(args),
        Command::Show(args) => commands::trials::show(args),
        Command::Predict(args) => commands::predict::run(args),
        Command::Import(args) => commands::import::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Registry(args) => commands::registry::run(args),
        Command::Tracking(args) => commands::tracking::run(args),
        Command::Data(args) => commands::data::run(args),
        Command::List(args) => commands::list::run(args),
    };
    match ending {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::No) => ExitCode::from(1),
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(error) => {
            if output::is_closed_pipe(&error) {
                // `automl trials s | head`: the reader has seen enough.
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {}", output::chain(&error));
            ExitCode::from(2)
        }
    }
}
