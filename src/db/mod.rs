//! The embedded database behind one connection type. No table of the domain lives here: rooms above bring their
//! own SQL as a [`Component`] of numbered migrations.
//!
//! **Contract.** [`Db::write`] runs a closure in one `BEGIN IMMEDIATE` transaction: all of it is on disk when the
//! call returns `Ok` (WAL with `synchronous=FULL`), nothing of it when it returns `Err`, panics or the process
//! dies. [`Db::read`] shows one consistent state and never waits for a writer. Within a process there is one
//! writer at a time; between processes SQLite's lock decides, waited for up to [`BUSY_SECONDS`]. The crate that
//! adapts SQLite does not appear in any signature.

mod error;
mod migrate;
mod row;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::clock::{Clock as _, SystemClock, Timestamp};

pub use error::DbError;
pub use migrate::Component;
pub use row::{Arg, Row};

/// How long a call waits for a lock that another process holds, in seconds.
pub const BUSY_SECONDS: u64 = 30;

/// Idle connections kept for readers.
const IDLE_READERS: usize = 8;

/// One database file, or one in memory. Share it by `Arc`; every method takes `&self`.
#[derive(Debug)]
pub struct Db {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Idle connections that only read. `None` in memory, where a second connection would see another database.
    readers: Option<Mutex<Vec<Connection>>>,
}

impl Db {
    /// Opens the database at `path` and creates the file when there is none. Its folder must exist.
    ///
    /// # Errors
    /// The file is not a database, its folder is missing or read-only, or another process holds it.
    pub fn open(path: &Path) -> Result<Db, DbError> {
        Self::open_with(path, Duration::from_secs(BUSY_SECONDS))
    }

    /// [`Db::open`] with a limit of waiting other than [`BUSY_SECONDS`].
    fn open_with(path: &Path, busy: Duration) -> Result<Db, DbError> {
        let conn = connect(path, busy)?;
        use_wal(&conn, path, busy)?;
        Ok(Db {
            path: path.to_owned(),
            writer: Mutex::new(conn),
            readers: Some(Mutex::new(Vec::new())),
        })
    }

    /// An empty database that vanishes when dropped.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory() -> Result<Db, DbError> {
        let path = PathBuf::from(":memory:");
        let conn = Connection::open_in_memory()
            .and_then(|conn| {
                conn.pragma_update(None, "foreign_keys", true)?;
                Ok(conn)
            })
            .map_err(|e| DbError::new(&path, e))?;
        conn.set_prepared_statement_cache_capacity(64);
        Ok(Db {
            path,
            writer: Mutex::new(conn),
            readers: None,
        })
    }

    /// The file, or `:memory:`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `f` in one transaction that begins with the write lock. An error from `f` undoes everything.
    /// `f` must not call [`Db::write`] or [`Db::read`] of the same database.
    ///
    /// # Errors
    /// What `f` returns, or [`DbError`] when the transaction could not begin or commit.
    pub fn write<T, E: From<DbError>>(
        &self,
        f: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut conn = lock(&self.writer);
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| DbError::new(&self.path, e))?;
        let out = f(&Tx {
            conn: &tx,
            path: &self.path,
        })?;
        tx.commit().map_err(|e| DbError::new(&self.path, e))?;
        Ok(out)
    }

    /// Runs `f` on one consistent state of the database. `f` must not write.
    ///
    /// # Errors
    /// What `f` returns, or [`DbError`] when the file could not be read.
    pub fn read<T, E: From<DbError>>(
        &self,
        f: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let err = |e| DbError::new(&self.path, e);
        let Some(readers) = &self.readers else {
            let mut conn = lock(&self.writer);
            let tx = conn.transaction().map_err(err)?;
            return f(&Tx {
                conn: &tx,
                path: &self.path,
            });
        };
        // The lock is released before `f` runs.
        let idle = lock(readers).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => {
                let conn = connect(&self.path, Duration::from_secs(BUSY_SECONDS))?;
                conn.pragma_update(None, "query_only", true).map_err(err)?;
                conn
            }
        };
        let out = {
            let tx = conn.transaction().map_err(err)?;
            f(&Tx {
                conn: &tx,
                path: &self.path,
            })
        };
        let mut idle = lock(readers);
        if idle.len() < IDLE_READERS {
            idle.push(conn);
        }
        out
    }

    /// Brings the tables of `component` to the last of its steps; see [`Component`].
    ///
    /// # Errors
    /// [`DbError::Newer`] when a later release wrote the file; [`DbError::Migration`] when a step fails, which
    /// leaves the file as it was.
    pub fn migrate(&self, component: &Component) -> Result<(), DbError> {
        migrate::apply(self, component)
    }
}

