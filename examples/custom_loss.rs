//! Boosting with a loss of one's own: an error of +1 costs a constant factor more than one of −1, as where late is worse
//! than early.
//!
//! Run: `cargo run --release --example custom_loss`

use std::sync::Arc;

use automl::data::csv::{ReadOptions, read_dataset_bytes};
use automl::data::table::Task;
use automl::learn::evaluate::Encoded;
use automl::learn::gbt::loss::{Link, Loss};
use automl::learn::gbt::{Gbt, GbtParams};
use automl::learn::preprocess::Preprocess;
use automl::seed::Seed;

/// Squared error whose negative side, predictions that are too small, counts `factor` times.
#[derive(Debug)]
struct TooSmallIsWorse {
    factor: f64,
}

impl TooSmallIsWorse {
    fn factor(&self, score: f64, target: f64) -> f64 {
        if score < target { self.factor } else { 1.0 }
    }
}

impl Loss for TooSmallIsWorse {
    fn name(&self) -> &str {
        "too_small_is_worse"
    }

    fn check(&self, task: Task, _: &[f64]) -> Result<(), String> {
        match task {
            Task::Regression => Ok(()),
            _ => Err("it needs numbers to predict".to_owned()),
        }
    }

    fn link(&self) -> Link {
        Link::Identity
    }

    fn start(&self, targets: &[f64], weights: &[f64], scores: &mut [f64]) {
        let pairs = || targets.iter().zip(weights);
        let mean = pairs().map(|(y, w)| y * w).sum::<f64>() / pairs().map(|p| p.1).sum::<f64>();
        scores.fill(mean);
    }

    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        for ((g, h), y) in gradients.iter_mut().zip(hessians).zip(targets) {
            *h = self.factor(*g, *y);
            *g = *h * (*g - y);
        }
    }

    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, score), y) in out.iter_mut().zip(scores).zip(targets) {
            *out = self.factor(*score, *y) * (score - y) * (score - y);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Minutes that a trip takes by kilometres, with a rush hour and some luck.
    let mut text = "km,hour,minutes\n".to_owned();
    for i in 0..2_000_u32 {
        let (km, hour) = (f64::from(i * 37 % 101) / 5.0, i * 13 % 24);
        let rush = if (7..10).contains(&hour) { 1.6 } else { 1.0 };
        let luck = f64::from(i * 7919 % 100) / 10.0;
        text += &format!("{km},{hour},{:.1}\n", 5.0 + 2.0 * km * rush + luck);
    }
    let options = ReadOptions {
        target: Some("minutes".to_owned()),
        ..ReadOptions::default()
    };
    let data = read_dataset_bytes(text.as_bytes(), "trips", "trips", &options)?;
    let rows: Vec<u32> = (0..data.table.rows as u32).collect();
    let (train, test) = rows.split_at(1_500);
    let encoded = Encoded::new(&data, &Preprocess::default(), train, &[])?;
    let late = |gbt: &Gbt| -> Result<f64, Box<dyn std::error::Error>> {
        let (_, model) = encoded.fit(gbt, &data, train, Seed::root(0))?;
        let predicted = encoded.predict(&*model, test);
        let truth = test.iter().map(|&r| data.target.values[r as usize]);
        let late = predicted.iter().zip(truth).filter(|(p, y)| *p < y).count();
        Ok(late as f64 / test.len() as f64)
    };
    let usual = GbtParams::default().build()?;
    let own = usual
        .clone()
        .with_loss(Arc::new(TooSmallIsWorse { factor: 9.0 }));
    println!("trips that take longer than predicted:");
    println!("  squared loss            {:.0} %", 100.0 * late(&usual)?);
    println!("  too small is 9 × worse  {:.0} %", 100.0 * late(&own)?);
    Ok(())
}
