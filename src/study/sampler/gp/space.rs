//! How the process sees a search space: every parameter as an axis, every trial as a point.
//!
//! Numbers lie on [0, 1] of their scale; the values of a grid in the middle of equal parts (of the logarithm, on a log
//! scale). Choices stand for themselves and are equal or not. A parameter that a trial does not have lies in the middle
//! of its axis, and an axis of its own tells trials with it from trials without it, so one process serves a space with
//! conditions.
//!
//! Nobody tells a sampler which conditions there are. Trials show them: they differ in their sequences of names, here
//! *shapes*, and a parameter whose values in two shapes have nothing in common is what decides between them.

use libm::{exp, log};

use crate::seed::Rng;
use crate::study::record::{TrialRecord, TrialState};
use crate::study::space::{Assignment, Domain, Params};

use super::super::Context;
use super::super::random;
use super::super::tpe::seen_in;
use super::regression::Points;

/// Grids with at most this many values are searched value by value.
const FEW: f64 = 16.0;
/// Shapes beyond this many are not told apart.
const MOST_SHAPES: usize = 12;

/// One parameter.
pub(in super::super) struct Axis<'a> {
    pub name: &'a str,
    pub domain: &'a Domain,
    pub scale: Scale,
}

/// How numbers of a domain lie on [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Scale {
    /// Every number between, on a plain or a log scale.
    Line,
    /// This many values.
    Grid(f64),
    /// This many choices; the coordinate is the index, −1 without the parameter.
    Choice(usize),
}

impl<'a> Axis<'a> {
    pub(in super::super) fn new(name: &'a str, domain: &'a Domain) -> Self {
        let scale = match domain {
            Domain::Float { step: None, .. } => Scale::Line,
            Domain::Float {
                low,
                high,
                step: Some(step),
                ..
            } => Scale::Grid(((high - low) / step).round() + 1.0),
            Domain::Int {
                low, high, step, ..
            } => Scale::Grid(
                ((i128::from(*high) - i128::from(*low)) / i128::from(*step)) as f64 + 1.0,
            ),
            Domain::Categorical { choices } => Scale::Choice(choices.len()),
        };
        Axis {
            name,
            domain,
            scale,
        }
    }

