//! `automl optimize`: a space file and a program of the user's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde_json::{Value as Json, json};

use super::earlier::{Earlier, own};
use super::invitation::{Invitation, LeaseArg, Objective};
use super::trials::{counts, document, drawn_by, number, params, value_names};
use crate::cli::mlflow;
use crate::cli::progress::Bar;
use crate::cli::{Ending, StoreArg, output};
use crate::fsio;
use crate::fsio::host;
use crate::study::engine::Share;
use crate::study::{
    Budget, Ended, Space, Study, StudyBuilder, StudyError, TrialRecord, TrialState, hypervolume,
};
use crate::tracking::Store;
use crate::tracking::mlflow::run::RunStatus;
use crate::tune::named::{PrunerSpec, SamplerSpec};
use crate::tune::program::{Limits, Listener, Program, memory};
use crate::tune::space_file::SpaceFile;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl optimize space.yaml --trials 200 --seed 1 -- python3 objective.py
  automl optimize space.yaml --trials 300 --seed 1 -- python3 objective.py    continue to 300 trials
  automl optimize space.yaml -- sh -c 'echo $(( {x} * {x} ))'                 run once per trial
  automl optimize space.yaml --concurrency 4 --trial-timeout 60 -- ./objective
  automl optimize wider.yaml --from space --without 3,17 -- ./objective       begin with its trials
  automl optimize space.yaml --format json --history trials.jsonl -- ./objective

