//! Fits learners on some rows of a file and predicts others, so that a script can score them beside another program's.
//!
//! `cargo run --release --example quality -- --data FILE --task regression --plan FILE`
//!
//! The data are CSV, all columns numbers, with the target `y`; empty cells are missing. The task is `binary`, `multiclass`
//! or `regression`. The plan is JSON: a list of `{"test": [rows], "learner": NAME, "params": {…}, "seed": N}`, one per
//! fit, rows counted from 0; all rows that are not in `test` are fitted on. Every fit prints one line, a JSON list of its
//! predictions: the probability of the larger target, the probabilities of all classes row after row, or numbers.
//! `benches/peers/quality.py` makes the table of `docs/quality.md` with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use automl::data::csv::{ReadOptions, read_dataset};
use automl::data::table::{Kind, Task};
use automl::learn::evaluate::Encoded;
use automl::learn::preprocess::Preprocess;
use automl::learn::table;
use automl::seed::Seed;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fit {
    test: BTreeSet<u32>,
    learner: String,
    params: Map<String, Json>,
    seed: u64,
}

fn main() -> Outcome<()> {
    let (mut path, mut plan, mut task) = (String::new(), String::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--data" => path = value,
            "--plan" => plan = value,
            "--task" => {
                task = Some(match value.as_str() {
                    "binary" => Task::Binary,
                    "multiclass" => Task::Multiclass,
                    "regression" => Task::Regression,
                    _ => return Err(format!("there is no task {value}").into()),
                });
            }
            _ => return Err(format!("unknown argument {flag}").into()),
        }
    }
    let plan: Vec<Fit> = serde_json::from_str(&std::fs::read_to_string(&plan)?)?;

    // Every column is taken as numbers, however few of them there are, as the other programs do.
    let header = std::fs::read_to_string(&path)?;
    let header = header.lines().next().unwrap_or_default();
    let features = header.split(',').filter(|name| *name != "y");
    let types: BTreeMap<String, Kind> = features.map(|n| (n.to_owned(), Kind::Numeric)).collect();
    let options = ReadOptions {
        target: Some("y".to_owned()),
        task,
        types,
        ..ReadOptions::default()
    };
    let data = read_dataset(Path::new(&path), "data", &options)?;
    let all = 0..data.table.rows as u32;
    let mut known: Option<(BTreeSet<u32>, Encoded)> = None;
    for fit in plan {
        let train: Vec<u32> = all.clone().filter(|r| !fit.test.contains(r)).collect();
        let test: Vec<u32> = all.clone().filter(|r| fit.test.contains(r)).collect();
        if known.as_ref().is_none_or(|(rows, _)| *rows != fit.test) {
            // Bin edges come from the rows that are fitted on.
            let encoded = Encoded::new(&data, &Preprocess::default(), &train, &[])?;
            known = Some((fit.test, encoded));
        }
        let Some((_, encoded)) = &known else { continue };
        let learner = (table::find(&fit.learner)?.build)(fit.params)?;
        let (_, model) = encoded.fit(&*learner, &data, &train, Seed::root(fit.seed))?;
        println!(
            "{}",
            serde_json::to_string(&encoded.predict(&*model, &test))?
        );
    }
    Ok(())
}
