//! What parameters promise, on small tables made at random.

use proptest::prelude::*;
use rand::RngExt;
use serde_json::json;

use super::*;
use crate::learn::conformance::made::{Made, bits, category, number, target};
use crate::learn::learner::Limit;
use crate::learn::preprocess::Preprocess;
use crate::learn::tree::view::NodeView;

fn params(given: serde_json::Value) -> GbtParams {
    serde_json::from_value(given).expect("these are parameters")
}

fn gbt(given: serde_json::Value) -> Gbt {
    params(given).build().expect("these are allowed")
}

/// Rows whose target rises with `up`, falls with `down`, and depends on the others and on noise.
fn rows(seed: u64, task: Task, rows: usize) -> Made {
    let mut rng = Seed::root(seed).child("rows", 0).rng();
    let mut uniform = || -> Vec<f64> { (0..rows).map(|_| rng.random()).collect() };
    let (up, down, free, kind, noise) = (uniform(), uniform(), uniform(), uniform(), uniform());
    let kind: Vec<f64> = kind.iter().map(|v| (v * 6.0).floor()).collect();
    let values = (0..rows)
        .map(|i| {
            let wave = (free[i] * 7.0).sin() * (1.0 + up[i]) + (kind[i] * 2.3).sin();
            let z = up[i] - down[i] + wave + 2.0 * noise[i] - 1.0;
            match task {
                Task::Regression => z + 5.0,
                _ => f64::from(u8::from(z > 0.0)),
            }
        })
        .collect();
    let gap = |v: &[f64]| {
        let far = |(i, v): (usize, &f64)| if i % 9 == 0 { f64::NAN } else { *v };
        v.iter().enumerate().map(far).collect()
    };
    let columns = vec![
        number("up", up),
        number("down", down),
        number("free", gap(&free)),
        category("kind", 6, kind),
    ];
    Made::new(columns, target(task, 2, values), &Preprocess::default())
}

fn fit(made: &Made, gbt: &Gbt) -> Box<dyn Model> {
    made.fit(gbt, &made.rows(), None, 1)
        .expect("it can be fitted")
}

