use super::*;

#[derive(serde::Deserialize)]
struct Golden {
    program: String,
    version: String,
    cases: Vec<GoldenCase>,
}

#[derive(serde::Deserialize)]
struct GoldenCase {
    name: String,
    task: Task,
    width: usize,
    threshold: f64,
    truth: Vec<f64>,
    predictions: Vec<f64>,
    weights: Option<Vec<f64>>,
    expected: std::collections::BTreeMap<String, f64>,
    best_f1: Option<f64>,
}

impl GoldenCase {
    fn scores(&self) -> Scores<'_> {
        Scores::new(self.task, self.width, &self.predictions)
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/metrics.json")).unwrap()
}

/// Both sides sum a few hundred terms of one sign in another order (numpy in pairs): some 10 roundings of 1e-16 each.
/// 1e-12 leaves room for r2 and mcc, which subtract.
const TOLERANCE: f64 = 1e-12;

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= TOLERANCE * theirs.abs().max(1e-3)
}

#[test]
fn values_are_those_of_scikit_learn() {
    let golden = golden();
    let mut seen = std::collections::BTreeSet::new();
    for case in &golden.cases {
        for (name, &theirs) in &case.expected {
            let ours = find_for(name, case.task)
                .unwrap()
                .score(
                    &case.truth,
                    case.scores(),
                    case.weights.as_deref(),
                    case.threshold,
                )
                .unwrap();
            assert!(
                close(ours, theirs),
                "{}: {name} is {ours}, in {} {} {theirs}",
                case.name,
                golden.program,
                golden.version
            );
            seen.insert((name.clone(), format!("{:?}", case.task)));
        }
    }
    for metric in METRICS {
        for task in metric.tasks {
            assert!(
                seen.contains(&(metric.name.to_owned(), format!("{task:?}"))),
                "{} has no reference value for {task:?}",
                metric.name
            );
        }
    }
}

#[test]
fn the_holdout_report_has_every_metric_once() {
    for case in golden().cases.iter().filter(|c| c.weights.is_none()) {
        let report = all(&case.truth, case.scores(), case.threshold).unwrap();
        let names: Vec<_> = METRICS
            .iter()
            .filter(|m| m.fits(case.task) && m.same_as.is_none())
            .map(|m| m.name)
            .collect();
        assert_eq!(report.iter().map(|r| r.0).collect::<Vec<_>>(), names);
        for (name, ours) in report {
            assert!(close(ours, case.expected[name]), "{}: {name}", case.name);
        }
    }
}

#[test]
fn weights_of_one_change_nothing_but_rounding() {
    for case in golden().cases.iter().filter(|c| c.weights.is_none()) {
        let ones = vec![1.0; case.truth.len()];
        for metric in METRICS.iter().filter(|m| m.fits(case.task)) {
            let plain = metric.score(&case.truth, case.scores(), None, 0.5).unwrap();
            let weighted = metric
                .score(&case.truth, case.scores(), Some(&ones), 0.5)
                .unwrap();
            assert!(close(weighted, plain), "{}: {}", case.name, metric.name);
        }
    }
}

#[test]
fn roc_auc_is_the_share_of_ordered_pairs() {
    for case in golden().cases.iter().filter(|c| c.task == Task::Binary) {
        let (mut twice, mut pairs) = (0_u64, 0_u64);
        for (i, &a) in case.truth.iter().enumerate() {
            for (j, &b) in case.truth.iter().enumerate() {
                if a == 1.0 && b == 0.0 {
                    pairs += 1;
                    twice += match case.predictions[i].total_cmp(&case.predictions[j]) {
                        std::cmp::Ordering::Greater => 2,
                        std::cmp::Ordering::Equal => 1,
                        std::cmp::Ordering::Less => 0,
                    };
                }
            }
        }
        let auc = find("roc_auc").unwrap();
        let ours = auc.score(&case.truth, case.scores(), None, 0.5).unwrap();
        assert_eq!(ours, twice as f64 / (2 * pairs) as f64, "{}", case.name);
    }
}

#[test]
fn negative_zero_ties_with_zero() {
    let auc = find("roc_auc").unwrap();
    let scores = Scores::new(Task::Binary, 1, &[-0.0, 0.0]);
    assert_eq!(auc.score(&[1.0, 0.0], scores, None, 0.5), Ok(0.5));
}

#[test]
fn the_best_threshold_is_the_best_of_all() {
    let f1 = find("f1").unwrap();
    for case in golden().cases {
        let Some(theirs) = case.best_f1 else { continue };
        let (threshold, best) = best_f1_threshold(&case.truth, &case.predictions).unwrap();
        assert!(close(best, theirs), "{}: {best}, not {theirs}", case.name);
        let there = f1
            .score(&case.truth, case.scores(), None, threshold)
            .unwrap();
        assert!(close(there, best), "{}", case.name);
        let p = &case.predictions;
        assert!(threshold == 0.0 || !p.contains(&threshold) || p.len() < 2);
    }
    assert_eq!(
        best_f1_threshold(&[0.0, 1.0, 1.0], &[0.2, 0.4, 0.8]),
        Ok((0.2 + (0.4 - 0.2) / 2.0, 1.0))
    );
    assert_eq!(
        best_f1_threshold(&[1.0, 0.0], &[0.2, 0.2]),
        Ok((0.0, 2.0 / 3.0))
    );
    let (low, high) = (0.5_f64, 0.5_f64.next_up());
    assert_eq!(
        best_f1_threshold(&[0.0, 1.0], &[low, high]),
        Ok((high, 1.0))
    );
    assert!(matches!(
        best_f1_threshold(&[0.0], &[0.5]),
        Err(MetricError::Undefined { metric: "f1", .. })
    ));
}

