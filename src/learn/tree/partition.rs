//! Rows of a node stay together: splitting a node is a stable partition of its slice.

use super::nodes::{Split, in_set};
use super::sum::Sum;
use super::{Column, binary};
use crate::learn::features::Features;

/// Scratch space that partitions reuse.
#[derive(Default)]
pub(crate) struct Spare {
    rows: Vec<u32>,
    sums: Vec<Sum>,
}

/// Moves the rows that go left to the front, keeping the order on both sides, and returns how many they are.
/// `sums` go with their rows, unless there are none. With `WORDS`, rows are the words of [`binary`].
pub(crate) fn partition<const WORDS: bool>(
    column: &Column<'_>,
    split: &Split,
    missing_left: bool,
    rows: &mut [u32],
    sums: Option<&mut [Sum]>,
    spare: &mut Spare,
) -> usize {
    let row = |word: u32| if WORDS { binary::row(word) } else { word };
    match split {
        Split::AtMost { code, .. } if !column.has_missing => by(rows, sums, spare, |word| {
            column.codes[row(word) as usize] <= *code
        }),
        Split::AtMost { code, .. } => by(rows, sums, spare, |word| {
            let c = column.code(row(word));
            if c == Features::MISSING {
                missing_left
            } else {
                c <= *code
            }
        }),
        Split::In(set) => by(rows, sums, spare, |word| {
            let c = column.code(row(word));
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
    sums: Option<&mut [Sum]>,
    spare: &mut Spare,
    left: impl Fn(u32) -> bool,
) -> usize {
    let n = rows.len();
    if spare.rows.len() < n {
        spare.rows.resize(n, 0);
    }
    let spare_rows = &mut spare.rows[..n];
    // Both places are written every time and only one advances: no branch to mispredict. The left place never
    // overtakes the reading one.
    let (mut lefts, mut rights) = (0, 0);
    let Some(sums) = sums else {
        for i in 0..n {
            let row = rows[i];
            let goes_left = left(row);
            rows[lefts] = row;
            spare_rows[rights] = row;
            lefts += usize::from(goes_left);
            rights += usize::from(!goes_left);
        }
        rows[lefts..].copy_from_slice(&spare_rows[..rights]);
        return lefts;
    };
    if spare.sums.len() < n {
        spare.sums.resize(n, Sum::ZERO);
    }
    let (sums, spare_sums) = (&mut sums[..n], &mut spare.sums[..n]);
    for i in 0..n {
        let (row, sum) = (rows[i], sums[i]);
        let goes_left = left(row);
        rows[lefts] = row;
        sums[lefts] = sum;
        spare_rows[rights] = row;
        spare_sums[rights] = sum;
        lefts += usize::from(goes_left);
        rights += usize::from(!goes_left);
    }
    rows[lefts..].copy_from_slice(&spare_rows[..rights]);
    sums[lefts..].copy_from_slice(&spare_sums[..rights]);
    lefts
}
