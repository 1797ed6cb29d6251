//! `automl explain`: what predictions and models rest on, as a table, as JSON, or as a page with pictures.

mod json;
mod page;
mod rows;
mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::cli::{Ending, StoreArg};
use crate::data::table::Task;
use crate::fsio;
use crate::learn::explain::{self, Dependence, Effect, Importance, Shap, Truth};
use crate::learn::metric::{self, MetricEntry};
use crate::learn::pipeline::Pipeline;
use crate::seed::Seed;

use rows::{Choice, Rows};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl explain --model churn@production --input new.csv
  automl explain --model churn@production --input new.csv --row 17
  automl explain --model model.json --input train.csv --format html --output churn.html
  automl explain --model model.json --input test.csv --method permutation --metric roc_auc
  automl explain --model model.json --input train.csv --method partial --column tenure")]
pub(crate) struct ExplainArgs {
    /// A registered version, `NAME@STAGE` or `NAME:NUMBER`, or a model file.
    #[arg(long)]
    model: String,
    /// The rows, a CSV file with a header; `-` is stdin.
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// What to ask: the SHAP values of rows, how the score rests on columns, what training used, how a column acts.
    #[arg(long, value_enum, default_value_t = Method::Shap)]
    method: Method,
    /// Explain one row too, counted from 1 without the header.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    row: Option<u64>,
    /// Read at most this many rows, drawn at random; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    rows: usize,
    /// Columns whose partial dependence is shown; the six that matter most when none is given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    column: Vec<String>,
    /// The class to explain, when there are three or more; the first when none is given.
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// What permutation importance measures: a metric of `automl list metrics`; roc_auc or rmse by task.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// How often permutation importance shuffles each column.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeats: u64,
    /// Random rows and shuffles come from it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t = Shown::Table)]
    format: Shown,
    /// Where it goes; `-` is stdout.
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    output: PathBuf,
    /// What separates the cells of the input.
    #[arg(long, default_value = ",")]
    delimiter: char,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Shap,
    Permutation,
    Gain,
    Partial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    Table,
    Json,
    Html,
}

/// Points of a partial dependence.
const GRID: usize = 30;
/// Rows that keep their own curves in it.
const CURVES: usize = 40;
/// Rows that a partial dependence is averaged over.
const DEPENDENCE_ROWS: usize = 1000;
/// Columns that get a picture of their own.
const PANELS: usize = 6;

/// What a command works on.
struct Desk<'a> {
    pipeline: &'a Pipeline,
    model: &'a str,
    input: String,
    rows: Rows,
    /// The output that is explained where one must be chosen.
    output: usize,
    /// The row that was asked for: its place among the rows.
    asked: Option<usize>,
}

/// What was found out.
enum Found<'a> {
    Shap {
        shap: Shap,
        effects: Vec<Effect>,
        gain: Option<Vec<f64>>,
        predictions: Vec<f64>,
        /// Of the columns that matter most; for pages only.
        dependence: Vec<Dependence>,
    },
    Permutation {
        importance: Importance,
        metric: &'a MetricEntry,
    },
    Gain(Vec<f64>),
    Partial(Vec<Dependence>),
}

pub(crate) fn run(args: ExplainArgs) -> anyhow::Result<Ending> {
    let pipeline = super::predict::load(&args.model, &args.store)?;
    let output = output_of(&pipeline, args.class.as_deref())?;
    for column in &args.column {
        if pipeline.transform.schema.position(column).is_none() {
            // The error of the method lists the columns; the work before it can be long.
            explain::dependence(&pipeline, &[], column, GRID, 0).context("--column")?;
        }
    }
    if args.row.is_some() && args.method != Method::Shap {
        bail!("--row goes with --method shap, which explains single rows");
    }
    let metric = metric_of(&pipeline, args.metric.as_deref())?;
    let seed = Seed::root(args.seed);
    let choice = Choice {
        most: args.rows,
        row: args.row,
        with_truth: args.method == Method::Permutation,
        seed,
    };
    let rows = rows::read(&pipeline, &args.input, args.delimiter, &choice)?;
    let kept = rows.numbers.len();
    if (kept as u64) < rows.all {
        eprintln!(
            "note: {kept} of {} rows, drawn at random; `--rows 0` reads all",
            rows.all
        );
    }
    let asked = args
        .row
        .and_then(|row| rows.numbers.binary_search(&row).ok());
    let desk = Desk {
        pipeline: &pipeline,
        model: &args.model,
        input: args.input.display().to_string(),
        rows,
        output,
        asked,
    };
    let found = find(&args, &desk, metric, seed)?;
    let document = match args.format {
        Shown::Table => text::write(&desk, &found)?,
        Shown::Json => serde_json::to_vec(&json::value(&desk, &found))?,
        Shown::Html => page::write(&desk, &found).into_bytes(),
    };
    let newline: &[u8] = if args.format == Shown::Json {
        b"\n"
    } else {
        b""
    };
    if args.output == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(&document)?;
        out.write_all(newline)?;
        out.flush()?;
    } else {
        fsio::replace(&args.output, |out| {
            out.write_all(&document)?;
            out.write_all(newline)
        })?;
        eprintln!("{} → {}", name(args.method), args.output.display());
    }
    Ok(Ending::Done)
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Shap => "SHAP values",
        Method::Permutation => "permutation importance",
        Method::Gain => "gain",
        Method::Partial => "partial dependence",
    }
}