    /// The coordinate of an internal value.
    pub(in super::super) fn coordinate(&self, internal: f64) -> f64 {
        let part = match *self.domain {
            Domain::Float {
                low,
                high,
                step: None,
                log: false,
            } => {
                // Halves, for the difference may overflow.
                (internal / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
            }
            Domain::Float {
                low,
                high,
                step: None,
                log: true,
            } => (log(internal) - log(low)) / (log(high) - log(low)),
            Domain::Float {
                low,
                step: Some(step),
                ..
            } => (((internal - low) / step).round() + 0.5) / self.values(),
            Domain::Int {
                low,
                high,
                log: true,
                ..
            } => {
                let (from, to) = (log(low as f64 - 0.5), log(high as f64 + 0.5));
                (log(internal) - from) / (to - from)
            }
            Domain::Int { low, step, .. } => {
                ((internal - low as f64) / step as f64 + 0.5) / self.values()
            }
            Domain::Categorical { .. } => return internal,
        };
        if part.is_nan() {
            0.5
        } else {
            part.clamp(0.0, 1.0)
        }
    }

    /// The internal value at a coordinate; on a grid, the nearest.
    pub(in super::super) fn internal(&self, coordinate: f64) -> f64 {
        let t = coordinate;
        let index = || ((t * self.values()) as u64).min(self.values() as u64 - 1);
        match *self.domain {
            Domain::Float {
                low,
                high,
                step: None,
                log: false,
            } => (low * (1.0 - t) + high * t).clamp(low, high),
            Domain::Float {
                low,
                high,
                step: None,
                log: true,
            } => exp(log(low) * (1.0 - t) + log(high) * t).clamp(low, high),
            Domain::Float {
                low,
                step: Some(step),
                ..
            } => low + index() as f64 * step,
            Domain::Int {
                low,
                high,
                log: true,
                ..
            } => {
                let (from, to) = (log(low as f64 - 0.5), log(high as f64 + 0.5));
                exp(from * (1.0 - t) + to * t)
                    .round()
                    .clamp(low as f64, high as f64)
            }
            Domain::Int { low, step, .. } => {
                (i128::from(low) + i128::from(index()) * i128::from(step)) as f64
            }
            Domain::Categorical { .. } => t,
        }
    }

    fn values(&self) -> f64 {
        match self.scale {
            Scale::Grid(n) => n,
            Scale::Line => f64::INFINITY,
            Scale::Choice(n) => n as f64,
        }
    }

    /// The coordinate moved to where a value lies.
    pub(super) fn snap(&self, coordinate: f64) -> f64 {
        match self.scale {
            Scale::Grid(_) => self.coordinate(self.internal(coordinate)),
            Scale::Line | Scale::Choice(_) => coordinate,
        }
    }

    /// Whether the axis is followed along its slope rather than value by value.
    pub(super) fn is_smooth(&self) -> bool {
        match self.scale {
            Scale::Line => true,
            Scale::Grid(n) => n > FEW,
            Scale::Choice(_) => false,
        }
    }

    /// Whether the axis has values one by one, however many.
    pub(in super::super) fn is_discrete(&self) -> bool {
        self.scale != Scale::Line
    }

    /// A uniform draw.
    pub(super) fn draw(&self, rng: &mut Rng) -> f64 {
        match self.scale {
            Scale::Choice(n) => random::below(n as u64, rng) as f64,
            Scale::Line | Scale::Grid(_) => self.snap(random::unit(rng)),
        }
    }

    /// The coordinates of all values, where they are few.
    pub(super) fn few(&self) -> Vec<f64> {
        match self.scale {
            Scale::Choice(n) => (0..n.min(64)).map(|i| i as f64).collect(),
            Scale::Grid(n) if n <= 64.0 => {
                let mut all: Vec<f64> = (0..n as u64)
                    .map(|i| self.snap((i as f64 + 0.5) / n))
                    .collect();
                if let Domain::Int {
                    low,
                    high,
                    log: true,
                    ..
                } = *self.domain
                {
                    all = (low..=high).map(|v| self.coordinate(v as f64)).collect();
                }
                all
            }
            Scale::Grid(_) | Scale::Line => Vec::new(),
        }
    }

    /// Where a trial without the parameter lies.
    fn absent(&self) -> f64 {
        match self.scale {
            Scale::Choice(_) => -1.0,
            Scale::Line | Scale::Grid(_) => 0.5,
        }
    }
}

/// A set of parameters that trials had, and under which values.
pub(super) struct Shape {
    /// Per axis: whether trials of this shape have it.
    pub has: Vec<bool>,
    /// Per axis: the coordinates that lead to this shape, where not all do.
    pub only: Vec<Option<Vec<f64>>>,
    /// Its coordinates on the axes that tell shapes apart.
    pub marks: Vec<f64>,
    /// Axes in the order in which trials drew them.
    order: Vec<usize>,
    trials: usize,
}

/// The space of a study as its trials show it.
pub(super) struct Layout<'a> {
    pub axes: Vec<Axis<'a>>,
    pub shapes: Vec<Shape>,
}

