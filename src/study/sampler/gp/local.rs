//! Local refinement: a Gaussian process of the trials around the best one, in a window that they span.
//!
//! A trust region without a memory. The window is the box of the nearest trials around the best one, widened; where
//! steps succeed the best trial moves to the edge of what is known and the window grows, where they fail more trials lie
//! close by and it shrinks. Within the window, coordinates and losses are scaled anew, so precision has no floor. After
//! Eriksson et al., *Scalable Global Optimization via Local Bayesian Optimization* (NeurIPS 2019).

use crate::seed::Rng;
use crate::study::record::TrialRecord;
use crate::study::space::Params;

use super::regression::{self, Kernel, Posterior};
use super::search::Search;
use super::space::{Layout, Scale};
use super::warp;

/// Trials that the local process is conditioned on at most.
const MOST: usize = 50;
/// A window is this much wider than the box of the nearest trials.
const WIDER: f64 = 2.0;
/// No window is smaller than this part of an axis.
const SMALLEST: f64 = 1e-9;

/// A proposal near `center`, the place of a trial in `known`.
pub(super) fn refine(
    layout: &Layout<'_>,
    known: &[(&TrialRecord, f64)],
    center: usize,
    pending: &[Vec<f64>],
    candidates: usize,
    rng: &mut Rng,
) -> Option<Params> {
    let (middle, shape) = layout.place(&known[center].0.params);
    let at = shape?;
    let shape = &layout.shapes[at];
    let axes: Vec<usize> = (0..shape.has.len()).filter(|&a| shape.has[a]).collect();
    let numeric: Vec<usize> = axes
        .iter()
        .copied()
        .filter(|&a| !matches!(layout.axes[a].scale, Scale::Choice(_)) && shape.only[a].is_none())
        .collect();
    if numeric.is_empty() {
        return None;
    }
    let mut near: Vec<(f64, Vec<f64>, f64)> = known
        .iter()
        .filter_map(|(trial, loss)| {
            let (row, found) = layout.place(&trial.params);
            let apart = |&a: &usize| {
                if layout.points_choice(a) {
                    f64::from(u8::from(row[a] != middle[a]))
                } else {
                    (row[a] - middle[a]).abs()
                }
            };
            let distance = axes.iter().map(apart).fold(0.0, f64::max);
            (found == Some(at)).then_some((distance, row, *loss))
        })
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    near.truncate(MOST);
    // The box of the nearest ones, the middle itself aside.
    let few = (axes.len() + 2).min(near.len().saturating_sub(1));
    if few < 2 {
        return None;
    }
    let mut window = vec![(0.0, 1.0); shape.has.len()];
    let reach = near[few].0;
    for &axis in &numeric {
        let apart = near[1..=few]
            .iter()
            .map(|(_, row, _)| (row[axis] - middle[axis]).abs());
        let mut half = WIDER * apart.fold(0.0, f64::max).max(0.2 * reach).min(0.5);
        if let Scale::Grid(n) = layout.axes[axis].scale {
            half = half.max(1.5 / n);
        }
        let half = half.max(SMALLEST);
        window[axis] = (
            (middle[axis] - half).max(0.0),
            (middle[axis] + half).min(1.0),
        );
    }
    local_search(layout, at, &near, &window, pending, candidates, rng)
}

fn local_search(
    layout: &Layout<'_>,
    at: usize,
    near: &[(f64, Vec<f64>, f64)],
    window: &[(f64, f64)],
    pending: &[Vec<f64>],
    candidates: usize,
    rng: &mut Rng,
) -> Option<Params> {
    // Only what lies within thrice the window, if that is enough to learn from.
    let inside = |row: &[f64]| {
        window.iter().enumerate().all(|(a, (low, high))| {
            let (middle, half) = (0.5 * (low + high), 0.5 * (high - low));
            layout.points_choice(a) || (row[a] - middle).abs() <= 3.0 * half
        })
    };
    let least = 2 * window.len() + 4;
    let used: Vec<&(f64, Vec<f64>, f64)> = near
        .iter()
        .enumerate()
        .filter(|(i, (_, row, _))| *i < least || inside(row))
        .map(|(_, n)| n)
        .collect();
    let y = warp::warp(&used.iter().map(|(_, _, loss)| *loss).collect::<Vec<_>>());
    if y.is_empty() {
        return None;
    }
    // Coordinates count in widths of the window.
    let scales: Vec<f64> = (0..layout.width())
        .map(|a| match window.get(a) {
            Some((low, high)) if !layout.points_choice(a) => (high - low).powi(-2),
            _ => 1.0,
        })
        .collect();
    let mut points = layout.points();
    let mut scaled = layout.points();
    let stretch = |row: &[f64]| -> Vec<f64> {
        let part = |a: usize| match window.get(a) {
            Some((low, high)) if !layout.points_choice(a) => (row[a] - low) / (high - low),
            _ => row[a],
        };
        (0..row.len()).map(part).collect()
    };
    for (_, row, _) in &used {
        points.push(row);
        scaled.push(&stretch(row));
    }
    let start = Kernel::new(layout.width());
    let (mut kernel, _) = regression::fit(&scaled, &y, &[start], 20);
    kernel
        .weights
        .iter_mut()
        .zip(&scales)
        .for_each(|(w, s)| *w *= s);
    let mut posterior = Posterior::new(points.clone(), &y, kernel)?;
    let (_, best) = posterior.smallest_mean(&y, |_| true)?;
    if !pending.is_empty() {
        let mut room = regression::Scratch::default();
        let mut y = y.clone();
        for row in pending {
            let (mean, _) = posterior.predict(row, &mut room);
            points.push(row);
            y.push(mean);
        }
        posterior = Posterior::new(points, &y, posterior.kernel.clone())?;
    }
    let mut elites: Vec<usize> = (0..used.len()).collect();
    elites.sort_by(|a, b| y[*a].total_cmp(&y[*b]));
    let elites: Vec<(Vec<f64>, usize)> = elites
        .iter()
        .take(3)
        .map(|&i| (used[i].1.clone(), at))
        .collect();
    let mut taken: Vec<Vec<f64>> = near.iter().map(|n| n.1.clone()).collect();
    taken.extend_from_slice(pending);
    let search = Search {
        layout,
        posterior: &posterior,
        best: Some(best),
        limits: &[],
        taken: &taken,
        elites: &elites,
        window,
        only_shape: Some(at),
        candidates,
    };
    let (row, _, _) = search.run(rng)?;
    Some(layout.params(&layout.shapes[at], &row))
}
