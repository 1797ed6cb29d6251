//! Constraints by name become constraints by feature.

use super::NAME;
use super::params::GbtParams;
use crate::data::table::Task;
use crate::learn::features::{FeatureKind, Features};
use crate::learn::learner::{LearnError, TrainingSet};
use crate::learn::tree::rules::Constraints;

/// Looks the names of `increasing`, `decreasing` and `interactions` up among the features.
pub(super) fn resolve(
    params: &GbtParams,
    data: &TrainingSet<'_>,
) -> Result<Constraints, LearnError> {
    Ok(Constraints {
        directions: directions(params, data)?,
        groups: groups(&params.interactions, data.features)?,
    })
}

fn fail<T>(what: String) -> Result<T, LearnError> {
    Err(LearnError::Params {
        learner: NAME,
        what,
    })
}

fn directions(params: &GbtParams, data: &TrainingSet<'_>) -> Result<Vec<i8>, LearnError> {
    let named = [
        ("increasing", &params.increasing, 1),
        ("decreasing", &params.decreasing, -1),
    ];
    if named.iter().all(|(_, names, _)| names.is_empty()) {
        return Ok(Vec::new());
    }
    if data.target.task == Task::Multiclass {
        return fail(
            "`increasing` and `decreasing` need two classes or numbers to predict: with more classes no probability \
             follows one feature; leave them out"
                .to_owned(),
        );
    }
    let mut directions = vec![0; data.features.len()];
    for (key, names, direction) in named {
        for name in names {
            let found = positions(key, name, data.features)?;
            let [feature] = found[..] else {
                return fail(format!(
                    "`{key}`: `{name}` became {} features without a common direction; name one of them, as in `{}`",
                    found.len(),
                    data.features.columns[found[0]].name
                ));
            };
            let column = &data.features.columns[feature];
            if matches!(column.kind, FeatureKind::Categorical { .. }) {
                return fail(format!(
                    "`{key}`: `{name}` has levels without order; leave it out, or give its levels numbers with \
                     `preprocess: {{levels: …}}`"
                ));
            }
            if directions[feature] == -direction {
                return fail(format!(
                    "`{name}` is in `increasing` and in `decreasing`; remove it from one of them"
                ));
            }
            directions[feature] = direction;
        }
    }
    Ok(directions)
}

/// By feature the groups that it is in. Features that no group names are one more group together, as in scikit-learn.
fn groups(named: &[Vec<String>], features: &Features) -> Result<Vec<Vec<u32>>, LearnError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let mut groups: Vec<Vec<u32>> = vec![Vec::new(); features.len()];
    for (group, names) in named.iter().enumerate() {
        for name in names {
            for feature in positions("interactions", name, features)? {
                let own = &mut groups[feature];
                if own.last() != Some(&(group as u32)) {
                    own.push(group as u32);
                }
            }
        }
    }
    let rest = named.len() as u32;
    for own in groups.iter_mut().filter(|own| own.is_empty()) {
        own.push(rest);
    }
    Ok(groups)
}

/// The features of a name: that of a feature, or of a column that became several.
fn positions(key: &str, name: &str, features: &Features) -> Result<Vec<usize>, LearnError> {
    let all = || features.columns.iter().enumerate();
    if let Some((at, _)) = all().find(|(_, c)| c.name == name) {
        return Ok(vec![at]);
    }
    let of_column = |feature: &str| {
        feature
            .strip_prefix(name)
            .is_some_and(|r| r.starts_with('='))
    };
    let found: Vec<usize> = all()
        .filter(|(_, c)| of_column(&c.name))
        .map(|(at, _)| at)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let distance = |c: &str| strsim::damerau_levenshtein(c, name);
    let names = || features.columns.iter().map(|c| c.name.as_str());
    let hint = names()
        .min_by_key(|c| distance(c))
        .filter(|c| distance(c) <= 1 + c.len() / 3)
        .map_or(String::new(), |c| format!("did you mean `{c}`? "));
    let shown: Vec<&str> = names().take(30).collect();
    let more = if features.len() > 30 { ", …" } else { "" };
    fail(format!(
        "`{key}` names `{name}`, which is no feature; {hint}Features: {}{more}",
        shown.join(", ")
    ))
}
