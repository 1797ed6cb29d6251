//! Weighted quantiles.

/// A value that minimises the weighted pinball loss at `level`: the smallest one whose share of the weight, together with
/// all smaller ones, is above `level`; half way to the one before where the share of those before is exactly `level`. A
/// weight of 2 is the same as the value twice. 0 for no values.
pub(in crate::learn::gbt) fn weighted_quantile(values: &[f64], weights: &[f64], level: f64) -> f64 {
    let mut pairs: Vec<(f64, f64)> = values
        .iter()
        .copied()
        .zip(weights.iter().copied())
        .filter(|(_, w)| *w > 0.0)
        .collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all: f64 = pairs.iter().map(|p| p.1).sum();
    let wanted = level * all;
    let mut below = 0.0;
    for (i, (value, weight)) in pairs.iter().enumerate() {
        // The share of the values before this one is `wanted` up to rounding.
        if i > 0 && (below - wanted).abs() <= 1e-12 * all {
            return pairs[i - 1].0 / 2.0 + value / 2.0;
        }
        below += weight;
        if below - wanted > 1e-12 * all {
            return *value;
        }
    }
    pairs.last().map_or(0.0, |p| p.0)
}
