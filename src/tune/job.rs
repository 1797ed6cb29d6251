//! An experiment with its data: read, split and encoded once, then shared by every trial.
//!
//! **Contract.** A trial's score is a function of the experiment, the data and the trial's parameters and number. The
//! holdout is read in [`Job::finish`] only, once, after the search.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::data::csv::{ReadOptions, read_dataset};
use crate::data::error::DataError;
use crate::data::split::{Fold, Split, SplitError, holdout, k_fold};
use crate::data::table::{Dataset, Task};
use crate::data::telco;
use crate::learn::evaluate::Encoded;
use crate::learn::learner::{LearnError, Learner};
use crate::learn::metric::{self, Goal, MetricEntry, MetricError, Scores};
use crate::learn::preprocess::{Preprocess, PreprocessError};
use crate::learn::table::{self, UnknownLearner};
use crate::seed::Seed;
use crate::study::declared::Space;
use crate::study::objective::Stop;
use crate::study::pruner::{NoPruner, Pruner as _};
use crate::study::record::Direction;
use crate::study::space::{Domain, Params, Value};
use crate::study::trial::Trial;

use super::curve::Folds;
use super::experiment::{CalibrationSpec, Experiment, StepsSpec, preset};
use super::limits::{Account, HELD};
use super::search::{PREPROCESS, Search};
use super::yaml::YamlError;

