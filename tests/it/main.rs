//! Integration tests: the library as its users see it.

mod problems;
mod samplers;
