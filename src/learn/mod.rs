//! Tabular learning: metrics, preprocessing, learners and models. Knows nothing about trials.

#[cfg(feature = "adapters")]
pub mod adapters;
pub mod features;
pub mod learner;
pub mod metric;
