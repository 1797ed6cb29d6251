//! XGBoost's JSON files.
//!
//! XGBoost casts a value to 32 bits and sends it left when it is **less** than the threshold; ours goes left when a 64-bit
//! value is **at most** the threshold. Casting rounds to the nearest, so the values that XGBoost sends left are exactly those
//! up to the middle between the threshold and the 32-bit number before it, or just below that middle where a tie rounds
//! up. [`at_most`] finds this number; no cast is left to do, and no value takes another way.
//!
//! Categories: a code in the node's list goes **right**, every other one left, a missing value to the default side. Files
//! of releases before 3.1 have codes without names, so that such a column is a number unless names are given; codes from
//! 255 on, which no list may have, then count as missing.
//!
//! The base score is kept as a prediction and goes through the inverse of the link. Leaves are added in 32 bits.

use serde::Deserialize;

use crate::data::table::Task;
use crate::learn::tree::view::Link;
use crate::stats::special::ln;

use super::trees::{self, CODES, Node, Test};
use super::{Column, ImportError, Options, Parsed, Program, Reads};

fn damaged(what: impl Into<String>) -> ImportError {
    ImportError::Damaged {
        program: Program::Xgboost,
        what: what.into(),
    }
}

fn unsupported(what: impl Into<String>) -> ImportError {
    ImportError::Unsupported {
        program: Program::Xgboost,
        what: what.into(),
    }
}

#[derive(Deserialize)]
struct File {
    learner: Learner,
    #[serde(default)]
    version: Vec<u32>,
}

#[derive(Deserialize)]
struct Learner {
    #[serde(default)]
    feature_names: Vec<String>,
    gradient_booster: Booster,
    learner_model_param: ModelParam,
    objective: Objective,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

#[derive(Deserialize)]
struct ModelParam {
    base_score: String,
    #[serde(default)]
    num_class: String,
    num_feature: String,
    #[serde(default)]
    num_target: String,
}

#[derive(Deserialize)]
struct Booster {
    name: String,
    model: Option<TreeModel>,
    /// Of `dart`.
    gbtree: Option<Inner>,
    #[serde(default)]
    weight_drop: Vec<f32>,
}

#[derive(Deserialize)]
struct Inner {
    model: TreeModel,
}

#[derive(Deserialize)]
struct TreeModel {
    trees: Vec<RawTree>,
    tree_info: Vec<usize>,
    cats: Option<Cats>,
}

/// Since release 3.1: the levels of each feature in the order of their codes.
#[derive(Deserialize)]
struct Cats {
    #[serde(default)]
    enc: Vec<Encoding>,
}

#[derive(Deserialize)]
struct Encoding {
    /// Of texts: where each begins in `values`, and the end.
    #[serde(default)]
    offsets: Vec<usize>,
    /// The bytes of all texts, or numbers that are levels.
    #[serde(default)]
    values: Vec<serde_json::Number>,
}

impl Encoding {
    /// The names of the levels; none where the feature is no category.
    fn names(&self) -> Result<Vec<String>, String> {
        if self.offsets.is_empty() {
            return Ok(self.values.iter().map(ToString::to_string).collect());
        }
        let bytes: Vec<u8> = self
            .values
            .iter()
            .map(|v| v.as_i64().unwrap_or(0) as u8)
            .collect();
        let name = |w: &[usize]| {
            let text = bytes
                .get(w[0]..w[1])
                .and_then(|b| std::str::from_utf8(b).ok());
            text.map(str::to_owned)
                .ok_or("its levels are no texts".to_owned())
        };
        self.offsets.windows(2).map(name).collect()
    }
}

#[derive(Deserialize)]
struct RawTree {
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<usize>,
    /// The threshold; the value of a leaf; nothing at a category.
    split_conditions: Vec<Option<f32>>,
    default_left: Vec<Flag>,
    #[serde(default)]
    loss_changes: Vec<Option<f64>>,
    #[serde(default)]
    sum_hessian: Vec<Option<f64>>,
    #[serde(default)]
    split_type: Vec<u8>,
    #[serde(default)]
    categories: Vec<u32>,
    #[serde(default)]
    categories_nodes: Vec<usize>,
    #[serde(default)]
    categories_segments: Vec<usize>,
    #[serde(default)]
    categories_sizes: Vec<usize>,
    tree_param: TreeParam,
}

/// A truth value, which some releases write as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(u8),
}

