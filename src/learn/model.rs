//! The model of all tree ensembles: trees whose outputs are averaged or summed, and a link.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::stats::special::{exp, sigmoid, softmax};

use super::features::{FeatureKind, Features, code};
use super::learner::{LearnError, Model, TrainingSet};
use super::tree::nodes::{Codes, SavedTree, Tree};
use super::tree::sum::MAX_ROWS;
use super::tree::view::{Ensemble, Link};

/// A fitted ensemble of trees.
pub struct TreeModel {
    kind: &'static str,
    link: Link,
    width: usize,
    base: Vec<f64>,
    trees: Vec<Tree>,
    features: usize,
    importance: Vec<f64>,
    /// Whether each sum is rounded to 32 bits, as in the program that the trees are from.
    single: bool,
    /// How numbers become the codes that the trees read; none where they are too many for that.
    kinds: Option<Vec<FeatureKind>>,
    /// Of which matrix these are the codes; none once loaded from a file.
    binning: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    link: Link,
    width: usize,
    base: Vec<f64>,
    importance: Vec<f64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    single: bool,
    trees: Vec<SavedTree>,
}

/// The newest format of saved tree ensembles that this release reads and the one it writes.
const FORMAT: u32 = 1;

/// Rows that are predicted tree by tree, so that one tree stays in the cache for all of them.
const BLOCK: usize = 512;

impl TreeModel {
    pub(super) fn forest(
        kind: &'static str,
        width: usize,
        trees: Vec<Tree>,
        importance: Vec<f64>,
        grown_on: &Features,
    ) -> Self {
        TreeModel {
            kind,
            link: Link::Mean,
            width,
            base: vec![0.0; width],
            trees,
            features: importance.len(),
            importance: shares(importance),
            single: false,
            kinds: Some(grown_on.columns.iter().map(|c| c.kind.clone()).collect()),
            binning: Some(grown_on.binning),
        }
    }

    pub(super) fn boosted(
        kind: &'static str,
        link: Link,
        base: Vec<f64>,
        trees: Vec<Tree>,
        importance: Vec<f64>,
        grown_on: &Features,
    ) -> Self {
        TreeModel {
            kind,
            link,
            width: base.len(),
            base,
            trees,
            features: importance.len(),
            importance: shares(importance),
            single: false,
            kinds: Some(grown_on.columns.iter().map(|c| c.kind.clone()).collect()),
            binning: Some(grown_on.binning),
        }
    }

