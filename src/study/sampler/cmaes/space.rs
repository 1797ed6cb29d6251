//! The numeric parameters that are drawn jointly, as coordinates on [0, 1] of their scales, and the cells of those that
//! have a grid of values.

use libm::log;

use crate::study::record::TrialRecord;
use crate::study::space::{Assignment, Domain, Params};

use super::super::gp::{Axis, Scale};
use super::super::tpe::seen_in;

/// This many of the latest trials tell which parameters there are.
const LATEST: usize = 20;
/// A grid of more values is a line.
const FINE: f64 = 1e6;

/// Numeric parameters by name, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Space {
    pub names: Vec<String>,
    pub domains: Vec<Domain>,
}

/// Part of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub low: f64,
    pub high: f64,
}

impl Space {
    /// The numbers with a choice that each of the latest of `trials` has, with one domain. Trials are given latest first.
    pub(super) fn latest<'a>(trials: impl Iterator<Item = &'a TrialRecord>) -> Self {
        let mut trials = trials.take(LATEST);
        let Some(last) = trials.next() else {
            return Space::default();
        };
        let numeric = |a: &&Assignment| {
            !a.domain.is_single() && !matches!(a.domain, Domain::Categorical { .. })
        };
        let mut shared: Vec<&Assignment> = last.params.0.iter().filter(numeric).collect();
        for trial in trials {
            // Trials in a row tend to draw in the same order.
            let has = |at: usize, a: &Assignment| match trial.params.0.get(at) {
                Some(b) if b.name == a.name => b.domain == a.domain,
                _ => trial
                    .params
                    .assignment(&a.name)
                    .is_some_and(|b| b.domain == a.domain),
            };
            let mut at = 0;
            shared.retain(|a| {
                at += 1;
                has(at - 1, a)
            });
        }
        shared.sort_by(|a, b| a.name.cmp(&b.name));
        Space {
            names: shared.iter().map(|a| a.name.clone()).collect(),
            domains: shared.iter().map(|a| a.domain.clone()).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn axis(&self, i: usize) -> Axis<'_> {
        Axis::new(&self.names[i], &self.domains[i])
    }

    /// The internal values of a trial that has all parameters.
    pub(super) fn values(&self, params: &Params) -> Option<Vec<f64>> {
        let named = self.names.iter().zip(&self.domains);
        let value = |(name, domain): (&String, &Domain)| {
            let assignment = params.assignment(name)?;
            seen_in(assignment, domain)
        };
        named.map(value).collect()
    }

    /// Whether the coordinate has a grid that is followed cell by cell.
    pub(super) fn is_grid(&self, i: usize) -> bool {
        match (self.axis(i).scale, &self.domains[i]) {
            (_, Domain::Int { log: true, .. }) => true,
            (Scale::Grid(n), _) => n <= FINE,
            _ => false,
        }
    }

    /// The part of the axis that stands for an internal value of a grid.
    pub(super) fn cell(&self, i: usize, internal: f64) -> Cell {
        if let Domain::Int {
            low,
            high,
            log: true,
            ..
        } = self.domains[i]
        {
            let (from, to) = (log(low as f64 - 0.5), log(high as f64 + 0.5));
            let place = |x: f64| (log(x) - from) / (to - from);
            return Cell {
                low: place(internal - 0.5),
                high: place(internal + 0.5),
            };
        }
        let axis = self.axis(i);
        let middle = axis.coordinate(internal);
        let half = match axis.scale {
            Scale::Grid(n) => 0.5 / n,
            Scale::Line | Scale::Choice(_) => 0.0,
        };
        Cell {
            low: middle - half,
            high: middle + half,
        }
    }

    /// The same with what lies beyond the ends of the axis.
    pub(super) fn open_cell(&self, i: usize, internal: f64) -> Cell {
        let mut cell = self.cell(i, internal);
        let (first, last) = ends(&self.domains[i]);
        if internal <= first {
            cell.low = f64::NEG_INFINITY;
        }
        // The last value of a stepped float is known up to rounding.
        if internal >= last || cell.high >= 1.0 - 1e-9 {
            cell.high = f64::INFINITY;
        }
        cell
    }
}

fn ends(domain: &Domain) -> (f64, f64) {
    match domain {
        Domain::Float { low, high, .. } => (*low, *high),
        Domain::Int { low, high, .. } => (*low as f64, *high as f64),
        Domain::Categorical { choices } => (0.0, choices.len() as f64 - 1.0),
    }
}
