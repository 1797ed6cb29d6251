//! A study that is continued: 30 trials, then 30 more by another process, equal 60 at once.
//!
//! The store is a folder with an SQLite file; here it is a temporary one, and closing it stands for the end of the
//! process. `automl studies --store FOLDER` and Optuna open the same file.
//!
//! `cargo run --release --example resume`

use std::sync::Arc;

use automl::study::storage::{Storage, memory::Memory};
use automl::study::{Budget, Domain, Param, Space, Stop, Study, Trial};
use automl::tracking::Store;

fn space() -> Result<Space, Box<dyn std::error::Error>> {
    Ok(Space::new(vec![
        Param::new("lr", Domain::float(1e-4, 1.0, None, true)?),
        Param::new("model", Domain::categorical(["shallow", "deep"])?),
        Param::new("layers", Domain::int(2, 8, 1, false)?).when("model", ["deep"]),
    ])?)
}

fn objective(trial: &mut Trial) -> Result<f64, Stop> {
    // The study knows its space, so everything is drawn already.
    let number = |name: &str| trial.params().assignment(name).map(|a| a.internal);
    let lr = number("lr").ok_or(Stop::failed("`lr` is always there"))?;
    let layers = number("layers").unwrap_or(1.0);
    Ok((lr.log10() + 2.0).powi(2) + 1.0 / layers)
}

/// Creates the study, or continues it when the storage has it. Other settings than those it began with are refused.
fn open(storage: Arc<dyn Storage>) -> Result<Study, Box<dyn std::error::Error>> {
    let builder = Study::builder("resumed").seed(7).concurrency(4);
    Ok(builder.space(space()?).storage(storage).open()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    {
        let store = Store::open(folder.path())?;
        // Nobody else runs the study as long as the lock is held; it ends with the process, however that ends.
        let _lock = store.lock_study("resumed")?;
        let mut study = open(store.storage())?;
        // A known good point is tried first.
        study.enqueue([("lr", 0.02)])?;
        study.optimize(Budget::trials(30), objective)?;
        let done = study.progress().finished();
        println!("{done} trials, then the process ends");
    }

    let store = Store::open_existing(folder.path())?;
    let _lock = store.lock_study("resumed")?;
    let mut study = open(store.storage())?;
    println!("{} trials are in the store", study.progress().finished());
    // The budget counts all trials of the study, not those of this run.
    study.optimize(Budget::trials(60), objective)?;

    let mut whole = open(Arc::new(Memory::new()))?;
    whole.enqueue([("lr", 0.02)])?;
    whole.optimize(Budget::trials(60), objective)?;
    let pairs = study.trials().iter().zip(whole.trials());
    let same = pairs.filter(|(a, b)| a.params == b.params && a.values == b.values);
    let same = same.count();
    println!("{same} of 60 equal those of a study without a break");
    if same == 60 {
        Ok(())
    } else {
        Err("the continued study differs".into())
    }
}
