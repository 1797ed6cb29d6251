//! `automl worker`: runs trials of a study that another process leads, on this or another machine.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::invitation::{Invitation, LeaseArg, Objective};
use super::optimize::{Problem, Settings};
use super::study::{FINGERPRINT, builder, evaluate};
use crate::cli::progress::Bar;
use crate::cli::{Ending, StoreArg, output};
use crate::data::telco;
use crate::study::engine::Share;
use crate::study::objective::Values;
use crate::study::record::StudyRecord;
use crate::study::{Budget, Ended, Stop, Study, StudyBuilder, Trial};
use crate::tracking::{Member, Store, TrackingError};
use crate::tune::adopt::difference;
use crate::tune::experiment::Experiment;
use crate::tune::job::Job;
use crate::tune::program::{Limits, Program};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl study configs/churn.yaml --store postgres://me@db/automl      leads the study, on one machine
  automl worker churn --store postgres://me@db/automl                  helps, on any other machine
  automl worker churn --store postgres://me@db/automl --data /mnt/telco.csv --max-trials 20
  automl worker space -- python3 objective.py                          of a study that `automl optimize` leads

The trials are the same whoever runs them, and however many. A worker that dies or is cut off loses its trials to the
others after --lease seconds. It ends with the study; docs/scaling.md says how to run many of them.")]
pub(crate) struct WorkerArgs {
    /// The study's name.
    study: String,
    #[command(flatten)]
    store: StoreArg,
    /// The data file on this machine, when it is elsewhere than on the one that leads.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// End after this many trials of this worker.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_trials: Option<u64>,
    /// How many trials this worker runs at the same moment; as many as threads when not given. Never more than the
    /// study's concurrency allows all processes together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    at_once: Option<u16>,
    /// Threads to use; all processors when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// How long to wait for a study that nobody leads yet, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    wait: f64,
    #[command(flatten)]
    lease: LeaseArg,
    /// Print results only.
    #[arg(long, short)]
    quiet: bool,
    /// How results are printed.
    #[arg(long, default_value = "text")]
    format: ResultFormat,
    /// The program and its arguments, in place of those that the leading process was given.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ResultFormat {
    Text,
    Json,
}

pub(crate) fn run(args: WorkerArgs) -> anyhow::Result<Ending> {
    if !(args.wait.is_finite() && args.wait >= 0.0) {
        bail!(
            "--wait: must be a number of seconds from 0 up, not {}",
            args.wait
        );
    }
    let lease = args.lease.duration()?;
    let (store, record, invitation) = invited(&args)?;
    let at_once = |most: usize| args.at_once.map_or(most, usize::from);
    match &invitation.objective {
        Objective::Experiment { .. } => {
            if !args.command.is_empty() {
                bail!(
                    "study `{}` is that of an experiment file, which runs no program; leave out what follows `--`",
                    args.study
                );
            }
            threads(args.threads.map(usize::from))?;
            let job = prepare(&args, &record, &invitation)?;
            let member = store.join()?;
            let share = share(&member, &args, lease, at_once(rayon::current_num_threads()));
            let predictions = store.predictions(&args.study);
            let unkept = Mutex::new(None);
            let builder = builder(&job, &store)?;
            let outcome = work(&args, builder, share, invitation.trials, |trial| {
                evaluate(&job, trial, &predictions, &unkept).map(Values::from)
            })?;
            if let Ok(Some(error)) = unkept.into_inner() {
                eprintln!(
                    "note: out-of-fold predictions were not kept ({error}); an ensemble will make them again"
                );
            }
            Ok(outcome)
        }
        Objective::Program {
            text,
            seed,
            sampler,
            pruner,
            concurrency,
            command,
            trial_timeout,
            trial_memory,
        } => {
            let settings = Settings {
                store: args.store.clone(),
                name: Some(args.study.clone()),
                seed: *seed,
                sampler: sampler.clone(),
                pruner: pruner.clone(),
                earlier: super::earlier::Earlier::none(),
                concurrency: u16::try_from(*concurrency).ok(),
            };
            let shown = format!("the space of study `{}`", args.study);
            let problem = Problem::parse(text.clone(), &shown, None, &settings)?;
            let most = at_once(args.threads.map_or(1, usize::from)).min(*concurrency);
            // Threads wait for programs most of the time, so each trial that may run has one.
            threads(Some(args.threads.map_or(most, usize::from)))?;
            let command = match args.command.is_empty() {
                true => command,
                false => &args.command,
            };
            let limits = Limits {
                time: trial_timeout.map(Duration::from_secs_f64),
                memory: *trial_memory,
            };
            let quiet = args.quiet;
            let program = Program::new(
                command,
                &problem.space,
                problem.file.directions().len(),
                most,
                limits,
                Arc::new(move |line| {
                    if !quiet {
                        eprintln!("{line}");
                    }
                }),
            )?;
            let member = store.join()?;
            let share = share(&member, &args, lease, most);
            let builder = problem.builder(&store)?;
            let outcome = work(&args, builder, share, invitation.trials, |trial| {
                program.run(trial).map(Values)
            });
            program.finish();
            outcome
        }
    }
}

