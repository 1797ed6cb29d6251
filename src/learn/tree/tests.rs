use proptest::prelude::*;
use rand::RngExt;

use super::best_first::{self, grow};
use super::nodes::{Split, in_set};
use super::partition::{Spare, partition};
use super::split::{Candidate, Criterion, Finder, runs_of_histogram};
use super::sum::{FixedPoint, Sum};
use super::{Column, histogram};
use crate::data::table::Task;
use crate::learn::features::Features;
use crate::learn::forest::{ForestParams, MaxFeatures, MaxFeaturesRule};
use crate::learn::gbt::{GbtParams, Growth};
use crate::learn::learner::{Learner, TrainingSet};
use crate::seed::Seed;

/// One column with gradients and hessians, small enough to try every split.
#[derive(Clone, Debug)]
struct Case {
    codes: Vec<u8>,
    gradients: Vec<f64>,
    hessians: Vec<f64>,
    bins: usize,
    min_leaf: u32,
    l1: f64,
    l2: f64,
}

fn cases(missing: bool, max_bins: usize, penalties: bool) -> impl Strategy<Value = Case> {
    let tops = if penalties { (3.0, 4.0) } else { (1e-9, 1e-9) };
    let row = (0..max_bins as u8 + u8::from(missing), -40..40_i32, 1..9_i32);
    let rows = prop::collection::vec(row, 2..40);
    (rows, 1..6_u32, 0.0..tops.0, 0.0..tops.1).prop_map(move |(rows, min_leaf, l1, l2)| Case {
        codes: rows
            .iter()
            .map(|r| match r.0 {
                code if usize::from(code) == max_bins => Features::MISSING,
                code => code,
            })
            .collect(),
        // Eighths are exact in the fixed point.
        gradients: rows.iter().map(|r| f64::from(r.1) / 8.0).collect(),
        hessians: rows.iter().map(|r| f64::from(r.2) / 8.0).collect(),
        bins: max_bins,
        min_leaf,
        l1: if penalties { l1 } else { 0.0 },
        l2: if penalties { l2 } else { 0.0 },
    })
}

impl Case {
    fn criterion(&self) -> Criterion {
        Criterion {
            unit: FixedPoint::new(self.codes.len(), 5.0, 2.0),
            l1: self.l1,
            l2: self.l2,
            min_leaf: self.min_leaf,
            rows_by_hessian: false,
            min_leaf_hessian: 0.0,
            category_smoothing: 0.0,
        }
    }

    fn sums(&self) -> Vec<Sum> {
        let unit = self.criterion().unit;
        let parts = self.gradients.iter().zip(&self.hessians);
        parts.map(|(g, h)| unit.row(*g, *h)).collect()
    }

    fn column<'a>(&'a self, edges: Option<&'a [f64]>) -> Column<'a> {
        Column {
            codes: &self.codes,
            bins: self.bins,
            edges,
            fill: Features::MISSING,
            has_missing: self.codes.contains(&Features::MISSING),
        }
    }

    fn rows(&self) -> Vec<u32> {
        (0..self.codes.len() as u32).collect()
    }

    fn chosen(&self, edges: Option<&[f64]>) -> Option<Candidate> {
        let column = self.column(edges);
        let sums = self.sums();
        let total = sums.iter().fold(Sum::ZERO, |a, b| a + *b);
        let mut slots = vec![Sum::ZERO; column.slots()];
        histogram::fill(&column, &self.rows(), &sums, total, &mut slots);
        let missing = slots.get(self.bins).copied().unwrap_or_default();
        let mut finder = Finder::default();
        let criterion = self.criterion();
        runs_of_histogram(&slots[..self.bins], &mut finder.runs);
        let by_runs = finder.best_of_runs(&criterion, &column, 0, missing, total);
        let slots = &slots[..self.bins];
        let found = finder.best_of_histogram(&criterion, &column, 0, slots, missing, total);
        assert_eq!(found, by_runs, "empty codes change nothing");
        found
    }

