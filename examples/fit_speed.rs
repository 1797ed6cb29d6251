//! Times one fit and the prediction of unseen rows, as the peers' benchmark does, and prints seconds, memory and ROC AUC.
//!
//! `cargo run --release --example fit_speed -- --train FILE --test FILE [--learner gbt] [--trees 200] [--threads 1]
//! [--reps 3] [--params JSON]`
//!
//! The files are CSV with a binary target `y`; categories are taken natively. Boosting has 63 leaves unless `--params`
//! says otherwise, a forest draws the square root of the features and has no limit of depth. The best of the repeats is
//! given for fitting, for a batch of all test rows, and the median for single rows. Memory is what fitting adds at its
//! peak to the resident set, `cpu_s` what all threads computed (both on Linux only, else 0).

use std::path::Path;
use std::time::Instant;

use automl::data::csv::{ReadOptions, read_dataset};
use automl::data::table::Dataset;
use automl::learn::evaluate::Encoded;
use automl::learn::metric::{self, Scores};
use automl::learn::preprocess::Preprocess;
use automl::learn::table;
use automl::seed::Seed;
use serde_json::{Map, Value as Json, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let (mut train, mut test) = (String::new(), String::new());
    let (mut learner, mut trees, mut threads, mut reps) = ("gbt".to_owned(), 200_usize, 1, 3);
    let mut params = Map::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--train" => train = value,
            "--test" => test = value,
            "--learner" => learner = value,
            "--trees" => trees = value.parse()?,
            "--threads" => threads = value.parse()?,
            "--reps" => reps = value.parse()?,
            "--params" => params = serde_json::from_str(&value)?,
            _ => return Err(format!("unknown argument {flag}").into()),
        }
    }
    params.insert("n_estimators".to_owned(), json!(trees));
    if learner == "gbt" {
        params.entry("max_leaves").or_insert(json!(63));
    }
    let entry = table::find(&learner)?;
    let fitted = (entry.build)(params)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;

    let data = read(Path::new(&train))?;
    let rows: Vec<u32> = (0..data.target.values.len() as u32).collect();
    let start = Instant::now();
    let encoded = Encoded::new(&data, &Preprocess::default(), &rows, &[])?;
    let bin_s = start.elapsed().as_secs_f64();
    let (mut fits, mut cpu_s) = (Vec::new(), f64::INFINITY);
    let (mut model, mut added) = (None, 0.0);
    for repeat in 0..reps {
        drop(model.take());
        let before = memory(true);
        let (start, cpu) = (Instant::now(), processor());
        let fit = pool.install(|| encoded.fit(&*fitted, &data, &rows, Seed::root(1)))?;
        fits.push(start.elapsed().as_secs_f64());
        cpu_s = cpu_s.min(processor() - cpu);
        if repeat == 0 {
            added = memory(false) - before;
        }
        model = Some(fit);
    }
    let (transform, model) = model.ok_or("--reps must be at least 1")?;

    let unseen = read(Path::new(&test))?;
    let names = |d: &Dataset| {
        d.table
            .schema
            .fields
            .iter()
            .map(|f| f.name.clone())
            .collect::<Vec<_>>()
    };
    if names(&unseen) != names(&data) {
        return Err("--test has other columns than --train".into());
    }
    let n = unseen.target.values.len();
    let columns = &unseen.table.columns;
    let table_row = |row: usize| columns.iter().map(|c| c[row]).collect::<Vec<f64>>();
    let mut matrix = vec![0.0; n * transform.width()];
    for (row, out) in matrix.chunks_exact_mut(transform.width()).enumerate() {
        transform.apply(&table_row(row), out);
    }
    let width = model.width();
    let mut out = vec![0.0; n * width];
    let mut batch = f64::INFINITY;
    for _ in 0..reps {
        let start = Instant::now();
        pool.install(|| model.predict_matrix(&matrix, &mut out));
        batch = batch.min(start.elapsed().as_secs_f64());
    }
    let mut single = Vec::new();
    let mut one = vec![0.0; width];
    for row in matrix.chunks_exact(transform.width()).cycle().take(3_000) {
        let start = Instant::now();
        model.predict_row(row, &mut one);
        single.push(start.elapsed().as_secs_f64() * 1e6);
    }
    single.sort_by(f64::total_cmp);
    let auc = metric::find("roc_auc")?;
    let auc = auc.score(
        &unseen.target.values,
        Scores::new(unseen.target.task, width, &out),
        None,
        0.5,
    )?;
    let best = fits.iter().copied().fold(f64::INFINITY, f64::min);
    let answer: Json = json!({
        "rows": rows.len(), "cols": transform.width(), "algo": format!("automl_{learner}"), "threads": threads,
        "trees": trees, "fit_s": best, "all_s": fits, "cpu_s": cpu_s, "bin_s": bin_s, "fit_delta_mib": added,
        "predict_s": batch, "predict_rows_per_s": n as f64 / batch, "row_p50_us": single[single.len() / 2], "auc": auc,
        "versions": {"automl": env!("CARGO_PKG_VERSION")},
    });
    println!("{answer}");
    Ok(())
}

fn read(path: &Path) -> Outcome<Dataset> {
    let options = ReadOptions {
        target: Some("y".to_owned()),
        ..ReadOptions::default()
    };
    Ok(read_dataset(path, "data", &options)?)
}

/// Seconds that all threads have computed so far, to a hundredth.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold spaces: user and system time are the 12th and 13th field.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident mebibytes: now, with the record of the peak reset, or at the peak since then.
fn memory(now: bool) -> f64 {
    if now {
        // Where it is not possible the peak is that of the whole run.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = if now { "VmRSS:" } else { "VmHWM:" };
    let line = status.lines().find_map(|l| l.strip_prefix(field));
    let kib = line
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .map(str::trim);
    kib.and_then(|k| k.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
