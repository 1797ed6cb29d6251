//! Every point of a grid, once: [`Grid`] over chosen or evenly spread values, [`BruteForce`] over all values of a discrete
//! space. Both walk the tree of what trials drew, so parameters may have conditions, and both say when nothing is left.
//!
//! A parameter becomes known when a trial draws it; until then it takes its first value, or one at random. Parallel
//! trials that cannot know of each other's points may still try one twice in the first steps of a study without a
//! declared space; the study keeps them apart where it can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::study::record::{TrialRecord, TrialState};
use crate::study::space::{Assignment, Domain, Params, Value};
use crate::study::visited::{self, Sight, Step, Visited};

use super::random::{self, param_seed};
use super::{Context, Sampler, SamplerError};

/// The order in which points are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// At random, from the study's seed.
    #[default]
    Shuffled,
    /// The last parameter changes fastest, each from its first value on.
    Plain,
}

/// The parameters of [`Grid`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GridParams {
    /// How many values a parameter has that is not listed in `points`: all, when it has no more, else spread evenly over
    /// its scale, both ends included. At least 1.
    pub resolution: u64,
    /// The values of parameters by name; those that a parameter cannot take are passed over.
    pub points: BTreeMap<String, Vec<Value>>,
    /// The order of points.
    pub order: Order,
}

impl Default for GridParams {
    fn default() -> Self {
        GridParams {
            resolution: 5,
            points: BTreeMap::new(),
            order: Order::Shuffled,
        }
    }
}

/// Every point of a grid, once; see the [module](self). The study ends with the grid.
#[derive(Debug, Default)]
pub struct Grid {
    params: GridParams,
    walk: Walk,
}

impl Grid {
    /// A sampler with these parameters.
    ///
    /// # Errors
    /// When there is no value to take.
    pub fn new(params: GridParams) -> Result<Self, SamplerError> {
        let refuse = |what: String| SamplerError::param("grid", what);
        if params.resolution == 0 {
            return Err(refuse("`resolution` must be at least 1".to_owned()));
        }
        if let Some((name, _)) = params.points.iter().find(|(_, values)| values.is_empty()) {
            return Err(refuse(format!("`points` has no value for `{name}`")));
        }
        Ok(Grid {
            params,
            walk: Walk::default(),
        })
    }

    fn levels(&self, name: &str, domain: &Domain) -> Option<Levels> {
        if let Some(values) = self.params.points.get(name) {
            let mut levels: Vec<f64> = Vec::new();
            for level in values.iter().filter_map(|v| domain.internal(v).ok()) {
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
            if !levels.is_empty() {
                return Some(Levels::Some(levels));
            }
        }
        let n = self.params.resolution;
        if visited::points(domain).is_some_and(|points| points <= n) {
            return Some(Levels::All);
        }
        let mut levels: Vec<f64> = Vec::new();
        for i in 0..n {
            let level = match domain {
                // Choices have no ends.
                Domain::Categorical { .. } => return Some(Levels::All),
                _ if n == 1 => random::at(domain, 0.5),
                _ => random::at(
                    domain,
                    (i as f64 / (n - 1) as f64).min(1.0 - f64::EPSILON / 2.0),
                ),
            };
            if levels.last() != Some(&level) {
                levels.push(level);
            }
        }
        if let (
            Some(last),
            Domain::Float {
                high, step: None, ..
            },
        ) = (levels.last_mut(), domain)
            && n > 1
        {
            *last = *high;
        }
        Some(Levels::Some(levels))
    }
}

impl Sampler for Grid {
    fn name(&self) -> &'static str {
        "grid"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        let levels = |name: &str, domain: &Domain| self.levels(name, domain);
        self.walk.next_point(ctx, self.params.order, &levels)
    }

    fn exhausted(&self, ctx: &Context<'_>) -> bool {
        let levels = |name: &str, domain: &Domain| self.levels(name, domain);
        self.walk.exhausted(ctx, &levels)
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        first_value(
            ctx,
            self.params.order,
            name,
            domain,
            self.levels(name, domain),
        )
    }
}

/// The parameters of [`BruteForce`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BruteForceParams {
    /// The order of points.
    pub order: Order,
}

/// Every point of a discrete space, once; see the [module](self). A parameter with infinitely many values is drawn at
/// random, and a space that has one never ends.
#[derive(Debug, Default)]
pub struct BruteForce {
    params: BruteForceParams,
    walk: Walk,
}

impl BruteForce {
    /// A sampler with these parameters.
    pub fn new(params: BruteForceParams) -> Self {
        BruteForce {
            params,
            walk: Walk::default(),
        }
    }
}

