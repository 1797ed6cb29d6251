//! Sizes and shares of splits, their errors, and what holds for any of them.

use super::*;
use proptest::prelude::*;

fn classes(values: &[usize]) -> Target {
    let count = values.iter().max().map_or(0, |m| m + 1);
    Target {
        name: "y".to_owned(),
        task: if count == 2 {
            Task::Binary
        } else {
            Task::Multiclass
        },
        classes: (0..count).map(|c| format!("c{c}")).collect(),
        values: values.iter().map(|&v| v as f64).collect(),
    }
}

fn numbers(count: usize) -> Target {
    Target {
        name: "y".to_owned(),
        task: Task::Regression,
        classes: Vec::new(),
        values: (0..count).map(|i| i as f64).collect(),
    }
}

fn count(target: &Target, rows: &[u32], class: usize) -> usize {
    let of_class = |r: &&u32| target.values[**r as usize] as usize == class;
    rows.iter().filter(of_class).count()
}

fn telco_like() -> Target {
    let values: Vec<usize> = (0..7043).map(|i| usize::from(i < 1869)).collect();
    classes(&values)
}

#[test]
fn holdout_has_the_sizes_of_scikit_learn() {
    let target = telco_like();
    let split = holdout(&target, 0.2, true, Seed::root(42)).unwrap();
    assert_eq!((split.train.len(), split.test.len()), (5634, 1409));
    assert_eq!(count(&target, &split.train, 1), 1495);
    assert_eq!(count(&target, &split.test, 1), 374);
    let other = holdout(&target, 0.2, true, Seed::root(43)).unwrap();
    assert_ne!(split, other);
    assert_eq!(split, holdout(&target, 0.2, true, Seed::root(42)).unwrap());
    let seventy = holdout(&numbers(70), 0.1, true, Seed::root(1)).unwrap();
    assert_eq!(seventy.test.len(), 7);
}

#[test]
fn the_rows_of_a_seed_never_change() {
    let folds = k_fold(
        &numbers(8),
        &[0, 1, 2, 3, 4, 5, 6, 7],
        4,
        1,
        false,
        Seed::root(7),
    )
    .unwrap();
    let tests: Vec<&[u32]> = folds.iter().map(|f| f.test.as_slice()).collect();
    assert_eq!(tests, GOLDEN, "stored studies rely on these rows");
}

const GOLDEN: [[u32; 2]; 4] = [[0, 7], [2, 3], [5, 6], [1, 4]];

#[test]
fn errors_say_what_to_type() {
    let rare = classes(&[0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]);
    let all: Vec<u32> = (0..12).collect();
    let seed = Seed::root(1);
    let message = |r: Result<Vec<Fold>, SplitError>| r.unwrap_err().to_string();
    assert_eq!(
        message(k_fold(&rare, &all, 5, 1, true, seed)),
        "class `c1` of target `y` has 3 rows to split, fewer than the 5 folds; write `folds: 3`, or `stratify: false`"
    );
    assert_eq!(
        message(k_fold(&rare, &all[..6], 2, 1, true, seed)),
        "class `c2` of target `y` has 0 rows to split, fewer than the 2 folds; \
         add rows, leave the class out, or write `stratify: false`"
    );
    assert!(k_fold(&rare, &all, 5, 1, false, seed).is_ok());
    assert_eq!(
        message(k_fold(&rare, &all, 1, 1, true, seed)),
        "cross-validation needs at least 2 folds, not 1; write for example `cv: {folds: 5}`"
    );
    assert_eq!(
        message(k_fold(&rare, &all, 13, 1, false, seed)),
        "12 rows cannot be split into 13 folds; write `folds: 12` or fewer"
    );
    assert_eq!(
        k_fold(&rare, &all, 2, 0, true, seed),
        Err(SplitError::Repeats)
    );
    for fraction in [0.0, 1.0, -0.5, f64::NAN] {
        let error = holdout(&rare, fraction, true, seed).unwrap_err();
        assert!(matches!(error, SplitError::Fraction { .. }));
    }
    let lonely = classes(&[0, 0, 0, 1]);
    assert_eq!(
        holdout(&lonely, 0.5, true, seed).unwrap_err().to_string(),
        "class `c1` of target `y` has 1 row to split, fewer than the 2 parts; \
         add rows, leave the class out, or write `stratify: false`"
    );
    assert_eq!(
        holdout(&numbers(1), 0.2, false, seed)
            .unwrap_err()
            .to_string(),
        "1 rows cannot be split into 0 to train on and 1 to hold out; add rows or change `holdout`"
    );
}

proptest! {
    #[test]
    fn folds_partition_the_rows_evenly(
        values in prop::collection::vec(0..3_usize, 12..200),
        skip in 0..5_u32,
        folds in 2..6_usize,
        repeats in 1..3_usize,
        stratify: bool,
        seed: u64,
    ) {
        let target = classes(&values);
        let rows: Vec<u32> = (skip..values.len() as u32).collect();
        let Ok(result) = k_fold(&target, &rows, folds, repeats, stratify, Seed::root(seed)) else {
            return Ok(());
        };
        prop_assert_eq!(result.len(), folds * repeats);
        for repeat in result.chunks(folds) {
            let mut together: Vec<u32> = repeat.iter().flat_map(|f| f.test.clone()).collect();
            together.sort_unstable();
            prop_assert_eq!(&together, &rows);
            let sizes = repeat.iter().map(|f| f.test.len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            for fold in repeat {
                let mut all = [fold.train.as_slice(), &fold.test].concat();
                all.sort_unstable();
                prop_assert_eq!(&all, &rows);
                prop_assert!(fold.train.is_sorted() && fold.test.is_sorted());
            }
            for class in 0..target.classes.len() {
                let counts = repeat.iter().map(|f| count(&target, &f.test, class));
                let spread = counts.clone().max().unwrap() - counts.min().unwrap();
                prop_assert!(!stratify || spread <= 1);
            }
        }
    }

    #[test]
    fn a_holdout_keeps_the_shares_of_classes(
        values in prop::collection::vec(0..4_usize, 10..300),
        percent in 5..95_u32,
        seed: u64,
    ) {
        let target = classes(&values);
        let fraction = f64::from(percent) / 100.0;
        let Ok(split) = holdout(&target, fraction, true, Seed::root(seed)) else {
            return Ok(());
        };
        let mut all = [split.train.as_slice(), &split.test].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..values.len() as u32).collect::<Vec<_>>());
        prop_assert!(split.train.is_sorted() && split.test.is_sorted());
        let share = split.test.len() as f64 / values.len() as f64;
        for class in 0..target.classes.len() {
            let total = values.iter().filter(|&&v| v == class).count();
            let expected = share * total as f64;
            let held = count(&target, &split.test, class) as f64;
            prop_assert!((held - expected).abs() < 1.0 + 1e-9);
        }
    }
}