    /// The gain of sending the rows of `left` left, in floating point and from the rows themselves; none if it may not be.
    fn gain(&self, left: &dyn Fn(u8) -> bool) -> Option<f64> {
        let score = |side: Option<bool>| {
            let (mut g, mut h, mut rows) = (0.0, 0.0, 0);
            for (i, &code) in self.codes.iter().enumerate() {
                if side.is_none_or(|s| left(code) == s) {
                    g += self.gradients[i];
                    h += self.hessians[i];
                    rows += 1;
                }
            }
            let g = (f64::abs(g) - self.l1).max(0.0);
            (rows >= self.min_leaf).then(|| g * g / (h + self.l2))
        };
        Some(score(Some(true))? + score(Some(false))? - score(None)?)
    }

    fn goes_left(split: &Candidate, code: u8) -> bool {
        match split.split {
            _ if code == Features::MISSING => split.missing_left,
            Split::AtMost { code: last, .. } => code <= last,
            Split::In(set) => in_set(&set, code),
        }
    }

    /// The chosen split must gain as much as the best one of `all`, and its parts must be those of its rows.
    fn agrees(&self, edges: Option<&[f64]>, all: impl Iterator<Item = f64>) {
        let largest = all.fold(f64::NEG_INFINITY, f64::max);
        let Some(found) = self.chosen(edges) else {
            assert_eq!(largest, f64::NEG_INFINITY, "a split was overlooked");
            return;
        };
        let real = self.gain(&|code| Case::goes_left(&found, code));
        let real = real.expect("the chosen split keeps to the limits");
        assert!(
            (found.gain - real).abs() < 1e-9,
            "gain {} is {real}",
            found.gain
        );
        assert!(
            (real - largest).abs() < 1e-9,
            "{real} is not the largest, {largest}"
        );
        let lefts = self.codes.iter().zip(self.sums());
        let left = lefts
            .filter(|(code, _)| Case::goes_left(&found, **code))
            .fold(Sum::ZERO, |a, (_, s)| a + s);
        assert_eq!(left, found.left);
    }
}

fn edges(bins: usize) -> Vec<f64> {
    (1..bins).map(|b| b as f64 - 0.5).collect()
}

fn check_numeric(case: &Case) {
    let edges = edges(case.bins);
    let mut gains = Vec::new();
    for missing_left in [false, true] {
        for last in 0..case.bins as u8 {
            gains.extend(case.gain(&|code| match code {
                Features::MISSING => missing_left,
                code => code <= last,
            }));
        }
    }
    // Without a limit a side may be empty here, which is no split.
    case.agrees(Some(&edges), gains.into_iter());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_best_numeric_split_is_found(case in cases(false, 9, true)) {
        check_numeric(&case);
    }

    #[test]
    fn the_best_numeric_split_with_gaps_is_found(case in cases(true, 7, true)) {
        check_numeric(&case);
    }

    /// Without penalties an order of the levels holds the best subset, so all subsets are no better (Fisher 1958). This
    /// needs room for small leaves: with a limit the best allowed subset may lie off the order.
    #[test]
    fn the_best_subset_of_levels_is_found(mut case in cases(false, 6, false)) {
        case.min_leaf = 1;
        let subsets = (1..(1_u32 << case.bins) - 1).filter_map(|set| case.gain(&|code| set >> code & 1 == 1));
        case.agrees(None, subsets);
    }

    /// With gaps and limits the order of levels is still right wherever it is allowed to split.
    #[test]
    fn a_subset_keeps_to_its_limits(case in cases(true, 6, true)) {
        let Some(found) = case.chosen(None) else { return Ok(()) };
        let real = case.gain(&|code| Case::goes_left(&found, code));
        prop_assert!((real.expect("within the limits") - found.gain).abs() < 1e-9);
    }

    #[test]
    fn a_sibling_is_the_difference_and_rows_keep_their_order(case in cases(true, 8, false), at in 0..8_u8, missing_left: bool) {
        let edges = edges(case.bins);
        let column = case.column(Some(&edges));
        let histogram = |rows: &[u32], sums: &[Sum]| {
            let mut slots = vec![Sum::ZERO; column.slots()];
            let total = sums.iter().fold(Sum::ZERO, |a, b| a + *b);
            histogram::fill(&column, rows, sums, total, &mut slots);
            slots
        };
        let (mut rows, mut sums) = (case.rows(), case.sums());
        let before = sums.clone();
        let mut whole = histogram(&rows, &sums);
        let split = Split::AtMost { code: at, threshold: 0.0 };
        let lefts = partition::<false>(&column, &split, missing_left, &mut rows, Some(&mut sums), &mut Spare::default());
        let goes_left = |row: &u32| match case.codes[*row as usize] {
            Features::MISSING => missing_left,
            code => code <= at,
        };
        let (mut left, right): (Vec<u32>, Vec<u32>) = case.rows().into_iter().partition(goes_left);
        prop_assert_eq!(lefts, left.len());
        left.extend(right);
        prop_assert_eq!(&rows, &left);
        for (row, sum) in rows.iter().zip(&sums) {
            prop_assert_eq!(*sum, before[*row as usize]);
        }
        histogram::subtract(&mut whole, &histogram(&rows[..lefts], &sums[..lefts]));
        prop_assert_eq!(whole, histogram(&rows[lefts..], &sums[lefts..]));
    }
}

