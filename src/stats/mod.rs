//! Small statistics and special functions that the rooms above share.

pub mod special;
