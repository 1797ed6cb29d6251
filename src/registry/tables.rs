//! The tables of the registry, and reading versions from them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::db::{Component, Row, Tx};

use super::version::{DatasetRef, FileRecord, Primary, Stage, VersionRecord};
use super::{RegistryError, resolve};

pub(super) const TABLES: Component = Component {
    name: "registry",
    steps: &["
CREATE TABLE registry_models (
    model_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE registry_versions (
    version_id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL REFERENCES registry_models (model_id),
    version INTEGER NOT NULL CHECK (version >= 1),
    stage TEXT NOT NULL CHECK (stage IN ('candidate', 'staging', 'production', 'archived')),
    created TEXT NOT NULL,
    digest TEXT NOT NULL,
    metrics TEXT NOT NULL,
    primary_metric TEXT NOT NULL,
    params TEXT NOT NULL,
    dataset TEXT NOT NULL,
    study TEXT,
    trial INTEGER,
    gate TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (model_id, version),
    UNIQUE (model_id, digest)
);
CREATE UNIQUE INDEX registry_one_production ON registry_versions (model_id) WHERE stage = 'production';
CREATE TABLE registry_files (
    version_id INTEGER NOT NULL REFERENCES registry_versions (version_id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (version_id, position),
    UNIQUE (version_id, name)
) WITHOUT ROWID;
CREATE TABLE registry_log (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    from_stage TEXT,
    to_stage TEXT,
    why TEXT NOT NULL,
    gates TEXT,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TRIGGER registry_log_no_update BEFORE UPDATE ON registry_log
    BEGIN SELECT RAISE(ABORT, 'the registry log is append-only'); END;
CREATE TRIGGER registry_log_no_delete BEFORE DELETE ON registry_log
    BEGIN SELECT RAISE(ABORT, 'the registry log is append-only'); END;
"],
    // Names sort by their bytes, as in SQLite, whatever the database's language is.
    postgres: &[r#"
CREATE TABLE registry_models (
    model_id BIGSERIAL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE registry_versions (
    version_id BIGSERIAL PRIMARY KEY,
    model_id BIGINT NOT NULL REFERENCES registry_models (model_id),
    version BIGINT NOT NULL CHECK (version >= 1),
    stage TEXT NOT NULL CHECK (stage IN ('candidate', 'staging', 'production', 'archived')),
    created TEXT NOT NULL,
    digest TEXT NOT NULL,
    metrics TEXT NOT NULL,
    primary_metric TEXT NOT NULL,
    params TEXT NOT NULL,
    dataset TEXT NOT NULL,
    study TEXT,
    trial BIGINT,
    gate TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (model_id, version),
    UNIQUE (model_id, digest)
);
CREATE UNIQUE INDEX registry_one_production ON registry_versions (model_id) WHERE stage = 'production';
CREATE TABLE registry_files (
    version_id BIGINT NOT NULL REFERENCES registry_versions (version_id),
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (version_id, position),
    UNIQUE (version_id, name)
);
CREATE TABLE registry_log (
    seq BIGINT PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    from_stage TEXT,
    to_stage TEXT,
    why TEXT NOT NULL,
    gates TEXT,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE FUNCTION registry_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the registry log is append-only'; END $$;
CREATE TRIGGER registry_log_no_change BEFORE UPDATE OR DELETE ON registry_log
    FOR EACH ROW EXECUTE FUNCTION registry_log_append_only();
CREATE TRIGGER registry_log_no_truncate BEFORE TRUNCATE ON registry_log
    FOR EACH STATEMENT EXECUTE FUNCTION registry_log_append_only();
"#],
};

pub(super) fn models(tx: &Tx<'_>) -> Result<Vec<String>, RegistryError> {
    tx.rows(
        "SELECT name FROM registry_models ORDER BY name",
        &[],
        |row| Ok(row.text(0)?.to_owned()),
    )
}

/// The key of a model.
pub(super) fn model_id(tx: &Tx<'_>, name: &str) -> Result<i64, RegistryError> {
    let id = tx.first(
        "SELECT model_id FROM registry_models WHERE name = ?1",
        &[name.into()],
        |row| Ok::<_, RegistryError>(row.int(0)?),
    )?;
    match id {
        Some(id) => Ok(id),
        None => Err(RegistryError::NoModel {
            name: name.to_owned(),
            hint: resolve::models_hint(name, &models(tx)?),
        }),
    }
}

/// The versions of a model by number; empty when there is no such model.
pub(super) fn versions(
    tx: &Tx<'_>,
    model: &str,
    path: &Path,
) -> Result<Vec<VersionRecord>, RegistryError> {
    let mut out = tx.rows(
        "SELECT v.version, v.stage, v.created, v.metrics, v.primary_metric, v.params, v.dataset, v.study, v.trial,
                v.source, v.version_id, v.gate
         FROM registry_versions v JOIN registry_models m USING (model_id)
         WHERE m.name = ?1 ORDER BY v.version",
        &[model.into()],
        |row| Ok::<_, RegistryError>((read_version(row, model, path)?, row.int(10)?)),
    )?;
    for (version, id) in &mut out {
        version.files = tx.rows(
            "SELECT name, path, sha256, bytes FROM registry_files WHERE version_id = ?1 ORDER BY position",
            &[(*id).into()],
            |row| {
                Ok::<_, RegistryError>(FileRecord {
                    name: row.text(0)?.to_owned(),
                    path: row.text(1)?.to_owned(),
                    sha256: row.text(2)?.to_owned(),
                    bytes: row.count(3)?,
                })
            },
        )?;
        if version.files.is_empty() {
            return Err(RegistryError::Corrupt {
                path: path.to_owned(),
                what: format!("version {} of `{model}` has no files", version.version),
            });
        }
    }
    Ok(out.into_iter().map(|(version, _)| version).collect())
}

fn read_version(row: &Row<'_>, model: &str, path: &Path) -> Result<VersionRecord, RegistryError> {
    let version = row.count(0)?;
    let corrupt = |what: String| RegistryError::Corrupt {
        path: path.to_owned(),
        what: format!("version {version} of `{model}`: {what}"),
    };
    fn parse<T: DeserializeOwned>(
        text: &str,
        what: &str,
        corrupt: &impl Fn(String) -> RegistryError,
    ) -> Result<T, RegistryError> {
        serde_json::from_str(text).map_err(|e| corrupt(format!("{what}: {e}")))
    }
    let created = row.text(2)?;
    let metrics: BTreeMap<String, Json> = parse(row.text(3)?, "metrics", &corrupt)?;
    Ok(VersionRecord {
        model: model.to_owned(),
        version,
        stage: row.text(1)?.parse()?,
        created: Timestamp::from_sql(created)
            .ok_or_else(|| corrupt(format!("the time `{created}`")))?,
        files: Vec::new(),
        metrics: metrics
            .into_iter()
            .map(|(name, value)| match read_metric(&value) {
                Some(value) => Ok((name, value)),
                None => Err(corrupt(format!("the metric `{name}` is {value}"))),
            })
            .collect::<Result<_, _>>()?,
        primary: parse::<Primary>(row.text(4)?, "primary metric", &corrupt)?,
        params: parse(row.text(5)?, "parameters", &corrupt)?,
        dataset: parse::<DatasetRef>(row.text(6)?, "dataset", &corrupt)?,
        study: row.opt_text(7)?.map(str::to_owned),
        trial: match row.opt_int(8)? {
            Some(_) => Some(row.count(8)?),
            None => None,
        },
        gate: parse(row.text(11)?, "gate", &corrupt)?,
        source: parse(row.text(9)?, "source", &corrupt)?,
    })
}

/// Metrics as JSON; NaN and infinities, which JSON has no numbers for, as words.
pub(super) fn write_metrics(metrics: &BTreeMap<String, f64>) -> String {
    let object: serde_json::Map<String, Json> = metrics
        .iter()
        .map(|(name, value)| {
            let value = if value.is_finite() {
                json!(value)
            } else {
                json!(value.to_string())
            };
            (name.clone(), value)
        })
        .collect();
    Json::Object(object).to_string()
}

fn read_metric(value: &Json) -> Option<f64> {
    match value {
        Json::Number(v) => v.as_f64(),
        Json::String(v) if ["NaN", "inf", "-inf"].contains(&v.as_str()) => v.parse().ok(),
        _ => None,
    }
}

/// Moves a version; the caller logs it.
pub(super) fn set_stage(
    tx: &Tx<'_>,
    model: &str,
    version: u64,
    stage: Stage,
) -> Result<(), RegistryError> {
    tx.execute(
        "UPDATE registry_versions SET stage = ?3
         WHERE version = ?2 AND model_id = (SELECT model_id FROM registry_models WHERE name = ?1)",
        &[model.into(), version.into(), stage.name().into()],
    )?;
    Ok(())
}
