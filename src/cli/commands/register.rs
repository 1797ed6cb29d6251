//! `automl registry register`: a model file becomes a version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value as Json, json};

use crate::cli::output::print_line;
use crate::cli::{Ending, StoreArg};
use crate::data::table::Task;
use crate::fsio;
use crate::fsio::host;
use crate::learn::metric::{self, Goal};
use crate::learn::pipeline::Pipeline;
use crate::registry::{DatasetRef, NewVersion, Primary, Registry, Rule, Source};
use crate::study::record::Direction;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl registry register churn --model model.json
  automl registry register churn --model model.json --metric roc_auc=0.846 --rule 'roc_auc >= 0.84'")]
pub(crate) struct RegisterArgs {
    /// The model's name in the registry.
    name: String,
    /// The model file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A holdout metric that was measured elsewhere, as in `roc_auc=0.846`; may be repeated. The first is the one that
    /// versions are compared by.
    #[arg(long = "metric", value_name = "NAME=NUMBER")]
    metrics: Vec<String>,
    /// A rule that must hold on the way to production, as in `roc_auc >= 0.84`; may be repeated.
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<Rule>,
    #[command(flatten)]
    store: StoreArg,
}

pub(crate) fn run(args: RegisterArgs) -> anyhow::Result<Ending> {
    let bytes = fsio::read(&args.model)?;
    let pipeline = Pipeline::load(&bytes).with_context(|| format!("`{}`", args.model.display()))?;
    let card = &pipeline.card;
    let mut metrics = BTreeMap::new();
    let mut primary = match card.task {
        Task::Binary => "roc_auc",
        Task::Multiclass => "log_loss",
        Task::Regression => "rmse",
    };
    for (i, given) in args.metrics.iter().enumerate() {
        let (name, number) = given
            .split_once('=')
            .and_then(|(name, number)| Some((name.trim(), number.trim().parse::<f64>().ok()?)))
            .filter(|(_, number)| number.is_finite())
            .with_context(|| format!("--metric: `{given}` is not of the form roc_auc=0.846"))?;
        let entry = metric::find_for(name, card.task).context("--metric")?;
        let name = entry.same_as.unwrap_or(entry.name);
        if metrics.insert(name.to_owned(), number).is_some() {
            bail!("--metric: `{name}` is given twice");
        }
        if i == 0 {
            primary = name;
        }
    }
    let entry = metric::find_for(primary, card.task)?;
    let columns: Map<String, Json> = pipeline
        .transform
        .schema
        .fields
        .iter()
        .map(|f| (f.name.clone(), json!(f.kind)))
        .collect();
    let new = NewVersion {
        model: args.name,
        files: vec![("model.json".to_owned(), bytes)],
        metrics,
        primary: Primary {
            metric: primary.to_owned(),
            direction: match entry.goal {
                Goal::Maximize => Direction::Maximize,
                Goal::Minimize => Direction::Minimize,
            },
        },
        params: json!({"learner": pipeline.model.kind()}),
        dataset: DatasetRef {
            name: card.dataset.clone(),
            sha256: card.dataset_sha256.clone(),
            holdout_sha256: None,
        },
        study: None,
        trial: None,
        gate: args.rules,
        source: Source {
            automl: env!("CARGO_PKG_VERSION").to_owned(),
            seed: None,
            host: host(),
            task: format!("{:?}", card.task).to_lowercase(),
            schema: Json::Object(columns),
        },
    };
    // A name that cannot be one must not leave an empty store behind.
    crate::registry::check_name(&new.model)?;
    let registry = Registry::open(&args.store.open()?)?;
    let registered = registry.register(&new)?;
    print_line!(
        "{} v{}: {}{}",
        new.model,
        registered.version,
        registered.stage,
        if registered.created {
            ""
        } else {
            ", registered before with the same bytes"
        }
    );
    Ok(Ending::Done)
}
