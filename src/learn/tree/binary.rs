//! Gini impurity of two classes whose rows weigh whole numbers, as a bootstrap leaves them: the common case of forests.
//!
//! A row, its class and how often it was drawn fit into one word, and a sum of rows into another one. So nothing but
//! words moves when a node is split, several features are added up in one pass over them, and a node's sum tells whether it
//! is pure. The trees are those of `Variance`, bit by bit.

use super::Column;
use super::depth_first::{Impurity, MAX_TIMES, Offer, offer_of_runs};
use super::histogram;
use super::split::{Criterion, Finder};
use super::sum::{FixedPoint, Sum};
use crate::learn::features::{Features, Pack};
use crate::seed::Rng;

/// Whether rows fit: sums of counts and weights have 21 bits, positions in the dataset 24.
pub(crate) fn fits(rows: usize, dataset: usize) -> bool {
    rows < 1 << FIELD && dataset <= 1 << ROW_BITS
}

const ROW_BITS: u32 = 24;
const ROW_MASK: u32 = (1 << ROW_BITS) - 1;

/// A row in 24 bits, its class in the next one, and above them how often it was drawn.
pub(crate) fn word(row: u32, class: bool, times: u32) -> u32 {
    row | u32::from(class) << ROW_BITS | times << (ROW_BITS + 1)
}

/// The row of a word.
#[inline(always)]
pub(super) fn row(word: u32) -> u32 {
    word & ROW_MASK
}

/// Sums over rows are packed too: the weight of class 1, above it the weight of both classes, above that the rows.
const FIELD: u32 = 21;

fn unpacked(sum: u64) -> Sum {
    let field = |at: u32| sum >> (at * FIELD) & ((1 << FIELD) - 1);
    Sum::of(field(0) as i64, field(1), field(2) as u32)
}

/// What a word adds, by its upper byte.
static ADDS: [u64; 256] = {
    let mut adds = [0; 256];
    let mut upper = 0;
    while upper < 256 {
        let (class, times) = (upper as u64 & 1, upper as u64 >> 1);
        adds[upper] = (1 << (2 * FIELD)) | (times << FIELD) | (times * class);
        upper += 1;
    }
    adds
};
const _: () = assert!(MAX_TIMES < 128, "times have 7 bits");

/// Sums by code; empty between two nodes.
type Table = [u64; 256];

/// From this many rows on a table is read from end to end, below them by the codes that rows have.
const DENSE: usize = 96;

/// Where the sums of a feature are.
#[derive(Clone, Copy)]
enum Place {
    /// In the table with this number.
    Table(usize),
    /// In a pack, at this member.
    Member(usize, usize),
}

/// See the module.
pub(crate) struct Binary<'a> {
    columns: &'a [Column<'a>],
    packs: &'a [Pack],
    /// The pack of each feature and its member, for packs that are worth reading whole.
    packed: &'a [Option<(usize, usize)>],
    criterion: Criterion,
    /// Of the node entered last.
    total: Sum,
    /// What is added up in this pass.
    codes: Vec<&'a [u8]>,
    tables: Vec<Table>,
    /// The codes that rows have, by table; only of small nodes.
    used: Vec<[u64; 4]>,
    /// By feature in the order of the draw.
    places: Vec<Place>,
    /// Sums by code of the members of each pack in the node entered last; empty until one is asked for.
    by_member: Vec<Vec<[u64; 8]>>,
    finder: Finder,
}

