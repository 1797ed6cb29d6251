//! The design of a linear model: which terms the features give, and the sums over rows that fitting needs.
//!
//! A numeric feature is one standardised column. A category is one 0/1 term per level, kept as the rows' levels: its sums
//! take one addition per row, however many levels there are. **Contract.** Sums run in row order (or in fixed lanes of
//! it), so they are the same bits on any number of threads.

use rayon::prelude::*;

use crate::learn::features::{FeatureKind, Features};
use crate::learn::learner::TrainingSet;

use super::solver::Ask;

/// What of a feature a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The number; the mean where it is missing.
    Value,
    /// 1 for this level, else 0.
    Level(usize),
    /// 1 where it is missing, else 0.
    Missing,
}

/// One column of the design: `(x − mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Term {
    pub feature: usize,
    pub part: Part,
    /// What is subtracted.
    pub mean: f64,
    /// What it is then divided by.
    pub deviation: f64,
    /// What stands in for a missing number.
    pub fill: f64,
}

/// The numbers of one or more terms over the rows.
enum Block {
    /// One term, standardised.
    Dense(Vec<f64>),
    /// `count` 0/1 terms of which a row has at most one; the code `count` stands for none.
    Levels { codes: Vec<u16>, count: usize },
}

impl Block {
    fn len(&self) -> usize {
        match self {
            Block::Dense(_) => 1,
            Block::Levels { count, .. } => *count,
        }
    }
}

/// The columns of a linear model over its training rows.
pub(crate) struct Design {
    rows: usize,
    blocks: Vec<Block>,
    /// First term of each block.
    first: Vec<usize>,
    /// What is subtracted from a stored number: 0 for dense terms, which are standardised already.
    shift: Vec<f64>,
    /// What it is multiplied by afterwards.
    scale: Vec<f64>,
}

/// Sums over rows weighted by `v`: products of terms (row-major), terms, and 1.
pub(super) struct Moments {
    pub products: Vec<f64>,
    pub sums: Vec<f64>,
    pub total: f64,
}

/// More products than this per pass are shared out to threads.
const PARALLEL: usize = 1 << 21;

impl Design {
    /// Columns of numbers, taken as they are.
    pub(crate) fn dense(rows: usize, columns: Vec<Vec<f64>>) -> Self {
        let blocks: Vec<Block> = columns.into_iter().map(Block::Dense).collect();
        Design::new(rows, blocks, None)
    }

    fn new(rows: usize, blocks: Vec<Block>, standard: Option<(Vec<f64>, Vec<f64>)>) -> Self {
        let mut first = Vec::with_capacity(blocks.len());
        let mut terms = 0;
        for block in &blocks {
            first.push(terms);
            terms += block.len();
        }
        let (shift, scale) = standard.unwrap_or_else(|| (vec![0.0; terms], vec![1.0; terms]));
        Design {
            rows,
            blocks,
            first,
            shift,
            scale,
        }
    }

