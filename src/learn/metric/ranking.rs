//! Metrics on the order of probabilities. Ties are exact: rows with equal probability are one step of the curve.

use crate::data::table::Task;

use super::{Case, Outcome};

const NO_POSITIVE: &str = "no row is of the positive class";
const ONE_CLASS: &str = "all rows are of one class";
const MISSING_CLASS: &str = "a class has no row, or no row of another class beside it";

/// A probability and the truth in one number whose order is the order of the probabilities.
///
/// The bits of a float of at least 0 order like the float, and up to 1.0 the two highest bits are 0; so there is room for
/// the truth in the lowest bit. Sorting plain `u64` is several times faster than sorting rows by a key.
fn key(p: f64, positive: bool) -> u64 {
    // Adding 0.0 turns -0.0 into 0.0, whose bits would be out of order.
    ((p + 0.0).to_bits() << 1) | u64::from(positive)
}

/// The probability of a key.
fn probability(key: u64) -> f64 {
    f64::from_bits(key >> 1)
}

/// Calls `step(key, positives, negatives)` for each group of equal probability, from the lowest; `key` is one of the group.
fn steps(keys: &[u64], mut step: impl FnMut(u64, u64, u64)) {
    for group in keys.chunk_by(|a, b| a >> 1 == b >> 1) {
        // The positives of a group are last, because the truth is the lowest bit.
        let negatives = group.partition_point(|k| k & 1 == 0);
        step(group[0], (group.len() - negatives) as u64, negatives as u64);
    }
}

/// Area under the ROC curve from keys in any order: the Mann-Whitney statistic in whole numbers, so only the last
/// division rounds.
fn auc(keys: &mut [u64]) -> Option<f64> {
    keys.sort_unstable();
    // Twice the number of pairs in the right order, ties counting once. At most 2·(2³¹)² = 2⁶³: no overflow.
    let (mut pairs, mut below, mut all_positives) = (0_u64, 0_u64, 0_u64);
    steps(keys, |_, positives, negatives| {
        pairs += positives * (2 * below + negatives);
        below += negatives;
        all_positives += positives;
    });
    (all_positives > 0 && below > 0)
        .then(|| pairs as f64 / (2.0 * all_positives as f64 * below as f64))
}

/// The sums of the weights of positives and negatives for each group of equal probability, from the highest.
fn weighted_steps(
    case: &Case<'_>,
    p: impl Fn(usize) -> f64,
    positive: impl Fn(usize) -> bool,
) -> Vec<(f64, f64)> {
    let mut order: Vec<(u64, u32)> = (0..case.truth.len())
        .map(|row| (key(p(row), false), row as u32))
        .collect();
    // Rows of one group stay in row order, which fixes the order of the sums.
    order.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    order
        .chunk_by(|a, b| a.0 == b.0)
        .map(|group| {
            let (mut positives, mut negatives) = (0.0, 0.0);
            for &(_, row) in group {
                if positive(row as usize) {
                    positives += case.weight(row as usize);
                } else {
                    negatives += case.weight(row as usize);
                }
            }
            (positives, negatives)
        })
        .collect()
}

fn weighted_auc(steps: &[(f64, f64)]) -> Option<f64> {
    let (mut area, mut above, mut all_negatives) = (0.0, 0.0, 0.0);
    for &(positives, negatives) in steps {
        area += negatives * (above + 0.5 * positives);
        above += positives;
        all_negatives += negatives;
    }
    (above > 0.0 && all_negatives > 0.0).then(|| area / (above * all_negatives))
}

/// The mean over the positives of the precision at their place in the order.
fn precision_steps(steps: impl Iterator<Item = (f64, f64)>, all_positives: f64) -> Option<f64> {
    if all_positives <= 0.0 {
        return None;
    }
    let (mut sum, mut found, mut called) = (0.0, 0.0, 0.0);
    for (positives, negatives) in steps {
        found += positives;
        called += positives + negatives;
        if positives > 0.0 {
            sum += positives / all_positives * (found / called);
        }
    }
    Some(sum)
}

