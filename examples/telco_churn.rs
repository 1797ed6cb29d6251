//! The churn job through the library: what `automl study` does, step by step, and where each step can be changed.
//!
//! Reads `telco.csv` from the folder that `AUTOML_DATA_DIR` names or from `data/`; without it, from generated rows.
//!
//! `cargo run --release --example telco_churn [TRIALS]`

use std::path::PathBuf;

use automl::data::rows::RowReader;
use automl::learn::pipeline::Pipeline;
use automl::study::{Budget, Study};
use automl::tune::experiment::Experiment;
use automl::tune::job::Job;

/// An experiment is a YAML file or a text; every key that is left out has a default.
const EXPERIMENT: &str = "
name: churn-example
seed: 42
data: {source: telco}
preprocess: telco
cv: {folds: 3}
metric: roc_auc
search:
  sampler: tpe
  learners: [random_forest, gbt]
  params:
    random_forest.n_estimators: 60
    random_forest.min_samples_leaf: {int: [2, 32], log: true}
    gbt.n_estimators: {int: [30, 120], log: true}
    gbt.learning_rate: {float: [0.03, 0.3], log: true}
    gbt.max_depth: {int: [2, 5]}
";

/// A customer as in a file of tomorrow: columns in any order, others between them, blanks where nothing is known.
const CUSTOMER: &str = "\
customerID,tenure,MonthlyCharges,TotalCharges,Contract,InternetService,PaymentMethod,gender,SeniorCitizen,Partner,\
Dependents,PhoneService,MultipleLines,OnlineSecurity,OnlineBackup,DeviceProtection,TechSupport,StreamingTV,\
StreamingMovies,PaperlessBilling
new-1,2,85.3,,Month-to-month,Fiber optic,Electronic check,Female,1,No,No,Yes,No,No,No,No,No,Yes,No,Yes
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trials = std::env::args().nth(1).map_or(Ok(12), |n| n.parse())?;

    // Everything that can be wrong with experiment and data is said here, before any work is done.
    let experiment = Experiment::parse(EXPERIMENT, "the example's text")?;
    let folder = std::env::var_os("AUTOML_DATA_DIR").map(PathBuf::from);
    let job = Job::prepare(experiment, "the example's text", None, folder.as_deref())?;
    println!(
        "{}: {} rows to train on, {} held out",
        job.dataset.name,
        job.split.train.len(),
        job.split.test.len()
    );

    // The job gives the study its space and its objective. Without `.storage(…)` the study lives in memory.
    let mut study = Study::builder(&job.experiment.name)
        .direction(job.direction())
        .sampler(job.experiment.sampler()?)
        .space(job.space())
        .seed(job.experiment.seed)
        .concurrency(4)
        .open()?;
    study.optimize(Budget::trials(trials), |trial| job.objective(trial))?;
    let best = study.best().ok_or("no trial is complete")?;
    println!("trial {} of {trials} is the best", best.number);
    for (name, value) in best.params.iter() {
        println!("  {name} = {value}");
    }

    // Fitted again on all training rows, and scored once on the rows that no trial has seen.
    let outcome = job.refit(&best)?;
    println!("{} on the holdout", outcome.learner);
    for (metric, value) in &outcome.holdout {
        println!("  {metric:17} {value:.4}");
    }

    // A pipeline holds columns, encoding, threshold and trees: the file is all that is needed to predict.
    let bytes = outcome.pipeline.save()?;
    let pipeline = Pipeline::load(&bytes)?;
    let schema = &pipeline.transform.schema;
    let mut rows = RowReader::new(CUSTOMER.as_bytes(), "the new customer", schema)?;
    let (mut row, mut features) = (vec![0.0; schema.fields.len()], Vec::new());
    let mut prediction = vec![0.0; pipeline.width()];
    while rows.next_row(&mut row)? {
        pipeline.predict_row(&row, &mut features, &mut prediction);
        println!(
            "a model of {} bytes says: churn {} with probability {:.3}",
            bytes.len(),
            pipeline.label(&prediction).unwrap_or("?"),
            prediction[0]
        );
    }
    Ok(())
}
