//! Rows of a node stay together: splitting a node is a stable partition of its slice.

use super::Column;
use super::nodes::{Split, in_set};
use super::sum::Sum;
use crate::learn::features::Features;

/// Moves the rows that go left to the front, keeping the order on both sides, and returns how many they are.
/// `spare` is scratch space of any length.
pub(crate) fn partition(
    column: &Column<'_>,
    split: &Split,
    missing_left: bool,
    rows: &mut [u32],
    sums: &mut [Sum],
    spare: &mut Vec<(u32, Sum)>,
) -> usize {
    match split {
        Split::AtMost { code, .. } if !column.has_missing => {
            by(rows, sums, spare, |row| column.codes[row as usize] <= *code)
        }
        Split::AtMost { code, .. } => by(rows, sums, spare, |row| {
            let c = column.code(row);
            if c == Features::MISSING {
                missing_left
            } else {
                c <= *code
            }
        }),
        Split::In(set) => by(rows, sums, spare, |row| {
            let c = column.code(row);
            if c == Features::MISSING {
                missing_left
            } else {
                in_set(set, c)
            }
        }),
    }
}

#[inline(always)]
fn by(
    rows: &mut [u32],
    sums: &mut [Sum],
    spare: &mut Vec<(u32, Sum)>,
    left: impl Fn(u32) -> bool,
) -> usize {
    let n = rows.len();
    if spare.len() < n {
        spare.resize(n, (0, Sum::ZERO));
    }
    let spare = &mut spare[..n];
    // Both places are written every time and only one advances: no branch to mispredict. The left place never
    // overtakes the reading one.
    let (mut lefts, mut rights) = (0, 0);
    for i in 0..n {
        let (row, sum) = (rows[i], sums[i]);
        let goes_left = left(row);
        rows[lefts] = row;
        sums[lefts] = sum;
        spare[rights] = (row, sum);
        lefts += usize::from(goes_left);
        rights += usize::from(!goes_left);
    }
    for (i, (row, sum)) in spare[..rights].iter().enumerate() {
        rows[lefts + i] = *row;
        sums[lefts + i] = *sum;
    }
    lefts
}
