//! What `automl study` prints: two lines before, the result after, as text or as JSON.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::cli::commands::trials;
use crate::cli::output::{self, print_line, score, thousands};
use crate::data::table::Task;
use crate::learn::calibration::Method;
use crate::learn::metric;
use crate::registry::{GateReport, Stage};
use crate::study::Study;
use crate::study::record::TrialRecord;
use crate::tracking::Store;
use crate::tune::ensemble::{WAYS, Way};
use crate::tune::job::Job;
use crate::tune::outcome::{CalibrationReport, Choice, ChosenMember, Outcome};

use super::version::Version;

/// Members of an ensemble that are named; all are in the registry and in `--format json`.
const SHOWN_MEMBERS: usize = 6;

fn method_name(method: Option<Method>) -> &'static str {
    method.map_or("none", Method::name)
}

pub(super) fn header(job: &Job) -> Vec<String> {
    let e = &job.experiment;
    let arrow = match job.metric.goal {
        metric::Goal::Maximize => '↑',
        metric::Goal::Minimize => '↓',
    };
    let repeats = if e.cv.repeats > 1 {
        format!("{} × ", e.cv.repeats)
    } else {
        String::new()
    };
    let stratified = if e.cv.stratify && job.dataset.target.task != Task::Regression {
        " stratified"
    } else {
        ""
    };
    let pruner = match e.search.pruner.name() {
        "none" => String::new(),
        pruner => format!(" · {pruner}"),
    };
    let mut lines = vec![
        format!(
            "{}  {}{pruner} · {} trials · {repeats}{}-fold{stratified} CV · {} {arrow} · {} at once · seed {}",
            e.name,
            e.search.sampler.name(),
            e.search.trials,
            e.cv.folds,
            job.metric.name,
            e.search.concurrency,
            e.seed
        ),
        format!(
            "data   {} ({} rows × {} features, {} to train on, {} held out)  sha256 {}…",
            job.dataset.name,
            thousands(job.dataset.table.rows),
            job.dataset.table.schema.fields.len(),
            thousands(job.split.train.len()),
            thousands(job.split.test.len()),
            &job.dataset.sha256[..8]
        ),
    ];
    if job.dataset.name.ends_with("-synthetic") {
        lines.push(
            "note   the Telco file was not found, so these are generated rows of the same shape; for the real ones: automl data fetch telco".to_owned(),
        );
    }
    for (column, why) in &job.dataset.left_out {
        if !e.data.drop.contains(column) && e.data.source.is_none() {
            lines.push(format!("note   column `{column}` is left out: {why}"));
        }
    }
    lines
}

/// What is printed at the end.
pub(super) struct Report<'a> {
    pub job: &'a Job,
    pub study: &'a Study,
    pub best: &'a TrialRecord,
    pub outcome: &'a Outcome,
    pub version: &'a Version,
}

