//! The binned matrix: every feature of every row as one `u8` code, made once and shared by every trial, fold and tree.
//!
//! A numeric feature has ascending `edges`; the code of `x` is the number of edges below `x`, so `x <= edges[b]` holds
//! exactly when the code is at most `b`, and a threshold found on codes is exact on raw values. A categorical feature's
//! code is its level. [`Features::MISSING`] stands for a missing value of either kind.

use std::sync::{Arc, OnceLock};

use crate::data::table::Table;

use super::preprocess::{Encode, Encoder};

/// What a feature is.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKind {
    /// Ordered; the upper edges of all bins but the last, ascending, at most 254.
    Numeric {
        /// Upper edges.
        edges: Vec<f64>,
    },
    /// Unordered levels `0..levels`, at most 254.
    Categorical {
        /// How many levels.
        levels: usize,
    },
}

/// One encoded column.
#[derive(Clone, Debug)]
pub struct Feature {
    /// The column's name, with `=level` for an indicator.
    pub name: String,
    /// What it is.
    pub kind: FeatureKind,
    /// One code per row of the dataset.
    pub codes: Vec<u8>,
    /// One number per row of the dataset, NaN where missing; shared with the table where the column is taken as it is.
    pub values: Arc<Vec<f64>>,
    /// Whether any row of the dataset lacks it.
    pub has_missing: bool,
}

impl Feature {
    /// Number of codes besides [`Features::MISSING`].
    pub fn bins(&self) -> usize {
        match &self.kind {
            FeatureKind::Numeric { edges } => edges.len() + 1,
            FeatureKind::Categorical { levels } => (*levels).max(1),
        }
    }

    /// The code of a number; NaN is missing.
    pub fn code(&self, value: f64) -> u8 {
        code(&self.kind, value)
    }
}

/// The code of a number among those of a kind; NaN is missing.
#[inline]
pub(crate) fn code(kind: &FeatureKind, value: f64) -> u8 {
    if value.is_nan() {
        return Features::MISSING;
    }
    match kind {
        FeatureKind::Numeric { edges } => edges.partition_point(|e| *e < value) as u8,
        // The cast takes what is too large to the code of a missing value.
        FeatureKind::Categorical { .. } if value >= 0.0 => value as u8,
        FeatureKind::Categorical { .. } => Features::MISSING,
    }
}

/// Several features of few codes as one: the histogram of the joint code holds those of all its members, so the rows are
/// read once for all of them.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Positions of the features and their numbers of codes; the first varies slowest.
    pub members: Vec<(u16, usize)>,
    /// Number of joint codes, at most 256.
    pub size: usize,
    /// One joint code per row of the dataset.
    pub codes: Vec<u8>,
}

/// Features of up to this many codes are packed.
const PACKED_BINS: usize = 8;

/// Packs features without missing values in order, each into the first pack that has room.
fn packs(columns: &[Feature], rows: usize) -> Vec<Pack> {
    let mut packs: Vec<Pack> = Vec::new();
    for (i, column) in columns.iter().enumerate().take(usize::from(u16::MAX)) {
        let bins = column.bins();
        if column.has_missing || !(2..=PACKED_BINS).contains(&bins) {
            continue;
        }
        let member = (i as u16, bins);
        match packs.iter_mut().find(|p| p.size * bins <= 256) {
            Some(pack) => {
                pack.members.push(member);
                pack.size *= bins;
            }
            None => packs.push(Pack {
                members: vec![member],
                size: bins,
                codes: Vec::new(),
            }),
        }
    }
    packs.retain(|p| p.members.len() > 1);
    for pack in &mut packs {
        let mut codes = vec![0_usize; rows];
        for &(feature, bins) in &pack.members {
            for (joint, &code) in codes.iter_mut().zip(&columns[usize::from(feature)].codes) {
                *joint = *joint * bins + usize::from(code);
            }
        }
        pack.codes = codes.into_iter().map(|c| c as u8).collect();
    }
    packs
}

/// All encoded features of a dataset.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// One per encoded column.
    pub columns: Vec<Feature>,
    /// Features of few codes, several as one.
    pub packs: Vec<Pack>,
    /// See [`Features::by_row`].
    pub(crate) by_row: OnceLock<Vec<u8>>,
    /// Number of rows.
    pub rows: usize,
    /// A hash of all edges and levels. A model that read codes of one binning must not read those of another.
    pub binning: u64,
}

impl Features {
    /// The code of a missing value.
    pub const MISSING: u8 = 255;

