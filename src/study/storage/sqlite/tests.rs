use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::super::super::space::{Params, Value};
use super::super::conformance;
use super::*;

fn study(name: &str) -> StudyRecord {
    StudyRecord {
        name: name.to_owned(),
        directions: vec![Direction::Maximize],
        user_attrs: Attrs::new(),
        system_attrs: Attrs::new(),
    }
}

fn complete(number: u64) -> TrialRecord {
    TrialRecord {
        state: TrialState::Complete,
        values: vec![number as f64],
        started: Some(Timestamp(1_700_000_000_000_000)),
        finished: Some(Timestamp(1_700_000_001_500_000)),
        ..TrialRecord::waiting(number)
    }
}

/// A database to look into, and the storage on it.
fn opened() -> (Arc<Db>, SqliteStorage) {
    let db = Arc::new(Db::in_memory().unwrap());
    let storage = SqliteStorage::with_db(Arc::clone(&db)).unwrap();
    (db, storage)
}

fn run_sql(db: &Db, sql: &str) {
    db.write(|tx| tx.batch(sql)).unwrap();
}

#[test]
fn keeps_the_contract_in_memory() {
    conformance::run(|| Box::new(SqliteStorage::in_memory().unwrap()));
}

#[test]
fn keeps_the_contract_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::run(|| {
        count.set(count.get() + 1);
        let path: PathBuf = dir.path().join(format!("{}.db", count.get()));
        Box::new(SqliteStorage::open(&path).unwrap())
    });
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    {
        let storage = SqliteStorage::open(&path).unwrap();
        storage.create_study(&study("s")).unwrap();
        storage.write_trial("s", &complete(0)).unwrap();
    }
    let storage = SqliteStorage::open(&path).unwrap();
    assert_eq!(storage.load_trials("s").unwrap(), [complete(0)]);
    assert_eq!(storage.load_studies().unwrap(), [study("s")]);
}

#[test]
fn values_that_optuna_could_not_read_are_refused_whole() {
    let (_, storage) = opened();
    storage.create_study(&study("s")).unwrap();
    let mut nan = complete(0);
    nan.values = vec![f64::NAN];
    let mut none = complete(0);
    none.values.clear();
    for trial in [nan, none] {
        let error = storage.write_trial("s", &trial).unwrap_err();
        assert!(
            matches!(error, StorageError::InvalidTrial { number: 0, .. }),
            "{error}"
        );
    }
    assert!(storage.load_trials("s").unwrap().is_empty());
}

#[test]
fn two_storages_on_one_file_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let one = SqliteStorage::open(&path).unwrap();
    let two = SqliteStorage::open(&path).unwrap();
    one.create_study(&study("s")).unwrap();
    std::thread::scope(|scope| {
        for storage in [&one, &two] {
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut number = storage.load_trials("s").unwrap().len() as u64;
                    while storage.write_trial("s", &complete(number)).is_err() {
                        number += 1;
                    }
                }
            });
        }
    });
    for storage in [&one, &two] {
        let found = storage.load_trials("s").unwrap();
        assert_eq!(found.len(), 100);
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(i, t)| *t == complete(i as u64))
        );
    }
}

#[test]
fn rows_that_make_no_sense_are_named_and_not_guessed() {
    for (sql, part) in [
        ("UPDATE trials SET state = 'DONE'", "`DONE` of trial 0"),
        ("UPDATE trials SET number = 7", "number 7 where 0"),
        ("UPDATE trials SET datetime_start = 'noon'", "`noon`"),
        (
            "UPDATE trial_values SET value_type = 'HUGE'",
            "values of trial 0",
        ),
        ("DELETE FROM trial_values", "no value"),
        ("UPDATE study_directions SET direction = 'UP'", "`UP`"),
        (
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'k', '{')",
            "attribute `k`",
        ),
        (
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
             VALUES (1, 'p', 0.5, '{}')",
            "parameter `p`",
        ),
    ] {
        let (db, storage) = opened();
        storage.create_study(&study("s")).unwrap();
        storage.write_trial("s", &complete(0)).unwrap();
        run_sql(&db, sql);
        let error = storage
            .load_study("s")
            .and_then(|_| storage.load_trials("s"))
            .unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn python_json_is_read() {
    let (db, storage) = opened();
    storage.create_study(&study("s")).unwrap();
    storage.write_trial("s", &complete(0)).unwrap();
    run_sql(
        &db,
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'k', '[NaN, 1]');
         INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'k', '-Infinity');",
    );
    assert_eq!(
        storage.load_trials("s").unwrap()[0].user_attrs["k"],
        json!(["NaN", 1])
    );
    assert_eq!(
        storage.load_study("s").unwrap().unwrap().user_attrs["k"],
        json!("-Infinity")
    );
}

#[test]
fn tables_of_another_version_are_refused_and_left_alone() {
    for (sql, part) in [
        (
            "UPDATE alembic_version SET version_num = 'v3.0.0.d'",
            "optuna storage upgrade",
        ),
        ("UPDATE version_info SET schema_version = 13", "version 13"),
    ] {
        let (db, _) = opened();
        run_sql(&db, sql);
        let error = SqliteStorage::with_db(db).unwrap_err();
        assert!(matches!(error, DbError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let (db, _) = opened();
    run_sql(
        &db,
        "UPDATE automl_schema SET version = 99 WHERE component = 'study'",
    );
    assert!(matches!(
        SqliteStorage::with_db(db).unwrap_err(),
        DbError::Newer { found: 99, .. }
    ));
}

/// Not a benchmark: the bound is ten times what it takes, and would be passed at once by a query per trial.
#[test]
fn fifty_thousand_trials_open_quickly() {
    let (db, storage) = opened();
    storage.create_study(&study("s")).unwrap();
    let mut trial = complete(0);
    trial.params = Params(
        (0..10)
            .map(|i| Assignment {
                name: format!("p{}", 9 - i),
                domain: if i == 0 {
                    Domain::categorical([Value::Null, Value::Int(1)]).unwrap()
                } else {
                    Domain::float(0.0, 1.0, None, false).unwrap()
                },
                internal: 1.0,
            })
            .collect(),
    );
    trial
        .user_attrs
        .insert("folds".to_owned(), json!([0.1, 0.2, 0.3]));
    trial.intermediate.insert(0, 0.5);
    db.write(|tx| {
        let mut trial = trial.clone();
        for number in 0..50_000 {
            trial.number = number;
            let claim = Claim::Alone;
            write_trial(
                tx,
                1,
                "s",
                &Write {
                    trial: &trial,
                    claim,
                },
            )?;
        }
        Ok::<_, StorageError>(())
    })
    .unwrap();
    let begun = Instant::now();
    let found = storage.load_trials("s").unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(found.len(), 50_000);
    assert_eq!(found[49_999].params, trial.params);
    println!("read in {seconds:.3} s");
    assert!(seconds < 10.0, "{seconds} s");
}
