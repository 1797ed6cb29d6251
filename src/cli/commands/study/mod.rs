//! `automl study`: from an experiment file to a registered model.

mod report;
mod version;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json, json};

use super::earlier::{Earlier, own};
use super::invitation::{Invitation, LeaseArg, Objective, data_file};
use crate::cli::mlflow;
use crate::cli::output::{self};
use crate::cli::progress::Bar;
use crate::cli::{Ending, StoreArg};
use crate::data::table::{Kind, Task};
use crate::fsio;
use crate::fsio::host;
use crate::study::engine::Share;
use crate::study::{Budget, Ended, Stop, Study, StudyBuilder, StudyError, Trial, TrialRecord};
use crate::tracking::mlflow::run::RunStatus;
use crate::tracking::{Predictions, Store, TrackingError};
use crate::tune::adopt::{Differs, difference, origin};
use crate::tune::experiment::Experiment;
use crate::tune::job::Job;

use report::{Report, header};
use version::{check_gate, gate, register};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl study configs/churn.yaml
  automl study configs/churn.yaml --trials 200          continue the same study to 200 trials
  automl study configs/churn.yaml --threads 1           the same trials and model, more slowly
  automl study wider.yaml --from churn --without 3,17   begin with its trials, but for two
  AUTOML_MLFLOW_URI=http://localhost:5000 automl study configs/churn.yaml    followed in MLflow
  automl study configs/ensemble.yaml                    the final model from many trials, calibrated
  automl study configs/csv.yaml --data my.csv --name my-study --format json")]
