//! Out-of-bag predictions (Breiman 2001): each row by the trees whose bootstrap left it out.

use rayon::prelude::*;

use crate::data::table::Target;
use crate::learn::learner::TrainingSet;
use crate::learn::metric::{self, MetricError, Scores};
use crate::learn::tree::nodes::{Codes, Tree};

/// Predictions of training rows by the trees that did not see them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutOfBag {
    /// Rows of the dataset that at least one tree did not see, ascending. With 20 trees or more that is nearly all.
    pub rows: Vec<u32>,
    /// Their predictions, row-major, as wide as the model's.
    pub predictions: Vec<f64>,
    /// Numbers per prediction.
    pub width: usize,
}

/// Rows that are predicted tree by tree.
const BLOCK: usize = 512;

/// One bit per place: whether the row there was drawn.
pub(super) fn bits(times: &[u32]) -> Vec<u64> {
    let word = |times: &[u32]| {
        let bit = |(i, times): (usize, &u32)| u64::from(*times > 0) << i;
        times.iter().enumerate().map(bit).sum()
    };
    times.chunks(64).map(word).collect()
}

impl OutOfBag {
    /// `bags` has the bits of the rows of `data` that each tree saw.
    pub(super) fn predict(
        data: &TrainingSet<'_>,
        trees: &[Tree],
        bags: &[Vec<u64>],
        width: usize,
    ) -> Self {
        let codes = Codes::of(data.features, data.fills);
        let block = |(number, rows): (usize, &[u32])| {
            let mut sums = vec![0.0; rows.len() * width];
            let mut counts = vec![0_u32; rows.len()];
            let (mut places, mut unseen) = (Vec::new(), Vec::new());
            for (tree, bag) in trees.iter().zip(bags) {
                places.clear();
                unseen.clear();
                for (i, &row) in rows.iter().enumerate() {
                    let place = number * BLOCK + i;
                    if bag[place / 64] >> (place % 64) & 1 == 0 {
                        places.push(i);
                        unseen.push(row);
                    }
                }
                tree.for_each_leaf(&codes, &unseen, |at, leaf| {
                    let i = places[at];
                    counts[i] += 1;
                    let sums = &mut sums[i * width..(i + 1) * width];
                    sums.iter_mut().zip(leaf).for_each(|(s, v)| *s += v);
                });
            }
            let (mut kept, mut predictions) = (Vec::new(), Vec::new());
            for ((row, count), sums) in rows.iter().zip(counts).zip(sums.chunks_exact(width)) {
                if count > 0 {
                    kept.push(*row);
                    predictions.extend(sums.iter().map(|s| s / f64::from(count)));
                }
            }
            (kept, predictions)
        };
        let blocks: Vec<(Vec<u32>, Vec<f64>)> =
            data.rows.par_chunks(BLOCK).enumerate().map(block).collect();
        let (rows, predictions): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
        OutOfBag {
            rows: rows.concat(),
            predictions: predictions.concat(),
            width,
        }
    }

    /// A metric of these predictions, labels at a probability of 0.5. `weights` has a number for every row of the dataset.
    ///
    /// # Errors
    /// An unknown metric, one that does not fit the task, or one that has no value for these rows.
    pub fn score(
        &self,
        metric: &str,
        target: &Target,
        weights: Option<&[f64]>,
    ) -> Result<f64, MetricError> {
        let entry = metric::find_for(metric, target.task)?;
        let of_rows = |all: &[f64]| -> Vec<f64> {
            let value = |row: &u32| all[*row as usize];
            self.rows.iter().map(value).collect()
        };
        let scores = Scores::new(target.task, self.width, &self.predictions);
        let weights = weights.map(of_rows);
        entry.score(&of_rows(&target.values), scores, weights.as_deref(), 0.5)
    }
}