/// Why an experiment cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The experiment file is wrong.
    #[error(transparent)]
    Experiment(#[from] YamlError),
    /// A setting that only the data shows to be wrong.
    #[error("{file}: {what}")]
    Setting {
        /// The experiment file.
        file: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data cannot be split as asked.
    #[error("{file}: {key}: {source}")]
    Split {
        /// The experiment file.
        file: String,
        /// The part of the file that asks for it.
        key: &'static str,
        /// Why not.
        source: Box<SplitError>,
    },
    /// The columns cannot become features as asked.
    #[error("{file}: preprocess: {source}")]
    Preprocess {
        /// The experiment file.
        file: String,
        /// Why not.
        source: PreprocessError,
    },
    /// The metric does not exist or does not fit.
    #[error("{file}: metric: {source}")]
    Metric {
        /// The experiment file.
        file: String,
        /// Why not.
        source: MetricError,
    },
    /// The best trial's learner does not exist in this build.
    #[error(transparent)]
    Learner(#[from] UnknownLearner),
    /// The best trial cannot be fitted again.
    #[error(transparent)]
    Refit(#[from] LearnError),
    /// The refit model cannot be scored.
    #[error("the refit model cannot be scored: {0}")]
    Score(MetricError),
}

/// What a trial reports of its folds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reports {
    /// The score of each fold, after all have run at once.
    AllScores,
    /// The mean of the folds so far.
    Means,
    /// The score of each fold.
    Scores,
    /// The mean of all folds after some rounds.
    Rounds,
}

/// An experiment that is ready to be searched.
pub struct Job {
    /// What was written.
    pub experiment: Experiment,
    /// The rows.
    pub dataset: Dataset,
    /// Rows for training and rows kept back.
    pub split: Split,
    /// What trials are compared by.
    pub metric: &'static MetricEntry,
    /// The space and the learners.
    pub search: Search,
    pub(super) folds: Vec<Fold>,
    /// One per way of preprocessing; the empty name is the one of the file.
    encodings: BTreeMap<String, Encoded>,
    /// Target values of the test rows, per fold.
    pub(super) truths: Vec<Vec<f64>>,
    pub(super) reports: Reports,
}

impl Job {
    /// Reads, splits and encodes the data of an experiment. `file` is how messages call the experiment; `data` is a file
    /// to read in place of the one it names; `data_dir` is where known sources are looked for.
    ///
    /// # Errors
    /// [`JobError`]; nothing is written.
    pub fn prepare(
        experiment: Experiment,
        file: &str,
        data: Option<&Path>,
        data_dir: Option<&Path>,
    ) -> Result<Self, JobError> {
        let search = Search::new(&experiment.search.learners, &experiment.search.params, file)?;
        for (i, point) in experiment.search.enqueue.iter().enumerate() {
            search
                .check_point(point)
                .map_err(|what| JobError::Setting {
                    file: file.to_owned(),
                    what: format!("search.enqueue: point {}: {what}", i + 1),
                })?;
        }
        let dataset = read(&experiment, data, data_dir)?;
        Job::new(experiment, file, dataset, search)
    }

    fn new(
        experiment: Experiment,
        file: &str,
        dataset: Dataset,
        search: Search,
    ) -> Result<Self, JobError> {
        let setting = |what: String| JobError::Setting {
            file: file.to_owned(),
            what,
        };
        let task = dataset.target.task;
        let name = experiment.metric.as_deref().unwrap_or(match task {
            Task::Binary => "roc_auc",
            Task::Multiclass => "log_loss",
            Task::Regression => "rmse",
        });
        let metric = metric::find_for(name, task).map_err(|source| JobError::Metric {
            file: file.to_owned(),
            source,
        })?;
        for name in &search.learners {
            let entry = table::find(name)?;
            if !entry.tasks.contains(&task) {
                return Err(setting(format!(
                    "search.learners: `{name}` cannot predict `{}`, which is {task:?}; leave it out",
                    dataset.target.name
                )));
            }
        }
        if task == Task::Regression && experiment.calibration != CalibrationSpec::None {
            return Err(setting(format!(
                "calibration: `{}` is a number, which has no probability to calibrate; write `calibration: none`",
                dataset.target.name
            )));
        }
        let root = Seed::root(experiment.seed);
        let part = |key, source| JobError::Split {
            file: file.to_owned(),
            key,
            source: Box::new(source),
        };
        let (kept, cv) = (&experiment.holdout, &experiment.cv);
        let classes = task != Task::Regression;
        let split = holdout(
            &dataset.target,
            kept.fraction,
            kept.stratify && classes,
            root,
        )
        .map_err(|e| part("holdout", e))?;
        let stratify = cv.stratify && classes;
        let seed = root.child("cv", 0);
        let folds = k_fold(
            &dataset.target,
            &split.train,
            cv.folds,
            cv.repeats,
            stratify,
            seed,
        )
        .map_err(|e| part("cv", e))?;

        let mut specs: BTreeMap<String, Preprocess> = BTreeMap::new();
        specs.insert(String::new(), experiment.preprocess().map_err(setting)?);
        let chosen = search.space.params().iter().find(|p| p.name == PREPROCESS);
        if let Some(Domain::Categorical { choices }) = chosen.map(|p| &p.domain) {
            for choice in choices {
                let name = choice.to_string();
                let spec = preset(&name).map_err(setting)?;
                specs.insert(name, spec);
            }
        }
        let mut encodings = BTreeMap::new();
        for (name, spec) in specs {
            let encoded =
                Encoded::new(&dataset, &spec, &split.train, &folds).map_err(|source| {
                    JobError::Preprocess {
                        file: file.to_owned(),
                        source,
                    }
                })?;
            encodings.insert(name, encoded);
        }
        let value = |row: &u32| dataset.target.values[*row as usize];
        let truths = folds
            .iter()
            .map(|f| f.test.iter().map(value).collect())
            .collect();
        let reports = reports(&experiment, &search).map_err(setting)?;
        Ok(Job {
            reports,
            experiment,
            dataset,
            split,
            metric,
            search,
            folds,
            encodings,
            truths,
        })
    }

    /// Which way the study goes.
    pub fn direction(&self) -> Direction {
        match self.metric.goal {
            Goal::Maximize => Direction::Maximize,
            Goal::Minimize => Direction::Minimize,
        }
    }

    /// The space of the study.
    pub fn space(&self) -> Space {
        self.search.space.clone()
    }

    /// Number of features after preprocessing as the file says.
    pub fn features(&self) -> usize {
        self.encodings[""].features.len()
    }

    /// What belongs to the study as a whole and not to a trial: what it must have in common with the study it continues.
    pub fn fingerprint(&self) -> Json {
        let e = &self.experiment;
        let cv = &e.cv;
        let mut facts = json!({
            "dataset": self.dataset.name,
            "dataset_sha256": self.dataset.sha256,
            "target": self.dataset.target.name,
            "classes": self.dataset.target.classes,
            "metric": self.metric.name,
            "holdout": e.holdout,
            "cv": {"folds": cv.folds, "repeats": cv.repeats, "stratify": cv.stratify},
            "preprocess": e.preprocess().unwrap_or_default(),
            "columns": self.dataset.table.schema.fields.iter().map(|f| &f.name).collect::<Vec<_>>(),
            "fixed": self.search.fixed,
        });
        if let Some(weights) = &e.data.weights {
            facts["weights"] = json!(weights);
        }
        if self.reports == Reports::Rounds {
            facts["steps"] = json!(e.search.steps);
        }
        if !self.search.up_to.is_empty() {
            facts["up_to"] = json!(self.search.up_to);
        }
        facts
    }

    /// Cross-validates the parameters of a trial: the objective of the study. Notes the learner and the score of each
    /// fold; the value is their mean.
    ///
    /// Folds are reported as steps 1, 2, …. Without a pruner they run at once and their scores are reported. With one they run
    /// one after the other, in the same order for every trial: what is reported is the score of the fold if the pruner
    /// compares trials fold by fold, else the mean so far. Where the steps are rounds, all folds go on side by side and the
    /// mean of their scores is reported at up to 40 marks.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the parameters cannot be fitted or scored, [`Stop::Pruned`] when the pruner says so.
    pub fn objective(&self, trial: &mut Trial) -> Result<f64, Stop> {
        Ok(self.evaluate(trial)?.0)
    }

    /// As [`Job::objective`], with the predictions that the score comes from: those of the test rows of all folds, one
    /// fold after the other, row-major. What they were made of is told by [`Job::key`].
    ///
    /// # Errors
    /// As [`Job::objective`].
    pub fn evaluate(&self, trial: &mut Trial) -> Result<(f64, Vec<f64>), Stop> {
        let name = self.search.learner(trial.params());
        let learner = self.learner(&name, trial.params(), None)?;
        let encoded = self.encoded(trial.params());
        trial.note("dataset", self.dataset.name.as_str());
        trial.note("learner", name.as_str());
        let account = self.account();
        let scored = self.scored_folds(trial, learner.as_ref(), encoded, &account);
        trial.note(HELD, account.bytes());
        let (predictions, scores) = scored?;
        if self.reports == Reports::AllScores {
            for (fold, score) in scores.iter().enumerate() {
                trial.report(fold as i64 + 1, *score);
            }
        }
        trial.note("folds", scores.as_slice());
        if let Some(memory) = peak_memory() {
            trial.note("peak_memory_bytes", memory);
        }
        let score = scores.iter().sum::<f64>() / scores.len() as f64;
        Ok((score, predictions.concat()))
    }

    /// An account of what the folds of a trial hold.
    fn account(&self) -> Account {
        let width = match self.dataset.target.task {
            Task::Multiclass => self.dataset.target.classes.len(),
            _ => 1,
        };
        // Round by round, predictions are three: the sums that go on, those of the mark, and those of the best mark.
        let copies = match (self.reports, self.search.up_to.is_empty()) {
            (Reports::Rounds, _) | (_, false) => 3,
            _ => 1,
        };
        let bytes = |truth: &Vec<f64>| (8 * copies * width * truth.len()) as u64;
        let kept = self.truths.iter().map(bytes).collect();
        Account::new(self.experiment.trial_memory(), kept)
    }

    /// Predictions and scores of all folds, in the way that the pruner asks for.
    fn scored_folds(
        &self,
        trial: &mut Trial,
        learner: &dyn Learner,
        encoded: &Encoded,
        account: &Account,
    ) -> Result<Folds, Stop> {
        let seed = trial.seed().child("fit", 0);
        let name = self.search.learner(trial.params());
        let choose = self.search.up_to.contains(name.as_str());
        let by_rounds = choose || self.reports == Reports::Rounds;
        let followed = by_rounds
            .then(|| self.by_rounds(trial, learner, encoded, seed, choose, account))
            .flatten();
        match (followed, self.reports) {
            (Some(folds), _) => folds,
            (None, Reports::AllScores | Reports::Rounds) => {
                self.at_once(trial, learner, encoded, seed, account)
            }
            (None, Reports::Means | Reports::Scores) => {
                self.fold_by_fold(trial, learner, encoded, seed, account)
            }
        }
    }

    fn at_once(
        &self,
        trial: &Trial,
        learner: &dyn Learner,
        encoded: &Encoded,
        seed: Seed,
        account: &Account,
    ) -> Result<Folds, Stop> {
        let (dataset, folds) = (&self.dataset, &self.folds);
        let predicted: Vec<Result<Vec<f64>, LearnError>> = (0..folds.len())
            .into_par_iter()
            .map(|fold| {
                let limit = account.fold(trial, fold);
                encoded.predict_fold(learner, dataset, folds, fold, seed, Some(&limit))
            })
            .collect();
        account.check()?;
        let predicted: Result<Vec<Vec<f64>>, LearnError> = predicted.into_iter().collect();
        let predicted = predicted.map_err(|error| account.stop(trial, error))?;
        let scores = predicted.iter().enumerate().map(|(i, p)| self.score(i, p));
        let scores: Result<Vec<f64>, MetricError> = scores.collect();
        Ok((predicted, scores?))
    }

    fn fold_by_fold(
        &self,
        trial: &mut Trial,
        learner: &dyn Learner,
        encoded: &Encoded,
        seed: Seed,
        account: &Account,
    ) -> Result<Folds, Stop> {
        let (dataset, folds) = (&self.dataset, &self.folds);
        let (mut predicted, mut scores) = (Vec::new(), Vec::with_capacity(folds.len()));
        for fold in 0..folds.len() {
            let limit = account.fold(trial, fold);
            let one = encoded.predict_fold(learner, dataset, folds, fold, seed, Some(&limit));
            account.check()?;
            let one = one.map_err(|error| account.stop(trial, error))?;
            account.done(fold);
            scores.push(self.score(fold, &one)?);
            predicted.push(one);
            let so_far = scores.iter().sum::<f64>() / scores.len() as f64;
            let value = match self.reports {
                Reports::Scores => scores[fold],
                _ => so_far,
            };
            trial.report(fold as i64 + 1, value);
            // After the last fold there is nothing to save.
            if scores.len() < folds.len() && trial.should_prune() {
                trial.note("folds", scores.as_slice());
                return Err(Stop::Pruned);
            }
        }
        Ok((predicted, scores))
    }

    /// The score of a fold by the predictions of its test rows.
    pub(super) fn score(&self, fold: usize, predicted: &[f64]) -> Result<f64, MetricError> {
        let truth = &self.truths[fold];
        let given = self.scores(predicted, truth.len());
        let weights = self.weights(&self.folds[fold].test);
        self.metric.score(truth, given, weights.as_deref(), 0.5)
    }

    /// Everything that the out-of-fold predictions of a trial depend on, as text: two trials with the same key have the
    /// same predictions.
    pub fn key(&self, number: u64, params: &Params) -> String {
        let params = params
            .iter()
            .map(|(name, value)| json!([name, crate::tune::params::json(&value)]));
        json!({
            "experiment": self.fingerprint(),
            "seed": self.experiment.seed,
            "trial": number,
            "params": params.collect::<Vec<Json>>(),
        })
        .to_string()
    }

    pub(super) fn learner(
        &self,
        name: &str,
        params: &Params,
        rounds: Option<u64>,
    ) -> Result<Box<dyn Learner>, JobError> {
        let entry = table::find(name)?;
        let given = self.search.hyperparameters(name, params, rounds);
        Ok((entry.build)(given)?)
    }

    pub(super) fn encoded(&self, params: &Params) -> &Encoded {
        let chosen = match params.assignment(PREPROCESS).map(|a| a.value()) {
            Some(Value::Str(name)) => name,
            _ => String::new(),
        };
        self.encodings.get(&chosen).unwrap_or(&self.encodings[""])
    }

    /// The weights of some rows, when the data has any.
    pub(super) fn weights(&self, rows: &[u32]) -> Option<Vec<f64>> {
        let all = self.dataset.weights.as_ref()?;
        Some(rows.iter().map(|&r| all[r as usize]).collect())
    }

    pub(super) fn scores<'a>(&self, predicted: &'a [f64], rows: usize) -> Scores<'a> {
        Scores::new(
            self.dataset.target.task,
            predicted.len() / rows.max(1),
            predicted,
        )
    }
}

