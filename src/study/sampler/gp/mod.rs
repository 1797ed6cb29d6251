//! A Gaussian process over the whole search space, and the trial of the largest expected improvement.
//!
//! The losses of finished trials are warped to look normal and conditioned on; the kernel (Matérn 5/2, a length scale
//! per parameter) is fitted by its posterior; the next trial is where the logarithm of expected improvement over the
//! best posterior mean is largest. Trials in flight count as if they had returned their posterior mean. Integers lie on
//! their grid, choices are equal or not, parameters that only some trials have are active or not. Failed trials teach
//! nothing but where not to repeat; pruned ones count with what their pruner expected of them, or else their last report,
//! never better than the best complete one.
//!
//! Constraints have processes of their own: the logarithm of the probability that they hold is added. Only trials that hold
//! them can be improved on; before there is one, the most likely point to hold is looked for.
//!
//! The first trials are a Latin hypercube. Parameters that no earlier trial had are drawn by TPE.
//!
//! The fit is done anew every few trials, from where the fit before ended, in a chain that begins anew at fixed lengths of
//! the history. So it is a function of the history, and what is cached can be computed again.

mod improvement;
mod limits;
mod local;
mod regression;
mod search;
mod space;
#[cfg(test)]
mod tests;
mod warp;

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::seed::Seed;
use crate::study::record::{TrialRecord, TrialState};
use crate::study::space::{Domain, Params};
use crate::study::trial::only_value;

use super::random::{self, param_seed};
use super::tpe::Tpe;
use super::{Context, Sampler, SamplerError};
use regression::{Kernel, Points, Posterior};
use search::Search;
pub(super) use space::{Axis, Scale};
use space::{Layout, informative};

/// The parameters of [`Gp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpParams {
    /// This many trials are spread over the space before the process is used, at least 2.
    pub n_startup_trials: usize,
    /// Points at which expected improvement is looked at before the local searches, at least 1.
    pub n_candidates: usize,
    /// Trials that the process is conditioned on at most, the best and the latest; at least 10.
    pub max_points: usize,
}

impl Default for GpParams {
    fn default() -> Self {
        GpParams {
            n_startup_trials: 10,
            n_candidates: 400,
            max_points: 250,
        }
    }
}

/// The Gaussian-process sampler; see the [module](self).
#[derive(Debug, Default)]
pub struct Gp {
    params: GpParams,
    tpe: Tpe,
    fits: Mutex<Vec<Fit>>,
}

/// A kernel fitted to the first trials of a history.
#[derive(Clone, Debug)]
struct Fit {
    /// Of the trials it was fitted to.
    fingerprint: u64,
    names: Vec<String>,
    kernel: Kernel,
}

impl Fit {
    /// The kernel for points of `layout`, with its weights multiplied by `doubt`.
    fn onto(&self, layout: &Layout<'_>, doubt: f64) -> Kernel {
        let weight = |name: &str| {
            let at = self.names.iter().position(|n| n == name);
            doubt * at.map_or(1.0, |i| self.kernel.weights[i])
        };
        let mut weights: Vec<f64> = layout.axes.iter().map(|a| weight(a.name)).collect();
        let marks = layout.width() - layout.axes.len();
        weights.extend((0..marks).map(|i| weight(&format!("\0{i}"))));
        Kernel {
            weights,
            ..self.kernel.clone()
        }
    }
}

/// Fits that are kept, for trials in flight that see histories of different lengths, and for constraints.
const FITS_KEPT: usize = 32;

impl Gp {
    /// A sampler with these parameters.
    ///
    /// # Errors
    /// When a parameter is below its least value.
    pub fn new(params: GpParams) -> Result<Self, SamplerError> {
        for (name, value, least) in [
            ("n_startup_trials", params.n_startup_trials, 2),
            ("n_candidates", params.n_candidates, 1),
            ("max_points", params.max_points, 10),
        ] {
            if value < least {
                return Err(SamplerError::param(
                    "gp",
                    format!("`{name}` must be at least {least}, not {value}"),
                ));
            }
        }
        Ok(Gp {
            params,
            ..Gp::default()
        })
    }

