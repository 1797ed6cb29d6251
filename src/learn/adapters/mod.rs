//! Learners of others.
