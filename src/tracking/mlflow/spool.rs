//! What a server has confirmed. What is not in here is still to be sent: the records themselves are the study's trials, so
//! they are never written twice and cannot be lost separately.
//!
//! | row | when |
//! |---|---|
//! | none | nothing was tried |
//! | `doubt`, no `run_id` | a creation was begun, and it is not known whether the server did it |
//! | `run_id`, no `digest` | the run exists, and what it says may be incomplete |
//! | `digest` | the server confirmed everything that this digest is of |
//!
//! A row whose creation was ever in doubt keeps the time of that doubt, so that a run which the server made after all, and
//! late, is found and taken away ([`super::send`]).

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::db::{Component, Db, DbError};

use super::run::RunStatus;

/// The tables of this room.
pub(super) const TABLES: Component = Component {
    name: "mlflow",
    steps: &[FIRST],
    postgres: &[FIRST],
};

const FIRST: &str = "
CREATE TABLE mlflow_targets (
    study TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    server TEXT NOT NULL,
    experiment TEXT NOT NULL,
    status TEXT,
    ended BIGINT
);
CREATE TABLE mlflow_sent (
    server TEXT NOT NULL,
    origin TEXT NOT NULL,
    item TEXT NOT NULL,
    run_id TEXT,
    digest TEXT,
    doubt BIGINT,
    refused TEXT,
    PRIMARY KEY (server, origin, item)
);";

/// Where a study goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server's address, from [`super::address`].
    pub server: String,
    /// The experiment that holds the study's run.
    pub experiment: String,
}

/// How the search of a study ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// [`RunStatus::Running`] while it goes on.
    pub status: RunStatus,
    /// When.
    pub ended: Option<Timestamp>,
}

/// What is noted of a study: where it goes, and who it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// A random name, so that studies of the same name in two stores are two.
    pub origin: String,
    /// Where it goes.
    pub target: Target,
    /// How it ended, when that was told.
    pub ending: Option<Ending>,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The key of the run, the logged model or the version on the server.
    pub run_id: Option<String>,
    /// The digest of what the server confirmed.
    pub digest: Option<String>,
    /// When a creation was begun or tried again whose confirmation is missing or was, in milliseconds.
    pub doubt: Option<i64>,
    /// Why the server would not have it.
    pub refused: Option<String>,
}

/// The name of the row of the parent run.
pub(super) const PARENT: &str = "study";

/// The name of the row of a trial.
pub(super) fn trial_item(number: u64) -> String {
    format!("trial/{number}")
}

/// The rows of one study on one server.
pub(super) struct Spool<'a> {
    pub db: &'a Db,
    pub server: &'a str,
    pub origin: &'a str,
}

impl Spool<'_> {
    /// All rows by name.
    pub fn items(&self) -> Result<BTreeMap<String, Item>, DbError> {
        self.db.read(|tx| {
            let mut items = BTreeMap::new();
            tx.each(
                "SELECT item, run_id, digest, doubt, refused FROM mlflow_sent WHERE server = ?1 AND origin = ?2",
                &[self.server.into(), self.origin.into()],
                |row| {
                    let owned = |at| Ok::<_, DbError>(row.opt_text(at)?.map(str::to_owned));
                    let item = Item {
                        run_id: owned(1)?,
                        digest: owned(2)?,
                        doubt: row.opt_int(3)?,
                        refused: owned(4)?,
                    };
                    items.insert(row.text(0)?.to_owned(), item);
                    Ok::<_, DbError>(())
                },
            )?;
            Ok(items)
        })
    }

    /// Writes rows, all or none.
    pub fn put(&self, rows: &[(String, Item)]) -> Result<(), DbError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.db.write(|tx| {
            for (name, item) in rows {
                tx.execute(
                    "INSERT INTO mlflow_sent (server, origin, item, run_id, digest, doubt, refused)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (server, origin, item) DO UPDATE SET run_id = excluded.run_id,
                     digest = excluded.digest, doubt = excluded.doubt, refused = excluded.refused",
                    &[
                        self.server.into(),
                        self.origin.into(),
                        name.into(),
                        item.run_id.as_ref().into(),
                        item.digest.as_ref().into(),
                        item.doubt.into(),
                        item.refused.as_ref().into(),
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Forgets every row: the server knows nothing of the study any more.
    pub fn forget(&self) -> Result<(), DbError> {
        self.db.write(|tx| {
            tx.execute(
                "DELETE FROM mlflow_sent WHERE server = ?1 AND origin = ?2",
                &[self.server.into(), self.origin.into()],
            )?;
            Ok(())
        })
    }
}

/// What is noted of a study, if anything.
///
/// # Errors
/// The database cannot be read.
pub fn noted(db: &Db, study: &str) -> Result<Option<Noted>, DbError> {
    db.migrate(&TABLES)?;
    db.read(|tx| {
        tx.first(
            "SELECT origin, server, experiment, status, ended FROM mlflow_targets WHERE study = ?1",
            &[study.into()],
            |row| {
                let status = row.opt_text(3)?.and_then(status_of);
                let ended = row.opt_int(4)?.map(Timestamp);
                Ok(Noted {
                    origin: row.text(0)?.to_owned(),
                    target: Target {
                        server: row.text(1)?.to_owned(),
                        experiment: row.text(2)?.to_owned(),
                    },
                    ending: status.map(|status| Ending { status, ended }),
                })
            },
        )
    })
}

/// The studies that have a target, by name.
///
/// # Errors
/// The database cannot be read.
pub fn studies(db: &Db) -> Result<Vec<String>, DbError> {
    db.migrate(&TABLES)?;
    db.read(|tx| {
        tx.rows(
            "SELECT study FROM mlflow_targets ORDER BY study",
            &[],
            |row| Ok(row.text(0)?.to_owned()),
        )
    })
}

/// Notes where a study goes, and how it stands if that is known. Its origin is drawn once and kept.
///
/// # Errors
/// The database cannot be written.
pub fn note(
    db: &Db,
    study: &str,
    target: &Target,
    ending: Option<Ending>,
) -> Result<Noted, DbError> {
    let known = noted(db, study)?;
    // No result depends on it: it tells apart studies that happen to have the same name.
    let origin = known.as_ref().map_or_else(
        || format!("{:032x}", rand::random::<u128>()),
        |n| n.origin.clone(),
    );
    let ending = ending.or(known.and_then(|n| n.ending));
    db.write(|tx| {
        tx.execute(
            "INSERT INTO mlflow_targets (study, origin, server, experiment, status, ended)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (study) DO UPDATE SET server = excluded.server, experiment = excluded.experiment,
             status = excluded.status, ended = excluded.ended",
            &[
                study.into(),
                (&origin).into(),
                (&target.server).into(),
                (&target.experiment).into(),
                ending.map(|e| e.status.name()).into(),
                ending.and_then(|e| e.ended).map(|t| t.0).into(),
            ],
        )?;
        Ok::<_, DbError>(())
    })?;
    Ok(Noted {
        origin,
        target: target.clone(),
        ending,
    })
}

fn status_of(name: &str) -> Option<RunStatus> {
    [
        RunStatus::Running,
        RunStatus::Finished,
        RunStatus::Failed,
        RunStatus::Killed,
    ]
    .into_iter()
    .find(|status| status.name() == name)
}
