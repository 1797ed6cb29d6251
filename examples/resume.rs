//! A study that is continued: 30 trials, then 30 more in a study opened anew, equal 60 at once.
//!
//! The storage here is the memory of this process, which stands for any other.
//!
//! `cargo run --release --example resume`

use std::sync::Arc;

use automl::study::storage::{Storage, memory::Memory};
use automl::study::{Budget, Domain, Param, Space, Stop, Study, Trial};

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let open = |storage: Arc<dyn Storage>| {
        let builder = Study::builder("resumed").seed(7).concurrency(4);
        Ok::<_, Box<dyn std::error::Error>>(builder.space(space()?).storage(storage).open()?)
    };
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut study = open(Arc::clone(&storage))?;
    // A known good point is tried first.
    study.enqueue([("lr", 0.02)])?;
    study.optimize(Budget::trials(30), objective)?;
    println!(
        "{} trials, then the process ends",
        study.progress().finished()
    );
    drop(study);

    let mut study = open(storage)?;
    study.optimize(Budget::trials(60), objective)?;
    println!("{} trials", study.progress().finished());

    let mut whole = open(Arc::new(Memory::new()))?;
    whole.enqueue([("lr", 0.02)])?;
    whole.optimize(Budget::trials(60), objective)?;
    let same = study.trials().iter().zip(whole.trials());
    let same = same.filter(|(a, b)| a.params == b.params && a.values == b.values);
    println!(
        "{} of 60 equal those of a study without a break",
        same.count()
    );
    Ok(())
}
