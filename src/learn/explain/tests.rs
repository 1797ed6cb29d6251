//! SHAP values against their definition, and the other methods against a slow way of saying the same.

use proptest::prelude::*;

use super::*;
use crate::learn::tree::nodes::{LevelSet, Split, Tree};
use crate::learn::tree::view::{Ensemble, Link, NodeView, goes_left};
use crate::seed::{Rng, Seed};

/// A random tree: thresholds at tenths, sets of levels, missing values either way, covers that add up.
fn random_tree(rng: &mut Rng, width: usize, features: usize, splits: usize) -> Tree {
    let mut tree = Tree::new(width);
    let mut leaves = vec![0];
    for _ in 0..splits {
        let node = leaves.swap_remove(rng.random_range(0..leaves.len() as u64) as usize);
        let feature = rng.random_range(0..features as u64) as u16;
        let split = if rng.random::<f64>() < 0.3 {
            let mut set: LevelSet = [0; 4];
            set[0] = u64::from(rng.random_range(0..1024_u32));
            Split::In(set)
        } else {
            Split::AtMost {
                code: 0,
                threshold: f64::from(rng.random_range(0..10_u32)),
            }
        };
        let left = tree.split(node, feature, split, rng.random());
        leaves.extend([left, left + 1]);
    }
    for node in leaves {
        let values: Vec<f64> = (0..width)
            .map(|_| rng.random::<f64>() * 4.0 - 2.0)
            .collect();
        tree.set_leaf(node, &values);
        tree.set_cover(node, f64::from(rng.random_range(1..200_u32)));
    }
    tree
}

fn random_row(rng: &mut Rng, features: usize) -> Vec<f64> {
    let value = |rng: &mut Rng| match rng.random_range(0..8_u32) {
        0 => f64::NAN,
        _ => f64::from(rng.random_range(0..10_u32)),
    };
    (0..features).map(|_| value(rng)).collect()
}

/// What is expected of the leaf value `output` when the features in `known` (a bit each) are known.
fn expected(tree: &Tree, covers: &[f64], at: usize, row: &[f64], known: u32, output: usize) -> f64 {
    match tree.node(at) {
        NodeView::Leaf { values } => values[output],
        NodeView::Inner {
            feature,
            test,
            missing_left,
            left,
            right,
        } => {
            let below = |node| expected(tree, covers, node, row, known, output);
            if known >> feature & 1 == 1 {
                let goes_left = goes_left(test, missing_left, row[feature]);
                below(if goes_left { left } else { right })
            } else {
                (covers[left] * below(left) + covers[right] * below(right)) / covers[at]
            }
        }
    }
}

/// The Shapley values by their definition, from the worth of every subset.
fn brute(tree: &Tree, row: &[f64], output: usize) -> (f64, Vec<f64>) {
    let n = row.len();
    let covers = tree.covers().unwrap();
    let worth: Vec<f64> = (0..1_u32 << n)
        .map(|known| expected(tree, &covers, 0, row, known, output))
        .collect();
    // |S|! (n − |S| − 1)! / n! is 1 / (n · C(n − 1, |S|)).
    let mut weights = vec![1.0 / n as f64; n];
    for s in 1..n {
        weights[s] = weights[s - 1] * s as f64 / (n - s) as f64;
    }
    let value = |i: usize| {
        let without = (0..1_u32 << n).filter(|known| known >> i & 1 == 0);
        let term = |known: u32| {
            let gained = worth[(known | 1 << i) as usize] - worth[known as usize];
            weights[known.count_ones() as usize] * gained
        };
        without.map(term).sum()
    };
    (worth[0], (0..n).map(value).collect())
}

