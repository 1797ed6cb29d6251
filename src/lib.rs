//! Hyperparameter optimization and AutoML.

pub mod cli;
pub mod clock;
pub mod data;
pub mod db;
pub mod fsio;
pub mod learn;
pub mod registry;
pub mod seed;
pub mod stats;
pub mod study;
pub mod tracking;
pub mod tune;
