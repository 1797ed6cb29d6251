//! Histogram trees, the hot path of every study.
//!
//! One way of growing serves forests and boosting: rows carry integer [`sum::Sum`]s, a node's histogram adds them up by
//! code, and a split is the place in a histogram where `G²/(H+λ)` of both sides grows most. [`best_first`] grows the
//! trees of boosting (leaf with the largest gain first, sibling histograms by subtraction), [`depth_first`] the trees of
//! forests (features drawn anew at every node, nodes down to single rows).
//!
//! All arithmetic that chooses a split starts from exact integers in a fixed order, so a tree is the same bits on any
//! number of threads.

pub mod best_first;
pub(crate) mod binary;
pub mod depth_first;
pub(crate) mod gini;
pub mod nodes;
pub(crate) mod random;
pub(crate) mod rules;
pub mod split;
pub mod sum;
pub mod view;

mod histogram;
mod partition;
mod scan;
#[cfg(test)]
mod tests;
mod units;

use crate::learn::features::{FeatureKind, Features};
use crate::learn::learner::TrainingSet;

/// What growing needs of one feature.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    /// One code per row of the dataset.
    pub codes: &'a [u8],
    /// Number of codes besides the missing one.
    pub bins: usize,
    /// Upper edges of a numeric feature; none for a category.
    pub edges: Option<&'a [f64]>,
    /// The code that stands in for a missing one; [`Features::MISSING`] when it stays missing.
    pub fill: u8,
    /// Whether any row of the dataset has it missing.
    pub has_missing: bool,
}

impl<'a> Column<'a> {
    /// One per feature.
    pub fn of(data: &TrainingSet<'a>) -> Vec<Column<'a>> {
        let column = |(c, fill): (&'a crate::learn::features::Feature, &f64)| Column {
            codes: &c.codes,
            bins: c.bins(),
            edges: match &c.kind {
                FeatureKind::Numeric { edges } => Some(edges),
                FeatureKind::Categorical { .. } => None,
            },
            fill: c.code(*fill),
            has_missing: c.has_missing,
        };
        data.features
            .columns
            .iter()
            .zip(data.fills)
            .map(column)
            .collect()
    }

    /// Places in this feature's histogram: one per code, and one more for missing where there are any.
    pub fn slots(&self) -> usize {
        self.bins + usize::from(self.has_missing)
    }

    /// The code of a row, the fill in place of a missing one.
    #[inline]
    pub fn code(&self, row: u32) -> u8 {
        let code = self.codes[row as usize];
        if code == Features::MISSING {
            self.fill
        } else {
            code
        }
    }
}
