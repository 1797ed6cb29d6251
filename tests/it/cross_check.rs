//! Learners of other libraries on the Telco data beside ours: programs that share no code must come to similar scores.

use automl::data::telco;
use automl::learn::evaluate::Encoded;
use serde_json::json;

use crate::learner_quality::{cross_validate, folds, preset};
use crate::real_data;

#[test]
fn learners_of_other_libraries_score_alike_on_the_telco_data() {
    let Some(path) = real_data::telco() else {
        return;
    };
    let data = telco::load(&telco::Source::File(path), &telco::options()).unwrap();
    let rows: Vec<u32> = (0..data.table.rows as u32).collect();
    let folds = folds(&rows);
    let encoded = Encoded::new(&data, &preset("telco"), &rows, &folds).unwrap();
    let scores = |learner: &str, params: serde_json::Value| {
        let names = ["roc_auc", "accuracy"];
        let scores = cross_validate(&data, &encoded, &folds, learner, &params, &names);
        println!("{learner} {params}: AUC and accuracy {scores:.5?}");
        (scores[0], scores[1])
    };

    // The same forest on exact values instead of bins: what is left is luck of the draw, 0.0008 for one seed.
    let forest = json!({"n_estimators": 30, "max_depth": 8, "min_samples_leaf": 5});
    let ours = scores("random_forest", forest.clone()).0;
    let theirs = scores("smartcore_forest", forest).0;
    assert!((ours - theirs).abs() < 0.004, "{ours} and {theirs}");

    // One tree of the same size. linfa joins leaves that name the same class: that leaves the class of every row as it
    // is, and so the accuracy, but takes nuances of the probability away, and so AUC.
    let ours = scores(
        "random_forest",
        json!({"n_estimators": 1, "bootstrap": false, "max_features": "all", "max_depth": 5, "min_samples_leaf": 20}),
    );
    let theirs = scores(
        "decision_tree",
        json!({"max_depth": 5, "min_weight_leaf": 20.0}),
    );
    assert!((ours.1 - theirs.1).abs() < 0.003, "{ours:?} and {theirs:?}");
    assert!(
        (0.0..0.06).contains(&(ours.0 - theirs.0)),
        "{ours:?} and {theirs:?}"
    );

    // The signal of these data is close to linear: boosting of shallow trees is a little better than a line, not more.
    let line = scores("logistic", json!({})).0;
    let boosted = scores(
        "gbt",
        json!({"n_estimators": 100, "max_depth": 3, "learning_rate": 0.05}),
    )
    .0;
    assert!(
        (-0.003..0.01).contains(&(boosted - line)),
        "{boosted} and {line}"
    );
}
