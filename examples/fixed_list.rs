//! Cross-validates a list of forests and boosted models with given hyperparameters, on one thread and without a search,
//! and prints seconds and ROC AUC of each as JSON: the same job, list and form of answer as the peers' benchmark.
//!
//! `cargo run --release --example fixed_list -- LIST.json [--train FILE --folds FILE] [--hessian] [--reps N] [--out FILE]`
//!
//! LIST is an array of objects with `model` (`random_forest` or `gbt`) and hyperparameters. FILE of `--train` is a CSV
//! of numbers with the target `y`, FILE of `--folds` holds one fold number per row; without them, the Telco data with
//! its preset and folds of its own. With `--hessian`, `min_leaf` is the smallest sum of hessians instead of rows.

use std::path::{Path, PathBuf};
use std::time::Instant;

use automl::data::csv::{ReadOptions, read_dataset};
use automl::data::split::{Fold, holdout, k_fold};
use automl::data::table::Dataset;
use automl::data::telco;
use automl::learn::evaluate::Encoded;
use automl::learn::metric::{self, Scores};
use automl::learn::preprocess::{PRESETS, Preprocess};
use automl::learn::table;
use automl::seed::Seed;
use serde_json::{Map, Value as Json, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let list = arguments.next().ok_or("name the list of configurations")?;
    let (mut train, mut folds, mut out) = (None, None, None);
    let (mut reps, mut hessian) = (1, false);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--train" => train = Some(value()?),
            "--folds" => folds = Some(value()?),
            "--out" => out = Some(value()?),
            "--reps" => reps = value()?.parse()?,
            "--hessian" => hessian = true,
            _ => return Err(format!("unknown argument {flag}").into()),
        }
    }
    let configurations: Vec<Map<String, Json>> = serde_json::from_slice(&std::fs::read(list)?)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (dataset, spec, folds) = match (train, folds) {
        (Some(train), Some(folds)) => given(Path::new(&train), Path::new(&folds))?,
        (None, None) => telco_rows()?,
        _ => return Err("--train and --folds go together".into()),
    };
    let mut used: Vec<u32> = folds.iter().flat_map(|f| &f.test).copied().collect();
    used.sort_unstable();
    let encoded = Encoded::new(&dataset, &spec, &used, &folds)?;
    let auc = metric::find("roc_auc")?;

    let mut rows = Vec::new();
    for (number, configuration) in configurations.iter().enumerate() {
        let mut params = configuration.clone();
        let name = params.remove("model").ok_or("no `model`")?;
        let name = name.as_str().ok_or("`model` is no text")?;
        if name == "gbt" {
            params.insert("max_leaves".to_owned(), json!(255));
            if hessian {
                let weight = params.remove("min_leaf").unwrap_or(json!(1));
                params.insert("min_child_weight".to_owned(), weight);
                params.insert("min_leaf".to_owned(), json!(1));
            }
        }
        let learner = (table::find(name)?.build)(params)?;
        let mut seconds = f64::INFINITY;
        let mut mean = 0.0;
        for _ in 0..reps {
            let start = Instant::now();
            let predictions =
                pool.install(|| encoded.cross_predict(&*learner, &dataset, &folds, Seed::root(0)))?;
            seconds = seconds.min(start.elapsed().as_secs_f64());
            mean = 0.0;
            for (fold, predictions) in folds.iter().zip(&predictions) {
                let truth: Vec<f64> = fold
                    .test
                    .iter()
                    .map(|&r| dataset.target.values[r as usize])
                    .collect();
                let scores = Scores::new(dataset.target.task, 1, predictions);
                mean += auc.score(&truth, scores, None, 0.5)? / folds.len() as f64;
            }
        }
        rows.push(json!({"backend": format!("automl_{name}"), "config": number, "cv_s": round(seconds, 4), "cv_auc": round(mean, 6)}));
    }
    let mut summary = Map::new();
    for name in ["automl_random_forest", "automl_gbt"] {
        let of: Vec<&Json> = rows.iter().filter(|r| r["backend"] == name).collect();
        let sum = |key: &str| of.iter().filter_map(|r| r[key].as_f64()).sum::<f64>();
        let mean = sum("cv_auc") / of.len().max(1) as f64;
        let entry =
            json!({"configs": of.len(), "cv_s": round(sum("cv_s"), 2), "mean_auc": round(mean, 5)});
        summary.insert(name.to_owned(), entry);
    }
    let versions = json!({"automl": env!("CARGO_PKG_VERSION")});
    let answer = json!({"job": "fixed_list", "threads": 1, "summary": summary, "rows": rows, "versions": versions});
    println!("{answer}");
    if let Some(out) = out {
        std::fs::write(out, serde_json::to_string_pretty(&answer)? + "\n")?;
    }
    Ok(())
}

fn round(x: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (x * scale).round() / scale
}

/// Encoded numbers and folds from files.
fn given(train: &Path, folds: &Path) -> Outcome<(Dataset, Preprocess, Vec<Fold>)> {
    let options = ReadOptions {
        target: Some("y".to_owned()),
        ..ReadOptions::default()
    };
    let dataset = read_dataset(train, "train", &options)?;
    let of_row: Vec<usize> = std::fs::read_to_string(folds)?
        .lines()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    if of_row.len() != dataset.target.values.len() {
        return Err("--folds needs one line for every row of --train".into());
    }
    let rows = |keep: &dyn Fn(usize) -> bool| {
        let kept = of_row.iter().enumerate().filter(|(_, fold)| keep(**fold));
        kept.map(|(row, _)| row as u32).collect::<Vec<u32>>()
    };
    let count = of_row.iter().max().map_or(0, |m| m + 1);
    let folds = (0..count)
        .map(|k| Fold {
            repeat: 0,
            fold: k,
            train: rows(&|fold| fold != k),
            test: rows(&|fold| fold == k),
        })
        .collect();
    Ok((dataset, Preprocess::default(), folds))
}

/// The Telco data as the study sees it: the rows that are not held out, in five folds.
fn telco_rows() -> Outcome<(Dataset, Preprocess, Vec<Fold>)> {
    let folder = std::env::var_os(telco::FOLDER_VARIABLE).map(PathBuf::from);
    let dataset = telco::load(&telco::resolve(None, folder.as_deref())?, &telco::options())?;
    let seed = Seed::root(42);
    let split = holdout(&dataset.target, 0.2, true, seed)?;
    let folds = k_fold(&dataset.target, &split.train, 5, 1, true, seed)?;
    let preset = PRESETS.iter().find(|p| p.name == "telco");
    Ok((dataset, (preset.ok_or("no such preset")?.build)(), folds))
}
