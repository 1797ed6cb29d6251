use serde_json::{Map, json};

use rand::RngExt;

use super::made::{Made, bits, preprocess};
use super::{run, saved};
use crate::data::split::k_fold;
use crate::data::table::{Dataset, Task};
use crate::learn::calibration::{Calibrated, Calibration, Method};
use crate::learn::ensemble::{Blend, BlendScore, Ensemble, Member};
use crate::learn::evaluate::Encoded;
use crate::learn::learner::Model;
use crate::learn::pipeline::{Card, Pipeline};
use crate::learn::preprocess::{Missing, Preprocess};
use crate::learn::table::{LEARNERS, find};
use crate::seed::Seed;

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

/// A dataset, its encoding with five folds, and the pipeline of a small boosting.
fn piped(task: Task) -> (Dataset, Encoded, Vec<Vec<f64>>, Pipeline) {
    let spec = Preprocess {
        missing: Missing::Mean,
        ..Preprocess::default()
    };
    let made = Made::usual(task, &spec, 120);
    let rows = made.rows();
    let dataset = Dataset {
        name: "made".to_owned(),
        sha256: "0".repeat(64),
        table: made.table,
        target: made.target,
        weights: None,
        left_out: Vec::new(),
    };
    let folds = k_fold(&dataset.target, &rows, 5, 1, true, Seed::root(1)).unwrap();
    let encoded = Encoded::new(&dataset, &spec, &rows, &folds).unwrap();
    let params = json!({"n_estimators": 5, "min_leaf": 3, "subsample": 0.7});
    let learner = (find("gbt").unwrap().build)(params.as_object().unwrap().clone()).unwrap();
    let crossed = encoded
        .cross_predict(&*learner, &dataset, &folds, Seed::root(1))
        .unwrap();
    for (fold, predicted) in folds.iter().zip(&crossed) {
        let classes = dataset.target.classes.len();
        let width = if task == Task::Multiclass { classes } else { 1 };
        assert_eq!(predicted.len(), fold.test.len() * width);
    }
    let fitted = encoded.fit(&*learner, &dataset, &rows, Seed::root(1));
    let (transform, model) = fitted.unwrap();
    let card = Card {
        task,
        target: "y".to_owned(),
        classes: dataset.target.classes.clone(),
        threshold: 0.5,
        dataset: dataset.name.clone(),
        dataset_sha256: dataset.sha256.clone(),
    };
    let pipeline = Pipeline {
        card,
        transform,
        model,
    };
    (dataset, encoded, crossed, pipeline)
}

fn predict_cells(pipeline: &Pipeline, dataset: &Dataset) -> Vec<f64> {
    let mut out = vec![0.0; dataset.table.rows * pipeline.width()];
    let mut scratch = Vec::new();
    for (row, out) in out.chunks_exact_mut(pipeline.width()).enumerate() {
        let cells: Vec<f64> = dataset.table.columns.iter().map(|c| c[row]).collect();
        pipeline.predict_row(&cells, &mut scratch, out);
        let label = pipeline.label(out);
        assert_eq!(label.is_none(), pipeline.card.task == Task::Regression);
    }
    out
}

#[test]
fn folds_do_not_depend_on_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let crossed = pool.build().unwrap().install(|| piped(Task::Binary).2);
        crossed
            .concat()
            .iter()
            .map(|p| p.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(on(1), on(8));
}

#[test]
fn a_pipeline_predicts_cells_as_the_matrix_does_before_and_after_its_file() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        let (dataset, encoded, _, pipeline) = piped(task);
        let rows: Vec<u32> = (0..120).collect();
        let matrix = bits(&encoded.predict(&*pipeline.model, &rows));
        assert_eq!(bits(&predict_cells(&pipeline, &dataset)), matrix);
        let bytes = pipeline.save().unwrap();
        let loaded = Pipeline::load(&bytes).unwrap();
        assert_eq!(bits(&predict_cells(&loaded, &dataset)), matrix);
        assert_eq!(loaded.save().unwrap(), bytes);
        assert_eq!(loaded.card, pipeline.card);
    }
}