fn ensemble<'a>(
    link: Link,
    width: usize,
    base: &'a [f64],
    trees: &'a [Tree],
    features: usize,
) -> Ensemble<'a> {
    Ensemble {
        link,
        width,
        base,
        trees,
        features,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Trees with missing values and sets; features that come back on one way; forests of several outputs.
    #[test]
    fn values_are_the_shapley_values(seed: u64, features in 1_usize..8, splits in 0_usize..25, width in 1_usize..4, trees in 1_usize..4) {
        let mut rng = Seed::root(seed).rng();
        let trees: Vec<Tree> = (0..trees).map(|_| random_tree(&mut rng, width, features, splits)).collect();
        let rows: Vec<Vec<f64>> = (0..3).map(|_| random_row(&mut rng, features)).collect();
        let base = vec![0.0; width];
        let all = ensemble(Link::Mean, width, &base, &trees, features);
        let shap = tree_shap(&all, &rows.concat()).unwrap();
        for (r, row) in rows.iter().enumerate() {
            for output in 0..width {
                let (mut start, mut values) = (0.0, vec![0.0; features]);
                for tree in &trees {
                    let (b, v) = brute(tree, row, output);
                    start += b / trees.len() as f64;
                    values.iter_mut().zip(v).for_each(|(a, v)| *a += v / trees.len() as f64);
                }
                prop_assert!((shap.base[output] - start).abs() < 1e-12);
                for (ours, exact) in shap.row(r, output).iter().zip(&values) {
                    prop_assert!((ours - exact).abs() < 1e-11, "{ours} {exact}");
                }
                let score: f64 = trees.iter().map(|t| t.predict(row)[output]).sum::<f64>() / trees.len() as f64;
                prop_assert!((shap.score(r, output) - score).abs() < 1e-9);
            }
        }
    }

    /// Large trees, for which subsets are too many: values add up to the score.
    #[test]
    fn values_add_up_in_large_trees(seed: u64, features in 20_usize..90, splits in 100_usize..1500) {
        let mut rng = Seed::root(seed).rng();
        let trees: Vec<Tree> = (0..3).map(|_| random_tree(&mut rng, 1, features, splits)).collect();
        let base = [0.25, -1.0, 3.0];
        let all = ensemble(Link::Softmax, 3, &base, &trees, features);
        let row = random_row(&mut rng, features);
        let shap = tree_shap(&all, &row).unwrap();
        for (output, tree) in trees.iter().enumerate() {
            prop_assert!((shap.score(0, output) - base[output] - tree.predict(&row)[0]).abs() < 1e-9);
        }
    }
}

/// One way asks more features than one pass has points for.
#[test]
fn a_way_of_nineteen_features_is_exact() {
    let mut rng = Seed::root(5).rng();
    let features = 19;
    let mut tree = Tree::new(1);
    let mut node = 0;
    for feature in (0..features).chain([3, 11]) {
        let split = Split::AtMost {
            code: 0,
            threshold: f64::from(rng.random_range(2..8_u32)),
        };
        let left = tree.split(node, feature as u16, split, true);
        tree.set_leaf(left, &[rng.random::<f64>() * 10.0]);
        tree.set_cover(left, f64::from(rng.random_range(1..50_u32)));
        node = left + 1;
    }
    tree.set_leaf(node, &[-7.0]);
    tree.set_cover(node, 3.0);
    let trees = [tree];
    let all = ensemble(Link::Identity, 1, &[0.0], &trees, features);
    // The first row goes all the way down.
    let rows = [vec![9.0; features], random_row(&mut rng, features)];
    let shap = tree_shap(&all, &rows.concat()).unwrap();
    for (r, row) in rows.iter().enumerate() {
        let (base, values) = brute(&trees[0], row, 0);
        assert!((shap.base[0] - base).abs() < 1e-12);
        for (ours, exact) in shap.row(r, 0).iter().zip(&values) {
            assert!((ours - exact).abs() < 1e-11, "{ours} {exact}");
        }
    }
}

#[test]
fn trees_without_covers_are_refused() {
    let mut tree = Tree::new(1);
    tree.set_leaf(0, &[1.0]);
    let trees = [tree];
    let all = ensemble(Link::Identity, 1, &[0.0], &trees, 1);
    let error = tree_shap(&all, &[1.0]).unwrap_err().to_string();
    assert!(error.contains("fit the model again"), "{error}");
}

#[test]
fn groups_add_up_their_features() {
    let shap = Shap {
        width: 2,
        features: 3,
        base: vec![0.5, 1.5],
        values: vec![1.0, 2.0, 4.0, -1.0, -2.0, 3.0],
    };
    let grouped = shap.grouped(&[1, 0, 1], 2);
    assert_eq!(grouped.values, [2.0, 5.0, -2.0, 2.0]);
    assert_eq!(grouped.rows(), 1);
    assert_eq!(grouped.score(0, 1), shap.score(0, 1));
    assert_eq!(grouped.mean_abs(), [4.0, 7.0]);
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    model: Box<serde_json::value::RawValue>,
    rows: Vec<Vec<Option<f64>>>,
    base: Vec<f64>,
    /// `rows × outputs × features`.
    values: Vec<Vec<Vec<f64>>>,
}

fn golden() -> Vec<(Case, Pipeline, Vec<f64>)> {
    let text = include_str!("../../../tests/golden/shap.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    let open = |case: Case| {
        let pipeline = Pipeline::load(case.model.get().as_bytes()).unwrap();
        let cells = case.rows.iter().flatten();
        let rows = cells.map(|c| c.unwrap_or(f64::NAN)).collect();
        (case, pipeline, rows)
    };
    golden.cases.into_iter().map(open).collect()
}