fn find<'a>(
    args: &ExplainArgs,
    desk: &Desk<'_>,
    metric: &'a MetricEntry,
    seed: Seed,
) -> anyhow::Result<Found<'a>> {
    let Desk { pipeline, rows, .. } = desk;
    Ok(match args.method {
        Method::Shap => {
            let shap = explain::shap(pipeline, &rows.values)?;
            let effects = explain::effects(pipeline, &rows.values, &shap, desk.output);
            let dependence = if args.format == Shown::Html {
                let columns = columns(args, desk, effects.iter().map(|e| e.column).collect());
                dependence(desk, &columns)?
            } else {
                Vec::new()
            };
            Found::Shap {
                shap,
                effects,
                gain: explain::gain(pipeline).ok(),
                predictions: explain::predict(pipeline, &rows.values),
                dependence,
            }
        }
        Method::Permutation => {
            let truth = Truth {
                values: &rows.truth,
                metric,
            };
            let repeats = args.repeats as usize;
            let importance = explain::permutation(pipeline, &rows.values, truth, repeats, seed)
                .with_context(|| desk.input.clone())?;
            Found::Permutation { importance, metric }
        }
        Method::Gain => Found::Gain(explain::gain(pipeline)?),
        Method::Partial => {
            let gains = explain::gain(pipeline).unwrap_or_default();
            let used = explain::column_of_features(&pipeline.transform);
            let mut order: Vec<usize> = (0..pipeline.transform.schema.fields.len())
                .filter(|c| used.contains(c))
                .collect();
            let gain = |c: &usize| gains.get(*c).copied().unwrap_or(0.0);
            order.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
            Found::Partial(dependence(desk, &columns(args, desk, order))?)
        }
    })
}

/// The columns that were asked for, or the first of an order.
fn columns(args: &ExplainArgs, desk: &Desk<'_>, order: Vec<usize>) -> Vec<String> {
    if !args.column.is_empty() {
        return args.column.clone();
    }
    let fields = &desk.pipeline.transform.schema.fields;
    // A column without a value has no dependence to show.
    let width = fields.len();
    let known = |c: &usize| {
        desk.rows
            .values
            .iter()
            .skip(*c)
            .step_by(width)
            .any(|v| !v.is_nan())
    };
    let first = order.into_iter().filter(known).take(PANELS);
    first.map(|c| fields[c].name.clone()).collect()
}

fn dependence(desk: &Desk<'_>, columns: &[String]) -> anyhow::Result<Vec<Dependence>> {
    let width = desk.pipeline.transform.schema.fields.len();
    let count = desk.rows.numbers.len();
    // Means over a thousand rows are as good as over all, to the eye and to three digits.
    let used = count.min(DEPENDENCE_ROWS);
    let rows: Vec<f64> = (0..used)
        .flat_map(|i| {
            let row = i * count / used;
            &desk.rows.values[row * width..(row + 1) * width]
        })
        .copied()
        .collect();
    let one = |column: &String| {
        explain::dependence(desk.pipeline, &rows, column, GRID, CURVES)
            .with_context(|| format!("--column {column}"))
    };
    columns.iter().map(one).collect()
}

fn output_of(pipeline: &Pipeline, class: Option<&str>) -> anyhow::Result<usize> {
    let Some(class) = class else { return Ok(0) };
    let card = &pipeline.card;
    match card.classes.iter().position(|c| c == class) {
        Some(place) if card.task == Task::Multiclass => Ok(place),
        // Of two classes the positive one is explained.
        Some(1) => Ok(0),
        Some(_) => bail!(
            "--class: of two classes the positive one is explained, `{}`; turn the signs round for `{class}`",
            card.classes[1]
        ),
        None if card.classes.is_empty() => {
            bail!(
                "--class: the model predicts a number, `{}`; leave the option out",
                card.target
            )
        }
        None => bail!(
            "--class: `{class}` is none of the model's classes, {}",
            card.classes.join(", ")
        ),
    }
}

fn metric_of(pipeline: &Pipeline, name: Option<&str>) -> anyhow::Result<&'static MetricEntry> {
    let task = pipeline.card.task;
    let name = name.unwrap_or(match task {
        Task::Regression => "rmse",
        _ => "roc_auc",
    });
    metric::find_for(name, task).context("--metric")
}
