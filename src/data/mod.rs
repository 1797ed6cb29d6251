//! Tabular data: reading, typing, splitting. Knows nothing about learning.
//!
//! A file becomes a [`table::Dataset`] in one pass ([`csv`]): kinds are inferred ([`infer`]), the target is taken out
//! ([`target`]), and everything that is no feature is listed with the reason. The [`table::Schema`] of its features goes
//! into the model file; [`rows`] later reads other files against it, row by row. [`split`] makes holdouts and folds.
//! [`telco`] finds, downloads or generates the data that the first example uses.
//!
//! **Contract.** The same bytes and options give the same dataset on every machine. Cells are taken without the blanks
//! around them. Whatever is wrong with a file is a [`error::DataError`] that names the file, the line as an editor counts
//! it, the column, and what to type next; nothing is guessed silently.

pub mod csv;
pub mod error;
pub mod infer;
mod records;
pub mod rows;
pub mod split;
pub mod synthetic;
pub mod table;
pub mod target;
pub mod telco;
