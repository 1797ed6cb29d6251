//! Tabular learning: metrics, preprocessing, learners and models. Knows nothing about trials.

pub mod evaluate;
pub mod features;
pub mod forest;
pub mod gbt;
pub mod learner;
pub mod model;
pub mod pipeline;
pub mod preprocess;
pub mod table;
pub mod tree;
