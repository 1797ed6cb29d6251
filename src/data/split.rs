//! Splits: a holdout that is kept back, and the folds of cross-validation.
//!
//! **Contract.** A split is a function of the target, the rows, the options and the seed. Parts are ascending, disjoint,
//! and together all rows. Sizes of folds differ by at most one, and so do, when stratified, the rows of each class in
//! them. A regression target is never stratified.

use rand::Rng as _;

use crate::seed::{Rng, Seed};

use super::table::{Target, Task};

/// Why rows cannot be split as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A share that leaves a part empty.
    #[error(
        "the holdout fraction must be above 0 and below 1, not {fraction}; write for example `holdout: 0.2`"
    )]
    Fraction {
        /// The fraction given.
        fraction: f64,
    },
    /// So few rows that one part would be empty.
    #[error(
        "{rows} rows cannot be split into {train} to train on and {test} to hold out; add rows or change `holdout`"
    )]
    TooFewRows {
        /// Rows there are.
        rows: usize,
        /// Rows to train on.
        train: usize,
        /// Rows to hold out.
        test: usize,
    },
    /// One fold is no cross-validation.
    #[error("cross-validation needs at least 2 folds, not {folds}; write for example `folds: 5`")]
    Folds {
        /// The number given.
        folds: usize,
    },
    /// No repeat is no cross-validation.
    #[error("cross-validation needs at least 1 repeat; write `repeats: 1`")]
    Repeats,
    /// More folds than rows.
    #[error("{rows} rows cannot be split into {folds} folds; write `folds: {rows}` or fewer")]
    MoreFoldsThanRows {
        /// The number of folds given.
        folds: usize,
        /// Rows there are.
        rows: usize,
    },
    /// A class that cannot be in every part.
    #[error(
        "class `{class}` of target `{target}` has {count} {} to split, fewer than the {needed} {what}; {advice}",
        if *count == 1 { "row" } else { "rows" }
    )]
    RareClass {
        /// The target.
        target: String,
        /// The class.
        class: String,
        /// Rows of the class.
        count: usize,
        /// Rows it needs.
        needed: usize,
        /// What there are as many of, as in "folds".
        what: &'static str,
        /// What to write instead.
        advice: String,
    },
}

/// A training part and a part that is kept back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from, ascending.
    pub train: Vec<u32>,
    /// Rows kept back, ascending.
    pub test: Vec<u32>,
}

/// One fold of cross-validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Which repeat, from 0.
    pub repeat: usize,
    /// Which fold of the repeat, from 0.
    pub fold: usize,
    /// Rows to learn from, ascending.
    pub train: Vec<u32>,
    /// Rows to score on, ascending.
    pub test: Vec<u32>,
}

/// Keeps back `ceil(fraction · n)` of all `n` rows. Stratified, every class gives its share, the odd rows going to the
/// classes with the largest remainders, as scikit-learn does.
///
/// # Errors
/// A fraction outside of (0, 1), too few rows, and stratified a class with a single row.
pub fn holdout(
    target: &Target,
    fraction: f64,
    stratify: bool,
    seed: Seed,
) -> Result<Split, SplitError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(SplitError::Fraction { fraction });
    }
    let rows = target.values.len();
    // 0.1 · 70 is slightly above 7 in floating point; that is no reason for an eighth row.
    let test = (fraction * rows as f64 - 1e-9).ceil() as usize;
    let train = rows.saturating_sub(test);
    if train == 0 || test == 0 {
        return Err(SplitError::TooFewRows { rows, train, test });
    }
    let all: Vec<u32> = (0..rows as u32).collect();
    let groups = groups(target, &all, stratify);
    if groups.len() > 1 {
        let advice = "add rows, leave the class out, or write `stratify: false`";
        check_classes(target, &groups, 2, "parts", advice)?;
    }
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let shares = largest_remainders(&sizes, train);
    let mut rng = seed.child("holdout", 0).rng();
    let mut split = Split {
        train: Vec::with_capacity(train),
        test: Vec::with_capacity(test),
    };
    for (mut group, share) in groups.into_iter().zip(shares) {
        shuffle(&mut group, &mut rng);
        split.train.extend_from_slice(&group[..share]);
        split.test.extend_from_slice(&group[share..]);
    }
    split.train.sort_unstable();
    split.test.sort_unstable();
    Ok(split)
}