/// What trials report, and whether that goes together with what is searched.
fn reports(experiment: &Experiment, search: &Search) -> Result<Reports, String> {
    let pruner = experiment.pruner()?;
    let pruned = pruner.name() != NoPruner.name();
    if experiment.search.steps == StepsSpec::Rounds && pruned {
        if pruner.blocks() {
            return Err(format!(
                "search.steps: `{}` compares folds; write `steps: folds`, or another pruner such as `median`",
                pruner.name()
            ));
        }
        for name in &search.learners {
            if table::find(name).is_ok_and(|entry| entry.rounds.is_none()) {
                return Err(format!(
                    "search.steps: `{name}` does not fit round by round; leave it out of `learners`, or write `steps: folds`"
                ));
            }
        }
        return Ok(Reports::Rounds);
    }
    match search.up_to.first() {
        Some(name) if pruned => Err(format!(
            "search.params: the best number of rounds of `{name}` is known when all folds have run, and `{}` stops trials between folds; write `steps: rounds` or `pruner: none`",
            pruner.name()
        )),
        _ if !pruned => Ok(Reports::AllScores),
        _ if pruner.blocks() => Ok(Reports::Scores),
        _ => Ok(Reports::Means),
    }
}

fn read(
    experiment: &Experiment,
    data: Option<&Path>,
    data_dir: Option<&Path>,
) -> Result<Dataset, DataError> {
    let spec = &experiment.data;
    let base = if spec.source.is_some() {
        telco::options()
    } else {
        ReadOptions::default()
    };
    let options = ReadOptions {
        target: spec.target.clone().or(base.target),
        positive: spec
            .positive
            .as_ref()
            .map(Value::to_string)
            .or(base.positive),
        weights: spec.weights.clone(),
        drop: if spec.drop.is_empty() {
            base.drop
        } else {
            spec.drop.clone()
        },
        types: spec.types.clone(),
        missing: spec.missing.clone().unwrap_or(base.missing),
        task: spec.task,
        delimiter: spec.delimiter.map_or(base.delimiter, |d| d as u8),
    };
    let Some(path) = &spec.path else {
        return telco::load(&telco::resolve(data, data_dir)?, &options);
    };
    let path = data.unwrap_or(path);
    let stem = path
        .file_stem()
        .map_or_else(|| "data".into(), |s| s.to_string_lossy());
    read_dataset(path, &stem, &options)
}

/// The most memory this process has held so far, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