/// Two columns and a target without ties in gain, as far as random numbers go.
fn grown(max_leaves: usize, max_depth: u32) -> (Vec<f64>, usize) {
    let mut rng = Seed::root(3).child("tree", 0).rng();
    let rows = 512_usize;
    let codes: Vec<Vec<u8>> = (0..2)
        .map(|_| (0..rows).map(|_| rng.random_range(0..64)).collect())
        .collect();
    let target: Vec<f64> = (0..rows).map(|_| rng.random::<f64>() - 0.5).collect();
    let edges = edges(64);
    let column = |codes| Column {
        codes,
        bins: 64,
        edges: Some(&edges),
        fill: Features::MISSING,
        has_missing: false,
    };
    let columns: Vec<Column<'_>> = codes.iter().map(|c| column(c.as_slice())).collect();
    let criterion = Criterion {
        unit: FixedPoint::new(rows, 1.0, 1.0),
        l1: 0.0,
        l2: 0.0,
        min_leaf: 1,
        rows_by_hessian: false,
        min_leaf_hessian: 0.0,
        category_smoothing: 0.0,
    };
    let mut order: Vec<u32> = (0..rows as u32).collect();
    let sums: Vec<Sum> = target.iter().map(|t| criterion.unit.row(*t, 1.0)).collect();
    let limits = best_first::Limits {
        max_leaves,
        max_depth,
        min_gain: 0.0,
        depth_wise: false,
    };
    let mut grown = grow(
        &columns,
        &[],
        &[0, 1],
        &mut order,
        &sums,
        &criterion,
        &limits,
        None,
        &mut best_first::Arena::default(),
        &mut [0.0; 2],
    );
    for (node, range, sum) in &grown.leaves {
        assert_eq!(range.len(), sum.count() as usize);
        grown.tree.set_leaf(*node, &[criterion.leaf(*sum)]);
    }
    let covered: usize = grown.leaves.iter().map(|l| l.1.len()).sum();
    assert_eq!((covered, grown.leaves.len()), (rows, grown.tree.leaves()));
    let predicted = (0..rows).map(|r| {
        let row = [f64::from(codes[0][r]), f64::from(codes[1][r])];
        grown.tree.predict(&row)[0]
    });
    (predicted.collect(), grown.tree.leaves())
}

