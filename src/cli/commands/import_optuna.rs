//! `automl import optuna`: studies of an Optuna storage become studies of the store.
//!
//! A study is copied in transactions of [`AT_ONCE`] trials. Until the last one is in, the study says that it is not
//! whole, and the same command goes on with it: a copy that was killed is neither lost nor in the way.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::{Ending, StoreArg};
use crate::clock::Zone;
use crate::db::{DbError, is_url, redacted};
use crate::study::record::{Attrs, StudyRecord, TrialRecord, TrialState};
use crate::study::storage::journal::JournalStorage;
use crate::study::storage::sqlite::Source;
use crate::study::storage::{Claim, Storage, StorageError, Write};
use crate::tracking::Store;

/// Trials per transaction.
const AT_ONCE: usize = 1000;

/// The system attribute of a study that was copied: from where, and whether it is whole.
const IMPORTED: &str = "automl:imported";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl import optuna sqlite:///optuna.db
  automl import optuna optuna.db --study churn --name churn-2025
  automl import optuna postgresql://me@db.example/optuna --study churn
  automl import optuna optuna.db --time-zone Europe/Berlin
  automl import optuna optuna.log                                a journal

Trials keep their numbers, states, values, parameters, reports, attributes and times; the Optuna storage is only read.
Before version 5 Optuna wrote times without a zone in that of its machine. They are taken to be of this machine's zone
unless --time-zone says otherwise; later ones are UTC.")]
pub(super) struct OptunaArgs {
    /// The storage: an SQLite file, a journal, or a URL as Optuna takes it, sqlite:///FILE or postgresql://…
    // The value may hold a password, so nothing repeats it.
    #[arg(value_name = "URL")]
    url: String,
    /// The study to copy; all of them when not given.
    #[arg(long, value_name = "NAME")]
    study: Option<String>,
    /// Its name in the store; the same when not given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The zone of the times in the storage, as in Europe/Berlin or UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    #[command(flatten)]
    store: StoreArg,
}

/// What is copied from; it is only read.
enum Origin {
    Database(Source),
    Journal(Box<JournalStorage>),
}

impl Origin {
    fn version(&self) -> Option<&str> {
        match self {
            Origin::Database(source) => source.library_version(),
            Origin::Journal(_) => None,
        }
    }

    fn studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        match self {
            Origin::Database(source) => source.studies(),
            Origin::Journal(journal) => journal.load_studies(),
        }
    }

    fn load(
        &self,
        name: &str,
        zone: Option<&Zone>,
    ) -> Result<(StudyRecord, Vec<TrialRecord>), StorageError> {
        match self {
            Origin::Database(source) => source.load(name, zone),
            Origin::Journal(journal) => {
                let study = journal.load_study(name)?;
                let study = study.ok_or_else(|| StorageError::NoStudy {
                    name: name.to_owned(),
                })?;
                Ok((study, journal.load_trials(name)?))
            }
        }
    }
}

pub(super) fn run(args: &OptunaArgs) -> anyhow::Result<Ending> {
    let (source, place) = open(&args.url)?;
    let (zone, times) = times(args, &source)?;
    let found = source.studies()?;
    let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
    let wanted = wanted(args, &names, &place)?;
    let store = args.store.open()?;
    let storage = store.storage();
    // All names are looked at before anything is written.
    for (theirs, ours) in &wanted {
        if let Some(there) = storage.load_study(ours)?
            && !is_begun(&there, theirs, &place)
        {
            bail!(
                "there is a study `{ours}` in `{}` already; give the copy another name: `automl import optuna {place} \
                 --study {theirs} --name NAME`",
                store.place()
            );
        }
    }
    for (theirs, ours) in &wanted {
        let (mut study, trials) = source.load(theirs, zone.as_ref())?;
        ours.clone_into(&mut study.name);
        let origin = json!({
            "from": place,
            "study": theirs,
            "optuna": source.version(),
            "times": times,
            "whole": false,
        });
        copy(&store, &*storage, study, &trials, origin)
            .with_context(|| format!("study `{theirs}` of `{place}`"))?;
        eprintln!(
            "{place} `{theirs}` → study `{ours}` in `{}`: {}",
            store.place(),
            states(&trials)
        );
    }
    if wanted.is_empty() {
        eprintln!("there is no study in `{place}`: nothing to copy");
    } else {
        eprintln!("times: {times}");
    }
    Ok(Ending::Done)
}

