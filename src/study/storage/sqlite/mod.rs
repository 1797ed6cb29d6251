//! Studies in SQLite, in the tables of Optuna's relational storage, so that Optuna and its dashboard open the
//! live file and this program opens theirs.
//!
//! **Contract.** That of [`Storage`], durable on disk. One call is one transaction. Reading a study takes one pass
//! over each table. Times are UTC, as in Optuna 5 (Optuna 4 wrote local time into the same columns; nothing tells
//! them apart, and no result depends on them). The final value that Optuna copies from the last report into a
//! pruned trial is not read. Bare `NaN` and infinities in attributes are read as text.

mod leases;
mod postgres;
mod schema;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::db::{Arg, Db, DbError, Dialect, Tx};

use super::super::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use super::super::space::{Assignment, Domain};
use super::{Claim, Held, Lease, Storage, StorageError, Write, Wrote, check_values, json};

pub use source::Source;

/// A [`Storage`] in one SQLite file, or in memory.
#[derive(Debug)]
pub struct SqliteStorage {
    db: Arc<Db>,
}

impl SqliteStorage {
    /// Opens the file at `path`, creates it when there is none, and creates the tables that are missing.
    ///
    /// # Errors
    /// [`DbError`]: not a database, not writable, or tables of another version.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        Self::with_db(Arc::new(Db::open(path)?))
    }

    /// An empty storage that vanishes when dropped.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory() -> Result<Self, DbError> {
        Self::with_db(Arc::new(Db::in_memory()?))
    }

    /// Uses a database that others use too, so that the process has one writer.
    ///
    /// # Errors
    /// As [`SqliteStorage::open`].
    pub fn with_db(db: Arc<Db>) -> Result<Self, DbError> {
        schema::prepare(&db)?;
        Ok(SqliteStorage { db })
    }
}

impl Storage for SqliteStorage {
    fn create_study(&self, study: &StudyRecord) -> Result<(), StorageError> {
        self.db.write(|tx| {
            // One statement, as another process may be creating the same study on a server.
            let id = tx
                .first(
                    "INSERT INTO studies (study_name) VALUES (?1) ON CONFLICT (study_name) DO NOTHING
                     RETURNING study_id",
                    &[(&study.name).into()],
                    |row| Ok::<_, StorageError>(row.int(0)?),
                )?
                .ok_or_else(|| StorageError::StudyExists {
                    name: study.name.clone(),
                })?;
            for (objective, direction) in study.directions.iter().enumerate() {
                tx.execute(
                    "INSERT INTO study_directions (direction, study_id, objective) VALUES (?1, ?2, ?3)",
                    &[
                        direction_name(*direction).into(),
                        id.into(),
                        (objective as i64).into(),
                    ],
                )?;
            }
            write_study_attrs(tx, id, &study.user_attrs, &study.system_attrs)
        })
    }

    fn load_study(&self, name: &str) -> Result<Option<StudyRecord>, StorageError> {
        self.db.read(|tx| match find_study(tx, name)? {
            Some(id) => read_study(tx, id, name).map(Some),
            None => Ok(None),
        })
    }

