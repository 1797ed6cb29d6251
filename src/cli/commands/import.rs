//! `automl import`: a model of another program becomes a model file, studies of one become studies of the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::import_optuna;
use crate::cli::Ending;
use crate::data::table::{Kind, Task};
use crate::fsio;
use crate::learn::import::{self, Options, Program};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  automl import --model lightgbm.txt --target Churn --classes No,Yes --output model.json
  automl import --from xgboost --model xgboost.json --output model.json
  automl predict --model model.json --input new.csv
  automl registry register churn --model model.json
  automl import optuna sqlite:///optuna.db")]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// The program that wrote the model.
    #[arg(long, default_value = "auto")]
    from: From,
    /// The model: a LightGBM text file or an XGBoost JSON file.
    #[arg(long, value_name = "FILE", required = true)]
    model: Option<PathBuf>,
    /// The model file to write; it is replaced whole or not at all.
    #[arg(long, value_name = "FILE", required = true)]
    output: Option<PathBuf>,
    /// Name of the column that it predicts.
    #[arg(long, value_name = "COLUMN", default_value = "target")]
    target: String,
    /// Names of the classes, in the order of their numbers; 0, 1, … without them.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    classes: Vec<String>,
    /// For two classes: the probability from which a row is called positive.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.5)]
    threshold: f64,
    /// Names of the levels of columns that the model knows by code: a JSON file as in {"color": ["blue", "red"]}.
    #[arg(long, value_name = "FILE")]
    levels: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Studies of an Optuna storage, with all their trials.
    Optuna(import_optuna::OptunaArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// Told from the first bytes of the file.
    Auto,
    /// `booster.save_model("model.txt")`
    Lightgbm,
    /// `booster.save_model("model.json")`
    Xgboost,
}

pub(crate) fn run(args: ImportArgs) -> anyhow::Result<Ending> {
    if let Some(What::Optuna(args)) = &args.what {
        return import_optuna::run(args);
    }
    let (Some(model), Some(output)) = (args.model, args.output) else {
        bail!("name the model and the file to write: `automl import --model FILE --output FILE`");
    };
    let bytes = fsio::read(&model)?;
    let program = match args.from {
        From::Auto => None,
        From::Lightgbm => Some(Program::Lightgbm),
        From::Xgboost => Some(Program::Xgboost),
    };
    let mut levels = BTreeMap::new();
    if let Some(file) = &args.levels {
        let text = fsio::read(file)?;
        levels = match serde_json::from_slice::<BTreeMap<String, Vec<String>>>(&text) {
            Ok(levels) => levels,
            Err(e) => bail!(
                "--levels: `{}`, line {}: it must be JSON as in {{\"color\": [\"blue\", \"red\"]}}",
                file.display(),
                e.line()
            ),
        };
    }
    let options = Options {
        target: Some(args.target),
        classes: args.classes,
        threshold: Some(args.threshold),
        levels,
    };
    let pipeline = import::import(&bytes, program, &options)
        .with_context(|| format!("`{}`", model.display()))?;
    let saved = pipeline.save()?;
    fsio::replace(&output, |out| out.write_all(&saved))?;
    let fields = &pipeline.transform.schema.fields;
    let categories = fields.iter().filter(|f| f.kind != Kind::Numeric).count();
    let task = match pipeline.card.task {
        Task::Regression => "a number".to_owned(),
        _ => pipeline.card.classes.join(", "),
    };
    eprintln!(
        "{}: {} features, {categories} of them categories; predicts `{}`: {task} → {}",
        pipeline.card.dataset,
        fields.len(),
        pipeline.card.target,
        output.display()
    );
    Ok(Ending::Done)
}
