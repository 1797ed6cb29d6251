//! What TPE reads from a study's trials: which parameters occur together, and the values each side observed.
//!
//! Everything here grows with the trials and is kept from one proposal to the next, so that a proposal costs the same
//! whether there are a thousand trials or a hundred thousand. It is only what can be computed again: taking up the
//! trials one after the other or all at once gives the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::study::record::{Direction, TrialRecord, TrialState};
use crate::study::space::{Assignment, Domain, Params};
use crate::study::visited;

use super::super::{Context, begins};
use super::parzen::{Memo, Observations};
use super::split::{self, Ranking};

/// Parameters that are drawn together, sorted by name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subspace {
    pub names: Vec<String>,
    pub domains: Vec<Domain>,
}

/// The complete and pruned trials of a study.
#[derive(Default)]
pub(super) struct History {
    /// Every trial taken up, whatever its state.
    taken: Vec<Arc<TrialRecord>>,
    directions: Vec<Direction>,
    names: Vec<Name>,
    /// The different sequences of names that trials have; most studies have few.
    shapes: Vec<Vec<usize>>,
    /// Of each complete or pruned trial: its place in `taken` and its shape.
    trials: Vec<(usize, usize)>,
    ranking: Ranking,
    /// With several directions: the good ones, and of how many trials.
    good: (usize, Vec<usize>),
    columns: Vec<Columns>,
}

struct Name {
    name: String,
    /// The domain of the first trial that has it.
    domain: Domain,
    /// Whether every trial that has it has this domain.
    steady: bool,
}

/// What trials observed of one subspace.
struct Columns {
    space: Subspace,
    /// How many of `trials` were looked at.
    looked_at: usize,
    /// The places in `trials` of those that have all its parameters, ascending.
    members: Vec<usize>,
    /// Their internal values, one after the other.
    values: Vec<f64>,
    /// Of a discrete subspace, the points.
    points: Option<BTreeSet<Vec<u64>>>,
    memos: (Memo, Memo),
}

/// This many of the latest bad trials all have a kernel of their own, and at most as many stand for those before.
const LATEST: usize = 128;

/// Both sides of one subspace.
pub(super) struct Sides<'a> {
    pub good: Observations,
    pub bad: Observations,
    /// Of a discrete subspace that makes whole points: those that were tried.
    pub points: Option<Points<'a>>,
}

/// Points that were tried.
pub(super) struct Points<'a> {
    finished: &'a BTreeSet<Vec<u64>>,
    pending: BTreeSet<Vec<u64>>,
}

impl Points<'_> {
    pub(super) fn contains(&self, key: &[u64]) -> bool {
        self.finished.contains(key) || self.pending.contains(key)
    }
}

