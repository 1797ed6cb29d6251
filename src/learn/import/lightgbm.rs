//! LightGBM's text files.
//!
//! What a value meets at a node, from `Tree::NumericalDecision` and `Tree::CategoricalDecision` of LightGBM:
//!
//! - Missing type *none*: a missing value counts as 0, so it goes where 0 goes.
//! - *NaN*: a missing value goes to the default side, anything else is compared.
//! - *zero*: a missing value and 0 (up to 1e-35) go to the default side. The type belongs to a feature, not to a node, so
//!   the encoding turns 0 into missing, and what is left is the case *NaN*.
//! - Categories: a code in the bit set goes left; every other code, and a missing value, goes right.
//!
//! Trees of a random forest (`average_output`) are divided by the number of rounds, `sigmoid` is multiplied into leaves.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value as Json;

use crate::data::table::Task;
use crate::learn::tree::view::Link;

use super::trees::{self, Levels, Node, Test};
use super::{Column, ImportError, Options, Parsed, Program, Reads};

/// Levels of one column that codes can tell apart.
const MOST_LEVELS: usize = 254;

const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

fn damaged(what: impl Into<String>) -> ImportError {
    ImportError::Damaged {
        program: Program::Lightgbm,
        what: what.into(),
    }
}

fn unsupported(what: impl Into<String>) -> ImportError {
    ImportError::Unsupported {
        program: Program::Lightgbm,
        what: what.into(),
    }
}

/// `key=value` lines up to a blank one, with their numbers in the file.
struct Block<'a> {
    /// Number of the first line, from 1.
    line: usize,
    entries: BTreeMap<&'a str, (usize, &'a str)>,
}

impl<'a> Block<'a> {
    fn find(&self, key: &str) -> Option<&'a str> {
        self.entries.get(key).map(|(_, value)| *value)
    }

    fn get(&self, key: &str) -> Result<&'a str, ImportError> {
        self.find(key).ok_or_else(|| {
            damaged(format!(
                "`{key}` is not in the part that begins in line {}",
                self.line
            ))
        })
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<T, ImportError> {
        let text = self.get(key)?;
        text.trim().parse().map_err(|_| {
            let line = self.entries[key].0;
            damaged(format!(
                "line {line}: `{key}` is not a number that fits, but `{text}`"
            ))
        })
    }

    /// So many numbers separated by blanks.
    fn list<T: FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, ImportError> {
        let text = self.get(key)?;
        let line = self.entries[key].0;
        let mut numbers = Vec::with_capacity(count.min(text.len()));
        for word in text.split_ascii_whitespace() {
            numbers.push(word.parse().map_err(|_| {
                damaged(format!(
                    "line {line}: `{word}` in `{key}` is not a number that fits"
                ))
            })?);
        }
        if numbers.len() != count {
            return Err(damaged(format!(
                "line {line}: `{key}` has {} numbers instead of {count}",
                numbers.len()
            )));
        }
        Ok(numbers)
    }
}

/// One tree as the file has it.
struct RawTree {
    features: Vec<usize>,
    thresholds: Vec<f64>,
    decisions: Vec<u8>,
    left: Vec<i64>,
    right: Vec<i64>,
    /// For each inner node the codes that go left, where it asks for a category.
    codes: Vec<Vec<u32>>,
    leaves: Vec<f64>,
    covers: Vec<f64>,
}