/// A calibrated ensemble of two boostings, one of which fills gaps with 0.
fn composite(task: Task) -> (Dataset, Pipeline) {
    let (dataset, _, crossed, first) = piped(task);
    let (_, _, _, mut second) = piped(task);
    second.transform.fills.fill(Some(0.0));
    let truth = dataset.target.values.clone();
    let width = first.width();
    let member = |label: &str, pipeline: Pipeline| Member {
        label: label.to_owned(),
        transform: pipeline.transform,
        model: pipeline.model,
    };
    let blend = if task == Task::Multiclass {
        let score = BlendScore {
            intercept: 0.25,
            weights: vec![0.5, 0.75],
        };
        Blend::Linear {
            scores: vec![score; width],
        }
    } else {
        Blend::Mean {
            weights: vec![0.25, 0.75],
        }
    };
    let card = first.card.clone();
    let members = vec![member("one", first), member("two", second)];
    let schema = &dataset.table.schema;
    let ensemble = Ensemble::new(task, schema.fields.len(), members, blend).unwrap();
    let shares = ensemble.importance().unwrap();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let mut model: Box<dyn Model> = Box::new(ensemble);
    if task != Task::Regression {
        // Any predictions will do to have a map.
        let map =
            Calibration::fit(Method::Isotonic, width, &crossed.concat(), &truth, None).unwrap();
        model = Box::new(Calibrated::new(model, map).unwrap());
    }
    let transform = Ensemble::transform(schema);
    let pipeline = Pipeline {
        card,
        transform,
        model,
    };
    (dataset, pipeline)
}

#[test]
fn models_of_models_predict_the_same_after_their_file_and_survive_damage() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        let (dataset, pipeline) = composite(task);
        let before = bits(&predict_cells(&pipeline, &dataset));
        let mut matrix = Vec::new();
        for row in 0..dataset.table.rows {
            matrix.extend(dataset.table.columns.iter().map(|c| c[row]));
        }
        let mut block = vec![0.0; dataset.table.rows * pipeline.width()];
        pipeline.model.predict_matrix(&matrix, &mut block);
        assert_eq!(bits(&block), before);
        let bytes = pipeline.save().unwrap();
        let loaded = Pipeline::load(&bytes).unwrap();
        assert_eq!(bits(&predict_cells(&loaded, &dataset)), before);
        assert_eq!(loaded.save().unwrap(), bytes);
        let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for copy in 0..400 {
            let mut rng = Seed::root(8).child("damage", copy).rng();
            let mut damaged = whole.clone();
            saved::damage(&mut damaged, &mut rng);
            let Ok(pipeline) = Pipeline::load(damaged.to_string().as_bytes()) else {
                continue;
            };
            let columns = pipeline.transform.schema.fields.len();
            let mut out = vec![0.0; pipeline.width()];
            for cell in [0.0, f64::NAN, 3.0, 1e9, -1.0] {
                pipeline.predict_row(&vec![cell; columns], &mut Vec::new(), &mut out);
                pipeline.label(&out);
            }
        }
    }
}

#[test]
fn a_learner_of_ones_own_is_loaded_with_its_entry() {
    let (_, _, _, pipeline) = piped(Task::Binary);
    let text = String::from_utf8(pipeline.save().unwrap()).unwrap();
    let own = text.replacen("\"kind\":\"gbt\"", "\"kind\":\"mine\"", 1);
    let error = Pipeline::load(own.as_bytes()).err().unwrap().to_string();
    assert!(error.contains("no learner `mine`"), "{error}");
    let gbt = find("gbt").unwrap();
    let entry = crate::learn::table::LearnerEntry {
        name: "mine",
        ..*gbt
    };
    Pipeline::load_with(own.as_bytes(), &[entry]).unwrap();
}

#[test]
fn a_damaged_pipeline_is_refused_or_predicts() {
    let (_, _, _, pipeline) = piped(Task::Multiclass);
    let bytes = pipeline.save().unwrap();
    for end in [0, 1, 20, bytes.len() / 2, bytes.len() - 2] {
        assert!(Pipeline::load(&bytes[..end]).is_err());
    }
    let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let mut newer = whole.clone();
    newer["format"] = json!(2);
    let message = Pipeline::load(newer.to_string().as_bytes()).err().unwrap();
    assert!(message.to_string().contains("update automl"), "{message}");
    for copy in 0..1000 {
        let mut rng = Seed::root(6).child("damage", copy).rng();
        let mut damaged = whole.clone();
        for _ in 0..rng.random_range(1..3) {
            saved::damage(&mut damaged, &mut rng);
        }
        let Ok(pipeline) = Pipeline::load(damaged.to_string().as_bytes()) else {
            continue;
        };
        let columns = pipeline.transform.schema.fields.len();
        let mut out = vec![0.0; pipeline.width()];
        for cell in [0.0, f64::NAN, 3.0, 1e9, -1.0] {
            pipeline.predict_row(&vec![cell; columns], &mut Vec::new(), &mut out);
            pipeline.label(&out);
        }
    }
}
