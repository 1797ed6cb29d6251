//! What can go wrong with a database, in words that name the file or the server and what to do. Where a variant says
//! `path`, a server's database has its URL there, without the password.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::BUSY_SECONDS;

/// A database that could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The file exists and is something else.
    #[error(
        "`{}` is not a database; move it away or name another place with `--store`",
        path.display()
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file was a database and is damaged.
    #[error(
        "the database `{}` is damaged ({what}); restore it from a backup, or save what is readable with \
         `sqlite3 FILE .recover`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// The file or its folder cannot be written.
    #[error(
        "the database `{}` cannot be written: file or folder is read-only; change its permissions or name \
         another place with `--store`",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or created.
    #[error("cannot open the database `{}`: {what}", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// Why, as far as it is known.
        what: String,
    },
    /// No space is left.
    #[error(
        "the disk of the database `{}` is full; nothing was written, free some space and try again",
        path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Another process held the write lock for too long.
    #[error(
        "the database `{}` stayed locked by another process for {seconds} s; wait for it or stop it, then try \
         again",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// The limit of waiting.
        seconds: u64,
    },
    /// A later release wrote the file.
    #[error(
        "`{}` was written by a later release: its `{component}` tables have version {found}, this program knows \
         {known}; install a release that is at least as new",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Whose tables.
        component: String,
        /// The version in the file.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// The file holds tables of another program or of another release of it.
    #[error("`{}` holds {what}; {hint}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is there.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A step of a migration failed; the file is as it was.
    #[error(
        "cannot bring the `{component}` tables of `{}` to version {version}: {what}",
        path.display()
    )]
    Migration {
        /// The file.
        path: PathBuf,
        /// Whose tables.
        component: String,
        /// The step that failed.
        version: i64,
        /// Why.
        what: String,
    },
    /// A column holds a value of another type than expected.
    #[error("`{}`: column `{column}` holds {found} where {expected} is expected", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column's name.
        column: String,
        /// The type found.
        found: String,
        /// The type expected.
        expected: &'static str,
    },
    /// A URL whose database this program was built without.
    #[error(
        "the store `{url}` is a URL, and this program was built without PostgreSQL; build it with \
         `cargo build --release --features postgres`, or name a folder with `--store`"
    )]
    NotBuilt {
        /// The URL without its password.
        url: String,
    },
    /// A URL that cannot be understood.
    #[error(
        "cannot understand the URL `{url}`: {what}; write it as `postgres://user:password@host:5432/database`, with \
         `%40` for an `@` inside of the password"
    )]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// No answer from the server.
    #[error(
        "cannot reach the PostgreSQL server of `{}`: {what}; is it running, and are host and port right?",
        path.display()
    )]
    NoServer {
        /// The URL.
        path: PathBuf,
        /// What the attempt ended with.
        what: String,
    },
    /// The server does not let this user in.
    #[error(
        "the server of `{}` refuses the login: {what}; give user and password as \
         `postgres://user:password@…` or the password in the environment variable `PGPASSWORD`",
        path.display()
    )]
    Login {
        /// The URL.
        path: PathBuf,
        /// What the server says.
        what: String,
    },
    /// The connection cannot be encrypted, or the server cannot prove who it is.
    #[error(
        "cannot encrypt the connection to `{}`: {what}; write the host as its certificate has it, and name the file \
         of a private authority with `?sslmode=require&sslrootcert=FILE`",
        path.display()
    )]
    Encryption {
        /// The URL.
        path: PathBuf,
        /// What the attempt ended with.
        what: String,
    },
    /// The server has no such database.
    #[error(
        "`{}`: {what}; make it with `createdb` or `CREATE DATABASE`, or correct the name",
        path.display()
    )]
    NoDatabase {
        /// The URL.
        path: PathBuf,
        /// What the server says.
        what: String,
    },
    /// The user may not do this.
    #[error(
        "the database `{}` does not allow it: {what}; ask its owner for `GRANT CREATE ON SCHEMA public` and for \
         rights on the tables",
        path.display()
    )]
    Denied {
        /// The URL.
        path: PathBuf,
        /// What the server says.
        what: String,
    },
    /// The server went away and did not come back in time. Nothing was written.
    #[error(
        "lost the connection to `{}` and could not open it again for {seconds:.0} s ({what}); nothing was written: \
         see to the server, then try again",
        path.display()
    )]
    Lost {
        /// The URL.
        path: PathBuf,
        /// How long it was tried, in seconds.
        seconds: f64,
        /// What the last attempt ended with.
        what: String,
    },
    /// Other transactions were in the way each time. Nothing was written.
    #[error(
        "the database `{}` could not bring {attempts} attempts of a transaction in line with those of others ({what}); \
         nothing was written, try again",
        path.display()
    )]
    Conflict {
        /// The URL.
        path: PathBuf,
        /// How often it was tried.
        attempts: u32,
        /// What the server says.
        what: String,
    },
    /// The connection broke during a commit: the transaction was written as a whole or not at all, and only a look
    /// at the database can tell which.
    #[error(
        "the connection to `{}` broke during a commit ({what}): whether it was written is not known; look, as with \
         `automl trials STUDY`, before trying again",
        path.display()
    )]
    Unknown {
        /// The URL.
        path: PathBuf,
        /// What the commit ended with.
        what: String,
    },
    /// Any other refusal.
    #[error("the database `{}` refused: {what}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it says.
        what: String,
    },
}

impl DbError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            DbError::Locked { .. }
                | DbError::NoServer { .. }
                | DbError::Lost { .. }
                | DbError::Conflict { .. }
                | DbError::Unknown { .. }
        )
    }

    pub(super) fn new(path: &Path, error: rusqlite::Error) -> DbError {
        let path = path.to_owned();
        let what = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => DbError::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => DbError::Damaged { path, what },
            Some(ErrorCode::ReadOnly) => DbError::ReadOnly { path },
            Some(ErrorCode::DiskFull) => DbError::DiskFull { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbError::Locked {
                path,
                seconds: BUSY_SECONDS,
            },
            Some(ErrorCode::CannotOpen) => cannot_open(path, what),
            _ => DbError::Refused { path, what },
        }
    }
}

/// SQLite says only "unable to open database file"; look for the reason.
fn cannot_open(path: PathBuf, what: String) -> DbError {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let what = if path.is_dir() {
        "it is a folder".to_owned()
    } else if !folder.exists() {
        format!("the folder `{}` does not exist", folder.display())
    } else if !path.exists()
        && folder
            .metadata()
            .is_ok_and(|meta| meta.permissions().readonly())
    {
        return DbError::ReadOnly { path };
    } else {
        format!("{what}; is its folder writable?")
    };
    DbError::CannotOpen { path, what }
}
