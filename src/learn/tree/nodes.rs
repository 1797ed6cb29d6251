//! The tree that predicts: one flat array of 8-byte nodes, read by codes or by raw numbers with the same outcome.
//!
//! Several rows go down a tree side by side, or one row down several trees, so that the processor waits for their loads
//! at the same time. Who has arrived stays where it is: a leaf is its own left child, and everything goes left there.

use serde::{Deserialize, Serialize};

use super::view::{NodeView, Test};
use crate::learn::features::{FeatureKind, Features};
use crate::learn::learner::LearnError;

const LEAF: u8 = 1;
const MISSING_LEFT: u8 = 2;
const SET: u8 = 4;

/// Rows, or trees, that are walked side by side.
const LANES: usize = 8;

/// Levels that go left, one bit per code.
pub type LevelSet = [u64; 4];

/// Whether `code` is in `set`.
#[inline]
pub fn in_set(set: &LevelSet, code: u8) -> bool {
    set[usize::from(code >> 6)] >> (code & 63) & 1 == 1
}

/// How an inner node sends rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// Left when the code is at most this one.
    AtMost {
        /// The largest code that goes left.
        code: u8,
        /// The number that the code stands for: left when the value is at most this one.
        threshold: f64,
    },
    /// Left when the level is in the set.
    In(LevelSet),
}

impl Split {
    /// Whether a code, which is not the missing one, goes left.
    pub(crate) fn goes_left(&self, code: u8) -> bool {
        match self {
            Split::AtMost { code: most, .. } => code <= *most,
            Split::In(set) => in_set(set, code),
        }
    }
}

/// One node in one word, so that a step down reads memory once: the left child, which the right one follows, in the lower
/// half, then the feature, the bound and the flags. A leaf is its own left child and sends everything there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Node(u64);

impl Node {
    /// `code` is the largest that goes left.
    fn inner(link: u32, feature: u16, code: u8, flags: u8) -> Node {
        // A missing value has the largest code, which goes right. To send it left, one is added to its code and to all
        // others, so that it becomes 0: no branch asks for it.
        let shift = u8::from(flags & MISSING_LEFT != 0);
        let bound = code.wrapping_add(shift);
        let upper = u64::from(feature) | u64::from(bound) << 16 | u64::from(flags) << 24;
        Node(u64::from(link) | upper << 32)
    }

    fn leaf(at: u32) -> Node {
        Node::inner(at, 0, u8::MAX, LEAF)
    }

    #[inline(always)]
    fn link(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    #[inline(always)]
    fn feature(self) -> usize {
        (self.0 >> 32 & 0xffff) as usize
    }

    #[inline(always)]
    fn flags(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Whether a code goes right.
    #[inline(always)]
    fn right(self, code: u8) -> bool {
        let shift = (self.0 >> 57 & 1) as u8;
        code.wrapping_add(shift) > (self.0 >> 48) as u8
    }
}

/// A decision tree. Nodes are stored so that both children of a node are neighbours.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// By node. Inner: the threshold, or the index of the set. Leaf: the value, or with a width above 1 the first place in
    /// `values`.
    numbers: Vec<f64>,
    sets: Vec<LevelSet>,
    /// Leaf values of a tree of width above 1.
    values: Vec<f64>,
    /// The cover of each leaf, by node: how much of the training data ended there. 0 for an inner node, whose cover is
    /// that of its leaves. Empty for a tree whose covers are not known.
    covers: Vec<f32>,
    width: usize,
}

impl Tree {
    /// A tree of one leaf without a value yet; leaves hold `width` numbers.
    pub fn new(width: usize) -> Self {
        let mut tree = Tree {
            nodes: Vec::new(),
            numbers: Vec::new(),
            sets: Vec::new(),
            values: Vec::new(),
            covers: Vec::new(),
            width,
        };
        tree.push_leaf();
        tree
    }

    /// Numbers per leaf.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of nodes, leaves included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a tree has at least one leaf.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Number of leaves.
    pub fn leaves(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    fn push_leaf(&mut self) {
        let mut number = 0.0;
        if self.width > 1 {
            number = self.values.len() as f64;
            self.values.resize(self.values.len() + self.width, 0.0);
        }
        let link = self.nodes.len() as u32;
        self.covers.push(0.0);
        self.numbers.push(number);
        self.nodes.push(Node::leaf(link));
    }

    /// Turns the leaf `node` into an inner node and returns its left child; the right one follows.
    pub(crate) fn split(
        &mut self,
        node: usize,
        feature: u16,
        split: Split,
        missing_left: bool,
    ) -> usize {
        let left = self.nodes.len();
        self.push_leaf();
        self.push_leaf();
        let mut flags = if missing_left { MISSING_LEFT } else { 0 };
        let (number, code) = match split {
            Split::AtMost { code, threshold } => (threshold, code),
            Split::In(set) => {
                self.sets.push(set);
                flags |= SET;
                ((self.sets.len() - 1) as f64, 0)
            }
        };
        self.numbers[node] = number;
        self.nodes[node] = Node::inner(left as u32, feature, code, flags);
        left
    }

    /// Gives back the room that growing left over.
    pub(crate) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.numbers.shrink_to_fit();
        self.sets.shrink_to_fit();
        self.values.shrink_to_fit();
        self.covers.shrink_to_fit();
    }

