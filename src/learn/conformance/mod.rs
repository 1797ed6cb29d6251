//! The contract of [`Learner`](super::learner::Learner) and [`Model`] as a test that any learner can be put through.
//!
//! `conformance::run(&entry)` panics with a sentence about the first rule that is broken. It fits small tables only, a
//! few hundred rows, and takes seconds.

pub(super) mod made;
mod saved;

#[cfg(test)]
mod tests;

use crate::data::table::Task;

use super::learner::{LearnError, Model};
use super::table::LearnerEntry;
use made::{Made, bits, category, learner, number, preprocess, target};

const TASKS: [Task; 3] = [Task::Binary, Task::Multiclass, Task::Regression];

/// Puts a learner through the whole contract.
///
/// # Panics
/// At the first rule that is broken, naming the learner and the rule.
pub fn run(entry: &LearnerEntry) {
    other_tasks_are_refused(entry);
    for &task in entry.tasks {
        let made = Made::usual(task, &preprocess(entry), 400);
        threads_do_not_matter(entry, &made);
        every_way_of_predicting_agrees(entry, &made);
        predictions_are_of_their_kind(entry, &made);
        rows_of_weight_zero_do_not_matter(entry, &made);
        nothing_to_learn_from_is_an_error(entry, &made);
        fills_equal_an_imputed_table(entry, task);
        odd_shapes_are_fitted(entry, task);
        saved::run(entry, &made);
    }
    if entry.tasks.contains(&Task::Binary) {
        a_weight_of_two_is_a_row_twice(entry);
    }
    if entry.native {
        gaps_and_categories_are_learnt(entry);
    }
}

/// Fits on all rows.
fn fit(entry: &LearnerEntry, made: &Made) -> Box<dyn Model> {
    made.fit(&*learner(entry), &made.rows(), None, 1)
        .unwrap_or_else(|e| panic!("{}: a usual table must be fitted: {e}", entry.name))
}

fn save(entry: &LearnerEntry, model: &dyn Model) -> String {
    model
        .save()
        .unwrap_or_else(|e| panic!("{}: a fitted model must be saved: {e}", entry.name))
}

fn other_tasks_are_refused(entry: &LearnerEntry) {
    for task in TASKS.into_iter().filter(|t| !entry.tasks.contains(t)) {
        let made = Made::usual(task, &preprocess(entry), 100);
        let result = made.fit(&*learner(entry), &made.rows(), None, 1);
        assert!(
            matches!(result, Err(LearnError::Task { .. })),
            "{}: {task:?} is not in its tasks and must be refused",
            entry.name
        );
    }
}

fn threads_do_not_matter(entry: &LearnerEntry, made: &Made) {
    let saved = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool of a few threads can be made");
        pool.install(|| save(entry, &*fit(entry, made)))
    };
    let one = saved(1);
    for threads in [1, 2, 8] {
        assert!(
            saved(threads) == one,
            "{}: {:?}: the same seed on {threads} threads gives other bytes",
            entry.name,
            made.target.task
        );
    }
}

fn every_way_of_predicting_agrees(entry: &LearnerEntry, made: &Made) {
    let model = fit(entry, made);
    assert_eq!(model.kind(), entry.name, "a model's kind is its learner");
    assert_eq!(
        model.features(),
        made.features.len(),
        "{}: number of features",
        entry.name
    );
    let block = made.predict(&*model);
    assert!(
        bits(&block) == bits(&made.predict_from_table(&*model)),
        "{}: {:?}: a row of the matrix and the same row of the table predict differently",
        entry.name,
        made.target.task
    );
    let some: Vec<u32> = made.rows().into_iter().rev().step_by(3).collect();
    let width = model.width();
    let picked: Vec<f64> = some
        .iter()
        .flat_map(|&r| block[r as usize * width..][..width].to_vec())
        .collect();
    let alone = model.predict_rows(&made.features, &some, &made.fills);
    assert!(
        bits(&alone) == bits(&picked),
        "{}: a prediction depends on the rows beside it",
        entry.name
    );
    let mut matrix = vec![0.0; made.rows().len() * made.features.len()];
    for (row, out) in made
        .rows()
        .iter()
        .zip(matrix.chunks_exact_mut(made.features.len()))
    {
        made.features.decode_row(*row, &made.fills, out);
    }
    let mut at_once = vec![0.0; block.len()];
    model.predict_matrix(&matrix, &mut at_once);
    assert!(
        bits(&at_once) == bits(&block),
        "{}: rows of numbers are predicted otherwise than the same rows of the matrix",
        entry.name
    );
    let text = save(entry, &*model);
    let loaded = (entry.load)(&text)
        .unwrap_or_else(|e| panic!("{}: what was saved must load: {e}", entry.name));
    assert!(
        save(entry, &*loaded) == text,
        "{}: a loaded model is saved with other bytes",
        entry.name
    );
    loaded.predict_matrix(&matrix, &mut at_once);
    assert!(
        bits(&at_once) == bits(&block),
        "{}: a loaded model predicts rows of numbers otherwise",
        entry.name
    );
    assert_eq!(
        (loaded.kind(), loaded.width(), loaded.features()),
        (entry.name, width, made.features.len())
    );
    assert_eq!(loaded.importance(), model.importance(), "{}", entry.name);
    for predicted in [made.predict(&*loaded), made.predict_from_table(&*loaded)] {
        assert!(
            bits(&predicted) == bits(&block),
            "{}: a loaded model predicts other bits",
            entry.name
        );
    }
}

