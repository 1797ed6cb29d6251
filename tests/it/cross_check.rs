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
    let auc = |learner: &str, params: serde_json::Value| {
        let names = ["roc_auc"];
        let auc = cross_validate(&data, &encoded, &folds, learner, &params, &names)[0];
        println!("{learner} {params}: AUC {auc:.5}");
        auc
    };

    // The same forest on exact values instead of bins; 2·0.0005 is luck of the draw, the rest how features are drawn.
    let forest = json!({"n_estimators": 30, "max_depth": 8, "min_samples_leaf": 5});
    let ours = auc("random_forest", forest.clone());
    let theirs = auc("smartcore_forest", forest);
    assert!((ours - theirs).abs() < 0.006, "{ours} and {theirs}");

    // One tree of the same size. Where two splits are equal each takes its own.
    let ours = auc(
        "random_forest",
        json!({"n_estimators": 1, "bootstrap": false, "max_features": "all", "max_depth": 5, "min_samples_leaf": 20}),
    );
    let theirs = auc(
        "decision_tree",
        json!({"max_depth": 5, "min_weight_leaf": 20.0}),
    );
    assert!((ours - theirs).abs() < 0.01, "{ours} and {theirs}");

    // The signal of these data is close to linear: boosting of shallow trees is a little better than a line, not more.
    let line = auc("logistic", json!({}));
    let boosted = auc(
        "gbt",
        json!({"n_estimators": 100, "max_depth": 3, "learning_rate": 0.05}),
    );
    assert!(
        (-0.003..0.02).contains(&(boosted - line)),
        "{boosted} and {line}"
    );
}
