use serde_json::{Map, json};

use super::made::{Made, bits, preprocess};
use super::run;
use crate::data::table::Task;
use crate::learn::table::{LEARNERS, find};

#[test]
fn every_learner_keeps_the_contract() {
    for entry in LEARNERS {
        run(entry);
    }
}

#[test]
fn another_seed_gives_another_forest_and_the_same_boosting() {
    for (name, differs) in [("random_forest", true), ("gbt", false)] {
        let entry = find(name).unwrap();
        let made = Made::usual(Task::Binary, &preprocess(entry), 200);
        let learner = (entry.build)(Map::new()).unwrap();
        let saved = |seed| {
            let model = made.fit(&*learner, &made.rows(), None, seed).unwrap();
            model.save().unwrap()
        };
        assert_eq!(saved(1) != saved(2), differs, "{name}");
    }
}

#[test]
fn boosting_takes_a_weight_of_two_as_a_row_twice() {
    let entry = find("gbt").unwrap();
    let spec = preprocess(entry);
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        // Limits that count rows are off, so only rounding to the fixed point is left.
        let params = json!({"n_estimators": 10, "min_leaf": 1, "max_leaves": 8});
        let learner = (entry.build)(params.as_object().unwrap().clone()).unwrap();
        let once = Made::usual(task, &spec, 200);
        let weights = vec![2.0; 200];
        let columns = once.table.columns.iter().map(|c| c.repeat(2));
        let columns = once.table.schema.fields.clone().into_iter().zip(columns);
        let mut target = once.target.clone();
        target.values = target.values.repeat(2);
        let twice = Made::new(columns.collect(), target, &spec);
        let a = once
            .fit(&*learner, &once.rows(), Some(&weights), 1)
            .unwrap();
        let b = twice.fit(&*learner, &twice.rows(), None, 1).unwrap();
        let (a, b) = (once.predict(&*a), once.predict(&*b));
        let scale = a.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 1e-6 * scale, "{task:?}: {a} and {b}");
        }
    }
}

#[test]
fn early_stopping_keeps_all_rounds_when_no_row_can_be_set_aside() {
    let entry = find("gbt").unwrap();
    let made = Made::usual(Task::Binary, &preprocess(entry), 9);
    let fitted = |early_stopping: usize| {
        let params = json!({"n_estimators": 30, "min_leaf": 1, "early_stopping": early_stopping});
        let learner = (entry.build)(params.as_object().unwrap().clone()).unwrap();
        let model = made.fit(&*learner, &made.rows(), None, 1).unwrap();
        made.predict(&*model)
    };
    assert_eq!(bits(&fitted(5)), bits(&fitted(0)));
}