fn predictions_are_of_their_kind(entry: &LearnerEntry, made: &Made) {
    let model = fit(entry, made);
    valid(entry, made, &*model, "usual table");
    if let Some(shares) = model.importance() {
        assert_eq!(shares.len(), made.features.len(), "{}", entry.name);
        let sum: f64 = shares.iter().sum();
        assert!(
            shares.iter().all(|s| *s >= 0.0) && (sum - 1.0).abs() < 1e-9,
            "{}: importance must be shares that sum to 1, not {sum}",
            entry.name
        );
        let flat = made.features.columns.iter().position(|c| c.name == "flat");
        assert!(
            flat.is_none_or(|at| shares[at] == 0.0),
            "{}: a constant is important",
            entry.name
        );
    }
}

/// All predictions are finite, and probabilities where classes are predicted.
fn valid(entry: &LearnerEntry, made: &Made, model: &dyn Model, shape: &str) {
    let task = made.target.task;
    let place = format!("{}, {task:?}, {shape}", entry.name);
    let width = if task == Task::Multiclass {
        made.target.classes.len()
    } else {
        1
    };
    assert_eq!(model.width(), width, "{place}: width");
    let predicted = made.predict(model);
    assert!(
        bits(&predicted) == bits(&made.predict_from_table(model)),
        "{place}: a row of the matrix and the same row of the table predict differently"
    );
    assert!(
        predicted.iter().all(|p| p.is_finite()),
        "{place}: a prediction is not finite"
    );
    if task != Task::Regression {
        assert!(
            predicted.iter().all(|p| (0.0..=1.0).contains(p)),
            "{place}: a probability is outside of 0 to 1"
        );
    }
    if task == Task::Multiclass {
        for row in predicted.chunks_exact(width) {
            let sum: f64 = row.iter().sum();
            assert!(
                (sum - 1.0).abs() < 1e-9,
                "{place}: probabilities sum to {sum}"
            );
        }
    }
}

fn rows_of_weight_zero_do_not_matter(entry: &LearnerEntry, made: &Made) {
    let learner = learner(entry);
    let rows = made.rows();
    let weights: Vec<f64> = rows
        .iter()
        .map(|r| f64::from(u8::from(r % 4 != 1)))
        .collect();
    let kept: Vec<u32> = rows.iter().copied().filter(|r| r % 4 != 1).collect();
    let weighted = made.fit(&*learner, &rows, Some(&weights), 1);
    let without = made.fit(&*learner, &kept, None, 1);
    match (weighted, without) {
        (Ok(weighted), Ok(without)) => assert!(
            save(entry, &*weighted) == save(entry, &*without),
            "{}: {:?}: rows of weight 0 change the model",
            entry.name,
            made.target.task
        ),
        (a, b) => panic!(
            "{}: rows of weight 0 must be left out: {:?} {:?}",
            entry.name,
            a.err(),
            b.err()
        ),
    }
}

fn nothing_to_learn_from_is_an_error(entry: &LearnerEntry, made: &Made) {
    let learner = learner(entry);
    let nothing = vec![0.0; made.table.rows];
    for (rows, weights, what) in [
        (Vec::new(), None, "no rows"),
        (
            made.rows(),
            Some(nothing.as_slice()),
            "only rows of weight 0",
        ),
    ] {
        let result = made.fit(&*learner, &rows, weights, 1);
        assert!(
            matches!(result, Err(LearnError::Data { .. })),
            "{}: {what} must be an error about the data",
            entry.name
        );
    }
}