pub(crate) struct StudyArgs {
    /// The experiment file.
    experiment: PathBuf,
    #[command(flatten)]
    store: StoreArg,
    /// Read this file in place of the one that the experiment names.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// How many trials the study has in the end, those of earlier runs included.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    trials: Option<u64>,
    /// No trial begins after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// The seed, in place of the experiment's.
    #[arg(long)]
    seed: Option<u64>,
    /// The study's name, in place of the experiment's.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    earlier: Earlier,
    /// Threads to use; all processors when not given. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Continue a study that must exist. Without it, a study that exists is continued and another one begun.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    lease: LeaseArg,
    /// Print results only.
    #[arg(long, short)]
    quiet: bool,
    /// How results are printed.
    #[arg(long, default_value = "text")]
    format: ResultFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ResultFormat {
    Text,
    Json,
}

/// The study attribute that holds what must not change when a study is continued.
pub(super) const FINGERPRINT: &str = "automl:experiment";

pub(crate) fn run(args: StudyArgs) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let file = args.experiment.display().to_string();
    let (experiment, text) = read(&args, &file)?;
    let gate = gate(&experiment, &file)?;
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
        pool.build_global().context("cannot start the threads")?;
    }
    let data_dir = std::env::var_os(crate::data::telco::FOLDER_VARIABLE).map(PathBuf::from);
    let job = Job::prepare(experiment, &file, args.data.as_deref(), data_dir.as_deref())?;
    check_gate(&gate, job.dataset.target.task, &file)?;
    let target = mlflow::target(&job.experiment.tracking, &job.experiment.name, &file)?;

    let name = job.experiment.name.clone();
    let store = if args.resume {
        // What is not there is not made by asking for it.
        let store = args.store.open_existing()?;
        if store.storage().load_study(&name)?.is_none() {
            bail!(
                "there is no study `{name}` to resume in `{}`; leave out `--resume` to begin it",
                store.place()
            );
        }
        store
    } else {
        args.store.open()?
    };
    let _lock = store.lock_study(&name)?;
    let member = store.join()?;
    let mut study = open(&job, &store, &args, args.lease.leading(&member, &store)?)?;
    if !args.quiet {
        for line in header(&job) {
            eprintln!("{line}");
        }
    }
    for point in job.experiment.search.enqueue.iter().skip(own(&study)) {
        study.enqueue(point.iter().map(|(k, v)| (k.clone(), v.clone())))?;
    }
    let objective = Objective::Experiment {
        file: file.clone(),
        text,
        name: name.clone(),
        seed: job.experiment.seed,
        data: data_file(
            args.data.as_deref(),
            job.experiment.data.path.as_deref(),
            data_dir.as_deref(),
        ),
    };
    Invitation::new(job.experiment.search.trials, objective).offer(&mut study)?;

    let search = &job.experiment.search;
    let bar = Bar::new(search.trials, study.progress().finished(), args.quiet);
    let drawn = bar.handle();
    study.observe(bar);
    let sending = mlflow::Sending::begin(&store, &mut study, target.as_ref(), args.quiet);
    let stop = study.stop_handle();
    let (message, hint) = (
        drawn.clone(),
        format!("to continue: automl study {file} --resume"),
    );
    // A handler can be set once per process, which is what a command is.
    let _ = ctrlc::set_handler(move || {
        if stop.is_stopped() {
            std::process::exit(130);
        }
        stop.stop();
        message.suspend(|| {
            eprintln!("finishing the trials that run; press Ctrl-C again to stop at once ({hint})");
        });
    });
    let mut budget = Budget::trials(search.trials);
    if let Some(limit) = job.experiment.timeout() {
        budget = budget.time(limit);
    }
    let predictions = store.predictions(&name);
    let unkept = Mutex::new(None);
    let ended = study.optimize(budget, |trial| evaluate(&job, trial, &predictions, &unkept));
    drawn.finish_and_clear();
    let ended = ended?;
    if let Ended::Stopper { name: stopper, why } = &ended
        && !args.quiet
    {
        let done = study.progress().finished();
        eprintln!("ended by `{stopper}` after {done} trials: {why}");
    }
    if ended == Ended::Exhausted {
        let done = study.progress().finished();
        eprintln!(
            "ended after {done} of {} trials: every point of the search space was tried",
            search.trials
        );
    }
    if ended == Ended::Stopped {
        let done = study.progress().finished();
        eprintln!(
            "stopped after {done} of {} trials; to continue: automl study {file} --resume",
            search.trials
        );
        sending.end(RunStatus::Killed);
        return Ok(Ending::Interrupted);
    }

    let Some(best) = study.best() else {
        let why = study
            .trials()
            .iter()
            .find_map(|t| t.system_attrs.get(crate::study::engine::FAIL_REASON));
        let why = why.and_then(Json::as_str).unwrap_or("no trial was run");
        bail!("study `{name}` has no complete trial; the first failure: {why}");
    };
    if let Ok(Some(error)) = unkept.into_inner() {
        eprintln!(
            "note: out-of-fold predictions were not kept ({error}); an ensemble will make them again"
        );
    }
    let outcome = job.finish(study.trials(), &best, &|trial| {
        predictions.read(trial.number, &job.key(origin(trial), &trial.params))
    })?;
    let version = register(&job, &store, &best, &outcome, &gate)?;
    let result = Report {
        job: &job,
        study: &study,
        best: &best,
        outcome: &outcome,
        version: &version,
    };
    match args.format {
        ResultFormat::Json => output::print_json(&result.json(began.elapsed()))?,
        ResultFormat::Text => result.print(&store),
    }
    sending.end(RunStatus::Finished);
    Ok(Ending::Done)
}

/// Cross-validates a trial and keeps its out-of-fold predictions.
pub(super) fn evaluate(
    job: &Job,
    trial: &mut Trial,
    predictions: &Predictions,
    unkept: &Mutex<Option<TrackingError>>,
) -> Result<f64, Stop> {
    let (score, folds) = job.evaluate(trial)?;
    let number = trial.number();
    let key = job.key(number, trial.params());
    // A trial is worth its score, kept or not: what was not kept is made again when it is needed.
    if let Err(error) = predictions.write(number, &key, &folds)
        && let Ok(mut first) = unkept.lock()
    {
        first.get_or_insert(error);
    }
    Ok(score)
}

/// What was typed over what was written.
fn read(args: &StudyArgs, file: &str) -> anyhow::Result<(Experiment, String)> {
    let bytes = fsio::read(&args.experiment)?;
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{file}: this is not UTF-8 text")
    };
    let mut experiment = Experiment::parse(&text, file)?;
    if let Some(trials) = args.trials {
        experiment.search.trials = trials;
    }
    if let Some(seconds) = args.timeout {
        if !(seconds.is_finite() && seconds > 0.0) {
            bail!("--timeout: must be a number of seconds above 0, not {seconds}");
        }
        experiment.search.timeout = Some(seconds);
    }
    if let Some(seed) = args.seed {
        experiment.seed = seed;
    }
    if let Some(name) = &args.name {
        experiment.name.clone_from(name);
    }
    Ok((experiment, text))
}

