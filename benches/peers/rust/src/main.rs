//! One fit of another crate's boosting, in the form of answer of the example `fit_speed`.
//!
//! `cargo run --release -- hessboost|forust --train FILE --test FILE [--trees 200] [--threads 1] [--reps 3]`
//!
//! hessboost grows as XGBoost does in the same comparison (depth 6), forust to 63 leaves. Both have a
//! learning rate of 0.1, 255 bins and their own defaults for the rest. Binning is inside the timer for both.

use std::time::Instant;

use forust_ml::{GradientBooster, Matrix};
use hessboost::objective::RegLoss;
use hessboost::prelude::*;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Rows of numbers, column after column, and the target, which is the last column.
struct Rows {
    columns: Vec<Vec<f64>>,
    target: Vec<f64>,
}

fn read(path: &str) -> Outcome<Rows> {
    let mut reader = csv::Reader::from_path(path)?;
    let width = reader.headers()?.len();
    let mut columns = vec![Vec::new(); width];
    for record in reader.records() {
        for (column, cell) in columns.iter_mut().zip(record?.iter()) {
            column.push(if cell.is_empty() { f64::NAN } else { cell.parse()? });
        }
    }
    let target = columns.pop().ok_or("no columns")?;
    Ok(Rows { columns, target })
}

impl Rows {
    fn row_major(&self) -> Vec<f32> {
        let rows = self.target.len();
        (0..rows)
            .flat_map(|r| self.columns.iter().map(move |c| c[r] as f32))
            .collect()
    }

    fn column_major(&self) -> Vec<f64> {
        self.columns.concat()
    }
}

/// The share of pairs in the right order.
fn auc(target: &[f64], scores: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut ranks, mut at) = (0.0, 0);
    while at < order.len() {
        let mut end = at;
        while end < order.len() && scores[order[end]] == scores[order[at]] {
            end += 1;
        }
        let rank = (at + 1 + end) as f64 / 2.0;
        ranks += order[at..end].iter().map(|i| rank * target[*i]).sum::<f64>();
        at = end;
    }
    let ones: f64 = target.iter().sum();
    let zeros = target.len() as f64 - ones;
    (ranks - ones * (ones + 1.0) / 2.0) / (ones * zeros)
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let peer = arguments.next().ok_or("hessboost or forust?")?;
    let (mut train_file, mut test_file) = (String::new(), String::new());
    let (mut trees, mut threads, mut reps) = (200, 1, 3);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--train" => train_file = value,
            "--test" => test_file = value,
            "--trees" => trees = value.parse()?,
            "--threads" => threads = value.parse()?,
            "--reps" => reps = value.parse()?,
            _ => return Err(format!("unknown argument {flag}").into()),
        }
    }
    let (seen, unseen) = (read(&train_file)?, read(&test_file)?);
    let (rows, width) = (seen.target.len(), seen.columns.len());
    let (mut fits, mut scores) = (Vec::new(), Vec::new());
    match peer.as_str() {
        "hessboost" => {
            let (x, new) = (seen.row_major(), unseen.row_major());
            let y: Vec<f32> = seen.target.iter().map(|t| *t as f32).collect();
            let params = TrainingParams::builder()
                .objective(Objective::BinaryLogistic(RegLoss::default()))
                .tree_method(TreeMethod::Hist)
                .max_depth(6)
                .eta(0.1)
                .max_bin(255)
                .nthread(threads)
                .build()?;
            for _ in 0..reps {
                let start = Instant::now();
                let matrix = DMatrix::from_dense(&x, rows, width)?.with_labels(&y)?;
                let model = train(&params, &matrix, trees)?;
                fits.push(start.elapsed().as_secs_f64());
                let new = DMatrix::from_dense(&new, unseen.target.len(), width)?;
                let predicted = model.predict(&new, Iterations::Best)?;
                scores = predicted.as_slice().iter().map(|s| f64::from(*s)).collect();
            }
        }
        "forust" => {
            let (x, new) = (seen.column_major(), unseen.column_major());
            for _ in 0..reps {
                let start = Instant::now();
                let mut model = GradientBooster::default()
                    .set_iterations(trees)
                    .set_learning_rate(0.1)
                    .set_max_depth(1_000)
                    .set_max_leaves(63)
                    .set_nbins(255)
                    .set_parallel(threads > 1)
                    .set_num_threads(Some(threads));
                model.fit_unweighted(&Matrix::new(&x, rows, width), &seen.target, None)?;
                fits.push(start.elapsed().as_secs_f64());
                let new = Matrix::new(&new, unseen.target.len(), width);
                scores = model.predict(&new, false);
            }
        }
        _ => return Err(format!("`{peer}` is neither hessboost nor forust").into()),
    }
    let best = fits.iter().copied().fold(f64::INFINITY, f64::min);
    let answer = serde_json::json!({
        "rows": rows, "cols": width, "algo": peer, "threads": threads, "trees": trees,
        "fit_s": best, "all_s": fits, "auc": auc(&unseen.target, &scores),
    });
    println!("{answer}");
    Ok(())
}
