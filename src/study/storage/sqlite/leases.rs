//! Leases of running trials, in a table of their own beside Optuna's. A trial that does not run has no row in it.

use crate::db::{DbError, Tx};

use super::super::super::space::Params;
use super::super::{Held, Lease, StorageError};

/// The lease that a trial runs under; its seconds are not read.
fn holder(tx: &Tx<'_>, trial: i64) -> Result<Option<(String, u64)>, DbError> {
    tx.first(
        "SELECT owner, token FROM automl_leases WHERE trial_id = ?1",
        &[trial.into()],
        |row| Ok((row.text(0)?.to_owned(), row.count(1)?)),
    )
}

fn is(lease: &Lease, (owner, token): &(String, u64)) -> bool {
    lease.owner == *owner && lease.token == *token
}

/// Whether the trial runs under `lease`.
pub(super) fn is_held(tx: &Tx<'_>, trial: i64, lease: &Lease) -> Result<bool, DbError> {
    Ok(holder(tx, trial)?.is_some_and(|holder| is(lease, &holder)))
}

/// Whether a trial that runs may be run under `lease` with `params`: it is already, or it runs under what is taken over.
pub(super) fn may_take(
    tx: &Tx<'_>,
    trial: i64,
    lease: &Lease,
    over: Option<&Lease>,
    params: &Params,
) -> Result<bool, DbError> {
    Ok(match holder(tx, trial)? {
        Some(holder) => is(lease, &holder) || over.is_some_and(|over| is(over, &holder)),
        None => over.is_none() && has(tx, trial, params)?,
    })
}

/// Whether the parameters of a trial are these.
fn has(tx: &Tx<'_>, trial: i64, params: &Params) -> Result<bool, DbError> {
    let stored = tx.rows(
        "SELECT param_name, param_value FROM trial_params WHERE trial_id = ?1",
        &[trial.into()],
        |row| Ok::<_, DbError>((row.text(0)?.to_owned(), row.real(1)?)),
    )?;
    let same = |(name, value): &(String, f64)| {
        let found = params.assignment(name);
        found.is_some_and(|assigned| assigned.internal == *value)
    };
    Ok(stored.len() == params.0.len() && stored.iter().all(same))
}

pub(super) fn take(tx: &Tx<'_>, trial: i64, lease: &Lease) -> Result<(), DbError> {
    let now = tx.now()?.0;
    tx.execute(
        "INSERT INTO automl_leases (trial_id, owner, token, seconds, beat, renewed_us)
         VALUES (?1, ?2, ?3, ?4, 0, ?5)
         ON CONFLICT (trial_id) DO UPDATE SET owner = excluded.owner, token = excluded.token,
            seconds = excluded.seconds, beat = 0, renewed_us = excluded.renewed_us",
        &[
            trial.into(),
            (&lease.owner).into(),
            lease.token.into(),
            // No database has to know infinity.
            lease.seconds.min(f64::MAX).into(),
            now.into(),
        ],
    )?;
    Ok(())
}

pub(super) fn end(tx: &Tx<'_>, trial: i64) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM automl_leases WHERE trial_id = ?1",
        &[trial.into()],
    )?;
    Ok(())
}

pub(super) fn read(tx: &Tx<'_>, study: i64) -> Result<Vec<Held>, StorageError> {
    let now = tx.now()?;
    tx.rows(
        "SELECT t.number, l.owner, l.token, l.seconds, l.beat, l.renewed_us
         FROM automl_leases l JOIN trials t ON t.trial_id = l.trial_id
         WHERE t.study_id = ?1 AND t.state = 'RUNNING' ORDER BY t.number",
        &[study.into()],
        |row| {
            Ok(Held {
                number: row.count(0)?,
                lease: Lease {
                    owner: row.text(1)?.to_owned(),
                    token: row.count(2)?,
                    seconds: row.real(3)?,
                },
                beat: row.count(4)?,
                age: (now.0 - row.int(5)?) as f64 / 1e6,
            })
        },
    )
}

pub(super) fn renew(
    tx: &Tx<'_>,
    study: i64,
    held: &[(u64, Lease)],
) -> Result<Vec<u64>, StorageError> {
    let now = tx.now()?.0;
    let mut lost = Vec::new();
    for (number, lease) in held {
        let changed = tx.execute(
            "UPDATE automl_leases SET beat = beat + 1, renewed_us = ?1
             WHERE owner = ?2 AND token = ?3 AND trial_id IN
                (SELECT trial_id FROM trials WHERE study_id = ?4 AND number = ?5 AND state = 'RUNNING')",
            &[
                now.into(),
                (&lease.owner).into(),
                lease.token.into(),
                study.into(),
                (*number).into(),
            ],
        )?;
        if changed == 0 {
            lost.push(*number);
        }
    }
    Ok(lost)
}