impl Report<'_> {
    fn folds(&self) -> Vec<f64> {
        let folds = self.best.user_attrs.get("folds").and_then(Json::as_array);
        folds.map_or(Vec::new(), |f| f.iter().filter_map(Json::as_f64).collect())
    }

    pub fn json(&self, took: Duration) -> Json {
        let progress = self.study.progress();
        let numbers = |pairs: &[(&str, f64)]| {
            Json::Object(
                pairs
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), json!(v)))
                    .collect(),
            )
        };
        let mut holdout = numbers(&self.outcome.holdout);
        let card = &self.outcome.pipeline.card;
        if card.task == Task::Binary {
            holdout["threshold"] = json!(card.threshold);
            holdout["at_threshold"] = numbers(&self.outcome.holdout_at_threshold);
        }
        if !self.outcome.confusion.is_empty() {
            holdout["confusion"] = json!(self.outcome.confusion);
            holdout["classes"] = json!(card.classes);
        }
        let dataset = &self.job.dataset;
        let mut report = json!({
            "study": self.study.name(),
            "dataset": {
                "name": dataset.name,
                "sha256": dataset.sha256,
                "rows": dataset.table.rows,
                "features": dataset.table.schema.fields.len(),
            },
            "metric": self.job.metric.name,
            "trials": {
                "complete": progress.complete,
                "pruned": progress.pruned,
                "failed": progress.failed,
                "running": progress.running,
            },
            "best": {
                "number": self.best.number,
                "value": self.best.values[0],
                "learner": self.job.search.learner(&self.best.params),
                "params": trials::params(self.best),
                "folds": self.folds(),
            },
            "holdout": holdout,
            "model": {
                "name": self.version.model,
                "version": self.version.registered.version,
                "created": self.version.registered.created,
                "stage": self.version.stage,
                "path": self.version.path,
                "sha256": self.version.sha256,
                "gate": self.version.report.as_ref().map(GateReport::to_json),
            },
            "seconds": took.as_secs_f64(),
        });
        if let Some(choice) = &self.outcome.choice {
            let scores = choice.scores.iter();
            let scores: Vec<(&str, f64)> = scores.map(|(way, s)| (way.name(), *s)).collect();
            let member = |m: &ChosenMember| json!({"trial": m.trial, "learner": m.learner, "weight": m.weight});
            report["final"] = json!({
                "way": choice.way.name(),
                "scores": numbers(&scores),
                "considered": choice.considered,
                "members": choice.members.iter().map(member).collect::<Vec<Json>>(),
            });
        }
        if let Some(calibration) = &self.outcome.calibration {
            let mut scores = Map::new();
            for (method, values) in &calibration.scores {
                scores.insert(method_name(*method).to_owned(), numbers(values));
            }
            report["calibration"] =
                json!({"method": method_name(calibration.method), "out_of_fold": scores});
        }
        report
    }

    /// What won, by how much, and what is in it.
    fn print_choice(&self, choice: &Choice) {
        let of = |way: Way| choice.scores.iter().find(|(w, _)| *w == way).map(|s| s.1);
        let shown =
            |way: Way| format!("{} {}", way.name(), of(way).map_or_else(String::new, score));
        let others: Vec<String> = WAYS
            .into_iter()
            .filter(|way| *way != choice.way)
            .map(shown)
            .collect();
        print_line!(
            "final  {}  {} (each fold by what the others chose)   {}",
            shown(choice.way),
            self.job.metric.name,
            others.join("  ")
        );
        if choice.way != Way::Best {
            let mut members: Vec<&ChosenMember> = choice.members.iter().collect();
            members.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.trial.cmp(&b.trial)));
            let named: Vec<String> = members
                .iter()
                .take(SHOWN_MEMBERS)
                .map(|m| format!("#{} {} {:.3}", m.trial, m.learner, m.weight))
                .collect();
            let more = members.len().saturating_sub(SHOWN_MEMBERS);
            let more = if more > 0 {
                format!(", and {more} more")
            } else {
                String::new()
            };
            print_line!(
                "       {} of {} trials: {}{more}",
                members.len(),
                choice.considered,
                named.join(", ")
            );
        }
    }

    fn print_calibration(&self, report: &CalibrationReport) {
        let rows: Vec<String> = report
            .scores
            .iter()
            .map(|(method, scores)| {
                let scores: Vec<String> = scores
                    .iter()
                    .map(|(name, value)| format!("{name} {}", score(*value)))
                    .collect();
                format!("{}: {}", method_name(*method), scores.join("  "))
            })
            .collect();
        print_line!("calibration {} (out of fold)", method_name(report.method));
        for row in rows {
            print_line!("       {row}");
        }
    }

    pub fn print(&self, store: &Store) {
        let metric = self.job.metric.name;
        let folds = self.folds();
        let mean = self.best.values[0];
        let spread = folds.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>();
        let spread = (spread / (folds.len().max(2) - 1) as f64).sqrt();
        let value =
            |name: &str, of: &[(&str, f64)]| of.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let holdout = value(metric, &self.outcome.holdout).map_or("undefined".to_owned(), score);
        if let Some(ways) = trials::drawn_by(self.study) {
            print_line!("search {ways}");
        }
        let progress = self.study.progress();
        let ended = [(progress.pruned, "pruned"), (progress.failed, "failed")];
        if ended.iter().any(|(n, _)| *n > 0) {
            let ended = ended.iter().filter(|(n, _)| *n > 0);
            let ended: Vec<String> = ended.map(|(n, how)| format!("{n} {how}")).collect();
            let (complete, ended) = (progress.complete, ended.join(", "));
            print_line!("trials {complete} complete, {ended}");
        }
        // The holdout is read once, by the final model.
        let alone = self
            .outcome
            .choice
            .as_ref()
            .is_none_or(|c| c.way == Way::Best);
        let read = if alone {
            format!("   {holdout} (holdout)")
        } else {
            String::new()
        };
        print_line!(
            "best   #{} {}  {metric} {} ± {} (CV){read}",
            self.best.number,
            self.job.search.learner(&self.best.params),
            score(mean),
            score(spread),
        );
        if let Some(choice) = &self.outcome.choice {
            self.print_choice(choice);
        }
        if let Some(calibration) = &self.outcome.calibration {
            self.print_calibration(calibration);
        }
        self.print_holdout();
        let version = &self.version;
        let name = format!("{} v{}", version.model, version.registered.version);
        let gate = match &version.report {
            _ if !version.registered.created => "(the same model as before)".to_owned(),
            None => String::new(),
            Some(report) => {
                let rules: Vec<String> = report
                    .rows
                    .iter()
                    .map(|r| r.rule.replace(">=", "≥").replace("<=", "≤"))
                    .collect();
                format!(
                    "(gate: {} {})",
                    rules.join(", "),
                    if report.passed { "passed" } else { "refused" }
                )
            }
        };
        let line = format!("model  {name} → {}   {gate}", version.stage);
        print_line!("{}", line.trim_end());
        if let Some(report) = version.report.as_ref().filter(|r| !r.passed) {
            print_line!("{report}");
        }
        let at = match version.stage {
            Stage::Staging | Stage::Production => format!("@{}", version.stage),
            _ => format!(":{}", version.registered.version),
        };
        let place = store.place();
        let store = if place == crate::tracking::DEFAULT_FOLDER {
            String::new()
        } else {
            format!(" --store {place}")
        };
        print_line!(
            "next   automl predict --model {}{at} --input data.csv{store}",
            version.model
        );
    }

    fn print_holdout(&self) {
        let show = |pairs: &[(&str, f64)], names: &[&str]| {
            let shown = names
                .iter()
                .filter_map(|n| pairs.iter().find(|(p, _)| p == n));
            shown
                .map(|(n, v)| format!("{n} {}", score(*v)))
                .collect::<Vec<_>>()
                .join("  ")
        };
        let card = &self.outcome.pipeline.card;
        let all = &self.outcome.holdout;
        let line = match card.task {
            Task::Binary => show(
                all,
                &["accuracy", "precision", "recall", "f1", "log_loss", "brier"],
            ),
            Task::Multiclass => show(
                all,
                &["accuracy", "balanced_accuracy", "f1", "log_loss", "roc_auc"],
            ),
            Task::Regression => show(all, &["rmse", "mae", "r2"]),
        };
        let metric = self.job.metric.name;
        let ensemble = self
            .outcome
            .choice
            .as_ref()
            .is_some_and(|c| c.way != Way::Best);
        let first = if ensemble && !line.contains(&format!("{metric} ")) {
            format!("{}  ", show(all, &[metric]))
        } else {
            String::new()
        };
        print_line!("holdout {first}{line}");
        if card.task == Task::Binary {
            let at = show(
                &self.outcome.holdout_at_threshold,
                &["accuracy", "precision", "recall", "f1"],
            );
            print_line!(
                "        at threshold {:.3}, chosen out of fold:  {at}",
                card.threshold
            );
        }
        if self.outcome.confusion.is_empty() || card.classes.len() > 12 {
            return;
        }
        let mut header = vec!["true \\ predicted"];
        header.extend(card.classes.iter().map(String::as_str));
        let rows: Vec<Vec<String>> = card
            .classes
            .iter()
            .zip(&self.outcome.confusion)
            .map(|(class, counts)| {
                std::iter::once(class.clone())
                    .chain(counts.iter().map(u64::to_string))
                    .collect()
            })
            .collect();
        // Nothing is lost when stdout is gone: the same numbers are in the store.
        let _ = output::print_table(&header, &rows);
    }
}
