//! `automl studies`, `trials`, `best`, `show`: reading what a store holds.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use anyhow::bail;
use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::{Ending, Format, StoreArg, output};
use crate::study::Study;
use crate::study::engine::DRAWN_BY;
use crate::study::record::{StudyRecord, TrialRecord, TrialState};
use crate::tune::params::object;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl studies
  automl studies --format json")]
pub(crate) struct StudiesArgs {
    #[command(flatten)]
    store: StoreArg,
    /// How to print.
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl trials churn
  automl trials churn --format csv > trials.csv
  automl trials churn --format json")]
pub(crate) struct TrialsArgs {
    /// The study's name.
    study: String,
    #[command(flatten)]
    store: StoreArg,
    /// How to print.
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  automl best churn")]
pub(crate) struct BestArgs {
    /// The study's name.
    study: String,
    #[command(flatten)]
    store: StoreArg,
    /// How to print.
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  automl show churn 31")]
pub(crate) struct ShowArgs {
    /// The study's name.
    study: String,
    /// The trial's number, from 0.
    number: u64,
    #[command(flatten)]
    store: StoreArg,
    /// How to print.
    #[arg(long, default_value = "table")]
    format: Format,
}

pub(crate) fn studies(args: StudiesArgs) -> anyhow::Result<Ending> {
    let store = args.store.open_existing()?;
    let storage = store.storage();
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for study in storage.load_studies()? {
        let trials = storage.load_trials(&study.name)?;
        let count = |state| trials.iter().filter(|t| t.state == state).count();
        let best = best_of(&study, &trials);
        let dataset = study
            .user_attrs
            .get("dataset")
            .and_then(Json::as_str)
            .unwrap_or("-");
        let metric = study
            .user_attrs
            .get("metric")
            .and_then(Json::as_str)
            .unwrap_or("-");
        rows.push(vec![
            study.name.clone(),
            trials.len().to_string(),
            count(TrialState::Complete).to_string(),
            count(TrialState::Fail).to_string(),
            metric.to_owned(),
            best.map_or("-".to_owned(), |b| output::score(b.values[0])),
            best.map_or("-".to_owned(), |b| b.number.to_string()),
            dataset.to_owned(),
        ]);
        documents.push(json!({
            "study": study.name,
            "directions": study.directions,
            "trials": counts(&trials),
            "best": best.map(|b| json!({"number": b.number, "value": b.values[0]})),
            "user_attrs": study.user_attrs,
            "system_attrs": study.system_attrs,
        }));
    }
    let header = [
        "study", "trials", "complete", "failed", "metric", "best", "number", "dataset",
    ];
    match args.format {
        Format::Table => output::print_table(&header, &rows)?,
        Format::Csv => output::print_csv(&header, &rows)?,
        Format::Json => output::print_json(&Json::Array(documents))?,
    }
    Ok(Ending::Done)
}

pub(crate) fn trials(args: TrialsArgs) -> anyhow::Result<Ending> {
    let (study, trials) = load(&args.store, &args.study)?;
    let stale = stale(&args.store, &args.study)?;
    if args.format == Format::Json {
        return print_documents(&trials, &stale);
    }
    let mut names: Vec<&str> = Vec::new();
    for trial in &trials {
        for (name, _) in trial.params.iter() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let table = args.format == Format::Table;
    let constrained = trials.iter().any(|t| !t.constraints().is_empty());
    let cells = |trial: &TrialRecord| {
        let seconds = trial
            .finished
            .zip(trial.started)
            .map(|(f, s)| f.seconds_since(s));
        let mut row = vec![
            trial.number.to_string(),
            shown_state(trial, &stale).to_owned(),
        ];
        for at in 0..study.directions.len() {
            row.push(match trial.values.get(at) {
                Some(v) if table => output::score(*v),
                Some(v) => v.to_string(),
                None => "-".to_owned(),
            });
        }
        if constrained {
            let finished = matches!(trial.state, TrialState::Complete | TrialState::Pruned);
            let feasible = if trial.is_feasible() { "yes" } else { "no" };
            row.push(if finished { feasible } else { "-" }.to_owned());
        }
        row.push(seconds.map_or("-".to_owned(), |s| format!("{s:.2}")));
        for name in &names {
            let value = trial.params.assignment(name).map(|a| a.value());
            row.push(match value {
                Some(crate::study::Value::Float(v)) if table => output::score(v),
                Some(v) => v.to_string(),
                None => {
                    if table {
                        "-".to_owned()
                    } else {
                        String::new()
                    }
                }
            });
        }
        row
    };
    let values = value_names(study.directions.len());
    let mut header = vec!["number", "state"];
    header.extend(values.iter().map(String::as_str));
    header.extend(constrained.then_some("feasible"));
    header.push("seconds");
    header.extend(&names);
    let rows: Vec<Vec<String>> = trials.iter().map(cells).collect();
    if table {
        output::print_table(&header, &rows)?;
    } else {
        output::print_csv(&header, &rows)?;
    }
    Ok(Ending::Done)
}

pub(crate) fn best(args: BestArgs) -> anyhow::Result<Ending> {
    let (study, trials) = load(&args.store, &args.study)?;
    match best_of(&study, &trials) {
        Some(best) => print_one(best, args.format),
        None if study.directions.len() > 1 => bail!(
            "study `{}` has several directions and no single best trial; `automl trials {}` lists all",
            args.study,
            args.study
        ),
        None if trials.iter().any(|t| t.state == TrialState::Complete) => bail!(
            "no complete trial of study `{}` holds its constraints yet",
            args.study
        ),
        None => bail!("study `{}` has no complete trial yet", args.study),
    }
}

pub(crate) fn show(args: ShowArgs) -> anyhow::Result<Ending> {
    let (_, trials) = load(&args.store, &args.study)?;
    match trials.get(args.number as usize) {
        Some(trial) => {
            let stale = stale(&args.store, &args.study)?;
            print_with(trial, shown_state(trial, &stale), args.format)
        }
        None if trials.is_empty() => bail!("study `{}` has no trials yet", args.study),
        None => bail!(
            "study `{}` has no trial {}; its trials are 0 to {}",
            args.study,
            args.number,
            trials.len() - 1
        ),
    }
}

pub(super) fn load(
    store: &StoreArg,
    name: &str,
) -> anyhow::Result<(StudyRecord, Vec<TrialRecord>)> {
    let store = store.open_existing()?;
    let storage = store.storage();
    let Some(study) = storage.load_study(name)? else {
        let names: Vec<String> = storage
            .load_studies()?
            .into_iter()
            .map(|s| format!("`{}`", s.name))
            .collect();
        let known = if names.is_empty() {
            "none yet".to_owned()
        } else {
            names.join(", ")
        };
        bail!(
            "there is no study `{name}` in `{}`; there are: {known}",
            store.place()
        );
    };
    let trials = storage.load_trials(name)?;
    Ok((study, trials))
}

/// The trials that run and whose process was silent for longer than their lease: STALE, until another takes them over.
fn stale(store: &StoreArg, name: &str) -> anyhow::Result<BTreeSet<u64>> {
    let leases = store.open_existing()?.storage().leases(name)?;
    let lapsed = leases.iter().filter(|held| held.has_lapsed());
    Ok(lapsed.map(|held| held.number).collect())
}

fn shown_state(trial: &TrialRecord, stale: &BTreeSet<u64>) -> &'static str {
    match trial.state {
        TrialState::Running if stale.contains(&trial.number) => "STALE",
        other => state(other),
    }
}

fn best_of<'a>(study: &StudyRecord, trials: &'a [TrialRecord]) -> Option<&'a TrialRecord> {
    let [direction] = study.directions[..] else {
        return None;
    };
    let mut best: Option<&TrialRecord> = None;
    for trial in trials {
        if let Some(value) = trial.value()
            && trial.is_feasible()
            && best.is_none_or(|b| direction.better(value, b.values[0]))
        {
            best = Some(trial);
        }
    }
    best
}

/// What the columns of values are called, for several directions as in Optuna's tables.
pub(super) fn value_names(directions: usize) -> Vec<String> {
    match directions {
        1 => vec!["value".to_owned()],
        n => (0..n).map(|at| format!("values_{at}")).collect(),
    }
}

pub(super) fn state(state: TrialState) -> &'static str {
    match state {
        TrialState::Waiting => "WAITING",
        TrialState::Running => "RUNNING",
        TrialState::Complete => "COMPLETE",
        TrialState::Pruned => "PRUNED",
        TrialState::Fail => "FAIL",
    }
}

