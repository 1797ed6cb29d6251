//! Which rows a round sees: an independent draw of each (stochastic gradient boosting, Friedman 2002), or those with
//! large gradients and a few of the others (GOSS: Ke et al. 2017).

use rand::Rng as _;

use crate::seed::Rng;

/// Takes exactly `take` of `0..n` at random (Knuth, algorithm S): those taken and the others, both ascending.
pub(super) fn sample(
    rng: &mut Rng,
    n: usize,
    take: usize,
    taken: &mut Vec<u32>,
    others: &mut Vec<u32>,
) {
    taken.resize(n, 0);
    others.resize(n, 0);
    let (mut in_taken, mut in_others) = (0, 0);
    for i in 0..n {
        let needed = (take - in_taken) as u64;
        let take_it = (u64::from(rng.next_u32()) * (n - i) as u64) >> 32 < needed;
        // Both places are written and one of them advances: no branch to mispredict.
        taken[in_taken.min(n - 1)] = i as u32;
        others[in_others.min(n - 1)] = i as u32;
        in_taken += usize::from(take_it);
        in_others += usize::from(!take_it);
    }
    taken.truncate(in_taken);
    others.truncate(in_others);
}

/// Each row is inside with this chance (to 1/65,536), as in LightGBM; when none is, all are.
pub(super) fn draw(
    rng: &mut Rng,
    share: f64,
    rows: &[u32],
    inside: &mut Vec<u32>,
    outside: &mut Vec<u32>,
) {
    // 16 random bits a row, many rows at a time.
    let chance = (share * 65_536.0).round() as u32;
    let mut bytes = [0; 1024];
    let n = rows.len();
    inside.resize(n, 0);
    outside.resize(n, 0);
    let (mut ins, mut outs) = (0, 0);
    for rows in rows.chunks(bytes.len() / 2) {
        rng.fill_bytes(&mut bytes[..2 * rows.len()]);
        for (&row, bits) in rows.iter().zip(bytes.as_chunks::<2>().0) {
            let taken = u32::from(u16::from_le_bytes(*bits)) < chance;
            // Both places are written and one of them advances: no branch to mispredict.
            inside[ins] = row;
            outside[outs] = row;
            ins += usize::from(taken);
            outs += usize::from(!taken);
        }
    }
    if ins == 0 {
        inside.copy_from_slice(rows);
        (ins, outs) = (n, 0);
    }
    inside.truncate(ins);
    outside.truncate(outs);
}

/// What GOSS kept.
pub(super) struct Goss {
    /// Ascending places of the rows that are kept, and whether each was drawn from those with small gradients.
    pub kept: Vec<(usize, bool)>,
    /// What the drawn ones weigh, so that they stand for all rows with small gradients.
    pub factor: f64,
}

/// Keeps the share `top` of the rows with the largest gradients and a random share `other` of the rest. The size of a
/// row's gradient is the sum over outputs of `|gradient · hessian|`; both are `output × n + row`.
pub(super) fn goss(
    rng: &mut Rng,
    top: f64,
    other: f64,
    n: usize,
    gradients: &[f64],
    hessians: &[f64],
) -> Goss {
    let mut sizes = vec![0.0; n];
    for (gradients, hessians) in gradients.chunks_exact(n).zip(hessians.chunks_exact(n)) {
        for ((size, g), h) in sizes.iter_mut().zip(gradients).zip(hessians) {
            *size += (g * h).abs();
        }
    }
    let top = ((n as f64 * top) as usize).clamp(1, n);
    let other = ((n as f64 * other) as usize).max(1);
    let mut sorted = sizes.clone();
    let (_, least, _) = sorted.select_nth_unstable_by(top - 1, |a, b| b.total_cmp(a));
    let least = *least;
    // With ties more rows than asked for are large.
    let mut small = sizes.iter().filter(|s| **s < least).count();
    let factor = (small as f64 / other as f64).max(1.0);
    let mut needed = other.min(small);
    let mut kept = Vec::with_capacity(n - small + needed);
    for (place, size) in sizes.iter().enumerate() {
        if *size >= least {
            kept.push((place, false));
            continue;
        }
        // Knuth's algorithm S over the small ones.
        if (u64::from(rng.next_u32()) * small as u64) >> 32 < needed as u64 {
            kept.push((place, true));
            needed -= 1;
        }
        small -= 1;
    }
    Goss { kept, factor }
}