impl History {
    /// Whether it consists of the first trials of `ctx`, so that the rest can be added.
    pub(super) fn begins(&self, ctx: &Context<'_>) -> bool {
        let same = self.taken.is_empty() || self.directions == ctx.directions;
        same && begins(&self.taken, ctx.history)
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Takes up the trials that are new.
    pub(super) fn extend(&mut self, ctx: &Context<'_>) {
        if self.taken.is_empty() {
            self.directions = ctx.directions.to_vec();
        }
        let mut shape = self.trials.last().map_or(0, |t| t.1);
        for trial in &ctx.history[self.taken.len()..] {
            if matches!(trial.state, TrialState::Complete | TrialState::Pruned) {
                shape = self.shape(&trial.params, shape);
                for (assignment, &name) in trial.params.0.iter().zip(&self.shapes[shape]) {
                    let name = &mut self.names[name];
                    name.steady = name.steady && name.domain == assignment.domain;
                }
                if let &[direction] = ctx.directions {
                    self.ranking.add(self.trials.len(), trial, direction);
                }
                self.trials.push((self.taken.len(), shape));
            }
            self.taken.push(Arc::clone(trial));
        }
    }

    /// The shape of `params`. `likely` is tried first: trials in a row tend to be alike.
    fn shape(&mut self, params: &Params, likely: usize) -> usize {
        let fits = |shape: &Vec<usize>, names: &[Name]| {
            shape.len() == params.0.len()
                && shape
                    .iter()
                    .zip(&params.0)
                    .all(|(&name, a)| names[name].name == a.name)
        };
        if let Some(shape) = self.shapes.get(likely)
            && fits(shape, &self.names)
        {
            return likely;
        }
        if let Some(at) = self.shapes.iter().position(|s| fits(s, &self.names)) {
            return at;
        }
        let names = &mut self.names;
        let shape = params.0.iter().map(|a| {
            let known = names.iter().position(|n| n.name == a.name);
            known.unwrap_or_else(|| {
                names.push(Name {
                    name: a.name.clone(),
                    domain: a.domain.clone(),
                    steady: true,
                });
                names.len() - 1
            })
        });
        let shape = shape.collect();
        self.shapes.push(shape);
        self.shapes.len() - 1
    }

    /// The parameters to draw together: those that every trial has, or, with `group`, the coarsest partition
    /// of all parameters in which each part occurs as a whole or not at all. Parameters whose domain changed and
    /// those with one value are left out.
    pub(super) fn subspaces(&self, group: bool) -> Vec<Subspace> {
        let mut parts: Vec<BTreeSet<usize>> = Vec::new();
        if group {
            for shape in &self.shapes {
                let mut rest: BTreeSet<usize> = shape.iter().copied().collect();
                let mut next = Vec::new();
                for part in &parts {
                    next.push(part & &rest);
                    next.push(part - &rest);
                    rest = &rest - part;
                }
                next.push(rest);
                next.retain(|part| !part.is_empty());
                parts = next;
            }
        } else {
            let sets = self.shapes.iter().map(|s| s.iter().copied().collect());
            parts.extend(sets.reduce(|a: BTreeSet<usize>, b| &a & &b));
        }
        let mut spaces: Vec<Subspace> = parts.iter().map(|part| self.subspace(part)).collect();
        spaces.retain(|space| !space.names.is_empty());
        spaces.sort_by(|a, b| a.names[0].cmp(&b.names[0]));
        spaces
    }

    fn subspace(&self, part: &BTreeSet<usize>) -> Subspace {
        let mut names: Vec<&Name> = part.iter().map(|&i| &self.names[i]).collect();
        names.retain(|n| n.steady && !n.domain.is_single());
        names.sort_by_key(|n| &n.name);
        Subspace {
            names: names.iter().map(|n| n.name.clone()).collect(),
            domains: names.iter().map(|n| n.domain.clone()).collect(),
        }
    }

    /// Whether `space` has all parameters with a choice of every trial.
    fn makes_points(&self, space: &Subspace) -> bool {
        let open = self.names.iter().filter(|n| !n.domain.is_single());
        self.shapes.len() == 1
            && open
                .clone()
                .all(|n| n.steady && space.names.contains(&n.name))
    }

    /// What the good and the bad trials that have all parameters of `space` observed, by trial number. Of the bad ones
    /// beyond the latest, every second, fourth, … stands for those between. Calls `fit` with them and with what was
    /// remembered for the estimators of both sides.
    pub(super) fn with_sides<T>(
        &mut self,
        space: &Subspace,
        ctx: &Context<'_>,
        pending: &[Params],
        fit: impl FnOnce(Sides<'_>, &mut (Memo, Memo)) -> T,
    ) -> T {
        let good: Vec<usize> = if ctx.directions.len() == 1 {
            self.ranking.good(self.trials.len())
        } else {
            if self.good.0 != self.trials.len() {
                let trials = self.trials.iter().map(|&(at, _)| &*self.taken[at]);
                let good = split::good(&trials.collect::<Vec<_>>(), ctx.directions);
                self.good = (self.trials.len(), good);
            }
            self.good.1.clone()
        };
        let makes_points = self.makes_points(space);
        let at = self.columns.iter().position(|c| c.space == *space);
        let mut columns = match at {
            Some(at) => self.columns.swap_remove(at),
            None => Columns::new(space.clone()),
        };
        self.look_at(&mut columns);

        let dims = space.names.len();
        let row = |j: usize| &columns.values[j * dims..(j + 1) * dims];
        // Their places among the members.
        let good: Vec<usize> = good
            .iter()
            .filter_map(|i| columns.members.binary_search(i).ok())
            .collect();
        let m = columns.members.len();
        let mut sides = Sides {
            good: Observations::new(dims, good.len(), good.len()),
            bad: Observations::new(dims, 0, m.min(2 * LATEST) + pending.len()),
            points: None,
        };
        for (rank, &j) in good.iter().enumerate() {
            sides.good.push(j, rank, 1, row(j));
        }
        let mut stride = 1;
        while m > 2 * LATEST && (m - LATEST) / stride > LATEST {
            stride *= 2;
        }
        let latest = if m > 2 * LATEST { m - LATEST } else { 0 };
        let mut better = 0;
        let old = (0..latest).step_by(stride).map(|j| (j, stride));
        for (j, stands_for) in old.chain((latest..m).map(|j| (j, 1))) {
            while good.get(better).is_some_and(|g| *g < j) {
                better += 1;
            }
            if good.get(better) != Some(&j) {
                sides.bad.push(j, j - better, stands_for, row(j));
            }
        }
        let mut of = m - good.len();
        sides.bad.finished(m);
        sides.good.finished(m);
        let mut taken = BTreeSet::new();
        let mut values = Vec::with_capacity(dims);
        for params in pending {
            values.clear();
            let named = space.names.iter().zip(&space.domains);
            values.extend(named.map_while(|(name, domain)| {
                params.assignment(name).and_then(|a| seen_in(a, domain))
            }));
            if values.len() == dims {
                sides.bad.push(m + of, of, 1, &values);
                of += 1;
                if columns.points.is_some() {
                    taken.insert(key(&space.domains, &values));
                }
            }
        }
        sides.bad.of(of);
        sides.points = columns
            .points
            .as_ref()
            .filter(|_| makes_points)
            .map(|finished| Points {
                finished,
                pending: taken,
            });
        let result = fit(sides, &mut columns.memos);
        // Spaces come and go with the shapes of trials; what is not asked for again is not kept for ever.
        if self.columns.len() >= 64 {
            self.columns.remove(0);
        }
        self.columns.push(columns);
        result
    }

    /// Takes up the trials that are new to `columns`.
    fn look_at(&self, columns: &mut Columns) {
        let space = &columns.space;
        // Where a shape keeps each parameter of the space.
        let places = |shape: &Vec<usize>| -> Option<Vec<usize>> {
            let place = |name: &String| shape.iter().position(|&i| self.names[i].name == *name);
            space.names.iter().map(place).collect()
        };
        let mut known: BTreeMap<usize, Option<Vec<usize>>> = BTreeMap::new();
        let mut row = Vec::with_capacity(space.names.len());
        for i in columns.looked_at..self.trials.len() {
            let (at, shape) = self.trials[i];
            let places = known
                .entry(shape)
                .or_insert_with(|| places(&self.shapes[shape]));
            let Some(places) = places else {
                continue;
            };
            let params = &self.taken[at].params.0;
            row.clear();
            let pairs = places.iter().zip(&space.domains);
            row.extend(pairs.map_while(|(&at, domain)| seen_in(&params[at], domain)));
            if row.len() == space.names.len() {
                columns.members.push(i);
                columns.values.extend_from_slice(&row);
                if let Some(points) = &mut columns.points {
                    points.insert(key(&space.domains, &row));
                }
            }
        }
        columns.looked_at = self.trials.len();
    }
}

impl Columns {
    fn new(space: Subspace) -> Self {
        let discrete = space.domains.iter().all(|d| visited::points(d).is_some());
        let dims = space.names.len();
        Columns {
            space,
            looked_at: 0,
            members: Vec::new(),
            values: Vec::new(),
            points: discrete.then(BTreeSet::new),
            memos: (Memo::new(dims), Memo::new(dims)),
        }
    }
}

/// A point of a discrete space.
pub(super) fn key(domains: &[Domain], values: &[f64]) -> Vec<u64> {
    let places = domains.iter().zip(values);
    places.map(|(d, v)| visited::place(d, *v)).collect()
}

/// The value of an assignment as one of `domain`, which may have changed since: a widened range keeps all that
/// was learned in the narrow one.
pub(in super::super) fn seen_in(assignment: &Assignment, domain: &Domain) -> Option<f64> {
    if assignment.domain == *domain {
        return Some(assignment.internal);
    }
    match (&assignment.domain, domain) {
        (Domain::Float { .. }, Domain::Float { .. }) | (Domain::Int { .. }, Domain::Int { .. }) => {
            Some(assignment.internal).filter(|x| domain.contains(*x))
        }
        (Domain::Categorical { .. }, Domain::Categorical { .. }) => {
            domain.internal(&assignment.value()).ok()
        }
        _ => None,
    }
}
