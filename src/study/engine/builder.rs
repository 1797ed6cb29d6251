//! Describing a study, and creating or continuing it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::clock::{Clock, SystemClock};
use crate::study::declared::Space;
use crate::study::pruner::{NoPruner, Pruner};
use crate::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use crate::study::sampler::{Sampler, auto::Auto};
use crate::study::stopper::Stopper;
use crate::study::storage::{Storage, StorageError, memory::Memory};
use crate::study::trial::Trial;

use super::add::ADDED;
use super::share::{Share, Sharing};
use super::{Exhausted, Observer, Progress, Shown, Study, StudyError, fixed_params};

/// System attributes of a study under which its settings are stored.
const SEED: &str = "automl:seed";
const SAMPLER: &str = "automl:sampler";
const PRUNER: &str = "automl:pruner";
const CONCURRENCY: &str = "automl:concurrency";
const SPACE: &str = "automl:space";

/// The description of a study. Unless told otherwise: minimize, [`Auto`], no pruner, seed 0, one trial at a time, in memory.
pub struct StudyBuilder {
    name: String,
    directions: Vec<Direction>,
    sampler: Arc<dyn Sampler>,
    pruner: Arc<dyn Pruner>,
    seed: u64,
    concurrency: usize,
    storage: Option<Arc<dyn Storage>>,
    clock: Arc<dyn Clock>,
    space: Option<Space>,
    observers: Vec<Box<dyn Observer>>,
    stoppers: Vec<Box<dyn Stopper>>,
    trial_timeout: Option<Duration>,
    on_exhausted: Exhausted,
    share: Option<Share>,
}

impl StudyBuilder {
    pub(super) fn new(name: String) -> Self {
        StudyBuilder {
            name,
            directions: vec![Direction::Minimize],
            sampler: Arc::new(Auto::default()),
            pruner: Arc::new(NoPruner),
            seed: 0,
            concurrency: 1,
            storage: None,
            clock: Arc::new(SystemClock),
            space: None,
            observers: Vec::new(),
            stoppers: Vec::new(),
            trial_timeout: None,
            on_exhausted: Exhausted::default(),
            share: None,
        }
    }

    /// Whether smaller or larger values are better.
    #[must_use]
    pub fn direction(self, direction: Direction) -> Self {
        self.directions([direction])
    }

    /// One direction per value that the objective returns.
    #[must_use]
    pub fn directions(mut self, directions: impl IntoIterator<Item = Direction>) -> Self {
        self.directions = directions.into_iter().collect();
        self
    }