/// Calls `each` with the features of every path from the root to a leaf, and its depth.
fn each_path(model: &dyn Model, mut each: impl FnMut(&[usize])) {
    for tree in model.ensemble().expect("it has trees").trees {
        let mut stack = vec![(0, Vec::new())];
        while let Some((at, path)) = stack.pop() {
            match tree.node(at) {
                NodeView::Leaf { .. } => each(&path),
                NodeView::Inner {
                    feature,
                    left,
                    right,
                    ..
                } => {
                    let path = [path, vec![feature]].concat();
                    stack.push((left, path.clone()));
                    stack.push((right, path));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn directions_are_never_violated(
        seed in 0_u64..1_000,
        classes in any::<bool>(),
        loss in prop::sample::select(vec!["squared", "absolute", "quantile", "poisson"]),
        extra_trees in any::<bool>(),
        subsample in prop::sample::select(vec![0.6, 1.0]),
        reg_alpha in prop::sample::select(vec![0.0, 2.0]),
    ) {
        let task = if classes { Task::Binary } else { Task::Regression };
        let made = rows(seed, task, 300);
        let mut given = json!({
            "n_estimators": 20, "min_leaf": 2, "increasing": ["up"], "decreasing": ["down"],
            "extra_trees": extra_trees, "subsample": subsample, "reg_alpha": reg_alpha,
        });
        if !classes {
            given["loss"] = json!(loss);
        }
        let model = fit(&made, &gbt(given));
        let mut row = vec![0.0; 4];
        for at in (0..300).step_by(17) {
            made.features.decode_row(at, &made.fills, &mut row);
            for (feature, sign) in [(0, 1.0), (1, -1.0)] {
                let mut last = f64::NEG_INFINITY;
                let own = row[feature];
                for step in 0..=60 {
                    row[feature] = f64::from(step) / 60.0;
                    let mut out = [0.0];
                    model.predict_row(&row, &mut out);
                    prop_assert!(sign * out[0] >= last - 1e-12, "feature {feature} at {step}");
                    last = sign * out[0];
                }
                row[feature] = own;
            }
        }
    }

    #[test]
    fn features_meet_only_inside_of_a_group(seed in 0_u64..1_000, extra_trees in any::<bool>()) {
        let made = rows(seed, Task::Regression, 300);
        let groups = json!([["up", "free"], ["up", "down"]]);
        let model = fit(&made, &gbt(json!({
            "n_estimators": 20, "min_leaf": 2, "interactions": groups, "extra_trees": extra_trees,
        })));
        let allowed: [&[usize]; 3] = [&[0, 2], &[0, 1], &[3]];
        let mut longest = 0;
        each_path(&*model, |path| {
            longest = longest.max(path.len());
            assert!(allowed.iter().any(|g| path.iter().all(|f| g.contains(f))), "{path:?}");
        });
        prop_assert!(longest > 2);
    }

    #[test]
    fn depth_wise_trees_keep_the_depth_and_fill_levels(seed in 0_u64..1_000, max_depth in 2_u32..6) {
        let made = rows(seed, Task::Regression, 300);
        // Without a limit of leaves that matters, the order of splits does not matter either.
        let given = |growth| json!({
            "n_estimators": 5, "min_leaf": 3, "max_depth": max_depth, "max_leaves": 1000, "growth": growth,
        });
        let deep = fit(&made, &gbt(given("depth_wise")));
        each_path(&*deep, |path| assert!(path.len() <= max_depth as usize));
        let (a, b) = (made.predict(&*deep), made.predict(&*fit(&made, &gbt(given("leaf_wise")))));
        prop_assert_eq!(bits(&a), bits(&b));
        // With one: no level is begun before the one above is done, so leaves lie on two neighbouring ones.
        let few = fit(&made, &gbt(json!({
            "n_estimators": 1, "min_leaf": 1, "max_leaves": 12, "growth": "depth_wise",
        })));
        let mut depths = Vec::new();
        each_path(&*few, |path| depths.push(path.len()));
        prop_assert_eq!(depths.iter().filter(|d| **d == 3).count(), 4);
        prop_assert_eq!(depths.iter().filter(|d| **d == 4).count(), 8);
    }
}

/// Splits of equal gain may change places by rounding, and then all that follows differs: of 20 made tables per loss a
/// few may, and no more. The derivatives of a quantile take two values, so that equal gains are common there.
#[test]
fn a_weight_of_two_is_the_row_twice() {
    let losses = [
        "squared", "absolute", "huber", "quantile", "poisson", "tweedie", "logistic",
    ];
    for loss in losses {
        let apart = (0..20).filter(|seed| weights_and_copies_differ(*seed, loss));
        let apart = apart.collect::<Vec<u64>>();
        let few = if loss == "quantile" { 8 } else { 3 };
        assert!(apart.len() <= few, "{loss}: tables {apart:?}");
    }
}

/// Whether a fifth of the rows is predicted otherwise.
fn weights_and_copies_differ(seed: u64, loss: &str) -> bool {
    let task = if loss == "logistic" {
        Task::Binary
    } else {
        Task::Regression
    };
    let made = rows(seed, task, 150);
    let twice = |row: u32| row.is_multiple_of(3);
    let weights: Vec<f64> = made
        .rows()
        .iter()
        .map(|r| 1.0 + f64::from(u8::from(twice(*r))))
        .collect();
    let again: Vec<usize> = made
        .rows()
        .into_iter()
        .filter(|r| twice(*r))
        .map(|r| r as usize)
        .collect();
    let with_copies = |values: &[f64]| -> Vec<f64> {
        values
            .iter()
            .copied()
            .chain(again.iter().map(|&r| values[r]))
            .collect()
    };
    let columns = made
        .table
        .schema
        .fields
        .iter()
        .cloned()
        .zip(made.table.columns.iter().map(|c| with_copies(c)));
    let target = crate::data::table::Target {
        values: with_copies(&made.target.values),
        ..made.target.clone()
    };
    let copied = Made::new(columns.collect(), target, &Preprocess::default());
    let gbt = gbt(
        json!({"n_estimators": 10, "max_leaves": 6, "min_leaf": 1, "min_child_weight": 5.0, "loss": loss}),
    );
    let by_weight = made.fit(&gbt, &made.rows(), Some(&weights), 1).unwrap();
    let by_copy = copied.fit(&gbt, &copied.rows(), None, 1).unwrap();
    let (a, b) = (made.predict(&*by_weight), made.predict(&*by_copy));
    let apart = a
        .iter()
        .zip(&b)
        .filter(|(a, b)| (*a - *b).abs() > 1e-6)
        .count();
    apart > a.len() / 5
}

#[test]
fn the_number_of_threads_does_not_matter_to_any_option() {
    let made = rows(5, Task::Regression, 3_000);
    for given in [
        json!({"goss_top": 0.2, "goss_other": 0.1, "colsample_level": 0.7, "increasing": ["up"], "n_estimators": 30}),
        json!({"loss": "quantile", "goss_top": 0.3, "growth": "depth_wise", "interactions": [["up", "kind"]]}),
        json!({"extra_trees": true, "colsample_node": 0.5, "subsample": 0.7, "loss": "tweedie", "early_stopping": 5}),
    ] {
        let gbt = gbt(given);
        let saved = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| fit(&made, &gbt).save().unwrap())
        };
        let one = saved(1);
        assert!(one == saved(2) && one == saved(8));
    }
}

#[test]
fn a_share_of_features_is_kept_by_level_and_node() {
    let made = rows(6, Task::Regression, 500);
    // A quarter of four features is one by level: all splits of a level are on the same feature.
    let model = fit(
        &made,
        &gbt(json!({"n_estimators": 30, "colsample_level": 0.25, "max_depth": 4})),
    );
    for tree in model.ensemble().unwrap().trees {
        let mut by_depth: Vec<Vec<usize>> = vec![Vec::new(); 5];
        let mut stack = vec![(0, 0)];
        while let Some((at, depth)) = stack.pop() {
            if let NodeView::Inner {
                feature,
                left,
                right,
                ..
            } = tree.node(at)
            {
                by_depth[depth].push(feature);
                stack.extend([(left, depth + 1), (right, depth + 1)]);
            }
        }
        for own in by_depth {
            assert!(own.windows(2).all(|w| w[0] == w[1]), "{own:?}");
        }
    }
    let by_node = fit(
        &made,
        &gbt(json!({"n_estimators": 30, "colsample_node": 0.25})),
    );
    let mut roots: Vec<usize> = Vec::new();
    for tree in by_node.ensemble().unwrap().trees {
        if let NodeView::Inner { feature, .. } = tree.node(0) {
            roots.push(feature);
        }
    }
    roots.sort_unstable();
    roots.dedup();
    assert_eq!(roots, [0, 1, 2, 3], "every feature is drawn some time");
}

/// Log-cosh: smooth, and almost the absolute error far away.
#[derive(Debug)]
struct LogCosh;

impl Loss for LogCosh {
    fn name(&self) -> &str {
        "log_cosh"
    }
    fn check(&self, _: Task, _: &[f64]) -> Result<(), String> {
        Ok(())
    }
    fn link(&self) -> Link {
        Link::Identity
    }
    fn start(&self, _: &[f64], _: &[f64], scores: &mut [f64]) {
        scores.fill(0.0);
    }
    fn differentiate(&self, targets: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        for ((g, h), y) in gradients.iter_mut().zip(hessians).zip(targets) {
            let far = *g - y;
            *g = far.tanh();
            // The curvature of the parabola above the loss, since that of the loss itself vanishes far away.
            *h = if far.abs() < 1e-6 { 1.0 } else { *g / far };
        }
    }
    fn losses(&self, targets: &[f64], scores: &[f64], out: &mut [f64]) {
        for ((out, s), y) in out.iter_mut().zip(scores).zip(targets) {
            *out = (s - y).cosh().ln();
        }
    }
}

/// Says what a wrong loss would.
#[derive(Debug)]
struct Wrong {
    hessian: f64,
    outputs: usize,
}

impl Loss for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }
    fn check(&self, _: Task, _: &[f64]) -> Result<(), String> {
        Ok(())
    }
    fn outputs(&self, _: usize) -> usize {
        self.outputs
    }
    fn link(&self) -> Link {
        Link::Identity
    }
    fn start(&self, _: &[f64], _: &[f64], scores: &mut [f64]) {
        scores.fill(0.0);
    }
    fn differentiate(&self, _: &[f64], gradients: &mut [f64], hessians: &mut [f64]) {
        gradients.fill(1.0);
        hessians.fill(self.hessian);
    }
    fn losses(&self, _: &[f64], _: &[f64], out: &mut [f64]) {
        out.fill(0.0);
    }
}

