//! Wilcoxon pruning: a trial stops when its reports are worse than those of the best trial at the same steps, by a
//! signed-rank test. Reports are scores of blocks (folds, instances), whose mean is the trial's value. As in Optuna 5
//! with SciPy 1.17: exact up to 50 blocks, and up to 13 when differences are equal or 0, else by the normal
//! approximation. With several directions nothing is stopped.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::stats::normal;
use crate::study::record::Attrs;

use super::{Context, Pruner, PrunerError};

/// The parameters of [`Wilcoxon`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WilcoxonParams {
    /// Trials are stopped below this probability, 0 to 1.
    pub p_threshold: f64,
    /// Nothing is stopped before so many blocks, and never before 2.
    pub n_startup_steps: usize,
}

impl Default for WilcoxonParams {
    fn default() -> Self {
        WilcoxonParams {
            p_threshold: 0.1,
            n_startup_steps: 2,
        }
    }
}

/// Stops what is worse than the best by a signed-rank test.
#[derive(Clone, Debug, Default)]
pub struct Wilcoxon {
    params: WilcoxonParams,
}

impl Wilcoxon {
    /// A pruner with these parameters.
    ///
    /// # Errors
    /// When `p_threshold` is not within 0 and 1.
    pub fn new(params: WilcoxonParams) -> Result<Self, PrunerError> {
        if !(0.0..=1.0).contains(&params.p_threshold) {
            let what = format!(
                "`p_threshold` must be within 0 and 1, not {}",
                params.p_threshold
            );
            return Err(PrunerError::param("wilcoxon", what));
        }
        Ok(Wilcoxon { params })
    }
}

impl Pruner for Wilcoxon {
    fn name(&self) -> &'static str {
        "wilcoxon"
    }

    fn params(&self) -> Json {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn prune(&self, ctx: &Context<'_>, _: &mut Attrs) -> bool {
        let Some(best) = ctx.best() else {
            return false;
        };
        let (own, other) = (ctx.reports, &best.intermediate);
        let finite = own.values().chain(other.values()).all(|v| v.is_finite());
        if !finite || own.is_empty() || other.is_empty() {
            return false;
        }
        let direction = ctx.direction();
        let worse: Vec<f64> = own
            .iter()
            .filter_map(|(step, v)| Some(direction.loss(*v) - direction.loss(*other.get(step)?)))
            .collect();
        if worse.len() < self.params.n_startup_steps.max(2) {
            return false;
        }
        let mean = |of: &std::collections::BTreeMap<i64, f64>| {
            direction.loss(of.values().sum::<f64>() / of.len() as f64)
        };
        // Worse block by block and yet better on the mean: it would become the best trial.
        p_greater(&worse) < self.params.p_threshold && mean(other) < mean(own)
    }
}

/// The probability of signed ranks at least as positive as those of `differences`, if they were symmetric round 0.
fn p_greater(differences: &[f64]) -> f64 {
    let n = differences.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| differences[*a].abs().total_cmp(&differences[*b].abs()));
    // Twice the rank, which is whole even where equal differences share one.
    let mut ranks = vec![0_usize; n];
    let (mut begin, mut ties) = (0, 0.0);
    while begin < n {
        let size = differences[order[begin]].abs();
        let group = order[begin..].iter();
        let count = group.take_while(|i| differences[**i].abs() == size).count();
        for &i in &order[begin..begin + count] {
            ranks[i] = 2 * begin + count + 1;
        }
        let t = count as f64;
        ties += t * t * t - t;
        begin += count;
    }
    let sum = |of: &dyn Fn(f64) -> bool| -> usize {
        let those = differences.iter().zip(&ranks).filter(|(d, _)| of(**d));
        those.map(|(_, r)| *r).sum()
    };
    let positive = sum(&|d| d > 0.0);
    let plain = ties == 0.0 && differences.iter().all(|d| *d != 0.0);
    if n <= 13 || (plain && n <= 50) {
        // How probable each sum of the ranks is when every sign is a coin. Ranks of zeros are split for good.
        let all = sum(&|d| d != 0.0);
        let mut chance = vec![0.0; all + 1];
        chance[0] = 1.0;
        for (d, &rank) in differences.iter().zip(&ranks) {
            if *d == 0.0 {
                continue;
            }
            for at in (0..=all).rev() {
                let with = if at >= rank { chance[at - rank] } else { 0.0 };
                chance[at] = 0.5 * (chance[at] + with);
            }
        }
        return chance[positive..].iter().sum();
    }
    let n = n as f64;
    let zeros = sum(&|d| d == 0.0) as f64 / 4.0;
    let excess = positive as f64 / 2.0 + zeros - n * (n + 1.0) / 4.0;
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ties / 2.0) / 24.0;
    if variance <= 0.0 {
        return 1.0;
    }
    normal::cdf(-excess / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SciPy 1.17.1: `wilcoxon(d, alternative="greater", zero_method="zsplit").pvalue`; sums of halves of powers of two,
    /// so exact but for the approximation, which is good to the last digits of `erfc`.
    #[test]
    fn probabilities_are_those_of_scipy() {
        let many: Vec<f64> = (0..20).map(|i| f64::from(i % 7) - 2.0).collect();
        for (differences, p) in [
            (vec![1.0, 2.0, 3.0], 0.125),
            (vec![1.0, -2.0, 3.0, 4.0], 0.1875),
            (vec![1.0, 1.0, -1.0, 2.0], 0.25),
            (vec![0.0, 1.0, 2.0, 0.0, -3.0], 0.5),
            (vec![0.0, 0.0], 1.0),
            (many, SCIPY_MANY),
        ] {
            let own = p_greater(&differences);
            assert!((own - p).abs() < 1e-12, "{differences:?}: {own} for {p}");
        }
    }

    const SCIPY_MANY: f64 = 0.045_356_208_687_377_39;
}
