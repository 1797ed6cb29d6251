//! Small tables made for the contract, and fitting on them.

use std::sync::Arc;

use rand::RngExt;
use serde_json::{Map, json};

use crate::data::table::{Field, Kind, Schema, Table, Target, Task};
use crate::learn::features::Features;
use crate::learn::learner::{LearnError, Learner, Model, TrainingSet};
use crate::learn::preprocess::{Categories, Encoder, Missing, Preprocess, fit_fills};
use crate::learn::table::LearnerEntry;
use crate::seed::Seed;

/// A table with a target, encoded for one learner.
pub(in crate::learn) struct Made {
    pub table: Table,
    pub target: Target,
    pub encoder: Encoder,
    pub features: Features,
    pub fills: Vec<f64>,
}

/// A numeric column.
pub(in crate::learn) fn number(name: &str, values: Vec<f64>) -> (Field, Vec<f64>) {
    column(name, Kind::Numeric, 0, values)
}

/// A categorical column whose levels are `l0`, `l1` and so on.
pub(in crate::learn) fn category(name: &str, levels: usize, codes: Vec<f64>) -> (Field, Vec<f64>) {
    column(name, Kind::Categorical, levels, codes)
}

fn column(name: &str, kind: Kind, levels: usize, values: Vec<f64>) -> (Field, Vec<f64>) {
    let name = name.to_owned();
    let levels = (0..levels).map(|l| format!("l{l}")).collect();
    (Field { name, kind, levels }, values)
}

/// A target of the task with as many classes as it needs; `classes` counts for several classes only.
pub(in crate::learn) fn target(task: Task, classes: usize, values: Vec<f64>) -> Target {
    let classes = match task {
        Task::Binary => 2,
        Task::Multiclass => classes,
        Task::Regression => 0,
    };
    Target {
        name: "y".to_owned(),
        task,
        classes: (0..classes).map(|c| format!("c{c}")).collect(),
        values,
    }
}

/// How the learner wants its columns: as they are, or as numbers without gaps.
pub(in crate::learn) fn preprocess(entry: &LearnerEntry) -> Preprocess {
    if entry.native {
        return Preprocess::default();
    }
    Preprocess {
        missing: Missing::Median,
        categories: Categories::OneHot,
        ..Preprocess::default()
    }
}

impl Made {
    pub fn new(columns: Vec<(Field, Vec<f64>)>, target: Target, spec: &Preprocess) -> Self {
        let rows = target.values.len();
        let all: Vec<u32> = (0..rows as u32).collect();
        Made::with_training_rows(columns, target, spec, &all)
    }

    /// Bins and fills come from `train` alone.
    pub fn with_training_rows(
        columns: Vec<(Field, Vec<f64>)>,
        target: Target,
        spec: &Preprocess,
        train: &[u32],
    ) -> Self {
        let rows = target.values.len();
        let columns = columns.into_iter().map(|(field, c)| (field, Arc::new(c)));
        let (fields, columns) = columns.unzip();
        let schema = Schema {
            fields,
            missing: Vec::new(),
        };
        let table = Table {
            schema,
            columns,
            rows,
        };
        let encoder = Encoder::new(spec, &table.schema).expect("the made columns can be encoded");
        let features = Features::build(&table, &encoder, train, 255);
        let fills = fit_fills(spec.missing, &encoder, &features, train);
        Made {
            table,
            target,
            encoder,
            features,
            fills,
        }
    }

    /// Rows with a signal in numbers, ties, a category and gaps, and a column that says nothing.
    pub fn usual(task: Task, spec: &Preprocess, rows: usize) -> Self {
        let mut rng = Seed::root(11).child("conformance", task as u64).rng();
        let mut uniform = || -> Vec<f64> { (0..rows).map(|_| rng.random()).collect() };
        let (a, b, kind, gap, flag, luck) = (
            uniform(),
            uniform(),
            uniform(),
            uniform(),
            uniform(),
            uniform(),
        );
        let tied: Vec<f64> = b.iter().map(|v| (v * 10.0).floor()).collect();
        let kind: Vec<f64> = kind.iter().map(|v| (v * 5.0).floor()).collect();
        let flag: Vec<f64> = flag.iter().map(|v| (v * 2.0).floor()).collect();
        let gap: Vec<f64> = gap
            .iter()
            .map(|&v| if v < 0.2 { f64::NAN } else { v })
            .collect();
        let values = (0..rows)
            .map(|i| {
                let special = [1.0, 4.0].contains(&kind[i]) || gap[i].is_nan();
                let z = a[i] + tied[i] / 10.0 + f64::from(u8::from(special)) + 0.5 * luck[i];
                match task {
                    Task::Binary => f64::from(u8::from(z > 1.7)),
                    Task::Multiclass => f64::from(u8::from(z > 1.3)) + f64::from(u8::from(z > 2.0)),
                    Task::Regression => 100.0 * z - 30.0,
                }
            })
            .collect();
        let columns = vec![
            number("a", a),
            number("tied", tied),
            category("kind", 5, kind),
            number("gap", gap),
            category("flag", 2, flag),
            number("flat", vec![7.0; rows]),
        ];
        Made::new(columns, target(task, 3, values), spec)
    }

    pub fn rows(&self) -> Vec<u32> {
        (0..self.table.rows as u32).collect()
    }

    pub fn fit(
        &self,
        learner: &dyn Learner,
        rows: &[u32],
        weights: Option<&[f64]>,
        seed: u64,
    ) -> Result<Box<dyn Model>, LearnError> {
        learner.fit(&self.training_set(rows, weights), Seed::root(seed))
    }

    pub fn training_set<'a>(
        &'a self,
        rows: &'a [u32],
        weights: Option<&'a [f64]>,
    ) -> TrainingSet<'a> {
        TrainingSet {
            features: &self.features,
            target: &self.target,
            rows,
            weights,
            fills: &self.fills,
            limit: None,
        }
    }

    /// Predictions of all rows.
    pub fn predict(&self, model: &dyn Model) -> Vec<f64> {
        model.predict_rows(&self.features, &self.rows(), &self.fills)
    }

    /// Predictions of all rows, one at a time, from the cells of the table.
    pub fn predict_from_table(&self, model: &dyn Model) -> Vec<f64> {
        let width = model.width();
        let mut out = vec![0.0; self.table.rows * width];
        let mut encoded = vec![0.0; self.encoder.rules.len()];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let cells: Vec<f64> = self.table.columns.iter().map(|c| c[row]).collect();
            self.encoder.apply(&cells, &mut encoded);
            for (value, fill) in encoded.iter_mut().zip(&self.fills) {
                if value.is_nan() {
                    *value = *fill;
                }
            }
            model.predict_row(&encoded, out);
        }
        out
    }
}

/// The learner, with few trees where it has any.
pub(in crate::learn) fn learner(entry: &LearnerEntry) -> Box<dyn Learner> {
    let few: Map<String, serde_json::Value> = [("n_estimators".to_owned(), json!(20))]
        .into_iter()
        .collect();
    (entry.build)(few)
        .or_else(|_| (entry.build)(Map::new()))
        .expect("a learner can be built with its defaults")
}

/// The bits of numbers, which compare equal where `==` on NaN does not.
pub(in crate::learn) fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}