/// Learners whose result depends on the seed draw rows, which weights and copies do differently; the others must agree
/// but for limits that count rows: a single tree down to pure leaves turns a few of its predictions round for them.
fn a_weight_of_two_is_a_row_twice(entry: &LearnerEntry) {
    let spec = preprocess(entry);
    let once = Made::usual(Task::Binary, &spec, 250);
    let learner = learner(entry);
    let fitted = |seed| {
        let model = once.fit(&*learner, &once.rows(), None, seed);
        save(entry, &*model.expect("a usual table can be fitted"))
    };
    if fitted(1) != fitted(2) {
        return;
    }
    let twice = |row: u32| row.is_multiple_of(3);
    let weights: Vec<f64> = once
        .rows()
        .iter()
        .map(|&r| 1.0 + f64::from(u8::from(twice(r))))
        .collect();
    let mut copied = once.table.clone();
    let mut values = once.target.values.clone();
    for row in once.rows().into_iter().filter(|&r| twice(r)) {
        values.push(values[row as usize]);
        copied
            .columns
            .iter_mut()
            .for_each(|c| c.push(c[row as usize]));
    }
    let columns = copied
        .schema
        .fields
        .into_iter()
        .zip(copied.columns)
        .collect();
    let mut copied = Made::new(columns, target(Task::Binary, 2, values), &spec);
    // A median counts copies and knows no weights.
    copied.fills.clone_from(&once.fills);
    let by_weight = once.fit(&*learner, &once.rows(), Some(&weights), 1);
    let by_copy = copied.fit(&*learner, &copied.rows(), None, 1);
    // A learner may refuse weights that differ, but must not pass over them.
    let by_weight = match by_weight {
        Err(LearnError::Data { .. }) => return,
        other => other.expect("weighted rows can be fitted"),
    };
    let by_copy = by_copy.expect("repeated rows can be fitted");
    let (a, b) = (once.predict(&*by_weight), once.predict(&*by_copy));
    let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64;
    assert!(
        apart < 0.1,
        "{}: a weight of 2 and a row twice differ by {apart} on average",
        entry.name
    );
}

/// The area under the ROC curve by its definition, or the accuracy when there are several classes.
fn quality(made: &Made, model: &dyn Model) -> f64 {
    let predicted = made.predict(model);
    let truth = &made.target.values;
    let width = model.width();
    if width > 1 {
        let right = predicted.chunks_exact(width).zip(truth).filter(|(p, t)| {
            let best = p[**t as usize];
            p.iter().all(|other| *other <= best)
        });
        return right.count() as f64 / truth.len() as f64;
    }
    let (mut won, mut pairs) = (0.0, 0.0);
    for (p, _) in predicted.iter().zip(truth).filter(|(_, t)| **t == 1.0) {
        for (q, _) in predicted.iter().zip(truth).filter(|(_, t)| **t == 0.0) {
            pairs += 1.0;
            won += f64::from(u8::from(p > q)) + 0.5 * f64::from(u8::from(p == q));
        }
    }
    won / pairs
}

fn gaps_and_categories_are_learnt(entry: &LearnerEntry) {
    let rows = 400_usize;
    // A step that is coprime to the number of levels: the order of the rows says nothing.
    let noise: Vec<f64> = (0..rows).map(|i| (i * 37 % 101) as f64).collect();
    let level: Vec<f64> = (0..rows).map(|i| (i * 7 % 12) as f64).collect();
    let special = |l: f64| [1.0, 4.0, 5.0, 9.0].contains(&l);
    let half = |i: usize| i * 31 % 97 < 48;
    for &task in entry.tasks.iter().filter(|t| **t != Task::Regression) {
        let three = task == Task::Multiclass;
        let low = |i: usize| f64::from(u8::from(three && noise[i] > 50.0));
        let top = if three { 2.0 } else { 1.0 };
        let by_gap = (0..rows).map(|i| if half(i) { top } else { low(i) });
        let gaps = (0..rows).map(|i| if half(i) { f64::NAN } else { noise[i] });
        let by_level = (0..rows).map(|i| if special(level[i]) { top } else { low(i) });
        let cases = [
            (
                "a gap",
                number("x", gaps.collect()),
                by_gap.collect::<Vec<f64>>(),
            ),
            (
                "a set of levels",
                category("x", 12, level.clone()),
                by_level.collect(),
            ),
        ];
        for (what, column, values) in cases {
            let columns = vec![number("noise", noise.clone()), column];
            let made = Made::new(columns, target(task, 3, values), &preprocess(entry));
            let score = quality(&made, &*fit(entry, &made));
            assert!(
                score > 0.95,
                "{}: {task:?}: the signal of {what} must be learnt, but the score is {score}",
                entry.name
            );
        }
    }
}

