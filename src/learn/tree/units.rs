//! The histogram of a node over all features of a tree, and the best split in it.
//!
//! Features are added up in units: the members of a pack by one joint code, others each by its own. Units are added up a few
//! at a time, so that a row and its sum are read once for all of these.

use rayon::prelude::*;

use super::Column;
use super::histogram::{self, Table, add};
use super::rules::Rules;
use super::split::{Candidate, Criterion, Finder};
use super::sum::Sum;
use crate::learn::features::Pack;

/// Units that are added up together.
const GROUP: usize = 4;

/// Work for one histogram (rows × features) from which it pays to share it among threads.
const PARALLEL_WORK: usize = 400_000;

/// Rows that a thread takes at a time where it does little with each.
pub(super) const PARALLEL_ROWS: usize = 16_384;

/// Chosen features that are added up together: those of one pack, or a single one.
struct Unit {
    /// The pack and, for each of the features, its place in the pack.
    pack: Option<(usize, Vec<usize>)>,
    features: Vec<usize>,
    /// Places of the features in a histogram.
    slots: usize,
}

/// Memory for one histogram after another.
#[derive(Default)]
pub(super) struct Workspace {
    tables: Vec<Table>,
    gathered: Vec<Sum>,
}

/// The features of a tree, in the order of its histograms.
pub(super) struct Units<'a> {
    pub columns: &'a [Column<'a>],
    packs: &'a [Pack],
    units: Vec<Unit>,
    features: usize,
    /// Places of one histogram.
    slots: usize,
}