impl<'a> Layout<'a> {
    /// Reads the parameters of trials. With many shapes, only what all have in common.
    pub(super) fn new(trials: &[&'a TrialRecord]) -> Self {
        let mut names: Vec<(&'a str, &'a Domain, bool)> = Vec::new();
        let mut shapes: Vec<(Vec<usize>, usize)> = Vec::new();
        for trial in trials {
            let same = |(order, _): &(Vec<usize>, usize)| {
                let params = &trial.params.0;
                order.len() == params.len()
                    && order.iter().zip(params).all(|(&i, a)| names[i].0 == a.name)
            };
            let at = shapes.iter().rposition(same).unwrap_or_else(|| {
                let mut order = Vec::new();
                for a in &trial.params.0 {
                    let known = names.iter().position(|n| n.0 == a.name);
                    order.push(known.unwrap_or_else(|| {
                        names.push((&a.name, &a.domain, true));
                        names.len() - 1
                    }));
                }
                shapes.push((order, 0));
                shapes.len() - 1
            });
            shapes[at].1 += 1;
            for (&i, a) in shapes[at].0.iter().zip(&trial.params.0) {
                names[i].2 &= *names[i].1 == a.domain;
            }
        }
        let many = shapes.len() > MOST_SHAPES;
        let kept: Vec<usize> = (0..names.len())
            .filter(|&i| {
                let (_, domain, steady) = names[i];
                let everywhere = shapes.iter().all(|(order, _)| order.contains(&i));
                steady && !domain.is_single() && (everywhere || !many)
            })
            .collect();
        let axes: Vec<Axis<'a>> = kept
            .iter()
            .map(|&i| Axis::new(names[i].0, names[i].1))
            .collect();
        let mut layout = Layout {
            axes,
            shapes: Vec::new(),
        };
        for (order, trials) in shapes {
            let order: Vec<usize> = order
                .iter()
                .filter_map(|i| kept.iter().position(|k| k == i))
                .collect();
            let has: Vec<bool> = (0..kept.len()).map(|a| order.contains(&a)).collect();
            match layout.shapes.iter_mut().find(|s| s.has == has) {
                Some(shape) => shape.trials += trials,
                None => layout.shapes.push(Shape {
                    only: vec![None; has.len()],
                    marks: Vec::new(),
                    has,
                    order,
                    trials,
                }),
            }
        }
        layout.mark_shapes();
        layout.find_deciders(trials);
        layout
    }

    /// One axis for each different pattern of presence.
    fn mark_shapes(&mut self) {
        let mut patterns: Vec<Vec<bool>> = Vec::new();
        for axis in 0..self.axes.len() {
            let pattern: Vec<bool> = self.shapes.iter().map(|s| s.has[axis]).collect();
            let same = pattern.iter().all(|p| *p == pattern[0]);
            if !same && !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        for (i, shape) in self.shapes.iter_mut().enumerate() {
            shape.marks = patterns.iter().map(|p| f64::from(u8::from(p[i]))).collect();
        }
    }

    /// Finds, for each pair of shapes, the parameter that decides between them.
    fn find_deciders(&mut self, trials: &[&'a TrialRecord]) {
        let few: Vec<Vec<f64>> = self.axes.iter().map(Axis::few).collect();
        // The coordinates that each shape has seen on each axis of few values.
        let mut seen = vec![vec![Vec::<f64>::new(); self.axes.len()]; self.shapes.len()];
        for trial in trials {
            let (row, shape) = self.place(&trial.params);
            let Some(shape) = shape else { continue };
            for axis in 0..self.axes.len() {
                let x = row[axis];
                if self.shapes[shape].has[axis]
                    && !few[axis].is_empty()
                    && !seen[shape][axis].contains(&x)
                {
                    seen[shape][axis].push(x);
                }
            }
        }
        for a in 0..self.shapes.len() {
            for b in 0..a {
                let (one, other) = (&self.shapes[a], &self.shapes[b]);
                let shared = one
                    .order
                    .iter()
                    .zip(&other.order)
                    .take_while(|(x, y)| x == y);
                let decides = shared.map(|(x, _)| *x).filter(|&axis| {
                    let (x, y) = (&seen[a][axis], &seen[b][axis]);
                    !x.is_empty() && !y.is_empty() && !x.iter().any(|v| y.contains(v))
                });
                // The fewer values, the less likely by chance; of equals, the one drawn last.
                let decider = decides.reduce(|best, axis| {
                    let values = |axis: usize| seen[a][axis].len() + seen[b][axis].len();
                    if values(axis) <= values(best) {
                        axis
                    } else {
                        best
                    }
                });
                if let Some(axis) = decider {
                    for shape in [a, b] {
                        self.shapes[shape].only[axis] = Some(Vec::new());
                    }
                }
            }
        }
        for (shape, seen_here) in seen.iter().enumerate() {
            for axis in 0..self.axes.len() {
                if self.shapes[shape].only[axis].is_some() {
                    // What no shape has seen may lead anywhere, here too.
                    let new = few[axis]
                        .iter()
                        .filter(|v| !seen.iter().any(|s| s[axis].contains(v)));
                    let allowed = seen_here[axis].iter().chain(new).copied().collect();
                    self.shapes[shape].only[axis] = Some(allowed);
                }
            }
        }
    }

    /// The number of axes of a point: parameters, and marks of shapes.
    pub(super) fn width(&self) -> usize {
        self.axes.len() + self.shapes.first().map_or(0, |s| s.marks.len())
    }

    /// Whether a coordinate is a choice rather than a number.
    pub(super) fn points_choice(&self, at: usize) -> bool {
        self.axes
            .get(at)
            .is_none_or(|a| matches!(a.scale, Scale::Choice(_)))
    }

    /// Points without any yet.
    pub(super) fn points(&self) -> Points {
        let choice = |a: &Axis<'_>| matches!(a.scale, Scale::Choice(_));
        let mut choice: Vec<bool> = self.axes.iter().map(choice).collect();
        choice.resize(self.width(), true);
        Points {
            columns: vec![Vec::new(); self.width()],
            choice,
        }
    }

    /// The point of `params`, with the shape that has these parameters, if there is one.
    pub(super) fn place(&self, params: &Params) -> (Vec<f64>, Option<usize>) {
        let value = |axis: &Axis<'_>| {
            let assignment: Option<&Assignment> = params.assignment(axis.name);
            assignment
                .and_then(|a| seen_in(a, axis.domain))
                .map(|x| axis.coordinate(x))
        };
        let values: Vec<Option<f64>> = self.axes.iter().map(value).collect();
        let shape = self.shapes.iter().position(|s| {
            s.has
                .iter()
                .zip(&values)
                .all(|(has, value)| *has == value.is_some())
        });
        let mut row: Vec<f64> = values
            .iter()
            .zip(&self.axes)
            .map(|(v, axis)| v.unwrap_or(axis.absent()))
            .collect();
        match shape {
            Some(shape) => row.extend(&self.shapes[shape].marks),
            None => row.resize(self.width(), 0.0),
        }
        (row, shape)
    }

    /// A uniform draw among the points of a shape.
    pub(super) fn draw(&self, shape: &Shape, rng: &mut Rng) -> Vec<f64> {
        let mut row: Vec<f64> = self.axes.iter().map(Axis::absent).collect();
        for (axis, x) in row.iter_mut().enumerate() {
            if shape.has[axis] {
                *x = match &shape.only[axis] {
                    Some(values) if !values.is_empty() => {
                        values[random::below(values.len() as u64, rng) as usize]
                    }
                    _ => self.axes[axis].draw(rng),
                };
            }
        }
        row.extend(&shape.marks);
        row
    }

    /// The assignments of a point, in the order of a shape.
    pub(super) fn params(&self, shape: &Shape, row: &[f64]) -> Params {
        let assign = |&axis: &usize| Assignment {
            name: self.axes[axis].name.to_owned(),
            domain: self.axes[axis].domain.clone(),
            internal: self.axes[axis].internal(row[axis]),
        };
        Params(shape.order.iter().map(assign).collect())
    }
}

/// The trials that say something about values: complete ones, and pruned ones whose pruner knows what they would have
/// been worth, or that reported.
pub(super) fn informative<'a>(ctx: &Context<'a>) -> Vec<(&'a TrialRecord, f64)> {
    let Some(direction) = ctx.directions.first() else {
        return Vec::new();
    };
    let trials = ctx.history.iter().map(AsRef::as_ref);
    let known = trials.filter_map(|t: &TrialRecord| {
        let value = match t.state {
            TrialState::Complete => t.values.first().copied(),
            TrialState::Pruned => {
                let last = || t.intermediate.last_key_value().map(|(_, v)| *v);
                t.expected().or_else(last)
            }
            _ => None,
        };
        value
            .filter(|v| !v.is_nan())
            .map(|v| (t, direction.loss(v)))
    });
    known.collect()
}

/// The value of a domain at a part in [0, 1] of it; choices have equal shares.
pub(super) fn at(domain: &Domain, name: &str, part: f64) -> f64 {
    let axis = Axis::new(name, domain);
    match axis.scale {
        Scale::Choice(n) => ((part * n as f64) as usize).min(n - 1) as f64,
        Scale::Line | Scale::Grid(_) => axis.internal(part),
    }
}
