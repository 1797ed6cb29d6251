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
    }
}
