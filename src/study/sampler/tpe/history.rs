//! What TPE reads from a study's trials: which parameters occur together, and the values each side observed.

use std::collections::BTreeSet;

use crate::study::record::{TrialRecord, TrialState};
use crate::study::space::{Assignment, Domain, Params};

use super::super::Context;
use super::parzen::Observations;
use super::split;

/// Parameters that are drawn together, sorted by name.
pub(super) struct Subspace<'a> {
    pub names: Vec<&'a str>,
    pub domains: Vec<&'a Domain>,
}

/// The complete and pruned trials of a study, read once per proposal.
pub(super) struct History<'a> {
    names: Vec<Name<'a>>,
    /// The different sequences of names that trials have; most studies have few.
    shapes: Vec<Vec<usize>>,
    /// By number: parameters, shape, and whether the trial is among the good.
    trials: Vec<(&'a Params, usize, bool)>,
    /// Parameters of trials in flight, which count as bad.
    pending: &'a [Params],
}

struct Name<'a> {
    name: &'a str,
    /// The domain of the first trial that has it.
    domain: &'a Domain,
    /// Whether every trial that has it has this domain.
    steady: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(ctx: &Context<'a>, constant_liar: bool) -> Self {
        let informative: Vec<&TrialRecord> = ctx
            .history
            .iter()
            .map(AsRef::as_ref)
            .filter(|t| matches!(t.state, TrialState::Complete | TrialState::Pruned))
            .collect();
        let good = split::good(&informative, ctx.directions);
        let mut history = History {
            names: Vec::new(),
            shapes: Vec::new(),
            trials: Vec::with_capacity(informative.len()),
            pending: if constant_liar { ctx.pending } else { &[] },
        };
        let mut shape = 0;
        for (trial, good) in informative.into_iter().zip(good) {
            shape = history.shape(&trial.params, shape);
            for (assignment, &name) in trial.params.0.iter().zip(&history.shapes[shape]) {
                let name = &mut history.names[name];
                name.steady = name.steady && *name.domain == assignment.domain;
            }
            history.trials.push((&trial.params, shape, good));
        }
        history
    }

    /// The shape of `params`. `likely` is tried first: trials in a row tend to be alike.
    fn shape(&mut self, params: &'a Params, likely: usize) -> usize {
        let fits = |shape: &Vec<usize>, names: &[Name<'_>]| {
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
            names
                .iter()
                .position(|n| n.name == a.name)
                .unwrap_or_else(|| {
                    names.push(Name {
                        name: &a.name,
                        domain: &a.domain,
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
    pub(super) fn subspaces(&self, group: bool) -> Vec<Subspace<'a>> {
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
        let mut spaces: Vec<Subspace<'a>> = parts.iter().map(|part| self.subspace(part)).collect();
        spaces.retain(|space| !space.names.is_empty());
        spaces.sort_by_key(|space| space.names[0]);
        spaces
    }

    fn subspace(&self, part: &BTreeSet<usize>) -> Subspace<'a> {
        let mut names: Vec<&Name<'a>> = part.iter().map(|&i| &self.names[i]).collect();
        names.retain(|n| n.steady && !n.domain.is_single());
        names.sort_by_key(|n| n.name);
        Subspace {
            names: names.iter().map(|n| n.name).collect(),
            domains: names.iter().map(|n| n.domain).collect(),
        }
    }

    /// What the good and the bad trials that have all parameters of `space` observed, by trial number.
    pub(super) fn observations(&self, space: &Subspace<'_>) -> (Observations, Observations) {
        let dims = space.names.len();
        let mut good = Observations::new(dims);
        let mut bad = Observations::new(dims);
        let mut row = Vec::with_capacity(dims);
        // Where a shape keeps each parameter of the space, and whether the domains are surely the same.
        let places: Vec<Option<Vec<(usize, bool)>>> = self
            .shapes
            .iter()
            .map(|shape| {
                let place = |(name, domain): (&&str, &&Domain)| {
                    let at = shape.iter().position(|&i| self.names[i].name == *name)?;
                    let known = &self.names[shape[at]];
                    Some((at, known.steady && known.domain == *domain))
                };
                space.names.iter().zip(&space.domains).map(place).collect()
            })
            .collect();
        for &(params, shape, is_good) in &self.trials {
            let Some(places) = &places[shape] else {
                continue;
            };
            row.clear();
            row.extend(
                places
                    .iter()
                    .zip(&space.domains)
                    .map_while(|(&(at, same), domain)| {
                        let assignment = &params.0[at];
                        if same {
                            Some(assignment.internal)
                        } else {
                            seen_in(assignment, domain)
                        }
                    }),
            );
            if row.len() == dims {
                if is_good { &mut good } else { &mut bad }.push(&row);
            }
        }
        for params in self.pending {
            row.clear();
            let named = space.names.iter().zip(&space.domains);
            row.extend(named.map_while(|(name, domain)| {
                params.assignment(name).and_then(|a| seen_in(a, domain))
            }));
            if row.len() == dims {
                bad.push(&row);
            }
        }
        (good, bad)
    }
}

/// The value of an assignment as one of `domain`, which may have changed since: a widened range keeps all that
/// was learned in the narrow one.
fn seen_in(assignment: &Assignment, domain: &Domain) -> Option<f64> {
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
