//! The databases behind one connection type: SQLite, embedded, and PostgreSQL with the feature `postgres`. No table
//! of the domain lives here: rooms above bring their own SQL as a [`Component`] of numbered migrations.
//!
//! **Contract.** [`Db::write`] runs a closure in one transaction: all of it is durable when the call returns `Ok`,
//! nothing of it when it returns `Err`, panics or the process dies. The one exception is [`DbError::Unknown`]: the
//! connection to a server broke during the commit itself. [`Db::read`] shows one consistent state and never waits
//! for a writer. Closures are `Fn`, because a transaction that certainly was not committed is run again.
//!
//! *SQLite*: `BEGIN IMMEDIATE`, WAL with `synchronous=FULL`. Within a process there is one writer at a time;
//! between processes SQLite's lock decides, waited for up to [`BUSY_SECONDS`].
//!
//! *PostgreSQL*: writers run side by side at READ COMMITTED, so a closure that reads and then writes locks first
//! ([`Tx::first_locked`], [`Tx::lock_table`]); readers are REPEATABLE READ, READ ONLY. A lost connection is opened
//! again, for up to [`Db::patience`].
//!
//! Calls block, so code in an async runtime makes them on threads for that (tokio's `spawn_blocking`).
//!
//! The crates that adapt the databases do not appear in any signature.

mod error;
mod migrate;
#[cfg(feature = "postgres")]
mod postgresql;
mod row;
mod sqlite;
#[cfg(test)]
mod tests;
mod tx;
mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::DbError;
pub use migrate::Component;
pub use row::{Arg, Row};
pub use tx::{Dialect, Tx};
pub use url::{is_url, redacted};

/// How long a call waits for a lock that another process holds, and for a server to come back, in seconds.
pub const BUSY_SECONDS: u64 = 30;

/// One database: a file, one in memory, or one of a server. Share it by `Arc`; every method takes `&self`.
#[derive(Debug)]
pub struct Db {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sqlite(sqlite::Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(postgresql::Postgres),
}

impl Db {
    /// Opens the database at `path` and creates the file when there is none. Its folder must exist.
    ///
    /// # Errors
    /// The file is not a database, its folder is missing or read-only, or another process holds it.
    pub fn open(path: &Path) -> Result<Db, DbError> {
        Self::open_with(path, Duration::from_secs(BUSY_SECONDS), "WAL")
    }

    /// Opens the database at `path`, which must be there, and never changes it: for files of other programs. Writes are
    /// [`DbError::ReadOnly`].
    ///
    /// # Errors
    /// There is no such file, or it is not a database.
    pub fn open_read_only(path: &Path) -> Result<Db, DbError> {
        Ok(Db {
            path: path.to_owned(),
            kind: Kind::Sqlite(sqlite::Sqlite::open_read_only(path)?),
        })
    }

    /// [`Db::open`] with SQLite's rollback journal instead of a WAL, which needs memory that processes share: for
    /// network file systems. Readers and writers wait for each other.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_without_wal(path: &Path) -> Result<Db, DbError> {
        Self::open_with(path, Duration::from_secs(BUSY_SECONDS), "DELETE")
    }

    /// [`Db::open`] with a limit of waiting other than [`BUSY_SECONDS`], and a mode of SQLite's journal.
    fn open_with(path: &Path, busy: Duration, mode: &str) -> Result<Db, DbError> {
        Ok(Db {
            path: path.to_owned(),
            kind: Kind::Sqlite(sqlite::Sqlite::open(path, busy, mode)?),
        })
    }

    /// Connects to `postgres://user:password@host:port/database`. A password that the URL lacks is taken from
    /// `PGPASSWORD`. With `?sslmode=require` the connection is encrypted and the certificate checked, against the
    /// authority in `&sslrootcert=FILE` if that is given; without, it is not encrypted.
    ///
    /// # Errors
    /// The URL is wrong; the server cannot be reached or refuses; [`DbError::NotBuilt`] without the feature
    /// `postgres`. No message holds the password.
    pub fn open_url(url: &str) -> Result<Db, DbError> {
        #[cfg(feature = "postgres")]
        {
            let db = postgresql::Postgres::open(url)?;
            Ok(Db {
                path: db.path().to_owned(),
                kind: Kind::Postgres(db),
            })
        }
        #[cfg(not(feature = "postgres"))]
        Err(DbError::NotBuilt { url: redacted(url) })
    }

    /// An empty database that vanishes when dropped.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory() -> Result<Db, DbError> {
        Ok(Db {
            path: PathBuf::from(":memory:"),
            kind: Kind::Sqlite(sqlite::Sqlite::in_memory()?),
        })
    }

    /// Sets how long a call waits for a server that went away to come back, [`BUSY_SECONDS`] unless set. SQLite has
    /// no server.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Db {
        match self.kind {
            Kind::Sqlite(_) => {
                let _ = patience;
                self
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(db) => Db {
                path: self.path,
                kind: Kind::Postgres(db.with_patience(patience)),
            },
        }
    }

    /// The file, `:memory:`, or the URL without its password.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        match &self.kind {
            Kind::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Kind::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs `f` in one transaction. An error from `f` undoes everything. `f` must not call [`Db::write`] or
    /// [`Db::read`] of the same database, and may be run more than once: see the module.
    ///
    /// # Errors
    /// What `f` returns, or [`DbError`] when the transaction could not begin or commit.
    pub fn write<T, E: From<DbError>>(&self, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        match &self.kind {
            Kind::Sqlite(db) => db.write(f),
            #[cfg(feature = "postgres")]
            Kind::Postgres(db) => db.write(f),
        }
    }

    /// Runs `f` on one consistent state of the database. `f` must not write, and may be run more than once.
    ///
    /// # Errors
    /// What `f` returns, or [`DbError`] when the database could not be read.
    pub fn read<T, E: From<DbError>>(&self, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        match &self.kind {
            Kind::Sqlite(db) => db.read(f),
            #[cfg(feature = "postgres")]
            Kind::Postgres(db) => db.read(f),
        }
    }

    /// Brings the tables of `component` to the last of its steps; see [`Component`]. Several processes may do so at
    /// once.
    ///
    /// # Errors
    /// [`DbError::Newer`] when a later release wrote the file; [`DbError::Migration`] when a step fails, which
    /// leaves the file as it was.
    pub fn migrate(&self, component: &Component) -> Result<(), DbError> {
        migrate::apply(self, component)
    }
}
