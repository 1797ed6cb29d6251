//! `automl ask` and `automl tell`: a study driven by scripts, one process per step.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::optimize::{Problem, Settings};
use super::trials::{document, load, print_one, state};
use crate::cli::mlflow;
use crate::cli::{Ending, Format, StoreArg, output};
use crate::clock::{Clock as _, SystemClock};
use crate::fsio::{Lock, host};
use crate::study::engine::Share;
use crate::study::{Stop, Study, StudyError, TrialState};
use crate::tracking::Store;
use crate::tune::params::object as as_object;
use crate::tune::program::objective_seed;

/// Other asks and tells take milliseconds; a study that `optimize` runs is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl ask space.yaml --name lab --seed 1 --format json
  automl tell lab 0 --value 0.83
  automl ask space.yaml --name lab --seed 1 --concurrency 4     up to four trials in flight
  automl ask space.yaml --name lab --seed 1 --lease 600         given to another `ask` if it is silent for ten minutes

A trial that was asked for and is never told keeps later ones from beginning, one as soon as --concurrency trials are
in flight. If its result is lost, say so: automl tell lab 3 --fail lost")]
pub(crate) struct AskArgs {
    /// The space file: direction and parameters.
    space: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// The trial is given to another `ask` when it was not told, nor kept with `tell --alive`, for this many seconds;
    /// without it only `tell` ends it.
    #[arg(long, value_name = "SECONDS")]
    lease: Option<f64>,
    /// How the trial is printed.
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("outcome").required(true)),
    after_help = "Examples:
  automl tell lab 7 --value 0.83
  automl tell lab 7 --values 0.83,12
  automl tell lab 7 --value 0.83 --constraints=-0.5,0.2
  automl tell lab 7 --fail 'out of memory'
  automl tell lab 7 --alive --token 1           it still runs: its lease begins anew
  automl tell lab 7 --value 0.83 --token 1      only if nobody else was given the trial since"
)]
pub(crate) struct TellArgs {
    /// The study's name.
    study: String,
    /// The trial's number, as `automl ask` printed it.
    number: u64,
    #[command(flatten)]
    store: StoreArg,
    /// The trial's value; `nan` is a failed trial.
    #[arg(long, group = "outcome", allow_negative_numbers = true)]
    value: Option<f64>,
    /// Its values, one per direction.
    #[arg(
        long,
        group = "outcome",
        value_delimiter = ',',
        num_args = 1..,
        allow_negative_numbers = true
    )]
    values: Vec<f64>,
    /// The values of its constraints, each at most 0 where it holds.
    #[arg(
        long,
        conflicts_with = "fail",
        value_delimiter = ',',
        num_args = 1..,
        allow_negative_numbers = true
    )]
    constraints: Option<Vec<f64>>,
    /// There is no value, and why.
    #[arg(long, group = "outcome", value_name = "WHY")]
    fail: Option<String>,
    /// It is still running: renews its lease.
    #[arg(long, group = "outcome")]
    alive: bool,
    /// The token that `ask --lease` printed; a result under an earlier one than the trial's latest is refused.
    #[arg(long)]
    token: Option<u64>,
    /// How the trial is printed.
    #[arg(long, default_value = "table")]
    format: Format,
}