#[test]
fn a_loss_of_ones_own_is_minimized_and_a_wrong_one_refused() {
    let made = rows(7, Task::Regression, 400);
    let plain = || gbt(json!({"n_estimators": 100, "learning_rate": 0.3, "min_child_weight": 0.0}));
    let model = fit(&made, &plain().with_loss(Arc::new(LogCosh)));
    let apart = made.predict(&*model);
    let apart = apart
        .iter()
        .zip(&made.target.values)
        .map(|(p, y)| (p - y).abs());
    let mean = apart.sum::<f64>() / 400.0;
    assert!(mean < 0.5, "{mean}");

    let said = |hessian, outputs| {
        let wrong = plain().with_loss(Arc::new(Wrong { hessian, outputs }));
        let error = made.fit(&wrong, &made.rows(), None, 1).err();
        error.expect("it is refused").to_string()
    };
    assert!(said(f64::NAN, 1).contains("`wrong` gave derivatives that are not finite"));
    assert!(said(-1.0, 1).contains("below 0, in round 1"));
    assert!(said(1.0, 3).contains("3 scores"));
}

#[test]
fn names_that_do_not_fit_are_said_with_what_does() {
    let made = rows(8, Task::Regression, 100);
    let said = |given| {
        let error = made.fit(&gbt(given), &made.rows(), None, 1).err();
        error.expect("it is refused").to_string()
    };
    assert_eq!(
        said(json!({"increasing": ["upp"]})),
        "gbt: `increasing` names `upp`, which is no feature; did you mean `up`? Features: up, down, free, kind"
    );
    assert!(said(json!({"decreasing": ["kind"]})).contains("levels without order"));
    assert!(
        said(json!({"increasing": ["up"], "decreasing": ["up"]})).contains("remove it from one")
    );
    assert!(said(json!({"interactions": [["up", "nothing"]]})).contains("`nothing`"));
    assert!(said(json!({"class_weight": "balanced"})).contains("needs classes"));
    assert!(said(json!({"loss": "logistic"})).contains("write `loss: squared`"));
    let refused = |given| {
        let error = params(given).build().expect_err("it is refused");
        error.to_string()
    };
    assert!(refused(json!({"loss": "quantile", "loss_alpha": 1.5})).contains("must be below 1"));
    assert!(refused(json!({"tweedie_power": 1.0})).contains("`loss: poisson`"));
    assert!(refused(json!({"goss_top": 0.2, "subsample": 0.5})).contains("leave one of them out"));
    assert!(refused(json!({"goss_top": 0.8, "goss_other": 0.5})).contains("above 1 together"));
    let binary = rows(8, Task::Binary, 100);
    let label = gbt(json!({"class_weight": {"c7": 2.0}}));
    let error = binary.fit(&label, &binary.rows(), None, 1).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("no class `c7`; its classes: c0, c1"),
        "{error}"
    );
}