The program reads one JSON line per trial and answers with one:
  it gets      {\"trial\": 7, \"params\": {\"lr\": 0.01}, \"seed\": 123}
  it answers   {\"value\": 0.83}, {\"values\": [0.83, 12]} or {\"fail\": \"why\"}
               {\"value\": 0.83, \"constraints\": [-0.2]}, where each constraint holds at 0 and below
A command with placeholders such as {lr} is run once per trial and its value is the last number it prints.
docs/objective-protocol.md has the details.")]
pub(crate) struct OptimizeArgs {
    /// The space file: direction and parameters.
    space: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// How many trials the study has in the end, those of earlier runs included; 100 when the file says nothing.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    trials: Option<u64>,
    /// No trial begins after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// A trial without a result after this many seconds is failed and its process ended.
    #[arg(long, value_name = "SECONDS")]
    trial_timeout: Option<f64>,
    /// A trial whose program holds more memory is failed and its process ended; as in 500MB or 2GiB.
    #[arg(long, value_name = "AMOUNT", value_parser = memory_limit)]
    trial_memory: Option<u64>,
    /// How many trials run at the same moment, at most `--concurrency`. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    lease: LeaseArg,
    /// Write every trial to this file, one JSON line each.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Print results only, and nothing of what the program writes to stderr.
    #[arg(long, short)]
    quiet: bool,
    /// How results are printed.
    #[arg(long, default_value = "text")]
    format: ResultFormat,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What a study of a space file is; the same for `optimize` and `ask`.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(super) store: StoreArg,
    /// The study's name; that of the space file without its ending when not given.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The seed of every random decision.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// What proposes parameters; `automl list samplers` shows the names.
    #[arg(long, value_name = "NAME")]
    pub(super) sampler: Option<String>,
    /// What stops trials that report and are not worth their cost; `automl list pruners` shows the names.
    #[arg(long, value_name = "NAME")]
    pub(super) pruner: Option<String>,
    #[command(flatten)]
    pub(super) earlier: Earlier,
    /// How many trials run at once, which is part of what the study is; 1 when the file says nothing.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) concurrency: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ResultFormat {
    Text,
    Json,
}

/// A space file with what was typed over it.
pub(super) struct Problem {
    /// The space file as it was read.
    pub(super) text: String,
    pub(super) file: SpaceFile,
    pub(super) space: Space,
    pub(super) name: String,
    seed: u64,
    earlier: Earlier,
}

impl Problem {
    pub(super) fn read(path: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let Ok(text) = String::from_utf8(fsio::read(path)?) else {
            bail!("{shown}: this is not UTF-8 text")
        };
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        Self::parse(text, &shown, stem, settings)
    }

    /// The space file `text`, which messages call `shown`.
    pub(super) fn parse(
        text: String,
        shown: &str,
        stem: Option<String>,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let (mut file, space) = SpaceFile::parse(&text, shown)?;
        if let Some(sampler) = &settings.sampler {
            file.sampler = SamplerSpec::new(sampler);
            let made = file.sampler.build("--sampler");
            made.map_err(anyhow::Error::msg)?;
        }
        if let Some(pruner) = &settings.pruner {
            file.pruner = PrunerSpec::new(pruner);
            let made = file.pruner.build("--pruner");
            made.map_err(anyhow::Error::msg)?;
        }
        if let Some(concurrency) = settings.concurrency {
            file.concurrency = concurrency.into();
        }
        let name = settings.name.clone().or(stem).unwrap_or_default();
        Ok(Problem {
            text,
            file,
            space,
            name,
            seed: settings.seed,
            earlier: settings.earlier.clone(),
        })
    }

    /// The study, described and not yet opened.
    pub(super) fn builder(&self, store: &Store) -> anyhow::Result<StudyBuilder> {
        let sampler = self.file.sampler.build("sampler");
        let pruner = self.file.pruner.build("pruner");
        Ok(Study::builder(&self.name)
            .directions(self.file.directions())
            .sampler(sampler.map_err(anyhow::Error::msg)?)
            .pruner(pruner.map_err(anyhow::Error::msg)?)
            .seed(self.seed)
            .concurrency(self.file.concurrency)
            .storage(store.storage())
            .space(self.space.clone()))
    }

    /// Creates or continues the study and notes what it is.
    pub(super) fn open(
        &self,
        store: &Store,
        share: Share,
        verb: &str,
        path: &Path,
    ) -> anyhow::Result<Study> {
        let earlier = self.earlier.trials(store, &self.name)?;
        let builder = self.builder(store)?.share(share);
        let mut study = builder.open().map_err(|error| match error {
            StudyError::Differs { .. } | StudyError::SpaceDiffers { .. } => anyhow::anyhow!(
                "{error}\nhint: `automl {verb} {} --name {}-2 …` begins another study",
                path.display(),
                self.name
            ),
            other => other.into(),
        })?;
        if study.trials().is_empty() {
            for (key, value) in [
                ("seed", json!(self.seed)),
                ("automl_version", json!(env!("CARGO_PKG_VERSION"))),
                ("host", json!(host())),
            ] {
                study.set_attr(key, value)?;
            }
        }
        self.earlier
            .add(&mut study, &earlier, &|trial| Ok(trial.clone()))?;
        for point in self.file.enqueue.iter().skip(own(&study)) {
            study.enqueue(point.iter().map(|(k, v)| (k.clone(), v.clone())))?;
        }
        Ok(study)
    }
}

pub(crate) fn run(args: OptimizeArgs) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let problem = Problem::read(&args.space, &args.settings)?;
    let shown = args.space.display().to_string();
    let target = mlflow::target(&problem.file.tracking, &problem.name, &shown)?;
    let timeout = seconds("--timeout", args.timeout.or(problem.file.timeout))?;
    let limit = seconds("--trial-timeout", args.trial_timeout)?;
    if let Some(history) = &args.history {
        check_writable(history)?;
    }
    // Threads wait for programs most of the time, so each trial that may run has one.
    let concurrency = problem.file.concurrency;
    let threads = args.threads.map_or(concurrency, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().context("cannot start the threads")?;

    let drawn = Arc::new(OnceLock::<ProgressBar>::new());
    let listener: Listener = if args.quiet {
        Arc::new(|_| {})
    } else {
        let drawn = Arc::clone(&drawn);
        Arc::new(move |line| match drawn.get() {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        })
    };
    let values = problem.file.directions().len();
    let workers = concurrency.min(threads);
    let program = Program::new(
        &args.command,
        &problem.space,
        values,
        workers,
        Limits {
            time: limit,
            memory: args.trial_memory,
        },
        listener,
    )?;

    let store = args.settings.store.open()?;
    let _lock = store.lock_study(&problem.name)?;
    let member = store.join()?;
    let mut share = args.lease.leading(&member, &store)?;
    share.at_once = workers;
    let mut study = problem.open(&store, share, "optimize", &args.space)?;
    study.set_attr("command", json!(args.command))?;
    let total = args.trials.unwrap_or(problem.file.trials);
    let objective = Objective::Program {
        text: problem.text.clone(),
        seed: args.settings.seed,
        sampler: args.settings.sampler.clone(),
        pruner: args.settings.pruner.clone(),
        concurrency,
        command: args.command.clone(),
        trial_timeout: args.trial_timeout,
        trial_memory: args.trial_memory,
    };
    Invitation::new(total, objective).offer(&mut study)?;
    let bar = Bar::new(total, study.progress().finished(), args.quiet);
    let bar = {
        let _ = drawn.set(bar.handle());
        let handle = bar.handle();
        study.observe(bar);
        handle
    };
    let sending = mlflow::Sending::begin(&store, &mut study, target.as_ref(), args.quiet);
    let stop = study.stop_handle();
    let (message, leash) = (bar.clone(), program.leash());
    // A handler can be set once per process, which is what a command is.
    let _ = ctrlc::set_handler(move || {
        if stop.is_stopped() {
            leash.pull();
            std::process::exit(130);
        }
        stop.stop();
        message.suspend(|| {
            eprintln!("finishing the trials that run; press Ctrl-C again to stop at once (to continue: the same command again)");
        });
    });
    let mut budget = Budget::trials(total);
    if let Some(limit) = timeout {
        budget = budget.time(limit);
    }
    let ended = study.optimize(budget, |trial| program.run(trial));
    bar.finish_and_clear();
    program.finish();
    if let Some(history) = &args.history {
        write_history(history, study.trials())?;
    }
    let ended = ended?;
    if ended == Ended::Exhausted && !args.quiet {
        let done = study.progress().finished();
        eprintln!(
            "ended after {done} of {total} trials: every point of the search space was tried"
        );
    }
    if ended == Ended::Stopped {
        eprintln!(
            "stopped after {} of {total} trials; to continue: the same command again",
            study.progress().finished(),
        );
        sending.end(RunStatus::Killed);
        return Ok(Ending::Interrupted);
    }
    match args.format {
        ResultFormat::Json => output::print_json(&result(&study, began.elapsed()))?,
        ResultFormat::Text => print(&study, began.elapsed())?,
    }
    sending.end(match study.progress().complete {
        0 => RunStatus::Failed,
        _ => RunStatus::Finished,
    });
    if study.progress().complete == 0 {
        let why = study
            .trials()
            .iter()
            .find_map(|t| t.system_attrs.get(crate::study::engine::FAIL_REASON));
        let why = why.and_then(Json::as_str).unwrap_or("no trial was run");
        bail!(
            "study `{}` has no complete trial; the first failure: {why}",
            study.name()
        );
    }
    Ok(Ending::Done)
}

fn seconds(option: &str, seconds: Option<f64>) -> anyhow::Result<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    // What a `Duration` cannot hold is longer than anyone waits.
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(Some(limit)),
        _ => bail!("{option}: must be a number of seconds above 0, not {seconds}"),
    }
}

fn memory_limit(text: &str) -> Result<u64, String> {
    if !memory::KNOWN {
        return Err("the memory of processes is known on Linux only".to_owned());
    }
    memory::parse(text)
}

fn check_writable(file: &Path) -> anyhow::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if file.is_dir() || !folder.is_dir() {
        bail!(
            "--history: `{}` cannot be written: it must be a file in a folder that exists",
            file.display()
        );
    }
    Ok(())
}

