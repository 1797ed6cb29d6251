//! Reading a CSV file as a [`Dataset`]: header, kinds, target, and what is left out with the reason.
//!
//! The file is read once; see [`super::infer`] for how cells are kept and kinds are found. Only when something is wrong is
//! it read again, up to the row in question, to say on which line it is.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::fsio;

use super::error::{DataError, Place};
use super::infer::{ColumnBuilder, Meaning, Text, Verdict};
use super::records::Records;
use super::table::{Dataset, Field, Kind, Schema, Table, Task};
use super::target;

/// Cell texts that mean a missing value unless the options say otherwise. `None`, `No` and `unknown` are levels, and `NaN`
/// is an error in a column of numbers, because it usually is the trace of one.
pub const MISSING: [&str; 4] = ["NA", "N/A", "NULL", "null"];

/// How to read a file.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The column to predict.
    pub target: Option<String>,
    /// The positive class of a target with two; if none, the later one in order, as `Yes` of No/Yes and `1` of 0/1.
    pub positive: Option<String>,
    /// The column that says how much each row counts; it is no feature.
    pub weights: Option<String>,
    /// Columns to leave out.
    pub drop: Vec<String>,
    /// Kinds of columns by name, in place of inferring them. For the target: numeric asks for regression, boolean and
    /// categorical for classes.
    pub types: BTreeMap<String, Kind>,
    /// Cell texts that mean a missing value, in place of [`MISSING`]; blank cells always do.
    pub missing: Vec<String>,
    /// What to predict, in place of inferring it: a numeric target with fractions or more than ten different values is
    /// regression, anything else classification.
    pub task: Option<Task>,
    /// What separates cells: an ASCII character.
    pub delimiter: u8,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            target: None,
            positive: None,
            weights: None,
            drop: Vec::new(),
            types: BTreeMap::new(),
            missing: MISSING.map(str::to_owned).to_vec(),
            task: None,
            delimiter: b',',
        }
    }
}

/// Reads a file. `name` is the name of the dataset.
///
/// # Errors
/// Whatever [`DataError`] names.
pub fn read_dataset(path: &Path, name: &str, options: &ReadOptions) -> Result<Dataset, DataError> {
    if !path.exists() {
        return Err(DataError::NoFile {
            path: path.to_owned(),
            hint: "check the path, which is relative to the folder the command runs in".to_owned(),
        });
    }
    let bytes = fsio::read(path)?;
    read_dataset_bytes(&bytes, &path.display().to_string(), name, options)
}

/// Reads the bytes of a file; errors call it `file`.
///
/// # Errors
/// Whatever [`DataError`] names.
pub fn read_dataset_bytes(
    bytes: &[u8],
    file: &str,
    name: &str,
    options: &ReadOptions,
) -> Result<Dataset, DataError> {
    let (sha256, dataset) = rayon::join(
        || fsio::sha256(bytes),
        || Reading::open(bytes, file, options)?.dataset(name),
    );
    dataset.map(|dataset| Dataset { sha256, ..dataset })
}

/// A file that is being read.
struct Reading<'a> {
    bytes: &'a [u8],
    file: &'a str,
    options: &'a ReadOptions,
    records: Records<&'a [u8]>,
    target: usize,
    weights: Option<usize>,
}