/// The storage, and how a person would name it.
fn open(url: &str) -> anyhow::Result<(Origin, String)> {
    if let Some(rest) = url.strip_prefix("sqlite://") {
        // As SQLAlchemy reads it: three slashes and a path, relative or not.
        let path = rest.strip_prefix('/').unwrap_or(rest);
        let path = path.split('?').next().unwrap_or(path);
        if path.is_empty() {
            bail!("`{url}` names no file; write `sqlite:///FILE`");
        }
        return open_file(Path::new(path));
    }
    if !is_url(url) {
        return open_file(Path::new(url));
    }
    let shown = redacted(url);
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    // SQLAlchemy wants the driver behind a plus.
    let kind = scheme.split('+').next().unwrap_or(scheme);
    if !matches!(kind, "postgres" | "postgresql") {
        bail!(
            "`{shown}` is no storage that can be read; a storage is an SQLite file, a journal, `sqlite:///FILE` or \
             `postgresql://user:password@host/database`. Copy others in Python first: \
             `optuna.copy_study(from_study_name=…, from_storage=…, to_storage=\"sqlite:///copy.db\")`"
        );
    }
    match Source::open_url(&format!("postgresql://{rest}")) {
        Err(DbError::NotBuilt { .. }) => bail!(
            "`{shown}` is a PostgreSQL database, and this program was built without PostgreSQL; build it with \
             `cargo build --release --features postgres`"
        ),
        source => Ok((Origin::Database(source?), shown)),
    }
}

fn open_file(path: &Path) -> anyhow::Result<(Origin, String)> {
    let shown = path.display().to_string();
    if !path.is_file() {
        bail!("there is no file `{shown}`; name the SQLite file of an Optuna storage");
    }
    if is_journal(path) {
        return Ok((
            Origin::Journal(Box::new(JournalStorage::open(path)?)),
            shown,
        ));
    }
    match Source::open(path) {
        Err(DbError::NotADatabase { .. }) => {
            bail!(
                "`{shown}` is neither an SQLite file nor a journal; name the file of an Optuna storage"
            )
        }
        source => Ok((Origin::Database(source?), shown)),
    }
}

/// A line of JSON with the code of an operation.
fn is_journal(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 512];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut start));
    read.is_ok_and(|n| {
        start.starts_with(b"{") && start[..n].windows(9).any(|w| w == b"\"op_code\"")
    })
}

/// The zone of the times that are stored, `None` for UTC, and a sentence about it.
fn times(args: &OptunaArgs, origin: &Origin) -> anyhow::Result<(Option<Zone>, String)> {
    let Origin::Database(source) = origin else {
        if let Some(name) = &args.time_zone {
            bail!(
                "--time-zone: the times of a journal have their zone with them, but for those of Optuna 4; set that of \
                 the machine for these: `TZ={name} automl import optuna …`"
            );
        }
        return Ok((
            None,
            "as the journal has them; those without a zone, which Optuna 4 wrote, are taken as local times of this \
             machine"
                .to_owned(),
        ));
    };
    let version = source.library_version().unwrap_or("an unknown version");
    if let Some(name) = &args.time_zone {
        return match Zone::named(name) {
            Some(zone) => Ok((Some(zone), format!("those of {name}, as asked for"))),
            None => {
                bail!(
                    "--time-zone: there is no zone `{name}`; write it as in `Europe/Berlin` or `UTC`"
                )
            }
        };
    }
    if !source.has_local_times() {
        return Ok((None, format!("UTC, as Optuna {version} writes them")));
    }
    let zone = Zone::of_machine();
    let name = zone.name().unwrap_or("the zone of this machine").to_owned();
    Ok((
        Some(zone),
        format!(
            "taken as local times of {name}, since Optuna {version} made the storage and wrote no zone; \
             --time-zone names another"
        ),
    ))
}