#[test]
fn leaf_and_depth_limits_agree_where_they_coincide() {
    for depth in 1..5 {
        let (by_depth, leaves) = grown(10_000, depth);
        assert_eq!(leaves, 1 << depth, "every node can be split this often");
        // As many leaves as the depth has room for: the order of growth no longer matters.
        assert_eq!(grown(1 << depth, depth).0, by_depth);
    }
    assert_eq!(grown(2, 0).0, grown(10_000, 1).0);
    assert_eq!(grown(7, 0).1, 7);
    let sizes = |leaves| grown(leaves, 0).1;
    assert_eq!(sizes(10_000), sizes(20_000));
}

/// Rows whose first column tells them all apart.
fn distinct(task: Task, rows: usize) -> (Features, crate::data::table::Target) {
    use crate::data::table::{Field, Kind, Schema, Table, Target};
    use crate::learn::preprocess::{Encoder, Preprocess};
    let mut rng = Seed::root(9).child("distinct", task as u64).rng();
    let columns: Vec<Vec<f64>> = vec![
        (0..rows).map(|i| (i * 53 % rows) as f64).collect(),
        (0..rows).map(|_| rng.random()).collect(),
    ];
    let field = |name: &str| Field {
        name: name.to_owned(),
        kind: Kind::Numeric,
        levels: Vec::new(),
    };
    let schema = Schema {
        fields: vec![field("a"), field("b")],
        missing: Vec::new(),
    };
    let encoder = Encoder::new(&Preprocess::default(), &schema).unwrap();
    let table = Table {
        schema,
        columns: columns.into_iter().map(Into::into).collect(),
        rows,
    };
    let all: Vec<u32> = (0..rows as u32).collect();
    let features = Features::build(&table, &encoder, &all, 255);
    let classes = match task {
        Task::Binary => 2,
        Task::Multiclass => 4,
        Task::Regression => 0,
    };
    let values = (0..rows).map(|_| match task {
        Task::Regression => rng.random::<f64>() * 1e3,
        _ => f64::from(rng.random_range(0..classes)),
    });
    let target = Target {
        name: "y".to_owned(),
        task,
        values: values.collect(),
        classes: (0..classes).map(|c| c.to_string()).collect(),
    };
    (features, target)
}

const TASKS: [Task; 3] = [Task::Binary, Task::Multiclass, Task::Regression];

fn predict(
    learner: &dyn Learner,
    features: &Features,
    target: &crate::data::table::Target,
    seed: u64,
) -> Vec<f64> {
    let rows: Vec<u32> = (0..features.rows as u32).collect();
    let fills = vec![f64::NAN; features.len()];
    let data = TrainingSet {
        features,
        target,
        rows: &rows,
        weights: None,
        fills: &fills,
        limit: None,
    };
    let model = learner.fit(&data, Seed::root(seed)).unwrap();
    model.predict_rows(features, &rows, &fills)
}

#[test]
fn one_tree_on_all_rows_repeats_the_labels() {
    let params = ForestParams {
        n_estimators: 1,
        bootstrap: false,
        max_features: Some(MaxFeatures::Rule(MaxFeaturesRule::All)),
        ..ForestParams::default()
    };
    let forest = params.build().unwrap();
    for task in TASKS {
        let (features, target) = distinct(task, 200);
        let predicted = predict(&forest, &features, &target, 1);
        let width = target.classes.len().max(2) - 1;
        let width = if task == Task::Multiclass {
            width + 1
        } else {
            1
        };
        for (p, truth) in predicted.chunks_exact(width).zip(&target.values) {
            match task {
                Task::Binary => assert_eq!(p[0], *truth),
                Task::Multiclass => assert_eq!(p[*truth as usize], 1.0),
                // Gradients are whole multiples of a unit of about 1e-9 of the largest.
                Task::Regression => assert!((p[0] - truth).abs() < 1e-6, "{} {truth}", p[0]),
            }
        }
    }
}