fn all(_: &str, domain: &Domain) -> Option<Levels> {
    visited::points(domain).map(|_| Levels::All)
}

impl Sampler for BruteForce {
    fn name(&self) -> &'static str {
        "brute_force"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        self.walk.next_point(ctx, self.params.order, &all)
    }

    fn exhausted(&self, ctx: &Context<'_>) -> bool {
        self.walk.exhausted(ctx, &all)
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        first_value(ctx, self.params.order, name, domain, all(name, domain))
    }
}

/// The values that a parameter takes.
enum Levels {
    /// All of a discrete domain.
    All,
    /// These.
    Some(Vec<f64>),
}

impl Levels {
    /// A domain with one value per level.
    fn domain(&self, domain: &Domain) -> Option<Domain> {
        let n = match self {
            Levels::All => visited::points(domain)?,
            Levels::Some(levels) => levels.len() as u64,
        };
        Domain::int(0, i64::try_from(n).ok()? - 1, 1, false).ok()
    }

    fn level_of(&self, domain: &Domain, internal: f64) -> Option<f64> {
        match self {
            Levels::All => Some(visited::place(domain, internal) as f64),
            Levels::Some(levels) => {
                let at = levels.iter().position(|l| *l == internal)?;
                Some(at as f64)
            }
        }
    }

    fn value(&self, domain: &Domain, level: f64) -> f64 {
        match self {
            Levels::All => visited::value_at(domain, level as u64),
            Levels::Some(levels) => levels[level as usize],
        }
    }
}

fn first_value(
    ctx: &Context<'_>,
    order: Order,
    name: &str,
    domain: &Domain,
    levels: Option<Levels>,
) -> f64 {
    let mut rng = param_seed(ctx, name).rng();
    match levels.and_then(|l| Some((l.domain(domain)?, l))) {
        None => random::draw(domain, &mut rng),
        Some((_, levels)) if order == Order::Plain => levels.value(domain, 0.0),
        Some((of_levels, levels)) => levels.value(domain, random::draw(&of_levels, &mut rng)),
    }
}

/// The tree of what trials drew, as levels; read again from the history when that is another one.
#[derive(Debug, Default)]
struct Walk(Mutex<Read>);

#[derive(Debug, Default)]
struct Read {
    taken: Vec<Arc<TrialRecord>>,
    visited: Visited,
    /// The domain of each parameter, as first drawn.
    domains: BTreeMap<String, Domain>,
}

type LevelsOf<'a> = &'a dyn Fn(&str, &Domain) -> Option<Levels>;

