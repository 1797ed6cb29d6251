//! What a failure of a server means: whether trying again helps, and what to say.

use std::error::Error as _;
use std::io;
use std::path::Path;

use ::postgres::Error;
use ::postgres::error::{DbError as Report, Severity, SqlState};

use super::super::{BUSY_SECONDS, DbError};

/// What a failed statement says about its transaction, which was not committed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The statement was wrong, or its answer is no.
    Refused,
    /// Another transaction was in the way: again, on the same connection.
    Conflict,
    /// The connection is gone: again, on a new one.
    Lost,
}

impl Fault {
    pub fn of(error: &Error) -> Fault {
        match error.as_db_error() {
            Some(report) if is_end(report) => Fault::Lost,
            Some(report)
                if [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                ]
                .contains(report.code()) =>
            {
                Fault::Conflict
            }
            Some(_) => Fault::Refused,
            None if is_broken(error) => Fault::Lost,
            None => Fault::Refused,
        }
    }

    /// The same for an answer to `COMMIT`; `None` when it is not known whether it took place. Only a plain error is
    /// an answer: a server that goes down may have committed before it said so.
    pub fn of_commit(error: &Error) -> Option<Fault> {
        error.as_db_error()?;
        match Fault::of(error) {
            Fault::Lost => None,
            fault => Some(fault),
        }
    }
}

/// The server ends the session with this report.
fn is_end(report: &Report) -> bool {
    let fatal = matches!(
        report.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    );
    let code = report.code().code();
    fatal || code.starts_with("08") || code.starts_with("57P") || code == "25P03"
}

fn is_broken(error: &Error) -> bool {
    error.is_closed() || error.source().is_some_and(|s| s.is::<io::Error>())
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// The server is starting, going down, or full: it will let us in later.
    Busy(String),
    /// There is no server, at least not now.
    Silent(String),
    /// Waiting does not help.
    Never(DbError),
}

impl NoConnection {
    pub fn of(error: &Error, path: &Path) -> NoConnection {
        let what = text(error);
        let path = path.to_owned();
        let Some(report) = error.as_db_error() else {
            // The crate does not show what kind its errors are; a test holds these words.
            return if error.to_string() == "error performing TLS handshake" {
                NoConnection::Never(DbError::Encryption { path, what })
            } else if is_broken(error) {
                NoConnection::Silent(what)
            } else {
                // What is left are passwords that are missing or not accepted.
                NoConnection::Never(DbError::Login { path, what })
            };
        };
        let code = report.code();
        if [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ]
        .contains(code)
        {
            NoConnection::Never(DbError::Login { path, what })
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            NoConnection::Never(DbError::NoDatabase { path, what })
        } else if code.code().starts_with("57P")
            || code.code().starts_with("08")
            || *code == SqlState::TOO_MANY_CONNECTIONS
        {
            NoConnection::Busy(what)
        } else {
            NoConnection::Never(told(error, &path))
        }
    }
}

/// The error of a statement for a person.
pub(super) fn told(error: &Error, path: &Path) -> DbError {
    let what = text(error);
    let path = path.to_owned();
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => DbError::DiskFull { path },
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => DbError::Locked {
            path,
            seconds: BUSY_SECONDS,
        },
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => DbError::Denied { path, what },
        _ => DbError::Refused { path, what },
    }
}

/// What the server or the crate says, with its reason.
pub(super) fn text(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(report), _) => match report.detail() {
            Some(detail) => format!("{} ({detail})", report.message()),
            None => report.message().to_owned(),
        },
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
