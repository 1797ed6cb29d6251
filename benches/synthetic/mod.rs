//! Data of the learner benchmarks.

use automl::data::table::{Dataset, Field, Kind, Schema, Table, Target, Task};
use automl::seed::Seed;
use rand::RngExt;

/// Uniform columns, a quarter of them with few values, and two classes that depend on the first eight.
pub fn synthetic(rows: usize, columns: usize) -> Dataset {
    let mut rng = Seed::root(42).child("bench", rows as u64).rng();
    let values: Vec<Vec<f64>> = (0..columns)
        .map(|c| {
            let number = |v: f64| if c % 4 == 3 { (v * 8.0).floor() } else { v };
            (0..rows).map(|_| number(rng.random())).collect()
        })
        .collect();
    let truth = (0..rows).map(|row| {
        let score: f64 = (0..8).map(|c| values[c][row] * [1.0, -1.0][c % 2]).sum();
        f64::from(u8::from(score + rng.random::<f64>() > 0.0))
    });
    let target = Target {
        name: "y".to_owned(),
        task: Task::Binary,
        classes: vec!["no".to_owned(), "yes".to_owned()],
        values: truth.collect(),
    };
    let field = |c| Field {
        name: format!("x{c}"),
        kind: Kind::Numeric,
        levels: Vec::new(),
    };
    Dataset {
        name: "synthetic".to_owned(),
        sha256: String::new(),
        table: Table {
            schema: Schema {
                fields: (0..columns).map(field).collect(),
                missing: Vec::new(),
            },
            columns: values,
            rows,
        },
        target,
        weights: None,
        left_out: Vec::new(),
    }
}
