//! `automl export`: a model in a form that other programs run, a study in one that other programs read.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::predict::load;
use crate::cli::{Ending, StoreArg};
use crate::fsio;
use crate::learn::onnx;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    command: ExportCommand,
}

#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// As ONNX, preprocessing included: columns in, labels and probabilities out.
    #[command(after_help = "Examples:
  automl export onnx --model churn@production --output churn.onnx
  automl export onnx --model model.json --output model.onnx")]
    Onnx {
        /// A registered version, `NAME@STAGE` or `NAME:NUMBER`, or a model file.
        #[arg(long)]
        model: String,
        /// The file to write; it is replaced whole or not at all.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        store: StoreArg,
    },
    /// As the SQLite file that MLflow opens: studies with their trials, metrics, data and models.
    Mlflow(super::export_mlflow::MlflowArgs),
    /// The trials of a study as CSV, in the columns of Optuna's `trials_dataframe`.
    #[command(after_help = "Examples:
  automl export csv churn --output trials.csv
  automl export csv churn | head -3

Times are UTC, the duration is in seconds; infinities are inf and -inf, and what a trial has not is empty.")]
    Csv(super::export_trials::TrialsArgs),
    /// The trials of a study as JSON, with every report of a trial.
    #[command(after_help = "Examples:
  automl export json churn --output trials.json
  python3 -c \"import pandas; print(pandas.read_json('trials.json'))\"

Columns are those of `export csv`, with types, and an intermediate_STEP for each report. JSON has no infinity: values
that are infinite are the texts inf and -inf.")]
    Json(super::export_trials::TrialsArgs),
    /// The trials of a study as Parquet, with typed columns.
    #[command(after_help = "Example:
  automl export parquet churn --output trials.parquet

Columns are those of `export csv`. Needs a program built with --features parquet.")]
    Parquet(super::export_trials::ParquetArgs),
}

pub(crate) fn run(args: ExportArgs) -> anyhow::Result<Ending> {
    match args.command {
        ExportCommand::Onnx {
            model,
            output,
            store,
        } => {
            let pipeline = load(&model, &store)?;
            let bytes = onnx::export(&pipeline).with_context(|| format!("`{model}`"))?;
            fsio::replace(&output, |out| out.write_all(&bytes))?;
            eprintln!(
                "{} → {} ({} KB)",
                model,
                output.display(),
                bytes.len().div_ceil(1000)
            );
            Ok(Ending::Done)
        }
        ExportCommand::Mlflow(args) => super::export_mlflow::run(args),
        ExportCommand::Csv(args) => super::export_trials::csv(args),
        ExportCommand::Json(args) => super::export_trials::json(args),
        ExportCommand::Parquet(args) => super::export_trials::parquet(args),
    }
}