/// Cross-validation of `rows`: `repeats` times `folds` folds, each repeat shuffled anew; in order of repeat and fold.
/// `rows` are positions in the target, without repeats.
///
/// # Errors
/// Fewer than 2 folds, no repeat, more folds than rows, and stratified a class with fewer rows than folds.
pub fn k_fold(
    target: &Target,
    rows: &[u32],
    folds: usize,
    repeats: usize,
    stratify: bool,
    seed: Seed,
) -> Result<Vec<Fold>, SplitError> {
    if folds < 2 {
        return Err(SplitError::Folds { folds });
    }
    if repeats == 0 {
        return Err(SplitError::Repeats);
    }
    if folds > rows.len() {
        return Err(SplitError::MoreFoldsThanRows {
            folds,
            rows: rows.len(),
        });
    }
    let groups = groups(target, rows, stratify);
    if groups.len() > 1 {
        let rarest = groups.iter().map(Vec::len).min().unwrap_or(0);
        let advice = if rarest < 2 {
            "add rows, leave the class out, or write `stratify: false`".to_owned()
        } else {
            format!("write `folds: {rarest}`, or `stratify: false`")
        };
        check_classes(target, &groups, folds, "folds", &advice)?;
    }
    let mut result = Vec::with_capacity(folds * repeats);
    // The fold of each place in `rows`.
    let mut places: Vec<(u32, usize)> = Vec::with_capacity(rows.len());
    for repeat in 0..repeats {
        let mut rng = seed.child("repeat", repeat as u64).rng();
        places.clear();
        // Dealing the shuffled classes one after the other like cards keeps both the folds and the classes even.
        for group in &groups {
            let mut group = group.clone();
            shuffle(&mut group, &mut rng);
            for row in group {
                places.push((row, places.len() % folds));
            }
        }
        places.sort_unstable();
        for fold in 0..folds {
            let part = |test: bool| {
                places
                    .iter()
                    .filter(|(_, f)| (*f == fold) == test)
                    .map(|(row, _)| *row)
                    .collect()
            };
            result.push(Fold {
                repeat,
                fold,
                train: part(false),
                test: part(true),
            });
        }
    }
    Ok(result)
}

/// The rows of each class, or all rows as one group.
fn groups(target: &Target, rows: &[u32], stratify: bool) -> Vec<Vec<u32>> {
    if !stratify || target.task == Task::Regression {
        return vec![rows.to_vec()];
    }
    let mut groups = vec![Vec::new(); target.classes.len()];
    for &row in rows {
        groups[target.values[row as usize] as usize].push(row);
    }
    groups
}

fn check_classes(
    target: &Target,
    groups: &[Vec<u32>],
    needed: usize,
    what: &'static str,
    advice: &str,
) -> Result<(), SplitError> {
    let rarest = groups.iter().enumerate().min_by_key(|(_, g)| g.len());
    match rarest {
        Some((class, group)) if group.len() < needed => Err(SplitError::RareClass {
            target: target.name.clone(),
            class: target.classes[class].clone(),
            count: group.len(),
            needed,
            what,
            advice: advice.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Shares of `total` in proportion to `sizes`, rounded so that they sum to `total`; of equal remainders the first class
/// gets the row.
fn largest_remainders(sizes: &[usize], total: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    // Exact in whole numbers: the remainder of size · total / all.
    let exact = |size: usize| size as u128 * total as u128;
    let mut shares: Vec<usize> = sizes
        .iter()
        .map(|&s| (exact(s) / all as u128) as usize)
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(exact(sizes[i]) % all as u128));
    let rest = total - shares.iter().sum::<usize>();
    for &i in order.iter().take(rest) {
        shares[i] += 1;
    }
    shares
}

/// Fisher–Yates. Written out because the order it gives must never change.
fn shuffle(rows: &mut [u32], rng: &mut Rng) {
    for i in (1..rows.len()).rev() {
        // A number in 0..=i; the bias of multiplying is below 2⁻³² for 32-bit row numbers.
        let j = ((u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64) as usize;
        rows.swap(i, j);
    }
}

#[cfg(test)]
mod tests {
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
            "cross-validation needs at least 2 folds, not 1; write for example `folds: 5`"
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
}
