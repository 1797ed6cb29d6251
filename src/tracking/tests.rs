use super::*;
use crate::study::record::{Attrs, Direction, StudyRecord};

#[test]
fn a_store_is_made_once_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deep/automl-store");
    let error = Store::open_existing(&folder).unwrap_err();
    assert!(matches!(error, TrackingError::NoStore { .. }), "{error}");
    assert!(!folder.exists(), "a mistyped name leaves nothing behind");
    for _ in 0..2 {
        let store = Store::open(&folder).unwrap();
        assert!(store.storage().load_studies().unwrap().is_empty());
    }
    Store::open_existing(&folder).unwrap();
    for name in ["automl.db", "artifacts", "locks"] {
        assert!(folder.join(name).exists(), "{name}");
    }
}

fn study(name: &str) -> StudyRecord {
    StudyRecord {
        name: name.to_owned(),
        directions: vec![Direction::Minimize],
        user_attrs: Attrs::new(),
        system_attrs: Attrs::new(),
    }
}

#[test]
fn a_folder_with_a_journal_is_known_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("net");
    let named = format!("journal:{}", folder.display());
    let error = Store::open_existing(&named).unwrap_err();
    assert!(matches!(error, TrackingError::NoStore { .. }), "{error}");
    assert!(!folder.exists());
    let store = Store::open(&named).unwrap();
    store.storage().create_study(&study("s")).unwrap();
    assert!(store.is_shared() && store.repairs().is_empty());
    assert_eq!(store.place(), folder.display().to_string());
    for place in [named.as_str(), store.place()] {
        for again in [Store::open(place), Store::open_existing(place)] {
            assert_eq!(again.unwrap().storage().load_studies().unwrap().len(), 1);
        }
    }
    for name in ["studies.journal", "automl.db", "artifacts", "locks"] {
        assert!(folder.join(name).exists(), "{name}");
    }
    // Where memory cannot be shared, SQLite's log must not be a WAL.
    let mode = store.db().read(|tx| {
        tx.first("PRAGMA journal_mode", &[], |row| {
            Ok::<_, DbError>(row.text(0)?.to_owned())
        })
    });
    assert_eq!(mode.unwrap().as_deref(), Some("delete"));
    assert!(!store.db().read(|tx| tx.has_table("studies")).unwrap());
    let error = Store::open("journal:").unwrap_err().to_string();
    assert!(error.contains("`journal:FOLDER`"), "{error}");
}

#[test]
fn a_journal_does_not_hide_the_studies_of_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let named = format!("journal:{}", dir.path().display());
    // A registry without studies is in nobody's way.
    let store = Store::open(dir.path()).unwrap();
    place::refuse_hiding(dir.path()).unwrap();
    store.storage().create_study(&study("s")).unwrap();
    let error = Store::open(&named).unwrap_err();
    assert!(matches!(error, TrackingError::HasDatabase { .. }));
    assert!(
        error.to_string().contains("leave `journal:` out"),
        "{error}"
    );
    assert!(!dir.path().join("studies.journal").exists());
    drop(store);
    let found = Store::open(dir.path()).unwrap().storage().load_studies();
    assert_eq!(found.unwrap().len(), 1);
}

#[test]
fn the_first_write_sets_aside_what_a_crash_left_and_tells() {
    let dir = tempfile::tempdir().unwrap();
    let named = format!("journal:{}", dir.path().display());
    drop(Store::open(&named).unwrap());
    let journal = dir.path().join("studies.journal");
    std::fs::write(&journal, "{\"op_code\":0,").unwrap();
    let store = Store::open_existing(dir.path()).unwrap();
    assert!(store.storage().load_studies().unwrap().is_empty());
    assert!(store.repairs().is_empty());
    let store = Store::open(dir.path()).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    store.on_repair(move |repair| drop(sender.send(repair.clone())));
    assert!(store.repairs().is_empty() && told.try_recv().is_err());
    store.storage().create_study(&study("s")).unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), store.repairs());
    assert_eq!(store.repairs().len(), 1);
    assert_eq!(store.storage().load_studies().unwrap().len(), 1);
    assert_eq!(std::fs::read(&store.repairs()[0].saved).unwrap().len(), 13);
}

#[test]
fn urls_that_lead_to_no_store_are_refused_without_their_password() {
    let mut urls = vec![("s3://me:secret@bucket/x", "unknown kind")];
    if cfg!(not(feature = "postgres")) {
        urls.push(("postgres://me:secret@bucket/x", "--features postgres"));
    }
    for (url, part) in urls {
        for refused in [Store::open(url), Store::open_existing(url)] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
            assert!(text.contains("://bucket/x`"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn files_can_be_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (place, files) = (dir.path().join("store"), dir.path().join("files"));
    let store = Store::open_with(&place, &files).unwrap();
    store.artifacts().write("a", b"x").unwrap();
    let _lock = store.lock_study("s").unwrap();
    assert!(place.join("automl.db").is_file());
    assert!(files.join("artifacts/a").is_file());
    assert!(!place.join("artifacts").exists() && !place.join("locks").exists());
    assert_eq!(store.place(), place.display().to_string());
}

#[test]
fn one_process_runs_a_study_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let one = Store::open(dir.path()).unwrap();
    let two = Store::open(dir.path()).unwrap();
    let held = one.lock_study("churn/über").unwrap();
    let error = two.lock_study("churn/über").unwrap_err().to_string();
    assert!(
        error.contains("`churn/über`") && error.contains("another process"),
        "{error}"
    );
    let _other = two.lock_study("churn/uber").unwrap();
    drop(held);
    two.lock_study("churn/über").unwrap();
    for odd in ["", "..", "a/../b", "C:\\con", &"x".repeat(600), "\0"] {
        one.lock_study(odd).unwrap();
    }
}