/// A fill is applied to codes; it must do what writing the number into the table does, to the last bit.
fn fills_equal_an_imputed_table(entry: &LearnerEntry, task: Task) {
    let spec = crate::learn::preprocess::Preprocess {
        missing: crate::learn::preprocess::Missing::Median,
        ..preprocess(entry)
    };
    let mut with_gaps = Made::usual(task, &spec, 301);
    let at = with_gaps.table.schema.position("gap").expect("it is made");
    // An odd number of values: then the median is one of them and both tables have the same bins.
    let present = |m: &Made| m.table.columns[at].iter().filter(|v| !v.is_nan()).count();
    if present(&with_gaps) % 2 == 0 {
        with_gaps = Made::usual(task, &spec, 300);
    }
    if present(&with_gaps) % 2 == 0 {
        let mut columns = with_gaps.table.columns.clone();
        let first = columns[at].iter().position(|v| !v.is_nan());
        columns[at][first.expect("most values are there")] = f64::NAN;
        let columns = with_gaps
            .table
            .schema
            .fields
            .clone()
            .into_iter()
            .zip(columns);
        with_gaps = Made::new(columns.collect(), with_gaps.target, &spec);
    }
    let feature = with_gaps
        .features
        .columns
        .iter()
        .position(|c| c.name == "gap");
    let fill = with_gaps.fills[feature.expect("a numeric column is a feature")];
    let mut columns = with_gaps.table.columns.clone();
    for value in columns[at].iter_mut().filter(|v| v.is_nan()) {
        *value = fill;
    }
    let columns = with_gaps
        .table
        .schema
        .fields
        .clone()
        .into_iter()
        .zip(columns);
    let imputed = Made::new(columns.collect(), with_gaps.target.clone(), &spec);
    assert_eq!(
        imputed.features.binning, with_gaps.features.binning,
        "the case is made so that bins agree"
    );
    let (a, b) = (fit(entry, &with_gaps), fit(entry, &imputed));
    assert!(
        save(entry, &*a) == save(entry, &*b),
        "{}: {task:?}: a fill gives another model than a table with the number written in",
        entry.name
    );
    assert!(
        bits(&with_gaps.predict(&*a)) == bits(&imputed.predict(&*b)),
        "{}: {task:?}: a fill predicts something else than the number written in",
        entry.name
    );
}

fn odd_shapes_are_fitted(entry: &LearnerEntry, task: Task) {
    let spec = preprocess(entry);
    let ramp = |n: usize| (0..n).map(|i| (i % 50) as f64).collect::<Vec<f64>>();
    let mixed =
        |n: usize| (0..n).map(|i| (i * 7 % 3).min(if task == Task::Binary { 1 } else { 2 }) as f64);
    let of = |values: Vec<f64>| target(task, 3, values);
    let flat = || number("flat", vec![3.0; 60]);
    let all_missing = number("gone", vec![f64::NAN; 60]);
    let many: Vec<f64> = (0..600).map(|i| (i % 300) as f64).collect();
    let hot = crate::learn::preprocess::Preprocess {
        categories: crate::learn::preprocess::Categories::OneHot,
        ..spec.clone()
    };
    let shapes = [
        (
            "constant features",
            vec![flat()],
            mixed(60).collect::<Vec<f64>>(),
            &spec,
        ),
        (
            "a feature without a value",
            vec![all_missing, flat()],
            mixed(60).collect(),
            &spec,
        ),
        ("one row", vec![number("x", vec![1.0])], vec![1.0], &spec),
        (
            "one feature",
            vec![number("x", ramp(60))],
            mixed(60).collect(),
            &spec,
        ),
        (
            "two rows",
            vec![number("x", vec![1.0, 2.0])],
            vec![0.0, 1.0],
            &spec,
        ),
        (
            "one class",
            vec![number("x", ramp(60))],
            vec![1.0; 60],
            &spec,
        ),
        (
            "tied values",
            vec![number("x", [0.0, 0.1 + 0.2, 0.3].repeat(40))],
            mixed(120).collect(),
            &spec,
        ),
        (
            "huge values",
            vec![number("x", ramp(60).iter().map(|v| v * 1e300).collect())],
            mixed(60).collect(),
            &spec,
        ),
        (
            "300 levels",
            vec![category("x", 300, many), number("n", ramp(600))],
            mixed(600).collect(),
            &hot,
        ),
    ];
    for (shape, columns, values, spec) in shapes {
        let made = Made::new(columns, of(values), spec);
        match made.fit(&*learner(entry), &made.rows(), None, 1) {
            Ok(model) => valid(entry, &made, &*model, shape),
            Err(e) => assert!(!entry.native, "{}: {task:?}: {shape}: {e}", entry.name),
        }
    }
    // The last level and the largest numbers are in no training row.
    let levels: Vec<f64> = (0..90).map(|i| (i / 15) as f64).collect();
    let columns = vec![
        category("x", 6, levels),
        number("n", (0..90).map(f64::from).collect()),
    ];
    let train: Vec<u32> = (0..75).collect();
    let made = Made::with_training_rows(columns, of(mixed(90).collect()), &spec, &train);
    let model = made
        .fit(&*learner(entry), &train, None, 1)
        .unwrap_or_else(|e| panic!("{}: {task:?}: an unseen level: {e}", entry.name));
    valid(entry, &made, &*model, "an unseen level");
}