/// Reads a model.
pub(super) fn parse(bytes: &[u8], options: &Options) -> Result<Parsed, ImportError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| damaged(format!("the byte at {} is no UTF-8 text", e.valid_up_to())))?;
    let (blocks, pandas) = blocks(text)?;
    let (head, tree_blocks) = blocks
        .split_first()
        .ok_or_else(|| damaged("it has no header"))?;
    if !head.entries.contains_key("tree") {
        return Err(damaged("it does not begin with `tree`"));
    }
    let version = head.get("version")?;
    if !["v3", "v4"].contains(&version) {
        return Err(unsupported(format!(
            "its format is `{version}`; v3 and v4 can be read"
        )));
    }
    let features = head.number::<usize>("max_feature_idx")?.saturating_add(1);
    if features > usize::from(u16::MAX) {
        return Err(unsupported(format!(
            "{features} features; at most 65535 are possible"
        )));
    }
    let names: Vec<&str> = head
        .get("feature_names")?
        .split_ascii_whitespace()
        .collect();
    let infos: Vec<&str> = head
        .get("feature_infos")?
        .split_ascii_whitespace()
        .collect();
    if names.len() != features || infos.len() != features {
        return Err(damaged(format!(
            "{} feature_names and {} feature_infos for {features} features",
            names.len(),
            infos.len()
        )));
    }
    let per_round = head.number::<usize>("num_tree_per_iteration")?;
    let mut raw = Vec::with_capacity(tree_blocks.len());
    let mut gains = vec![0.0; features];
    for block in tree_blocks {
        raw.push(raw_tree(block, &mut gains)?);
    }
    if per_round == 0 || !raw.len().is_multiple_of(per_round) {
        return Err(damaged(format!(
            "{} trees are no whole rounds of {per_round}",
            raw.len()
        )));
    }

    let objective = head.find("objective").unwrap_or("none");
    let Objective { task, link, factor } = objective_of(objective, per_round)?;
    let rounds = (raw.len() / per_round).max(1) as f64;
    let averaged = head.entries.contains_key("average_output");
    let of_leaf = |value: f64| factor * if averaged { value / rounds } else { value };

    let missing = missing_types(&raw, features)?;
    let given = given_levels(&names, &infos, pandas, options)?;
    let mut columns = Vec::with_capacity(features);
    let mut levels = Vec::with_capacity(features);
    for (feature, given) in given.into_iter().enumerate() {
        let name = names[feature].to_owned();
        let (reads, codes) = match missing[feature] {
            Missing::Categorical => level_names(&name, feature, given, infos[feature], &raw)?,
            Missing::Zero => (Reads::NonZero, None),
            _ => match given {
                // A category that no tree asks for.
                Some(names) if names.len() <= MOST_LEVELS && !names.is_empty() => {
                    let (names, codes) = trees::sorted(names).map_err(&damaged)?;
                    (Reads::Levels(names), Some(codes))
                }
                _ => (Reads::Number, None),
            },
        };
        columns.push(Column { name, reads });
        levels.push(codes);
    }
    let mut built = Vec::with_capacity(raw.len());
    for (i, tree) in raw.into_iter().enumerate() {
        let nodes = nodes(tree, of_leaf)?;
        built.push(trees::build(&nodes, &levels).map_err(|e| damaged(format!("tree {i}: {e}")))?);
    }
    Ok(Parsed {
        program: Program::Lightgbm,
        origin: format!("LightGBM {version}, {objective}"),
        task,
        link,
        base: vec![0.0; per_round],
        columns,
        trees: built,
        gains,
    })
}

/// The header and the trees, and the levels of the columns that were categories in pandas.
fn blocks(text: &str) -> Result<(Vec<Block<'_>>, Option<&str>), ImportError> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut fresh = true;
    let mut ended = false;
    for (i, line) in lines.by_ref() {
        let line = line.trim();
        if line == "end of trees" {
            ended = true;
            break;
        }
        // Trees are apart by blank lines; in the header there are some as well.
        if line.starts_with("Tree=") || fresh && !line.is_empty() {
            blocks.push(Block {
                line: i + 1,
                entries: BTreeMap::new(),
            });
            fresh = false;
        }
        if let (Some(block), false) = (blocks.last_mut(), line.is_empty()) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            block.entries.insert(key, (i + 1, value));
        }
    }
    if !ended {
        return Err(damaged(
            "the line `end of trees` is missing; was the file cut off?",
        ));
    }
    let pandas = lines.find_map(|(_, line)| line.strip_prefix("pandas_categorical:"));
    Ok((blocks, pandas))
}

