//! `automl import`: a model of another program becomes a model file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::cli::Ending;
use crate::data::table::{Kind, Task};
use crate::fsio;
use crate::learn::import::{self, Options, Program};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl import --model lightgbm.txt --target Churn --classes No,Yes --output model.json
  automl import --from xgboost --model xgboost.json --output model.json
  automl predict --model model.json --input new.csv
  automl registry register churn --model model.json")]
pub(crate) struct ImportArgs {
    /// The program that wrote the model.
    #[arg(long, default_value = "auto")]
    from: From,
    /// The model: a LightGBM text file or an XGBoost JSON file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The model file to write; it is replaced whole or not at all.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
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
    let bytes = fsio::read(&args.model)?;
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
        .with_context(|| format!("`{}`", args.model.display()))?;
    let saved = pipeline.save()?;
    fsio::replace(&args.output, |out| out.write_all(&saved))?;
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
        args.output.display()
    );
    Ok(Ending::Done)
}
