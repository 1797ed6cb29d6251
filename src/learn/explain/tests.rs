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
