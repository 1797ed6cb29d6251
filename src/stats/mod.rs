//! Statistics and special functions that several rooms need: plain functions of numbers, the same bits on every machine.

pub mod cholesky;
pub mod eigen;
pub mod lbfgs;
pub mod normal;
pub(crate) mod simd;
pub mod special;
pub mod student;
