//! Trees as the two programs describe them, and how they become ours.

use std::collections::BTreeMap;

use crate::learn::tree::nodes::{LevelSet, Split, Tree};

/// One node; the root is the first.
pub(super) enum Node {
    Leaf {
        value: f64,
        /// How much of the training data ended here.
        cover: f64,
    },
    Inner {
        feature: usize,
        test: Test,
        missing_left: bool,
        left: usize,
        right: usize,
    },
}

/// What a node asks of a value that is not missing.
pub(super) enum Test {
    AtMost(f64),
    /// Rows of these codes go to the left, or else to the right.
    Chosen {
        codes: Vec<u32>,
        left: bool,
    },
}

/// The level of each code of a feature. None: the code itself, below [`CODES`].
pub(super) type Levels = Option<BTreeMap<u32, u8>>;

/// Codes that a set can tell apart when the feature stays a number.
pub(super) const CODES: u32 = 255;

/// Builds a tree. `levels` has an entry per feature.
pub(super) fn build(nodes: &[Node], levels: &[Levels]) -> Result<Tree, String> {
    let mut tree = Tree::new(1);
    let mut open = vec![(0, 0)];
    let mut seen = 0;
    while let Some((from, to)) = open.pop() {
        seen += 1;
        if seen > nodes.len() {
            return Err("its nodes lead in a circle".to_owned());
        }
        let node = nodes
            .get(from)
            .ok_or_else(|| format!("a node leads to node {from}, of {}", nodes.len()))?;
        match node {
            Node::Leaf { value, cover } => {
                if !value.is_finite() {
                    return Err("a leaf holds no finite number".to_owned());
                }
                tree.set_leaf(to, &[*value]);
                tree.set_cover(to, *cover);
            }
            Node::Inner {
                feature,
                test,
                missing_left,
                left,
                right,
            } => {
                let of = levels.get(*feature).ok_or_else(|| {
                    format!("a node asks for feature {feature}, of {}", levels.len())
                })?;
                let split = match test {
                    Test::AtMost(threshold) if !threshold.is_finite() => {
                        return Err("a threshold is no finite number".to_owned());
                    }
                    // Codes are those of a binned matrix, which these trees were not grown on.
                    Test::AtMost(threshold) => Split::AtMost {
                        code: 0,
                        threshold: *threshold,
                    },
                    Test::Chosen { codes, left } => Split::In(set(codes, *left, of)),
                };
                // Features are at most as many as a node can name: both readers check it.
                let below = tree.split(to, *feature as u16, split, *missing_left);
                open.push((*right, below + 1));
                open.push((*left, below));
            }
        }
    }
    Ok(tree)
}

/// The levels that go left.
fn set(codes: &[u32], left: bool, levels: &Levels) -> LevelSet {
    let mut set = [0; 4];
    let mut add = |level: u8| set[usize::from(level >> 6)] |= 1_u64 << (level & 63);
    match levels {
        Some(levels) => {
            for (code, level) in levels {
                if codes.contains(code) == left {
                    add(*level);
                }
            }
        }
        None => {
            for code in 0..CODES {
                if codes.contains(&code) == left {
                    add(code as u8);
                }
            }
        }
    }
    set
}

/// The levels of a column in byte order, and the level of each code; `names` has the name of each code.
pub(super) fn sorted(
    names: Vec<(u32, String)>,
) -> Result<(Vec<String>, BTreeMap<u32, u8>), String> {
    let mut names: Vec<(String, u32)> = names
        .into_iter()
        .map(|(code, name)| (name.trim().to_owned(), code))
        .collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|w| w[0].0 == w[1].0) {
        return Err(format!("two levels are named `{}`", pair[0].0));
    }
    let codes = names
        .iter()
        .enumerate()
        .map(|(i, (_, code))| (*code, i as u8));
    let codes = codes.collect();
    Ok((names.into_iter().map(|(name, _)| name).collect(), codes))
}