#[derive(Deserialize)]
struct TreeParam {
    #[serde(default)]
    size_leaf_vector: String,
}

/// Reads a model.
pub(super) fn parse(bytes: &[u8], options: &Options) -> Result<Parsed, ImportError> {
    let file: File = serde_json::from_slice(&without_nan(bytes)).map_err(|e| damaged(said(&e)))?;
    let learner = file.learner;
    let param = &learner.learner_model_param;
    if count(&param.num_target)? > 1 {
        return Err(unsupported("it predicts several targets"));
    }
    let features = count(&param.num_feature)?;
    if features > usize::from(u16::MAX) {
        return Err(unsupported(format!(
            "{features} features; at most 65535 are possible"
        )));
    }
    let mut names = learner.feature_names;
    if names.is_empty() {
        names = (0..features).map(|i| format!("f{i}")).collect();
    }
    if names.len() != features {
        return Err(damaged(format!(
            "{} feature_names for {features} features",
            names.len()
        )));
    }
    let booster = learner.gradient_booster;
    let model = match (booster.name.as_str(), booster.model, booster.gbtree) {
        ("gbtree", Some(model), _) | ("dart", _, Some(Inner { model })) => model,
        ("gblinear", ..) => {
            return Err(unsupported(
                "it is linear (`gblinear`); `gbtree` and `dart` can be read",
            ));
        }
        (name, ..) => {
            return Err(damaged(format!(
                "there are no trees in the booster `{name}`"
            )));
        }
    };
    if booster.name == "dart" && booster.weight_drop.len() != model.trees.len() {
        return Err(damaged(format!(
            "{} weights for {} trees",
            booster.weight_drop.len(),
            model.trees.len()
        )));
    }

    let objective = learner.objective.name;
    let (task, link) = objective_of(&objective)?;
    let width = if link == Link::Softmax {
        count(&param.num_class)?
    } else {
        1
    };
    if link == Link::Softmax && width < 2 {
        return Err(damaged(format!("`{objective}` with {width} classes")));
    }
    // Of the raw objective the base score is raw as well.
    let inverse = if objective == "binary:logitraw" {
        Link::Identity
    } else {
        link
    };
    let base = base_score(&param.base_score, inverse, width)?;

    let mut columns = Vec::with_capacity(features);
    let mut levels = Vec::with_capacity(features);
    for (feature, name) in names.into_iter().enumerate() {
        let encoding = model.cats.as_ref().and_then(|c| c.enc.get(feature));
        let given = match (options.levels.get(&name), encoding) {
            (Some(given), _) => given.clone(),
            (None, Some(encoding)) => encoding
                .names()
                .map_err(|e| damaged(format!("`{name}`: {e}")))?,
            (None, None) => Vec::new(),
        };
        let (reads, codes) = if given.is_empty() {
            (Reads::Number, None)
        } else {
            let wrong = |what: String| ImportError::Options {
                what: format!("`{name}`: {what}"),
            };
            if given.len() >= CODES as usize {
                return Err(wrong(format!(
                    "{} levels; at most 254 are possible",
                    given.len()
                )));
            }
            let named = (0..).zip(given).collect();
            let (sorted, codes) = trees::sorted(named).map_err(wrong)?;
            (Reads::Levels(sorted), Some(codes))
        };
        columns.push(Column { name, reads });
        levels.push(codes);
    }
    let mut gains = vec![0.0; features];
    // Trees of one class follow one another where a round has several of each; here classes take turns.
    let mut by_class: Vec<Vec<_>> = (0..width).map(|_| Vec::new()).collect();
    if model.tree_info.len() != model.trees.len() {
        return Err(damaged(format!(
            "tree_info is for {} trees of {}",
            model.tree_info.len(),
            model.trees.len()
        )));
    }
    for (i, (raw, &class)) in model.trees.iter().zip(&model.tree_info).enumerate() {
        let place = |e: String| damaged(format!("tree {i}: {e}"));
        if !["", "0", "1"].contains(&raw.tree_param.size_leaf_vector.as_str()) {
            return Err(unsupported(
                "its leaves hold several numbers (`multi_output_tree`)",
            ));
        }
        for (node, feature) in raw.split_indices.iter().enumerate() {
            let column = columns.get(*feature);
            let inner = raw.left_children.get(node).is_some_and(|left| *left >= 0);
            if inner
                && raw.split_type.get(node) != Some(&1)
                && let Some(column) = column
                && options.levels.contains_key(&column.name)
            {
                return Err(ImportError::Options {
                    what: format!(
                        "levels are given for `{}`, which is a number to the model",
                        column.name
                    ),
                });
            }
        }
        let weight = booster.weight_drop.get(i).copied().unwrap_or(1.0);
        let nodes = nodes(raw, weight, &mut gains, &columns).map_err(place)?;
        let tree = trees::build(&nodes, &levels).map_err(place)?;
        by_class
            .get_mut(class)
            .ok_or_else(|| place(format!("it belongs to class {class}, of {width}")))?
            .push(tree);
    }
    let rounds = by_class[0].len();
    if by_class.iter().any(|trees| trees.len() != rounds) {
        return Err(damaged("its classes have different numbers of trees"));
    }
    let mut turns: Vec<_> = by_class.into_iter().map(Vec::into_iter).collect();
    let built = (0..rounds * width).filter_map(|i| turns[i % width].next());
    let version: Vec<String> = file.version.iter().map(u32::to_string).collect();
    Ok(Parsed {
        program: Program::Xgboost,
        origin: format!("XGBoost {}, {objective}", version.join(".")),
        task,
        link,
        base,
        columns,
        trees: built.collect(),
        gains,
    })
}

