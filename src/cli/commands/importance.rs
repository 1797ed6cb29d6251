//! `automl importance`: how much each parameter of a study matters.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::trials::load;
use crate::cli::{Ending, Format, StoreArg, output};
use crate::study::TrialRecord;
use crate::study::importance;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl importance churn
  automl importance churn --method fanova --format json

Methods:
  ped_anova   how much a parameter's values among the best tenth of the trials differ from those among all trials
  fanova      the share of the variance of a forest fitted to the trials that a parameter alone explains; leaves out
              parameters that only some trials have")]
pub(crate) struct ImportanceArgs {
    /// The study's name.
    study: String,
    #[command(flatten)]
    store: StoreArg,
    /// `ped_anova` or `fanova`.
    #[arg(long, default_value = importance::METHODS[0].name, value_name = "NAME")]
    method: String,
    /// How to print.
    #[arg(long, default_value = "table")]
    format: Format,
}

pub(crate) fn run(args: ImportanceArgs) -> anyhow::Result<Ending> {
    let method = importance::by_name(&args.method)?;
    let (study, trials) = load(&args.store, &args.study)?;
    let trials: Vec<&TrialRecord> = trials.iter().collect();
    let shares = (method.assess)(&trials, &study.directions)?;
    if args.format == Format::Json {
        let shares: Map<String, Json> = shares.into_iter().map(|(n, v)| (n, json!(v))).collect();
        output::print_json(
            &json!({"study": study.name, "method": method.name, "importance": shares}),
        )?;
        return Ok(Ending::Done);
    }
    let table = args.format == Format::Table;
    let row = |(name, share): (String, f64)| {
        let share = if table {
            format!("{share:.4}")
        } else {
            share.to_string()
        };
        vec![name, share]
    };
    let rows: Vec<Vec<String>> = shares.into_iter().map(row).collect();
    let header = ["parameter", "importance"];
    if table {
        output::print_table(&header, &rows)?;
    } else {
        output::print_csv(&header, &rows)?;
    }
    Ok(Ending::Done)
}