fn raw_tree(block: &Block<'_>, gains: &mut [f64]) -> Result<RawTree, ImportError> {
    if block.find("is_linear").is_some_and(|l| l.trim() == "1") {
        return Err(unsupported(
            "it has linear models in its leaves; train without `linear_tree`",
        ));
    }
    let count = block.number::<usize>("num_leaves")?;
    if count == 0 {
        return Err(damaged(format!(
            "the tree of line {} has no leaves",
            block.line
        )));
    }
    let inner = count - 1;
    // Without a split there is one value, and often no counts.
    let leaves = block.list("leaf_value", count)?;
    let covers = match block.find("leaf_count") {
        Some(text) if !text.trim().is_empty() => block.list("leaf_count", count)?,
        _ => vec![1.0; count],
    };
    if inner == 0 {
        return Ok(RawTree {
            features: Vec::new(),
            thresholds: Vec::new(),
            decisions: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            codes: Vec::new(),
            leaves,
            covers,
        });
    }
    let features: Vec<usize> = block.list("split_feature", inner)?;
    if let Some(wrong) = features.iter().find(|f| **f >= gains.len()) {
        return Err(damaged(format!(
            "the tree of line {} asks for feature {wrong}, and there are {}",
            block.line,
            gains.len()
        )));
    }
    if block.find("split_gain").is_some() {
        let of: Vec<f64> = block.list("split_gain", inner)?;
        for (feature, gain) in features.iter().zip(of) {
            // A forced split may have none.
            gains[*feature] += if gain.is_finite() { gain.max(0.0) } else { 0.0 };
        }
    }
    let thresholds: Vec<f64> = block.list("threshold", inner)?;
    let decisions: Vec<u8> = block.list("decision_type", inner)?;
    let mut codes = vec![Vec::new(); inner];
    let sets = block.number::<usize>("num_cat")?;
    if sets > 0 {
        let words_in = |what: &str| damaged(format!("the tree of line {}: {what}", block.line));
        let bounds: Vec<usize> = block.list("cat_boundaries", sets.saturating_add(1))?;
        let count = bounds.last().copied().unwrap_or(0);
        let words: Vec<u32> = block.list("cat_threshold", count)?;
        for node in (0..inner).filter(|&n| decisions[n] & CATEGORICAL != 0) {
            let set = thresholds[node] as usize;
            let range = (bounds.get(set).copied(), bounds.get(set + 1).copied());
            let (Some(from), Some(to)) = range else {
                return Err(words_in("a node asks for a set that is not there"));
            };
            let words = words
                .get(from..to)
                .ok_or_else(|| words_in("`cat_boundaries` do not ascend"))?;
            for (i, word) in words.iter().enumerate() {
                let bits = (0..32).filter(|bit| word >> bit & 1 == 1);
                codes[node].extend(bits.map(|bit| i as u32 * 32 + bit));
            }
        }
    } else if decisions.iter().any(|d| d & CATEGORICAL != 0) {
        return Err(damaged(format!(
            "the tree of line {} asks for categories and has no sets of them",
            block.line
        )));
    }
    Ok(RawTree {
        features,
        thresholds,
        decisions,
        left: block.list("left_child", inner)?,
        right: block.list("right_child", inner)?,
        codes,
        leaves,
        covers,
    })
}

struct Objective {
    task: Task,
    link: Link,
    /// What the sum is multiplied by before the link.
    factor: f64,
}

/// From `objective=`, a name with words such as `sigmoid:1`.
fn objective_of(text: &str, per_round: usize) -> Result<Objective, ImportError> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or("none");
    let mut factor = 1.0;
    for word in words {
        if let Some(sigmoid) = word.strip_prefix("sigmoid:") {
            factor = sigmoid
                .parse()
                .map_err(|_| damaged(format!("`{word}` in `objective` is no number")))?;
        }
        if word == "sqrt" {
            return Err(unsupported(
                "it was trained with `reg_sqrt`, which squares its prediction",
            ));
        }
    }
    let (task, link) = match name {
        "binary" => (Task::Binary, Link::Logistic),
        "multiclass" => (Task::Multiclass, Link::Softmax),
        "cross_entropy" => (Task::Regression, Link::Logistic),
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" | "lambdarank"
        | "rank_xendcg" | "none" => (Task::Regression, Link::Identity),
        "poisson" | "gamma" | "tweedie" => (Task::Regression, Link::Exp),
        _ => {
            return Err(unsupported(format!(
                "its objective is `{name}`; binary, multiclass, cross_entropy, ranking and regression objectives can be read"
            )));
        }
    };
    if (link == Link::Softmax) != (per_round > 1) {
        return Err(unsupported(format!(
            "`{name}` with {per_round} trees in each round"
        )));
    }
    Ok(Objective { task, link, factor })
}

/// What the nodes on a feature take for missing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Missing {
    /// No node asks for it, or none sends missing values to a side of its own.
    None,
    Zero,
    Nan,
    Categorical,
}

/// The missing type of each feature, which all of its nodes share.
fn missing_types(raw: &[RawTree], features: usize) -> Result<Vec<Missing>, ImportError> {
    let mut found = vec![Missing::None; features];
    for tree in raw {
        for (&feature, &decision) in tree.features.iter().zip(&tree.decisions) {
            let this = match (decision & CATEGORICAL != 0, decision >> 2 & 3) {
                (true, _) => Missing::Categorical,
                (false, 0) => Missing::None,
                (false, 1) => Missing::Zero,
                (false, 2) => Missing::Nan,
                _ => return Err(damaged(format!("decision_type {decision} is not known"))),
            };
            let known = &mut found[feature];
            if *known == Missing::None {
                *known = this;
            } else if *known != this && this != Missing::None
                || (*known == Missing::Categorical) != (this == Missing::Categorical)
            {
                return Err(unsupported(format!(
                    "feature {feature} is split in two ways that do not go together"
                )));
            }
        }
    }
    Ok(found)
}

type Names = Option<Vec<(u32, String)>>;

