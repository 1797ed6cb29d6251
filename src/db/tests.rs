use super::*;
use std::sync::Arc;

// These tests are about SQLite; those on a server are among the integration tests.
const NONE: &[&str] = &[];

const FIRST: Component = Component {
    name: "shelf",
    steps: &["CREATE TABLE shelf (id INTEGER PRIMARY KEY, label TEXT, weight FLOAT)"],
    postgres: NONE,
};
const SECOND: Component = Component {
    name: "shelf",
    steps: &[FIRST.steps[0], "ALTER TABLE shelf ADD COLUMN height FLOAT"],
    postgres: NONE,
};
const BROKEN: Component = Component {
    name: "shelf",
    steps: &[
        FIRST.steps[0],
        "ALTER TABLE shelf ADD COLUMN height FLOAT; CREATE TABLE shelf (id INTEGER)",
    ],
    postgres: NONE,
};

fn labels(db: &Db) -> Vec<String> {
    db.read(|tx| {
        tx.rows("SELECT label FROM shelf ORDER BY id", &[], |row| {
            Ok::<_, DbError>(row.text(0)?.to_owned())
        })
    })
    .unwrap()
}

fn insert(db: &Db, label: &str) -> Result<(), DbError> {
    db.write(|tx| {
        tx.execute("INSERT INTO shelf (label) VALUES (?1)", &[label.into()])?;
        Ok(())
    })
}

#[test]
fn a_failed_or_panicking_write_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for db in [
        Db::open(&dir.path().join("a.db")).unwrap(),
        Db::in_memory().unwrap(),
    ] {
        db.migrate(&FIRST).unwrap();
        insert(&db, "kept").unwrap();
        let failed: Result<(), DbError> = db.write(|tx| {
            tx.execute("INSERT INTO shelf (label) VALUES ('lost')", &[])?;
            tx.execute("INSERT INTO nowhere VALUES (1)", &[])?;
            Ok(())
        });
        assert!(failed.unwrap_err().to_string().contains("nowhere"));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _: Result<(), DbError> = db.write(|tx| {
                tx.execute("INSERT INTO shelf (label) VALUES ('lost')", &[])?;
                panic!("on purpose")
            });
        }));
        assert!(panicked.is_err());
        insert(&db, "after").unwrap();
        assert_eq!(labels(&db), ["kept", "after"]);
    }
}

#[test]
fn settings_are_those_that_make_a_commit_durable() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("a.db")).unwrap();
    let settings = db
        .write(|tx| {
            let ask = |sql: &str| tx.first(sql, &[], |row| row.int(0));
            let mode = tx.first("PRAGMA journal_mode", &[], |row| {
                Ok::<_, DbError>(row.text(0)?.to_owned())
            })?;
            Ok::<_, DbError>((
                mode,
                ask("PRAGMA synchronous")?,
                ask("PRAGMA foreign_keys")?,
                ask("PRAGMA busy_timeout")?,
            ))
        })
        .unwrap();
    assert_eq!(
        settings,
        (Some("wal".to_owned()), Some(2), Some(1), Some(30_000))
    );
}

#[test]
fn reads_do_not_wait_for_a_writer_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("a.db")).unwrap();
    db.migrate(&FIRST).unwrap();
    insert(&db, "one").unwrap();
    db.write(|tx| {
        tx.execute("INSERT INTO shelf (label) VALUES ('two')", &[])?;
        assert_eq!(labels(&db), ["one"], "a reader sees what was committed");
        Ok::<_, DbError>(())
    })
    .unwrap();
    assert_eq!(labels(&db), ["one", "two"]);
    let refused = db.read(|tx| tx.execute("DELETE FROM shelf", &[]));
    assert!(matches!(refused, Err(DbError::ReadOnly { .. })));
}