    fn load_studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        self.db.read(|tx| {
            let studies = tx.rows(
                "SELECT study_id, study_name FROM studies ORDER BY study_id",
                &[],
                |row| Ok::<_, StorageError>((row.int(0)?, row.text(1)?.to_owned())),
            )?;
            studies
                .iter()
                .map(|(id, name)| read_study(tx, *id, name))
                .collect()
        })
    }

    fn annotate_study(
        &self,
        name: &str,
        user_attrs: &Attrs,
        system_attrs: &Attrs,
    ) -> Result<(), StorageError> {
        self.db.write(|tx| {
            let id = existing_study(tx, name)?;
            write_study_attrs(tx, id, user_attrs, system_attrs)
        })
    }

    fn load_trials_from(&self, study: &str, from: u64) -> Result<Vec<TrialRecord>, StorageError> {
        self.db.read(|tx| {
            let id = existing_study(tx, study)?;
            read_trials(tx, id, study, from, u64::MAX)
        })
    }

    fn load_changed(
        &self,
        study: &str,
        from: u64,
        known: &[TrialState],
    ) -> Result<Vec<TrialRecord>, StorageError> {
        self.db.read(|tx| {
            let id = existing_study(tx, study)?;
            let mut changed: Vec<u64> = Vec::new();
            tx.each(
                "SELECT number, state FROM trials WHERE study_id = ?1 AND number >= ?2 ORDER BY number",
                &[id.into(), from.into()],
                |row| {
                    let number = row.count(0)?;
                    let before = known.get((number - from) as usize);
                    if before.map(|state| state_name(*state)) != Some(row.text(1)?) {
                        changed.push(number);
                    }
                    Ok::<_, StorageError>(())
                },
            )?;
            let (Some(&first), Some(&last)) = (changed.first(), changed.last()) else {
                return Ok(Vec::new());
            };
            if changed.len() > ONE_BY_ONE {
                let mut trials = read_trials(tx, id, study, first, last)?;
                trials.retain(|trial| changed.binary_search(&trial.number).is_ok());
                return Ok(trials);
            }
            let mut trials = Vec::with_capacity(changed.len());
            for number in changed {
                trials.extend(read_trials(tx, id, study, number, number)?);
            }
            Ok(trials)
        })
    }

    fn write(&self, study: &str, writes: &[Write<'_>]) -> Result<Vec<Wrote>, StorageError> {
        self.db.write(|tx| {
            let study_id = existing_study(tx, study)?;
            let objectives = tx.first(
                "SELECT COUNT(*) FROM study_directions WHERE study_id = ?1",
                &[study_id.into()],
                |row| row.int(0),
            )?;
            let objectives = objectives.unwrap_or(0) as usize;
            let mut wrote = Vec::with_capacity(writes.len());
            for write in writes {
                check_values(study, write.trial, objectives)?;
                wrote.push(write_trial(tx, study_id, study, write)?);
            }
            Ok(wrote)
        })
    }

    fn leases(&self, study: &str) -> Result<Vec<Held>, StorageError> {
        self.db.read(|tx| {
            let id = existing_study(tx, study)?;
            leases::read(tx, id)
        })
    }

    fn renew(&self, study: &str, held: &[(u64, Lease)]) -> Result<Vec<u64>, StorageError> {
        self.db.write(|tx| {
            let id = existing_study(tx, study)?;
            leases::renew(tx, id, held)
        })
    }
}

/// So many trials are read one by one; more of them with all that lie between.
const ONE_BY_ONE: usize = 8;

fn find_study(tx: &Tx<'_>, name: &str) -> Result<Option<i64>, DbError> {
    tx.first(
        "SELECT study_id FROM studies WHERE study_name = ?1",
        &[name.into()],
        |row| row.int(0),
    )
}

fn existing_study(tx: &Tx<'_>, name: &str) -> Result<i64, StorageError> {
    find_study(tx, name)?.ok_or_else(|| StorageError::NoStudy {
        name: name.to_owned(),
    })
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Minimize => "MINIMIZE",
        Direction::Maximize => "MAXIMIZE",
    }
}

fn state_name(state: TrialState) -> &'static str {
    match state {
        TrialState::Waiting => "WAITING",
        TrialState::Running => "RUNNING",
        TrialState::Complete => "COMPLETE",
        TrialState::Pruned => "PRUNED",
        TrialState::Fail => "FAIL",
    }
}

fn state_of(name: &str) -> Option<TrialState> {
    Some(match name {
        "WAITING" => TrialState::Waiting,
        "RUNNING" => TrialState::Running,
        "COMPLETE" => TrialState::Complete,
        "PRUNED" => TrialState::Pruned,
        "FAIL" => TrialState::Fail,
        _ => return None,
    })
}

/// A number beside the name of its kind; infinities and NaN leave the number empty.
fn number_columns(value: f64) -> (Option<f64>, &'static str) {
    if value.is_nan() {
        (None, "NAN")
    } else if value == f64::INFINITY {
        (None, "INF_POS")
    } else if value == f64::NEG_INFINITY {
        (None, "INF_NEG")
    } else {
        (Some(value), "FINITE")
    }
}

fn number_of(value: Option<f64>, kind: &str) -> Option<f64> {
    match kind {
        "FINITE" => value,
        "INF_POS" => Some(f64::INFINITY),
        "INF_NEG" => Some(f64::NEG_INFINITY),
        "NAN" => Some(f64::NAN),
        _ => None,
    }
}

fn corrupt(study: &str, what: impl Into<String>) -> StorageError {
    StorageError::Corrupt {
        study: study.to_owned(),
        what: what.into(),
    }
}

fn write_study_attrs(
    tx: &Tx<'_>,
    study: i64,
    user_attrs: &Attrs,
    system_attrs: &Attrs,
) -> Result<(), StorageError> {
    let tables = [
        (
            "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (?1, ?2, ?3)
             ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json",
            user_attrs,
        ),
        (
            "INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (?1, ?2, ?3)
             ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json",
            system_attrs,
        ),
    ];
    for (sql, attrs) in tables {
        for (key, value) in attrs {
            tx.execute(
                sql,
                &[study.into(), key.into(), (&value.to_string()).into()],
            )?;
        }
    }
    Ok(())
}

