//! Numbered migrations. The version of every component is a row of the table `automl_schema`.

use super::{Db, DbError, Dialect, Tx};

/// The tables of one room: a name, and the SQL that leads from each version to the next. Step *i* leads to
/// version *i* + 1. Steps are never changed once released; new ones are added at the end.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Unique in the program, as in `registry`.
    pub name: &'static str,
    /// One batch of SQL per version, for SQLite.
    pub steps: &'static [&'static str],
    /// The same for PostgreSQL; as many.
    pub postgres: &'static [&'static str],
}

/// The advisory lock under which PostgreSQL's tables are made: any number that others are unlikely to choose.
const MIGRATION_LOCK: i64 = 0x6175_746f_6d6c;

/// All missing steps of `component` in one transaction. Takes no write lock when nothing is missing, so that a
/// reader of a current file never waits.
pub(super) fn apply(db: &Db, component: &Component) -> Result<(), DbError> {
    let steps = match db.dialect() {
        Dialect::Sqlite => component.steps,
        Dialect::Postgres => component.postgres,
    };
    let known = steps.len() as i64;
    let refuse_newer = |found: i64| {
        if found <= known {
            return Ok(());
        }
        Err(DbError::Newer {
            path: db.path().to_owned(),
            component: component.name.to_owned(),
            found,
            known,
        })
    };
    let found = db.read(|tx| version(tx, component.name))?;
    refuse_newer(found)?;
    if found == known {
        return Ok(());
    }
    db.write(|tx| {
        if tx.dialect() == Dialect::Postgres {
            // SQLite's writers wait for each other anyway. `IF NOT EXISTS` alone would not make this safe.
            tx.batch(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))?;
        }
        tx.batch(
            "CREATE TABLE IF NOT EXISTS automl_schema (
                component TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL
            )",
        )?;
        // Another process may have migrated since the read above.
        let found = version(tx, component.name)?;
        refuse_newer(found)?;
        for (step, sql) in steps.iter().enumerate().skip(found.max(0) as usize) {
            tx.batch(sql).map_err(|e| match e {
                DbError::Refused { path, what } => DbError::Migration {
                    path,
                    component: component.name.to_owned(),
                    version: step as i64 + 1,
                    what,
                },
                other => other,
            })?;
        }
        tx.execute(
            "INSERT INTO automl_schema (component, version) VALUES (?1, ?2)
             ON CONFLICT (component) DO UPDATE SET version = excluded.version",
            &[component.name.into(), known.into()],
        )?;
        Ok(())
    })
}

/// The version in the file; 0 before the first migration.
fn version(tx: &Tx<'_>, component: &str) -> Result<i64, DbError> {
    if !tx.has_table("automl_schema")? {
        return Ok(0);
    }
    let version = tx.first(
        "SELECT version FROM automl_schema WHERE component = ?1",
        &[component.into()],
        |row| row.int(0),
    )?;
    Ok(version.unwrap_or(0))
}