#[test]
fn migrations_run_once_in_order_and_undo_a_failed_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Db::open(&path).unwrap();
    db.migrate(&FIRST).unwrap();
    db.migrate(&FIRST).unwrap();
    insert(&db, "kept").unwrap();
    let failed = db.migrate(&BROKEN).unwrap_err().to_string();
    assert!(
        failed.contains("`shelf`") && failed.contains("version 2"),
        "{failed}"
    );
    db.migrate(&SECOND).unwrap();
    assert_eq!(labels(&db), ["kept"]);
    let newer = db.migrate(&FIRST).unwrap_err();
    let text = newer.to_string();
    assert!(matches!(
        newer,
        DbError::Newer {
            found: 2,
            known: 1,
            ..
        }
    ));
    assert!(
        text.contains("a.db") && text.contains("later release"),
        "{text}"
    );
}

#[test]
fn what_is_not_a_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.db");
    std::fs::write(
        &path,
        "just some text, longer than the header of a database file would be, on and on and on",
    )
    .unwrap();
    let error = Db::open(&path).unwrap_err();
    assert!(matches!(error, DbError::NotADatabase { .. }), "{error}");
    assert!(error.to_string().contains("notes.db"));
    let error = Db::open(&dir.path().join("no/such/folder.db")).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
    let error = Db::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("is a folder"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_wrong_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Db::open(&path).unwrap();
    db.migrate(&FIRST).unwrap();
    for i in 0..500 {
        insert(&db, &format!("a label of some length, number {i}")).unwrap();
    }
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = 4096;
    bytes[from..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = Db::open(&path)
        .and_then(|db| {
            db.read(|tx| {
                tx.rows("SELECT label FROM shelf", &[], |row| {
                    Ok::<_, DbError>(row.text(0)?.to_owned())
                })
            })
        })
        .unwrap_err();
    assert!(matches!(error, DbError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("a.db"));
}

#[test]
fn a_read_only_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("locked");
    std::fs::create_dir(&folder).unwrap();
    let mut permissions = std::fs::metadata(&folder).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&folder, permissions).unwrap();
    if std::fs::write(folder.join("probe"), "").is_ok() {
        // The superuser writes everywhere.
        return;
    }
    let error = Db::open(&folder.join("a.db")).unwrap_err();
    assert!(matches!(error, DbError::ReadOnly { .. }), "{error}");
}

#[test]
fn a_full_disk_is_named() {
    let db = Db::in_memory().unwrap();
    db.migrate(&FIRST).unwrap();
    db.write(|tx| tx.first("PRAGMA max_page_count = 8", &[], |_| Ok::<_, DbError>(())))
        .unwrap();
    let long = "x".repeat(100_000);
    let error = insert(&db, &long).unwrap_err();
    assert!(matches!(error, DbError::DiskFull { .. }), "{error}");
    insert(&db, "short").unwrap();
    assert_eq!(labels(&db), ["short"]);
}

#[test]
fn another_writer_is_waited_for_and_then_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let first = Db::open(&path).unwrap();
    first.migrate(&FIRST).unwrap();
    let second = Db::open_with(&path, Duration::from_millis(50), "WAL").unwrap();
    first
        .write(|_| {
            let error = insert(&second, "late").unwrap_err();
            assert!(matches!(error, DbError::Locked { .. }), "{error}");
            Ok::<_, DbError>(())
        })
        .unwrap();
    insert(&second, "late").unwrap();
}

#[test]
fn many_threads_and_connections_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let shared = Arc::new(Db::open(&path).unwrap());
    shared.migrate(&FIRST).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = Arc::clone(&shared);
            let path = path.clone();
            scope.spawn(move || {
                let own = Db::open(&path).unwrap();
                for i in 0..25 {
                    let db = if i % 2 == 0 { &own } else { &*shared };
                    insert(db, &format!("{thread}-{i}")).unwrap();
                    labels(db);
                }
            });
        }
    });
    assert_eq!(labels(&shared).len(), 100);
}

#[test]
fn a_column_of_another_type_is_named() {
    let db = Db::in_memory().unwrap();
    let error = db
        .read(|tx| tx.first("SELECT 'x' AS age", &[], |row| row.int(0)))
        .unwrap_err();
    assert!(error.to_string().contains("`age`"), "{error}");
}
