//! `automl import optuna`: studies that Optuna 4 and 5 wrote, from files that are kept beside what Optuna reads from them
//! (`tests/golden/optuna_storages.py`).

use std::path::{Path, PathBuf};

use automl::study::record::{StudyRecord, TrialRecord, TrialState};
use automl::study::storage::Storage;
use automl::study::storage::sqlite::SqliteStorage;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::optuna_interop::described;
use crate::program::Desk;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A desk with a copy of a golden file, as `optuna.db`.
fn desk(version: u32) -> Desk {
    let desk = Desk::new();
    let bytes = std::fs::read(golden(&format!("optuna{version}.db"))).unwrap();
    desk.write("optuna.db", bytes);
    desk
}

/// What Optuna read from the file that ends in `.db` or `.log`.
fn expected_of(version: u32, ending: &str) -> Json {
    let text = std::fs::read_to_string(golden(&format!("optuna{version}.json"))).unwrap();
    let document: Json = serde_json::from_str(&text).unwrap();
    document[ending].clone()
}

fn expected(version: u32) -> Json {
    expected_of(version, "db")
}

fn stored(desk: &Desk, name: &str) -> (StudyRecord, Vec<TrialRecord>) {
    let storage = SqliteStorage::open(&desk.path("automl-store/automl.db")).unwrap();
    let study = storage.load_study(name).unwrap().unwrap();
    (study, storage.load_trials(name).unwrap())
}

/// The trials are those that Optuna reads, with the times of `zoned`.
fn assert_same(trials: &[TrialRecord], study: &Json) {
    let theirs = study["trials"].as_array().unwrap();
    assert_eq!(trials.len(), theirs.len());
    for (ours, theirs) in trials.iter().zip(theirs) {
        let mut theirs = theirs.clone();
        // Optuna copies the last report into the value of a pruned trial; a record has values when complete.
        if ours.state == TrialState::Pruned {
            theirs["values"] = Json::Null;
        }
        let mut ours = described(ours);
        ours.as_object_mut().unwrap().remove("constraints");
        assert_eq!(ours, theirs);
    }
}

#[test]
fn studies_of_optuna_4_come_with_equal_trials_and_their_times_become_utc() {
    let desk = desk(4);
    let before = std::fs::read(desk.path("optuna.db")).unwrap();
    let args = ["import", "optuna", "sqlite:///optuna.db"];
    let run = desk
        .command(&args)
        .env("TZ", "Asia/Tokyo")
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    for part in [
        "optuna.db `one` → study `one` in `automl-store`: 12 trials (8 complete, 1 pruned, 1 failed, 1 running, 1 waiting)",
        "`two` → study `two` in `automl-store`: 8 trials (8 complete)",
        "local times of Asia/Tokyo, since Optuna 4.5.0 made the storage",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let expected = expected(4);
    for name in ["one", "two"] {
        let (mut study, trials) = stored(&desk, name);
        assert_same(&trials, &expected[name]);
        assert_eq!(json!(study.user_attrs), expected[name]["user_attrs"]);
        let origin = study.system_attrs.remove("automl:imported").unwrap();
        assert_eq!(
            (&origin["study"], &origin["whole"]),
            (&json!(name), &json!(true))
        );
        assert_eq!(json!(study.system_attrs), expected[name]["system_attrs"]);
    }
    let (_, two) = stored(&desk, "two");
    assert!(two.iter().any(|t| !t.is_feasible()) && two.iter().any(TrialRecord::is_eligible));
    assert_eq!(
        std::fs::read(desk.path("optuna.db")).unwrap(),
        before,
        "the storage of Optuna is only read"
    );
    // The zone may be named; it was that of the machine where the file was made.
    let args = [
        "import",
        "optuna",
        "optuna.db",
        "--study",
        "one",
        "--name",
        "utc",
    ];
    desk.done(&[&args[..], &["--time-zone", "UTC"]].concat());
    let nine_hours = 9.0 * 3600.0;
    let (right, wrong) = (stored(&desk, "one").1, stored(&desk, "utc").1);
    for (right, wrong) in right.iter().zip(&wrong) {
        let by = wrong
            .started
            .zip(right.started)
            .map(|(w, r)| w.seconds_since(r));
        assert!(by.is_none_or(|by| by == nine_hours), "{by:?}");
    }
}

#[test]
fn studies_of_optuna_5_come_with_equal_trials_wherever_the_machine_is() {
    let desk = desk(5);
    let args = [
        "import",
        "optuna",
        "optuna.db",
        "--study",
        "one",
        "--name",
        "mine",
    ];
    let run = desk
        .command(&args)
        .env("TZ", "America/Lima")
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("times: UTC, as Optuna 5.0.0 writes them"),
        "{said}"
    );
    assert_same(&stored(&desk, "mine").1, &expected(5)["one"]);
    let studies = desk.json(&["studies", "--format", "json"]);
    assert_eq!(
        studies.as_array().unwrap().len(),
        1,
        "only what was asked for"
    );
    // A study of ours may be copied too.
    let args = [
        "import",
        "optuna",
        "automl-store/automl.db",
        "--store",
        "other",
    ];
    desk.done(&args);
    let best = |store| desk.json(&["best", "mine", "--store", store, "--format", "json"]);
    assert_eq!(best("other"), best("automl-store"));
}

