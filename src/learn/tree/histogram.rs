//! Histograms: the sum of the rows of a node by code of one feature.

use std::ops::AddAssign;

use super::Column;
use super::sum::Sum;
use crate::learn::features::{Features, Pack};

/// Adds up `sums` by code into `slots`, which has [`Column::slots`] places and is overwritten. The last place is that of
/// missing values where the column has any; with a fill it is empty and its rows are at the fill.
pub(crate) fn fill(column: &Column<'_>, rows: &[u32], sums: &[Sum], total: Sum, slots: &mut [Sum]) {
    debug_assert_eq!(slots.len(), column.slots());
    let codes = column.codes;
    if !column.has_missing {
        if let [zero, one] = slots {
            // Two codes need no table: the rows of code 1 are summed in registers and the rest is a difference.
            *one = sum_of_ones(codes, rows, sums);
            *zero = total - *one;
            return;
        }
        slots.fill(Sum::ZERO);
        for (&row, &sum) in rows.iter().zip(sums) {
            slots[usize::from(codes[row as usize])] += sum;
        }
        return;
    }
    slots.fill(Sum::ZERO);
    let missing = column.bins;
    for (&row, &sum) in rows.iter().zip(sums) {
        slots[usize::from(codes[row as usize]).min(missing)] += sum;
    }
    if usize::from(column.fill) < missing {
        let there = std::mem::take(&mut slots[missing]);
        slots[usize::from(column.fill)] += there;
    }
}

/// From this many rows on, reading them once for a whole pack is faster than once for each of its members.
pub(crate) const PACK_ROWS: usize = 96;

/// Sums by code, one place for every code there can be.
pub(crate) type Table = [Sum; 256];

/// Adds up `sums` by the codes of several columns at once, a table for each: a row and its sum are read once for all of
/// them. Missing values are at [`Features::MISSING`].
pub(crate) fn add<const N: usize>(
    codes: [&[u8]; N],
    rows: &[u32],
    sums: &[Sum],
    tables: &mut [Table],
) {
    let Some(tables) = tables.first_chunk_mut::<N>() else {
        return;
    };
    for (&row, &sum) in rows.iter().zip(sums) {
        for (codes, table) in codes.iter().zip(tables.iter_mut()) {
            table[usize::from(codes[row as usize])] += sum;
        }
    }
}

/// Moves the sums of `column` from a `table` to its `slots`, as [`fill`] would have left them, and clears the table.
pub(crate) fn take(column: &Column<'_>, table: &mut Table, slots: &mut [Sum]) {
    let (bins, missing) = slots.split_at_mut(column.bins);
    bins.copy_from_slice(&table[..column.bins]);
    table[..column.bins].fill(Sum::ZERO);
    let there = std::mem::take(&mut table[usize::from(Features::MISSING)]);
    if let [missing] = missing {
        *missing = Sum::ZERO;
        match bins.get_mut(usize::from(column.fill)) {
            Some(filled) => *filled += there,
            None => *missing = there,
        }
    }
}

/// Adds up `sums` by the joint code of a pack and calls `each` with the position of every member in the pack and its
/// sums by code.
pub(crate) fn fill_pack(pack: &Pack, rows: &[u32], sums: &[Sum], each: impl FnMut(usize, &[Sum])) {
    let mut joint = [[Sum::ZERO; 256]];
    add([&pack.codes], rows, sums, &mut joint);
    take_pack(pack, &mut joint[0], each);
}

/// Calls `each` with the position of every member of the pack and its sums by code, and clears the table of joint codes.
pub(crate) fn take_pack<T: Copy + Default + AddAssign>(
    pack: &Pack,
    joint: &mut [T; 256],
    mut each: impl FnMut(usize, &[T]),
) {
    // The slowest member's sums are those of consecutive stretches. Adding the stretches up leaves the joint histogram
    // of the other members.
    let mut size = pack.size;
    for (member, &(_, bins)) in pack.members.iter().enumerate() {
        let rest = size / bins;
        let mut by_code = [T::default(); 8];
        let (first, others) = joint[..size].split_at_mut(rest);
        for sum in &*first {
            by_code[0] += *sum;
        }
        for (total, stretch) in by_code[1..].iter_mut().zip(others.chunks_exact_mut(rest)) {
            for (into, sum) in first.iter_mut().zip(stretch) {
                *total += *sum;
                *into += std::mem::take(sum);
            }
        }
        each(member, &by_code[..bins]);
        size = rest;
    }
    joint[0] = T::default();
}

/// The sum of the rows whose code is 1, for a column whose codes are 0 and 1.
pub(crate) fn sum_of_ones(codes: &[u8], rows: &[u32], sums: &[Sum]) -> Sum {
    let mut ones = Sum::ZERO;
    for (&row, &sum) in rows.iter().zip(sums) {
        ones += sum.masked(u64::from(codes[row as usize]).wrapping_neg());
    }
    ones
}

/// The sibling's histogram: `whole` minus `part`, in place of `whole`.
pub(crate) fn subtract(whole: &mut [Sum], part: &[Sum]) {
    for (w, p) in whole.iter_mut().zip(part) {
        *w = *w - *p;
    }
}
