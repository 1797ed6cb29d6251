//! One integration binary: what a user can see, on real files where they are at hand, with real processes that die.

mod architecture;
#[cfg(feature = "adapters")]
mod cross_check;
mod data_sets;
mod docs;
mod learner_quality;
mod optuna_interop;
mod problems;
mod real_data;
mod samplers;
mod store_crash;
