//! Tabular learning: metrics, preprocessing, learners and models. Knows nothing about trials.

pub mod features;
pub mod forest;
pub mod gbt;
pub mod learner;
pub mod model;
pub mod preprocess;
pub mod tree;