#[test]
fn balanced_classes_start_at_even_odds_and_equal_weights_by_label() {
    let made = Made::usual(Task::Binary, &Preprocess::default(), 400);
    let positive: f64 = made.target.values.iter().sum::<f64>() / 400.0;
    let model = fit(
        &made,
        &gbt(json!({"n_estimators": 1, "class_weight": "balanced"})),
    );
    let base = model.ensemble().unwrap().base[0];
    assert!(base.abs() < 1e-9, "{base}");
    let by_label = json!({"c0": 0.5 / (1.0 - positive), "c1": 0.5 / positive});
    let same = fit(
        &made,
        &gbt(json!({"n_estimators": 1, "class_weight": by_label})),
    );
    let (a, b) = (made.predict(&*model), made.predict(&*same));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-9));
}

/// With `min_leaf_counts: hessians` each side of the first split has its share of the hessian, here where rows differ in
/// weight and so in hessian; counted by rows, a leaf may have less.
#[test]
fn a_limit_of_rows_can_be_one_of_hessians() {
    let made = rows(3, Task::Binary, 400);
    let weights: Vec<f64> = (0..400)
        .map(|i| if i % 4 == 0 { 0.02 } else { 1.0 })
        .collect();
    let smallest = |counts: &str, interactions: serde_json::Value| {
        let learner = gbt(
            json!({"n_estimators": 30, "max_leaves": 2, "learning_rate": 1.0, "min_leaf": 60,
            "min_leaf_counts": counts, "interactions": interactions}),
        );
        let model = made
            .fit(&learner, &made.rows(), Some(&weights), 1)
            .expect("it can be fitted");
        (model.ensemble().expect("it has trees").trees)
            .iter()
            .filter_map(|tree| match tree.node(0) {
                NodeView::Inner { left, right, .. } => {
                    let covers = tree.covers().expect("it was fitted here");
                    Some([left, right].map(|at| covers[at] as u32))
                }
                NodeView::Leaf { .. } => None,
            })
            .flatten()
            .min()
            .expect("some tree is split")
    };
    for interactions in [json!([]), json!([["up"], ["down"]])] {
        assert!(smallest("rows", interactions.clone()) >= 60);
        // A side of fewer rows may have the hessian of 60 when its rows have large ones.
        assert!(smallest("hessians", interactions) < 60);
    }
}