    /// The terms of the training rows with their columns. `weights` sum to 1 over the rows; without `centred` nothing is
    /// subtracted from a column, only its deviation becomes 1. A feature that does not vary has no term.
    pub(super) fn standardised(
        data: &TrainingSet<'_>,
        weights: &[f64],
        centred: bool,
    ) -> (Self, Vec<Term>) {
        let rows = data.rows.len();
        let (mut blocks, mut terms) = (Vec::new(), Vec::new());
        let (mut shift, mut scale) = (Vec::new(), Vec::new());
        let mut add_levels = |feature: usize,
                              parts: Vec<Part>,
                              codes: Vec<u16>,
                              terms: &mut Vec<Term>,
                              blocks: &mut Vec<Block>| {
            let mut share = vec![0.0; parts.len() + 1];
            for (&code, weight) in codes.iter().zip(weights) {
                share[usize::from(code)] += weight;
            }
            for (&part, &mean) in parts.iter().zip(&share) {
                // Every level is in some row, and no level is in all of them.
                let deviation = (mean * (1.0 - mean)).max(f64::MIN_POSITIVE).sqrt();
                let mean = if centred { mean } else { 0.0 };
                terms.push(Term {
                    feature,
                    part,
                    mean,
                    deviation,
                    fill: 0.0,
                });
                shift.push(mean);
                scale.push(1.0 / deviation);
            }
            let count = parts.len();
            blocks.push(Block::Levels { codes, count });
        };
        for (feature, column) in data.features.columns.iter().enumerate() {
            let fill = data.fills[feature];
            let value = |row: u32| {
                let value = column.values[row as usize];
                if value.is_nan() { fill } else { value }
            };
            if let FeatureKind::Categorical { levels } = column.kind {
                // A level that is no row's has no term; a row without a known level is a part of its own.
                let level = |row: u32| Some(value(row)).filter(|v| *v >= 0.0 && *v < levels as f64);
                let mut seen = vec![false; levels + 1];
                for &row in data.rows {
                    seen[level(row).map_or(levels, |v| v as usize)] = true;
                }
                let kept: Vec<usize> = (0..=levels).filter(|&l| seen[l]).collect();
                if kept.len() < 2 {
                    continue;
                }
                let mut code = vec![0; levels + 1];
                for (i, &l) in kept.iter().enumerate() {
                    code[l] = i as u16;
                }
                let codes = data.rows.iter();
                let codes = codes.map(|&row| code[level(row).map_or(levels, |v| v as usize)]);
                let part = |&l: &usize| {
                    if l == levels {
                        Part::Missing
                    } else {
                        Part::Level(l)
                    }
                };
                let parts = kept.iter().map(part).collect();
                add_levels(feature, parts, codes.collect(), &mut terms, &mut blocks);
                continue;
            }
            let mut values: Vec<f64> = data.rows.iter().map(|&row| value(row)).collect();
            let missing = values.iter().filter(|v| v.is_nan()).count();
            if missing > 0 && missing < rows {
                let codes = values.iter().map(|v| u16::from(!v.is_nan())).collect();
                add_levels(feature, vec![Part::Missing], codes, &mut terms, &mut blocks);
            }
            if let Some((mean, mut deviation)) = spread(&values, weights) {
                if missing > 0 {
                    // Rows at the mean are rows too: the column as it is used has deviation 1.
                    let there = values.iter().zip(weights).filter(|(v, _)| !v.is_nan());
                    deviation *= there.map(|(_, w)| w).sum::<f64>().sqrt();
                }
                let shift_by = if centred { mean } else { 0.0 };
                for v in &mut values {
                    let present = if v.is_nan() { mean } else { *v };
                    *v = (present - shift_by) / deviation;
                }
                terms.push(Term {
                    feature,
                    part: Part::Value,
                    mean: shift_by,
                    deviation,
                    fill: mean,
                });
                blocks.push(Block::Dense(values));
            }
        }
        // Terms and blocks were made in the same order; dense ones need no correction.
        let (mut all_shift, mut all_scale) = (Vec::new(), Vec::new());
        let mut corrected = shift.into_iter().zip(scale);
        for term in &terms {
            let (by, times) = match term.part {
                Part::Value => (0.0, 1.0),
                _ => corrected.next().unwrap_or((0.0, 1.0)),
            };
            all_shift.push(by);
            all_scale.push(times);
        }
        (
            Design::new(rows, blocks, Some((all_shift, all_scale))),
            terms,
        )
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of terms.
    pub(super) fn terms(&self) -> usize {
        self.shift.len()
    }

    /// The weighted sums of all terms and of their products.
    ///
    /// # Errors
    /// That of `ask`, which is asked before each block.
    pub(super) fn moments<E: Send>(&self, v: &[f64], ask: Ask<'_, E>) -> Result<Moments, E> {
        let terms = self.terms();
        let of_block = |a: usize| {
            ask()?;
            Ok(self.block_products(a, v))
        };
        let work = self.rows * self.blocks.len() * self.blocks.len();
        let parts: Result<Vec<Vec<f64>>, E> = if work > PARALLEL {
            (0..self.blocks.len())
                .into_par_iter()
                .map(of_block)
                .collect()
        } else {
            (0..self.blocks.len()).map(of_block).collect()
        };
        let parts = parts?;
        let total = sum(v);
        let mut raw = vec![0.0; terms];
        let mut products = vec![0.0; terms * terms];
        for (a, part) in parts.iter().enumerate() {
            let (first, len) = (self.first[a], self.blocks[a].len());
            // Per term of the block: its sum, then its products with the terms from this block on.
            for (i, row) in part.chunks_exact(1 + terms - first).enumerate().take(len) {
                raw[first + i] = row[0];
                products[(first + i) * terms + first..][..terms - first].copy_from_slice(&row[1..]);
            }
        }
        for j in 0..terms {
            for k in j..terms {
                let p = products[j * terms + k] - self.shift[j] * raw[k] - self.shift[k] * raw[j]
                    + self.shift[j] * self.shift[k] * total;
                let p = p * self.scale[j] * self.scale[k];
                products[j * terms + k] = p;
                products[k * terms + j] = p;
            }
        }
        let sums = self.standard(raw, total);
        Ok(Moments {
            products,
            sums,
            total,
        })
    }

    fn block_products(&self, a: usize, v: &[f64]) -> Vec<f64> {
        let first = self.first[a];
        let width = 1 + self.terms() - first;
        let mut out = vec![0.0; self.blocks[a].len() * width];
        match &self.blocks[a] {
            Block::Dense(x) => {
                let weighted: Vec<f64> = x.iter().zip(v).map(|(x, v)| x * v).collect();
                out[0] = sum(&weighted);
                for (b, block) in self.blocks.iter().enumerate().skip(a) {
                    let at = 1 + self.first[b] - first;
                    match block {
                        Block::Dense(y) => out[at] = dot(&weighted, y),
                        Block::Levels { codes, count } => {
                            out[at..at + count]
                                .copy_from_slice(&by_level(codes, *count, &weighted));
                        }
                    }
                }
            }
            Block::Levels { codes, count } => {
                let shares = by_level(codes, *count, v);
                for (i, share) in shares.iter().enumerate() {
                    out[i * width] = *share;
                    // A row has one level: products of two levels are 0.
                    out[i * width + 1 + i] = *share;
                }
                for (b, block) in self.blocks.iter().enumerate().skip(a + 1) {
                    let at = 1 + self.first[b] - first;
                    match block {
                        Block::Dense(y) => {
                            let weighted: Vec<f64> = y.iter().zip(v).map(|(y, v)| y * v).collect();
                            for (i, s) in by_level(codes, *count, &weighted).iter().enumerate() {
                                out[i * width + at] = *s;
                            }
                        }
                        Block::Levels {
                            codes: others,
                            count: other,
                        } => {
                            let mut cells = vec![0.0; (count + 1) * (other + 1)];
                            for ((&i, &j), v) in codes.iter().zip(others).zip(v) {
                                cells[usize::from(i) * (other + 1) + usize::from(j)] += v;
                            }
                            for i in 0..*count {
                                out[i * width + at..][..*other]
                                    .copy_from_slice(&cells[i * (other + 1)..][..*other]);
                            }
                        }
                    }
                }
            }
        }
        out
    }

    /// The sums over rows of `r` times each term, and of `r`.
    pub(super) fn gradient(&self, r: &[f64]) -> (Vec<f64>, f64) {
        let mut raw = Vec::with_capacity(self.terms());
        for block in &self.blocks {
            match block {
                Block::Dense(x) => raw.push(dot(x, r)),
                Block::Levels { codes, count } => raw.extend(by_level(codes, *count, r)),
            }
        }
        let total = sum(r);
        (self.standard(raw, total), total)
    }

    fn standard(&self, raw: Vec<f64>, total: f64) -> Vec<f64> {
        let corrected = raw.into_iter().zip(&self.shift).zip(&self.scale);
        corrected
            .map(|((raw, shift), scale)| (raw - shift * total) * scale)
            .collect()
    }

    /// Per row the sum of `intercept` and of `coefficients` times the terms.
    pub(super) fn forward(&self, intercept: f64, coefficients: &[f64]) -> Vec<f64> {
        let constant: f64 = intercept
            - coefficients
                .iter()
                .zip(&self.shift)
                .zip(&self.scale)
                .map(|((c, shift), scale)| c * shift * scale)
                .sum::<f64>();
        let mut out = vec![constant; self.rows];
        for (block, &first) in self.blocks.iter().zip(&self.first) {
            let own = &coefficients[first..first + block.len()];
            if own.iter().all(|c| *c == 0.0) {
                continue;
            }
            match block {
                Block::Dense(x) => {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out += own[0] * x;
                    }
                }
                Block::Levels { codes, .. } => {
                    let scales = &self.scale[first..first + own.len()];
                    let mut table: Vec<f64> = own.iter().zip(scales).map(|(c, s)| c * s).collect();
                    table.push(0.0);
                    for (out, &code) in out.iter_mut().zip(codes) {
                        *out += table[usize::from(code)];
                    }
                }
            }
        }
        out
    }
}

