//! Stores on PostgreSQL: the contract of the storage, types, clear errors, and the program as its user sees it.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use automl::clock::Timestamp;
use automl::db::{Component, Db, DbError};
use automl::registry::Registry;
use automl::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use automl::study::storage::sqlite::SqliteStorage;
use automl::study::storage::{Storage, StorageError, conformance};
use automl::tracking::Store;

use crate::postgres_server::{PASSWORD, shared};
use crate::program::{Desk, small_table, text};

pub fn open(url: &str) -> SqliteStorage {
    SqliteStorage::with_db(Arc::new(Db::open_url(url).unwrap())).unwrap()
}

pub fn study(name: &str) -> StudyRecord {
    StudyRecord {
        name: name.to_owned(),
        directions: vec![Direction::Maximize],
        user_attrs: Attrs::new(),
        system_attrs: Attrs::new(),
    }
}

pub fn complete(number: u64, value: f64) -> TrialRecord {
    TrialRecord {
        state: TrialState::Complete,
        values: vec![value],
        started: Some(Timestamp(1_700_000_000_000_000)),
        finished: Some(Timestamp(1_700_000_001_500_001)),
        ..TrialRecord::waiting(number)
    }
}

#[test]
fn keeps_the_contract() {
    let Some(server) = shared() else { return };
    conformance::run(|| Box::new(open(&server.new_url())));
}

#[test]
fn a_step_that_optunas_column_cannot_hold_is_refused_whole() {
    let Some(server) = shared() else { return };
    let storage = open(&server.new_url());
    storage.create_study(&study("s")).unwrap();
    let mut trial = complete(0, 1.0);
    trial.intermediate.insert(1 << 40, 0.5);
    let error = storage.write_trial("s", &trial).unwrap_err().to_string();
    assert!(error.contains("1099511627776 does not fit"), "{error}");
    assert!(storage.load_trials("s").unwrap().is_empty());
}

#[test]
fn numbers_stay_unique_among_machines() {
    let Some(server) = shared() else { return };
    let url = server.new_url();
    open(&url).create_study(&study("s")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let url = &url;
            scope.spawn(move || {
                let storage = open(url);
                for i in 0..25 {
                    let mut number = storage.load_trials("s").unwrap().len() as u64;
                    let value = f64::from(thread * 100 + i);
                    while let Err(error) = storage.write_trial("s", &complete(number, value)) {
                        match error {
                            StorageError::TrialFinished { .. } => number += 1,
                            StorageError::NumberGap { next, .. } => number = next,
                            other => panic!("{other}"),
                        }
                    }
                }
            });
        }
    });
    let mut values: Vec<f64> = open(&url)
        .load_trials("s")
        .unwrap()
        .iter()
        .map(|t| t.values[0])
        .collect();
    values.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (0..4)
        .flat_map(|t| (0..25).map(move |i| f64::from(t * 100 + i)))
        .collect();
    assert_eq!(values, expected);
}

#[test]
fn a_trial_is_finished_once_whoever_comes_first() {
    let Some(server) = shared() else { return };
    let url = server.new_url();
    let storage = open(&url);
    storage.create_study(&study("s")).unwrap();
    for number in 0..10 {
        let mut running = TrialRecord::waiting(number);
        running.state = TrialState::Running;
        storage.write_trial("s", &running).unwrap();
        let barrier = Barrier::new(4);
        let won: Vec<f64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (url, barrier) = (&url, &barrier);
                    scope.spawn(move || {
                        let storage = open(url);
                        barrier.wait();
                        let value = f64::from(thread);
                        match storage.write_trial("s", &complete(number, value)) {
                            Ok(()) => Some(value),
                            Err(StorageError::TrialFinished { .. }) => None,
                            Err(other) => panic!("{other}"),
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .filter_map(|t| t.join().unwrap())
                .collect()
        });
        assert_eq!(won.len(), 1);
        let found = storage.load_trials("s").unwrap();
        assert_eq!(found[number as usize].values, won);
    }
}

#[test]
fn many_may_be_the_first_to_open_a_database() {
    let Some(server) = shared() else { return };
    let url = server.new_url();
    let dir = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let store = Store::open_with(&url, dir.path()).unwrap();
                Registry::open(&store).unwrap();
            });
        }
    });
    assert!(open(&url).load_studies().unwrap().is_empty());
}

