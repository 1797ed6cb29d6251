//! How good a random forest is, without setting rows aside: every row is predicted by the trees that did not see it.
//!
//! Run: `cargo run --release --example out_of_bag`

use automl::data::telco;
use automl::learn::evaluate::Encoded;
use automl::learn::forest::ForestParams;
use automl::learn::learner::TrainingSet;
use automl::learn::preprocess::Preprocess;
use automl::seed::Seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::var_os("AUTOML_DATA_DIR").map(std::path::PathBuf::from);
    let source = telco::resolve(None, folder.as_deref())?;
    let data = telco::load(&source, &telco::options())?;
    let rows: Vec<u32> = (0..data.table.rows as u32).collect();
    let encoded = Encoded::new(&data, &Preprocess::default(), &rows, &[])?;
    let fills = vec![f64::NAN; encoded.features.len()];
    let set = TrainingSet {
        features: &encoded.features,
        target: &data.target,
        rows: &rows,
        weights: None,
        fills: &fills,
        limit: None,
    };
    println!("{}: {} rows", data.name, rows.len());
    for min_samples_leaf in [1, 3, 10, 30] {
        let forest = ForestParams {
            n_estimators: 200,
            min_samples_leaf,
            ..ForestParams::default()
        };
        let (_, out) = forest.build()?.fit_out_of_bag(&set, Seed::root(0))?;
        let auc = out.score("roc_auc", &data.target, None)?;
        println!("  min_samples_leaf {min_samples_leaf:>2}: out-of-bag AUC {auc:.4}");
    }
    Ok(())
}