    /// Trees of another program; with [`Link::Softmax`] tree `i` belongs to class `i mod` the number of bases. `single`
    /// rounds each sum to 32 bits.
    pub(super) fn imported(
        kind: &'static str,
        single: bool,
        link: Link,
        base: Vec<f64>,
        mut trees: Vec<Tree>,
        gains: Vec<f64>,
    ) -> Self {
        let kinds = recoded(&mut trees, gains.len());
        TreeModel {
            kind,
            link,
            width: base.len(),
            base,
            trees,
            features: gains.len(),
            importance: shares(gains),
            single,
            kinds,
            binning: None,
        }
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Which output a tree of width 1 adds to.
    fn output(&self, tree: usize) -> usize {
        if self.link == Link::Softmax {
            tree % self.width
        } else {
            0
        }
    }

    #[inline]
    fn add(&self, tree: usize, leaf: &[f64], out: &mut [f64]) {
        if leaf.len() == 1 {
            out[self.output(tree)] += leaf[0];
        } else {
            out.iter_mut().zip(leaf).for_each(|(o, v)| *o += v);
        }
        if self.single {
            // The sum of two numbers of 32 bits, rounded twice, is the sum in 32 bits.
            out.iter_mut().for_each(|o| *o = f64::from(*o as f32));
        }
    }

    /// Predicts a block of rows, tree by tree.
    fn predict_codes(&self, codes: &Codes<'_>, rows: &[u32], out: &mut [f64]) {
        let width = self.width;
        out.chunks_exact_mut(width)
            .for_each(|o| o.copy_from_slice(&self.base));
        for (i, tree) in self.trees.iter().enumerate() {
            if width == 1 && !self.single {
                tree.for_each_leaf(codes, rows, |place, leaf| out[place] += leaf[0]);
            } else {
                tree.for_each_leaf(codes, rows, |place, leaf| {
                    self.add(i, leaf, &mut out[place * width..(place + 1) * width]);
                });
            }
        }
        out.chunks_exact_mut(width).for_each(|o| self.finish(o));
    }

    /// From the sum over trees to the prediction, in place.
    #[inline]
    fn finish(&self, out: &mut [f64]) {
        through(self.link, self.trees.len(), out);
    }

    pub(super) fn load(kind: &'static str, text: &str) -> Result<Self, LearnError> {
        let bad = |what: String| LearnError::Saved { kind, what };
        let saved: Saved = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if saved.format > FORMAT {
            let what = format!(
                "format {} is newer than this release reads ({FORMAT}); update automl",
                saved.format
            );
            return Err(bad(what));
        }
        let features = saved.importance.len();
        if features == 0 {
            return Err(bad("it knows no features".to_owned()));
        }
        if saved.width == 0 || saved.base.len() != saved.width {
            return Err(bad("its width and base differ".to_owned()));
        }
        let fits = match saved.link {
            Link::Mean => true,
            Link::Identity | Link::Logistic | Link::Exp => saved.width == 1,
            Link::Softmax => saved.width > 1,
        };
        if !fits {
            let what = format!("{:?} does not go with {} outputs", saved.link, saved.width);
            return Err(bad(what));
        }
        let tree_width = if saved.link == Link::Mean {
            saved.width
        } else {
            1
        };
        let trees = saved
            .trees
            .into_iter()
            .map(|t| Tree::from_saved(t, tree_width, features));
        let mut trees: Vec<Tree> = trees.collect::<Result<_, _>>()?;
        let kinds = recoded(&mut trees, features);
        Ok(TreeModel {
            kind,
            link: saved.link,
            width: saved.width,
            base: saved.base,
            trees,
            kinds,
            features,
            importance: saved.importance,
            single: saved.single,
            binning: None,
        })
    }
}

/// Gives the trees codes that tell all their thresholds apart, and returns how numbers become such codes; none where a
/// feature has more thresholds than there are codes.
fn recoded(trees: &mut [Tree], features: usize) -> Option<Vec<FeatureKind>> {
    let mut kinds = vec![FeatureKind::Numeric { edges: Vec::new() }; features];
    for tree in trees.iter() {
        if !tree.thresholds(&mut kinds) {
            return None;
        }
    }
    for kind in &mut kinds {
        if let FeatureKind::Numeric { edges } = kind {
            edges.sort_unstable_by(f64::total_cmp);
            edges.dedup();
            if edges.len() > 254 {
                return None;
            }
        }
    }
    trees.iter_mut().for_each(|t| t.recode(&kinds));
    Some(kinds)
}

/// From the sum over some trees to the prediction of one row, in place.
#[inline]
pub(super) fn through(link: Link, trees: usize, out: &mut [f64]) {
    match link {
        Link::Mean => out.iter_mut().for_each(|o| *o /= trees.max(1) as f64),
        Link::Identity => {}
        Link::Logistic => out[0] = sigmoid(out[0]),
        Link::Softmax => softmax(out),
        Link::Exp => out[0] = exp(out[0]),
    }
}

/// Gains as shares of their sum.
fn shares(mut gains: Vec<f64>) -> Vec<f64> {
    let all: f64 = gains.iter().sum();
    if all > 0.0 {
        gains.iter_mut().for_each(|g| *g /= all);
    }
    gains
}

impl Model for TreeModel {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn width(&self) -> usize {
        self.width
    }

    fn features(&self) -> usize {
        self.features
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.base);
        Tree::predict_all(&self.trees, row, |i, leaf| self.add(i, leaf, out));
        self.finish(out);
    }

