//! Trees as the operator `TreeEnsemble` of ai.onnx.ml 5, in 64-bit floats.
//!
//! **Contract.** Every row ends in the leaf that [`goes_left`](crate::learn::tree::view::goes_left) leads it to. A leaf of
//! that operator adds one number to one target. Trees with several numbers per leaf therefore give the number of the leaf
//! first, and a table gives its numbers; they go in groups, so that memory per row stays small.

use crate::learn::tree::nodes::{LevelSet, Tree, in_set};
use crate::learn::tree::view::{Ensemble, NodeView, Test};

use super::encode::LEVELS_FROM;
use super::graph::{Graph, ML, bytes, doubles, int, int_list, tensor};
use super::proto::DataType;
use super::{OnnxError, Use};

/// Trees whose leaves are looked up together.
const GROUP: usize = 32;

/// Comparison `<=` among the modes of nodes.
const LEQ: u8 = 0;
/// Membership in a set among the modes of nodes.
const MEMBER: u8 = 6;

/// Adds the trees; the name of their sums with the base, rows by outputs.
pub(super) fn sums(
    graph: &mut Graph,
    ensemble: &Ensemble<'_>,
    matrix: &str,
    uses: &[Use],
) -> Result<String, OnnxError> {
    let mut total = graph.doubles(&[1, ensemble.width as i64], ensemble.base);
    let wide = ensemble.trees.iter().any(|t| t.width() > 1);
    let group = if wide { GROUP } else { usize::MAX };
    for (i, trees) in ensemble.trees.chunks(group).enumerate() {
        let mut nodes = Nodes::default();
        let mut table = Vec::new();
        for (place, tree) in trees.iter().enumerate() {
            nodes.tree(tree, uses, |values, nodes| {
                if wide {
                    let leaf = table.len() / ensemble.width;
                    table.extend_from_slice(values);
                    nodes.leaf(place, leaf as f64);
                } else {
                    nodes.leaf(ensemble.output(i.saturating_mul(group) + place), values[0]);
                }
            })?;
        }
        let targets = if wide { trees.len() } else { ensemble.width };
        let mut part = graph.op(ML, "TreeEnsemble", &[matrix], nodes.attributes(targets));
        if wide {
            let width = ensemble.width as i64;
            let leaves = graph.doubles(&[table.len() as i64 / width, width], &table);
            let to = vec![int("to", DataType::Int64 as i64)];
            let places = graph.op("", "Cast", &[&part], to);
            let values = graph.op("", "Gather", &[&leaves, &places], vec![int("axis", 0)]);
            let axis = graph.ints(&[1], &[1]);
            let flat = vec![int("keepdims", 0)];
            part = graph.op("", "ReduceSum", &[&values, &axis], flat);
        }
        total = graph.op("", "Add", &[&total, &part], Vec::new());
    }
    Ok(total)
}

/// The attributes of one operator, one entry per inner node or leaf of all of its trees.
#[derive(Default)]
struct Nodes {
    roots: Vec<i64>,
    features: Vec<i64>,
    splits: Vec<f64>,
    modes: Vec<u8>,
    /// The child where the test holds and the one where it does not: a node or a leaf.
    children: [Vec<i64>; 2],
    is_leaf: [Vec<i64>; 2],
    missing_true: Vec<i64>,
    /// The members of each set in the order of nodes, with NaN after each.
    members: Vec<f64>,
    leaf_targets: Vec<i64>,
    leaf_weights: Vec<f64>,
}

/// Where the rows go that a node sends to one side.
#[derive(Clone, Copy)]
struct Child {
    at: i64,
    leaf: bool,
}

impl Nodes {
    fn leaf(&mut self, target: usize, weight: f64) {
        self.leaf_targets.push(target as i64);
        self.leaf_weights.push(weight);
    }

    fn inner(&mut self, feature: usize, mode: u8, split: f64, missing_true: bool, to: [Child; 2]) {
        self.features.push(feature as i64);
        self.modes.push(mode);
        self.splits.push(split);
        self.missing_true.push(i64::from(missing_true));
        for (side, child) in to.into_iter().enumerate() {
            self.children[side].push(child.at);
            self.is_leaf[side].push(i64::from(child.leaf));
        }
    }