fn threads(number: Option<usize>) -> anyhow::Result<()> {
    let Some(number) = number else {
        return Ok(());
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number);
    pool.build_global().context("cannot start the threads")
}

fn share(member: &Member, args: &WorkerArgs, lease: Duration, at_once: usize) -> Share {
    Share {
        at_once,
        most: args.max_trials,
        ..member.share(lease)
    }
}

/// The study and what it asks of workers, once somebody leads it.
fn invited(args: &WorkerArgs) -> anyhow::Result<(Store, StudyRecord, Invitation)> {
    let begun = Instant::now();
    let mut told = args.quiet;
    loop {
        let missing = match args.store.open_existing() {
            Ok(store) => match store.storage().load_study(&args.study)? {
                Some(record) => match Invitation::of(&record)? {
                    Some(invitation) => return Ok((store, record, invitation)),
                    None => format!(
                        "nobody leads study `{}` in `{}`: begin or continue it with `automl study` or `automl optimize`",
                        args.study,
                        store.place()
                    ),
                },
                None => format!(
                    "there is no study `{}` in `{}`: begin it with `automl study` or `automl optimize`",
                    args.study,
                    store.place()
                ),
            },
            Err(
                error @ (TrackingError::NoStore { .. }
                | TrackingError::NoTables { .. }
                | TrackingError::Db(_)),
            ) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        let waited = begun.elapsed().as_secs_f64();
        if waited >= args.wait {
            bail!("{missing}");
        }
        if !told {
            told = true;
            eprintln!("waiting up to {} s: {missing}", args.wait);
        }
        // Soon at first, for a study that begins at the same moment.
        let pause = (args.wait - waited).min((waited / 4.0).clamp(0.05, 1.0));
        std::thread::sleep(Duration::from_secs_f64(pause));
    }
}

/// The experiment with its data, which must be what the study was begun with.
fn prepare(
    args: &WorkerArgs,
    record: &StudyRecord,
    invitation: &Invitation,
) -> anyhow::Result<Job> {
    let Objective::Experiment {
        file,
        text,
        name,
        seed,
        data,
    } = &invitation.objective
    else {
        bail!("study `{}` has no experiment", args.study);
    };
    let mut experiment = Experiment::parse(text, file)?;
    experiment.name.clone_from(name);
    experiment.seed = *seed;
    experiment.search.trials = invitation.trials;
    let folder = std::env::var_os(telco::FOLDER_VARIABLE).map(PathBuf::from);
    let there = data.as_deref().filter(|path| path.is_file());
    let given = args.data.as_deref().or(there);
    if let (None, Some(missing), true) = (given, data, experiment.data.path.is_some()) {
        bail!(
            "the data of study `{}` is not at `{}` on this machine; say where it is with `--data PATH`",
            args.study,
            missing.display()
        );
    }
    let job = Job::prepare(experiment, file, given, folder.as_deref())?;
    let mine = job.fingerprint();
    if let Some(theirs) = record.user_attrs.get(FINGERPRINT)
        && let Some((key, was, is)) = difference(theirs, &mine)
    {
        bail!(
            "study `{}` has `{key}` {was}, and here it is {is}; name the same file with `--data PATH`",
            args.study
        );
    }
    Ok(job)
}

fn work(
    args: &WorkerArgs,
    builder: StudyBuilder,
    share: Share,
    total: u64,
    objective: impl Fn(&mut Trial) -> Result<Values, Stop> + Sync,
) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let owner = share.owner.clone();
    let mut study: Study = builder.share(share).open()?;
    let bar = Bar::new(total, study.progress().finished(), args.quiet);
    let drawn = bar.handle();
    study.observe(bar);
    let (stop, message) = (study.stop_handle(), drawn.clone());
    // A handler can be set once per process, which is what a command is.
    let _ = ctrlc::set_handler(move || {
        if stop.is_stopped() {
            std::process::exit(130);
        }
        stop.stop();
        message.suspend(|| {
            eprintln!("finishing the trials that run; press Ctrl-C again to leave them to others");
        });
    });
    let ran = AtomicU64::new(0);
    let ended = study.optimize(Budget::trials(total), |trial| {
        ran.fetch_add(1, Ordering::Relaxed);
        objective(trial)
    });
    drawn.finish_and_clear();
    let ended = ended?;
    let (ran, finished) = (ran.into_inner(), study.progress().finished());
    match args.format {
        ResultFormat::Json => output::print_json(&json!({
            "study": args.study,
            "worker": owner,
            "ran": ran,
            "finished": finished,
            "trials": total,
            "ended": ended.to_string(),
            "seconds": began.elapsed().as_secs_f64(),
        }))?,
        ResultFormat::Text => writeln!(
            std::io::stdout().lock(),
            "study `{}`: this worker ran {ran} trials in {}; {finished} of {total} are finished: {ended}",
            args.study,
            output::clock(began.elapsed().as_secs_f64())
        )?,
    }
    Ok(match ended {
        Ended::Stopped => Ending::Interrupted,
        _ => Ending::Done,
    })
}