    fn predict_matrix(&self, matrix: &[f64], out: &mut [f64]) {
        let blocks = matrix
            .par_chunks(BLOCK * self.features.max(1))
            .zip(out.par_chunks_mut(BLOCK * self.width));
        let Some(kinds) = &self.kinds else {
            blocks.for_each(|(rows, out)| {
                let rows = rows.chunks_exact(self.features.max(1));
                for (row, out) in rows.zip(out.chunks_exact_mut(self.width)) {
                    self.predict_row(row, out);
                }
            });
            return;
        };
        let all: Vec<u32> = (0..BLOCK as u32).collect();
        blocks.for_each_init(Vec::new, |codes, (rows, out)| {
            codes.clear();
            for row in rows.chunks_exact(self.features.max(1)) {
                codes.extend(row.iter().zip(kinds).map(|(x, kind)| code(kind, *x)));
            }
            let codes = Codes::of_rows(codes, self.features);
            self.predict_codes(&codes, &all[..out.len() / self.width], out);
        });
    }

    fn predict_rows(&self, features: &Features, rows: &[u32], fills: &[f64]) -> Vec<f64> {
        let width = self.width;
        let mut out = vec![0.0; rows.len() * width];
        if self.binning == Some(features.binning) {
            let codes = Codes::of(features, fills);
            out.par_chunks_mut(BLOCK * width)
                .zip(rows.par_chunks(BLOCK))
                .for_each(|(out, rows)| self.predict_codes(&codes, rows, out));
        } else {
            let mut values = vec![0.0; features.len()];
            for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
                features.decode_row(row, fills, &mut values);
                self.predict_row(&values, out);
            }
        }
        out
    }

    fn importance(&self) -> Option<Vec<f64>> {
        Some(self.importance.clone())
    }

    fn ensemble(&self) -> Option<Ensemble<'_>> {
        Some(Ensemble {
            link: self.link,
            width: self.width,
            base: &self.base,
            trees: &self.trees,
            features: self.features,
        })
    }

    fn save(&self) -> Result<String, LearnError> {
        let saved = Saved {
            format: FORMAT,
            link: self.link,
            width: self.width,
            base: self.base.clone(),
            importance: self.importance.clone(),
            single: self.single,
            trees: self.trees.iter().map(Tree::to_saved).collect(),
        };
        serde_json::to_string(&saved).map_err(|e| LearnError::Saved {
            kind: self.kind,
            what: e.to_string(),
        })
    }
}

/// Checks that a hyperparameter is within `low..=high`.
pub(super) fn check(
    learner: &'static str,
    name: &str,
    value: f64,
    low: f64,
    high: f64,
) -> Result<(), LearnError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let low = if low == f64::MIN_POSITIVE {
        "above 0".to_owned()
    } else {
        format!("at least {low}")
    };
    let what = format!("`{name}: {value}` is out of range; it must be {low} and at most {high}");
    Err(LearnError::Params { learner, what })
}

impl TrainingSet<'_> {
    /// The rows with a weight above 0: the others must not count towards a bin, a leaf or a draw.
    pub(super) fn weighted_rows(&self) -> Cow<'_, [u32]> {
        let counts = |row: &u32| self.weight(*row) > 0.0;
        if self.rows.iter().all(counts) {
            return Cow::Borrowed(self.rows);
        }
        Cow::Owned(self.rows.iter().copied().filter(counts).collect())
    }

    /// Checks what every tree learner needs: rows, features, and no more of them than codes can count.
    pub(super) fn check(&self, learner: &'static str) -> Result<(), LearnError> {
        let fail = |what: String| Err(LearnError::Data { learner, what });
        if self.rows.is_empty() {
            return fail("there are no training rows with a weight above 0".to_owned());
        }
        if self.rows.len() > MAX_ROWS {
            return fail(format!(
                "{} rows are more than the {MAX_ROWS} it can take",
                self.rows.len()
            ));
        }
        if self.features.is_empty() || self.features.len() > usize::from(u16::MAX) {
            return fail(format!(
                "{} features; 1 to {} are possible",
                self.features.len(),
                u16::MAX
            ));
        }
        if self.target.task == Task::Multiclass && self.target.classes.len() > 255 {
            return fail(format!(
                "{} classes are more than the 255 it can tell apart",
                self.target.classes.len()
            ));
        }
        Ok(())
    }

    /// The weighted mean of the target over the rows.
    pub(super) fn mean(&self) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for &row in self.rows {
            sum += self.weight(row) * self.target.values[row as usize];
            weights += self.weight(row);
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }
}