/// A panic in a closure rolled its transaction back, so the connection behind a poisoned lock is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path, busy: Duration) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let err = |e| DbError::new(path, e);
    let conn = Connection::open_with_flags(path, flags).map_err(err)?;
    conn.busy_timeout(busy).map_err(err)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(err)?;
    conn.pragma_update(None, "synchronous", "FULL")
        .map_err(err)?;
    Ok(conn)
}

/// Switches a new file to WAL. Two processes that do so at once get "busy" without waiting, hence the loop. A
/// file system without shared memory keeps the old journal, which is slower and as safe.
fn use_wal(conn: &Connection, path: &Path, busy: Duration) -> Result<(), DbError> {
    let begun = Instant::now();
    loop {
        let mode = conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        let result = match mode {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(_) => conn.pragma_update(None, "journal_mode", "WAL"),
            Err(e) => Err(e),
        };
        match result.map_err(|e| DbError::new(path, e)) {
            Ok(()) => return Ok(()),
            Err(DbError::Locked { .. }) if begun.elapsed() < busy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(e),
        }
    }
}

/// An open transaction. Statements are prepared once per connection and reused by their text.
pub struct Tx<'a> {
    conn: &'a Connection,
    path: &'a Path,
}

impl Tx<'_> {
    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// [`DbError`] with what SQLite says.
    pub fn execute(&self, sql: &str, args: &[Arg<'_>]) -> Result<usize, DbError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(rusqlite::params_from_iter(args)))
            .map_err(|e| DbError::new(self.path, e))
    }

    /// Runs several statements, separated by semicolons, without arguments.
    ///
    /// # Errors
    /// [`DbError`] with what SQLite says.
    pub fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.conn
            .execute_batch(sql)
            .map_err(|e| DbError::new(self.path, e))
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
        let err = |e| DbError::new(self.path, e);
        let mut statement = self.conn.prepare_cached(sql).map_err(err)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(args))
            .map_err(err)?;
        while let Some(row) = rows.next().map_err(err)? {
            f(&Row::new(row, self.path))?;
        }
        Ok(())
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
        let err = |e| DbError::new(self.path, e);
        let mut statement = self.conn.prepare_cached(sql).map_err(err)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(args))
            .map_err(err)?;
        match rows.next().map_err(err)? {
            Some(row) => f(&Row::new(row, self.path)).map(Some),
            None => Ok(None),
        }
    }

    /// The key of the row inserted last.
    pub fn last_id(&self) -> i64 {
        self.conn.last_insert_rowid()
    }

    /// The time now, by the one clock that all users of the database share: for a file, that of the machine.
    ///
    /// # Errors
    /// [`DbError`] when a server does not answer.
    pub fn now(&self) -> Result<Timestamp, DbError> {
        Ok(SystemClock.now())
    }

    /// Whether the database has a table of this name.
    ///
    /// # Errors
    /// [`DbError`] when the schema cannot be read.
    pub fn has_table(&self, name: &str) -> Result<bool, DbError> {
        let found = self.first(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
            &[name.into()],
            |_| Ok::<_, DbError>(()),
        )?;
        Ok(found.is_some())
    }
}