/// How many trials there are in each state.
pub(super) fn counts(trials: &[TrialRecord]) -> Json {
    let count = |state| trials.iter().filter(|t| t.state == state).count();
    json!({
        "complete": count(TrialState::Complete),
        "pruned": count(TrialState::Pruned),
        "failed": count(TrialState::Fail),
        "running": count(TrialState::Running),
        "waiting": count(TrialState::Waiting),
    })
}

/// Parameters as a JSON object, in the order in which they were drawn.
pub(super) fn params(trial: &TrialRecord) -> Json {
    object(&trial.params)
}

/// JSON has no infinity: it becomes text, as in Optuna.
pub(super) fn number(value: f64) -> Json {
    if value.is_finite() {
        json!(value)
    } else {
        json!(value.to_string())
    }
}

/// How the trials of a study were drawn, in one line, when its sampler chose among ways.
pub(super) fn drawn_by(study: &Study) -> Option<String> {
    let mut ways: Vec<(&str, usize)> = Vec::new();
    for trial in study.trials() {
        let Some(how) = trial.system_attrs.get(DRAWN_BY).and_then(Json::as_str) else {
            continue;
        };
        // The reason is with the trial.
        let way = how.split(':').next().unwrap_or(how);
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, count)) => *count += 1,
            None => ways.push((way, 1)),
        }
    }
    let said: Vec<String> = ways.iter().map(|(way, n)| format!("{way} ({n})")).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

