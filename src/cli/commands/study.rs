//! `automl study`: from an experiment file to a registered model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json, json};

use crate::cli::output::{self, score, thousands};
use crate::cli::progress::Bar;
use crate::cli::{Ending, StoreArg};
use crate::data::table::Task;
use crate::fsio;
use crate::learn::metric;
use crate::registry::{
    DatasetRef, Gate, GateReport, NewVersion, Primary, Registered, Registry, RegistryError, Rule,
    Source, Stage, check_name, evaluate, host,
};
use crate::study::record::TrialRecord;
use crate::study::storage::Storage as _;
use crate::study::{Budget, Ended, Study, StudyError};
use crate::tracking::Store;
use crate::tune::experiment::Experiment;
use crate::tune::job::{Job, Outcome};
use crate::tune::yaml::plain;

use super::trials;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl study configs/churn.yaml
  automl study configs/churn.yaml --trials 200          continue the same study to 200 trials
  automl study configs/churn.yaml --threads 1           the same trials and model, more slowly
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
    /// Threads to use; all processors when not given. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Continue a study that must exist. Without it, a study that exists is continued and another one begun.
    #[arg(long)]
    resume: bool,
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
const FINGERPRINT: &str = "automl:experiment";

pub(crate) fn run(args: StudyArgs) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let file = args.experiment.display().to_string();
    let experiment = read(&args, &file)?;
    let gate = gate(&experiment, &file)?;
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
        pool.build_global().context("cannot start the threads")?;
    }
    let data_dir = std::env::var_os(crate::data::telco::FOLDER_VARIABLE).map(PathBuf::from);
    let job = Job::prepare(experiment, &file, args.data.as_deref(), data_dir.as_deref())?;
    check_gate(&gate, job.dataset.target.task, &file)?;

    let name = job.experiment.name.clone();
    let store = if args.resume {
        // What is not there is not made by asking for it.
        let store = Store::open_existing(&args.store.store)?;
        if store.storage().load_study(&name)?.is_none() {
            bail!(
                "there is no study `{name}` to resume in `{}`; leave out `--resume` to begin it",
                store.folder().display()
            );
        }
        store
    } else {
        Store::open(&args.store.store)?
    };
    let _lock = store.lock_study(&name)?;
    let mut study = open(&job, &store, &args)?;
    if !args.quiet {
        for line in header(&job) {
            eprintln!("{line}");
        }
    }
    for point in job
        .experiment
        .search
        .enqueue
        .iter()
        .skip(study.trials().len())
    {
        study.enqueue(point.iter().map(|(k, v)| (k.clone(), v.clone())))?;
    }

    let search = &job.experiment.search;
    let bar = Bar::new(search.trials, study.progress().finished(), args.quiet);
    let drawn = bar.handle();
    study.observe(bar);
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
    let ended = study.optimize(budget, |trial| job.objective(trial));
    drawn.finish_and_clear();
    if ended? == Ended::Stopped {
        let done = study.progress().finished();
        eprintln!(
            "stopped after {done} of {} trials; to continue: automl study {file} --resume",
            search.trials
        );
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
    let outcome = job.refit(&best)?;
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
    Ok(Ending::Done)
}

/// What was typed over what was written.
fn read(args: &StudyArgs, file: &str) -> anyhow::Result<Experiment> {
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
    Ok(experiment)
}

/// The gate of the experiment, read before any work is done.
fn gate(experiment: &Experiment, file: &str) -> anyhow::Result<Gate> {
    let part = &experiment.registry;
    let rules = part
        .gate
        .iter()
        .map(|rule| serde_json::from_value::<Rule>(rule.clone()));
    let rules: Result<Vec<Rule>, _> = rules.collect();
    let rules =
        rules.map_err(|e| anyhow::anyhow!("{file}: registry.gate: {}", plain(&e.to_string())))?;
    let model = part.model.as_ref().unwrap_or(&experiment.name);
    check_name(model).with_context(|| format!("{file}: registry.model"))?;
    let stage: Stage = part
        .stage
        .parse()
        .with_context(|| format!("{file}: registry.stage"))?;
    if !matches!(stage, Stage::Staging | Stage::Production) {
        bail!(
            "{file}: registry.stage: a new version can go to `staging` or `production`, not to `{stage}`"
        );
    }
    Ok(Gate { rules, stage })
}