fn read_study(tx: &Tx<'_>, id: i64, name: &str) -> Result<StudyRecord, StorageError> {
    let directions = tx.rows(
        "SELECT direction FROM study_directions WHERE study_id = ?1 ORDER BY objective",
        &[id.into()],
        |row| match row.text(0)? {
            // Optuna minimizes when nothing was said.
            "MINIMIZE" | "NOT_SET" => Ok(Direction::Minimize),
            "MAXIMIZE" => Ok(Direction::Maximize),
            other => Err(corrupt(name, format!("the direction `{other}`"))),
        },
    )?;
    if directions.is_empty() {
        return Err(corrupt(name, "no direction"));
    }
    let attrs = |sql: &str| -> Result<Attrs, StorageError> {
        let mut attrs = Attrs::new();
        tx.each(sql, &[id.into()], |row| {
            let key = row.text(0)?;
            let value = json::read(row.text(1)?)
                .map_err(|e| corrupt(name, format!("the attribute `{key}`: {e}")))?;
            attrs.insert(key.to_owned(), value);
            Ok::<_, StorageError>(())
        })?;
        Ok(attrs)
    };
    Ok(StudyRecord {
        name: name.to_owned(),
        directions,
        user_attrs: attrs("SELECT key, value_json FROM study_user_attributes WHERE study_id = ?1")?,
        system_attrs: attrs(
            "SELECT key, value_json FROM study_system_attributes WHERE study_id = ?1",
        )?,
    })
}

/// Writes one trial, if its claim holds.
fn write_trial(
    tx: &Tx<'_>,
    study_id: i64,
    study: &str,
    write: &Write<'_>,
) -> Result<Wrote, StorageError> {
    let trial = write.trial;
    let finished_at = trial.finished.map(Timestamp::to_sql);
    let find = || {
        tx.first_locked(
            "SELECT trial_id, state, datetime_complete FROM trials WHERE study_id = ?1 AND number = ?2",
            &[study_id.into(), trial.number.into()],
            |row| {
                let finished = row.opt_text(2)?.map(str::to_owned);
                Ok::<_, StorageError>((row.int(0)?, state_of(row.text(1)?), finished))
            },
        )
    };
    let mut found = find()?;
    if found.is_none() && tx.dialect() == Dialect::Postgres {
        // Optuna holds the study's row too while it counts the trials to number the next one.
        tx.first_locked(
            "SELECT study_id FROM studies WHERE study_id = ?1",
            &[study_id.into()],
            |_| Ok::<_, StorageError>(()),
        )?;
        found = find()?;
    }
    let Some((id, state, finished)) = found else {
        if matches!(write.claim, Claim::End(_)) {
            return Ok(Wrote::Refused);
        }
        let id = insert_trial(tx, study_id, study, trial)?;
        write_trial_parts(tx, id, trial)?;
        match write.claim {
            Claim::Begin { lease, .. } => leases::take(tx, id, lease)?,
            // Optuna may have deleted an earlier trial of this id.
            _ => leases::end(tx, id)?,
        }
        return Ok(Wrote::Done);
    };
    let is_finished = state.is_some_and(TrialState::is_finished);
    match write.claim {
        Claim::Alone if is_finished => {
            return Err(StorageError::TrialFinished {
                study: study.to_owned(),
                number: trial.number,
            });
        }
        // It was written before, and nobody knew.
        Claim::End(_) if is_finished && state == Some(trial.state) && finished == finished_at => {
            return Ok(Wrote::Done);
        }
        Claim::Begin { .. } | Claim::End(_) if is_finished => return Ok(Wrote::Refused),
        Claim::End(lease) if !leases::is_held(tx, id, lease)? => return Ok(Wrote::Refused),
        Claim::Begin { lease, over }
            if state == Some(TrialState::Running)
                && !leases::may_take(tx, id, lease, over, &trial.params)? =>
        {
            return Ok(Wrote::Refused);
        }
        _ => {}
    }
    tx.execute(
        "UPDATE trials SET state = ?2, datetime_start = ?3, datetime_complete = ?4 WHERE trial_id = ?1",
        &[
            id.into(),
            state_name(trial.state).into(),
            trial.started.map(Timestamp::to_sql).as_ref().into(),
            finished_at.as_ref().into(),
        ],
    )?;
    clear_trial_parts(tx, id)?;
    write_trial_parts(tx, id, trial)?;
    match write.claim {
        Claim::Begin { lease, .. } => leases::take(tx, id, lease)?,
        Claim::Alone | Claim::End(_) => leases::end(tx, id)?,
    }
    Ok(Wrote::Done)
}

