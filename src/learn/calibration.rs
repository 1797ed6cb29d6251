//! Calibration: maps that turn predicted probabilities into observed shares, and a model with such a map after it.
//!
//! Isotonic regression by pooling adjacent violators, linear between its steps and constant beyond them, as scikit-learn's
//! `IsotonicRegression(out_of_bounds="clip")`. Platt scaling fits `sigmoid(slope · logit(p) + intercept)` to targets corrected
//! for the prior (Platt 1999; Newton steps as in Lin, Lin & Weng 2007), scikit-learn's `_SigmoidCalibration` of the logits.
//! Three classes or more are calibrated one against the rest and normalised.
//!
//! **Contract.** A map is fitted on predictions of rows that the model did not learn from. It never exchanges two
//! predictions of a class, though an isotonic one makes many equal.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::stats::special::{exp, ln, sigmoid};

use super::learner::{LearnError, Model};
use super::table;

/// The kind of models with a calibration after them.
pub const NAME: &str = "calibrated";

/// The newest format of saved calibrated models that this release reads, and the one it writes.
const FORMAT: u32 = 1;

/// Probabilities are kept this far from 0 and 1 before their logit is taken.
const EDGE: f64 = 1e-12;

/// How probabilities are calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A step function that never falls, with lines between its steps.
    Isotonic,
    /// A logistic curve over the logits.
    Platt,
}

impl Method {
    /// The name in experiment files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Isotonic => "isotonic",
            Method::Platt => "platt",
        }
    }
}

/// The map of one class's probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Map {
    /// Points of a line that never falls; constant beyond its ends.
    Isotonic { x: Vec<f64>, y: Vec<f64> },
    /// `sigmoid(slope · logit(p) + intercept)`.
    Platt { slope: f64, intercept: f64 },
}

impl Map {
    fn apply(&self, p: f64) -> f64 {
        match self {
            Map::Platt { slope, intercept } => sigmoid(slope * logit(p) + intercept),
            Map::Isotonic { x, y } => {
                let above = x.partition_point(|x| *x <= p);
                if above == 0 {
                    return y[0];
                }
                if above == x.len() {
                    return y[above - 1];
                }
                let below = above - 1;
                let share = (p - x[below]) / (x[above] - x[below]);
                y[below] + share * (y[above] - y[below])
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Map::Platt { slope, intercept } if slope.is_finite() && intercept.is_finite() => Ok(()),
            Map::Isotonic { x, y }
                if !x.is_empty()
                    && x.len() == y.len()
                    && x.windows(2).all(|w| w[0] < w[1])
                    && y.windows(2).all(|w| w[0] <= w[1])
                    && x.iter().chain(y).all(|v| (0.0..=1.0).contains(v)) =>
            {
                Ok(())
            }
            _ => Err("its calibration is no map of probabilities".to_owned()),
        }
    }
}

/// The logit of a probability that is kept away from 0 and 1.
fn logit(p: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    ln(p / (1.0 - p))
}

/// A fitted calibration: one map for two classes, else one per class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Calibration {
    maps: Vec<Map>,
}

