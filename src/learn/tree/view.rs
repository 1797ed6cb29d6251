//! Trees as anyone may read them: explanation, export and drawing need no knowledge of how nodes are stored.
//!
//! **Contract.** A [`Model`](crate::learn::learner::Model) made of trees gives an [`Ensemble`]. Walking a tree of it by the
//! rules of [`NodeView`] ends in the same leaf as [`Tree::predict`], and adding leaves by [`Ensemble::output`] to
//! [`Ensemble::base`], in order, then applying the [`Link`], gives the bits of the model's prediction; up to rounding, if
//! the model was imported from XGBoost, which adds in 32 bits.

use serde::{Deserialize, Serialize};

use super::nodes::{LevelSet, Tree, in_set};
use crate::learn::features::Features;

/// How the sum of the trees becomes a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The mean of the trees.
    Mean,
    /// The sum of the trees.
    Identity,
    /// The logistic function of the sum.
    Logistic,
    /// Softmax over the sums of each class; tree `i` belongs to class `i mod classes`.
    Softmax,
    /// `e` to the sum.
    Exp,
}

/// What an inner node asks of a value that is not missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test<'a> {
    /// Left when the value is at most this one.
    AtMost(f64),
    /// Left when the level is in the set. A number below 0, or of 255 and above, is no level and counts as missing.
    In(&'a LevelSet),
}

/// One node of a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeView<'a> {
    /// Where rows end.
    Leaf {
        /// As many numbers as the tree is wide.
        values: &'a [f64],
    },
    /// Where rows part.
    Inner {
        /// Position of the encoded feature.
        feature: usize,
        /// Which values go left.
        test: Test<'a>,
        /// Whether a missing value (NaN) goes left.
        missing_left: bool,
        /// The node on the left; it comes after this one.
        left: usize,
        /// The node on the right; it comes after this one.
        right: usize,
    },
}

/// Whether a value goes left at an inner node.
#[inline]
pub fn goes_left(test: Test<'_>, missing_left: bool, value: f64) -> bool {
    match test {
        Test::AtMost(threshold) if !value.is_nan() => value <= threshold,
        Test::In(set) if (0.0..f64::from(Features::MISSING)).contains(&value) => {
            in_set(set, value as u8)
        }
        _ => missing_left,
    }
}

/// All trees of a model and what is made of them.
#[derive(Clone, Copy, Debug)]
pub struct Ensemble<'a> {
    /// What the sum goes through. With [`Link::Mean`] it is divided by the number of trees.
    pub link: Link,
    /// Numbers per prediction.
    pub width: usize,
    /// `width` numbers to which leaves are added; zeros for a forest.
    pub base: &'a [f64],
    /// The trees in the order in which their leaves are added.
    pub trees: &'a [Tree],
    /// Number of encoded features.
    pub features: usize,
}

impl Ensemble<'_> {
    /// The output that a tree of one number per leaf adds to. A wider tree adds to all of them.
    pub fn output(&self, tree: usize) -> usize {
        if self.link == Link::Softmax {
            tree % self.width
        } else {
            0
        }
    }
}
