//! Tabular learning: metrics, preprocessing, learners and models. Knows nothing about trials.

pub mod features;
pub mod learner;