/// Which studies are copied, each with its name here.
fn wanted(args: &OptunaArgs, names: &[&str], place: &str) -> anyhow::Result<Vec<(String, String)>> {
    let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let listed = match listed.is_empty() {
        true => "none".to_owned(),
        false => listed.join(", "),
    };
    let pair = |theirs: &str| {
        let ours = args.name.as_deref().unwrap_or(theirs);
        (theirs.to_owned(), ours.to_owned())
    };
    match &args.study {
        Some(name) if !names.contains(&name.as_str()) => {
            bail!("there is no study `{name}` in `{place}`; there are: {listed}")
        }
        Some(name) => Ok(vec![pair(name)]),
        None if args.name.is_some() && names.len() != 1 => bail!(
            "--name: `{place}` has {} studies; say which one with `--study NAME`. There are: {listed}",
            names.len()
        ),
        None => Ok(names.iter().map(|name| pair(name)).collect()),
    }
}

/// Whether the study is the beginning of this copy.
fn is_begun(study: &StudyRecord, theirs: &str, place: &str) -> bool {
    study.system_attrs.get(IMPORTED).is_some_and(|origin| {
        origin["whole"] == false && origin["from"] == place && origin["study"] == theirs
    })
}

fn copy(
    store: &Store,
    storage: &dyn Storage,
    mut study: StudyRecord,
    trials: &[TrialRecord],
    mut origin: Json,
) -> anyhow::Result<()> {
    // Two copies at once would fight for the numbers.
    let _lock = store.lock_study(&study.name)?;
    study
        .system_attrs
        .insert(IMPORTED.to_owned(), origin.clone());
    if storage.load_study(&study.name)?.is_none() {
        storage.create_study(&study)?;
    }
    let before = storage.load_trials(&study.name)?;
    // Of a finished trial nothing changes any more; another one in its place is refused when it is written.
    let is_missing = |trial: &&TrialRecord| {
        let there = before.get(trial.number as usize);
        there.is_none_or(|there| {
            let ended = |t: &TrialRecord| (t.state, t.started, t.finished);
            !there.state.is_finished() || ended(there) != ended(trial)
        })
    };
    let missing: Vec<&TrialRecord> = trials.iter().filter(is_missing).collect();
    for part in missing.chunks(AT_ONCE) {
        let claim = Claim::Alone;
        let writes: Vec<Write<'_>> = part.iter().map(|&trial| Write { trial, claim }).collect();
        storage.write(&study.name, &writes)?;
    }
    origin["whole"] = true.into();
    let attrs = Attrs::from([(IMPORTED.to_owned(), origin)]);
    Ok(storage.annotate_study(&study.name, &Attrs::new(), &attrs)?)
}

fn states(trials: &[TrialRecord]) -> String {
    let count = |state| trials.iter().filter(|t| t.state == state).count();
    let parts: Vec<String> = [
        (TrialState::Complete, "complete"),
        (TrialState::Pruned, "pruned"),
        (TrialState::Fail, "failed"),
        (TrialState::Running, "running"),
        (TrialState::Waiting, "waiting"),
    ]
    .into_iter()
    .map(|(state, name)| (count(state), name))
    .filter(|(count, _)| *count > 0)
    .map(|(count, name)| format!("{count} {name}"))
    .collect();
    match parts.is_empty() {
        true => "no trials".to_owned(),
        false => format!("{} trials ({})", trials.len(), parts.join(", ")),
    }
}