impl<'a> Binary<'a> {
    /// The limits of `criterion` count; its units do not, since weights are whole.
    pub fn new(
        columns: &'a [Column<'a>],
        packs: &'a [Pack],
        packed: &'a [Option<(usize, usize)>],
        criterion: &Criterion,
    ) -> Self {
        Binary {
            columns,
            packs,
            packed,
            criterion: Criterion {
                unit: FixedPoint::WHOLE,
                ..*criterion
            },
            total: Sum::ZERO,
            codes: Vec::new(),
            tables: Vec::new(),
            used: Vec::new(),
            places: Vec::new(),
            by_member: vec![Vec::new(); packs.len()],
            finder: Finder::default(),
        }
    }

    /// What a numeric feature offers in a node with many rows. Leaves its table empty.
    fn dense(&mut self, column: &Column<'_>, edges: &[f64], feature: u16, number: usize) -> Offer {
        let missing = self.missing(column, number);
        let (criterion, total) = (&self.criterion, self.total);
        let slots = &mut self.tables[number][..column.bins];
        let used = slots.iter().filter(|s| **s != 0).count();
        if used + usize::from(missing.count() > 0) < 2 {
            slots.fill(0);
            return Offer::Constant;
        }
        let sums = slots.iter().map(|s| unpacked(*s));
        let finder = &mut self.finder;
        let found = finder.best_of_numbers(criterion, column, edges, feature, sums, missing, total);
        slots.fill(0);
        found.map_or(Offer::Nothing, Offer::Split)
    }

    /// Takes the sum of missing values out of a table, or puts it where the fill is.
    fn missing(&mut self, column: &Column<'_>, number: usize) -> Sum {
        if !column.has_missing {
            return Sum::ZERO;
        }
        let table = &mut self.tables[number];
        let missing = std::mem::take(&mut table[usize::from(Features::MISSING)]);
        let fill = usize::from(column.fill);
        if missing == 0 || fill >= column.bins {
            return unpacked(missing);
        }
        table[fill] += missing;
        self.used[number][fill >> 6] |= 1 << (fill & 63);
        Sum::ZERO
    }

    /// Moves the sums of a table into runs, and leaves it empty. Returns the sum of missing values.
    fn take(&mut self, column: &Column<'_>, number: usize, rows: usize) -> Sum {
        let missing = self.missing(column, number);
        let table = &mut self.tables[number];
        let used = &mut self.used[number];
        let runs = &mut self.finder.runs;
        runs.clear();
        if rows >= DENSE {
            for (code, sum) in table[..column.bins].iter_mut().enumerate() {
                if *sum != 0 {
                    runs.push((code as u8, unpacked(std::mem::take(sum))));
                }
            }
            return missing;
        }
        for (at, used) in used.iter_mut().enumerate() {
            while *used != 0 {
                let code = at << 6 | used.trailing_zeros() as usize;
                *used &= *used - 1;
                // The code of missing values may be among them, but was emptied above.
                let sum = std::mem::take(&mut table[code]);
                if sum != 0 {
                    runs.push((code as u8, unpacked(sum)));
                }
            }
        }
        missing
    }
}

/// From this many rows on, every other row goes to a second set of tables. Rows of one code follow each other often, and an
/// addition waits for the one before it.
const TWICE: usize = 512;

/// Adds up the rows by the codes of several columns at once, a table for each.
fn add<const N: usize>(codes: [&[u8]; N], words: &[u32], tables: &mut [Table]) {
    let Some(tables) = tables.first_chunk_mut::<N>() else {
        return;
    };
    let adds = |word: u32| (row(word) as usize, ADDS[(word >> ROW_BITS) as usize]);
    let one = |word: u32, tables: &mut [Table; N]| {
        let (row, adds) = adds(word);
        for (codes, table) in codes.iter().zip(tables.iter_mut()) {
            table[usize::from(codes[row])] += adds;
        }
    };
    if words.len() < TWICE {
        words.iter().for_each(|&word| one(word, tables));
        return;
    }
    let mut others = [[0; 256]; N];
    let (pairs, rest) = words.as_chunks::<2>();
    for &[a, b] in pairs {
        one(a, tables);
        one(b, &mut others);
    }
    rest.iter().for_each(|&word| one(word, tables));
    for (table, other) in tables.iter_mut().zip(&others) {
        table.iter_mut().zip(other).for_each(|(a, b)| *a += b);
    }
}