/// Sums of `of` by level; rows without a level are left out.
fn by_level(codes: &[u16], count: usize, of: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; count + 1];
    for (&code, x) in codes.iter().zip(of) {
        sums[usize::from(code)] += x;
    }
    sums.truncate(count);
    sums
}

/// Lanes of a sum, always the same ones: so the compiler may add them side by side without changing the result.
const LANES: usize = 8;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += a * b;
    }
    lanes.iter().sum()
}

fn sum(a: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    for a in whole {
        for i in 0..LANES {
            lanes[i] += a[i];
        }
    }
    for (i, a) in rest.iter().enumerate() {
        lanes[i] += a;
    }
    lanes.iter().sum()
}

/// The weighted mean and standard deviation of the numbers that are there; none when they do not vary.
pub(super) fn spread(values: &[f64], weights: &[f64]) -> Option<(f64, f64)> {
    let present = || values.iter().zip(weights).filter(|(v, _)| !v.is_nan());
    let (mut low, mut high, mut total) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
    for (v, w) in present() {
        low = low.min(*v);
        high = high.max(*v);
        total += w;
    }
    // Also where there is no number at all. An infinite one has no mean.
    if low >= high || total <= 0.0 || !(low.is_finite() && high.is_finite()) {
        return None;
    }
    // A power of two keeps squares of huge and tiny numbers in range and changes no digit.
    let largest = low.abs().max(high.abs());
    let exponent = ((largest.to_bits() >> 52) & 0x7ff).clamp(1, 2_045);
    let unit = f64::from_bits(exponent << 52);
    let down = 1.0 / unit;
    let mean = present().map(|(v, w)| v * down * w).sum::<f64>() / total;
    let square = present().map(|(v, w)| {
        let d = v * down - mean;
        w * d * d
    });
    let deviation = (square.sum::<f64>() / total).sqrt() * unit;
    (deviation.is_normal()).then_some((mean * unit, deviation))
}

/// How many terms the features could give at most.
pub(super) fn most_terms(features: &Features) -> usize {
    let of = |kind: &FeatureKind| match kind {
        FeatureKind::Numeric { .. } => 2,
        FeatureKind::Categorical { levels } => levels + 1,
    };
    features.columns.iter().map(|c| of(&c.kind)).sum()
}

/// Bytes that a fit holds at most: the columns, the products of terms with a factor of them, and numbers by row, of which each
/// output keeps one and a step a few more.
pub(super) fn most_bytes(features: &Features, rows: usize, outputs: usize) -> u64 {
    let column = |kind: &FeatureKind| match kind {
        FeatureKind::Numeric { .. } => 8 + 2,
        FeatureKind::Categorical { .. } => 2,
    };
    let columns: usize = features.columns.iter().map(|c| column(&c.kind)).sum();
    let terms = most_terms(features) as u64;
    rows as u64 * (columns + 8 * (STEP + outputs)) as u64 + 2 * 8 * terms * terms
}

/// Vectors with a number by row that a step needs.
const STEP: usize = 8;