    /// Bytes that the tree takes, once it is shrunk.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Tree>()
            + size_of_val(&self.nodes[..])
            + size_of_val(&self.numbers[..])
            + size_of_val(&self.sets[..])
            + size_of_val(&self.values[..])
            + size_of_val(&self.covers[..])
    }

    /// Sets the numbers of the leaf `node`.
    pub(crate) fn set_leaf(&mut self, node: usize, values: &[f64]) {
        if self.width == 1 {
            self.numbers[node] = values[0];
        } else {
            let at = self.numbers[node] as usize;
            self.values[at..at + self.width].copy_from_slice(values);
        }
    }

    /// Sets how much of the training data ended in the leaf `node`; at least a little, since covers are divided by.
    pub(crate) fn set_cover(&mut self, node: usize, cover: f64) {
        self.covers[node] = (cover as f32).max(f32::MIN_POSITIVE);
    }

    /// Node `at`, in `0..len()`; 0 is the root, and children come after their parent.
    pub fn node(&self, at: usize) -> NodeView<'_> {
        let node = &self.nodes[at];
        if node.flags() & LEAF != 0 {
            return NodeView::Leaf {
                values: self.leaf(at),
            };
        }
        NodeView::Inner {
            feature: node.feature(),
            test: if node.flags() & SET != 0 {
                Test::In(&self.sets[self.numbers[at] as usize])
            } else {
                Test::AtMost(self.numbers[at])
            },
            missing_left: node.flags() & MISSING_LEFT != 0,
            left: node.link(),
            right: node.link() + 1,
        }
    }

    /// The cover of every node, in the order of nodes; an inner node's is exactly that of its left child plus that of its
    /// right child. None for a tree without covers: from a file without them,
    /// or grown elsewhere.
    ///
    /// In a forest a leaf's cover is the weight of the training rows that reached it, each as often as its bootstrap drew
    /// it. In boosting it is the number of rows that the round saw there, as in LightGBM.
    pub fn covers(&self) -> Option<Vec<f64>> {
        if self.leaf_covers().is_empty() {
            return None;
        }
        let mut covers: Vec<f64> = self.covers.iter().map(|c| f64::from(*c)).collect();
        for at in (0..self.nodes.len()).rev() {
            if let NodeView::Inner { left, right, .. } = self.node(at) {
                covers[at] = covers[left] + covers[right];
            }
        }
        Some(covers)
    }

    fn leaf(&self, at: usize) -> &[f64] {
        if self.width == 1 {
            std::slice::from_ref(&self.numbers[at])
        } else {
            let from = self.numbers[at] as usize;
            &self.values[from..from + self.width]
        }
    }

    /// The node after `at` for an encoded row; a leaf comes after itself.
    #[inline(always)]
    fn next(&self, at: usize, row: &[f64]) -> (usize, bool) {
        let node = self.nodes[at];
        let x = row[node.feature()];
        let number = self.numbers[at];
        let left = if node.flags() & SET == 0 {
            // All three are looked at: which it is cannot be predicted, so nothing must branch on it.
            (x <= number)
                | (node.flags() & LEAF != 0)
                | (x.is_nan() & (node.flags() & MISSING_LEFT != 0))
        } else if (0.0..f64::from(Features::MISSING)).contains(&x) {
            in_set(&self.sets[number as usize], x as u8)
        } else {
            node.flags() & MISSING_LEFT != 0
        };
        (node.link() + usize::from(!left), node.flags() & LEAF != 0)
    }

    /// The leaf numbers of an encoded row; NaN is missing. An unknown level, below 0 or above 254, counts as missing.
    pub fn predict(&self, row: &[f64]) -> &[f64] {
        let mut at = 0;
        loop {
            let (next, arrived) = self.next(at, row);
            if arrived {
                return self.leaf(at);
            }
            at = next;
        }
    }

    /// Calls `each` with the leaf numbers of an encoded row in every one of `trees`, in order.
    #[inline]
    pub(crate) fn predict_all(trees: &[Tree], row: &[f64], mut each: impl FnMut(usize, &[f64])) {
        let (blocks, rest) = trees.as_chunks::<LANES>();
        for (block, trees) in blocks.iter().enumerate() {
            let mut at = [0; LANES];
            let mut arrived = false;
            while !arrived {
                arrived = true;
                for (at, tree) in at.iter_mut().zip(trees) {
                    let (next, there) = tree.next(*at, row);
                    *at = next;
                    arrived &= there;
                }
            }
            for (lane, (tree, at)) in trees.iter().zip(at).enumerate() {
                each(block * LANES + lane, tree.leaf(at));
            }
        }
        for (i, tree) in rest.iter().enumerate() {
            each(blocks.len() * LANES + i, tree.predict(row));
        }
    }

    /// Calls `each` with the position in `rows` and the leaf numbers of every row, in order. The codes are those that the
    /// tree was grown on.
    #[inline]
    pub(crate) fn for_each_leaf(
        &self,
        codes: &Codes<'_>,
        rows: &[u32],
        each: impl FnMut(usize, &[f64]),
    ) {
        match (self.sets.is_empty(), codes.fills.is_empty()) {
            (true, true) => self.walk::<false, false>(codes, rows, each),
            (true, false) => self.walk::<false, true>(codes, rows, each),
            (false, true) => self.walk::<true, false>(codes, rows, each),
            (false, false) => self.walk::<true, true>(codes, rows, each),
        }
    }

    #[inline(always)]
    fn walk<const SETS: bool, const FILLS: bool>(
        &self,
        codes: &Codes<'_>,
        rows: &[u32],
        mut each: impl FnMut(usize, &[f64]),
    ) {
        let nodes = &self.nodes[..];
        let by_row = match codes.source {
            // A matrix that no one predicts from is never turned.
            _ if rows.is_empty() => return,
            Source::Matrix(features) => features.by_row(),
            Source::Rows(by_row) => by_row,
        };
        for (block, rows) in rows.chunks(LANES).enumerate() {
            // Lanes without a row of their own follow the first one.
            let mut starts = [rows[0] as usize * codes.width; LANES];
            for (start, &row) in starts.iter_mut().zip(rows) {
                *start = row as usize * codes.width;
            }
            let mut at = [0_usize; LANES];
            let mut arrived = false;
            while !arrived {
                arrived = true;
                for (at, start) in at.iter_mut().zip(starts) {
                    let node = nodes[*at];
                    let mut code = by_row[start + node.feature()];
                    if FILLS && code == Features::MISSING {
                        code = codes.fills[node.feature()];
                    }
                    let right = if SETS && node.flags() & SET != 0 && code != Features::MISSING {
                        !in_set(&self.sets[self.numbers[*at] as usize], code)
                    } else {
                        node.right(code)
                    };
                    let next = node.link() + usize::from(right);
                    arrived &= next == *at;
                    *at = next;
                }
            }
            for (lane, at) in at[..rows.len()].iter().enumerate() {
                each(block * LANES + lane, self.leaf(*at));
            }
        }
    }

    /// Collects the thresholds by feature; false when a feature is asked for levels as well as for thresholds.
    pub(crate) fn thresholds(&self, kinds: &mut [FeatureKind]) -> bool {
        for (node, number) in self.nodes.iter().zip(&self.numbers) {
            if node.flags() & LEAF != 0 {
                continue;
            }
            let kind = &mut kinds[node.feature()];
            match kind {
                FeatureKind::Numeric { edges } if node.flags() & SET == 0 => edges.push(*number),
                FeatureKind::Numeric { edges } if edges.is_empty() => {
                    *kind = FeatureKind::Categorical { levels: 254 };
                }
                FeatureKind::Categorical { .. } if node.flags() & SET != 0 => {}
                _ => return false,
            }
        }
        true
    }

    /// Sets the code of every threshold to its place among the `edges` of its feature.
    pub(crate) fn recode(&mut self, kinds: &[FeatureKind]) {
        for (node, number) in self.nodes.iter_mut().zip(&self.numbers) {
            if node.flags() & (LEAF | SET) == 0
                && let FeatureKind::Numeric { edges } = &kinds[node.feature()]
            {
                let code = edges.partition_point(|e| e < number) as u8;
                *node = Node::inner(
                    node.link() as u32,
                    node.feature() as u16,
                    code,
                    node.flags(),
                );
            }
        }
    }

    /// The stored form: columns instead of records, so that files stay small.
    pub(crate) fn to_saved(&self) -> SavedTree {
        SavedTree {
            number: self.numbers.clone(),
            link: self.nodes.iter().map(|n| n.link() as u32).collect(),
            feature: self.nodes.iter().map(|n| n.feature() as u16).collect(),
            flags: self.nodes.iter().map(|n| n.flags()).collect(),
            sets: self.sets.clone(),
            values: self.values.clone(),
            cover: self.leaf_covers(),
        }
    }

    /// One cover per leaf, or none at all where one was never set.
    fn leaf_covers(&self) -> Vec<f32> {
        let nodes = self.nodes.iter().zip(&self.covers);
        let covers: Vec<f32> = nodes
            .filter(|(node, _)| node.flags() & LEAF != 0)
            .map(|(_, cover)| *cover)
            .collect();
        if covers.contains(&0.0) {
            Vec::new()
        } else {
            covers
        }
    }

    /// Reads the stored form and checks every link, so that prediction can neither leave the arrays nor run in a circle.
    pub(crate) fn from_saved(
        saved: SavedTree,
        width: usize,
        features: usize,
    ) -> Result<Tree, LearnError> {
        let bad = |what: &str| LearnError::Saved {
            kind: "tree",
            what: what.to_owned(),
        };
        let n = saved.number.len();
        if n == 0
            || width == 0
            || saved.link.len() != n
            || saved.feature.len() != n
            || saved.flags.len() != n
        {
            return Err(bad("its node arrays differ in length or are empty"));
        }
        let mut nodes = Vec::with_capacity(n);
        for i in 0..n {
            let number = saved.number[i];
            let mut node = Node::inner(saved.link[i], saved.feature[i], 0, saved.flags[i]);
            let link = node.link();
            if node.flags() & LEAF != 0 {
                let at = number as usize;
                if width > 1 && (number < 0.0 || at + width > saved.values.len()) {
                    return Err(bad("a leaf points outside of the values"));
                }
                // Whatever the file says, who has arrived stays.
                node = Node::leaf(i as u32);
            } else {
                if link <= i || link + 1 >= n {
                    return Err(bad("a node points outside of the tree or back"));
                }
                if node.feature() >= features {
                    return Err(bad("a node asks for a feature that is not there"));
                }
                let set_ok = number >= 0.0 && (number as usize) < saved.sets.len();
                if node.flags() & SET != 0 && !set_ok {
                    return Err(bad("a node points outside of the level sets"));
                }
            }
            nodes.push(node);
        }
        let mut covers = Vec::new();
        if !saved.cover.is_empty() {
            let leaf = |node: &Node| node.flags() & LEAF != 0;
            if saved.cover.len() != nodes.iter().filter(|n| leaf(n)).count() {
                return Err(bad("its leaves and their covers differ in number"));
            }
            if !saved.cover.iter().all(|c| c.is_finite() && *c > 0.0) {
                return Err(bad("a cover is not above 0"));
            }
            let mut given = saved.cover.iter();
            let cover = |node| if leaf(node) { given.next() } else { None };
            covers = nodes
                .iter()
                .map(cover)
                .map(|c| c.copied().unwrap_or(0.0))
                .collect();
        }
        Ok(Tree {
            nodes,
            numbers: saved.number,
            sets: saved.sets,
            values: saved.values,
            covers,
            width,
        })
    }
}