fn insert_trial(
    tx: &Tx<'_>,
    study_id: i64,
    study: &str,
    trial: &TrialRecord,
) -> Result<i64, StorageError> {
    let last = tx.first(
        "SELECT MAX(number) FROM trials WHERE study_id = ?1",
        &[study_id.into()],
        |row| row.opt_int(0),
    )?;
    let next = last.flatten().map_or(0, |n| n as u64 + 1);
    if trial.number != next {
        return Err(StorageError::NumberGap {
            study: study.to_owned(),
            number: trial.number,
            next,
        });
    }
    let id = tx.first(
        "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
         VALUES (?1, ?2, ?3, ?4, ?5) RETURNING trial_id",
        &[
            trial.number.into(),
            study_id.into(),
            state_name(trial.state).into(),
            trial.started.map(Timestamp::to_sql).as_ref().into(),
            trial.finished.map(Timestamp::to_sql).as_ref().into(),
        ],
        |row| Ok::<_, StorageError>(row.int(0)?),
    )?;
    id.ok_or_else(|| corrupt(study, "a new trial without an id"))
}

/// Removes everything that hangs on a trial.
fn clear_trial_parts(tx: &Tx<'_>, id: i64) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM trial_params WHERE trial_id = ?1",
        "DELETE FROM trial_values WHERE trial_id = ?1",
        "DELETE FROM trial_intermediate_values WHERE trial_id = ?1",
        "DELETE FROM trial_user_attributes WHERE trial_id = ?1",
        "DELETE FROM trial_system_attributes WHERE trial_id = ?1",
    ] {
        tx.execute(sql, &[id.into()])?;
    }
    Ok(())
}

/// Writes everything that hangs on a trial of which nothing is stored.
fn write_trial_parts(tx: &Tx<'_>, id: i64, trial: &TrialRecord) -> Result<(), DbError> {
    for param in &trial.params.0 {
        tx.execute(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
             VALUES (?1, ?2, ?3, ?4)",
            &[
                id.into(),
                (&param.name).into(),
                param.internal.into(),
                (&json::write_domain(&param.domain)).into(),
            ],
        )?;
    }
    for (objective, value) in trial.values.iter().enumerate() {
        let (value, kind) = number_columns(*value);
        tx.execute(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?1, ?2, ?3, ?4)",
            &[id.into(), (objective as i64).into(), value.into(), kind.into()],
        )?;
    }
    for (step, value) in &trial.intermediate {
        let (value, kind) = number_columns(*value);
        tx.execute(
            "INSERT INTO trial_intermediate_values
                (trial_id, step, intermediate_value, intermediate_value_type)
             VALUES (?1, ?2, ?3, ?4)",
            &[id.into(), (*step).into(), value.into(), kind.into()],
        )?;
    }
    let attrs = [
        (
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?1, ?2, ?3)",
            &trial.user_attrs,
        ),
        (
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (?1, ?2, ?3)",
            &trial.system_attrs,
        ),
    ];
    for (sql, attrs) in attrs {
        for (key, value) in attrs {
            tx.execute(sql, &[id.into(), key.into(), (&value.to_string()).into()])?;
        }
    }
    Ok(())
}

