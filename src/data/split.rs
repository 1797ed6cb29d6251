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
        "the holdout fraction must be above 0 and below 1, not {fraction}; write for example `holdout: {{fraction: 0.2}}`"
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
    #[error(
        "cross-validation needs at least 2 folds, not {folds}; write for example `cv: {{folds: 5}}`"
    )]
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
mod tests;