impl Calibration {
    /// Fits maps to `predictions`, row-major with `width` probabilities per row (1 for two classes), and the class index
    /// of each row. Rows of weight 0 do not count; without `weights` each counts once.
    ///
    /// # Errors
    /// [`LearnError::Data`] without rows of weight, or when predictions, rows and weights do not fit.
    pub fn fit(
        method: Method,
        width: usize,
        predictions: &[f64],
        truth: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Self, LearnError> {
        let counted = weights.is_none_or(|w| w.len() == truth.len() && w.iter().any(|w| *w > 0.0));
        if truth.is_empty() || width == 0 || predictions.len() != truth.len() * width || !counted {
            return Err(LearnError::Data {
                learner: NAME,
                what: format!(
                    "{} probabilities do not fit {} rows of {width}",
                    predictions.len(),
                    truth.len()
                ),
            });
        }
        let maps = (0..width).map(|output| {
            let class = if width == 1 { 1 } else { output };
            let rows = predictions[output..].iter().step_by(width).zip(truth);
            let rows = rows.enumerate().map(|(i, (&p, t))| Row {
                p,
                positive: *t as usize == class,
                weight: weights.map_or(1.0, |w| w[i]),
            });
            let rows: Vec<Row> = rows.filter(|r| r.weight > 0.0).collect();
            match method {
                Method::Isotonic => isotonic(rows),
                Method::Platt => platt(&rows),
            }
        });
        Ok(Calibration {
            maps: maps.collect(),
        })
    }

    /// Probabilities per row: 1 for two classes.
    pub fn width(&self) -> usize {
        self.maps.len()
    }

    /// Calibrates one row in place.
    pub fn apply(&self, row: &mut [f64]) {
        for (p, map) in row.iter_mut().zip(&self.maps) {
            *p = map.apply(*p);
        }
        if self.maps.len() > 1 {
            let all: f64 = row.iter().sum();
            let even = 1.0 / row.len() as f64;
            for p in row.iter_mut() {
                *p = if all > 0.0 { *p / all } else { even };
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        self.maps.iter().try_for_each(Map::check)
    }
}

/// A predicted probability and what became of it.
struct Row {
    p: f64,
    positive: bool,
    weight: f64,
}

/// Pools adjacent violators, equal probabilities first.
fn isotonic(mut rows: Vec<Row>) -> Map {
    // Stable: sums are those of the rows in their order.
    rows.sort_by(|a, b| a.p.total_cmp(&b.p));
    // Blocks of a first and a last probability, with the weights of positives and of all rows.
    struct Block {
        first: f64,
        last: f64,
        positives: f64,
        rows: f64,
    }
    let mut points: Vec<Block> = Vec::new();
    for row in &rows {
        let positive = if row.positive { row.weight } else { 0.0 };
        match points.last_mut() {
            Some(block) if block.last == row.p => {
                block.positives += positive;
                block.rows += row.weight;
            }
            _ => points.push(Block {
                first: row.p,
                last: row.p,
                positives: positive,
                rows: row.weight,
            }),
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    for mut block in points {
        // Without weights these are counts, and the comparison is exact.
        while let Some(before) = blocks.last()
            && before.positives * block.rows >= block.positives * before.rows
        {
            block.first = before.first;
            block.positives += before.positives;
            block.rows += before.rows;
            blocks.pop();
        }
        blocks.push(block);
    }
    let (mut x, mut level) = (Vec::new(), Vec::new());
    for block in blocks {
        let mean = (block.positives / block.rows).min(1.0);
        x.push(block.first);
        level.push(mean);
        if block.last > block.first {
            x.push(block.last);
            level.push(mean);
        }
    }
    Map::Isotonic { x, y: level }
}

/// Newton's method on slope and intercept; the objective is convex and each step is halved until it falls.
fn platt(rows: &[Row]) -> Map {
    let weight = |positive: bool| {
        let own = rows.iter().filter(|r| r.positive == positive);
        own.map(|r| r.weight).sum::<f64>()
    };
    let (positives, negatives) = (weight(true), weight(false));
    let (high, low) = (
        (positives + 1.0) / (positives + 2.0),
        1.0 / (negatives + 2.0),
    );
    // Logit, target and weight.
    let rows: Vec<(f64, f64, f64)> = rows
        .iter()
        .map(|r| (logit(r.p), if r.positive { high } else { low }, r.weight))
        .collect();
    let loss = |slope: f64, intercept: f64| -> f64 {
        rows.iter()
            .map(|(s, t, w)| {
                let z = slope * s + intercept;
                w * (ln(1.0 + exp(-z.abs())) + z.max(0.0) - t * z)
            })
            .sum()
    };
    let (mut slope, mut intercept) = (0.0, ln((positives + 1.0) / (negatives + 1.0)));
    let mut at = loss(slope, intercept);
    for _ in 0..100 {
        // A small ridge keeps the matrix regular where all scores are the same.
        let (mut a, mut b, mut c, mut g, mut h) = (1e-12, 0.0, 1e-12, 0.0, 0.0);
        for (s, t, w) in &rows {
            let q = sigmoid(slope * s + intercept);
            let (v, r) = (w * q * (1.0 - q), w * (t - q));
            a += v * s * s;
            b += v * s;
            c += v;
            g += r * s;
            h += r;
        }
        let det = a * c - b * b;
        if g.abs().max(h.abs()) < 1e-9 || det <= 0.0 {
            break;
        }
        let (da, db) = ((c * g - b * h) / det, (a * h - b * g) / det);
        let mut size = 1.0;
        while size > 1e-10 {
            let next = loss(slope + size * da, intercept + size * db);
            if next < at {
                slope += size * da;
                intercept += size * db;
                at = next;
                break;
            }
            size /= 2.0;
        }
        if size <= 1e-10 {
            break;
        }
    }
    Map::Platt { slope, intercept }
}

/// A model with a calibration after it.
pub struct Calibrated {
    inner: Box<dyn Model>,
    calibration: Calibration,
}

#[derive(Serialize)]
struct Saved<'a> {
    format: u32,
    calibration: &'a Calibration,
    kind: &'a str,
    model: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    format: u32,
    calibration: Calibration,
    kind: String,
    model: Box<RawValue>,
}

impl Calibrated {
    /// Joins a model of probabilities with a calibration of as many.
    ///
    /// # Errors
    /// [`LearnError::Data`] when their widths differ.
    pub fn new(inner: Box<dyn Model>, calibration: Calibration) -> Result<Self, LearnError> {
        if inner.width() != calibration.width() {
            return Err(LearnError::Data {
                learner: NAME,
                what: format!(
                    "the model gives {} probabilities and the calibration takes {}",
                    inner.width(),
                    calibration.width()
                ),
            });
        }
        Ok(Calibrated { inner, calibration })
    }

    /// The model before its calibration.
    pub fn inner(&self) -> &dyn Model {
        self.inner.as_ref()
    }

    /// What comes after it.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }
}

impl Model for Calibrated {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn features(&self) -> usize {
        self.inner.features()
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        self.inner.predict_row(row, out);
        self.calibration.apply(out);
    }

    fn predict_rows(
        &self,
        features: &super::features::Features,
        rows: &[u32],
        fills: &[f64],
    ) -> Vec<f64> {
        let mut out = self.inner.predict_rows(features, rows, fills);
        for row in out.chunks_exact_mut(self.width()) {
            self.calibration.apply(row);
        }
        out
    }

    fn predict_matrix(&self, matrix: &[f64], out: &mut [f64]) {
        self.inner.predict_matrix(matrix, out);
        for row in out.chunks_exact_mut(self.width()) {
            self.calibration.apply(row);
        }
    }

    fn importance(&self) -> Option<Vec<f64>> {
        self.inner.importance()
    }

    fn save(&self) -> Result<String, LearnError> {
        let bad = |e: serde_json::Error| LearnError::Saved {
            kind: NAME,
            what: e.to_string(),
        };
        let model = RawValue::from_string(self.inner.save()?).map_err(bad)?;
        let saved = Saved {
            format: FORMAT,
            calibration: &self.calibration,
            kind: self.inner.kind(),
            model: &model,
        };
        serde_json::to_string(&saved).map_err(bad)
    }
}

/// Reads the saved form.
///
/// # Errors
/// [`LearnError::Saved`] if it is not one, and what the model inside says.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    let bad = |what: String| LearnError::Saved { kind: NAME, what };
    let opened: Opened = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    if opened.format > FORMAT {
        return Err(bad(format!(
            "format {} is newer than this release reads ({FORMAT}); update automl",
            opened.format
        )));
    }
    // One calibration in another would let a file nest without end.
    if opened.kind == NAME {
        return Err(bad(
            "a calibrated model inside of a calibrated one".to_owned()
        ));
    }
    opened.calibration.check().map_err(bad)?;
    let load = table::loader(&opened.kind).map_err(|e| bad(e.to_string()))?;
    let inner = load(opened.model.get())?;
    Ok(Box::new(
        Calibrated::new(inner, opened.calibration).map_err(|e| bad(e.to_string()))?,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn numbers(json: &Json) -> Vec<f64> {
        let list = json.as_array().unwrap();
        list.iter().map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn maps_are_those_of_scikit_learn() {
        let text = include_str!("../../tests/golden/calibration.json");
        let golden: Json = serde_json::from_str(text).unwrap();
        for (i, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
            let (p, truth) = (numbers(&case["p"]), numbers(&case["truth"]));
            // Isotonic means are sums in another order; L-BFGS ends some 1e-6 before Newton's method.
            for (method, tolerance) in [(Method::Isotonic, 1e-12), (Method::Platt, 2e-5)] {
                let fitted = Calibration::fit(method, 1, &p, &truth, None).unwrap();
                let theirs = numbers(&case[method.name()]);
                for (at, theirs) in numbers(&case["at"]).iter().zip(&theirs) {
                    let mut ours = [*at];
                    fitted.apply(&mut ours);
                    assert!(
                        (ours[0] - theirs).abs() < tolerance,
                        "case {i}, {method:?} at {at}: {}, scikit-learn {theirs}",
                        ours[0]
                    );
                }
            }
        }
    }

    #[test]
    fn several_classes_sum_to_one_and_keep_what_is_right() {
        // Class c is true for every row that gives it 0.8.
        let (mut p, mut truth) = (Vec::new(), Vec::new());
        for row in 0..90 {
            let class = row % 3;
            truth.push(class as f64);
            p.extend((0..3).map(|c| if c == class { 0.8 } else { 0.1 }));
        }
        for method in [Method::Isotonic, Method::Platt] {
            let fitted = Calibration::fit(method, 3, &p, &truth, None).unwrap();
            let mut row = [0.1, 0.8, 0.1];
            fitted.apply(&mut row);
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(row[1] > 0.95, "{method:?} {row:?}");
            // Where no class is left, all are alike.
            let mut row = [0.0; 3];
            fitted.apply(&mut row);
            assert!(row.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-9), "{row:?}");
        }
    }

    #[test]
    fn a_weight_of_two_is_a_row_twice() {
        let p: Vec<f64> = (0..40).map(|i| f64::from(i * 17 % 40) / 40.0).collect();
        let truth: Vec<f64> = (0..40)
            .map(|i| f64::from(u8::from(p[i] + 0.3 * f64::from(i as u32 % 3) > 0.6)))
            .collect();
        let weights: Vec<f64> = (0..40).map(|i| f64::from(i % 3)).collect();
        let mut rows = Vec::new();
        for (i, weight) in weights.iter().enumerate() {
            rows.extend(std::iter::repeat_n(i, *weight as usize));
        }
        let (many_p, many_truth): (Vec<f64>, Vec<f64>) =
            rows.iter().map(|&i| (p[i], truth[i])).unzip();
        for method in [Method::Isotonic, Method::Platt] {
            let weighted = Calibration::fit(method, 1, &p, &truth, Some(&weights)).unwrap();
            let repeated = Calibration::fit(method, 1, &many_p, &many_truth, None).unwrap();
            for at in [0.0, 0.2, 0.55, 0.9, 1.0] {
                let (mut a, mut b) = ([at], [at]);
                weighted.apply(&mut a);
                repeated.apply(&mut b);
                assert!((a[0] - b[0]).abs() < 1e-9, "{method:?} {at}: {a:?} {b:?}");
            }
        }
        assert!(Calibration::fit(Method::Platt, 1, &p, &truth, Some(&[0.0; 40])).is_err());
    }

    #[test]
    fn extremes_are_probabilities() {
        for (p, truth) in [
            (vec![0.0, 1.0, 0.5], vec![0.0, 1.0, 1.0]),
            (vec![0.3; 4], vec![1.0; 4]),
            (vec![1.0; 4], vec![0.0; 4]),
            (vec![0.7], vec![1.0]),
            (vec![1.0, 0.0], vec![0.0, 1.0]),
        ] {
            for method in [Method::Isotonic, Method::Platt] {
                let fitted = Calibration::fit(method, 1, &p, &truth, None).unwrap();
                fitted.check().unwrap();
                for at in [0.0, 1e-300, 0.3, 0.5, 0.999_999, 1.0] {
                    let mut out = [at];
                    fitted.apply(&mut out);
                    assert!(
                        (0.0..=1.0).contains(&out[0]),
                        "{method:?} {p:?} {at}: {out:?}"
                    );
                }
            }
        }
        for (width, p, truth) in [(1, vec![], vec![]), (2, vec![0.5; 3], vec![0.0; 2])] {
            let error = Calibration::fit(Method::Platt, width, &p, &truth, None).unwrap_err();
            assert!(matches!(error, LearnError::Data { .. }));
        }
    }
}
