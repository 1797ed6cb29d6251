//! Statistics and special functions that several rooms need: plain functions of numbers, the same bits on every machine.

pub mod normal;
pub mod special;