    pub(super) fn starting_up(&self, ctx: &Context<'_>) -> bool {
        // Pruned trials count too: a racing pruner leaves few complete ones.
        let says = |t: &&Arc<TrialRecord>| match t.state {
            TrialState::Complete => true,
            TrialState::Pruned => !t.intermediate.is_empty(),
            _ => false,
        };
        let (known, first) = (
            ctx.history.iter().filter(says),
            self.params.n_startup_trials,
        );
        let complete = |t: &Arc<TrialRecord>| t.state == TrialState::Complete;
        known.take(first).count() < first || !ctx.history.iter().any(complete)
    }

    /// What the first trials teach: points and warped losses.
    fn observations<'a>(
        &self,
        layout: &Layout<'a>,
        known: &[(&'a TrialRecord, f64)],
    ) -> Option<Observations> {
        let complete = |t: &TrialRecord| t.state == TrialState::Complete;
        let best = known.iter().filter(|(t, _)| complete(t)).map(|(_, l)| *l);
        let best = best.fold(f64::INFINITY, f64::min);
        let losses: Vec<f64> = known
            .iter()
            .map(|(t, l)| if complete(t) { *l } else { l.max(best) })
            .collect();
        let chosen = best_and_latest(&losses, self.params.max_points);
        let y = warp::warp(&chosen.iter().map(|&i| losses[i]).collect::<Vec<_>>());
        if y.is_empty() {
            return None;
        }
        let mut points = layout.points();
        let mut shapes = Vec::new();
        for &i in &chosen {
            let (row, shape) = layout.place(&known[i].0.params);
            points.push(&row);
            shapes.push(shape);
        }
        let violation = |&i: &usize| complete(known[i].0).then(|| known[i].0.violation());
        let violation = chosen.iter().map(violation).collect();
        Some(Observations {
            points,
            y,
            shapes,
            violation,
        })
    }

    /// The kernel for a history of `known` trials: that of the last fit in its chain.
    fn fit(&self, known: &[(&TrialRecord, f64)]) -> Fit {
        let known = &known[..last_fit(known.len())];
        let fingerprint = fingerprint(known);
        // A panic elsewhere leaves nothing half done here.
        let cached = |fits: &Vec<Fit>| fits.iter().find(|f| f.fingerprint == fingerprint).cloned();
        if let Some(fit) = cached(&self.fits.lock().unwrap_or_else(|e| e.into_inner())) {
            return fit;
        }
        let trials: Vec<&TrialRecord> = known.iter().map(|(t, _)| *t).collect();
        let layout = Layout::new(&trials);
        let names: Vec<String> = (0..layout.width())
            .map(|i| match layout.axes.get(i) {
                Some(axis) => axis.name.to_owned(),
                None => format!("\0{}", i - layout.axes.len()),
            })
            .collect();
        let fresh = Kernel::new(names.len());
        let kernel = match self.observations(&layout, known) {
            None => fresh,
            Some(seen) => {
                let (starts, evaluations) = if begins_chain(known.len()) {
                    let mut short = fresh.clone();
                    short.weights.iter_mut().for_each(|w| *w = 10.0);
                    (vec![fresh, short], 40)
                } else {
                    let before = self.fit(&known[..known.len() - 1]);
                    let weight = |name: &String| {
                        let at = before.names.iter().position(|n| n == name);
                        at.map_or(1.0, |i| before.kernel.weights[i])
                    };
                    let start = Kernel {
                        weights: names.iter().map(weight).collect(),
                        ..before.kernel
                    };
                    (vec![start], 15)
                };
                regression::fit(&seen.points, &seen.y, &starts, evaluations).0
            }
        };
        let fit = Fit {
            fingerprint,
            names,
            kernel,
        };
        let mut fits = self.fits.lock().unwrap_or_else(|e| e.into_inner());
        if fits.len() >= FITS_KEPT {
            fits.remove(0);
        }
        fits.push(fit.clone());
        fit
    }
}

struct Observations {
    points: Points,
    y: Vec<f64>,
    shapes: Vec<Option<usize>>,
    /// Of complete trials, by how much they break their constraints.
    violation: Vec<Option<f64>>,
}

/// The length of history at which the kernel for `n` trials was fitted.
fn last_fit(n: usize) -> usize {
    if n <= 30 {
        return n;
    }
    let mut at = 30;
    loop {
        let next = at + (at / 16).max(2);
        if next > n {
            return at;
        }
        at = next;
    }
}

/// Whether a fit at this length does not begin where the one before ended: once per doubling.
fn begins_chain(n: usize) -> bool {
    n < 2 || n.ilog2() != last_fit(n - 1).ilog2()
}

/// Tells histories apart.
fn fingerprint(known: &[(&TrialRecord, f64)]) -> u64 {
    let mut at = Seed::root(known.len() as u64);
    for (trial, loss) in known {
        at = at.child(
            if trial.state == TrialState::Complete {
                "c"
            } else {
                "p"
            },
            loss.to_bits(),
        );
        for a in &trial.params.0 {
            at = at.child(&a.name, a.internal.to_bits());
        }
    }
    at.value()
}

impl Sampler for Gp {
    fn name(&self) -> &'static str {
        "gp"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn propose(&self, ctx: &Context<'_>) -> Params {
        if ctx.directions.len() != 1 {
            return self.tpe.propose(ctx);
        }
        if self.starting_up(ctx) {
            return Params::default();
        }
        self.improve(ctx, 1.0).unwrap_or_default()
    }

