//! Arguments and results of statements, in types of our own.

use std::path::Path;

use super::DbError;

/// An argument of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg<'a> {
    /// SQL's NULL.
    Null,
    /// A whole number.
    Int(i64),
    /// A real number; NaN becomes NULL.
    Real(f64),
    /// Text.
    Text(&'a str),
}

impl From<i64> for Arg<'_> {
    fn from(v: i64) -> Self {
        Arg::Int(v)
    }
}

/// Counters; one beyond `i64::MAX` is stored as that.
impl From<u64> for Arg<'_> {
    fn from(v: u64) -> Self {
        Arg::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Arg<'_> {
    fn from(v: f64) -> Self {
        Arg::Real(v)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(v: &'a str) -> Self {
        Arg::Text(v)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(v: &'a String) -> Self {
        Arg::Text(v)
    }
}

impl<'a, T: Into<Arg<'a>>> From<Option<T>> for Arg<'a> {
    fn from(v: Option<T>) -> Self {
        v.map_or(Arg::Null, Into::into)
    }
}

/// A value of a result, as the databases know it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    /// A type that no method of [`Row`] reads, by its name.
    Other(&'a str),
}

impl Cell<'_> {
    fn kind(&self) -> &str {
        match self {
            Cell::Null => "Null",
            Cell::Int(_) => "Integer",
            Cell::Real(_) => "Real",
            Cell::Text(_) => "Text",
            Cell::Other(name) => name,
        }
    }
}

/// The cells of one row, which each kind of database keeps in its own way.
pub(super) trait Cells {
    /// `None` when there is no such column.
    fn cell(&self, column: usize) -> Option<Cell<'_>>;
    /// The column's name.
    fn name(&self, column: usize) -> Option<&str>;
}

/// One row of a result. Columns count from 0; every method names the column in its error.
pub struct Row<'a> {
    cells: &'a dyn Cells,
    path: &'a Path,
}

impl<'a> Row<'a> {
    pub(super) fn new(cells: &'a dyn Cells, path: &'a Path) -> Self {
        Row { cells, path }
    }

    fn cell(&self, column: usize) -> Result<Cell<'a>, DbError> {
        self.cells
            .cell(column)
            .ok_or_else(|| self.wrong(column, Cell::Other("no such column"), "a value"))
    }

    fn wrong(&self, column: usize, found: Cell<'_>, expected: &'static str) -> DbError {
        DbError::Column {
            path: self.path.to_owned(),
            column: self.cells.name(column).unwrap_or("?").to_owned(),
            found: found.kind().to_owned(),
            expected,
        }
    }

    /// A whole number, or `None` for NULL.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type; so for the methods below.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, DbError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Int(v) => Ok(Some(v)),
            other => Err(self.wrong(column, other, "a whole number")),
        }
    }

    /// A real number, or `None` for NULL.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type.
    pub fn opt_real(&self, column: usize) -> Result<Option<f64>, DbError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Real(v) => Ok(Some(v)),
            Cell::Int(v) => Ok(Some(v as f64)),
            other => Err(self.wrong(column, other, "a number")),
        }
    }

    /// Text, or `None` for NULL.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or bytes that are not UTF-8.
    pub fn opt_text(&self, column: usize) -> Result<Option<&'a str>, DbError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(v) => Ok(Some(v)),
            other => Err(self.wrong(column, other, "text")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or NULL.
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        self.opt_int(column)?
            .ok_or_else(|| self.wrong(column, Cell::Null, "a whole number"))
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type, a negative number or NULL.
    pub fn count(&self, column: usize) -> Result<u64, DbError> {
        let v = self.int(column)?;
        u64::try_from(v).map_err(|_| self.wrong(column, Cell::Int(v), "a number from 0 up"))
    }

    /// A real number.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or NULL.
    pub fn real(&self, column: usize) -> Result<f64, DbError> {
        self.opt_real(column)?
            .ok_or_else(|| self.wrong(column, Cell::Null, "a number"))
    }

    /// Text.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or NULL.
    pub fn text(&self, column: usize) -> Result<&'a str, DbError> {
        self.opt_text(column)?
            .ok_or_else(|| self.wrong(column, Cell::Null, "text"))
    }
}
