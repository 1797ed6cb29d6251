//! The smallest study: minimize a function of two parameters, drawn while the function runs.
//!
//! `cargo run --release --example quadratic`

use automl::study::{Budget, Study, StudyError};

fn main() -> Result<(), StudyError> {
    let mut study = Study::builder("quadratic").seed(42).concurrency(4).open()?;
    study.optimize(Budget::trials(100), |trial| {
        let x = trial.float("x", -10.0..=10.0).uniform()?;
        // A parameter that only some trials have sits behind a plain `if`.
        let curve = trial.categorical("curve", ["parabola", "power"])?;
        Ok(match curve {
            "parabola" => (x - 2.0) * (x - 2.0),
            _ => {
                let power = trial.int("power", 1..=4).uniform()?;
                (x - 2.0).abs().powi(power as i32) + 0.1
            }
        })
    })?;
    if let Some(best) = study.best() {
        println!("best value {:.5} of trial {}", best.values[0], best.number);
        for (name, value) in best.params.iter() {
            println!("  {name} = {value}");
        }
    }
    Ok(())
}
