//! Registering versions: first the files, then the rows.

use crate::fsio::{self, FileError};
use crate::tracking::Artifact;

use super::log::{Action, Move};
use super::version::{NewVersion, Registered, Stage};
use super::{Registry, RegistryError, log, tables};

impl Registry {
    /// Registers a version as a candidate. The same set of files under the same names is no new version; a file of
    /// it that was lost or damaged is restored.
    ///
    /// # Errors
    /// [`RegistryError::ModelName`]; [`RegistryError::Files`] without files, or with two of one name; files or
    /// database cannot be written, and then no version was added.
    pub fn register(&self, new: &NewVersion) -> Result<Registered, RegistryError> {
        check(new)?;
        let _lock = self.lock(&new.model)?;
        let artifacts = self.store.artifacts();
        let digest = digest(new);

        let known = self.store.db().read(|tx| {
            tx.first(
                "SELECT v.version FROM registry_versions v JOIN registry_models m USING (model_id)
                 WHERE m.name = ?1 AND v.digest = ?2",
                &[(&new.model).into(), (&digest).into()],
                |row| Ok::<_, RegistryError>(row.count(0)?),
            )
        })?;
        if let Some(version) = known {
            let record = self.show(&new.model, version)?;
            for file in &record.files {
                let bytes = new.files.iter().find(|(name, _)| *name == file.name);
                if let Some((_, bytes)) = bytes
                    && artifacts.read(&file.path, &file.sha256).is_err()
                {
                    artifacts.write(&file.path, bytes)?;
                }
            }
            return Ok(Registered {
                version,
                created: false,
                stage: record.stage,
            });
        }

        let version = self.store.db().read(|tx| {
            let last = tx.first(
                "SELECT MAX(v.version) FROM registry_versions v JOIN registry_models m USING (model_id)
                 WHERE m.name = ?1",
                &[(&new.model).into()],
                |row| Ok::<_, RegistryError>(row.opt_int(0)?),
            )?;
            Ok::<_, RegistryError>(last.flatten().map_or(1, |n| n as u64 + 1))
        })?;
        let folder = format!("models/{}/{version}", new.model);
        // No version has this number, so what is there was left by a registration that did not end.
        let stale = artifacts.file(&folder)?;
        if stale.exists() {
            std::fs::remove_dir_all(&stale).map_err(|source| FileError {
                action: "cannot remove",
                path: stale,
                source,
            })?;
        }
        let mut written = Vec::new();
        for (name, bytes) in &new.files {
            written.push(artifacts.write(&format!("{folder}/{name}"), bytes)?);
        }
        self.record(new, version, &digest, &written)?;
        Ok(Registered {
            version,
            created: true,
            stage: Stage::Candidate,
        })
    }

    fn record(
        &self,
        new: &NewVersion,
        version: u64,
        digest: &str,
        written: &[Artifact],
    ) -> Result<(), RegistryError> {
        let json = |what: serde_json::Result<String>| {
            what.map_err(|e| RegistryError::Files {
                model: new.model.clone(),
                what: format!("its description is not JSON: {e}"),
            })
        };
        let primary = json(serde_json::to_string(&new.primary))?;
        let dataset = json(serde_json::to_string(&new.dataset))?;
        let gate = json(serde_json::to_string(&new.gate))?;
        let source = json(serde_json::to_string(&new.source))?;
        let now = self.clock.now().to_sql();
        self.store.db().write(|tx| {
            tx.execute(
                "INSERT INTO registry_models (name) VALUES (?1) ON CONFLICT (name) DO NOTHING",
                &[(&new.model).into()],
            )?;
            let model_id = tables::model_id(tx, &new.model)?;
            let version_id = tx.first(
                "INSERT INTO registry_versions (model_id, version, stage, created, digest, metrics, primary_metric,
                                                params, dataset, study, trial, gate, source)
                 VALUES (?1, ?2, 'candidate', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 RETURNING version_id",
                &[
                    model_id.into(),
                    version.into(),
                    (&now).into(),
                    digest.into(),
                    (&tables::write_metrics(&new.metrics)).into(),
                    (&primary).into(),
                    (&new.params.to_string()).into(),
                    (&dataset).into(),
                    new.study.as_ref().into(),
                    new.trial.into(),
                    (&gate).into(),
                    (&source).into(),
                ],
                |row| Ok::<_, RegistryError>(row.int(0)?),
            )?;
            for (position, ((name, _), file)) in new.files.iter().zip(written).enumerate() {
                tx.execute(
                    "INSERT INTO registry_files (version_id, position, name, path, sha256, bytes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    &[
                        version_id.into(),
                        (position as i64).into(),
                        name.into(),
                        (&file.path).into(),
                        (&file.sha256).into(),
                        file.bytes.into(),
                    ],
                )?;
            }
            let why = match (&new.study, new.trial) {
                (Some(study), Some(trial)) => format!("trial {trial} of study {study}"),
                (Some(study), None) => format!("study {study}"),
                _ => "registered".to_owned(),
            };
            log::append(
                tx,
                &Move {
                    at: &now,
                    who: &self.actor,
                    action: Action::Register,
                    model: &new.model,
                    version,
                    from: None,
                    to: Some(Stage::Candidate),
                    why: &why,
                    report: None,
                },
            )
        })
    }
}

/// Checks that `name` can name a model, which [`Registry::register`] asks of it.
///
/// # Errors
/// [`RegistryError::ModelName`].
pub fn check_name(name: &str) -> Result<(), RegistryError> {
    let fits = name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits {
        Ok(())
    } else {
        Err(RegistryError::ModelName {
            name: name.to_owned(),
        })
    }
}

fn check(new: &NewVersion) -> Result<(), RegistryError> {
    let name = new.model.as_str();
    check_name(name)?;
    let refuse = |what: String| {
        Err(RegistryError::Files {
            model: name.to_owned(),
            what,
        })
    };
    if new.files.is_empty() {
        return refuse("it has no files".to_owned());
    }
    for (i, (file, _)) in new.files.iter().enumerate() {
        if new.files[..i].iter().any(|(other, _)| other == file) {
            return refuse(format!("two of its files are named `{file}`"));
        }
    }
    Ok(())
}

/// One hash for the set of files: names and contents, in whatever order.
fn digest(new: &NewVersion) -> String {
    let mut lines: Vec<String> = new
        .files
        .iter()
        .map(|(name, bytes)| format!("{} {name}\n", fsio::sha256(bytes)))
        .collect();
    lines.sort();
    fsio::sha256(lines.concat().as_bytes())
}