    /// What proposes parameters.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Arc::new(sampler);
        self
    }

    /// What stops trials that are not worth their cost; see [`Trial::should_prune`].
    #[must_use]
    pub fn pruner(mut self, pruner: impl Pruner + 'static) -> Self {
        self.pruner = Arc::new(pruner);
        self
    }

    /// The seed of every random decision.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many trials run at once, at least 1. It is part of what the study is: a trial does not see the
    /// `trials - 1` trials before it as finished, even on one thread.
    #[must_use]
    pub fn concurrency(mut self, trials: usize) -> Self {
        self.concurrency = trials;
        self
    }

    /// Where trials are kept.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// What time it is.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Declares the search space: all its parameters are drawn when a trial is asked for.
    #[must_use]
    pub fn space(mut self, space: Space) -> Self {
        self.space = Some(space);
        self
    }

    /// What happens when every point of a discrete space was tried; by default the study ends.
    #[must_use]
    pub fn on_exhausted(mut self, policy: Exhausted) -> Self {
        self.on_exhausted = policy;
        self
    }

    /// Adds an observer.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Adds what ends [`Study::optimize`] before its budget is used up. Not part of what the study is.
    #[must_use]
    pub fn stopper(mut self, stopper: impl Stopper + 'static) -> Self {
        self.stoppers.push(Box::new(stopper));
        self
    }

    /// How long a trial may run; one that takes longer is recorded as failed, with the reason. An objective learns of it
    /// from [`Trial::should_prune`] and [`Trial::check`], and ends as soon as it asks. Not part of what the study is.
    #[must_use]
    pub fn trial_timeout(mut self, limit: Duration) -> Self {
        self.trial_timeout = Some(limit);
        self
    }

    /// Other processes may run the study at the same time. Without this, this process runs it alone, and trials that are
    /// found running are begun again.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Creates the study, or continues the one of this name in the storage.
    ///
    /// # Errors
    /// When a setting is impossible, when the stored study was begun with other settings, when the storage fails.
    pub fn open(self) -> Result<Study, StudyError> {
        self.check()?;
        let storage = self.storage.clone();
        let storage = storage.unwrap_or_else(|| Arc::new(Memory::new()));
        let settings = self.settings();
        let trials = match storage.load_study(&self.name)? {
            None => {
                let new = StudyRecord {
                    name: self.name.clone(),
                    directions: self.directions.clone(),
                    user_attrs: Attrs::new(),
                    system_attrs: settings.clone(),
                };
                match storage.create_study(&new) {
                    // Another process was faster.
                    Err(StorageError::StudyExists { .. }) if self.share.is_some() => {
                        let stored = storage.load_study(&self.name)?;
                        self.check_same(&stored.unwrap_or(new), &settings)?;
                        storage.load_trials(&self.name)?
                    }
                    created => {
                        created?;
                        Vec::new()
                    }
                }
            }
            Some(stored) => {
                self.check_same(&stored, &settings)?;
                // A study that another program made has no settings of ours; from now on it does.
                if settings
                    .keys()
                    .any(|k| !stored.system_attrs.contains_key(k))
                {
                    storage.annotate_study(&self.name, &Attrs::new(), &settings)?;
                }
                storage.load_trials(&self.name)?
            }
        };
        let found = trials.len() as u64;
        let mut study = Study {
            name: self.name,
            directions: self.directions.into(),
            seed: self.seed,
            concurrency: self.concurrency as u64,
            sampler: self.sampler,
            pruner: self.pruner,
            storage,
            clock: self.clock,
            space: self.space,
            observers: self.observers,
            stoppers: self.stoppers,
            trial_timeout: self.trial_timeout,
            on_exhausted: self.on_exhausted,
            visited: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
            trials: Vec::new(),
            history: Arc::new(Vec::new()),
            next: 0,
            live: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            sharing: self.share.map(|share| Sharing::new(share, found)),
            shown: BTreeMap::new(),
            progress: Progress::default(),
        };
        study.take_up(trials);
        // Which of the trials that run do so elsewhere.
        study.catch_up()?;
        Ok(study)
    }

    fn check(&self) -> Result<(), StudyError> {
        let refuse = |what: &str| {
            Err(StudyError::Setting {
                study: self.name.clone(),
                what: what.to_owned(),
            })
        };
        if self.name.is_empty() || self.name.chars().count() > 512 {
            return refuse("a study's name has 1 to 512 characters");
        }
        if self.directions.is_empty() {
            return refuse("a study needs at least one direction");
        }
        if self.concurrency == 0 {
            return refuse("concurrency must be at least 1");
        }
        if self.share.as_ref().is_some_and(|s| s.at_once == 0) {
            return refuse("a process that shares a study runs at least one trial at once");
        }
        Ok(())
    }

    fn settings(&self) -> Attrs {
        let sampler = json!({"name": self.sampler.name(), "params": self.sampler.params()});
        let pruner = json!({"name": self.pruner.name(), "params": self.pruner.params()});
        let space = self.space.as_ref().map(Space::fingerprint);
        Attrs::from([
            (SEED.to_owned(), json!(self.seed)),
            (SAMPLER.to_owned(), sampler),
            (PRUNER.to_owned(), pruner),
            (CONCURRENCY.to_owned(), json!(self.concurrency)),
            (SPACE.to_owned(), json!(space)),
        ])
    }

    fn check_same(&self, stored: &StudyRecord, settings: &Attrs) -> Result<(), StudyError> {
        let differs = |what, stored: String, now: String| {
            Err(StudyError::Differs {
                study: self.name.clone(),
                what,
                stored,
                now,
            })
        };
        if stored.directions != self.directions {
            let (was, is) = (&stored.directions, &self.directions);
            return differs("directions", format!("{was:?}"), format!("{is:?}"));
        }
        let settings_of = |key| (stored.system_attrs.get(key), settings.get(key));
        for (key, what) in [
            (SEED, "seed"),
            (SAMPLER, "sampler"),
            (CONCURRENCY, "concurrency"),
        ] {
            if let (Some(was), Some(is)) = settings_of(key)
                && was != is
            {
                return differs(what, was.to_string(), is.to_string());
            }
        }
        // A study of ours from before there were pruners had none.
        let none = json!({"name": NoPruner.name(), "params": NoPruner.params()});
        let ours = stored.system_attrs.contains_key(SEED);
        let was = settings_of(PRUNER).0.or(ours.then_some(&none));
        if let (Some(was), Some(is)) = (was, settings.get(PRUNER))
            && was != is
        {
            return differs("pruner", was.to_string(), is.to_string());
        }
        if let (Some(was), Some(is)) = settings_of(SPACE)
            && was != is
        {
            return Err(self.space_differs(was, is));
        }
        Ok(())
    }

    fn space_differs(&self, was: &Json, is: &Json) -> StudyError {
        let empty = serde_json::Map::new();
        let lines = |json: &'_ Json| json.as_object().unwrap_or(&empty).clone();
        let (was, is) = (lines(was), lines(is));
        let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let name = names.into_iter().find(|n| was.get(*n) != is.get(*n));
        let text = |line: Option<&Json>| {
            let line = line.and_then(Json::as_str).unwrap_or("not declared");
            line.to_owned()
        };
        let name = name.cloned().unwrap_or_default();
        StudyError::SpaceDiffers {
            study: self.name.clone(),
            stored: text(was.get(&name)),
            now: text(is.get(&name)),
            name,
        }
    }
}

