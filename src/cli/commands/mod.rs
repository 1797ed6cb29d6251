//! One file per verb.

pub(super) mod data;
pub(super) mod explain;
pub(super) mod list;
pub(super) mod predict;
pub(super) mod registry;
pub(super) mod study;
pub(super) mod trials;