impl<'a> Reading<'a> {
    /// Reads the header and checks that the options fit it.
    fn open(bytes: &'a [u8], file: &'a str, options: &'a ReadOptions) -> Result<Self, DataError> {
        let records = Records::open(bytes, file, options.delimiter)?;
        let header = records.header();
        let position = |key: &'static str, column: &str| {
            header
                .iter()
                .position(|h| h == column)
                .ok_or_else(|| DataError::UnknownColumn {
                    file: file.to_owned(),
                    key,
                    column: column.to_owned(),
                    columns: header.to_vec(),
                })
        };
        let Some(target) = &options.target else {
            return Err(DataError::NoTarget {
                file: file.to_owned(),
                columns: header.to_vec(),
            });
        };
        let target = position("target", target)?;
        let weights = match &options.weights {
            Some(column) => Some(position("weights", column)?),
            None => None,
        };
        if weights == Some(target) {
            return Err(DataError::Weights {
                file: file.to_owned(),
                column: header[target].clone(),
                why: "is the target",
            });
        }
        for column in &options.drop {
            position("drop", column)?;
        }
        for column in options.types.keys() {
            position("types", column)?;
        }
        Ok(Reading {
            bytes,
            file,
            options,
            records,
            target,
            weights,
        })
    }

    fn dataset(mut self, name: &str) -> Result<Dataset, DataError> {
        let header = self.records.header().to_vec();
        let dropped: BTreeSet<&str> = self.options.drop.iter().map(String::as_str).collect();
        let missing: BTreeSet<&[u8]> = self.options.missing.iter().map(|m| m.as_bytes()).collect();
        let forced = |column: usize| self.options.types.get(&header[column]).copied();
        let mut builders: Vec<Option<ColumnBuilder>> = (0..header.len())
            .map(|i| {
                if self.weights == Some(i) {
                    return Some(ColumnBuilder::new(Some(Kind::Numeric)));
                }
                let read = i == self.target || !dropped.contains(header[i].as_str());
                read.then(|| ColumnBuilder::new(forced(i)))
            })
            .collect();
        let mut rows = 0;
        while self.records.advance()? {
            rows += 1;
            for (i, builder) in builders.iter_mut().enumerate() {
                let Some(builder) = builder else { continue };
                let cell = self.records.cell(i);
                if cell.is_empty() || missing.contains(cell) {
                    builder.push_missing();
                } else {
                    builder.push(cell);
                }
            }
        }
        if rows == 0 {
            return Err(DataError::NoRows {
                file: self.file.to_owned(),
            });
        }
        let target = match builders[self.target].take() {
            Some(builder) => target::judge(
                builder,
                &header[self.target],
                forced(self.target),
                self.options,
                self.file,
                |row| self.place(row, self.target),
            )?,
            // `read` above holds for the target.
            None => unreachable!("the target is always read"),
        };
        let weights = match self.weights.and_then(|i| Some((i, builders[i].take()?))) {
            Some((i, builder)) => Some(self.read_weights(i, builder)?),
            None => None,
        };
        let mut schema = Schema {
            missing: self.options.missing.clone(),
            ..Schema::default()
        };
        let mut columns = Vec::new();
        let mut left_out = Vec::new();
        for (i, builder) in builders.into_iter().enumerate() {
            let Some(builder) = builder else {
                if self.weights == Some(i) {
                    left_out.push((header[i].clone(), "it holds the weights of rows".to_owned()));
                } else if i != self.target {
                    left_out.push((header[i].clone(), "listed in `drop`".to_owned()));
                }
                continue;
            };
            match builder.judge(forced(i)) {
                Verdict::Feature(_) if header[i].is_empty() => {
                    left_out.push((String::new(), "it has no name".to_owned()));
                }
                Verdict::Feature(column) => {
                    schema.fields.push(Field {
                        name: header[i].clone(),
                        kind: column.kind,
                        levels: column.levels,
                    });
                    columns.push(column.values);
                }
                Verdict::LeftOut(why) => left_out.push((header[i].clone(), why)),
                Verdict::Stray(text, instead) => {
                    return Err(stray(text, instead, |row| self.place(row, i)));
                }
                Verdict::Unfit(why) => {
                    return Err(DataError::Kind {
                        file: self.file.to_owned(),
                        column: header[i].clone(),
                        kind: forced(i).unwrap_or(Kind::Text),
                        why,
                    });
                }
            }
        }
        if columns.is_empty() {
            return Err(DataError::NoFeatures {
                file: self.file.to_owned(),
                left_out,
            });
        }
        Ok(Dataset {
            name: name.to_owned(),
            sha256: String::new(),
            table: Table {
                schema,
                columns,
                rows,
            },
            target,
            weights,
            left_out,
        })
    }

    /// The numbers of the column of weights.
    fn read_weights(&self, column: usize, builder: ColumnBuilder) -> Result<Vec<f64>, DataError> {
        let wrong = |row: u32, what: String| {
            Err(DataError::Weight {
                place: self.place(row, column),
                what,
            })
        };
        if let Some(row) = builder.first_missing {
            return wrong(row, "the weight is missing here".to_owned());
        }
        if let Some(stray) = builder.first_stray() {
            return wrong(
                stray.first_row,
                format!("`{}` is no finite number", stray.text),
            );
        }
        let weights = builder.into_numbers();
        if let Some(row) = weights.iter().position(|w| *w < 0.0) {
            return wrong(row as u32, format!("`{}` is below 0", weights[row]));
        }
        if weights.iter().all(|w| *w == 0.0) {
            return Err(DataError::Weights {
                file: self.file.to_owned(),
                column: self.records.header()[column].clone(),
                why: "is 0 in every row",
            });
        }
        Ok(weights)
    }

    /// Where a cell is: reads the file again up to its row.
    fn place(&self, row: u32, column: usize) -> Place {
        let again = || {
            let mut records = Records::open(self.bytes, self.file, self.options.delimiter)?;
            for _ in 0..=row {
                records.advance()?;
            }
            Ok::<Place, DataError>(records.place(column))
        };
        // Bytes in memory read the same twice; were they not, the column would still be right.
        again().unwrap_or_else(|_| Place {
            file: self.file.to_owned(),
            line: 0,
            column: self.records.header()[column].clone(),
        })
    }
}

/// The error for a cell that keeps a column from being numeric.
pub(super) fn stray(
    stray: Text,
    instead: &'static str,
    place: impl FnOnce(u32) -> Place,
) -> DataError {
    let place = place(stray.first_row);
    let cell = stray.text;
    match stray.meaning {
        Meaning::Text => DataError::NotANumber {
            place,
            cell,
            instead,
        },
        Meaning::NotFinite | Meaning::Number(_) => DataError::NotFinite { place, cell },
    }
}