/// XGBoost writes NaN and infinities as bare words, which are no JSON: as nothing they are read.
fn without_nan(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut in_text, mut escaped) = (false, false);
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if !in_text {
            let words: [&[u8]; 5] = [b"NaN", b"-NaN", b"Infinity", b"-Infinity", b"nan"];
            if let Some(word) = words.iter().find(|w| rest.starts_with(w)) {
                out.extend_from_slice(b"null");
                rest = &rest[word.len()..];
                continue;
            }
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
        out.push(byte);
        rest = after;
    }
    out
}

/// What the JSON reader found, in words for people.
fn said(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => {
            "its JSON ends too early; was the file cut off?".to_owned()
        }
        serde_json::error::Category::Data => {
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text);
            match what.strip_prefix("missing field ") {
                Some(field) => format!("{field} is missing before {place}"),
                None => format!("{place} has something else than an XGBoost model has there"),
            }
        }
        _ => format!("{place} is no JSON"),
    }
}

/// XGBoost writes numbers of things as texts.
fn count(text: &str) -> Result<usize, ImportError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .map_err(|_| damaged(format!("`{text}` in learner_model_param is no number")))
}

fn objective_of(name: &str) -> Result<(Task, Link), ImportError> {
    Ok(match name {
        // XGBoost leaves the logistic function of the second one to its user.
        "binary:logistic" | "binary:logitraw" => (Task::Binary, Link::Logistic),
        "reg:logistic" => (Task::Regression, Link::Logistic),
        "multi:softprob" | "multi:softmax" => (Task::Multiclass, Link::Softmax),
        "reg:squarederror"
        | "reg:linear"
        | "reg:squaredlogerror"
        | "reg:absoluteerror"
        | "reg:pseudohubererror"
        | "reg:quantileerror"
        | "rank:pairwise"
        | "rank:ndcg"
        | "rank:map" => (Task::Regression, Link::Identity),
        "count:poisson" | "reg:gamma" | "reg:tweedie" => (Task::Regression, Link::Exp),
        _ => {
            return Err(unsupported(format!(
                "its objective is `{name}`; binary:logistic, multi:softprob, reg:*, rank:* and count:poisson can be read"
            )));
        }
    })
}