impl Walk {
    fn with<T>(
        &self,
        ctx: &Context<'_>,
        levels: LevelsOf<'_>,
        use_it: impl FnOnce(&Sight<'_>, &BTreeMap<String, Domain>) -> T,
    ) -> T {
        // A proposal cannot panic half-way through taking up a trial in a way that leaves the tree wrong: it grows
        // by whole trials, and what is not of this history is dropped.
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = read.taken.len();
        let begins = n <= ctx.history.len()
            && (n == 0
                || (Arc::ptr_eq(&read.taken[0], &ctx.history[0])
                    && Arc::ptr_eq(&read.taken[n - 1], &ctx.history[n - 1])));
        if !begins {
            *read = Read::default();
        }
        let read = &mut *read;
        for trial in &ctx.history[read.taken.len()..] {
            for a in &trial.params.0 {
                if !read.domains.contains_key(&a.name) {
                    read.domains.insert(a.name.clone(), a.domain.clone());
                }
            }
            if let Some(point) = as_levels(&trial.params, levels) {
                let failed = trial.state == TrialState::Fail;
                read.visited.add(read.taken.len() as u64, &point, failed);
            }
            read.taken.push(Arc::clone(trial));
        }
        let visible = ctx.history.len() as u64;
        let pending = ctx.pending.iter().filter_map(|p| as_levels(p, levels));
        let pending: Vec<Params> = pending
            .filter(|p| !p.0.is_empty())
            .filter(|p| matches!(read.visited.after(visible, p), Step::End))
            .collect();
        let sight = Sight {
            visited: &read.visited,
            visible,
            pending: pending.iter().collect(),
        };
        use_it(&sight, &read.domains)
    }

    fn exhausted(&self, ctx: &Context<'_>, levels: LevelsOf<'_>) -> bool {
        self.with(ctx, levels, |sight, _| sight.exhausted(true))
    }

    fn next_point(&self, ctx: &Context<'_>, order: Order, levels: LevelsOf<'_>) -> Params {
        self.with(ctx, levels, |sight, domains| {
            let mut point = Params::default();
            let mut params = Params::default();
            // Parameters without levels end the walk; the rest of the trial is drawn one by one.
            while let Step::Draw(name, of_levels) = sight.visited.after(sight.visible, &point) {
                let Some(domain) = domains.get(name) else {
                    break;
                };
                let wanted = match order {
                    Order::Plain => 0.0,
                    Order::Shuffled => random::draw(of_levels, &mut param_seed(ctx, name).rng()),
                };
                let up = order == Order::Plain || ctx.trial.is_multiple_of(2);
                let level = sight.free(&point, name, of_levels, wanted, up);
                // After these values the parameter may have another domain than where it was first drawn.
                let own =
                    levels(name, domain).filter(|l| l.domain(domain).as_ref() == Some(of_levels));
                let Some(internal) = own.map(|l| l.value(domain, level)) else {
                    break;
                };
                let assignment = |domain: &Domain, internal| Assignment {
                    name: name.to_owned(),
                    domain: domain.clone(),
                    internal,
                };
                params.0.push(assignment(domain, internal));
                point.0.push(assignment(of_levels, level));
            }
            params
        })
    }
}

/// A trial's parameters as levels, up to the first parameter that has none; `None` when one is between levels.
fn as_levels(params: &Params, levels: LevelsOf<'_>) -> Option<Params> {
    let mut point = Params::default();
    for a in &params.0 {
        let Some(levels) = levels(&a.name, &a.domain) else {
            // As the tree sees it: infinitely many.
            point.0.push(a.clone());
            break;
        };
        point.0.push(Assignment {
            name: a.name.clone(),
            domain: levels.domain(&a.domain)?,
            internal: levels.level_of(&a.domain, a.internal)?,
        });
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{Budget, Ended, Study};

    #[test]
    fn a_grid_ends_with_its_last_point() {
        for (order, concurrency) in [
            (Order::Plain, 1),
            (Order::Shuffled, 1),
            (Order::Shuffled, 4),
        ] {
            let params = GridParams {
                resolution: 3,
                points: BTreeMap::from([(
                    "lr".to_owned(),
                    vec![0.1.into(), 0.5.into(), 9.0.into()],
                )]),
                order,
            };
            let space = crate::study::Space::new(vec![
                crate::study::Param::new(
                    "lr",
                    Domain::float(0.0, 1.0, None, false).expect("right"),
                ),
                crate::study::Param::new(
                    "x",
                    Domain::float(1.0, 100.0, None, true).expect("right"),
                ),
                crate::study::Param::new("kind", Domain::categorical(["a", "b"]).expect("right")),
            ]);
            let mut study = Study::builder("s")
                .sampler(Grid::new(params).expect("right"))
                .space(space.expect("right"))
                .concurrency(concurrency)
                .open()
                .expect("opens");
            let ended = study
                .optimize(Budget::trials(100), |_| Ok(1.0))
                .expect("runs");
            assert_eq!(
                (ended, study.trials().len()),
                (Ended::Exhausted, 12),
                "{order:?}"
            );
            let mut points: Vec<Vec<f64>> = study
                .trials()
                .iter()
                .map(|t| {
                    t.params
                        .0
                        .iter()
                        .map(|a| (a.internal * 1e6).round())
                        .collect()
                })
                .collect();
            if order == Order::Plain {
                assert!(points.is_sorted_by(|a, b| a < b), "{points:?}");
                assert_eq!(points[5], [1e5, 1e8, 1e6]);
                assert_eq!(points[2], [1e5, 1e7, 0.0]);
            }
            points.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
            points.dedup();
            assert_eq!(points.len(), 12);
        }
    }

    #[test]
    fn brute_force_walks_conditions_in_order() {
        let mut study = Study::builder("s")
            .sampler(BruteForce::new(BruteForceParams {
                order: Order::Plain,
            }))
            .open()
            .expect("opens");
        let ended = study.optimize(Budget::trials(20), |trial| {
            let kind = trial.categorical("kind", ["a", "b"])?;
            let n = trial
                .int("n", 1..=if kind == "a" { 2 } else { 3 })
                .uniform()?;
            Ok(n as f64)
        });
        let ended = ended.expect("runs");
        let failed = study.trials().iter().find(|t| t.state == TrialState::Fail);
        assert_eq!(failed.map(|t| &t.system_attrs), None);
        let drawn: Vec<(f64, f64)> = study
            .trials()
            .iter()
            .map(|t| (t.params.0[0].internal, t.params.0[1].internal))
            .collect();
        let all = [(0.0, 1.0), (0.0, 2.0), (1.0, 1.0), (1.0, 2.0), (1.0, 3.0)];
        assert_eq!(drawn, all);
        assert_eq!(ended, Ended::Exhausted);
    }
}