/// The names of each feature's levels by code: from the options, else from pandas.
fn given_levels(
    names: &[&str],
    infos: &[&str],
    pandas: Option<&str>,
    options: &Options,
) -> Result<Vec<Names>, ImportError> {
    let mut given: Vec<Names> = vec![None; names.len()];
    let lists: Vec<Vec<Json>> = match pandas.map(str::trim) {
        None | Some("null" | "") => Vec::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| damaged("the line `pandas_categorical` holds no lists of levels"))?,
    };
    if !lists.is_empty() {
        // A range in brackets is a number; a feature without an entry may be either.
        let sure = |f: &usize| !infos[*f].starts_with('[') && infos[*f] != "none";
        let possible = |f: &usize| !infos[*f].starts_with('[');
        let mut columns: Vec<usize> = (0..names.len()).filter(sure).collect();
        if columns.len() != lists.len() {
            columns = (0..names.len()).filter(possible).collect();
        }
        if columns.len() != lists.len() {
            return Err(damaged(format!(
                "`pandas_categorical` has levels for {} columns, and {} features are categories",
                lists.len(),
                columns.len()
            )));
        }
        for (feature, list) in columns.into_iter().zip(lists) {
            let name = |(code, level): (usize, &Json)| (code as u32, level_text(level));
            given[feature] = Some(list.iter().enumerate().map(name).collect());
        }
    }
    for (feature, name) in names.iter().enumerate() {
        if let Some(list) = options.levels.get(*name) {
            let named = list.iter().enumerate();
            given[feature] = Some(named.map(|(i, n)| (i as u32, n.clone())).collect());
        }
    }
    Ok(given)
}

/// A level as pandas writes it into a CSV file.
fn level_text(level: &Json) -> String {
    match level {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

/// The levels of a feature that trees take as a category: by name where names are known, else by code.
fn level_names(
    name: &str,
    feature: usize,
    given: Names,
    info: &str,
    raw: &[RawTree],
) -> Result<(Reads, Levels), ImportError> {
    let mut chosen: Vec<u32> = Vec::new();
    for tree in raw {
        for (node, _) in tree
            .features
            .iter()
            .enumerate()
            .filter(|(_, f)| **f == feature)
        {
            chosen.extend(&tree.codes[node]);
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    let mut names: Vec<(u32, String)> = given.unwrap_or_else(|| {
        let known = info.split(':').filter_map(|code| code.parse::<u32>().ok());
        let mut codes: Vec<u32> = known.chain(chosen.iter().copied()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
            .into_iter()
            .map(|code| (code, code.to_string()))
            .collect()
    });
    if names.len() > MOST_LEVELS {
        // A level that no set has goes the way of a missing value.
        names.retain(|(code, _)| chosen.binary_search(code).is_ok());
    }
    if names.len() > MOST_LEVELS {
        return Err(unsupported(format!(
            "its trees tell {} levels of `{name}` apart; at most {MOST_LEVELS} are possible",
            names.len()
        )));
    }
    if names.is_empty() {
        return Err(damaged(format!("the category `{name}` has no levels")));
    }
    let (names, codes) = trees::sorted(names).map_err(|e| damaged(format!("`{name}`: {e}")))?;
    Ok((Reads::Levels(names), Some(codes)))
}

/// The nodes of a tree: the inner ones in the order of the file, then the leaves.
fn nodes(tree: RawTree, of_leaf: impl Fn(f64) -> f64) -> Result<Vec<Node>, ImportError> {
    let inner = tree.features.len();
    let place = |child: i64| {
        // A leaf is the bitwise complement of its number.
        usize::try_from(if child < 0 {
            inner as i64 + !child
        } else {
            child
        })
        .unwrap_or(usize::MAX)
    };
    let mut nodes = Vec::with_capacity(inner + tree.leaves.len());
    for (node, codes) in tree.codes.into_iter().enumerate() {
        let (feature, threshold) = (tree.features[node], tree.thresholds[node]);
        let default_left = tree.decisions[node] & DEFAULT_LEFT != 0;
        let zero_left = 0.0 <= threshold;
        let (test, missing_left) = if tree.decisions[node] & CATEGORICAL != 0 {
            (Test::Chosen { codes, left: true }, false)
        } else if tree.decisions[node] >> 2 & 3 == 0 {
            // Also where the encoding makes 0 missing.
            (Test::AtMost(threshold), zero_left)
        } else {
            (Test::AtMost(threshold), default_left)
        };
        nodes.push(Node::Inner {
            feature,
            test,
            missing_left,
            left: place(tree.left[node]),
            right: place(tree.right[node]),
        });
    }
    let leaves = tree.leaves.into_iter().zip(tree.covers);
    nodes.extend(leaves.map(|(value, cover)| Node::Leaf {
        value: of_leaf(value),
        cover,
    }));
    Ok(nodes)
}
