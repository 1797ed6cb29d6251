//! The sender: brings what the store holds and the server has not confirmed to the server, each run once.
//!
//! **How a run is created once.** The intent is stored before the request, the run's key after the answer. A sender that is
//! killed in between, or gets no answer, leaves a row in doubt; whoever sends next looks for a run with the trial's tag
//! before it creates one. A request that the server carries out after we gave up on it would still make a second run: rows
//! that were in doubt are looked up again at the end of every sending for ten minutes, and what is double is deleted. One
//! process sends a study at a time, held by a lock that ends with it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Clock as _, SystemClock};
use crate::fsio::Lock;
use crate::study::record::{StudyRecord, TrialRecord};
use crate::tracking::Store;

use super::MlflowError;
use super::client::{Client, KnownRun, Limits};
use super::run::{ID_TAG, ModelFacts, RunFacts, millis, study_run, trial_id, trial_run};
use super::spool::{self, Ending, Item, Noted, PARENT, Spool, Target, trial_item};

/// How many runs are between two records of what was confirmed.
pub const BATCH: usize = 20;

/// For how long a request that was given up may still have its effect, in milliseconds.
const LATE: i64 = 600_000;

/// Sends one study; see the module.
pub struct Sender {
    pub(super) store: Store,
    pub(super) study: String,
    pub(super) noted: Noted,
    pub(super) client: Client,
    pub(super) items: BTreeMap<String, Item>,
    session: Option<Session>,
    _lock: Lock,
}

/// What the server said about where things go.
#[derive(Clone)]
pub(super) struct Session {
    pub experiment: String,
    pub parent: KnownRun,
}

impl Sender {
    /// Begins to send a study to the server that is noted for it. No request is made.
    ///
    /// # Errors
    /// [`MlflowError::NoServer`]; [`MlflowError::Locked`] while another process does the same.
    pub fn open(store: &Store, study: &str, limits: Limits) -> Result<Self, MlflowError> {
        let noted = spool::noted(store.db(), study)?.ok_or_else(|| MlflowError::NoServer {
            study: study.to_owned(),
        })?;
        let lock = store.wait_for_lock("mlflow", study, Duration::ZERO)?;
        let lock = lock.ok_or_else(|| MlflowError::Locked {
            study: study.to_owned(),
        })?;
        let mut sender = Sender {
            client: Client::new(&noted.target.server, limits),
            store: store.clone(),
            study: study.to_owned(),
            noted,
            items: BTreeMap::new(),
            session: None,
            _lock: lock,
        };
        sender.items = sender.spool().items()?;
        Ok(sender)
    }