const KINDS: Component = Component {
    name: "kinds",
    steps: &[],
    postgres: &["
        CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE DOMAIN small AS INTEGER CHECK (VALUE < 100);
        CREATE TABLE kinds (
            a SMALLINT, b INTEGER, c BIGINT, d REAL, e DOUBLE PRECISION, f BOOLEAN, g small,
            h TEXT, i VARCHAR(20), j CHAR(3), k mood, l TIMESTAMP, m TIMESTAMPTZ, n JSONB, o JSON, p UUID
        )"],
};

#[test]
fn arguments_and_rows_fit_whatever_type_a_column_has() {
    let Some(server) = shared() else { return };
    let db = Db::open_url(&server.new_url()).unwrap();
    db.migrate(&KINDS).unwrap();
    db.migrate(&KINDS).unwrap();
    let time = "2026-02-28 23:59:59.000007";
    let early = "1969-12-31 23:59:59.999999";
    let third = 1.0 / 3.0;
    let found = db
        .write(|tx| {
            let id = tx.first(
                "INSERT INTO kinds (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                 RETURNING c",
                &[
                    (-7_i64).into(),
                    2_147_483_647_i64.into(),
                    i64::MIN.into(),
                    0.5.into(),
                    third.into(),
                    1_i64.into(),
                    99_i64.into(),
                    "tëxt '?1'".into(),
                    "v".into(),
                    "abc".into(),
                    "bad".into(),
                    time.into(),
                    early.into(),
                    r#"{"a": 1}"#.into(),
                    "[1]".into(),
                ],
                |row| row.int(0),
            )?;
            assert_eq!(id, Some(i64::MIN));
            tx.first("SELECT * FROM kinds", &[], |row| {
                assert_eq!((row.int(0)?, row.int(1)?), (-7, 2_147_483_647));
                assert_eq!((row.int(2)?, row.real(3)?), (i64::MIN, 0.5));
                assert_eq!(row.real(4)?.to_bits(), third.to_bits());
                assert_eq!((row.int(5)?, row.int(6)?), (1, 99));
                assert_eq!(row.real(0)?, -7.0);
                assert_eq!(row.opt_text(15)?, None);
                assert!(row.int(7).unwrap_err().to_string().contains("`h`"));
                assert!(row.text(99).is_err());
                (7..15)
                    .map(|column| Ok(row.text(column)?.to_owned()))
                    .collect::<Result<Vec<_>, DbError>>()
            })
        })
        .unwrap()
        .unwrap();
    assert_eq!(
        found,
        [
            "tëxt '?1'",
            "v",
            "abc",
            "bad",
            time,
            early,
            r#"{"a": 1}"#,
            "[1]"
        ]
    );
    for (column, value, part) in [
        ("a", 40_000_i64.into(), "40000 does not fit"),
        ("b", "x".into(), "does not fit"),
        ("k", "ugly".into(), "ugly"),
        ("l", "noon".into(), "`noon`"),
        ("g", 100_i64.into(), "small"),
        ("e", "1".into(), "does not fit"),
        ("c", 1.5.into(), "1.5 does not fit"),
        ("h", "nul\0".into(), "0x00"),
    ] {
        let error = db
            .write(|tx| {
                tx.execute(
                    &format!("INSERT INTO kinds ({column}) VALUES (?1)"),
                    &[value],
                )
            })
            .unwrap_err();
        assert!(error.to_string().contains(part), "{column}: {error}");
    }
    // NaN is NULL, and a long result comes whole, also with a query inside of it.
    let total = db
        .write(|tx| {
            tx.execute("INSERT INTO kinds (e) VALUES (?1)", &[f64::NAN.into()])?;
            let empty = tx.first("SELECT COUNT(*) FROM kinds WHERE e IS NULL", &[], |r| {
                r.int(0)
            })?;
            assert_eq!(empty, Some(1));
            let mut total = 0;
            tx.each("SELECT generate_series(1, 5001)", &[], |row| {
                let n = row.int(0)?;
                if n % 1000 == 0 {
                    let again =
                        tx.first("SELECT CAST(?1 AS INTEGER)", &[n.into()], |r| r.int(0))?;
                    assert_eq!(again, Some(n));
                }
                total += n;
                Ok::<_, DbError>(())
            })?;
            assert!(tx.has_table("kinds")? && !tx.has_table("Kinds")? && !tx.has_table("x")?);
            Ok::<_, DbError>(total)
        })
        .unwrap();
    assert_eq!(total, 5001 * 5002 / 2);
}

#[test]
fn a_read_cannot_write_and_a_failed_statement_is_never_committed() {
    let Some(server) = shared() else { return };
    let url = server.new_url();
    let db = Db::open_url(&url).unwrap();
    server.sql(
        url.rsplit('/').next().unwrap(),
        "CREATE TABLE t (a INTEGER UNIQUE)",
    );
    let error = db
        .read(|tx| tx.execute("INSERT INTO t VALUES (1)", &[]))
        .unwrap_err();
    assert!(
        error.to_string().contains("read-only transaction"),
        "{error}"
    );
    let error = db
        .write(|tx| {
            tx.execute("INSERT INTO t VALUES (1)", &[])?;
            let swallowed = tx.execute("INSERT INTO t VALUES (1)", &[]);
            assert!(swallowed.is_err());
            Ok::<_, DbError>(())
        })
        .unwrap_err();
    assert!(error.to_string().contains("failed before"), "{error}");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.write(|tx| {
            tx.execute("INSERT INTO t VALUES (2)", &[])?;
            if tx.has_table("t")? {
                panic!("on purpose")
            }
            Ok::<_, DbError>(())
        })
    }));
    assert!(panicked.is_err());
    let rows = db
        .read(|tx| tx.first("SELECT COUNT(*) FROM t", &[], |row| row.int(0)))
        .unwrap();
    assert_eq!(rows, Some(0));
}