/// Mean loss over all rows, as boosting sees it.
fn loss(target: &crate::data::table::Target, predicted: &[f64]) -> f64 {
    let width = predicted.len() / target.values.len();
    let rows = predicted.chunks_exact(width).zip(&target.values);
    let losses = rows.map(|(p, truth)| match target.task {
        Task::Regression => (p[0] - truth) * (p[0] - truth),
        Task::Binary => -libm::log(if *truth > 0.5 { p[0] } else { 1.0 - p[0] }),
        Task::Multiclass => -libm::log(p[*truth as usize]),
    });
    losses.sum::<f64>() / target.values.len() as f64
}

fn boosted(rounds: usize) -> GbtParams {
    GbtParams {
        n_estimators: rounds,
        learning_rate: 0.05,
        max_leaves: 6,
        min_leaf: 5,
        ..GbtParams::default()
    }
}

#[test]
fn training_loss_never_increases() {
    for task in TASKS {
        let (features, target) = distinct(task, 240);
        let mut last = f64::INFINITY;
        // Boosting of n rounds starts with that of fewer, so one fit per length shows every round.
        for rounds in 1..40 {
            let learner = boosted(rounds).build().unwrap();
            let now = loss(&target, &predict(&learner, &features, &target, 1));
            assert!(now < last, "{task:?}: round {rounds}: {now} after {last}");
            last = now;
        }
    }
}

#[test]
fn early_stopping_keeps_the_best_round() {
    for task in TASKS {
        // The target is noise: some early round is the best one.
        let (features, target) = distinct(task, 240);
        let rows: Vec<u32> = (0..240).collect();
        let fills = vec![f64::NAN; 2];
        let data = TrainingSet {
            features: &features,
            target: &target,
            rows: &rows,
            weights: None,
            fills: &fills,
            limit: None,
        };
        let trees = |rounds, patience| {
            let params = GbtParams {
                learning_rate: 0.3,
                early_stopping: patience,
                validation_fraction: 0.3,
                ..boosted(rounds)
            };
            let model = params.build().unwrap().fit(&data, Seed::root(4)).unwrap();
            (model.save().unwrap(), model.importance().unwrap())
        };
        let (stopped, shares) = trees(200, 15);
        let outputs = if task == Task::Multiclass { 4 } else { 1 };
        let json: serde_json::Value = serde_json::from_str(&stopped).unwrap();
        let kept = json["trees"].as_array().unwrap().len() / outputs;
        assert!((1..150).contains(&kept), "{task:?}: {kept} rounds");
        // More patience cannot hide the best round, and a run that ends there is the same model, importance included.
        assert_eq!(trees(kept, 200), (stopped.clone(), shares), "{task:?}");
        assert_eq!(trees(kept + 14, 15).0, stopped, "{task:?}");
    }
}

#[test]
fn unknown_levels_count_as_missing() {
    use super::nodes::Tree;
    for missing_left in [false, true] {
        let mut tree = Tree::new(1);
        let left = tree.split(0, 0, Split::In([0b101, 0, 0, 0]), missing_left);
        tree.set_leaf(left, &[1.0]);
        tree.set_leaf(left + 1, &[0.0]);
        let missing = f64::from(u8::from(missing_left));
        for (level, expected) in [
            (0.0, 1.0),
            (1.0, 0.0),
            (2.0, 1.0),
            (254.0, 0.0),
            (-1.0, missing),
            (255.0, missing),
            (1e9, missing),
            (f64::NAN, missing),
        ] {
            assert_eq!(tree.predict(&[level]), [expected], "level {level}");
        }
    }
}

#[test]
fn missing_values_alone_on_the_right_leave_all_numbers_left() {
    let case = Case {
        codes: vec![0, 1, 0, 1, Features::MISSING, Features::MISSING],
        gradients: vec![1.0, 1.0, 1.0, 1.0, -1.0, -1.0],
        hessians: vec![1.0; 6],
        bins: 5,
        min_leaf: 1,
        l1: 0.0,
        l2: 0.0,
    };
    let edges = edges(5);
    let found = case.chosen(Some(&edges)).unwrap();
    assert!(!found.missing_left);
    // Numbers above those of the node included: they are no more missing than the others.
    let threshold = f64::MAX;
    assert_eq!(found.split, Split::AtMost { code: 4, threshold });
}

