//! One integration binary: what a user can see, on real files where they are at hand.

mod data_sets;
mod real_data;