pub(super) fn document(trial: &TrialRecord) -> Json {
    let steps = trial
        .intermediate
        .iter()
        .map(|(s, v)| (s.to_string(), number(*v)));
    json!({
        "number": trial.number,
        "state": state(trial.state),
        "value": trial.values.first().map(|v| number(*v)),
        "values": trial.values.iter().map(|v| number(*v)).collect::<Vec<_>>(),
        "params": params(trial),
        "intermediate_values": Json::Object(steps.collect()),
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "datetime_start": trial.started.map(|t| t.to_sql()),
        "datetime_complete": trial.finished.map(|t| t.to_sql()),
    })
}

/// One array, a trial per line, written as it goes.
fn print_documents(trials: &[TrialRecord], stale: &BTreeSet<u64>) -> anyhow::Result<Ending> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (i, trial) in trials.iter().enumerate() {
        out.write_all(if i == 0 { b"[" } else { b",\n" })?;
        let mut document = document(trial);
        document["state"] = shown_state(trial, stale).into();
        serde_json::to_writer(&mut out, &document)?;
    }
    out.write_all(if trials.is_empty() { b"[]\n" } else { b"]\n" })?;
    out.flush()?;
    Ok(Ending::Done)
}

pub(super) fn print_one(trial: &TrialRecord, format: Format) -> anyhow::Result<Ending> {
    print_with(trial, state(trial.state), format)
}

fn print_with(trial: &TrialRecord, state: &str, format: Format) -> anyhow::Result<Ending> {
    if format == Format::Json {
        let mut document = document(trial);
        document["state"] = state.into();
        output::print_json(&document)?;
        return Ok(Ending::Done);
    }
    let mut rows = vec![
        vec!["number".to_owned(), trial.number.to_string()],
        vec!["state".to_owned(), state.to_owned()],
    ];
    let values: Vec<String> = trial.values.iter().map(f64::to_string).collect();
    let mut push = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    push(
        "value",
        if values.is_empty() {
            "-".to_owned()
        } else {
            values.join(", ")
        },
    );
    let constraints = trial.constraints();
    if !constraints.is_empty() {
        let held = if trial.is_feasible() {
            "hold"
        } else {
            "broken"
        };
        let listed: Vec<String> = constraints.iter().map(f64::to_string).collect();
        push("constraints", format!("{} ({held})", listed.join(", ")));
    }
    for (name, value) in trial.params.iter() {
        push(name, value.to_string());
    }
    for (name, value) in &trial.user_attrs {
        push(name, plain(value));
    }
    if let Some(why) = trial.system_attrs.get(crate::study::engine::FAIL_REASON) {
        push("failed because", plain(why));
    }
    let time =
        |t: Option<crate::clock::Timestamp>| t.map_or("-".to_owned(), |t| t.to_sql() + " UTC");
    push("started", time(trial.started));
    push("finished", time(trial.finished));
    match format {
        Format::Csv => output::print_csv(&["name", "value"], &rows)?,
        _ => output::print_table(&["", ""], &rows)?,
    }
    Ok(Ending::Done)
}

fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
