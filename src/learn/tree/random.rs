//! Splits drawn at random, for extremely randomized trees (Geurts, Ernst and Wehenkel 2006).
//!
//! A threshold is uniform between the smallest and the largest value of a node, as far as bins tell: every bin stands for
//! its middle. Of levels without order a random part goes left, which is neither none nor all of those in the node.

use rand::Rng as _;

use super::Column;
use super::nodes::Split;
use crate::seed::Rng;

/// Draws a split of the `codes` of a node, ascending and at least one, and whether missing values go left. With a single
/// code there must be missing values, which part from it.
pub(crate) fn draw(
    column: &Column<'_>,
    codes: &[u8],
    any_missing: bool,
    rng: &mut Rng,
) -> (Split, bool) {
    let missing_left = any_missing && codes.len() > 1 && rng.next_u32() & 1 == 1;
    let split = match column.edges {
        Some(edges) => {
            let (first, last) = (codes[0], codes[codes.len() - 1]);
            let code = if first == last {
                (column.bins - 1) as u8
            } else {
                boundary(edges, first, last, rng)
            };
            let threshold = edges.get(usize::from(code)).copied().unwrap_or(f64::MAX);
            Split::AtMost { code, threshold }
        }
        None => Split::In(subset(codes, rng)),
    };
    (split, missing_left)
}

/// The largest code of the left side: `first..last`.
fn boundary(edges: &[f64], first: u8, last: u8, rng: &mut Rng) -> u8 {
    let (low, high) = (middle(edges, first), middle(edges, last));
    let share = (f64::from(rng.next_u32()) + 0.5) / 2_f64.powi(32);
    let drawn = low + (high - low) * share;
    if !drawn.is_finite() {
        // Values too far apart to be subtracted: every boundary is as likely.
        return first + (share * f64::from(last - first)) as u8;
    }
    // The number of codes after `first` whose middle is not above what was drawn.
    let (mut from, mut to) = (first, last - 1);
    while from < to {
        let half = from + (to - from).div_ceil(2);
        if middle(edges, half) <= drawn {
            from = half;
        } else {
            to = half - 1;
        }
    }
    from
}

/// The middle of a bin. The outer ones have one edge and are taken to be as wide as their neighbours.
fn middle(edges: &[f64], code: u8) -> f64 {
    let code = usize::from(code);
    let half = |a: f64, b: f64| b / 2.0 - a / 2.0;
    match edges {
        [] | [_] => code as f64,
        [first, second, ..] if code == 0 => first - half(*first, *second),
        [.., before, last] if code == edges.len() => last + half(*before, *last),
        _ => edges[code - 1] / 2.0 + edges[code] / 2.0,
    }
}

fn subset(codes: &[u8], rng: &mut Rng) -> [u64; 4] {
    let mut set = [0_u64; 4];
    let mut flip = |code: u8| set[usize::from(code >> 6)] ^= 1 << (code & 63);
    let mut taken = 0;
    for &code in codes {
        if rng.next_u32() & 1 == 1 {
            flip(code);
            taken += 1;
        }
    }
    if taken == 0 || taken == codes.len() {
        // None or all: one of them, drawn at random, changes sides. A single code goes left.
        let pick = ((u64::from(rng.next_u32()) * codes.len() as u64) >> 32) as usize;
        if codes.len() > 1 || taken == 0 {
            flip(codes[pick]);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::features::Features;
    use crate::learn::tree::nodes::in_set;
    use crate::seed::Seed;

    fn column(edges: Option<&[f64]>, bins: usize) -> Column<'_> {
        Column {
            codes: &[],
            bins,
            edges,
            fill: Features::MISSING,
            has_missing: true,
        }
    }

    #[test]
    fn thresholds_are_uniform_between_smallest_and_largest() {
        // Middles of the bins: 0, 1, 2, 6, 14; the node has the last four.
        let edges = [0.5, 1.5, 2.5, 9.5];
        let mut rng = Seed::root(1).rng();
        let mut counts = [0; 5];
        for _ in 0..40_000 {
            let (split, _) = draw(&column(Some(&edges), 5), &[1, 2, 3, 4], false, &mut rng);
            let Split::AtMost { code, threshold } = split else {
                panic!("a number has a threshold");
            };
            assert_eq!(threshold, edges[usize::from(code)]);
            counts[usize::from(code)] += 1;
        }
        let (one, four, seven) = (1.0 / 12.0, 4.0 / 12.0, 7.0 / 12.0);
        for (count, share) in counts.iter().zip([0.0, one, four, seven, 0.0]) {
            assert!(
                (f64::from(*count) / 40_000.0 - share).abs() < 0.01,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn some_levels_go_left_and_some_do_not() {
        let mut rng = Seed::root(2).rng();
        let codes = [3, 70, 200];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let (split, _) = draw(&column(None, 254), &codes, true, &mut rng);
            let Split::In(set) = split else {
                panic!("a category has a set");
            };
            let left = codes.map(|c| in_set(&set, c));
            assert!(left.contains(&true) && left.contains(&false));
            seen.insert(left);
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn one_value_parts_from_missing_ones() {
        let mut rng = Seed::root(3).rng();
        for _ in 0..20 {
            let (split, missing_left) = draw(&column(Some(&[1.0]), 2), &[1], true, &mut rng);
            assert!(matches!(split, Split::AtMost { code: 1, .. }) && !missing_left);
            let (split, missing_left) = draw(&column(None, 4), &[2], true, &mut rng);
            assert!(matches!(split, Split::In(set) if in_set(&set, 2)) && !missing_left);
        }
    }
}
