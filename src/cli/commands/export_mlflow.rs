//! `automl export mlflow`: studies as the SQLite file that MLflow opens.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::tracking::ending;
use super::trials::load;
use crate::cli::mlflow::{counted, versions};
use crate::cli::{Ending, StoreArg};
use crate::tracking::mlflow::file::{Exported, write};
use crate::tracking::mlflow::spool;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl export mlflow --study churn --output mlflow.db
  automl export mlflow --study churn --study prices --output mlflow.db --models /srv/models
  mlflow ui --backend-store-uri sqlite:///mlflow.db")]
pub(crate) struct MlflowArgs {
    /// The study; may be repeated.
    #[arg(long = "study", value_name = "STUDY", required = true)]
    studies: Vec<String>,
    /// The file to write; one of an earlier export is replaced, whole or not at all.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The folder for models; by default beside the file, as `mlflow-artifacts` for `mlflow.db`. The file names it by its
    /// full path.
    // Not `--artifacts`, which is where those of the store are.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
}

pub(super) fn run(args: MlflowArgs) -> anyhow::Result<Ending> {
    let store = args.store.open_existing()?;
    let mut studies: Vec<Exported> = Vec::new();
    for name in &args.studies {
        if studies.iter().any(|s| s.study.name == *name) {
            continue;
        }
        let (study, trials) = load(&args.store, name)?;
        let noted = spool::noted(store.db(), name)?.and_then(|n| n.ending);
        studies.push(Exported {
            models: versions(&store, name)?,
            ending: ending(&store, name, noted, &trials),
            study,
            trials,
        });
    }
    let artifacts = match args.models {
        Some(folder) => folder,
        None => {
            let stem = args.output.file_stem().unwrap_or_default();
            let name = format!("{}-artifacts", stem.to_string_lossy());
            args.output.with_file_name(name)
        }
    };
    let shown = |path: &Path| format!("`{}`", path.display());
    // MLflow resolves relative places against the folder that it was started in.
    let artifacts = std::path::absolute(&artifacts).with_context(|| shown(&artifacts))?;
    let written = write(&store, &studies, &args.output, &artifacts)?;
    for why in &written.without_python {
        eprintln!("note: a version can be listed in MLflow and not be loaded there: {why}");
    }
    eprintln!(
        "{} → {} ({}, {})",
        args.studies.join(", "),
        args.output.display(),
        counted(written.runs, "run"),
        counted(written.versions, "model version")
    );
    Ok(Ending::Done)
}