/// A rule on a metric that the holdout will not have could never pass.
fn check_gate(gate: &Gate, task: Task, file: &str) -> anyhow::Result<()> {
    for rule in &gate.rules {
        if let Rule::Compare { metric, .. } = rule {
            let place = || format!("{file}: registry.gate: `{rule}`");
            let plain = metric.strip_suffix(AT_THRESHOLD);
            let entry = metric::find_for(plain.unwrap_or(metric), task).with_context(place)?;
            if let Some(same) = entry.same_as {
                bail!(
                    "{}: `{}` is reported as `{same}`; write that",
                    place(),
                    entry.name
                );
            }
            if plain.is_some() && !(entry.on_labels && task == Task::Binary) {
                bail!(
                    "{}: `{}` does not depend on a threshold here; write it without `{AT_THRESHOLD}`",
                    place(),
                    entry.name
                );
            }
        }
    }
    Ok(())
}

/// Ending of the names of metrics that are measured at the model's own threshold instead of 0.5.
const AT_THRESHOLD: &str = "@threshold";

fn open(job: &Job, store: &Store, args: &StudyArgs) -> anyhow::Result<Study> {
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
    let sampler = experiment.sampler().map_err(anyhow::Error::msg)?;
    let mut study = Study::builder(name)
        .direction(job.direction())
        .sampler(sampler)
        .seed(experiment.seed)
        .concurrency(experiment.search.concurrency)
        .storage(storage)
        .space(job.space())
        .open()
        .map_err(|error| match error {
            StudyError::Differs { .. } | StudyError::SpaceDiffers { .. } => anyhow::anyhow!(
                "{error}\nhint: `automl study {} --name {name}-2` begins another study",
                args.experiment.display()
            ),
            other => other.into(),
        })?;
    study.set_attr(FINGERPRINT, fingerprint)?;
    for (key, value) in [
        ("dataset", json!(job.dataset.name)),
        ("dataset_sha256", json!(job.dataset.sha256)),
        ("metric", json!(job.metric.name)),
        ("seed", json!(experiment.seed)),
        ("automl_version", json!(env!("CARGO_PKG_VERSION"))),
        ("host", json!(host())),
    ] {
        study.set_attr(key, value)?;
    }
    Ok(study)
}

/// The first key in which two objects differ, as in `cv.folds`, with both values.
fn difference(before: &Json, now: &Json) -> Option<(String, Json, Json)> {
    let (Json::Object(before), Json::Object(now)) = (before, now) else {
        return None;
    };
    let keys = before
        .keys()
        .chain(now.keys().filter(|k| !before.contains_key(*k)));
    let (key, was, is) = keys
        .map(|k| {
            (
                k,
                before.get(k).unwrap_or(&Json::Null),
                now.get(k).unwrap_or(&Json::Null),
            )
        })
        .find(|(_, was, is)| was != is)?;
    match difference(was, is) {
        Some((inner, was, is)) => Some((format!("{key}.{inner}"), was, is)),
        None => Some((key.clone(), was.clone(), is.clone())),
    }
}

fn header(job: &Job) -> Vec<String> {
    let e = &job.experiment;
    let arrow = match job.metric.goal {
        metric::Goal::Maximize => '↑',
        metric::Goal::Minimize => '↓',
    };
    let repeats = if e.cv.repeats > 1 {
        format!("{} × ", e.cv.repeats)
    } else {
        String::new()
    };
    let stratified = if e.cv.stratify && job.dataset.target.task != Task::Regression {
        " stratified"
    } else {
        ""
    };
    let mut lines = vec![
        format!(
            "{}  {} · {} trials · {repeats}{}-fold{stratified} CV · {} {arrow} · {} at once · seed {}",
            e.name,
            e.sampler_name(),
            e.search.trials,
            e.cv.folds,
            job.metric.name,
            e.search.concurrency,
            e.seed
        ),
        format!(
            "data   {} ({} rows × {} features, {} to train on, {} held out)  sha256 {}…",
            job.dataset.name,
            thousands(job.dataset.table.rows),
            job.dataset.table.schema.fields.len(),
            thousands(job.split.train.len()),
            thousands(job.split.test.len()),
            &job.dataset.sha256[..8]
        ),
    ];
    if job.dataset.name.ends_with("-synthetic") {
        lines.push(
            "note   the Telco file was not found, so these are generated rows of the same shape; for the real ones: automl data fetch telco".to_owned(),
        );
    }
    for (column, why) in &job.dataset.left_out {
        if !e.data.drop.contains(column) && e.data.source.is_none() {
            lines.push(format!("note   column `{column}` is left out: {why}"));
        }
    }
    lines
}

