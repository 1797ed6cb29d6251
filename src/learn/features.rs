//! The binned matrix: every feature of every row as one `u8` code, made once and shared by every trial, fold and tree.
//!
//! A numeric feature has ascending `edges`; the code of `x` is the number of edges below `x`, so `x <= edges[b]` holds
//! exactly when the code is at most `b`, and a threshold found on codes is exact on raw values. A categorical feature's
//! code is its level. [`Features::MISSING`] stands for a missing value of either kind.

use std::sync::Arc;

/// What a feature is.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKind {
    /// Ordered; the upper edges of all bins but the last, ascending, at most 254.
    Numeric {
        /// Upper edges.
        edges: Vec<f64>,
    },
    /// Unordered levels `0..levels`, at most 255.
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
    /// One number per row of the dataset, NaN where missing.
    pub values: Arc<Vec<f64>>,
}

/// All encoded features of a dataset.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// One per encoded column.
    pub columns: Vec<Feature>,
    /// Number of rows.
    pub rows: usize,
}

impl Features {
    /// The code of a missing value.
    pub const MISSING: u8 = 255;

    /// Number of features.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no features.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Writes the numbers of one row into `out`, missing ones replaced by `fills` (NaN leaves them missing).
    pub fn decode_row(&self, row: u32, fills: &[f64], out: &mut [f64]) {
        for ((out, column), fill) in out.iter_mut().zip(&self.columns).zip(fills) {
            let value = column.values[row as usize];
            *out = if value.is_nan() { *fill } else { value };
        }
    }
}
