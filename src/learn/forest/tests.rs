use super::*;
use crate::data::table::Task;
use crate::learn::conformance::made::{Made, bits};
use crate::learn::preprocess::{Categories, Missing, Preprocess};

fn training<'a>(made: &'a Made, rows: &'a [u32]) -> TrainingSet<'a> {
    TrainingSet {
        features: &made.features,
        target: &made.target,
        rows,
        weights: None,
        fills: &made.fills,
        limit: None,
    }
}

fn forest(trees: usize) -> Forest {
    ForestParams {
        n_estimators: trees,
        ..ForestParams::default()
    }
    .build()
    .unwrap()
}

#[test]
fn out_of_bag_predictions_come_from_trees_that_did_not_see_the_row() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        let made = Made::usual(task, &Preprocess::default(), 600);
        let rows = made.rows();
        let data = training(&made, &rows);
        // One tree: about 1/e of the rows, with its own predictions.
        let (model, out) = forest(1).fit_out_of_bag(&data, Seed::root(3)).unwrap();
        let share = out.rows.len() as f64 / 600.0;
        assert!((share - 0.368).abs() < 0.06, "{share}");
        let own = model.predict_rows(&made.features, &out.rows, &made.fills);
        assert_eq!(bits(&own), bits(&out.predictions));
        // It fits as it does without them.
        let plain = forest(1).fit(&data, Seed::root(3)).unwrap();
        assert_eq!(plain.save().unwrap(), model.save().unwrap());
    }
}

#[test]
fn out_of_bag_scores_are_those_of_new_rows() {
    let made = Made::usual(Task::Binary, &Preprocess::default(), 1_000);
    let rows = made.rows();
    let (seen, new) = rows.split_at(700);
    let (model, out) = forest(100)
        .fit_out_of_bag(&training(&made, seen), Seed::root(5))
        .unwrap();
    assert_eq!(out.rows, seen);
    let estimate = out.score("roc_auc", &made.target, None).unwrap();
    let auc = |rows: &[u32]| {
        let all = OutOfBag {
            rows: rows.to_vec(),
            predictions: model.predict_rows(&made.features, rows, &made.fills),
            width: 1,
        };
        all.score("roc_auc", &made.target, None).unwrap()
    };
    let (seen, new) = (auc(seen), auc(new));
    assert!((estimate - new).abs() < 0.02, "{estimate} {new}");
    assert!(1.0 - seen < 0.2 * (1.0 - estimate), "{estimate} {seen}");
}

#[test]
fn without_bootstrap_nothing_is_out_of_bag() {
    let made = Made::usual(Task::Binary, &Preprocess::default(), 100);
    let rows = made.rows();
    let all = ForestParams::extra_trees().build_extra_trees().unwrap();
    let error = all
        .fit_out_of_bag(&training(&made, &rows), Seed::root(5))
        .err()
        .expect("there are no such rows");
    assert!(error.to_string().contains("`bootstrap: true`"), "{error}");
}

/// Two classes without weights take a way of their own through the trees; with a weight of 1 for every row they do not.
#[test]
fn weights_of_one_change_nothing() {
    for rows in [40, 700] {
        for (missing, categories) in [
            (Missing::Median, Categories::OneHot),
            (Missing::Native, Categories::Native),
            (Missing::Median, Categories::Native),
        ] {
            let preprocess = Preprocess {
                missing,
                categories,
                ..Preprocess::default()
            };
            let made = Made::usual(Task::Binary, &preprocess, rows);
            let all = made.rows();
            let plain = training(&made, &all);
            let ones = vec![1.0; rows];
            let weighted = TrainingSet {
                weights: Some(&ones),
                ..training(&made, &all)
            };
            for (extra, max_depth, min_samples_leaf) in
                [(false, 0, 1), (false, 4, 1), (false, 0, 7), (true, 0, 1)]
            {
                let params = ForestParams {
                    n_estimators: 8,
                    max_depth,
                    min_samples_leaf,
                    ..if extra {
                        ForestParams::extra_trees()
                    } else {
                        ForestParams::default()
                    }
                };
                let learner = if extra {
                    params.clone().build_extra_trees().unwrap()
                } else {
                    params.clone().build().unwrap()
                };
                let models =
                    [&plain, &weighted].map(|data| learner.fit(data, Seed::root(11)).unwrap());
                let [own, other] = models
                    .each_ref()
                    .map(|m| m.predict_rows(&made.features, &all, &made.fills));
                let what = format!("{rows} rows, {preprocess:?}, {params:?}");
                assert_eq!(bits(&own), bits(&other), "{what}");
                let gains = models.each_ref().map(|m| m.importance());
                assert_eq!(gains[0], gains[1], "{what}");
            }
        }
    }
}