    /// Encodes and bins all rows of `table`. Edges come from `fit_rows` alone: between distinct values when there are
    /// at most `max_bins` of them, else at quantiles. `max_bins` is taken into `2..=255`.
    pub fn build(table: &Table, encoder: &Encoder, fit_rows: &[u32], max_bins: usize) -> Self {
        use rayon::prelude::*;
        let max_bins = max_bins.clamp(2, 255);
        let columns: Vec<Feature> = encoder
            .names
            .par_iter()
            .zip(&encoder.rules)
            .map(|(name, rule)| {
                let values = rule.apply_column(&table.columns);
                let kind = match rule {
                    Encode::Level { levels, .. } => FeatureKind::Categorical { levels: *levels },
                    _ => FeatureKind::Numeric {
                        edges: edges(&values, fit_rows, max_bins),
                    },
                };
                let codes: Vec<u8> = values.iter().map(|v| code(&kind, *v)).collect();
                let has_missing = codes.contains(&Features::MISSING);
                Feature {
                    name: name.clone(),
                    kind,
                    codes,
                    values,
                    has_missing,
                }
            })
            .collect();
        let mut binning = 0xcbf2_9ce4_8422_2325_u64;
        let mut hash = |word: u64| {
            binning = (binning ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(27);
        };
        for column in &columns {
            match &column.kind {
                FeatureKind::Numeric { edges } => edges.iter().for_each(|e| hash(e.to_bits())),
                FeatureKind::Categorical { levels } => hash(*levels as u64),
            }
            hash(u64::MAX);
        }
        Features {
            packs: packs(&columns, table.rows),
            by_row: OnceLock::new(),
            columns,
            rows: table.rows,
            binning,
        }
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no features.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The codes once more, those of each row together: for reading rows as prediction does. Made when first asked for.
    pub fn by_row(&self) -> &[u8] {
        /// Rows that stay in the cache while columns are read.
        const BLOCK: usize = 256;
        // On one thread: whoever else asks waits, and must not hold work that this needs.
        self.by_row.get_or_init(|| {
            let width = self.columns.len();
            let mut codes = vec![0; self.rows * width];
            for (block, codes) in codes.chunks_mut((BLOCK * width).max(1)).enumerate() {
                for (feature, column) in self.columns.iter().enumerate() {
                    let column = &column.codes[block * BLOCK..];
                    for (row, code) in codes.chunks_exact_mut(width).zip(column) {
                        row[feature] = *code;
                    }
                }
            }
            codes
        })
    }

    /// Writes the numbers of one row into `out`, missing ones replaced by `fills` (NaN leaves them missing).
    pub fn decode_row(&self, row: u32, fills: &[f64], out: &mut [f64]) {
        for ((out, column), fill) in out.iter_mut().zip(&self.columns).zip(fills) {
            let value = column.values[row as usize];
            *out = if value.is_nan() { *fill } else { value };
        }
    }
}

/// Upper edges of all bins but the last. Each lies half way between two neighbouring distinct values.
fn edges(values: &[f64], rows: &[u32], max_bins: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = rows
        .iter()
        .map(|&r| values[r as usize])
        .filter(|v| !v.is_nan())
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut distinct: Vec<(f64, usize)> = Vec::new();
    for v in &sorted {
        match distinct.last_mut() {
            Some((last, count)) if *last == *v => *count += 1,
            _ => distinct.push((*v, 1)),
        }
    }
    let between = |i: usize| {
        let (a, b) = (distinct[i].0, distinct[i + 1].0);
        // Halves first: the sum of two large values may overflow. The edge must stay below the upper value.
        let middle = a / 2.0 + b / 2.0;
        if middle < b && middle >= a { middle } else { a }
    };
    if distinct.len() <= max_bins {
        return (0..distinct.len().saturating_sub(1)).map(between).collect();
    }
    // Equal frequency over what is left: a value with a large share gets a bin of its own and the others share the rest.
    let mut edges = Vec::with_capacity(max_bins - 1);
    let (mut rows_left, mut in_bin) = (sorted.len(), 0);
    for i in 0..distinct.len() - 1 {
        in_bin += distinct[i].1;
        let bins_left = max_bins - edges.len();
        if bins_left == 1 {
            break;
        }
        let share = rows_left.div_ceil(bins_left);
        if in_bin >= share || in_bin + distinct[i + 1].1 / 2 > share {
            edges.push(between(i));
            rows_left -= in_bin;
            in_bin = 0;
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_and_edges_agree(values in prop::collection::vec(-1e3..1e3_f64, 1..600), max_bins in 2_usize..40) {
            let rows: Vec<u32> = (0..values.len() as u32).collect();
            let kind = FeatureKind::Numeric { edges: edges(&values, &rows, max_bins) };
            let FeatureKind::Numeric { edges } = &kind else { unreachable!() };
            prop_assert!(edges.len() < max_bins);
            prop_assert!(edges.windows(2).all(|w| w[0] < w[1]));
            for v in &values {
                let c = code(&kind, *v);
                for (b, edge) in edges.iter().enumerate() {
                    prop_assert_eq!(*v <= *edge, usize::from(c) <= b);
                }
            }
        }
    }

    #[test]
    fn few_values_get_a_bin_each_and_many_share_evenly() {
        let rows: Vec<u32> = (0..1000).collect();
        let few: Vec<f64> = (0..1000).map(|i| f64::from(i % 3)).collect();
        assert_eq!(edges(&few, &rows, 255), vec![0.5, 1.5]);
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        let edges = edges(&many, &rows, 100);
        assert_eq!(edges.len(), 99);
        assert!(edges.windows(2).all(|w| (w[1] - w[0] - 10.0).abs() <= 1.0));
    }
}
