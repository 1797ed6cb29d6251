//! What a closure sees of a transaction, whatever database is behind it.

use crate::clock::{Clock as _, SystemClock, Timestamp};

use super::{Arg, DbError, Row};

/// An open transaction of one kind of database.
pub(super) trait Session {
    fn execute(&self, sql: &str, args: &[Arg<'_>]) -> Result<usize, DbError>;
    fn batch(&self, sql: &str) -> Result<(), DbError>;
    /// Shows rows until `f` says `false`.
    fn each(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>) -> bool,
    ) -> Result<(), DbError>;
    /// Shows the first row, if there is one; the others are not needed.
    fn first(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>),
    ) -> Result<(), DbError>;
    fn dialect(&self) -> Dialect;
}

/// Whose SQL a database speaks, for the few statements that no one text can say for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite: writers follow one another, so nothing needs a lock of its own.
    Sqlite,
    /// PostgreSQL: writers run side by side, each statement on what was committed when it began.
    Postgres,
}

/// An open transaction. Statements are prepared once per connection and reused by their text. Placeholders are
/// `?1`, `?2`, … for every kind of database; the key of a new row comes from `INSERT … RETURNING` by [`Tx::first`].
/// After a statement failed the transaction can only fail too.
pub struct Tx<'a> {
    session: &'a dyn Session,
}

impl<'a> Tx<'a> {
    pub(super) fn new(session: &'a dyn Session) -> Self {
        Tx { session }
    }

    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// [`DbError`] with what the database says.
    pub fn execute(&self, sql: &str, args: &[Arg<'_>]) -> Result<usize, DbError> {
        self.session.execute(sql, args)
    }

    /// Runs several statements, separated by semicolons, without arguments.
    ///
    /// # Errors
    /// [`DbError`] with what the database says.
    pub fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.session.batch(sql)
    }

    /// Shows `f` every row of a query, in order, and stops at its first error.
    ///
    /// # Errors
    /// What `f` returns, or [`DbError`].
    pub fn each<E: From<DbError>>(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        mut f: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.session.each(sql, args, &mut |row| match f(row) {
            Ok(()) => true,
            Err(e) => {
                failed = Some(e);
                false
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// What `f` makes of every row of a query, in order.
    ///
    /// # Errors
    /// As [`Tx::each`].
    pub fn rows<T, E: From<DbError>>(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        mut f: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut out = Vec::new();
        self.each(sql, args, |row| {
            out.push(f(row)?);
            Ok::<(), E>(())
        })?;
        Ok(out)
    }

    /// What `f` makes of the first row of a query, if there is one.
    ///
    /// # Errors
    /// As [`Tx::each`].
    pub fn first<T, E: From<DbError>>(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: impl FnOnce(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let mut f = Some(f);
        let mut out = None;
        self.session.first(sql, args, &mut |row| {
            if let Some(f) = f.take() {
                out = Some(f(row));
            }
        })?;
        out.transpose()
    }

    /// [`Tx::first`], and the rows that the query finds stay as they are until the transaction ends: another that
    /// wants to change or lock them waits. SQLite's transactions exclude one another already. The query must be one
    /// that `FOR UPDATE` can follow: no grouping, no `DISTINCT`.
    ///
    /// # Errors
    /// As [`Tx::each`]; [`DbError::Locked`] when another transaction held them for too long.
    pub fn first_locked<T, E: From<DbError>>(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: impl FnOnce(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        match self.dialect() {
            Dialect::Sqlite => self.first(sql, args, f),
            Dialect::Postgres => self.first(&format!("{sql} FOR UPDATE"), args, f),
        }
    }

    /// Keeps other transactions from writing to `table` until this one ends; reading goes on. Nothing to do in
    /// SQLite.
    ///
    /// # Errors
    /// [`DbError::Locked`] when another transaction held it for too long.
    pub fn lock_table(&self, table: &'static str) -> Result<(), DbError> {
        match self.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => {
                self.batch(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
            }
        }
    }

    /// The time now, by the one clock that all users of the database share: the server's, or for a file that of the
    /// machine.
    ///
    /// # Errors
    /// [`DbError`] when the server does not answer.
    pub fn now(&self) -> Result<Timestamp, DbError> {
        match self.dialect() {
            Dialect::Sqlite => Ok(SystemClock.now()),
            Dialect::Postgres => {
                // Not `now()`, which is when the transaction began and perhaps had to wait.
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
                let now = self.first(sql, &[], |row| Ok::<_, DbError>(Timestamp(row.int(0)?)))?;
                Ok(now.unwrap_or_else(|| SystemClock.now()))
            }
        }
    }

    /// Whose SQL it is.
    pub fn dialect(&self) -> Dialect {
        self.session.dialect()
    }

    /// Whether the database has a table of this name.
    ///
    /// # Errors
    /// [`DbError`] when the schema cannot be read.
    pub fn has_table(&self, name: &str) -> Result<bool, DbError> {
        let sql = match self.dialect() {
            Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
            Dialect::Postgres => "SELECT 1 WHERE to_regclass(quote_ident(?1)) IS NOT NULL",
        };
        let found = self.first(sql, &[name.into()], |_| Ok::<_, DbError>(()))?;
        Ok(found.is_some())
    }
}
