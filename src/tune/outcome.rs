//! The final model of a study: the best trial or an ensemble of trials, refit on all training rows, calibrated if asked for,
//! and scored once on the holdout.
//!
//! **Contract.** Everything that is chosen here (members, weights, calibration, threshold) is chosen on out-of-fold predictions.
//! Kept ones are taken when they are there and made again when not, with the same bits: the result does not depend on
//! what was kept, on threads, or on how often the study was interrupted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::data::table::Task;
use crate::learn::calibration::{Calibrated, Calibration, Method};
use crate::learn::ensemble::{Ensemble, Member};
use crate::learn::learner::Model;
use crate::learn::metric;
use crate::learn::pipeline::{Card, Pipeline};
use crate::learn::preprocess::Transform;
use crate::seed::Seed;
use crate::study::record::{TrialRecord, TrialState};

use super::adopt::origin;
use super::curve::rounds;
use super::ensemble::{self, Candidate, Field, Selection, Way};
use super::experiment::{CalibrationSpec, FinalSpec};
use super::job::{Job, JobError};

/// The out-of-fold predictions that were kept of a trial, by its number; none where they have to be made again.
pub type Kept<'a> = &'a (dyn Fn(&TrialRecord) -> Option<Vec<f64>> + Sync);

/// The final model and how good it is.
pub struct Outcome {
    /// The model with everything before it.
    pub pipeline: Pipeline,
    /// The learner's name, or `ensemble`.
    pub learner: String,
    /// Hyperparameters, fixed ones included; of an ensemble its members.
    pub hyperparameters: Json,
    /// The study's metric, cross-validated: of the best trial its value, of an ensemble its honest score.
    pub cross_validated: f64,
    /// Which ways were compared and what was chosen, when an ensemble was asked for.
    pub choice: Option<Choice>,
    /// How probabilities were before and after, when calibration was asked for.
    pub calibration: Option<CalibrationReport>,
    /// Every metric on the holdout; labels at 0.5.
    pub holdout: Vec<(&'static str, f64)>,
    /// Metrics of labels at the threshold of the pipeline, for two classes.
    pub holdout_at_threshold: Vec<(&'static str, f64)>,
    /// Rows by true class, then by predicted class, at the threshold of the pipeline; empty for a regression.
    pub confusion: Vec<Vec<u64>>,
    /// The F1 that the threshold had on out-of-fold predictions.
    pub out_of_fold_f1: Option<f64>,
    /// Share of the total gain (of the coefficients, for a linear model) by feature, largest first.
    pub importance: Vec<(String, f64)>,
}

/// The comparison of the best trial with ensembles.
pub struct Choice {
    /// The way that won.
    pub way: Way,
    /// The honest score of every way: each fold is predicted by what was chosen on the others.
    pub scores: Vec<(Way, f64)>,
    /// How many trials were considered.
    pub considered: usize,
    /// The trials in the model, with their learners and weights.
    pub members: Vec<ChosenMember>,
}

/// One trial in the final model.
pub struct ChosenMember {
    /// Its number.
    pub trial: u64,
    /// Its learner.
    pub learner: String,
    /// Its weight; of a stacked blend with several outputs the mean.
    pub weight: f64,
}

/// Probabilities before and after calibration, out of fold: each fold is calibrated by a map fitted on the others.
pub struct CalibrationReport {
    /// What was applied; none when `auto` found that nothing was better.
    pub method: Option<Method>,
    /// `log_loss`, `brier` and `ece` without calibration, then by every method that was tried.
    pub scores: Vec<(Option<Method>, Judged)>,
}

/// Scores by metric.
pub type Judged = Vec<(&'static str, f64)>;

/// What calibration is judged by.
const PROBABILITY_METRICS: [&str; 3] = ["log_loss", "brier", "ece"];

/// A model before calibration and threshold.
struct Draft {
    transform: Transform,
    model: Box<dyn Model>,
    /// Predictions of the holdout.
    holdout: Vec<f64>,
    learner: String,
    hyperparameters: Json,
}

impl Job {
    /// The final model when nothing was kept and the best trial alone is wanted: see [`Job::finish`].
    ///
    /// # Errors
    /// As [`Job::finish`].
    pub fn refit(&self, trial: &TrialRecord) -> Result<Outcome, JobError> {
        self.finish(&[], trial, &|_| None)
    }

    /// Makes the final model of a study as the experiment asks for: `best` is its best trial, `trials` are all of them.
    ///
    /// For two classes the threshold is the one with the largest F1 on out-of-fold predictions.
    ///
    /// # Errors
    /// When the parameters cannot be fitted any more, which a complete trial's always can.
    pub fn finish(
        &self,
        trials: &[Arc<TrialRecord>],
        best: &TrialRecord,
        kept: Kept<'_>,
    ) -> Result<Outcome, JobError> {
        let task = self.dataset.target.task;
        let mut cross_validated = best.value().unwrap_or(f64::NAN);
        let (mut choice, mut selected) = (None, None);
        if self.experiment.final_model == FinalSpec::Ensemble {
            let members = self.candidates(trials, best);
            let (members, candidates) = self.predicted(members, kept)?;
            let repeats: Vec<usize> = self.folds.iter().map(|f| f.repeat).collect();
            let weights = self.fold_weights();
            let field = Field {
                task,
                width: self.width(),
                metric: self.metric,
                truths: &self.truths,
                weights: weights.as_deref(),
                repeats: &repeats,
            };
            let selection = ensemble::select(&field, &candidates).map_err(JobError::Score)?;
            let score = selection
                .scores
                .iter()
                .find(|(way, _)| *way == selection.way);
            if let (Some((_, score)), true) = (score, selection.way != Way::Best) {
                cross_validated = *score;
            }
            choice = Some(self.choice(&selection, &members, best));
            if selection.way != Way::Best {
                selected = Some((selection, members));
            }
        }
        let (draft, out_of_fold) = match selected {
            None => {
                // A regression needs no out-of-fold predictions: it has no threshold and no calibration.
                let predictions = match task {
                    Task::Regression => Vec::new(),
                    _ => self.out_of_fold(best, kept)?,
                };
                (self.draft(best)?, predictions)
            }
            Some((selection, members)) => {
                let predictions = selection.predictions.clone();
                (self.draft_ensemble(&selection, &members)?, predictions)
            }
        };
        let truth = self.truths.concat();
        let (calibration, out_of_fold, report) = self.calibrate(&truth, out_of_fold)?;
        let (mut threshold, mut out_of_fold_f1) = (0.5, None);
        if task == Task::Binary {
            let best = metric::best_f1_threshold(&truth, &out_of_fold);
            let (at, f1) = best.map_err(JobError::Score)?;
            (threshold, out_of_fold_f1) = (at, Some(f1));
        }
        let mut outcome = self.scored(draft, calibration, threshold)?;
        outcome.cross_validated = cross_validated;
        outcome.choice = choice;
        outcome.calibration = report;
        outcome.out_of_fold_f1 = out_of_fold_f1;
        Ok(outcome)
    }

    /// The weights of the test rows of each fold, when the data has any.
    fn fold_weights(&self) -> Option<Vec<Vec<f64>>> {
        self.folds.iter().map(|f| self.weights(&f.test)).collect()
    }

    /// Numbers per prediction.
    fn width(&self) -> usize {
        match self.dataset.target.task {
            Task::Multiclass => self.dataset.target.classes.len(),
            _ => 1,
        }
    }

    /// The complete trials to consider, by number; of trials with the same parameters the best one.
    fn candidates<'t>(
        &self,
        trials: &'t [Arc<TrialRecord>],
        best: &'t TrialRecord,
    ) -> Vec<&'t TrialRecord> {
        let direction = self.direction();
        let mut distinct: Vec<&TrialRecord> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let others = trials.iter().map(Arc::as_ref);
        for trial in std::iter::once(best).chain(others.filter(|t| t.number != best.number)) {
            let complete = trial.state == TrialState::Complete;
            let Some(value) = trial.value().filter(|v| complete && v.is_finite()) else {
                continue;
            };
            match known.entry(format!("{:?}", trial.params)) {
                Entry::Vacant(place) => {
                    place.insert(distinct.len());
                    distinct.push(trial);
                }
                Entry::Occupied(at) => {
                    let same = &mut distinct[*at.get()];
                    let before = same.value().unwrap_or(f64::NAN);
                    if direction.better(value, before) {
                        *same = trial;
                    }
                }
            }
        }
        if distinct.is_empty() {
            // A best trial with an infinite value, and no other.
            distinct.push(best);
        }
        distinct.sort_by_key(|t| t.number);
        let learners: Vec<String> = distinct
            .iter()
            .map(|t| self.search.learner(&t.params))
            .collect();
        let losses = distinct
            .iter()
            .map(|t| direction.loss(t.value().unwrap_or(f64::NAN)));
        let judged: Vec<(&str, f64)> = learners.iter().map(String::as_str).zip(losses).collect();
        ensemble::shortlist(&judged)
            .into_iter()
            .map(|i| distinct[i])
            .collect()
    }

    /// The trials with their predictions. One that another program added and that cannot be fitted is left out.
    fn predicted<'t>(
        &self,
        trials: Vec<&'t TrialRecord>,
        kept: Kept<'_>,
    ) -> Result<(Vec<&'t TrialRecord>, Vec<Candidate>), JobError> {
        // One after the other: each uses all threads where it has to be made again, and memory stays flat.
        let mut found = (Vec::new(), Vec::new());
        let mut failure = None;
        for trial in trials {
            match self.out_of_fold(trial, kept) {
                Ok(predictions) => {
                    found.0.push(trial);
                    found.1.push(Candidate {
                        trial: trial.number,
                        predictions,
                    });
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if found.0.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// The predictions of a trial for the test rows of all folds, kept or made again.
    fn out_of_fold(&self, trial: &TrialRecord, kept: Kept<'_>) -> Result<Vec<f64>, JobError> {
        let numbers = self.truths.iter().map(Vec::len).sum::<usize>() * self.width();
        if let Some(predictions) = kept(trial).filter(|p| p.len() == numbers) {
            return Ok(predictions);
        }
        let name = self.search.learner(&trial.params);
        let learner = self.learner(&name, &trial.params, rounds(trial))?;
        let encoded = self.encoded(&trial.params);
        let seed = self.seed(trial).child("fit", 0);
        let (learner, folds) = (learner.as_ref(), &self.folds);
        let folds = encoded.cross_predict(learner, &self.dataset, folds, seed)?;
        Ok(folds.concat())
    }

    fn seed(&self, trial: &TrialRecord) -> Seed {
        Seed::root(self.experiment.seed).child("trial", origin(trial))
    }

    /// Fits a trial on all training rows.
    fn draft(&self, trial: &TrialRecord) -> Result<Draft, JobError> {
        let name = self.search.learner(&trial.params);
        let learner = self.learner(&name, &trial.params, rounds(trial))?;
        let encoded = self.encoded(&trial.params);
        let seed = self.seed(trial).child("refit", 0);
        let (transform, model) =
            encoded.fit(learner.as_ref(), &self.dataset, &self.split.train, seed)?;
        Ok(Draft {
            holdout: encoded.predict(model.as_ref(), &self.split.test),
            transform,
            model,
            hyperparameters: Json::Object(self.search.hyperparameters(
                &name,
                &trial.params,
                rounds(trial),
            )),
            learner: name,
        })
    }

    /// Fits the members of an ensemble on all training rows, in parallel.
    fn draft_ensemble(
        &self,
        selection: &Selection,
        candidates: &[&TrialRecord],
    ) -> Result<Draft, JobError> {
        let task = self.dataset.target.task;
        let drafts: Vec<Result<Draft, JobError>> = selection
            .members
            .par_iter()
            .map(|&m| self.draft(candidates[m]))
            .collect();
        let drafts: Vec<Draft> = drafts.into_iter().collect::<Result<_, _>>()?;
        let width = self.width();
        let mut holdout = vec![0.0; self.split.test.len() * width];
        for (row, out) in holdout.chunks_exact_mut(width).enumerate() {
            let member = |m: usize| &drafts[m].holdout[row * width..(row + 1) * width];
            selection.blend.apply(task, member, out);
        }
        let (mut members, mut described) = (Vec::new(), Vec::new());
        for (i, (draft, &m)) in drafts.into_iter().zip(&selection.members).enumerate() {
            let number = candidates[m].number;
            described.push(json!({
                "trial": number,
                "learner": draft.learner,
                "weight": selection.blend.weight(i),
                "hyperparameters": draft.hyperparameters,
            }));
            members.push(Member {
                label: format!("#{number} {}", draft.learner),
                transform: draft.transform,
                model: draft.model,
            });
        }
        let schema = &self.dataset.table.schema;
        let columns = schema.fields.len();
        let model = Ensemble::new(task, columns, members, selection.blend.clone())?;
        Ok(Draft {
            transform: Ensemble::transform(schema),
            model: Box::new(model),
            holdout,
            learner: crate::learn::ensemble::NAME.to_owned(),
            hyperparameters: json!({"way": selection.way.name(), "members": described}),
        })
    }

    fn choice(
        &self,
        selection: &Selection,
        candidates: &[&TrialRecord],
        best: &TrialRecord,
    ) -> Choice {
        let member = |trial: &TrialRecord, weight: f64| ChosenMember {
            trial: trial.number,
            learner: self.search.learner(&trial.params),
            weight,
        };
        let members = if selection.way == Way::Best {
            vec![member(best, 1.0)]
        } else {
            let weights = selection.members.iter().enumerate();
            weights
                .map(|(i, &m)| member(candidates[m], selection.blend.weight(i)))
                .collect()
        };
        Choice {
            way: selection.way,
            scores: selection.scores.clone(),
            considered: candidates.len(),
            members,
        }
    }

    /// The calibration to apply, the out-of-fold predictions after it, and the report.
    #[expect(
        clippy::type_complexity,
        reason = "three things that are made together and go three ways"
    )]
    fn calibrate(
        &self,
        truth: &[f64],
        predictions: Vec<f64>,
    ) -> Result<(Option<Calibration>, Vec<f64>, Option<CalibrationReport>), JobError> {
        let methods: &[Method] = match self.experiment.calibration {
            CalibrationSpec::None => return Ok((None, predictions, None)),
            CalibrationSpec::Isotonic => &[Method::Isotonic],
            CalibrationSpec::Platt => &[Method::Platt],
            CalibrationSpec::Auto => &[Method::Platt, Method::Isotonic],
        };
        let auto = self.experiment.calibration == CalibrationSpec::Auto;
        let weights = self.fold_weights().map(|w| w.concat());
        let weights = weights.as_deref();
        let before = self.judge(truth, &predictions, weights)?;
        let mut chosen: (Option<Method>, f64, Vec<f64>) = (None, before[0].1, predictions.clone());
        let mut scores = vec![(None, before)];
        for &method in methods {
            let after = self.cross_calibrated(method, &predictions)?;
            let judged = self.judge(truth, &after, weights)?;
            if !auto || judged[0].1 < chosen.1 {
                chosen = (Some(method), judged[0].1, after);
            }
            scores.push((Some(method), judged));
        }
        let (method, _, after) = chosen;
        let calibration = match method {
            Some(method) => Some(Calibration::fit(
                method,
                self.width(),
                &predictions,
                truth,
                weights,
            )?),
            None => None,
        };
        Ok((
            calibration,
            after,
            Some(CalibrationReport { method, scores }),
        ))
    }

    /// Each fold's predictions by a map fitted on the other folds of its repeat.
    fn cross_calibrated(&self, method: Method, predictions: &[f64]) -> Result<Vec<f64>, JobError> {
        let width = self.width();
        let mut begins = vec![0];
        for truth in &self.truths {
            begins.push(begins[begins.len() - 1] + truth.len() * width);
        }
        let mut out = Vec::with_capacity(predictions.len());
        for (fold, own) in self.folds.iter().enumerate() {
            let (mut p, mut t) = (Vec::new(), Vec::new());
            let mut w = self.dataset.weights.is_some().then(Vec::new);
            for (other, that) in self.folds.iter().enumerate() {
                if other != fold && that.repeat == own.repeat {
                    p.extend_from_slice(&predictions[begins[other]..begins[other + 1]]);
                    t.extend_from_slice(&self.truths[other]);
                    if let (Some(w), Some(own)) = (&mut w, self.weights(&that.test)) {
                        w.extend(own);
                    }
                }
            }
            let map = Calibration::fit(method, width, &p, &t, w.as_deref())?;
            let mut part = predictions[begins[fold]..begins[fold + 1]].to_vec();
            part.chunks_exact_mut(width).for_each(|row| map.apply(row));
            out.extend(part);
        }
        Ok(out)
    }

    fn judge(
        &self,
        truth: &[f64],
        predictions: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Judged, JobError> {
        let given = self.scores(predictions, truth.len());
        PROBABILITY_METRICS
            .iter()
            .map(|name| {
                let entry = metric::find(name).map_err(JobError::Score)?;
                let score = entry.score(truth, given, weights, 0.5);
                Ok((entry.name, score.map_err(JobError::Score)?))
            })
            .collect()
    }

    /// Joins model, calibration and threshold, and reads the holdout.
    fn scored(
        &self,
        draft: Draft,
        calibration: Option<Calibration>,
        threshold: f64,
    ) -> Result<Outcome, JobError> {
        let task = self.dataset.target.task;
        let Draft {
            transform,
            mut model,
            holdout: mut predicted,
            learner,
            hyperparameters,
        } = draft;
        if let Some(calibration) = calibration {
            let width = calibration.width();
            for row in predicted.chunks_exact_mut(width) {
                calibration.apply(row);
            }
            model = Box::new(Calibrated::new(model, calibration)?);
        }
        let rows = &self.split.test;
        let value = |&r: &u32| self.dataset.target.values[r as usize];
        let truth: Vec<f64> = rows.iter().map(value).collect();
        let given = self.scores(&predicted, truth.len());
        let weights = self.weights(rows);
        let all = |at| {
            metric::all_weighted(&truth, given, weights.as_deref(), at).map_err(JobError::Score)
        };
        let (holdout, holdout_at_threshold) = match task {
            Task::Binary => {
                let mut at_threshold = all(threshold)?;
                at_threshold.retain(|(name, _)| metric::find(name).is_ok_and(|m| m.on_labels));
                (all(0.5)?, at_threshold)
            }
            _ => (all(0.5)?, Vec::new()),
        };
        let confusion = match task {
            Task::Regression => Vec::new(),
            _ => metric::confusion(&truth, given, threshold).map_err(JobError::Score)?,
        };
        let shares = model.importance().unwrap_or_default();
        let names = transform.encoder.names.iter().cloned();
        let mut importance: Vec<(String, f64)> = names.zip(shares).collect();
        importance.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let card = Card {
            task,
            target: self.dataset.target.name.clone(),
            classes: self.dataset.target.classes.clone(),
            threshold,
            dataset: self.dataset.name.clone(),
            dataset_sha256: self.dataset.sha256.clone(),
        };
        Ok(Outcome {
            pipeline: Pipeline {
                card,
                transform,
                model,
            },
            learner,
            hyperparameters,
            cross_validated: f64::NAN,
            choice: None,
            calibration: None,
            holdout,
            holdout_at_threshold,
            confusion,
            out_of_fold_f1: None,
            importance,
        })
    }
}