/// The number that sums begin with: the base score through the inverse of the link, in 32 bits as XGBoost has it.
fn base_score(text: &str, link: Link, width: usize) -> Result<Vec<f64>, ImportError> {
    let wrong = || damaged(format!("the base_score is `{text}`"));
    // A text of one number; since release 3.1 a list in a text, with one for each class.
    let inside = text.trim().trim_start_matches('[').trim_end_matches(']');
    let numbers: Result<Vec<f32>, _> = inside.split(',').map(|n| n.trim().parse()).collect();
    let mut numbers = numbers.map_err(|_| wrong())?;
    if numbers.len() == 1 {
        numbers.resize(width, numbers[0]);
    }
    if numbers.len() != width {
        return Err(wrong());
    }
    let margin = |score: f32| match link {
        Link::Logistic => f64::from(-(ln(f64::from(1.0 / score - 1.0)) as f32)),
        Link::Exp => f64::from(ln(f64::from(score)) as f32),
        Link::Identity | Link::Mean | Link::Softmax => f64::from(score),
    };
    let margins: Vec<f64> = numbers.into_iter().map(margin).collect();
    if margins.iter().all(|m| m.is_finite()) {
        Ok(margins)
    } else {
        Err(wrong())
    }
}

/// The largest 64-bit number that XGBoost finds less than `threshold` after its cast to 32 bits.
pub(super) fn at_most(threshold: f32) -> f64 {
    let middle = (f64::from(threshold.next_down()) + f64::from(threshold)) / 2.0;
    let largest = if (middle as f32) < threshold {
        middle
    } else {
        middle.next_down()
    };
    // Nothing is less than the least number of 32 bits but minus infinity, which no cell holds.
    largest.max(f64::MIN)
}

fn nodes(
    raw: &RawTree,
    weight: f32,
    gains: &mut [f64],
    columns: &[Column],
) -> Result<Vec<Node>, String> {
    let count = raw.left_children.len();
    let lengths = [
        raw.right_children.len(),
        raw.split_indices.len(),
        raw.split_conditions.len(),
        raw.default_left.len(),
    ];
    if count == 0 || lengths.iter().any(|l| *l != count) {
        return Err("its lists of nodes differ in length or are empty".to_owned());
    }
    let mut sets: Vec<Option<Vec<u32>>> = vec![None; count];
    for (i, &node) in raw.categories_nodes.iter().enumerate() {
        let place = raw
            .categories_segments
            .get(i)
            .zip(raw.categories_sizes.get(i));
        let codes = place
            .and_then(|(&from, &size)| raw.categories.get(from..from.checked_add(size)?))
            .ok_or("its lists of categories do not fit together")?;
        *sets
            .get_mut(node)
            .ok_or("it has categories for a node that is not there")? = Some(codes.to_vec());
    }
    let mut nodes = Vec::with_capacity(count);
    for (node, set) in sets.iter_mut().enumerate() {
        let number = raw.split_conditions[node];
        let (left, right) = (raw.left_children[node], raw.right_children[node]);
        if left < 0 {
            let value = number.ok_or("a leaf holds no number")?;
            nodes.push(Node::Leaf {
                value: f64::from(weight * value),
                cover: raw.sum_hessian.get(node).copied().flatten().unwrap_or(1.0),
            });
            continue;
        }
        let feature = raw.split_indices[node];
        let column = columns.get(feature).ok_or_else(|| {
            format!(
                "node {node} asks for feature {feature}, of {}",
                columns.len()
            )
        })?;
        let gain = raw.loss_changes.get(node).copied().flatten().unwrap_or(0.0);
        gains[feature] += gain.max(0.0);
        let is_category = raw.split_type.get(node) == Some(&1);
        let test = match (is_category, set.take(), number) {
            (true, Some(codes), _) => {
                if let Some(code) = codes.iter().find(|c| **c >= CODES) {
                    return Err(format!(
                        "node {node} asks for code {code} of `{}`; codes up to 254 are possible",
                        column.name
                    ));
                }
                Test::Chosen { codes, left: false }
            }
            (false, _, Some(threshold)) => {
                if matches!(column.reads, Reads::Levels(_)) {
                    return Err(format!(
                        "node {node} compares the category `{}` with a number",
                        column.name
                    ));
                }
                Test::AtMost(at_most(threshold))
            }
            _ => {
                return Err(format!(
                    "node {node} has neither a threshold nor categories"
                ));
            }
        };
        let place = |child: i64| usize::try_from(child).unwrap_or(usize::MAX);
        nodes.push(Node::Inner {
            feature,
            test,
            missing_left: match raw.default_left[node] {
                Flag::Bool(left) => left,
                Flag::Number(left) => left != 0,
            },
            left: place(left),
            right: place(right),
        });
    }
    Ok(nodes)
}
