//! SQLite: one file with one writer and many readers, or a database in memory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, Transaction, TransactionBehavior};

use super::row::{Cell, Cells};
use super::tx::{Dialect, Session};
use super::{Arg, BUSY_SECONDS, DbError, Row, Tx};

/// Idle connections kept for readers.
const IDLE_READERS: usize = 8;

#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    /// How long a lock of another process is waited for.
    busy: Duration,
    writer: Mutex<Connection>,
    /// Idle connections that only read. `None` in memory, where a second connection would see another database, and
    /// where the first one only reads.
    readers: Option<Mutex<Vec<Connection>>>,
}

impl Sqlite {
    pub fn open(path: &Path, busy: Duration, mode: &str) -> Result<Self, DbError> {
        let conn = connect(path, busy)?;
        use_mode(&conn, path, busy, mode)?;
        Ok(Sqlite {
            path: path.to_owned(),
            busy,
            writer: Mutex::new(conn),
            readers: Some(Mutex::new(Vec::new())),
        })
    }

    pub fn open_read_only(path: &Path) -> Result<Self, DbError> {
        let err = |e| DbError::new(path, e);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(err)?;
        conn.busy_timeout(Duration::from_secs(BUSY_SECONDS))
            .map_err(err)?;
        Ok(Sqlite {
            path: path.to_owned(),
            busy: Duration::from_secs(BUSY_SECONDS),
            writer: Mutex::new(conn),
            readers: None,
        })
    }

    pub fn in_memory() -> Result<Self, DbError> {
        let path = PathBuf::from(":memory:");
        let conn = Connection::open_in_memory()
            .and_then(|conn| {
                conn.pragma_update(None, "foreign_keys", true)?;
                Ok(conn)
            })
            .map_err(|e| DbError::new(&path, e))?;
        conn.set_prepared_statement_cache_capacity(64);
        Ok(Sqlite {
            path,
            busy: Duration::ZERO,
            writer: Mutex::new(conn),
            readers: None,
        })
    }

    pub fn write<T, E: From<DbError>>(&self, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let conn = lock(&self.writer);
        let tx = self.begin(&conn)?;
        let out = self.run(&tx, f)?;
        tx.commit().map_err(|e| DbError::new(&self.path, e))?;
        Ok(out)
    }

    /// Takes the write lock. SQLite's own way of waiting sleeps up to a tenth of a second, and would let the lock lie idle
    /// between the short transactions of many processes.
    fn begin<'c>(&self, conn: &'c Connection) -> Result<Transaction<'c>, DbError> {
        let err = |e| DbError::new(&self.path, e);
        let begun = Instant::now();
        let mut pause = Duration::from_micros(50);
        conn.busy_timeout(Duration::ZERO).map_err(err)?;
        let tx = loop {
            let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate).map_err(err);
            match tx {
                Err(DbError::Locked { .. }) if begun.elapsed() < self.busy => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(2));
                }
                other => break other,
            }
        };
        // A commit may wait as usual: where there is no WAL, for readers.
        conn.busy_timeout(self.busy).map_err(err)?;
        tx
    }

    pub fn read<T, E: From<DbError>>(&self, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let err = |e| DbError::new(&self.path, e);
        let Some(readers) = &self.readers else {
            let mut conn = lock(&self.writer);
            let tx = conn.transaction().map_err(err)?;
            return self.run(&tx, f);
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
            self.run(&tx, f)
        };
        let mut idle = lock(readers);
        if idle.len() < IDLE_READERS {
            idle.push(conn);
        }
        out
    }

    fn run<T, E>(&self, conn: &Connection, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let session = Open {
            conn,
            path: &self.path,
        };
        f(&Tx::new(&session))
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

/// Switches a file to a mode of SQLite's journal. Two processes that do so at once get "busy" without waiting, hence the loop. A
/// file system without shared memory keeps the old journal, which is slower and as safe.
fn use_mode(conn: &Connection, path: &Path, busy: Duration, wanted: &str) -> Result<(), DbError> {
    let begun = Instant::now();
    loop {
        let mode = conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        let result = match mode {
            Ok(mode) if mode.eq_ignore_ascii_case(wanted) => return Ok(()),
            Ok(_) => conn.pragma_update(None, "journal_mode", wanted),
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

/// An open transaction.
struct Open<'a> {
    conn: &'a Connection,
    path: &'a Path,
}

impl Session for Open<'_> {
    fn execute(&self, sql: &str, args: &[Arg<'_>]) -> Result<usize, DbError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(rusqlite::params_from_iter(args)))
            .map_err(|e| DbError::new(self.path, e))
    }

    fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.conn
            .execute_batch(sql)
            .map_err(|e| DbError::new(self.path, e))
    }

    fn each(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>) -> bool,
    ) -> Result<(), DbError> {
        let err = |e| DbError::new(self.path, e);
        let mut statement = self.conn.prepare_cached(sql).map_err(err)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(args))
            .map_err(err)?;
        while let Some(row) = rows.next().map_err(err)? {
            if !f(&Row::new(row, self.path)) {
                break;
            }
        }
        Ok(())
    }

    fn first(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>),
    ) -> Result<(), DbError> {
        self.each(sql, args, &mut |row| {
            f(row);
            false
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }
}

impl Cells for rusqlite::Row<'_> {
    fn cell(&self, column: usize) -> Option<Cell<'_>> {
        Some(match self.get_ref(column).ok()? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(v) => Cell::Int(v),
            ValueRef::Real(v) => Cell::Real(v),
            ValueRef::Text(v) => {
                std::str::from_utf8(v).map_or(Cell::Other("text that is not UTF-8"), Cell::Text)
            }
            ValueRef::Blob(_) => Cell::Other("Blob"),
        })
    }

    fn name(&self, column: usize) -> Option<&str> {
        self.as_ref().column_name(column).ok()
    }
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