impl Study {
    /// Takes up the trials of the storage.
    fn take_up(&mut self, trials: Vec<TrialRecord>) {
        for trial in trials {
            self.put(trial);
        }
        self.advance();
        // What later trials may see as pending. With one trial at a time, nothing.
        if self.concurrency == 1 {
            return;
        }
        // Trials are asked for in order, so all up to the last one that began were.
        let begun = |t: &Arc<TrialRecord>| t.state != TrialState::Waiting;
        let asked = self.trials.iter().rposition(begun).map_or(0, |i| i + 1) as u64;
        let from = match self.space {
            Some(_) => (self.history.len() as u64 + 1).saturating_sub(self.concurrency),
            // Each proposal depends on those before it: the whole sequence is proposed again.
            None => 0,
        };
        for number in from..asked {
            let shown = self.known_again(number);
            self.shown.insert(number, shown);
            let oldest = (number + 2).saturating_sub(self.concurrency);
            let keep = oldest.min((self.history.len() as u64 + 1).saturating_sub(self.concurrency));
            self.shown = self.shown.split_off(&keep);
        }
    }

    /// What was known of a trial of an earlier process when it was asked for.
    pub(super) fn known_again(&mut self, number: u64) -> Shown {
        let record = Arc::clone(&self.trials[number as usize]);
        if self.space.is_some() || record.system_attrs.contains_key(ADDED) {
            return Shown::whole(self.own_params(&record).into_owned());
        }
        let view = self.view(number);
        let proposed = view.sampler.propose(&view.context(number));
        let fixed = fixed_params(&record);
        let mut trial = Trial::new(TrialRecord::waiting(number), view, proposed, fixed);
        self.look_ahead(&mut trial);
        self.shown_of(&trial)
    }
}