#[test]
fn the_confusion_matrix_counts_rows() {
    let scores = Scores::new(Task::Binary, 1, &[0.1, 0.5, 0.9, 0.4]);
    let truth = [0.0, 0.0, 1.0, 1.0];
    assert_eq!(
        confusion(&truth, scores, 0.5),
        Ok(vec![vec![1, 1], vec![1, 1]])
    );
    assert_eq!(
        confusion(&truth, scores, 0.4),
        Ok(vec![vec![1, 1], vec![0, 2]])
    );
    let scores = Scores::new(Task::Multiclass, 3, &[0.2, 0.4, 0.4, 0.0, 0.0, 1.0]);
    assert_eq!(
        confusion(&[0.0, 2.0], scores, 0.5),
        Ok(vec![vec![0, 1, 0], vec![0, 0, 0], vec![0, 0, 1]])
    );
    let scores = Scores::new(Task::Regression, 1, &[1.0]);
    assert!(confusion(&[1.0], scores, 0.5).is_err());
}

#[test]
fn undefined_is_an_error_and_left_out_of_reports() {
    let one = [1.0, 1.0];
    let scores = Scores::new(Task::Binary, 1, &[0.2, 0.8]);
    let auc = find("roc_auc").unwrap().score(&one, scores, None, 0.5);
    assert_eq!(
        auc.unwrap_err().to_string(),
        "`roc_auc` is undefined: all rows are of one class"
    );
    let zero = find("average_precision").unwrap();
    assert!(zero.score(&[0.0, 0.0], scores, None, 0.5).is_err());
    let report = all(&one, scores, 0.5).unwrap();
    assert!(
        report
            .iter()
            .all(|(name, v)| *name != "roc_auc" && v.is_finite())
    );

    let three = Scores::new(Task::Multiclass, 3, &[0.2, 0.4, 0.4, 0.0, 0.0, 1.0]);
    let auc = find("roc_auc")
        .unwrap()
        .score(&[0.0, 2.0], three, None, 0.5);
    assert!(matches!(auc, Err(MetricError::Undefined { .. })));

    let numbers = Scores::new(Task::Regression, 1, &[0.2, 0.8]);
    for name in ["r2", "mape"] {
        let value = find(name).unwrap().score(&[0.0, 0.0], numbers, None, 0.5);
        assert!(
            matches!(value, Err(MetricError::Undefined { .. })),
            "{name}"
        );
    }
    let r2 = find("r2").unwrap();
    let weights = Some(&[0.0, 1.0][..]);
    assert!(r2.score(&[3.0, 5.0], numbers, weights, 0.5).is_err());
}

#[test]
fn what_cannot_be_scored_says_why() {
    let auc = find("roc_auc").unwrap();
    let message = |truth: &[f64], scores: Scores<'_>, weights: Option<&[f64]>| {
        auc.score(truth, scores, weights, 0.5)
            .unwrap_err()
            .to_string()
    };
    let ok = Scores::new(Task::Binary, 1, &[0.2, 0.8]);
    let odd = Scores::new(Task::Binary, 1, &[0.2, f64::NAN]);
    let three = Scores::new(Task::Multiclass, 3, &[0.2, 0.4, 0.3]);
    for (got, want) in [
        (message(&[], ok, None), "there are no rows"),
        (
            message(&[1.0], ok, None),
            "1 rows of 1 predictions make 1 numbers, not 2",
        ),
        (
            message(&[0.0, 2.0], ok, None),
            "row 1 (from 0): class 2 is not one of 0..2",
        ),
        (message(&[0.0, f64::NAN], ok, None), "class NaN"),
        (message(&[0.0, 0.5], ok, None), "class 0.5"),
        (
            message(&[0.0, 1.0], odd, None),
            "row 1 (from 0): NaN is not a probability",
        ),
        (message(&[0.0], three, None), "sum to 0.9"),
        (
            message(&[0.0, 1.0], ok, Some(&[1.0])),
            "2 rows but 1 weights",
        ),
        (
            message(&[0.0, 1.0], ok, Some(&[1.0, -1.0])),
            "row 1 (from 0): weight -1",
        ),
        (
            message(&[0.0, 1.0], ok, Some(&[0.0, 0.0])),
            "every weight is 0",
        ),
    ] {
        assert!(got.contains(want), "{got}");
    }
    let number = Scores::new(Task::Regression, 1, &[0.2]);
    assert!(message(&[1.0], number, None).ends_with("those are: r2, rmse, mae, mse, medae, mape"));
}

#[test]
fn names_are_looked_up_with_a_hint() {
    assert_eq!(find("mcc").unwrap().goal, Goal::Maximize);
    assert_eq!(find("log_loss").unwrap().goal, Goal::Minimize);
    let said = find("roc_acu").unwrap_err().to_string();
    assert!(said.contains("did you mean `roc_auc`?"), "{said}");
    let said = find("ROC-AUC").unwrap_err().to_string();
    assert!(said.contains("did you mean `roc_auc`?"), "{said}");
    let said = find("zzz").unwrap_err().to_string();
    assert!(said.starts_with("there is no metric `zzz`; metrics: roc_auc, "));
    let said = find_for("rsme", Task::Regression).unwrap_err().to_string();
    assert!(said.contains("`rmse`? Metrics: r2, rmse"), "{said}");
    assert!(matches!(
        find_for("f1_macro", Task::Binary),
        Err(MetricError::Task { .. })
    ));
    let names: std::collections::BTreeSet<_> = METRICS.iter().map(|m| m.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for same in METRICS.iter().filter_map(|m| m.same_as) {
        assert!(find(same).unwrap().same_as.is_none());
    }
}