/// Where the model ended up.
struct Version {
    model: String,
    registered: Registered,
    stage: Stage,
    path: PathBuf,
    sha256: String,
    report: Option<GateReport>,
}

/// Saves the model as a version, and promotes it if it is new and its gate lets it.
fn register(
    job: &Job,
    store: &Store,
    best: &TrialRecord,
    outcome: &Outcome,
    gate: &Gate,
) -> anyhow::Result<Version> {
    let e = &job.experiment;
    let model = e.registry.model.clone().unwrap_or_else(|| e.name.clone());
    let bytes = outcome.pipeline.save()?;
    let sha256 = fsio::sha256(&bytes);
    let mut metrics: BTreeMap<String, f64> = outcome
        .holdout
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    for (name, value) in &outcome.holdout_at_threshold {
        metrics.insert(format!("{name}{AT_THRESHOLD}"), *value);
    }
    metrics.insert(format!("cv_{}", job.metric.name), best.values[0]);
    let rows: Vec<u8> = job
        .split
        .test
        .iter()
        .flat_map(|r| r.to_le_bytes())
        .collect();
    let columns: Map<String, Json> = job
        .dataset
        .table
        .schema
        .fields
        .iter()
        .map(|f| (f.name.clone(), json!(f.kind)))
        .collect();
    let new = NewVersion {
        model: model.clone(),
        files: vec![("model.json".to_owned(), bytes)],
        metrics,
        primary: Primary {
            metric: job.metric.name.to_owned(),
            direction: job.direction(),
        },
        params: json!({"learner": outcome.learner, "hyperparameters": outcome.hyperparameters}),
        dataset: DatasetRef {
            name: job.dataset.name.clone(),
            sha256: job.dataset.sha256.clone(),
            holdout_sha256: Some(fsio::sha256(&rows)),
        },
        study: Some(e.name.clone()),
        trial: Some(best.number),
        gate: gate.rules.clone(),
        source: Source {
            automl: env!("CARGO_PKG_VERSION").to_owned(),
            seed: Some(e.seed),
            host: host(),
            task: format!("{:?}", job.dataset.target.task).to_lowercase(),
            schema: Json::Object(columns),
        },
    };
    let registry = Registry::open(store)?;
    let registered = registry.register(&new)?;
    let (record, path) = registry.resolve(&format!("{model}:{}", registered.version))?;
    let mut stage = record.stage;
    let mut report = None;
    // A version that is past the gate already, from an earlier run, stays where it is.
    if stage == Stage::Candidate && !gate.rules.is_empty() {
        let production = registry.production(&model)?;
        let rows = evaluate(gate, &record, production.as_ref(), &record.primary);
        let why = format!("study {} trial {}", e.name, best.number);
        // Production is reached through staging.
        let way = [Stage::Staging, Stage::Production];
        let steps = if gate.stage == Stage::Production {
            &way[..]
        } else {
            &way[..1]
        };
        for to in steps {
            match registry.promote(&model, registered.version, *to, &why, Some(&rows)) {
                Ok(moved) => stage = moved.to,
                Err(RegistryError::Refused { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        report = Some(rows);
    }
    Ok(Version {
        model,
        registered,
        stage,
        path,
        sha256,
        report,
    })
}

/// What is printed at the end.
struct Report<'a> {
    job: &'a Job,
    study: &'a Study,
    best: &'a TrialRecord,
    outcome: &'a Outcome,
    version: &'a Version,
}

impl Report<'_> {
    fn folds(&self) -> Vec<f64> {
        let folds = self.best.user_attrs.get("folds").and_then(Json::as_array);
        folds.map_or(Vec::new(), |f| f.iter().filter_map(Json::as_f64).collect())
    }

    fn json(&self, took: Duration) -> Json {
        let progress = self.study.progress();
        let numbers = |pairs: &[(&str, f64)]| {
            Json::Object(
                pairs
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), json!(v)))
                    .collect(),
            )
        };
        let mut holdout = numbers(&self.outcome.holdout);
        let card = &self.outcome.pipeline.card;
        if card.task == Task::Binary {
            holdout["threshold"] = json!(card.threshold);
            holdout["at_threshold"] = numbers(&self.outcome.holdout_at_threshold);
        }
        if !self.outcome.confusion.is_empty() {
            holdout["confusion"] = json!(self.outcome.confusion);
            holdout["classes"] = json!(card.classes);
        }
        let dataset = &self.job.dataset;
        json!({
            "study": self.study.name(),
            "dataset": {
                "name": dataset.name,
                "sha256": dataset.sha256,
                "rows": dataset.table.rows,
                "features": dataset.table.schema.fields.len(),
            },
            "metric": self.job.metric.name,
            "trials": {
                "complete": progress.complete,
                "pruned": progress.pruned,
                "failed": progress.failed,
                "running": progress.running,
            },
            "best": {
                "number": self.best.number,
                "value": self.best.values[0],
                "learner": self.outcome.learner,
                "params": trials::params(self.best),
                "folds": self.folds(),
            },
            "holdout": holdout,
            "model": {
                "name": self.version.model,
                "version": self.version.registered.version,
                "created": self.version.registered.created,
                "stage": self.version.stage,
                "path": self.version.path,
                "sha256": self.version.sha256,
                "gate": self.version.report.as_ref().map(GateReport::to_json),
            },
            "seconds": took.as_secs_f64(),
        })
    }

    fn print(&self, store: &Store) {
        let metric = self.job.metric.name;
        let folds = self.folds();
        let mean = self.best.values[0];
        let spread = folds.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>();
        let spread = (spread / (folds.len().max(2) - 1) as f64).sqrt();
        let value =
            |name: &str, of: &[(&str, f64)]| of.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let holdout = value(metric, &self.outcome.holdout);
        println!(
            "best   #{} {}  {metric} {} ± {} (CV)   {} (holdout)",
            self.best.number,
            self.outcome.learner,
            score(mean),
            score(spread),
            holdout.map_or("undefined".to_owned(), score)
        );
        self.print_holdout();
        let version = &self.version;
        let name = format!("{} v{}", version.model, version.registered.version);
        let gate = match &version.report {
            _ if !version.registered.created => "(the same model as before)".to_owned(),
            None => String::new(),
            Some(report) => {
                let rules: Vec<String> = report
                    .rows
                    .iter()
                    .map(|r| r.rule.replace(">=", "≥").replace("<=", "≤"))
                    .collect();
                format!(
                    "(gate: {} {})",
                    rules.join(", "),
                    if report.passed { "passed" } else { "refused" }
                )
            }
        };
        println!("model  {name} → {}   {gate}", version.stage);
        if let Some(report) = version.report.as_ref().filter(|r| !r.passed) {
            println!("{report}");
        }
        let at = match version.stage {
            Stage::Staging | Stage::Production => format!("@{}", version.stage),
            _ => format!(":{}", version.registered.version),
        };
        let folder = store.folder();
        let store = if folder == std::path::Path::new(crate::tracking::DEFAULT_FOLDER) {
            String::new()
        } else {
            format!(" --store {}", folder.display())
        };
        println!(
            "next   automl predict --model {}{at} --input data.csv{store}",
            version.model
        );
    }

    fn print_holdout(&self) {
        let show = |pairs: &[(&str, f64)], names: &[&str]| {
            let shown = names
                .iter()
                .filter_map(|n| pairs.iter().find(|(p, _)| p == n));
            shown
                .map(|(n, v)| format!("{n} {}", score(*v)))
                .collect::<Vec<_>>()
                .join("  ")
        };
        let card = &self.outcome.pipeline.card;
        let all = &self.outcome.holdout;
        let line = match card.task {
            Task::Binary => show(
                all,
                &["accuracy", "precision", "recall", "f1", "log_loss", "brier"],
            ),
            Task::Multiclass => show(
                all,
                &["accuracy", "balanced_accuracy", "f1", "log_loss", "roc_auc"],
            ),
            Task::Regression => show(all, &["rmse", "mae", "r2"]),
        };
        println!("holdout {line}");
        if card.task == Task::Binary {
            let at = show(
                &self.outcome.holdout_at_threshold,
                &["accuracy", "precision", "recall", "f1"],
            );
            println!(
                "        at threshold {:.3}, chosen out of fold:  {at}",
                card.threshold
            );
        }
        if self.outcome.confusion.is_empty() || card.classes.len() > 12 {
            return;
        }
        let mut header = vec!["true \\ predicted"];
        header.extend(card.classes.iter().map(String::as_str));
        let rows: Vec<Vec<String>> = card
            .classes
            .iter()
            .zip(&self.outcome.confusion)
            .map(|(class, counts)| {
                std::iter::once(class.clone())
                    .chain(counts.iter().map(u64::to_string))
                    .collect()
            })
            .collect();
        // Nothing is lost when stdout is gone: the same numbers are in the store.
        let _ = output::print_table(&header, &rows);
    }
}
