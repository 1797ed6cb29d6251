//! A study beside MLflow: where it goes, what is said at its end.

use std::env;
use std::path::Path;

use anyhow::Context as _;

use crate::clock::{Clock as _, SystemClock};
use crate::registry::{Registry, RegistryError};
use crate::study::Study;
use crate::tracking::mlflow::background::Pace;
use crate::tracking::mlflow::run::RunStatus;
use crate::tracking::mlflow::{
    Background, Ending, Left, ModelFacts, Target, URI_VARIABLE, address, spool,
};
use crate::tracking::{Artifact, DEFAULT_FOLDER, Store};
use crate::tune::experiment::TrackingSpec;

/// Where a study goes, if anywhere: the environment over the file. `file` is how messages call the file.
pub(super) fn target(
    spec: &TrackingSpec,
    study: &str,
    file: &str,
) -> anyhow::Result<Option<Target>> {
    let (typed, place) = match env::var(URI_VARIABLE) {
        Ok(typed) => (
            Some(typed).filter(|t| !t.trim().is_empty()),
            URI_VARIABLE.to_owned(),
        ),
        Err(_) => (spec.mlflow.clone(), format!("{file}: tracking.mlflow")),
    };
    let Some(typed) = typed else { return Ok(None) };
    let experiment = spec.experiment.clone();
    Ok(Some(Target {
        server: address(&typed).context(place)?,
        experiment: experiment.unwrap_or_else(|| study.to_owned()),
    }))
}

/// Notes where a study goes that is asked and told by scripts: `automl tracking sync` sends it.
pub(super) fn note(store: &Store, study: &str, target: Option<&Target>) -> anyhow::Result<()> {
    let Some(target) = target else { return Ok(()) };
    let known = spool::noted(store.db(), study)?;
    if known.is_none_or(|noted| noted.target != *target) {
        spool::note(store.db(), study, target, None)?;
    }
    Ok(())
}

/// A study that is being sent, or none. When it is dropped without a word, the study failed.
pub(super) struct Sending<'a> {
    background: Option<Background>,
    store: &'a Store,
    study: String,
    quiet: bool,
}

impl<'a> Sending<'a> {
    /// Begins to send what `study` does, if it goes anywhere. Nothing that goes wrong here stops the study.
    pub(super) fn begin(
        store: &'a Store,
        study: &mut Study,
        target: Option<&Target>,
        quiet: bool,
    ) -> Self {
        let mut sending = Sending {
            background: None,
            store,
            study: study.name().to_owned(),
            quiet,
        };
        let Some(target) = target else { return sending };
        let behind = study.progress().finished() > 0;
        match Background::start(store, study.name(), target, behind, Pace::default()) {
            Ok(background) => {
                study.observe(background.observer());
                sending.background = Some(background);
            }
            Err(error) => eprintln!("note: nothing is sent to MLflow: {error}"),
        }
        sending
    }

    /// Sends what is left and says what is not sent.
    pub(super) fn end(mut self, status: RunStatus) {
        self.say_farewell(status);
    }

    fn say_farewell(&mut self, status: RunStatus) {
        let Some(background) = self.background.take() else {
            return;
        };
        let ending = Ending {
            status,
            ended: Some(SystemClock.now()),
        };
        let models = versions(self.store, &self.study).unwrap_or_default();
        match background.finish(ending, models) {
            Ok(left) => {
                if let Some(line) = unsent_line(&left) {
                    let hint = sync_command(self.store, &self.study);
                    eprintln!("{line}; hint: {hint}");
                } else if let Some(page) = left.page.filter(|_| !self.quiet) {
                    eprintln!("mlflow {page}");
                }
            }
            Err(error) => eprintln!(
                "mlflow: {error}; hint: {}",
                sync_command(self.store, &self.study)
            ),
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.say_farewell(RunStatus::Failed);
    }
}

/// What a server does not have, in one line; none when it has everything.
fn unsent_line(left: &Left) -> Option<String> {
    if left.is_nothing() {
        return None;
    }
    let mut parts = Vec::new();
    let mut count = |n: usize, what: &str| {
        if n > 0 {
            parts.push(counted(n, what));
        }
    };
    count(left.trials, "trial");
    count(left.models, "model version");
    if parts.is_empty() {
        parts.push("the end of the study".to_owned());
    }
    let why = left
        .why
        .as_ref()
        .map_or(String::new(), |w| format!(" ({w})"));
    Some(format!(
        "mlflow: not sent yet: {}{why}",
        parts.join(" and ")
    ))
}

/// What to type to send the rest.
pub(super) fn sync_command(store: &Store, study: &str) -> String {
    let folder = store.folder();
    let place = match folder == Path::new(DEFAULT_FOLDER) {
        true => String::new(),
        false => format!(" --store {}", folder.display()),
    };
    format!("automl tracking sync {study}{place}")
}

/// A number of things, as in `1 run` and `3 runs`.
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The versions that came out of a study, in plain records.
pub(super) fn versions(store: &Store, study: &str) -> Result<Vec<ModelFacts>, RegistryError> {
    let registry = Registry::open(store)?;
    let mut out = Vec::new();
    for version in registry.list(None)? {
        if version.study.as_deref() != Some(study) {
            continue;
        }
        let file = &version.files[0];
        out.push(ModelFacts {
            stage: version.stage.name().to_owned(),
            trial: version.trial,
            created: version.created,
            file: Artifact {
                path: file.path.clone(),
                sha256: file.sha256.clone(),
                bytes: file.bytes,
            },
            model: version.model,
            version: version.version,
            metrics: version.metrics,
            params: version.params,
        });
    }
    Ok(out)
}
