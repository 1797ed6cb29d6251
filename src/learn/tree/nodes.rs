//! The tree that predicts: one flat array of 16-byte nodes, read by codes or by raw numbers with the same outcome.

use serde::{Deserialize, Serialize};

use super::view::{NodeView, Test};
use crate::learn::features::Features;
use crate::learn::learner::LearnError;

const LEAF: u8 = 1;
const MISSING_LEFT: u8 = 2;
const SET: u8 = 4;

/// Rows that go down a tree side by side.
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

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Node {
    /// Inner: the threshold, or the index of the set. Leaf: the value, or with a width above 1 the first place in `values`.
    number: f64,
    /// The left child, the right one follows. A leaf is its own left child.
    link: u32,
    feature: u16,
    /// The largest code that goes left; 255 in a leaf.
    code: u8,
    flags: u8,
}

/// A decision tree. Nodes are stored so that both children of a node are neighbours.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tree {
    nodes: Vec<Node>,
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
        self.nodes.push(Node {
            number,
            link,
            feature: 0,
            code: u8::MAX,
            flags: LEAF | MISSING_LEFT,
        });
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
        self.nodes[node] = Node {
            number,
            link: left as u32,
            feature,
            code,
            flags,
        };
        left
    }

    /// Sets the numbers of the leaf `node`.
    pub(crate) fn set_leaf(&mut self, node: usize, values: &[f64]) {
        if self.width == 1 {
            self.nodes[node].number = values[0];
        } else {
            let at = self.nodes[node].number as usize;
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
        if node.flags & LEAF != 0 {
            return NodeView::Leaf {
                values: self.leaf(node),
            };
        }
        NodeView::Inner {
            feature: usize::from(node.feature),
            test: if node.flags & SET != 0 {
                Test::In(&self.sets[node.number as usize])
            } else {
                Test::AtMost(node.number)
            },
            missing_left: node.flags & MISSING_LEFT != 0,
            left: node.link as usize,
            right: node.link as usize + 1,
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

    fn leaf<'a>(&'a self, node: &'a Node) -> &'a [f64] {
        if self.width == 1 {
            std::slice::from_ref(&node.number)
        } else {
            let at = node.number as usize;
            &self.values[at..at + self.width]
        }
    }

    #[inline]
    fn step(&self, node: &Node, left: bool) -> &Node {
        &self.nodes[node.link as usize + usize::from(!left)]
    }

    /// The leaf numbers of an encoded row; NaN is missing. An unknown level, below 0 or above 254, counts as missing.
    #[inline]
    pub fn predict(&self, row: &[f64]) -> &[f64] {
        let mut node = &self.nodes[0];
        while node.flags & LEAF == 0 {
            let x = row[usize::from(node.feature)];
            let left = if x.is_nan() {
                node.flags & MISSING_LEFT != 0
            } else if node.flags & SET != 0 {
                if (0.0..f64::from(Features::MISSING)).contains(&x) {
                    in_set(&self.sets[node.number as usize], x as u8)
                } else {
                    node.flags & MISSING_LEFT != 0
                }
            } else {
                x <= node.number
            };
            node = self.step(node, left);
        }
        self.leaf(node)
    }

    /// Calls `each` with the position in `rows` and the leaf numbers of every row, in order. The rows are those of the
    /// matrix that the tree was grown on.
    ///
    /// Several rows go down side by side, so that the processor waits for their loads at the same time. A row that has
    /// arrived stays where it is, because a leaf is its own left child and every code goes left there.
    #[inline]
    pub(crate) fn for_each_leaf(
        &self,
        columns: &[Codes<'_>],
        rows: &[u32],
        mut each: impl FnMut(usize, &[f64]),
    ) {
        // Without sets, and with a fill wherever something is missing, a comparison is all there is to do.
        let stays_missing = |c: &Codes<'_>| c.has_missing && c.fill == Features::MISSING;
        let plain = self.sets.is_empty() && !columns.iter().any(stays_missing);
        for (block, rows) in rows.chunks(LANES).enumerate() {
            let mut at = [0_usize; LANES];
            let mut arrived = false;
            while !arrived {
                arrived = true;
                for (at, &row) in at.iter_mut().zip(rows) {
                    let node = &self.nodes[*at];
                    let column = &columns[usize::from(node.feature)];
                    let code = column.codes[row as usize];
                    let code = if code == Features::MISSING {
                        column.fill
                    } else {
                        code
                    };
                    let right = if plain {
                        code > node.code
                    } else {
                        !self.goes_left(node, code)
                    };
                    *at = node.link as usize + usize::from(right);
                    arrived &= node.flags & LEAF != 0;
                }
            }
            for (lane, at) in at[..rows.len()].iter().enumerate() {
                each(block * LANES + lane, self.leaf(&self.nodes[*at]));
            }
        }
    }

    #[inline]
    fn goes_left(&self, node: &Node, code: u8) -> bool {
        if code == Features::MISSING {
            node.flags & MISSING_LEFT != 0
        } else if node.flags & SET != 0 {
            in_set(&self.sets[node.number as usize], code)
        } else {
            code <= node.code
        }
    }

    /// The stored form: columns instead of records, so that files stay small.
    pub(crate) fn to_saved(&self) -> SavedTree {
        SavedTree {
            number: self.nodes.iter().map(|n| n.number).collect(),
            link: self.nodes.iter().map(|n| n.link).collect(),
            feature: self.nodes.iter().map(|n| n.feature).collect(),
            flags: self.nodes.iter().map(|n| n.flags).collect(),
            sets: self.sets.clone(),
            values: self.values.clone(),
            cover: self.leaf_covers(),
        }
    }

    /// One cover per leaf, or none at all where one was never set.
    fn leaf_covers(&self) -> Vec<f32> {
        let nodes = self.nodes.iter().zip(&self.covers);
        let covers: Vec<f32> = nodes
            .filter(|(node, _)| node.flags & LEAF != 0)
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
            let node = Node {
                number: saved.number[i],
                link: saved.link[i],
                feature: saved.feature[i],
                code: 0,
                flags: saved.flags[i],
            };
            let link = node.link as usize;
            if node.flags & LEAF != 0 {
                let at = node.number as usize;
                if width > 1 && (node.number < 0.0 || at + width > saved.values.len()) {
                    return Err(bad("a leaf points outside of the values"));
                }
            } else {
                if link <= i || link + 1 >= n {
                    return Err(bad("a node points outside of the tree or back"));
                }
                if usize::from(node.feature) >= features {
                    return Err(bad("a node asks for a feature that is not there"));
                }
                let set_ok = node.number >= 0.0 && (node.number as usize) < saved.sets.len();
                if node.flags & SET != 0 && !set_ok {
                    return Err(bad("a node points outside of the level sets"));
                }
            }
            nodes.push(node);
        }
        let mut covers = Vec::new();
        if !saved.cover.is_empty() {
            let leaf = |node: &Node| node.flags & LEAF != 0;
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
            sets: saved.sets,
            values: saved.values,
            covers,
            width,
        })
    }
}

/// What prediction by codes needs of one feature.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    /// One code per row of the dataset.
    pub codes: &'a [u8],
    /// The code that stands in for a missing one; [`Features::MISSING`] when it stays missing.
    pub fill: u8,
    /// Whether any row of the dataset has it missing.
    pub has_missing: bool,
}

impl<'a> Codes<'a> {
    /// One per feature.
    pub fn of(features: &'a Features, fills: &[f64]) -> Vec<Codes<'a>> {
        let column = |(c, fill): (&'a crate::learn::features::Feature, &f64)| Codes {
            codes: &c.codes,
            fill: c.code(*fill),
            has_missing: c.has_missing,
        };
        features.columns.iter().zip(fills).map(column).collect()
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