/// How often the bootstrap draws a row must not make equal targets look different.
#[test]
fn forests_stop_where_all_targets_are_equal() {
    let (features, mut target) = distinct(Task::Regression, 200);
    for (value, x) in target
        .values
        .iter_mut()
        .zip(features.columns[0].values.iter())
    {
        *value = if *x < 100.0 { 0.1 } else { 0.7 };
    }
    let rows: Vec<u32> = (0..200).collect();
    let data = TrainingSet {
        features: &features,
        target: &target,
        rows: &rows,
        weights: None,
        fills: &[f64::NAN; 2],
        limit: None,
    };
    let forest = ForestParams::default().build().unwrap();
    let saved = forest.fit(&data, Seed::root(1)).unwrap().save().unwrap();
    let json: serde_json::Value = serde_json::from_str(&saved).unwrap();
    for tree in json["trees"].as_array().unwrap() {
        assert_eq!(
            tree["link"].as_array().unwrap().len(),
            3,
            "one split is enough"
        );
    }
}

proptest! {
    /// A pack is a faster way to the same integers.
    #[test]
    fn packed_histograms_equal_those_of_each_member(
        bins in prop::collection::vec(2_usize..9, 2..9),
        draws in prop::collection::vec(any::<u32>(), 1..300),
    ) {
        use crate::data::table::{Field, Kind, Schema, Table};
        use crate::learn::features::Features;
        use crate::learn::preprocess::{Encoder, Preprocess};

        let rows = draws.len();
        let digit = |row: usize, column: usize| f64::from(draws[row].rotate_left(4 * column as u32) % bins[column] as u32);
        let field = |i| Field { name: format!("f{i}"), kind: Kind::Numeric, levels: Vec::new() };
        let schema = Schema { fields: (0..bins.len()).map(field).collect(), ..Schema::default() };
        let columns = (0..bins.len()).map(|c| (0..rows).map(|r| digit(r, c)).collect::<Vec<f64>>().into()).collect();
        let encoder = Encoder::new(&Preprocess::default(), &schema).unwrap();
        let all: Vec<u32> = (0..rows as u32).collect();
        let features = Features::build(&Table { schema, columns, rows }, &encoder, &all, 255);
        let unit = FixedPoint::new(rows, 1.0, 1.0);
        let sums: Vec<Sum> = draws.iter().map(|d| unit.row(f64::from(*d) / 5e9, 1.0)).collect();
        for pack in &features.packs {
            prop_assert!(pack.size <= 256 && pack.members.len() > 1);
            histogram::fill_pack(pack, &all, &sums, |place, by_code| {
                let (feature, bins) = pack.members[place];
                let mut expected = vec![Sum::ZERO; bins];
                for (code, sum) in features.columns[usize::from(feature)].codes.iter().zip(&sums) {
                    expected[usize::from(*code)] += *sum;
                }
                assert_eq!(by_code, expected);
            });
        }
    }
}