    /// Adds a tree; `each_leaf` must add one leaf.
    fn tree(
        &mut self,
        tree: &Tree,
        uses: &[Use],
        mut each_leaf: impl FnMut(&[f64], &mut Nodes),
    ) -> Result<(), OnnxError> {
        // Places first, so that a node can name children that come later.
        let (mut node, mut leaf) = (self.features.len(), self.leaf_weights.len());
        let mut places = Vec::with_capacity(tree.len());
        for at in 0..tree.len() {
            let is_leaf = matches!(tree.node(at), NodeView::Leaf { .. });
            let next = if is_leaf { &mut leaf } else { &mut node };
            places.push(Child {
                at: *next as i64,
                leaf: is_leaf,
            });
            *next += 1;
        }
        self.roots.push(self.features.len() as i64);
        if places[0].leaf {
            // A root has to be a node: both of its sides are the leaf.
            self.inner(0, LEQ, 0.0, true, [places[0]; 2]);
        }
        for at in 0..tree.len() {
            match tree.node(at) {
                NodeView::Leaf { values } => each_leaf(values, self),
                NodeView::Inner {
                    feature,
                    test,
                    missing_left,
                    left,
                    right,
                } => {
                    let to = [places[left], places[right]];
                    match test {
                        Test::AtMost(threshold) => {
                            self.inner(feature, LEQ, threshold, missing_left, to);
                        }
                        Test::In(set) => self.member(feature, set, missing_left, to, uses)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// A node that asks for a set: of the levels that go left, or of the others if they are fewer.
    fn member(
        &mut self,
        feature: usize,
        set: &LevelSet,
        missing_left: bool,
        to: [Child; 2],
        uses: &[Use],
    ) -> Result<(), OnnxError> {
        let (count, first) = match uses[feature] {
            Use::Levels(count) => (count, LEVELS_FROM),
            Use::Codes(count) => (count, 0.0),
            Use::Number => return Err(OnnxError::Mixed { feature }),
        };
        let side = |left: bool| -> Vec<f64> {
            let codes = (0..count).filter(|&c| in_set(set, c as u8) == left);
            codes.map(|c| c as f64 + first).collect()
        };
        let (mut members, others) = (side(true), side(false));
        let (mut missing_true, mut to) = (missing_left, to);
        if others.len() < members.len() {
            members = others;
            missing_true = !missing_true;
            to.reverse();
        }
        if members.is_empty() {
            // No level is that small: only missing values can take the first side.
            self.inner(feature, LEQ, f64::MIN, missing_true, to);
        } else {
            self.inner(feature, MEMBER, 0.0, missing_true, to);
            self.members.extend(members);
            self.members.push(f64::NAN);
        }
        Ok(())
    }

    fn attributes(self, targets: usize) -> Vec<super::proto::AttributeProto> {
        let list = |numbers: &[f64]| doubles(&[numbers.len() as i64], numbers);
        let [trues, falses] = self.children;
        let [true_leafs, false_leafs] = self.is_leaf;
        let mut attributes = vec![
            // Leaves of the trees are added, and nothing else is done with the sum.
            int("aggregate_function", 1),
            int("post_transform", 0),
            int("n_targets", targets as i64),
            int_list("tree_roots", self.roots),
            int_list("nodes_featureids", self.features),
            tensor("nodes_splits", list(&self.splits)),
            tensor("nodes_modes", bytes(self.modes)),
            int_list("nodes_truenodeids", trues),
            int_list("nodes_trueleafs", true_leafs),
            int_list("nodes_falsenodeids", falses),
            int_list("nodes_falseleafs", false_leafs),
            int_list("nodes_missing_value_tracks_true", self.missing_true),
            int_list("leaf_targetids", self.leaf_targets),
            tensor("leaf_weights", list(&self.leaf_weights)),
        ];
        if !self.members.is_empty() {
            attributes.push(tensor("membership_values", list(&self.members)));
        }
        attributes
    }
}
