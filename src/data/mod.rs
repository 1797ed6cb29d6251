//! Tabular data: reading, typing, splitting. Knows nothing about learning.

pub mod table;