/// Every row that a tree was grown on is in the cover of one leaf, and the saved form keeps covers.
#[test]
fn covers_count_the_training_rows() {
    for task in TASKS {
        let (features, target) = distinct(task, 300);
        let rows: Vec<u32> = (0..300).collect();
        let weights: Vec<f64> = (0..300).map(|r| f64::from(r % 3)).collect();
        let fills = vec![f64::NAN; features.len()];
        let data = TrainingSet {
            features: &features,
            target: &target,
            rows: &rows,
            weights: Some(&weights),
            fills: &fills,
            limit: None,
        };
        let forest = ForestParams {
            n_estimators: 3,
            bootstrap: false,
            ..ForestParams::default()
        };
        let boosting = GbtParams {
            n_estimators: 3,
            ..GbtParams::default()
        };
        let learners: [(Box<dyn Learner>, f64); 2] = [
            (Box::new(forest.build().unwrap()), 300.0),
            (Box::new(boosting.build().unwrap()), 200.0),
        ];
        for (learner, all) in learners {
            let model = learner.fit(&data, Seed::root(1)).unwrap();
            let load = crate::learn::table::find(model.kind()).unwrap().load;
            let text = model.save().unwrap();
            let loaded = load(&text).unwrap();
            let trees = model.ensemble().unwrap().trees;
            assert!(!trees.is_empty());
            for (tree, again) in trees.iter().zip(loaded.ensemble().unwrap().trees) {
                let covers = tree.covers().unwrap();
                assert_eq!(covers[0], all, "{} {task:?}", model.kind());
                assert!(covers.iter().all(|c| *c >= 1.0));
                assert_eq!(again.covers().unwrap(), covers);
            }
            // As files were before covers: they load, and say that they have none.
            let mut old: serde_json::Value = serde_json::from_str(&text).unwrap();
            for tree in old["trees"].as_array_mut().unwrap() {
                tree.as_object_mut().unwrap().remove("cover").unwrap();
            }
            let old = load(&old.to_string()).unwrap();
            assert!(old.ensemble().unwrap().trees[0].covers().is_none());
        }
    }
}

/// A walk by the view ends where prediction ends.
#[test]
fn the_view_predicts_as_the_tree() {
    use super::view::{NodeView, goes_left};
    let (features, target) = distinct(Task::Multiclass, 200);
    let rows: Vec<u32> = (0..200).collect();
    let fills = vec![f64::NAN; features.len()];
    let data = TrainingSet {
        features: &features,
        target: &target,
        rows: &rows,
        weights: None,
        fills: &fills,
        limit: None,
    };
    let params = ForestParams {
        n_estimators: 4,
        ..ForestParams::default()
    };
    let model = params.build().unwrap().fit(&data, Seed::root(2)).unwrap();
    for tree in model.ensemble().unwrap().trees {
        for row in &rows {
            let mut values = vec![0.0; features.len()];
            features.decode_row(*row, &fills, &mut values);
            let mut at = 0;
            let found = loop {
                match tree.node(at) {
                    NodeView::Leaf { values } => break values,
                    NodeView::Inner {
                        feature,
                        test,
                        missing_left,
                        left,
                        right,
                    } => {
                        let left_here = goes_left(test, missing_left, values[feature]);
                        at = if left_here { left } else { right };
                    }
                }
            };
            assert_eq!(found, tree.predict(&values));
        }
    }
}

/// Leaves of thousands of rows are divided side by side where there are threads, before it is known whose turn it is.
#[test]
fn leaves_divided_side_by_side_give_the_same_trees() {
    let (features, target) = distinct(Task::Regression, 60_000);
    let rows: Vec<u32> = (0..60_000).collect();
    let data = TrainingSet {
        features: &features,
        target: &target,
        rows: &rows,
        weights: None,
        fills: &[f64::NAN; 2],
        limit: None,
    };
    for (max_leaves, max_depth, depth_wise) in
        [(2, 0, false), (7, 0, false), (40, 4, false), (13, 0, true)]
    {
        let params = GbtParams {
            n_estimators: 6,
            max_leaves,
            max_depth,
            growth: if depth_wise {
                Growth::DepthWise
            } else {
                Growth::LeafWise
            },
            subsample: 0.9,
            ..GbtParams::default()
        };
        let learner = params.build().unwrap();
        let saved = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| learner.fit(&data, Seed::root(3)).unwrap().save().unwrap())
        };
        let one = saved(1);
        for threads in [2, 3, 8] {
            assert!(
                saved(threads) == one,
                "{max_leaves} leaves on {threads} threads"
            );
        }
    }
}