    /// The trials that are finished and not confirmed.
    pub fn unsent<'t>(&self, trials: &'t [TrialRecord]) -> Vec<&'t TrialRecord> {
        unsent(&self.items, trials)
    }

    /// Where the study's run can be looked at, once the server told.
    pub fn page(&self) -> Option<String> {
        let Session { experiment, parent } = self.session.as_ref()?;
        Some(format!(
            "{}/#/experiments/{experiment}/runs/{}",
            self.client.server(),
            parent.run_id
        ))
    }

    pub(super) fn spool(&self) -> Spool<'_> {
        Spool {
            db: self.store.db(),
            server: &self.noted.target.server,
            origin: &self.noted.origin,
        }
    }

    pub(super) fn item(&self, name: &str) -> Item {
        self.items.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn put(&mut self, rows: Vec<(String, Item)>) -> Result<(), MlflowError> {
        self.spool().put(&rows)?;
        self.items.extend(rows);
        Ok(())
    }

    /// The run of the study on the server, found or made.
    pub(super) fn connect(&mut self, study: &StudyRecord) -> Result<Session, MlflowError> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let experiment = self.client.experiment(&self.noted.target.experiment)?;
        let parent = match self.known_parent()? {
            Some(parent) => parent,
            None => {
                let mut facts = study_run(
                    &self.noted.origin,
                    study,
                    &self.store_trials()?,
                    &[],
                    super::run::RunStatus::Running,
                    None,
                );
                if facts.started == 0 {
                    // No trial has begun.
                    facts.started = now();
                }
                self.create(PARENT, &experiment, &facts, None)?
            }
        };
        let session = Session { experiment, parent };
        self.session = Some(session.clone());
        Ok(session)
    }

    fn store_trials(&self) -> Result<Vec<TrialRecord>, MlflowError> {
        Ok(self.store.storage().load_trials(&self.study)?)
    }

    /// The run that was confirmed, if the server still has it. A server that knows nothing of it was emptied: all is sent
    /// again.
    fn known_parent(&mut self) -> Result<Option<KnownRun>, MlflowError> {
        let Some(run_id) = self.item(PARENT).run_id else {
            return Ok(None);
        };
        match self.client.run(&run_id) {
            Ok(run) if run.deleted => Err(MlflowError::Deleted {
                study: self.study.clone(),
                run: run_id,
            }),
            Ok(run) => Ok(Some(run)),
            Err(error) if error.is_missing() => {
                self.spool().forget()?;
                self.items.clear();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes one run whose row is not there or in doubt, and records its key.
    fn create(
        &mut self,
        name: &str,
        experiment: &str,
        facts: &RunFacts,
        parent: Option<&str>,
    ) -> Result<KnownRun, MlflowError> {
        let mut item = self.item(name);
        let doubted = item.doubt.is_some();
        item.doubt = Some(now());
        self.put(vec![(name.to_owned(), item.clone())])?;
        let run = self.find_or_create(experiment, facts, parent, doubted)?;
        item.run_id = Some(run.run_id.clone());
        if !doubted {
            item.doubt = None;
        }
        self.put(vec![(name.to_owned(), item)])?;
        Ok(run)
    }

    fn find_or_create(
        &self,
        experiment: &str,
        facts: &RunFacts,
        parent: Option<&str>,
        doubted: bool,
    ) -> Result<KnownRun, MlflowError> {
        if doubted {
            let found = self.client.runs_with_tag(experiment, ID_TAG, &facts.id)?;
            if let Some(run) = found.into_iter().next() {
                return Ok(run);
            }
        }
        self.client.create_run(experiment, facts, parent)
    }

    /// Sends finished trials; those that are confirmed are passed over. Returns how many were confirmed now.
    ///
    /// A trial that the server will not have is noted with its reason, and the others go on.
    ///
    /// # Errors
    /// [`MlflowError`]; what was confirmed before is recorded.
    pub fn send_trials(
        &mut self,
        study: &StudyRecord,
        trials: &[&TrialRecord],
    ) -> Result<usize, MlflowError> {
        let session = self.connect(study)?;
        let mut confirmed = 0;
        for chunk in trials.chunks(BATCH) {
            let facts = chunk
                .iter()
                .filter(|t| self.item(&trial_item(t.number)).digest.is_none())
                .map(|t| {
                    (
                        trial_item(t.number),
                        trial_run(&self.noted.origin, study, t),
                    )
                });
            let facts: Vec<(String, RunFacts)> = facts.collect();
            confirmed += self.send_chunk(&session, &facts)?;
        }
        Ok(confirmed)
    }

    fn send_chunk(
        &mut self,
        session: &Session,
        facts: &[(String, RunFacts)],
    ) -> Result<usize, MlflowError> {
        let before: Vec<Item> = facts.iter().map(|(name, _)| self.item(name)).collect();
        let begun = now();
        let intents = facts.iter().zip(&before);
        let intents = intents.filter(|(_, item)| item.run_id.is_none());
        let intents = intents.map(|((name, _), item)| {
            let item = Item {
                doubt: Some(begun),
                ..item.clone()
            };
            (name.clone(), item)
        });
        self.put(intents.collect())?;

        let mut rows = Vec::with_capacity(facts.len());
        let (mut failed, mut confirmed) = (None, 0);
        for ((name, facts), item) in facts.iter().zip(&before) {
            let mut item = item.clone();
            if failed.is_none() {
                match self.send_run(session, facts, &mut item, begun) {
                    Ok(()) => confirmed += 1,
                    Err(error) if error.is_refusal() => item.refused = Some(error.to_string()),
                    Err(error) => failed = Some(error),
                }
            }
            // What was not tried is as it was before.
            rows.push((name.clone(), item));
        }
        self.put(rows)?;
        match failed {
            Some(error) => Err(error),
            None => Ok(confirmed),
        }
    }

    /// Everything about one trial. `item` tells afterwards how far it came, whatever happened.
    fn send_run(
        &self,
        session: &Session,
        facts: &RunFacts,
        item: &mut Item,
        begun: i64,
    ) -> Result<(), MlflowError> {
        let run_id = match item.run_id.clone() {
            Some(run_id) => run_id,
            None => {
                let parent = Some(session.parent.run_id.as_str());
                let doubted = item.doubt.is_some();
                let run = self.find_or_create(&session.experiment, facts, parent, doubted);
                let run = run.inspect_err(|error| {
                    if error.may_have_arrived() {
                        item.doubt = Some(begun);
                    }
                })?;
                item.run_id = Some(run.run_id.clone());
                run.run_id
            }
        };
        let logged = self
            .client
            .log(&run_id, &facts.params, &facts.metrics, None)
            .and_then(|()| self.client.update_run(&run_id, facts.status, facts.ended));
        match logged {
            Ok(()) => {
                item.digest = Some(facts.digest());
                item.refused = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends what the study as a whole says: settings, data, best values, how it ended.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub fn send_study(
        &mut self,
        study: &StudyRecord,
        trials: &[TrialRecord],
        models: &[ModelFacts],
        ending: Ending,
    ) -> Result<(), MlflowError> {
        let facts = self.study_facts(study, trials, models, ending);
        let mut item = self.item(PARENT);
        let digest = facts.digest();
        if item.digest.as_ref() == Some(&digest) {
            return Ok(());
        }
        let run_id = self.connect(study)?.parent.run_id;
        let first = self.item(PARENT).digest.is_none();
        // A parameter cannot be logged with another value, and none of these changes in the life of a study.
        let params = if first { &facts.params[..] } else { &[] };
        self.client.log(&run_id, params, &facts.metrics, None)?;
        if first && let Some(dataset) = &facts.dataset {
            self.client.log_input(&run_id, dataset)?;
        }
        self.client.tag(&run_id, &facts.tags)?;
        self.client.update_run(&run_id, facts.status, facts.ended)?;
        item = self.item(PARENT);
        item.digest = Some(digest);
        self.put(vec![(PARENT.to_owned(), item)])
    }

    /// Whether [`Sender::send_study`] would have nothing to do.
    pub fn study_is_sent(
        &self,
        study: &StudyRecord,
        trials: &[TrialRecord],
        models: &[ModelFacts],
        ending: Ending,
    ) -> bool {
        let facts = self.study_facts(study, trials, models, ending);
        self.item(PARENT).digest == Some(facts.digest())
    }

    fn study_facts(
        &self,
        study: &StudyRecord,
        trials: &[TrialRecord],
        models: &[ModelFacts],
        ending: Ending,
    ) -> RunFacts {
        let ended = ending.ended.map(millis);
        study_run(
            &self.noted.origin,
            study,
            trials,
            models,
            ending.status,
            ended,
        )
    }

    /// Sends everything: trials, versions, the study itself, and takes away what is double. `progress` is told of every
    /// batch of trials how many were confirmed. Returns how many trials were.
    ///
    /// # Errors
    /// [`MlflowError`]. Where artifacts cannot be written, or one version cannot be sent, the rest is sent all the same.
    pub fn send_all(
        &mut self,
        study: &StudyRecord,
        trials: &[TrialRecord],
        models: &[ModelFacts],
        ending: Ending,
        progress: &mut dyn FnMut(usize),
    ) -> Result<usize, MlflowError> {
        // A server that was emptied makes everything unsent.
        self.connect(study)?;
        let open = self.unsent(trials);
        let mut confirmed = 0;
        for chunk in open.chunks(BATCH) {
            let sent = self.send_trials(study, chunk)?;
            confirmed += sent;
            progress(sent);
        }
        let published = self.send_models(study, models);
        if let Err(error) = &published
            && error.is_temporary()
        {
            return published;
        }
        self.send_study(study, trials, models, ending)?;
        self.sweep(study)?;
        published.map(|_| confirmed)
    }

    /// Whether the server would not have a trial.
    pub fn is_refused(&self, trial: &TrialRecord) -> bool {
        self.item(&trial_item(trial.number)).refused.is_some()
    }

    /// Why the server would not have a trial.
    pub fn refusal(&self, trial: &TrialRecord) -> Option<String> {
        self.item(&trial_item(trial.number)).refused
    }

    /// Where the study goes.
    pub fn target(&self) -> &Target {
        &self.noted.target
    }

    /// Takes away runs that the server made of requests which we had given up. Returns how many.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub fn sweep(&mut self, study: &StudyRecord) -> Result<usize, MlflowError> {
        let doubted: Vec<(String, Item)> = self
            .items
            .iter()
            .filter(|(_, item)| item.doubt.is_some() && item.digest.is_some())
            .map(|(name, item)| (name.clone(), item.clone()))
            .collect();
        let mut double = 0;
        for (name, mut item) in doubted {
            let id = match name.strip_prefix("trial/").map(str::parse) {
                Some(Ok(number)) => trial_id(&self.noted.origin, number),
                _ if name == PARENT => self.noted.origin.clone(),
                _ => continue,
            };
            let session = self.connect(study)?;
            let found = self
                .client
                .runs_with_tag(&session.experiment, ID_TAG, &id)?;
            for run in found {
                if Some(&run.run_id) != item.run_id.as_ref() {
                    self.client.delete_run(&run.run_id)?;
                    double += 1;
                }
            }
            if item.doubt.is_some_and(|t| now() - t > LATE) {
                item.doubt = None;
                self.put(vec![(name, item)])?;
            }
        }
        Ok(double)
    }
}

/// The trials of `trials` that are finished and have no digest among `items`.
pub(super) fn unsent<'t>(
    items: &BTreeMap<String, Item>,
    trials: &'t [TrialRecord],
) -> Vec<&'t TrialRecord> {
    let sent = |t: &&TrialRecord| {
        let item = items.get(&trial_item(t.number));
        item.is_some_and(|i| i.digest.is_some())
    };
    trials
        .iter()
        .filter(|t| t.state.is_finished() && !sent(t))
        .collect()
}

fn now() -> i64 {
    millis(SystemClock.now())
}
