//! What runs say of trials and studies.

use super::*;

#[test]
fn names_are_ones_that_mlflow_takes_and_stay_apart() {
    let mut taken = BTreeSet::new();
    for (name, expected) in [
        ("lr", "lr"),
        ("f1@threshold", "f1_threshold"),
        ("f1#threshold", "f1_threshold_2"),
        ("gbt.max_depth", "gbt.max_depth"),
        ("Größe", "Größe"),
        ("", "_"),
        ("../x", "__x"),
        ("a//b", "_a__b"),
        ("/a", "__a"),
    ] {
        assert_eq!(key(name, &mut taken), expected, "{name}");
    }
    let long = "x".repeat(400);
    let (one, two) = (key(&long, &mut taken), key(&long, &mut taken));
    assert!(one.chars().count() == 250 && two.chars().count() <= 250 && one != two);
    assert_eq!(cut("äöü", 3), "äöü");
    assert_eq!(cut("äöüß", 3), "äö…");
}

fn study() -> StudyRecord {
    let attrs = |json: Json| serde_json::from_value(json).unwrap();
    StudyRecord {
        name: "churn".to_owned(),
        directions: vec![Direction::Maximize],
        user_attrs: attrs(json!({
            "metric": "roc_auc", "dataset": "telco", "dataset_sha256": "ab".repeat(32), "dataset_rows": 10,
            "dataset_schema": {"tenure": "numeric", "Contract": "categorical"},
            "automl:experiment": {"cv": {"folds": 3}, "columns": vec!["c"; 30]},
        })),
        system_attrs: attrs(
            json!({"automl:seed": 7, "automl:sampler": {"name": "tpe", "params": {}},
            "automl:space": {"x": "float"}}),
        ),
    }
}

fn trial(number: u64, state: TrialState, value: Option<f64>) -> TrialRecord {
    let mut trial = TrialRecord::waiting(number);
    trial.state = state;
    trial.values.extend(value);
    trial.started = Some(Timestamp(1_000_000 * (number as i64 + 1)));
    trial.finished = Some(Timestamp(1_000_000 * (number as i64 + 1) + 500_999));
    trial
}

#[test]
fn a_trial_tells_folds_state_and_reason() {
    let mut one = trial(3, TrialState::Complete, Some(0.8));
    one.user_attrs.insert("learner".to_owned(), json!("gbt"));
    one.user_attrs.insert("folds".to_owned(), json!([0.7, 0.9]));
    one.intermediate = BTreeMap::from([(1, 0.7), (2, 0.9)]);
    let run = trial_run("o", &study(), &one);
    assert_eq!(run.params, [("learner".to_owned(), "gbt".to_owned())]);
    let metrics: Vec<(&str, f64, i64)> = run
        .metrics
        .iter()
        .map(|m| (m.key.as_str(), m.value, m.step))
        .collect();
    assert_eq!(
        metrics,
        [
            ("roc_auc", 0.8, 0),
            ("roc_auc_fold", 0.7, 1),
            ("roc_auc_fold", 0.9, 2),
            ("duration_seconds", 0.500_999, 0),
        ]
    );
    assert_eq!((run.started, run.ended), (4000, Some(4500)));
    assert_eq!(run.tags[ID_TAG], "o/3");
    assert_eq!(run.tags["automl.state"], "COMPLETE");

    // What a pruner saw is not what the folds scored, so both are told.
    one.intermediate = BTreeMap::from([(1, 0.7), (2, 0.8)]);
    one.state = TrialState::Pruned;
    one.values.clear();
    let run = trial_run("o", &study(), &one);
    assert_eq!(run.status, RunStatus::Killed);
    let reports = run.metrics.iter().filter(|m| m.key == "intermediate_value");
    assert_eq!(reports.count(), 2);

    let mut failed = trial(4, TrialState::Fail, None);
    failed
        .system_attrs
        .insert(FAIL_REASON.to_owned(), json!("no memory"));
    let run = trial_run("o", &study(), &failed);
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.tags["automl.fail_reason"], "no memory");
}

#[test]
fn a_study_tells_its_settings_its_best_and_its_data() {
    let trials = [
        trial(0, TrialState::Complete, Some(0.5)),
        trial(1, TrialState::Complete, Some(0.4)),
        trial(2, TrialState::Complete, Some(0.6)),
        trial(3, TrialState::Fail, None),
        trial(4, TrialState::Running, None),
    ];
    let run = study_run("o", &study(), &trials, &[], RunStatus::Finished, Some(9));
    let best: Vec<(f64, i64)> = run
        .metrics
        .iter()
        .filter(|m| m.key == "best_roc_auc")
        .map(|m| (m.value, m.step))
        .collect();
    assert_eq!(best, [(0.5, 0), (0.6, 2)]);
    let params: BTreeMap<_, _> = run.params.iter().cloned().collect();
    assert_eq!(params["seed"], "7");
    assert_eq!(params["sampler"], "tpe");
    assert_eq!(params["cv.folds"], "3");
    assert!(!params.contains_key("columns") && !params.contains_key("space"));
    let data = run.dataset.as_ref().unwrap();
    assert_eq!(data.digest.len(), 32);
    assert!(
        data.schema
            .contains(r#"{"type":"double","name":"tenure","required":true}"#)
    );
    let again = study_run("o", &study(), &trials, &[], RunStatus::Finished, Some(9));
    assert_eq!(run.digest(), again.digest());
    let other = study_run(
        "o",
        &study(),
        &trials[..3],
        &[],
        RunStatus::Finished,
        Some(9),
    );
    assert_ne!(run.digest(), other.digest());
}
