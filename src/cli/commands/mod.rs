//! One file per verb.

pub(super) mod ask_tell;
pub(super) mod data;
mod earlier;
pub(super) mod explain;
pub(super) mod export;
mod export_mlflow;
mod export_trials;
pub(super) mod import;
mod import_optuna;
pub(super) mod importance;
mod invitation;
pub(super) mod list;
pub(super) mod optimize;
pub(super) mod predict;
mod register;
pub(super) mod registry;
pub(super) mod study;
pub(super) mod tracking;
pub(super) mod trials;
pub(super) mod worker;
