//! Tabular learning: metrics, preprocessing, learners and models. Knows nothing about trials.
//!
//! The way of the data: a [`Dataset`](crate::data::table::Dataset) is encoded and binned once
//! ([`features`], [`preprocess`]); a [`learner`] fits rows of that matrix; [`evaluate`] does so fold by fold; a
//! [`pipeline`] is what is left at the end, and what a file holds.

#[cfg(feature = "adapters")]
pub mod adapters;
pub mod conformance;
pub mod evaluate;
pub mod explain;
pub mod features;
pub mod forest;
pub mod gbt;
pub mod learner;
pub mod metric;
pub mod model;
pub mod pipeline;
pub mod preprocess;
pub mod table;
pub mod tree;
pub mod weights;
