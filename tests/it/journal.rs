//! Stores with studies in a journal, through the program, and a disk that is full.

use std::path::Path;
use std::process::{Command, Stdio};

use automl::study::record::{Attrs, Direction, StudyRecord, TrialRecord};
use automl::study::storage::journal::JournalStorage;
use automl::study::storage::{Storage, StorageError};

use crate::workers::{alone, desk, ended, history, lead, worker};

const FILE: &str = "AUTOML_TEST_JOURNAL";

#[test]
fn workers_on_a_journal_make_the_study_of_one_in_a_database() {
    let desk = desk();
    let store = "journal:net/many";
    let helps = worker(&desk, store, &[]).spawn().unwrap();
    let leader = lead(&desk, store, "30", &[]).spawn().unwrap();
    ended(leader);
    ended(helps);
    let folder = "net/many";
    assert_eq!(history(&desk, folder), alone(&desk, "30"));
    assert!(desk.path("net/many/studies.journal").is_file());
    let held = desk.read("net/many/studies.journal");
    assert!(held.contains("automl:lease"), "trials were shared");
    // Nothing beside what a folder store has, and nothing left of locks.
    let mut files: Vec<String> = std::fs::read_dir(desk.path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["artifacts", "automl.db", "locks", "studies.journal"]
    );
}

#[test]
fn the_program_tells_of_a_torn_end_and_refuses_a_line_that_no_crash_explains() {
    let desk = desk();
    let run = |store: &str, trials: &str| {
        let output = lead(&desk, store, trials, &[]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(run("journal:net", "3"), (Some(0), String::new()));
    let journal = desk.path("net/studies.journal");
    let whole = std::fs::read(&journal).unwrap();
    let torn = [&whole[..], b"{\"op_code\":4,\"stu"].concat();
    std::fs::write(&journal, &torn).unwrap();
    // Reading changes nothing.
    desk.done(&["trials", "s", "--store", "net"]);
    assert_eq!(std::fs::read(&journal).unwrap(), torn);
    let (code, err) = run("net", "4");
    assert_eq!(code, Some(0), "{err}");
    let saved = format!("net/studies.journal.torn-{}", whole.len());
    assert_eq!(
        err,
        format!(
            "note: a write to `net/studies.journal` was cut off; its 17 bytes were set aside in `{saved}`, and what was \
             written before is all there\n"
        )
    );
    assert_eq!(desk.read(&saved), "{\"op_code\":4,\"stu");
    assert_eq!(history(&desk, "net"), alone(&desk, "4"));

    let lines = desk
        .read("net/studies.journal")
        .replacen("\"op_code\":4", "\"op_code", 1);
    desk.write("net/studies.journal", &lines);
    let err = desk.refused(&["trials", "s", "--store", "net"]);
    let line = 1 + lines
        .lines()
        .position(|l| l.starts_with("{\"op_code,"))
        .unwrap();
    let part = format!("error: line {line} of `net/studies.journal` is unreadable");
    assert!(err.starts_with(&part) && err.contains("backup"), "{err}");
    let err = desk.refused(&["studies", "--store", "journal:nowhere"]);
    assert!(err.contains("there is no store in `nowhere`"), "{err}");
    let err = desk.refused(&["studies", "--store", "journal:"]);
    assert!(err.contains("`journal:FOLDER`"), "{err}");
}

fn large(number: u64) -> TrialRecord {
    let mut trial = TrialRecord::waiting(number);
    let note = "x".repeat(100);
    trial.user_attrs.insert("note".to_owned(), note.into());
    trial
}

/// Not a test of its own: writes until there is no space left.
#[test]
#[ignore = "runs in a process that another test spawns"]
fn child_that_fills_its_space() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let file = Path::new(&file);
    let storage = JournalStorage::open(file).unwrap();
    let mut number = 0;
    let error = loop {
        let before = std::fs::read(file).unwrap();
        match storage.write_trial("s", &large(number)) {
            Ok(()) => number += 1,
            Err(error) => {
                assert_eq!(std::fs::read(file).unwrap(), before, "nothing was written");
                break error;
            }
        }
    };
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert_eq!(storage.load_trials("s").unwrap().len() as u64, number);
    println!("\nfull after {number}: {error}");
}

/// A limit of the size of files stands for the size of the disk: a write gets as far as it can, and then fails.
#[cfg(unix)]
#[test]
fn on_a_full_disk_a_write_is_taken_back_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.journal");
    let storage = JournalStorage::open(&file).unwrap();
    storage
        .create_study(&StudyRecord {
            name: "s".to_owned(),
            directions: vec![Direction::Minimize],
            user_attrs: Attrs::new(),
            system_attrs: Attrs::new(),
        })
        .unwrap();
    let program = std::env::current_exe().unwrap();
    let child = Command::new("sh")
        // A write beyond the limit fails when its signal is ignored.
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(program)
        .args([
            "--exact",
            "journal::child_that_fills_its_space",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, &file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{out}");
    assert!(out.contains("nothing was written"), "{out}");
    let found = storage.load_trials("s").unwrap();
    assert!(found.len() > 5 && out.contains(&format!("full after {}:", found.len())));
    storage
        .write_trial("s", &large(found.len() as u64))
        .unwrap();
    assert!(storage.repairs().is_empty());
}