/// The study of an experiment, described and not yet opened.
pub(super) fn builder(job: &Job, store: &Store) -> anyhow::Result<StudyBuilder> {
    let experiment = &job.experiment;
    let mut builder = Study::builder(&experiment.name);
    for stopper in experiment.stoppers().map_err(anyhow::Error::msg)? {
        builder = builder.stopper(stopper);
    }
    if let Some(seconds) = experiment.search.trial_timeout {
        builder = builder.trial_timeout(Duration::from_secs_f64(seconds));
    }
    Ok(builder
        .direction(job.direction())
        .sampler(experiment.sampler().map_err(anyhow::Error::msg)?)
        .pruner(experiment.pruner().map_err(anyhow::Error::msg)?)
        .seed(experiment.seed)
        .concurrency(experiment.search.concurrency)
        .storage(store.storage())
        .space(job.space()))
}

fn open(job: &Job, store: &Store, args: &StudyArgs, share: Share) -> anyhow::Result<Study> {
    let experiment = &job.experiment;
    let storage = store.storage();
    let name = &experiment.name;
    let fingerprint = job.fingerprint();
    match storage.load_study(name)? {
        None => {}
        Some(known) => {
            if let Some(before) = known.user_attrs.get(FINGERPRINT)
                && let Some((key, was, is)) = difference(before, &fingerprint)
            {
                bail!(
                    "study `{name}` was begun with `{key}` {was}, and now it is {is}; go back to {was}\nhint: `automl study {} --name {name}-2` begins another study",
                    args.experiment.display()
                );
            }
        }
    }
    let earlier = args.earlier.trials(store, name)?;
    let before = comparable(job, store, args)?;
    let mut study = builder(job, store)?
        .share(share)
        .open()
        .map_err(|error| match error {
            StudyError::Differs { .. } | StudyError::SpaceDiffers { .. } => anyhow::anyhow!(
                "{error}\nhint: `automl study {} --name {name}-2` begins another study",
                args.experiment.display()
            ),
            other => other.into(),
        })?;
    study.set_attr(FINGERPRINT, fingerprint)?;
    let table = &job.dataset.table;
    let mut columns: Map<String, Json> = Map::new();
    for field in &table.schema.fields {
        columns.insert(field.name.clone(), json!(field.kind));
    }
    let target = &job.dataset.target;
    let kind = match target.task {
        Task::Regression => Kind::Numeric,
        _ => Kind::Categorical,
    };
    columns.insert(target.name.clone(), json!(kind));
    let source = args.data.as_ref().or(experiment.data.path.as_ref());
    let source = source.map_or_else(
        || job.dataset.name.clone(),
        |path| path.display().to_string(),
    );
    for (key, value) in [
        ("dataset_source", json!(source)),
        ("dataset_rows", json!(table.rows)),
        ("dataset_schema", Json::Object(columns)),
        ("dataset", json!(job.dataset.name)),
        ("dataset_sha256", json!(job.dataset.sha256)),
        ("metric", json!(job.metric.name)),
        ("seed", json!(experiment.seed)),
        ("automl_version", json!(env!("CARGO_PKG_VERSION"))),
        ("host", json!(host())),
    ] {
        study.set_attr(key, value)?;
    }
    let adopt = |trial: &TrialRecord| job.adopt(&before, trial);
    args.earlier.add(&mut study, &earlier, &adopt)?;
    Ok(study)
}

/// The fingerprint of the study of `--from`, whose scores must mean the same as those of this one.
fn comparable(job: &Job, store: &Store, args: &StudyArgs) -> anyhow::Result<Json> {
    let Some(from) = args.earlier.study() else {
        return Ok(Json::Null);
    };
    let known = store.storage().load_study(from)?;
    let attrs = known.map(|known| known.user_attrs).unwrap_or_default();
    let seed = attrs.get("seed").and_then(Json::as_u64);
    let (Some(before), Some(seed)) = (attrs.get(FINGERPRINT), seed) else {
        bail!(
            "--from: study `{from}` is not of an experiment file, so its scores cannot be compared with those of this one; `automl studies` lists what there is"
        );
    };
    job.comparable(before, seed).map_err(|differs| {
        let Differs { key, was, .. } = &differs;
        anyhow::anyhow!(
            "--from: study `{from}` does not go with this experiment: {differs}; set `{key}` to {was}, or leave out `--from`"
        )
    })?;
    Ok(before.clone())
}
