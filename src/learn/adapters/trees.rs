//! Fitted trees of other libraries in a form of our own: flat nodes, a mean over trees, JSON with a format number.

use serde::{Deserialize, Serialize};

use crate::data::table::Task;
use crate::learn::learner::{LearnError, Model};

/// The format that is written, and the only one so far.
const FORMAT: u32 = 1;

/// One tree. Node 0 is the root; a node's children come after it; a leaf has 0 for both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tree {
    /// The feature that a node asks for; 0 in a leaf.
    pub feature: Vec<u32>,
    /// A row goes left if its value is at most this, else right; so does a missing value.
    pub threshold: Vec<f64>,
    /// Where to go from a node.
    pub left: Vec<u32>,
    /// Where else to go.
    pub right: Vec<u32>,
    /// The prediction of a leaf; 0 in an inner node.
    pub value: Vec<f64>,
}

impl Tree {
    /// Adds a leaf and gives its place.
    pub fn leaf(&mut self, value: f64) -> usize {
        self.feature.push(0);
        self.threshold.push(0.0);
        self.left.push(0);
        self.right.push(0);
        self.value.push(value);
        self.value.len() - 1
    }

    fn predict(&self, row: &[f64]) -> f64 {
        let mut node = 0;
        while self.left[node] != 0 {
            node = if row[self.feature[node] as usize] <= self.threshold[node] {
                self.left[node] as usize
            } else {
                self.right[node] as usize
            };
        }
        self.value[node]
    }

    /// Makes sure that prediction ends and stays inside the tree and the row.
    pub fn check(&self, features: usize) -> Result<(), String> {
        let nodes = self.value.len();
        let lengths = [
            self.feature.len(),
            self.threshold.len(),
            self.left.len(),
            self.right.len(),
        ];
        if nodes == 0 || lengths.iter().any(|l| *l != nodes) {
            return Err("a tree whose lists of nodes differ in length or are empty".to_owned());
        }
        for node in 0..nodes {
            let (left, right) = (self.left[node] as usize, self.right[node] as usize);
            let leaf = left == 0 && right == 0;
            let inner = left > node && right > node && left < nodes && right < nodes;
            if !(leaf || inner) || self.feature[node] as usize >= features {
                return Err(format!("node {node} of a tree points outside"));
            }
            if !self.threshold[node].is_finite() || !self.value[node].is_finite() {
                return Err(format!("node {node} of a tree holds no finite number"));
            }
        }
        Ok(())
    }
}

/// Trees for each number that is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trees {
    format: u32,
    kind: String,
    /// The library and release that fitted it; for people, nothing reads it.
    fitted_by: String,
    task: Task,
    features: usize,
    /// For each number of a prediction the trees whose mean it is.
    outputs: Vec<Vec<Tree>>,
    importance: Vec<f64>,
}

impl Trees {
    /// Freshly fitted trees; `gains` are made to sum to 1.
    pub fn new(
        kind: &'static str,
        fitted_by: &str,
        task: Task,
        outputs: Vec<Vec<Tree>>,
        gains: Vec<f64>,
    ) -> Self {
        let total: f64 = gains.iter().sum();
        let share = |gain: f64| if total > 0.0 { gain / total } else { 0.0 };
        Trees {
            format: FORMAT,
            kind: kind.to_owned(),
            fitted_by: fitted_by.to_owned(),
            task,
            features: gains.len(),
            outputs,
            importance: gains.into_iter().map(share).collect(),
        }
    }

    /// Reads the saved form of a model of `kind`.
    pub fn load(kind: &'static str, saved: &str) -> Result<Box<dyn Model>, LearnError> {
        let wrong = |what: String| LearnError::Saved { kind, what };
        let trees: Trees = serde_json::from_str(saved).map_err(|e| wrong(e.to_string()))?;
        if trees.format != FORMAT {
            return Err(wrong(format!(
                "format {} is not {FORMAT}; a newer automl may have written it",
                trees.format
            )));
        }
        if trees.kind != kind {
            return Err(wrong(format!("it is a `{}`", trees.kind)));
        }
        let expected = match trees.task {
            Task::Binary | Task::Regression => trees.outputs.len() == 1,
            Task::Multiclass => trees.outputs.len() > 1,
        };
        if !expected || trees.outputs.iter().any(Vec::is_empty) {
            return Err(wrong(format!(
                "{} outputs do not fit a {:?} task",
                trees.outputs.len(),
                trees.task
            )));
        }
        if trees.importance.len() != trees.features {
            return Err(wrong("importance and features differ in number".to_owned()));
        }
        for tree in trees.outputs.iter().flatten() {
            tree.check(trees.features).map_err(wrong)?;
        }
        Ok(Box::new(TreesModel { kind, trees }))
    }

    /// As a model.
    pub fn into_model(self, kind: &'static str) -> Box<dyn Model> {
        Box::new(TreesModel { kind, trees: self })
    }
}

struct TreesModel {
    kind: &'static str,
    trees: Trees,
}

impl Model for TreesModel {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn width(&self) -> usize {
        self.trees.outputs.len()
    }

    fn features(&self) -> usize {
        self.trees.features
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        for (out, trees) in out.iter_mut().zip(&self.trees.outputs) {
            let sum: f64 = trees.iter().map(|tree| tree.predict(row)).sum();
            *out = sum / trees.len() as f64;
        }
        if self.trees.task == Task::Multiclass {
            // One against the rest need not sum to 1.
            let sum: f64 = out.iter().sum();
            let even = 1.0 / out.len() as f64;
            for p in out {
                *p = if sum > 0.0 { *p / sum } else { even };
            }
        }
    }

    fn importance(&self) -> Option<Vec<f64>> {
        Some(self.trees.importance.clone())
    }

    fn save(&self) -> Result<String, LearnError> {
        serde_json::to_string(&self.trees).map_err(|e| LearnError::Saved {
            kind: self.kind,
            what: e.to_string(),
        })
    }
}