/// The package sums fractions of long products in another order; both are far from 1e-9 of the truth.
#[test]
fn values_are_those_of_the_shap_package() {
    let cases = golden();
    assert!(cases.len() >= 6);
    let (mut sets, mut missing) = (0, 0);
    for (case, pipeline, rows) in cases {
        sets += case.model.get().matches("\"sets\"").count();
        missing += rows.iter().filter(|v| v.is_nan()).count();
        let found = tree_shap(
            &pipeline.model.ensemble().unwrap(),
            &encode(&pipeline, &rows),
        )
        .unwrap();
        assert_eq!(found.rows(), case.rows.len());
        for (ours, theirs) in found.base.iter().zip(&case.base) {
            assert!(
                (ours - theirs).abs() < 1e-9,
                "{}: base {ours} {theirs}",
                case.name
            );
        }
        for (row, outputs) in case.values.iter().enumerate() {
            for (output, features) in outputs.iter().enumerate() {
                assert_eq!(features.len(), found.features);
                for (ours, theirs) in found.row(row, output).iter().zip(features) {
                    assert!(
                        (ours - theirs).abs() < 1e-9,
                        "{}: {ours} {theirs}",
                        case.name
                    );
                }
            }
        }
    }
    assert!(
        sets > 0 && missing > 0,
        "the cases hold level sets and missing values"
    );
}

#[test]
fn threads_do_not_change_values() {
    for (case, pipeline, rows) in golden() {
        let rows = rows.repeat(20);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| shap(&pipeline, &rows).unwrap())
        };
        let one = on(1);
        for threads in [2, 8] {
            assert_eq!(on(threads), one, "{}", case.name);
        }
        // By column, they add up to what the model says.
        let link = pipeline.model.ensemble().unwrap().link;
        let predictions = predict(&pipeline, &rows);
        for (row, prediction) in predictions.chunks(one.width).enumerate() {
            let mut scores: Vec<f64> = (0..one.width).map(|o| one.score(row, o)).collect();
            match link {
                Link::Mean | Link::Identity => {}
                Link::Logistic => scores[0] = crate::stats::special::sigmoid(scores[0]),
                Link::Softmax => crate::stats::special::softmax(&mut scores),
                Link::Exp => scores[0] = crate::stats::special::exp(scores[0]),
            }
            for (score, said) in scores.iter().zip(prediction) {
                assert!((score - said).abs() < 1e-9, "{}: {score} {said}", case.name);
            }
        }
    }
}

/// A model whose trees know no covers, as files of the first release have them.
#[test]
fn old_files_predict_and_say_that_they_cannot_be_explained() {
    let (case, pipeline, rows) = golden().swap_remove(0);
    let mut file: serde_json::Value = serde_json::from_str(case.model.get()).unwrap();
    for tree in file["model"]["trees"].as_array_mut().unwrap() {
        tree.as_object_mut().unwrap().remove("cover").unwrap();
    }
    let old = Pipeline::load(file.to_string().as_bytes()).unwrap();
    assert_eq!(predict(&old, &rows), predict(&pipeline, &rows));
    assert!(matches!(shap(&old, &rows), Err(ExplainError::NoCovers)));
}

/// What permutation importance says must follow from the definition: the mean over all shuffles of a column is the
/// mean over all pairs of a row and a cell, which is computed here.
#[test]
fn permutation_importance_is_the_loss_of_shuffling() {
    let (_, pipeline, rows) = golden().swap_remove(2);
    let columns = pipeline.transform.schema.fields.len();
    let count = rows.len() / columns;
    let truth: Vec<f64> = predict(&pipeline, &rows).iter().map(|p| p + 0.1).collect();
    let metric = crate::learn::metric::find("mse").unwrap();
    let truth_of = Truth {
        values: &truth,
        metric,
    };
    let importance = permutation(&pipeline, &rows, truth_of, 400, Seed::root(3)).unwrap();
    assert!((importance.score - 0.01).abs() < 1e-12);
    for (column, (mean, _)) in importance.summary().into_iter().enumerate() {
        let mut all = 0.0;
        for row in 0..count {
            for from in 0..count {
                let mut cells = rows[row * columns..(row + 1) * columns].to_vec();
                cells[column] = rows[from * columns + column];
                let error = predict(&pipeline, &cells)[0] - truth[row];
                all += error * error;
            }
        }
        let expected = all / (count * count) as f64 - importance.score;
        assert!(
            (mean - expected).abs() < 0.05 * expected + 1e-12,
            "{column}: {mean} {expected}"
        );
        assert_eq!(mean == 0.0, expected.abs() < 1e-15);
    }
    let again = permutation(&pipeline, &rows, truth_of, 400, Seed::root(3)).unwrap();
    assert_eq!(again, importance);
}