#[test]
fn a_fit_round_by_round_is_every_smaller_fit() {
    let settings = [
        (
            Task::Binary,
            json!({"n_estimators": 12, "subsample": 0.7, "colsample": 0.5}),
        ),
        (
            Task::Binary,
            json!({"n_estimators": 12, "class_weight": "balanced", "goss_top": 0.2}),
        ),
        (
            Task::Regression,
            json!({"n_estimators": 12, "loss": "quantile", "loss_alpha": 0.8}),
        ),
        (
            Task::Regression,
            json!({"n_estimators": 12, "extra_trees": true}),
        ),
    ];
    for (task, settings) in settings {
        let made = rows(3, task, 400);
        let (train, test): (Vec<u32>, Vec<u32>) = made.rows().iter().partition(|r| **r % 4 != 0);
        let learner = gbt(settings.clone());
        let data = made.training_set(&train, None);
        let seed = Seed::root(1);
        let mut whole = learner.begin(&data, &test, seed).unwrap().unwrap();
        for mark in [1, 2, 7, 12] {
            let left = whole.advance(mark, None).unwrap();
            assert_eq!(left, mark < 12);
            let mut less = settings.clone();
            less["n_estimators"] = json!(mark);
            let model = gbt(less).fit(&data, seed).unwrap();
            let alone = model.predict_rows(&made.features, &test, &made.fills);
            assert_eq!(bits(&whole.predict()), bits(&alone), "{settings} {mark}");
        }
    }
}

#[test]
fn early_stopping_ends_a_fit_round_by_round_too() {
    let settings = json!({"n_estimators": 300, "learning_rate": 0.5, "early_stopping": 3});
    let made = rows(4, Task::Binary, 300);
    let (train, test): (Vec<u32>, Vec<u32>) = made.rows().iter().partition(|r| **r % 4 != 0);
    let (learner, data) = (gbt(settings), made.training_set(&train, None));
    let mut fit = learner.begin(&data, &test, Seed::root(1)).unwrap().unwrap();
    let mut round = 0;
    while fit.advance(round, None).unwrap() {
        round += 2;
        fit.predict();
    }
    assert!((4..300).contains(&round), "it stopped after {round}");
    let model = learner.fit(&data, Seed::root(1)).unwrap();
    let alone = model.predict_rows(&made.features, &test, &made.fills);
    assert_eq!(bits(&fit.predict()), bits(&alone));
}

#[test]
fn a_fit_that_shall_not_go_on_ends() {
    let made = rows(5, Task::Binary, 300);
    let all = made.rows();
    struct Five(std::sync::atomic::AtomicUsize);
    impl Limit for Five {
        fn goes_on(&self, _: u64) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 5
        }
    }
    let five = Five(std::sync::atomic::AtomicUsize::new(0));
    let data = TrainingSet {
        limit: Some(&five),
        ..made.training_set(&all, None)
    };
    let learner = gbt(json!({"n_estimators": 1000}));
    let error = learner.fit(&data, Seed::root(1)).err().unwrap();
    assert!(
        matches!(error, LearnError::Stopped { learner: "gbt" }),
        "{error}"
    );
    assert_eq!(five.0.load(std::sync::atomic::Ordering::Relaxed), 6);
}
