//! From what a person types, as in `churn@production`, to a version and its file.

use std::path::PathBuf;

use crate::names;

use super::version::{Stage, VersionRecord};
use super::{Registry, RegistryError};

impl Registry {
    /// The version that `spec` names, and the path of its model file. `NAME@STAGE` is the newest version in that
    /// stage, `NAME:NUMBER` the version of that number. The file's hash is not checked; [`Registry::read_file`]
    /// does.
    ///
    /// # Errors
    /// [`RegistryError::Spec`], [`RegistryError::NoModel`], [`RegistryError::NoVersion`],
    /// [`RegistryError::NoneInStage`], [`RegistryError::NoStage`], each saying what exists.
    pub fn resolve(&self, spec: &str) -> Result<(VersionRecord, PathBuf), RegistryError> {
        let version = if let Some((model, stage)) = spec.rsplit_once('@') {
            let stage: Stage = stage.parse()?;
            let versions = self.list(Some(model))?;
            let hint = stages_of(&versions);
            versions
                .into_iter()
                .rfind(|v| v.stage == stage)
                .ok_or_else(|| RegistryError::NoneInStage {
                    model: model.to_owned(),
                    stage,
                    hint,
                })?
        } else if let Some((model, number)) = spec.rsplit_once(':') {
            let number: u64 = number
                .strip_prefix('v')
                .unwrap_or(number)
                .parse()
                .map_err(|_| unclear(spec, model))?;
            self.show(model, number)?
        } else {
            // A model that does not exist is the more useful thing to hear.
            self.list(Some(spec))?;
            return Err(unclear(spec, spec));
        };
        // A version has at least one file, and the first is the model.
        let path = self.store.artifacts().file(&version.files[0].path)?;
        Ok((version, path))
    }
}

fn unclear(spec: &str, model: &str) -> RegistryError {
    RegistryError::Spec {
        spec: spec.to_owned(),
        model: if model.is_empty() { "churn" } else { model }.to_owned(),
    }
}

/// "it has churn:1 (archived), churn:2 (production)", the newest ten.
pub(super) fn stages_of(versions: &[VersionRecord]) -> String {
    if versions.is_empty() {
        return "it has no versions".to_owned();
    }
    let skipped = versions.len().saturating_sub(10);
    let mut list: Vec<String> = versions[skipped..]
        .iter()
        .map(|v| format!("{}:{} ({})", v.model, v.version, v.stage))
        .collect();
    if skipped > 0 {
        list.insert(0, format!("{skipped} older ones"));
    }
    format!("it has {}", list.join(", "))
}

/// Which models exist, with the one that was probably meant.
pub(super) fn models_hint(name: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "none is registered yet; `automl study FILE` registers one".to_owned();
    }
    if let Some(near) = names::nearest(name, known.iter().map(String::as_str)) {
        return format!("did you mean `{near}`?");
    }
    format!("there is {}", known.join(", "))
}
