//! A study as the SQLite file that MLflow opens, with the artifacts in a folder beside it.
//!
//! The tables are those of schema revision `acf3f17fdcc7` (MLflow 2.8), the oldest that every release since brings to its own
//! form when it opens the file, with all that is in it. From then on the file belongs to MLflow: it is not replaced any
//! more, and neither is a file that holds anything which is not ours.
//!
//! **Contract.** The file is replaced whole or not at all, and the artifacts that it names are written before. The same
//! studies give the same keys of runs, so what is written again replaces what was there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rusqlite::{Connection, OpenFlags, Transaction, params};

use crate::fsio;
use crate::study::record::{StudyRecord, TrialRecord};
use crate::tracking::Store;

use super::MlflowError;
use super::client::user;
use super::folder::{PATH, folder};
use super::run::{ID_TAG, Metric, ModelFacts, RunFacts, STUDY_TAG, millis, study_run, trial_run};
use super::spool::Ending;

/// The revision of the schema.
pub const REVISION: &str = "acf3f17fdcc7";

/// Marks the file as ours, in the header of the database: `AUTM`.
const APPLICATION: i32 = 0x4155_544d;

/// What is not written as it is in a `file:` address.
const URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`');

/// The tables as the migrations of MLflow 2.8 leave them.
const SCHEMA: &str = include_str!("file/schema.sql");

/// A study with everything that goes into the file.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Its settings.
    pub study: StudyRecord,
    /// Its trials; those that are finished are written.
    pub trials: Vec<TrialRecord>,
    /// Its versions.
    pub models: Vec<ModelFacts>,
    /// How it ended.
    pub ending: Ending,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Runs, those of studies included.
    pub runs: usize,
    /// Versions of registered models.
    pub versions: usize,
    /// Why a version has no form that Python can load, where it has none.
    pub without_python: Vec<String>,
}

/// Writes studies to `file` and their models below `artifacts`, an absolute path.
///
/// # Errors
/// [`MlflowError::Foreign`] when what is there is not ours to replace; a file that cannot be written.
pub fn write(
    store: &Store,
    studies: &[Exported],
    file: &Path,
    artifacts: &Path,
) -> Result<Written, MlflowError> {
    let names: Vec<&str> = studies.iter().map(|s| s.study.name.as_str()).collect();
    check_ours(file, &names)?;
    let mut written = Written::default();
    let mut rows = Rows {
        store,
        artifacts,
        runs: Vec::new(),
        versions: Vec::new(),
        without_python: Vec::new(),
    };
    for (at, exported) in studies.iter().enumerate() {
        rows.study(at as i64 + 1, exported)?;
    }
    written.runs = rows.runs.len();
    written.versions = rows.versions.len();
    written.without_python.clone_from(&rows.without_python);

    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let error = |what: String| MlflowError::Write {
        path: file.to_owned(),
        what,
    };
    // In a folder of its own, for what SQLite puts beside a database.
    let made = tempfile::Builder::new()
        .prefix(".automl-")
        .tempdir_in(folder)
        .map_err(|e| error(e.to_string()))?;
    let temporary = made.path().join("mlflow.db");
    fill(&temporary, studies, &rows).map_err(|e| error(e.to_string()))?;
    let bytes = fsio::read(&temporary)?;
    fsio::replace(file, |out| out.write_all(&bytes))?;
    Ok(written)
}

/// Refuses to replace what is there, unless this program wrote it and nobody has written to it since.
fn check_ours(file: &Path, studies: &[&str]) -> Result<(), MlflowError> {
    if !file.exists() {
        return Ok(());
    }
    let foreign = |what: String| {
        Err(MlflowError::Foreign {
            path: file.to_owned(),
            what,
        })
    };
    let beside = |ending: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    // Opening it would make these go away when they are empty.
    if beside("-wal").exists() || beside("-journal").exists() {
        return foreign("another program has it open, or ended while it wrote to it".to_owned());
    }
    let found = (|| {
        let open = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = Connection::open_with_flags(file, open)?;
        let mark: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let revision: String =
            conn.query_row("SELECT version_num FROM alembic_version", [], |row| {
                row.get(0)
            })?;
        let mut strange = None;
        if mark == APPLICATION && revision == REVISION {
            let others = "SELECT COUNT(*) FROM runs WHERE run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = ?1)";
            let others: i64 = conn.query_row(others, [ID_TAG], |row| row.get(0))?;
            if others > 0 {
                strange = Some(format!("it holds {others} runs of other programs"));
            }
            let mut held = conn.prepare("SELECT DISTINCT value FROM tags WHERE key = ?1")?;
            let held = held.query_map([STUDY_TAG], |row| row.get::<_, String>(0))?;
            for study in held {
                let study = study?;
                if !studies.contains(&study.as_str()) {
                    strange = Some(format!(
                        "it also holds study `{study}`; name that too, with another `--study {study}`"
                    ));
                }
            }
        }
        Ok::<_, rusqlite::Error>((mark, revision, strange))
    })();
    match found {
        Err(_) => foreign("it is no file for MLflow that this program wrote".to_owned()),
        Ok((_, revision, _)) if revision != REVISION => foreign(format!(
            "MLflow has brought it to its own schema ({revision}), and it belongs to MLflow now"
        )),
        Ok((mark, ..)) if mark != APPLICATION => foreign("another program wrote it".to_owned()),
        Ok((_, _, Some(what))) => foreign(what),
        Ok(_) => Ok(()),
    }
}

/// A run with its key and place.
struct RunRow {
    key: String,
    parent: Option<String>,
    experiment: i64,
    artifacts: String,
    facts: RunFacts,
}

/// A version with its place.
struct VersionRow {
    facts: ModelFacts,
    study: String,
    run: String,
    source: String,
}

/// What goes into the tables. Making it writes the artifacts.
struct Rows<'a> {
    store: &'a Store,
    artifacts: &'a Path,
    runs: Vec<RunRow>,
    versions: Vec<VersionRow>,
    without_python: Vec<String>,
}

impl Rows<'_> {
    fn study(&mut self, experiment: i64, exported: &Exported) -> Result<(), MlflowError> {
        let Exported {
            study,
            trials,
            models,
            ending,
        } = exported;
        // In a file of one store a study is known by its name.
        let origin = &fsio::sha256(format!("study {}", study.name).as_bytes())[..32];
        let ended = ending.ended.map(millis);
        let parent = study_run(origin, study, trials, models, ending.status, ended);
        let parent_key = self.run(experiment, parent, None);
        for trial in trials.iter().filter(|t| t.state.is_finished()) {
            let facts = trial_run(origin, study, trial);
            self.run(experiment, facts, Some(parent_key.clone()));
        }
        for model in models {
            let files = &model.file;
            let bytes = self.store.artifacts().read(&files.path, &files.sha256)?;
            let made = folder(model, &bytes, &parent_key, None)?;
            // Of several versions each needs a folder.
            let place = match models.len() {
                1 => PATH.to_owned(),
                _ => format!("{PATH}-{}", model.version),
            };
            let under = self.folder_of(experiment, &parent_key).join(&place);
            for (name, bytes) in &made.files {
                let path = under.join(name);
                if let Some(folder) = path.parent() {
                    fsio::create_dir(folder)?;
                }
                fsio::replace(&path, |out| out.write_all(bytes))?;
            }
            self.without_python.extend(made.without_python);
            self.versions.push(VersionRow {
                facts: model.clone(),
                study: study.name.clone(),
                run: parent_key.clone(),
                source: uri(&under),
            });
        }
        Ok(())
    }

    fn folder_of(&self, experiment: i64, run: &str) -> PathBuf {
        let experiment = self.artifacts.join(experiment.to_string());
        experiment.join(run).join("artifacts")
    }

    fn run(&mut self, experiment: i64, facts: RunFacts, parent: Option<String>) -> String {
        let key = fsio::sha256(facts.id.as_bytes())[..32].to_owned();
        self.runs.push(RunRow {
            artifacts: uri(&self.folder_of(experiment, &key)),
            key: key.clone(),
            parent,
            experiment,
            facts,
        });
        key
    }
}

fn uri(path: &Path) -> String {
    format!(
        "file://{}",
        utf8_percent_encode(&path.to_string_lossy(), URI)
    )
}

fn fill(file: &Path, studies: &[Exported], rows: &Rows<'_>) -> rusqlite::Result<()> {
    let mut conn = Connection::open(file)?;
    conn.pragma_update(None, "application_id", APPLICATION)?;
    let tx = conn.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute("INSERT INTO alembic_version VALUES (?1)", [REVISION])?;
    // MLflow expects experiment 0 to be there.
    let mut experiments = vec![(0, "Default")];
    experiments.extend(
        studies
            .iter()
            .zip(1..)
            .map(|(s, id)| (id, s.study.name.as_str())),
    );
    for (id, name) in experiments {
        let runs = rows.runs.iter().filter(|r| r.experiment == id);
        let (begun, last) = runs.fold((None::<i64>, None::<i64>), |(begun, last), run| {
            let (from, to) = (run.facts.started, run.facts.ended);
            (Some(begun.map_or(from, |b| b.min(from))), last.max(to))
        });
        let name: String = name.chars().take(256).collect();
        let place = uri(&rows.artifacts.join(id.to_string()));
        tx.execute(
            "INSERT INTO experiments VALUES (?1, ?2, ?3, 'active', ?4, ?5)",
            params![
                id,
                name,
                place,
                begun.unwrap_or(0),
                last.or(begun).unwrap_or(0)
            ],
        )?;
    }
    let user = user();
    for row in &rows.runs {
        run(&tx, row, &user)?;
    }
    for row in &rows.versions {
        version(&tx, row, &user)?;
    }
    tx.commit()?;
    conn.close().map_err(|(_, error)| error)
}

fn run(tx: &Transaction<'_>, row: &RunRow, user: &str) -> rusqlite::Result<()> {
    let RunRow {
        key,
        experiment,
        facts,
        ..
    } = row;
    tx.prepare_cached(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
         source_version, lifecycle_stage, artifact_uri, experiment_id)
         VALUES (?1, ?2, 'LOCAL', 'automl', '', ?3, ?4, ?5, ?6, '', 'active', ?7, ?8)",
    )?
    .execute(params![
        key,
        facts.name.chars().take(250).collect::<String>(),
        user,
        facts.status.name(),
        facts.started,
        facts.ended,
        row.artifacts,
        experiment
    ])?;
    let mut tags = facts.tags.clone();
    tags.insert("mlflow.user".to_owned(), user.to_owned());
    tags.insert("mlflow.runName".to_owned(), facts.name.clone());
    if let Some(parent) = &row.parent {
        tags.insert("mlflow.parentRunId".to_owned(), parent.clone());
    }
    for (name, value) in &tags {
        tx.prepare_cached("INSERT INTO tags VALUES (?1, ?2, ?3)")?
            .execute(params![name, value, key])?;
    }
    for (name, value) in &facts.params {
        tx.prepare_cached("INSERT INTO params VALUES (?1, ?2, ?3)")?
            .execute(params![name, value, key])?;
    }
    let mut latest: BTreeMap<&str, (&Metric, f64)> = BTreeMap::new();
    for metric in &facts.metrics {
        let value = stored(metric.value);
        tx.prepare_cached("INSERT OR IGNORE INTO metrics VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                metric.key,
                value,
                metric.time,
                key,
                metric.step,
                metric.value.is_nan()
            ])?;
        // MLflow's order: step, then time, then value.
        let place = |m: &Metric| (m.step, m.time);
        let newer = latest.get(metric.key.as_str()).is_none_or(|(known, v)| {
            place(metric) > place(known) || (place(metric) == place(known) && value > *v)
        });
        if newer {
            latest.insert(&metric.key, (metric, value));
        }
    }
    for (name, (metric, value)) in latest {
        tx.prepare_cached("INSERT INTO latest_metrics VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                name,
                value,
                metric.time,
                metric.step,
                metric.value.is_nan(),
                key
            ])?;
    }
    if let Some(data) = &facts.dataset {
        let id = |what: &str| {
            let hash = fsio::sha256(format!("{what} {key} {}", data.digest).as_bytes());
            hash[..32].to_owned()
        };
        let (dataset, input) = (id("dataset"), id("input"));
        tx.execute(
            "INSERT INTO datasets VALUES (?1, ?2, ?3, ?4, 'local', ?5, ?6, ?7)",
            params![
                dataset,
                experiment,
                data.name,
                data.digest,
                data.source,
                data.schema,
                data.profile
            ],
        )?;
        tx.execute(
            "INSERT INTO inputs VALUES (?1, 'DATASET', ?2, 'RUN', ?3)",
            params![input, dataset, key],
        )?;
        tx.execute(
            "INSERT INTO input_tags VALUES (?1, 'mlflow.data.context', 'training')",
            [&input],
        )?;
    }
    Ok(())
}

/// SQL has no NaN, and MLflow keeps infinities as the largest numbers.
fn stored(value: f64) -> f64 {
    match value.is_nan() {
        true => 0.0,
        false => value.clamp(-f64::MAX, f64::MAX),
    }
}

fn version(tx: &Transaction<'_>, row: &VersionRow, user: &str) -> rusqlite::Result<()> {
    let VersionRow { facts, source, .. } = row;
    let time = millis(facts.created);
    let number = i64::try_from(facts.version).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO registered_models VALUES (?1, ?2, ?2, NULL)
         ON CONFLICT (name) DO UPDATE SET last_updated_time = excluded.last_updated_time",
        params![facts.model, time],
    )?;
    tx.execute(
        "INSERT INTO model_versions (name, version, creation_time, last_updated_time, user_id, current_stage, source,
         run_id, status, run_link, storage_location) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, 'READY', '', ?6)",
        params![
            facts.model,
            number,
            time,
            user,
            facts.mlflow_stage(),
            source,
            row.run
        ],
    )?;
    let mut tags = vec![
        (STUDY_TAG, row.study.clone()),
        ("automl.sha256", facts.file.sha256.clone()),
    ];
    if let Some(trial) = facts.trial {
        tags.push(("automl.trial", trial.to_string()));
    }
    for (name, value) in tags {
        tx.execute(
            "INSERT INTO model_version_tags VALUES (?1, ?2, ?3, ?4)",
            params![name, value, facts.model, number],
        )?;
    }
    if let Some(alias) = facts.alias() {
        // Of several in one stage the newest has the alias.
        tx.execute(
            "INSERT INTO registered_model_aliases VALUES (?1, ?2, ?3)
             ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version",
            params![alias, number, facts.model],
        )?;
    }
    Ok(())
}
