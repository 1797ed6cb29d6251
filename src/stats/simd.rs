//! Loops compiled for the vector instructions of the machine they run on.
//!
//! **Contract.** [`widest`] changes how many lanes work side by side, never a result: what it runs must consist of
//! operations on whole numbers and of exactly rounded ones on floating-point numbers, and those give the same bits in
//! any lane. The compiler never joins a product and a sum into one rounding on its own.

/// Runs `work` compiled for the widest instructions of this machine. `work` and all that its loops call must be inlined,
/// or they stay as they are.
#[inline]
pub fn widest<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