/// Codes of rows, and what stands in for missing ones.
pub(crate) struct Codes<'a> {
    source: Source<'a>,
    width: usize,
    /// By feature, the code that stands in for a missing one; empty when all that is missing stays so.
    fills: Vec<u8>,
}

/// Where codes are, those of each row together.
enum Source<'a> {
    Matrix(&'a Features),
    Rows(&'a [u8]),
}

impl<'a> Codes<'a> {
    /// Those of a matrix.
    pub fn of(features: &'a Features, fills: &[f64]) -> Self {
        let columns = || features.columns.iter().zip(fills);
        let filled = columns().any(|(c, fill)| c.has_missing && !fill.is_nan());
        Codes {
            source: Source::Matrix(features),
            width: features.len(),
            fills: if filled {
                columns().map(|(c, fill)| c.code(*fill)).collect()
            } else {
                Vec::new()
            },
        }
    }

    /// Those of rows that were encoded and filled elsewhere.
    pub fn of_rows(by_row: &'a [u8], width: usize) -> Self {
        Codes {
            source: Source::Rows(by_row),
            width,
            fills: Vec::new(),
        }
    }
}

/// A [`Tree`] in a model file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedTree {
    number: Vec<f64>,
    link: Vec<u32>,
    feature: Vec<u16>,
    flags: Vec<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sets: Vec<LevelSet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<f64>,
    /// One per leaf; files of the first release have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cover: Vec<f32>,
}