#[test]
fn journals_of_optuna_come_with_equal_trials() {
    for version in [4, 5] {
        let desk = Desk::new();
        let file = golden(&format!("optuna{version}.log"));
        std::fs::copy(&file, desk.path("optuna.log")).unwrap();
        let args = ["import", "optuna", "optuna.log"];
        // Optuna 4 wrote local time.
        let run = desk
            .command(&args)
            .env("TZ", "Asia/Tokyo")
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.success(), "{said}");
        assert!(
            said.contains("times: as the journal has them; those without a zone"),
            "{said}"
        );
        let expected = expected_of(version, "log");
        for name in ["one", "two"] {
            assert_same(&stored(&desk, name).1, &expected[name]);
        }
        let after = std::fs::read(desk.path("optuna.log")).unwrap();
        assert_eq!(after, std::fs::read(&file).unwrap(), "it is only read");
        assert!(!desk.path("optuna.log.lock").exists());
    }
}

#[test]
fn a_storage_of_optuna_is_opened_as_a_store_with_equal_trials() {
    for version in [4, 5] {
        let desk = desk(version);
        let storage = SqliteStorage::open(&desk.path("optuna.db")).unwrap();
        let mut expected = expected(version);
        for name in ["one", "two"] {
            let mut trials = storage.load_trials(name).unwrap();
            // Optuna 4 wrote local time, which opening alone cannot know.
            if version == 4 {
                trials
                    .iter_mut()
                    .for_each(|t| (t.started, t.finished) = (None, None));
                let theirs = expected[name]["trials"].as_array_mut().unwrap();
                for trial in theirs {
                    (trial["started"], trial["finished"]) = (Json::Null, Json::Null);
                }
            }
            assert_same(&trials, &expected[name]);
        }
    }
}

#[test]
fn a_copy_that_was_cut_off_is_finished_by_the_same_command() {
    let desk = desk(5);
    let args = ["import", "optuna", "optuna.db", "--study", "one"];
    desk.done(&args);
    let whole = stored(&desk, "one");
    // As a kill leaves it: the study and its first trials.
    let database = Connection::open(desk.path("automl-store/automl.db")).unwrap();
    let parts = [
        "params",
        "values",
        "intermediate_values",
        "user_attributes",
        "system_attributes",
    ];
    for part in parts {
        let sql = format!(
            "DELETE FROM trial_{part} WHERE trial_id IN (SELECT trial_id FROM trials WHERE number >= 5)"
        );
        database.execute(&sql, []).unwrap();
    }
    let sql = "DELETE FROM trials WHERE number >= 5";
    database.execute(sql, []).unwrap();
    let sql = "UPDATE study_system_attributes SET value_json = replace(value_json, 'true', 'false')
               WHERE key = 'automl:imported'";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    drop(database);
    assert_eq!(stored(&desk, "one").1.len(), 5);
    desk.done(&args);
    // NaN is not equal to itself.
    assert_eq!(format!("{:?}", stored(&desk, "one")), format!("{whole:?}"));
    let error = desk.refused(&args);
    assert!(error.contains("there is a study `one`"), "{error}");
}

#[test]
fn what_cannot_be_imported_says_what_to_do() {
    let desk = desk(5);
    desk.write(
        "text.db",
        "this is no database, and long enough to be none\n".repeat(100),
    );
    desk.write("empty.db", "");
    std::fs::copy(golden("optuna5.log"), desk.path("optuna.log")).unwrap();
    let old = desk.path("old.db");
    std::fs::copy(desk.path("optuna.db"), &old).unwrap();
    let database = Connection::open(&old).unwrap();
    let sql = "UPDATE alembic_version SET version_num = 'v3.0.0.d'";
    database.execute(sql, []).unwrap();
    drop(database);
    for (args, parts) in [
        (
            &["optuna.db", "--study", "three"][..],
            &["no study `three`", "`one`, `two`"][..],
        ),
        (
            &["optuna.db", "--name", "x"],
            &["2 studies", "--study NAME", "`one`, `two`"],
        ),
        (
            &["optuna.db", "--time-zone", "Moon"],
            &["`Moon`", "Europe/Berlin"],
        ),
        (
            &["old.db"],
            &[
                "v3.0.0.d",
                "optuna storage upgrade --storage sqlite:///old.db",
            ],
        ),
        (&["none.db"], &["no file `none.db`"]),
        (&["sqlite:///"], &["sqlite:///FILE"]),
        (&["text.db"], &["neither an SQLite file nor a journal"]),
        (&["empty.db"], &["no table `studies`"]),
        (
            &["optuna.log", "--time-zone", "Asia/Tokyo"],
            &["--time-zone", "TZ=Asia/Tokyo automl import"],
        ),
        (&["mysql://me:secret@db/x"], &["mysql://db/x", "copy_study"]),
    ] {
        let error = desk.refused(&[&["import", "optuna"], args].concat());
        for part in parts {
            assert!(error.contains(part), "{args:?}: {error}");
        }
        assert!(!error.contains("secret"), "{error}");
    }
    if cfg!(not(feature = "postgres")) {
        let url = "postgresql+psycopg2://me:secret@db/x";
        let error = desk.refused(&["import", "optuna", url]);
        assert!(
            error.contains("--features postgres") && !error.contains("secret"),
            "{error}"
        );
    }
    // Models are imported as ever, and the two do not mix.
    let error = desk.ends(2, &["import"]).1;
    assert!(error.contains("--model <FILE>"), "{error}");
    desk.ends(2, &["import", "--model", "x", "optuna", "optuna.db"]);
    // All names are looked at first.
    desk.done(&["import", "optuna", "optuna.db", "--study", "two"]);
    let error = desk.refused(&["import", "optuna", "optuna.db"]);
    assert!(
        error.contains("`two`") && error.contains("--name NAME"),
        "{error}"
    );
}