#[test]
fn what_cannot_be_opened_says_why_and_not_the_password() {
    let Some(server) = shared() else { return };
    let good = server.new_url();
    let database = good.rsplit('/').next().unwrap();
    let at = |place: &str| format!("postgres://postgres:{PASSWORD}{place}");
    server.sql(
        database,
        "CREATE ROLE plain LOGIN PASSWORD 'plain s3cr3t'; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    );
    let port = server.port();
    let cases = [
        (server.url("nowhere"), "`createdb`"),
        (
            good.replace("s3cr3t%40", "s3cr3t"),
            "refuses the login: password",
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/{database}"),
            "`PGPASSWORD`",
        ),
        (
            format!("postgres://plain:plain%20s3cr3t@127.0.0.1:{port}/{database}"),
            "GRANT CREATE",
        ),
        (server.url_at(1, database), "is it running"),
        (format!("{good}?sslmode=require"), "does not support TLS"),
        (
            format!("{good}?sslmode=require&sslrootcert=/nowhere"),
            "`/nowhere`",
        ),
        (format!("{good}?sslmode=maybe"), "`maybe`"),
        (format!("{good}?colour=s3cr3t"), "cannot understand"),
        (at("127.0.0.1/a"), "`%40`"),
        (format!("postgres://127.0.0.1:{port}/"), "no database"),
        ("postgres:///x".to_owned(), "no host"),
        (good.replace("postgres://", "mysql://"), "`postgres://`"),
    ];
    for (url, part) in cases {
        let begun = Instant::now();
        let error = Db::open_url(&url)
            .and_then(|db| SqliteStorage::with_db(Arc::new(db)).map(|_| ()))
            .unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(error.to_string().contains(part), "{url}: {error}");
        assert!(!said.contains("s3cr3t"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{url}");
    }
    let shown = format!("{:?}", Db::open_url(&good).unwrap());
    assert!(
        !shown.contains("s3cr3t") && shown.contains(database),
        "{shown}"
    );
    for (sql, part) in [
        (
            "UPDATE alembic_version SET version_num = 'v3.0.0.d'",
            "optuna storage upgrade",
        ),
        ("UPDATE version_info SET schema_version = 13", "version 13"),
        (
            "UPDATE automl_schema SET version = 99 WHERE component = 'study'",
            "later release",
        ),
    ] {
        let url = server.new_url();
        open(&url);
        server.sql(url.rsplit('/').next().unwrap(), sql);
        let db = Arc::new(Db::open_url(&url).unwrap());
        let error = SqliteStorage::with_db(db).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}

const EXPERIMENT: &str = "name: small
seed: 1
data: {path: d.csv, target: y, positive: \"yes\"}
cv: {folds: 3}
search:
  trials: 6
  concurrency: 2
  learners: [gbt]
  params:
    gbt.max_depth: {int: [2, 4]}
    gbt.learning_rate: {float: [0.05, 0.3], log: true}
    gbt.n_estimators: 20
    gbt.min_leaf: 3
registry: {gate: [roc_auc >= 0.1]}
";

#[test]
fn the_program_does_the_same_on_a_server_as_in_a_folder() {
    let Some(server) = shared() else { return };
    let desk = Desk::new();
    desk.write("d.csv", small_table());
    desk.write("e.yaml", EXPERIMENT);
    let url = server.new_url();
    let on_server = |args: &[&str]| {
        let output = desk
            .command(args)
            .env("AUTOML_STORE", &url)
            .output()
            .unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            !out.contains("s3cr3t") && !err.contains("s3cr3t"),
            "{out}{err}"
        );
        (output.status.code(), out, err)
    };
    let (code, _, err) = on_server(&["trials", "small"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("there is no store in the database"), "{err}");
    assert!(!desk.path("automl-artifacts").exists());

    let (code, _, err) = on_server(&["study", "e.yaml", "--trials", "3"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = on_server(&["study", "e.yaml"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("--store postgres://postgres@127.0.0.1"),
        "{out}"
    );
    desk.done(&["study", "e.yaml", "--trials", "3"]);
    desk.done(&["study", "e.yaml"]);
    let plain = |csv: &str| -> Vec<String> {
        let mut rows = csv::Reader::from_reader(csv.as_bytes());
        let header = rows.headers().unwrap().clone();
        rows.records()
            .flat_map(|row| {
                let row = row.unwrap();
                header
                    .iter()
                    .zip(row.iter())
                    .filter(|(name, _)| {
                        !["started", "finished", "seconds"].contains(name)
                            && !name.contains("memory")
                    })
                    .map(|(name, cell)| format!("{name}={cell}"))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let args = ["trials", "small", "--format", "csv"];
    let (_, theirs, _) = on_server(&args);
    assert!(plain(&theirs).len() >= 30, "{theirs}");
    assert_eq!(plain(&theirs), plain(&desk.done(&args)));
    let model = "artifacts/models/small/1/model.json";
    assert_eq!(
        desk.read(&format!("automl-artifacts/{model}")),
        desk.read(&format!("automl-store/{model}"))
    );

    // The password may come from elsewhere.
    let (place, _) = url.split_once("://postgres:").unwrap();
    let (_, host) = url.split_once('@').unwrap();
    let bare = format!("{place}://postgres@{host}");
    let output = desk
        .command(&["studies", "--store", &bare])
        .env("PGPASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(text(&output.stdout).contains("small"), "{output:?}");

    let promote = ["registry", "promote", "small:1", "production", "--why", "x"];
    assert_eq!(on_server(&promote).0, Some(0));
    desk.write("x.csv", "a,b\n0.5,p\n");
    let predict = ["predict", "--model", "small@production", "--input", "x.csv"];
    assert_eq!(on_server(&predict).0, Some(0));
    let (code, log, _) = on_server(&["registry", "log"]);
    assert_eq!((code, log.lines().count()), (Some(0), 4), "{log}");
    let (code, help, _) = on_server(&["trials", "--help"]);
    assert_eq!(
        (code, help.contains("AUTOML_STORE")),
        (Some(0), true),
        "{help}"
    );

    // The log cannot be changed from within, and from without it shows.
    let mut client = server.client(url.rsplit('/').next().unwrap());
    for sql in [
        "UPDATE registry_log SET why = 'y'",
        "DELETE FROM registry_log",
        "TRUNCATE registry_log",
    ] {
        let error = client.batch_execute(sql).unwrap_err();
        let said = error.as_db_error().unwrap().message();
        assert_eq!(said, "the registry log is append-only");
    }
    let registry = || {
        let files = desk.path("automl-artifacts");
        Registry::open(&Store::open_existing_with(&url, files).unwrap()).unwrap()
    };
    assert_eq!(registry().verify_log().unwrap().entries, 3);
    client
        .batch_execute(
            "ALTER TABLE registry_log DISABLE TRIGGER USER; UPDATE registry_log SET why = 'y' WHERE seq = 2",
        )
        .unwrap();
    let error = registry().verify_log().unwrap_err().to_string();
    assert!(error.contains('2'), "{error}");
}