fn read_trials(
    tx: &Tx<'_>,
    study_id: i64,
    study: &str,
    from: u64,
    to: u64,
) -> Result<Vec<TrialRecord>, StorageError> {
    // From a row's trial id to its place in `trials`; only looked up, never iterated.
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut trials: Vec<TrialRecord> = Vec::new();
    let mut ids = (i64::MAX, i64::MIN);
    tx.each(
        "SELECT trial_id, number, state, datetime_start, datetime_complete
         FROM trials WHERE study_id = ?1 AND (number BETWEEN ?2 AND CAST(?3 AS BIGINT) OR number IS NULL)
         ORDER BY number",
        &[study_id.into(), from.into(), to.into()],
        |row| {
            let id = row.int(0)?;
            let number = from + trials.len() as u64;
            let found = row.opt_int(1)?;
            if found != Some(number as i64) {
                let found = found.map_or("none".to_owned(), |n| n.to_string());
                return Err(corrupt(
                    study,
                    format!("trial number {found} where {number} is next"),
                ));
            }
            let state = row.text(2)?;
            let mut trial = TrialRecord::waiting(number);
            trial.state = state_of(state)
                .ok_or_else(|| corrupt(study, format!("the state `{state}` of trial {number}")))?;
            let time = |column| match row.opt_text(column)? {
                None => Ok(None),
                Some(text) => Timestamp::from_sql(text)
                    .map(Some)
                    .ok_or_else(|| corrupt(study, format!("the time `{text}` of trial {number}"))),
            };
            trial.started = time(3)?;
            trial.finished = time(4)?;
            places.insert(id, trials.len());
            ids = (ids.0.min(id), ids.1.max(id));
            trials.push(trial);
            Ok(())
        },
    )?;
    if trials.is_empty() {
        return Ok(trials);
    }
    // The trials of one study lie together, so a range of ids takes the index; rows of others are skipped.
    let range: [Arg<'_>; 2] = [ids.0.into(), ids.1.into()];

    let mut domains: HashMap<String, Domain> = HashMap::new();
    let mut order: Vec<Vec<i64>> = vec![Vec::new(); trials.len()];
    tx.each(
        "SELECT trial_id, param_id, param_name, param_value, distribution_json
         FROM trial_params WHERE trial_id BETWEEN ?1 AND ?2",
        &range,
        |row| {
            let Some(&place) = places.get(&row.int(0)?) else {
                return Ok(());
            };
            let name = row.text(2)?;
            let text = row.text(4)?;
            let domain = match domains.get(text) {
                Some(domain) => domain.clone(),
                None => {
                    let domain = json::read_domain(text).map_err(|what| {
                        corrupt(
                            study,
                            format!("parameter `{name}` of trial {place}: {what}"),
                        )
                    })?;
                    domains.insert(text.to_owned(), domain.clone());
                    domain
                }
            };
            // The index gives the names in alphabetical order; the ids tell in which they were drawn.
            let id = row.int(1)?;
            let at = order[place].partition_point(|other| *other < id);
            order[place].insert(at, id);
            trials[place].params.0.insert(
                at,
                Assignment {
                    name: name.to_owned(),
                    domain,
                    internal: row.real(3)?,
                },
            );
            Ok::<_, StorageError>(())
        },
    )?;

    tx.each(
        "SELECT trial_id, objective, value, value_type FROM trial_values
         WHERE trial_id BETWEEN ?1 AND ?2 ORDER BY trial_id, objective",
        &range,
        |row| {
            let Some(&place) = places.get(&row.int(0)?) else {
                return Ok(());
            };
            let trial = &mut trials[place];
            if trial.state != TrialState::Complete {
                return Ok(());
            }
            let value = number_of(row.opt_real(2)?, row.text(3)?)
                .filter(|v| !v.is_nan() && row.int(1).is_ok_and(|o| o == trial.values.len() as i64))
                .ok_or_else(|| corrupt(study, format!("the values of trial {place}")))?;
            trial.values.push(value);
            Ok::<_, StorageError>(())
        },
    )?;
    if let Some(trial) = trials
        .iter()
        .find(|t| t.state == TrialState::Complete && t.values.is_empty())
    {
        return Err(corrupt(
            study,
            format!("trial {} is complete and has no value", trial.number),
        ));
    }

    tx.each(
        "SELECT trial_id, step, intermediate_value, intermediate_value_type FROM trial_intermediate_values
         WHERE trial_id BETWEEN ?1 AND ?2",
        &range,
        |row| {
            let Some(&place) = places.get(&row.int(0)?) else {
                return Ok(());
            };
            let step = row.int(1)?;
            let value = number_of(row.opt_real(2)?, row.text(3)?).ok_or_else(|| {
                corrupt(study, format!("the value of trial {place} at step {step}"))
            })?;
            trials[place].intermediate.insert(step, value);
            Ok::<_, StorageError>(())
        },
    )?;

    for (sql, system) in [
        (
            "SELECT trial_id, key, value_json FROM trial_user_attributes WHERE trial_id BETWEEN ?1 AND ?2",
            false,
        ),
        (
            "SELECT trial_id, key, value_json FROM trial_system_attributes WHERE trial_id BETWEEN ?1 AND ?2",
            true,
        ),
    ] {
        tx.each(sql, &range, |row| {
            let Some(&place) = places.get(&row.int(0)?) else {
                return Ok(());
            };
            let key = row.text(1)?;
            let value = json::read(row.text(2)?).map_err(|e| {
                corrupt(
                    study,
                    format!("the attribute `{key}` of trial {place}: {e}"),
                )
            })?;
            let trial = &mut trials[place];
            let attrs = if system {
                &mut trial.system_attrs
            } else {
                &mut trial.user_attrs
            };
            attrs.insert(key.to_owned(), value);
            Ok::<_, StorageError>(())
        })?;
    }
    Ok(trials)
}