impl<'a> Units<'a> {
    /// `chosen` are positions of features, ascending.
    pub fn new(columns: &'a [Column<'a>], packs: &'a [Pack], chosen: &[usize]) -> Self {
        let slots = |features: &[usize]| features.iter().map(|&f| columns[f].slots()).sum();
        let mut units = Vec::new();
        let mut single = vec![true; chosen.len()];
        for (p, pack) in packs.iter().enumerate() {
            let (mut places, mut features) = (Vec::new(), Vec::new());
            for (place, &(feature, _)) in pack.members.iter().enumerate() {
                if let Ok(at) = chosen.binary_search(&usize::from(feature)) {
                    places.push((place, at));
                    features.push(usize::from(feature));
                }
            }
            if places.len() > 1 {
                places.iter().for_each(|(_, at)| single[*at] = false);
                let places = places.into_iter().map(|(place, _)| place).collect();
                units.push(Unit {
                    pack: Some((p, places)),
                    slots: slots(&features),
                    features,
                });
            }
        }
        let singles = chosen.iter().zip(single).filter(|(_, single)| *single);
        units.extend(singles.map(|(&f, _)| Unit {
            pack: None,
            slots: slots(&[f]),
            features: vec![f],
        }));
        Units {
            columns,
            packs,
            features: chosen.len(),
            slots: units.iter().map(|u| u.slots).sum(),
            units,
        }
    }

    /// What it costs to add up that many rows: rows × features.
    pub fn work(&self, rows: usize) -> usize {
        rows * self.features
    }

    /// Adds up `sums`, by row of the dataset, of the rows of a node by feature and code. If these are all, they ascend.
    pub fn histogram(
        &self,
        rows: &[u32],
        sums: &[Sum],
        total: Sum,
        workspace: &mut Workspace,
        slots: &mut Vec<Sum>,
    ) {
        slots.resize(self.slots, Sum::ZERO);
        let shared = self.work(rows.len()) >= PARALLEL_WORK && rayon::current_num_threads() > 1;
        // In the order of the rows, for every unit to read them in a line. All rows are in that order as they are.
        let gathered = &mut workspace.gathered;
        let of_row = |r: &u32| sums[*r as usize];
        let all = rows.len() == sums.len();
        if all {
            debug_assert!(rows.is_sorted());
        } else if shared {
            let rows = rows.par_iter().with_min_len(PARALLEL_ROWS);
            rows.map(of_row).collect_into_vec(gathered);
        } else {
            gathered.clear();
            gathered.extend(rows.iter().map(of_row));
        }
        let gathered: &[Sum] = if all { sums } else { gathered };
        let mut rest = slots.as_mut_slice();
        if rows.len() < histogram::PACK_ROWS {
            for &f in self.units.iter().flat_map(|u| &u.features) {
                let column = &self.columns[f];
                let (here, after) = rest.split_at_mut(column.slots());
                histogram::fill(column, rows, gathered, total, here);
                rest = after;
            }
            return;
        }
        let tables = &mut workspace.tables;
        tables.resize(self.units.len(), [Sum::ZERO; 256]);
        // As many groups as threads share evenly.
        let threads = if shared {
            rayon::current_num_threads()
        } else {
            1
        };
        let count = self.units.len().div_ceil(GROUP).next_multiple_of(threads);
        let (mut units, mut tables) = (&self.units[..], &mut tables[..]);
        let mut groups = Vec::with_capacity(count);
        for left in (1..=count).rev() {
            let take = units.len().div_ceil(left);
            let (these, after) = units.split_at(take);
            let (own, others) = std::mem::take(&mut tables).split_at_mut(take);
            (units, tables) = (after, others);
            let (here, after) = rest.split_at_mut(these.iter().map(|u| u.slots).sum());
            groups.push((these, own, here));
            rest = after;
        }
        let fill = |(units, tables, slots): (&[Unit], &mut [Table], &mut [Sum])| {
            self.fill(units, rows, gathered, tables, slots);
        };
        if shared {
            groups.into_par_iter().for_each(fill);
        } else {
            groups.into_iter().for_each(fill);
        }
    }

    /// The part of the histogram that belongs to at most [`GROUP`] units. The tables are clear before and after.
    fn fill(
        &self,
        units: &[Unit],
        rows: &[u32],
        sums: &[Sum],
        tables: &mut [Table],
        mut slots: &mut [Sum],
    ) {
        let codes = |unit: &Unit| match unit.pack {
            Some((pack, _)) => &self.packs[pack].codes[..],
            None => self.columns[unit.features[0]].codes,
        };
        match units {
            [a, b, c, d] => add([codes(a), codes(b), codes(c), codes(d)], rows, sums, tables),
            [a, b, c] => add([codes(a), codes(b), codes(c)], rows, sums, tables),
            [a, b] => add([codes(a), codes(b)], rows, sums, tables),
            units => units
                .iter()
                .zip(tables.chunks_mut(1))
                .for_each(|(unit, table)| add([codes(unit)], rows, sums, table)),
        }
        for (unit, table) in units.iter().zip(tables) {
            let (mut here, after) = slots.split_at_mut(unit.slots);
            slots = after;
            match &unit.pack {
                Some((pack, places)) => {
                    let mut wanted = places.iter().peekable();
                    histogram::take_pack(&self.packs[*pack], table, |place, by_code| {
                        if wanted.next_if_eq(&&place).is_some() {
                            let (one, others) =
                                std::mem::take(&mut here).split_at_mut(by_code.len());
                            one.copy_from_slice(by_code);
                            here = others;
                        }
                    });
                }
                None => histogram::take(&self.columns[unit.features[0]], table, here),
            }
        }
    }

    /// The best split in a histogram, if one is allowed.
    pub fn best(
        &self,
        criterion: &Criterion,
        slots: &[Sum],
        total: Sum,
        finder: &mut Finder,
    ) -> Option<Candidate> {
        let criterion = criterion.of_node(total);
        let mut found: Option<Candidate> = None;
        let mut at = 0;
        for &f in self.units.iter().flat_map(|u| &u.features) {
            let column = &self.columns[f];
            let here = &slots[at..at + column.slots()];
            at += column.slots();
            let missing = here.get(column.bins).copied().unwrap_or_default();
            let one = finder.best_of_histogram(
                &criterion,
                column,
                f as u16,
                &here[..column.bins],
                missing,
                total,
            );
            if let Some(one) = one
                && found.is_none_or(|b| (one.gain, b.feature) > (b.gain, one.feature))
            {
                // Of equal gains the first feature wins, in whatever order they are added up.
                found = Some(one);
            }
        }
        found
    }

    /// The best split in the histogram of a node of a tree that keeps rules.
    pub fn best_by_rules(
        &self,
        criterion: &Criterion,
        node: usize,
        slots: &[Sum],
        total: Sum,
        rules: &mut Rules<'_>,
        finder: &mut Finder,
    ) -> Option<Candidate> {
        let allowed = rules.features(node);
        let criterion = criterion.of_node(total);
        let mut found: Option<Candidate> = None;
        let mut at = 0;
        for &f in self.units.iter().flat_map(|u| &u.features) {
            let column = &self.columns[f];
            let here = &slots[at..at + column.slots()];
            at += column.slots();
            if allowed.binary_search(&f).is_err() {
                continue;
            }
            let missing = here.get(column.bins).copied().unwrap_or_default();
            let runs = &mut finder.runs;
            let here = &here[..column.bins];
            let one = rules.best(node, &criterion, column, f, here, runs, missing, total);
            if let Some(one) = one
                && found.is_none_or(|b| (one.gain, b.feature) > (b.gain, one.feature))
            {
                found = Some(one);
            }
        }
        found
    }
}