impl Impurity for Binary<'_> {
    const SUMS: bool = false;

    fn total(&self, words: &[u32], _sums: &[Sum]) -> Sum {
        let adds = words.iter().map(|word| ADDS[(word >> ROW_BITS) as usize]);
        unpacked(adds.sum())
    }

    fn enter(&mut self, _words: &[u32], _sums: &[Sum], total: Sum) -> bool {
        self.by_member.iter_mut().for_each(Vec::clear);
        self.total = total;
        self.pure(total)
    }

    fn pure(&self, total: Sum) -> bool {
        let ones = total.gradient() as u64;
        ones == 0 || ones == total.hessian()
    }

    fn prepare(&mut self, features: &[u16], words: &[u32], _sums: &[Sum]) {
        let small = words.len() < DENSE;
        self.places.clear();
        self.codes.clear();
        for &feature in features {
            let feature = usize::from(feature);
            self.places.push(match self.packed[feature] {
                Some((pack, member)) if !small => Place::Member(pack, member),
                _ => {
                    self.codes.push(self.columns[feature].codes);
                    Place::Table(self.codes.len() - 1)
                }
            });
        }
        let singles = self.codes.len();
        for place in &self.places {
            if let Place::Member(pack, _) = *place
                && self.by_member[pack].is_empty()
            {
                // Not empty any more, so that the next member finds it.
                self.by_member[pack].push([0; 8]);
                self.codes.push(&self.packs[pack].codes);
            }
        }
        if self.tables.len() < self.codes.len() {
            self.tables.resize(self.codes.len(), [0; 256]);
            self.used.resize(self.codes.len(), [0; 4]);
        }
        if small {
            let tables = self.tables.iter_mut().zip(&mut self.used);
            for (codes, (table, used)) in self.codes.iter().zip(tables) {
                for &word in words {
                    let code = codes[row(word) as usize];
                    table[usize::from(code)] += ADDS[(word >> ROW_BITS) as usize];
                    used[usize::from(code >> 6)] |= 1 << (code & 63);
                }
            }
            return;
        }
        for (codes, tables) in self.codes.chunks(4).zip(self.tables.chunks_mut(4)) {
            match *codes {
                [a, b, c, d] => add([a, b, c, d], words, tables),
                [a, b, c] => add([a, b, c], words, tables),
                [a, b] => add([a, b], words, tables),
                _ => add([codes[0]], words, tables),
            }
        }
        let mut joint = self.tables[singles..].iter_mut();
        for place in &self.places {
            if let Place::Member(pack, _) = *place
                && self.by_member[pack].len() == 1
                && let Some(joint) = joint.next()
            {
                let members = &mut self.by_member[pack];
                members.clear();
                histogram::take_pack(&self.packs[pack], joint, |_, by_code| {
                    let mut slots = [0; 8];
                    slots[..by_code.len()].copy_from_slice(by_code);
                    members.push(slots);
                });
            }
        }
    }

    fn offer(
        &mut self,
        column: &Column<'_>,
        feature: u16,
        place: usize,
        words: &[u32],
        _sums: &[Sum],
        random: Option<&mut Rng>,
    ) -> Offer {
        if let Place::Table(number) = self.places[place]
            && words.len() >= DENSE
            && random.is_none()
            && let Some(edges) = column.edges
        {
            return self.dense(column, edges, feature, number);
        }
        let missing = match self.places[place] {
            Place::Table(number) => self.take(column, number, words.len()),
            Place::Member(pack, member) => {
                let slots = self.by_member[pack][member].iter().enumerate();
                let slots = slots.filter(|(_, sum)| **sum != 0);
                let runs = slots.map(|(code, sum)| (code as u8, unpacked(*sum)));
                self.finder.runs.clear();
                self.finder.runs.extend(runs);
                Sum::ZERO
            }
        };
        let finder = &mut self.finder;
        offer_of_runs(
            finder,
            &self.criterion,
            column,
            feature,
            missing,
            self.total,
            random,
        )
    }

    fn leaf(&self, out: &mut [f64]) {
        let (ones, all) = self.criterion.parts(self.total);
        out[0] = if all > 0.0 { ones / all } else { 0.0 };
    }

    fn cover(&self) -> f64 {
        self.criterion.parts(self.total).1
    }
}