    fn propose_one(&self, ctx: &Context<'_>, name: &str, domain: &Domain) -> f64 {
        if let Some(only) = only_value(domain) {
            return only;
        }
        if ctx.directions.len() == 1 && self.starting_up(ctx) {
            return spread(ctx, name, domain, self.params.n_startup_trials as u64);
        }
        self.tpe.propose_one(ctx, name, domain)
    }
}

impl Gp {
    /// The point of the largest expected improvement, if the history can tell.
    ///
    /// `doubt` above 1 multiplies the fitted weights: a process that trusts its trials less far searches farther away.
    pub(super) fn improve(&self, ctx: &Context<'_>, doubt: f64) -> Option<Params> {
        let known = informative(ctx);
        let trials: Vec<&TrialRecord> = known.iter().map(|(t, _)| *t).collect();
        let layout = Layout::new(&trials);
        if layout.axes.is_empty() {
            return None;
        }
        let mut seen = self.observations(&layout, &known)?;
        let kernel = self.fit(&known).onto(&layout, doubt);
        let limits = self.limits(&layout, &known);
        let mut posterior = Posterior::new(seen.points.clone(), &seen.y, kernel)?;
        let best = posterior.smallest_mean(&seen.y, |i| seen.violation[i] == Some(0.0));
        if best.is_none() && limits.is_empty() {
            return None;
        }
        let mut order: Vec<usize> = (0..seen.y.len())
            .filter(|&i| seen.shapes[i].is_some())
            .collect();
        order.sort_by(|a, b| {
            let broken = |i: usize| seen.violation[i].unwrap_or(0.0);
            let by_violation = broken(*a).total_cmp(&broken(*b));
            by_violation.then(seen.y[*a].total_cmp(&seen.y[*b]))
        });
        let mut elites: Vec<(Vec<f64>, usize)> = Vec::new();
        for at in 0..layout.shapes.len() {
            let of_shape = order.iter().filter(|&&i| seen.shapes[i] == Some(at));
            elites.extend(of_shape.take(5).map(|&i| (seen.points.row(i), at)));
        }
        // Trials in flight return what is expected of them.
        let pending: Vec<Vec<f64>> = ctx
            .pending
            .iter()
            .filter(|p| !p.0.is_empty())
            .map(|p| layout.place(p).0)
            .collect();
        if !pending.is_empty() {
            let mut room = regression::Scratch::default();
            for row in &pending {
                let (mean, _) = posterior.predict(row, &mut room);
                seen.points.push(row);
                seen.y.push(mean);
            }
            posterior = Posterior::new(seen.points.clone(), &seen.y, posterior.kernel.clone())?;
        }
        let mut taken: Vec<Vec<f64>> = ctx
            .history
            .iter()
            .map(|t| layout.place(&t.params).0)
            .collect();
        taken.extend(pending);
        let search = Search {
            layout: &layout,
            posterior: &posterior,
            best: best.map(|(_, mean)| mean),
            limits: &limits,
            taken: &taken,
            elites: &elites,
            window: &vec![(0.0, 1.0); layout.axes.len()],
            only_shape: None,
            candidates: self.params.n_candidates,
        };
        let mut rng = ctx.seed.child("together", 0).rng();
        let (row, shape, _) = search.run(&mut rng)?;
        Some(layout.params(&layout.shapes[shape], &row))
    }
}

impl Gp {
    /// A proposal near the best trial, if the best trial has numbers to refine.
    pub(super) fn refine(&self, ctx: &Context<'_>) -> Option<Params> {
        let all = informative(ctx);
        let losses: Vec<f64> = all.iter().map(|(_, l)| *l).collect();
        let known: Vec<(&TrialRecord, f64)> = best_and_latest(&losses, AROUND)
            .into_iter()
            .map(|i| all[i])
            .collect();
        let trials: Vec<&TrialRecord> = known.iter().map(|(t, _)| *t).collect();
        let layout = Layout::new(&trials);
        let complete = (0..known.len()).filter(|&i| known[i].0.state == TrialState::Complete);
        let center = complete.reduce(|a, b| if known[b].1 < known[a].1 { b } else { a })?;
        let shown = ctx.pending.iter().filter(|p| !p.0.is_empty());
        let pending: Vec<Vec<f64>> = shown.map(|p| layout.place(p).0).collect();
        let mut rng = ctx.seed.child("local", 0).rng();
        let candidates = self.params.n_candidates / 2;
        local::refine(&layout, &known, center, &pending, candidates, &mut rng)
    }
}

/// Trials among which the local process looks for neighbours, at most.
const AROUND: usize = 1000;

/// All places of `losses`, or the best half and the latest half of `most`, in order.
fn best_and_latest(losses: &[f64], most: usize) -> Vec<usize> {
    let n = losses.len();
    if n <= most {
        return (0..n).collect();
    }
    let mut order: Vec<usize> = (0..n).collect();
    let best = most / 2;
    order.select_nth_unstable_by(best, |a, b| {
        losses[*a].total_cmp(&losses[*b]).then(a.cmp(b))
    });
    let mut kept = vec![false; n];
    order[..best].iter().for_each(|&i| kept[i] = true);
    let mut left = most - best;
    for i in (0..n).rev() {
        if left > 0 && !kept[i] {
            kept[i] = true;
            left -= 1;
        }
    }
    (0..n).filter(|&i| kept[i]).collect()
}

/// Whether the last trials brought next to nothing: less than a hundredth of what the best is ahead of the median.
pub(super) fn stalled(ctx: &Context<'_>) -> bool {
    let known = informative(ctx);
    let eligible = known.iter().filter(|(t, _)| t.is_eligible());
    let losses: Vec<f64> = eligible
        .map(|(_, l)| *l)
        .filter(|l| l.is_finite())
        .collect();
    if losses.len() < 20 {
        return false;
    }
    let best = |losses: &[f64]| losses.iter().copied().fold(f64::INFINITY, f64::min);
    let (before, now) = (best(&losses[..losses.len() - 8]), best(&losses));
    let mut sorted = losses.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    before - now <= 1e-2 * (median - now)
}

/// A draw that spreads `n` trials over the domain, one in each `n`-th part: a Latin hypercube.
pub(super) fn spread(ctx: &Context<'_>, name: &str, domain: &Domain, n: u64) -> f64 {
    let mut rng = ctx
        .study_seed
        .child("design", ctx.trial / n)
        .child(name, 0)
        .rng();
    let mut parts: Vec<u64> = (0..n).collect();
    for i in (1..n).rev() {
        parts.swap(i as usize, random::below(i + 1, &mut rng) as usize);
    }
    let part = parts[(ctx.trial % n) as usize] as f64;
    let at = (part + random::unit(&mut param_seed(ctx, name).rng())) / n as f64;
    space::at(domain, name, at)
}
