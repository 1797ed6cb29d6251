//! Arguments and results of statements, in types of our own.

use std::path::Path;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

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

impl ToSql for Arg<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Arg::Null => ValueRef::Null,
            Arg::Int(v) => ValueRef::Integer(v),
            Arg::Real(v) => ValueRef::Real(v),
            Arg::Text(v) => ValueRef::Text(v.as_bytes()),
        }))
    }
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

/// One row of a result. Columns count from 0; every method names the column in its error.
pub struct Row<'a> {
    row: &'a rusqlite::Row<'a>,
    path: &'a Path,
}

impl<'a> Row<'a> {
    pub(super) fn new(row: &'a rusqlite::Row<'a>, path: &'a Path) -> Self {
        Row { row, path }
    }

    fn cell(&self, column: usize) -> Result<ValueRef<'a>, DbError> {
        self.row
            .get_ref(column)
            .map_err(|e| DbError::new(self.path, e))
    }

    fn wrong(&self, column: usize, found: ValueRef<'_>, expected: &'static str) -> DbError {
        DbError::Column {
            path: self.path.to_owned(),
            column: self
                .row
                .as_ref()
                .column_name(column)
                .unwrap_or("?")
                .to_owned(),
            found: found.data_type().to_string(),
            expected,
        }
    }

    /// A whole number, or `None` for NULL.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type; so for the methods below.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, DbError> {
        match self.cell(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(v) => Ok(Some(v)),
            other => Err(self.wrong(column, other, "a whole number")),
        }
    }

    /// A real number, or `None` for NULL.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type.
    pub fn opt_real(&self, column: usize) -> Result<Option<f64>, DbError> {
        match self.cell(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Real(v) => Ok(Some(v)),
            ValueRef::Integer(v) => Ok(Some(v as f64)),
            other => Err(self.wrong(column, other, "a number")),
        }
    }

    /// Text, or `None` for NULL.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or bytes that are not UTF-8.
    pub fn opt_text(&self, column: usize) -> Result<Option<&'a str>, DbError> {
        match self.cell(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(v) => std::str::from_utf8(v)
                .map(Some)
                .map_err(|_| self.wrong(column, ValueRef::Blob(v), "UTF-8 text")),
            other => Err(self.wrong(column, other, "text")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or NULL.
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        self.opt_int(column)?
            .ok_or_else(|| self.wrong(column, ValueRef::Null, "a whole number"))
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type, a negative number or NULL.
    pub fn count(&self, column: usize) -> Result<u64, DbError> {
        let v = self.int(column)?;
        u64::try_from(v).map_err(|_| self.wrong(column, ValueRef::Integer(v), "a number from 0 up"))
    }

    /// A real number.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or NULL.
    pub fn real(&self, column: usize) -> Result<f64, DbError> {
        self.opt_real(column)?
            .ok_or_else(|| self.wrong(column, ValueRef::Null, "a number"))
    }

    /// Text.
    ///
    /// # Errors
    /// [`DbError::Column`] for another type or NULL.
    pub fn text(&self, column: usize) -> Result<&'a str, DbError> {
        self.opt_text(column)?
            .ok_or_else(|| self.wrong(column, ValueRef::Null, "text"))
    }
}