/// The one-vs-rest mean of `of(class, keys)` over classes, or `of(1, ..)` for a binary task. The buffer is reused.
fn by_class(
    case: &Case<'_>,
    mut of: impl FnMut(usize, &mut Vec<u64>) -> Option<f64>,
) -> Option<f64> {
    let mut keys = Vec::with_capacity(case.truth.len());
    if case.scores.task == Task::Binary {
        return of(1, &mut keys);
    }
    let mut sum = 0.0;
    for class in 0..case.scores.width {
        sum += of(class, &mut keys)?;
    }
    Some(sum / case.scores.width as f64)
}

/// The probability of `class` in a row.
fn column<'a>(case: &'a Case<'_>, class: usize) -> impl Fn(usize) -> f64 + 'a {
    let width = case.scores.width;
    let offset = if case.scores.task == Task::Binary {
        0
    } else {
        class
    };
    move |row| case.scores.values[row * width + offset]
}

fn fill(case: &Case<'_>, class: usize, keys: &mut Vec<u64>) {
    let p = column(case, class);
    keys.clear();
    keys.extend(
        case.truth
            .iter()
            .enumerate()
            .map(|(row, &t)| key(p(row), t as usize == class)),
    );
}

/// Area under the ROC curve.
pub(super) fn roc_auc(case: &Case<'_>) -> Outcome {
    let area = by_class(case, |class, keys| {
        if case.weights.is_some() {
            let is = |row: usize| case.truth[row] as usize == class;
            return weighted_auc(&weighted_steps(case, column(case, class), is));
        }
        fill(case, class, keys);
        auc(keys)
    });
    area.ok_or(if case.scores.task == Task::Binary {
        ONE_CLASS
    } else {
        MISSING_CLASS
    })
}

/// Average precision: the precision at each distinct probability, weighted by the recall gained there.
pub(super) fn average_precision(case: &Case<'_>) -> Outcome {
    let mean = by_class(case, |class, keys| {
        if case.weights.is_some() {
            let is = |row: usize| case.truth[row] as usize == class;
            let steps = weighted_steps(case, column(case, class), is);
            let all = steps.iter().map(|s| s.0).sum();
            return precision_steps(steps.into_iter(), all);
        }
        fill(case, class, keys);
        keys.sort_unstable();
        let mut groups = Vec::new();
        steps(keys, |_, positives, negatives| {
            groups.push((positives as f64, negatives as f64));
        });
        let all = groups.iter().map(|g| g.0).sum();
        precision_steps(groups.into_iter().rev(), all)
    });
    mean.ok_or(NO_POSITIVE)
}

/// See [`super::best_f1_threshold`].
pub(super) fn best_f1_threshold(truth: &[f64], p: &[f64]) -> Result<(f64, f64), &'static str> {
    let mut keys: Vec<u64> = truth
        .iter()
        .zip(p)
        .map(|(&t, &p)| key(p, t == 1.0))
        .collect();
    keys.sort_unstable();
    let mut groups = Vec::new();
    let mut all = 0;
    steps(&keys, |first, positives, negatives| {
        groups.push((probability(first), positives, negatives));
        all += positives;
    });
    if all == 0 {
        return Err(NO_POSITIVE);
    }
    groups.reverse();
    // F1 = 2·found / (called + all), compared as fractions in whole numbers: no rounding decides.
    let (mut best, mut place) = ((0_u64, 1_u64), 0);
    let (mut found, mut called) = (0, 0);
    for (i, &(_, positives, negatives)) in groups.iter().enumerate() {
        found += positives;
        called += positives + negatives;
        let f1 = (2 * found, called + all);
        if u128::from(f1.0) * u128::from(best.1) > u128::from(best.0) * u128::from(f1.1) {
            (best, place) = (f1, i);
        }
    }
    let threshold = match groups.get(place + 1) {
        None => 0.0,
        Some(&(low, ..)) => {
            let high = groups[place].0;
            let middle = low + (high - low) / 2.0;
            // Between two neighbouring floats there is nothing.
            if middle > low { middle } else { high }
        }
    };
    Ok((threshold, best.0 as f64 / best.1 as f64))
}