#[test]
fn partial_dependence_is_the_mean_of_changed_rows() {
    for (case, pipeline, rows) in golden() {
        let fields = pipeline.transform.schema.fields.clone();
        for (column, field) in fields.iter().enumerate() {
            let one = dependence(&pipeline, &rows, &field.name, 5, 3).unwrap();
            assert_eq!((one.column, one.levels), (column, !field.levels.is_empty()));
            assert!(
                one.places.len() >= 2 && one.places.windows(2).all(|p| p[0].value < p[1].value)
            );
            for place in &one.places {
                let mut changed = rows.clone();
                changed
                    .chunks_mut(fields.len())
                    .for_each(|row| row[column] = place.value);
                let predictions = predict(&pipeline, &changed);
                let count = predictions.len() / pipeline.width();
                for (output, mean) in place.mean.iter().enumerate() {
                    let own = predictions.iter().skip(output).step_by(pipeline.width());
                    let expected = own.sum::<f64>() / count as f64;
                    assert!((mean - expected).abs() < 1e-12, "{}", case.name);
                }
                assert_eq!(
                    place.curves[..pipeline.width()],
                    predictions[..pipeline.width()]
                );
            }
            let shares: f64 = one.places.iter().map(|p| p.share).sum();
            let last = one.places.last().unwrap().share;
            assert!((if one.levels { shares } else { last } - 1.0).abs() < 1e-12);
        }
        let error = dependence(&pipeline, &rows, "nothing", 5, 3).unwrap_err();
        assert!(error.to_string().contains("`n1`, `n2`"), "{error}");
    }
}

/// Gain by column sums to 1, and effects are sorted with the largest first.
#[test]
fn effects_name_the_level_that_raises_most() {
    for (_, pipeline, rows) in golden() {
        assert!((gain(&pipeline).unwrap().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let all = shap(&pipeline, &rows).unwrap();
        let effects = effects(&pipeline, &rows, &all, 0);
        assert!(effects.windows(2).all(|e| e[0].mean_abs >= e[1].mean_abs));
        for effect in effects {
            if let Direction::Levels(levels) = effect.direction {
                let count: usize = levels.iter().map(|l| l.1).sum();
                let width = pipeline.transform.schema.fields.len();
                let cells = rows.iter().skip(effect.column).step_by(width);
                assert_eq!(count, cells.filter(|v| !v.is_nan()).count());
                assert!(levels.windows(2).all(|l| l[0].2 >= l[1].2));
            }
        }
    }
}

/// Names and levels of the data cannot become markup, and the page asks nothing of other places.
#[test]
fn pages_hold_no_markup_of_the_data() {
    for (case, mut pipeline, rows) in golden() {
        let evil = "<script>alert(\"1\")</script>&'";
        for field in &mut pipeline.transform.schema.fields {
            field.name = format!("{evil}{}", field.name);
            field
                .levels
                .iter_mut()
                .for_each(|l| *l = format!("{evil}{l}"));
        }
        let all = shap(&pipeline, &rows).unwrap();
        let effects = effects(&pipeline, &rows, &all, 0);
        let columns = pipeline.transform.schema.fields.clone();
        let first = dependence(&pipeline, &rows, &columns[0].name, 5, 3).unwrap();
        let last = dependence(&pipeline, &rows, &columns[5].name, 5, 3).unwrap();
        let mut page = picture::Page::new(evil, &[(evil, evil.to_owned())]);
        page.section(
            evil,
            evil,
            &picture::beeswarm(&pipeline, &rows, &all, &effects, 0),
        );
        page.section(
            evil,
            "",
            &picture::waterfall(&pipeline, &rows[..6], &all, 0, 0),
        );
        page.section(evil, "", &picture::dependence(&pipeline, &[first, last], 0));
        let bar = |label: &str, value| picture::Bar {
            label: label.to_owned(),
            value,
            spread: Some(0.25),
            note: evil.to_owned(),
        };
        page.section(
            evil,
            "",
            &picture::bars(&[bar(evil, 1.0), bar("b", -0.5)], evil),
        );
        let text = page.finish();
        assert!(
            !text.contains("<script") && !text.contains("NaN") && !text.contains("http"),
            "{}",
            case.name
        );
        for (open, close) in [
            ("<svg", "</svg>"),
            ("<g>", "</g>"),
            ("<text", "</text>"),
            ("<title>", "</title>"),
        ] {
            assert_eq!(
                text.matches(open).count(),
                text.matches(close).count(),
                "{open}"
            );
        }
    }
}
