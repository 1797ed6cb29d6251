//! What can go wrong with a database, in words that name the file and what to do.

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
        matches!(self, DbError::Locked { .. })
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
