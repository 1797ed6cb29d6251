//! The volume that points dominate, exactly.
//!
//! Two directions are swept, three are swept with a staircase of the other two. More are cut into slices by their first
//! direction: within a slice one direction fewer is left, of which only what each point has for itself counts (While,
//! Bradstreet and Barone, *A Fast Way of Calculating Exact Hypervolumes*, 2012).

use super::front;

/// The volume between `points` (losses) and `reference`: of all that at least one point dominates and that dominates
/// the reference point.
///
/// Points that do not lie below the reference in every direction add nothing. Infinite when the reference is, or a point
/// that adds something. Time: n log n for two directions, n² for three, exponential in the number of directions.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside =
        |p: &&Vec<f64>| p.len() == reference.len() && p.iter().zip(reference).all(|(p, r)| p < r);
    let inside: Vec<&Vec<f64>> = points.iter().filter(inside).collect();
    if inside.is_empty() {
        return 0.0;
    }
    let sides = reference.iter().chain(inside.iter().copied().flatten());
    if sides.into_iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    // Sides instead of losses: the volume lies between the origin and these points.
    let sides = |p: &&Vec<f64>| p.iter().zip(reference).map(|(p, r)| r - p).collect();
    union(inside.iter().map(sides).collect())
}

/// The volume of the union of boxes from the origin to each of `corners`, all above it.
pub(super) fn union(mut corners: Vec<Vec<f64>>) -> f64 {
    match corners.first().map_or(0, Vec::len) {
        0 => return 0.0,
        1 => return corners.iter().map(|c| c[0]).fold(0.0, f64::max),
        _ => {}
    }
    // Largest first side first. Stable and by value only, so the sum is always taken in the same order.
    corners.sort_by(|a, b| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
    match corners[0].len() {
        2 => area(&corners),
        3 => swept(&corners),
        _ => sliced(&corners),
    }
}

fn area(corners: &[Vec<f64>]) -> f64 {
    let (mut sum, mut height) = (0.0, 0.0);
    for corner in corners {
        if corner[1] > height {
            sum += corner[0] * (corner[1] - height);
            height = corner[1];
        }
    }
    sum
}

/// The first direction is swept from its far end; the other two grow a staircase, whose area is kept.
fn swept(corners: &[Vec<f64>]) -> f64 {
    // Widths falling, heights rising.
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    let (mut sum, mut area) = (0.0, 0.0);
    for (i, corner) in corners.iter().enumerate() {
        let (width, height) = (corner[1], corner[2]);
        let from = stairs.partition_point(|s| s.0 > width);
        // The first step that is no wider is also the lowest of those; it hides the corner if it is as high and as wide.
        let hidden = stairs
            .get(from)
            .is_some_and(|s| s.0 >= width && s.1 >= height)
            || from > 0 && stairs[from - 1].1 >= height;
        if !hidden {
            let until = from + stairs[from..].partition_point(|s| s.1 <= height);
            let mut below = if from > 0 { stairs[from - 1].1 } else { 0.0 };
            let mut gained = width * (height - below);
            for step in &stairs[from..until] {
                gained -= step.0 * (step.1 - below);
                below = step.1;
            }
            if let Some(beyond) = stairs.get(until) {
                gained -= beyond.0 * (height - below);
            }
            area += gained;
            stairs.splice(from..until, [(width, height)]);
        }
        let next = corners.get(i + 1).map_or(0.0, |c| c[0]);
        sum += area * (corner[0] - next);
    }
    sum
}

fn sliced(corners: &[Vec<f64>]) -> f64 {
    let mut sum = 0.0;
    for (i, corner) in corners.iter().enumerate() {
        // The points before reach at least as far in the first direction.
        sum += corner[0] * own(&corner[1..], corners[..i].iter().map(|c| &c[1..]));
    }
    sum
}

/// The volume of the box to `corner` that is in none of the boxes to `others`.
pub(super) fn own<'a>(corner: &[f64], others: impl Iterator<Item = &'a [f64]>) -> f64 {
    let shared = others.map(|o| o.iter().zip(corner).map(|(a, b)| a.min(*b)).collect());
    let shared: Vec<Vec<f64>> = shared.collect();
    corner.iter().product::<f64>() - union(outermost(shared))
}

/// Without the corners that lie in the box of another, which would make the recursion long.
fn outermost(mut corners: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    if corners.first().is_none_or(|c| c.len() < 4) {
        return corners;
    }
    let losses: Vec<Vec<f64>> = corners
        .iter()
        .map(|c| c.iter().map(|side| -side).collect())
        .collect();
    let mut kept: Vec<Vec<f64>> = Vec::new();
    for i in front(&losses) {
        kept.push(std::mem::take(&mut corners[i]));
    }
    kept.sort_by(|a, b| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
    kept.dedup();
    kept
}