fn write_history(file: &Path, trials: &[Arc<TrialRecord>]) -> anyhow::Result<()> {
    fsio::replace(file, |out| {
        for trial in trials {
            serde_json::to_writer(&mut *out, &document(trial))?;
            writeln!(out)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The best trials: one, or those of several directions that no other trial beats in all of them.
fn best(study: &Study) -> Vec<Arc<TrialRecord>> {
    match study.directions() {
        [_] => study.best().into_iter().collect(),
        _ => study.pareto_front(),
    }
}

/// What the front reaches: the volume between it and the worst finite value of each direction among all complete trials,
/// which is returned as well. None before a trial is complete.
fn reached(study: &Study, front: &[Arc<TrialRecord>]) -> Option<(f64, Vec<f64>)> {
    let directions = study.directions();
    let complete = study.trials().iter();
    let complete = complete.filter(|t| t.state == TrialState::Complete);
    let losses: Vec<Vec<f64>> = complete.map(|t| t.losses(directions)).collect();
    let worst = |at: usize| {
        let finite = losses.iter().map(|l| l[at]).filter(|l| l.is_finite());
        finite.reduce(f64::max)
    };
    let worst: Vec<f64> = (0..directions.len()).map(worst).collect::<Option<_>>()?;
    let points: Vec<Vec<f64>> = front.iter().map(|t| t.losses(directions)).collect();
    let volume = hypervolume(&points, &worst);
    let values = directions.iter().zip(worst).map(|(d, l)| d.loss(l));
    Some((volume, values.collect()))
}

fn result(study: &Study, took: Duration) -> Json {
    let records: Vec<TrialRecord> = study.trials().iter().map(|t| (**t).clone()).collect();
    let best = best(study);
    let mut document = json!({});
    if study.directions().len() == 1 {
        document["best"] = best.first().map_or(
            Json::Null,
            |t| json!({"number": t.number, "value": number(t.values[0]), "params": params(t)}),
        );
    } else {
        let line = |t: &Arc<TrialRecord>| {
            let values: Vec<Json> = t.values.iter().map(|v| number(*v)).collect();
            json!({"number": t.number, "values": values, "params": params(t)})
        };
        document["front"] = best.iter().map(line).collect();
        if let Some((volume, reference)) = reached(study, &best) {
            document["hypervolume"] = number(volume);
            document["reference"] = json!(reference);
        }
    }
    document["trials"] = counts(&records);
    document["seconds"] = json!(took.as_secs_f64());
    document
}

fn print(study: &Study, took: Duration) -> anyhow::Result<()> {
    let progress = study.progress();
    let mut parts = vec![format!("{} complete", progress.complete)];
    for (count, what) in [(progress.pruned, "pruned"), (progress.failed, "failed")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let best = best(study);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "study `{}`: {} trials ({}) in {}",
        study.name(),
        progress.finished(),
        parts.join(", "),
        output::clock(took.as_secs_f64())
    )?;
    if let Some(ways) = drawn_by(study) {
        writeln!(out, "search: {ways}")?;
    }
    match &best[..] {
        [] if progress.complete > 0 => writeln!(out, "no trial holds its constraints")?,
        [] => {}
        [one] if study.directions().len() == 1 => {
            writeln!(out, "best value {} in trial {}", one.values[0], one.number)?;
            let rows: Vec<Vec<String>> = one
                .params
                .iter()
                .map(|(name, value)| vec![format!("  {name}"), value.to_string()])
                .collect();
            output::write_table(&mut out, &["", ""], &rows)?;
        }
        front => {
            writeln!(out, "trials that no other beats: {}", front.len())?;
            if let Some((volume, reference)) = reached(study, front) {
                let reference: Vec<String> = reference.into_iter().map(output::score).collect();
                writeln!(
                    out,
                    "hypervolume {} up to the worst values of all complete trials, {}",
                    output::score(volume),
                    reference.join(" and ")
                )?;
            }
            let row = |t: &Arc<TrialRecord>| {
                let mut row = vec![t.number.to_string()];
                row.extend(t.values.iter().map(|v| output::score(*v)));
                let params: Vec<String> =
                    t.params.iter().map(|(n, v)| format!("{n}={v}")).collect();
                row.push(params.join(" "));
                row
            };
            let rows: Vec<Vec<String>> = front.iter().map(row).collect();
            let values = value_names(study.directions().len());
            let mut header = vec!["number"];
            header.extend(values.iter().map(String::as_str));
            header.push("params");
            output::write_table(&mut out, &header, &rows)?;
        }
    }
    Ok(())
}
