//! Gini impurity of three classes or more: one sum per code and class.

use super::Column;
use super::depth_first::{Impurity, Offer};
use super::nodes::Split;
use super::random;
use super::split::{Candidate, Criterion};
use super::sum::Sum;
use crate::learn::features::Features;
use crate::seed::Rng;

/// The score of a side is `Σ_k W_k² / W`, whose growth is the decrease of the weighted Gini impurity.
pub(crate) struct Gini<'a> {
    criterion: Criterion,
    /// Class of every row of the dataset.
    classes: &'a [u8],
    totals: Vec<Sum>,
    /// `slots × classes`, the place for missing values last.
    slots: Vec<Sum>,
    left: Vec<Sum>,
}

impl<'a> Gini<'a> {
    pub fn new(criterion: Criterion, classes: &'a [u8], count: usize) -> Self {
        let zeros = vec![Sum::ZERO; count];
        Gini {
            criterion,
            classes,
            totals: zeros.clone(),
            slots: Vec::new(),
            left: zeros,
        }
    }

    fn score(&self, sums: impl Iterator<Item = Sum>) -> f64 {
        let (mut squares, mut all) = (0.0, 0.0);
        for sum in sums {
            let weight = self.criterion.parts(sum).1;
            squares += weight * weight;
            all += weight;
        }
        if all > 0.0 { squares / all } else { 0.0 }
    }

    /// A random split of the `used` codes of `slots`.
    fn drawn(
        &mut self,
        column: &Column<'_>,
        feature: u16,
        used: &[usize],
        any_missing: bool,
        rng: &mut Rng,
    ) -> Offer {
        if used.is_empty() {
            return Offer::Constant;
        }
        let k = self.totals.len();
        let codes: Vec<u8> = used.iter().map(|code| *code as u8).collect();
        let (split, missing_left) = random::draw(column, &codes, any_missing, rng);
        self.left.fill(Sum::ZERO);
        let missing = missing_left.then_some(column.bins);
        let left_codes = used.iter().copied().filter(|c| split.goes_left(*c as u8));
        for bin in left_codes.chain(missing) {
            for (left, sum) in self.left.iter_mut().zip(&self.slots[bin * k..bin * k + k]) {
                *left += *sum;
            }
        }
        let (rows_left, all) = (count(&self.left), count(&self.totals));
        if rows_left.min(all - rows_left) < self.criterion.min_leaf.max(1) {
            return Offer::Nothing;
        }
        let right = self.totals.iter().zip(&self.left).map(|(t, l)| *t - *l);
        let left = self.left.iter().copied();
        Offer::Split(Candidate {
            gain: self.score(left.clone()) + self.score(right)
                - self.score(self.totals.iter().copied()),
            feature,
            split,
            missing_left: if any_missing {
                missing_left
            } else {
                2 * rows_left >= all
            },
            left: left.fold(Sum::ZERO, |a, b| a + b),
        })
    }
}

fn count(sums: &[Sum]) -> u32 {
    sums.iter().map(|s| s.count()).sum()
}

impl Impurity for Gini<'_> {
    fn enter(&mut self, rows: &[u32], sums: &[Sum], _total: Sum) -> bool {
        self.totals.fill(Sum::ZERO);
        for (&row, &sum) in rows.iter().zip(sums) {
            self.totals[usize::from(self.classes[row as usize])] += sum;
        }
        self.totals.iter().filter(|t| t.count() > 0).count() < 2
    }

    fn offer(
        &mut self,
        column: &Column<'_>,
        feature: u16,
        _place: usize,
        rows: &[u32],
        sums: &[Sum],
        random: Option<&mut Rng>,
    ) -> Offer {
        let k = self.totals.len();
        // The last place is for missing values, used or not.
        self.slots.clear();
        self.slots.resize((column.bins + 1) * k, Sum::ZERO);
        for (&row, &sum) in rows.iter().zip(sums) {
            let code = column.code(row);
            let place = if code == Features::MISSING {
                column.bins
            } else {
                usize::from(code)
            };
            self.slots[place * k + usize::from(self.classes[row as usize])] += sum;
        }
        let used: Vec<usize> = (0..column.bins)
            .filter(|b| count(&self.slots[b * k..b * k + k]) > 0)
            .collect();
        let missing: Vec<Sum> = self.slots[column.bins * k..].to_vec();
        let any_missing = count(&missing) > 0;
        if used.len() + usize::from(any_missing) < 2 {
            return Offer::Constant;
        }
        if let Some(rng) = random {
            return self.drawn(column, feature, &used, any_missing, rng);
        }
        let categorical = column.edges.is_none();
        let parent = self.score(self.totals.iter().copied());
        let mut found: Option<Candidate> = None;
        for missing_left in [false, true] {
            if missing_left && !any_missing {
                break;
            }
            let start = if missing_left {
                missing.clone()
            } else {
                vec![Sum::ZERO; k]
            };
            self.left.copy_from_slice(&start);
            for (i, &bin) in used.iter().enumerate() {
                if categorical {
                    // With several outputs no order of levels is best for all: one level against the rest.
                    self.left.copy_from_slice(&start);
                }
                for (left, sum) in self.left.iter_mut().zip(&self.slots[bin * k..bin * k + k]) {
                    *left += *sum;
                }
                let rows_left = count(&self.left);
                let rows_right = rows.len() as u32 - rows_left;
                let least = self.criterion.min_leaf.max(1);
                if rows_left < least || rows_right < least {
                    continue;
                }
                let right = self.totals.iter().zip(&self.left).map(|(t, l)| *t - *l);
                let gain = self.score(self.left.iter().copied()) + self.score(right) - parent;
                if found.is_some_and(|f| gain <= f.gain) {
                    continue;
                }
                let split = match column.edges {
                    Some(edges) => {
                        let code = match used.get(i + 1) {
                            Some(next) => ((bin + next - 1) / 2) as u8,
                            None => (column.bins - 1) as u8,
                        };
                        let threshold = edges.get(usize::from(code)).copied().unwrap_or(f64::MAX);
                        Split::AtMost { code, threshold }
                    }
                    None => {
                        let mut set = [0; 4];
                        set[bin >> 6] = 1 << (bin & 63);
                        Split::In(set)
                    }
                };
                let missing_left = if any_missing {
                    missing_left
                } else {
                    rows_left >= rows_right
                };
                let left = self.left.iter().fold(Sum::ZERO, |a, b| a + *b);
                found = Some(Candidate {
                    gain,
                    feature,
                    split,
                    missing_left,
                    left,
                });
            }
        }
        found.map_or(Offer::Nothing, Offer::Split)
    }

    fn leaf(&self, out: &mut [f64]) {
        let weight = |s: &Sum| self.criterion.parts(*s).1;
        let all: f64 = self.totals.iter().map(weight).sum();
        for (out, total) in out.iter_mut().zip(&self.totals) {
            *out = if all > 0.0 {
                weight(total) / all
            } else {
                1.0 / self.totals.len() as f64
            };
        }
    }

    fn cover(&self) -> f64 {
        self.totals.iter().map(|t| self.criterion.parts(*t).1).sum()
    }
}