pub(crate) fn ask(args: AskArgs) -> anyhow::Result<Ending> {
    let problem = Problem::read(&args.space, &args.settings)?;
    let shown = args.space.display().to_string();
    let target = mlflow::target(&problem.file.tracking, &problem.name, &shown)?;
    let store = args.settings.store.open()?;
    let _lock = lock(&store, &problem.name)?;
    let nonce = SystemClock.now().0;
    let share = Share {
        // Only time tells that a script has ended, not that this process has.
        lease: lease(args.lease)?,
        ..Share::new(format!("ask:{}/{}/{nonce:x}", host(), std::process::id()))
    };
    let mut study = problem.open(&store, share, "ask", &args.space)?;
    mlflow::note(&store, &problem.name, target.as_ref())?;
    let trial = study.ask().map_err(|error| match error {
        StudyError::Window {
            number,
            oldest,
            concurrency,
        } => anyhow::anyhow!(
            "trial {number} cannot begin before trial {oldest} is told, because {concurrency} may be in flight at once\n\
             hint: `automl tell {name} {oldest} --value V`, or if its result is lost, `automl tell {name} {oldest} --fail lost`",
            name = problem.name
        ),
        other => other.into(),
    })?;
    let (number, seed) = (trial.number(), objective_seed(&trial));
    match args.format {
        Format::Json => {
            let params = as_object(trial.params());
            let mut document = json!({"number": number, "params": params, "seed": seed});
            if let (Some(seconds), Some(lease)) = (args.lease, study.lease(number)) {
                document["lease"] = json!({"token": lease.token, "seconds": seconds});
            }
            output::print_json(&document)?;
        }
        format => {
            let mut rows = vec![vec!["number".to_owned(), number.to_string()]];
            let params = trial.params().iter();
            rows.extend(params.map(|(name, value)| vec![name.to_owned(), value.to_string()]));
            if let (Some(_), Some(lease)) = (args.lease, study.lease(number)) {
                rows.push(vec!["token".to_owned(), lease.token.to_string()]);
            }
            match format {
                Format::Csv => output::print_csv(&["name", "value"], &rows)?,
                _ => output::print_table(&["", ""], &rows)?,
            }
        }
    }
    Ok(Ending::Done)
}

fn lease(seconds: Option<f64>) -> anyhow::Result<Duration> {
    match seconds.map(Duration::try_from_secs_f64) {
        None => Ok(Duration::MAX),
        Some(Ok(lease)) if !lease.is_zero() => Ok(lease),
        _ => bail!("--lease: must be a number of seconds above 0"),
    }
}

/// Renews the lease of a trial that still runs.
fn keep(args: &TellArgs) -> anyhow::Result<Ending> {
    let storage = args.store.open_existing()?.storage();
    let leases = storage.leases(&args.study)?;
    let held = leases.iter().find(|held| held.number == args.number);
    let held = held.filter(|held| args.token.is_none_or(|token| token == held.lease.token));
    let renewed = match held {
        Some(held) => storage.renew(&args.study, &[(args.number, held.lease.clone())])?,
        None => vec![args.number],
    };
    if !renewed.is_empty() {
        bail!(
            "trial {} of study `{}` is not held under this lease any more: it was told, or given to another `ask`",
            args.number,
            args.study
        );
    }
    Ok(Ending::Done)
}

pub(crate) fn tell(args: TellArgs) -> anyhow::Result<Ending> {
    let (record, _) = load(&args.store, &args.study)?;
    if args.alive {
        return keep(&args);
    }
    let outcome = match (args.fail, args.value) {
        (Some(why), _) => Err(Stop::Failed(why)),
        (None, Some(value)) => Ok(vec![value]),
        (None, None) => Ok(args.values),
    };
    if let Ok(values) = &outcome
        && values.len() != record.directions.len()
    {
        bail!(
            "study `{}` has {} directions, and {} values were told; write one per direction, as in `--values 0.83,12`",
            args.study,
            record.directions.len(),
            values.len()
        );
    }
    let store = args.store.open_existing()?;
    let _lock = lock(&store, &args.study)?;
    let storage = store.storage();
    let told = Study::tell_stored(
        &*storage,
        &SystemClock,
        &args.study,
        args.number,
        args.token,
        outcome,
        args.constraints,
    );
    let told = told.map_err(|error| match error {
        StudyError::NotAsked { number } => anyhow::anyhow!(
            "trial {number} of study `{}` is not in flight; `automl trials {}` lists the trials",
            args.study,
            args.study
        ),
        other => other.into(),
    })?;
    match args.format {
        Format::Table if told.state == TrialState::Complete => {}
        Format::Table => eprintln!("trial {} is recorded as {}", told.number, state(told.state)),
        Format::Json => output::print_json(&document(&told))?,
        Format::Csv => return print_one(&told, Format::Csv),
    }
    Ok(Ending::Done)
}

/// The lock of the study, which other asks and tells hold for a moment only.
fn lock(store: &Store, study: &str) -> anyhow::Result<Lock> {
    match store.wait_for_lock("study", study, PATIENCE)? {
        Some(lock) => Ok(lock),
        None => bail!(
            "study `{study}` is being run by another process; `ask` and `tell` are for studies that nobody runs"
        ),
    }
}
