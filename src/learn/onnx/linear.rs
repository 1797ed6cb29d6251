//! Linear scores as a matrix product.

use crate::learn::learner::Linear;

use super::graph::Graph;

/// Adds standardising, the product and the intercepts; the name of the scores, rows by outputs.
pub(super) fn sums(graph: &mut Graph, linear: &Linear, matrix: &str) -> String {
    let (features, width) = (linear.mean.len(), linear.intercepts.len());
    let row = [1, features as i64];
    let mean = graph.doubles(&row, &linear.mean);
    let deviation = graph.doubles(&row, &linear.deviation);
    let zero = graph.doubles(&[], &[0.0]);
    let centred = graph.op("", "Sub", &[matrix, &mean], Vec::new());
    let scaled = graph.op("", "Div", &[&centred, &deviation], Vec::new());
    // A missing value counts as the mean.
    let missing = graph.op("", "IsNaN", &[&scaled], Vec::new());
    let known = graph.op("", "Where", &[&missing, &zero, &scaled], Vec::new());
    let mut by_feature = Vec::with_capacity(features * width);
    for feature in 0..features {
        by_feature.extend(linear.coefficients.iter().map(|of| of[feature]));
    }
    let weights = graph.doubles(&[features as i64, width as i64], &by_feature);
    let product = graph.op("", "MatMul", &[&known, &weights], Vec::new());
    let intercepts = graph.doubles(&[1, width as i64], &linear.intercepts);
    graph.op("", "Add", &[&product, &intercepts], Vec::new())
}
