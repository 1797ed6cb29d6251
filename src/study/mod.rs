//! Black-box optimization. Knows nothing about data.

pub mod record;
pub mod space;
pub mod storage;
