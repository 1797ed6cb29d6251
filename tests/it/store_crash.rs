//! Processes that share a store, and processes that die while they write.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use automl::clock::Timestamp;
use automl::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use automl::study::storage::journal::JournalStorage;
use automl::study::storage::sqlite::SqliteStorage;
use automl::study::storage::{Storage, StorageError};

const FILE: &str = "AUTOML_TEST_STORE";
const TRIALS: &str = "AUTOML_TEST_TRIALS";

fn complete(number: u64) -> TrialRecord {
    let mut trial = TrialRecord {
        state: TrialState::Complete,
        values: vec![number as f64],
        started: Some(Timestamp(1_700_000_000_000_000)),
        finished: Some(Timestamp(1_700_000_001_000_000)),
        ..TrialRecord::waiting(number)
    };
    for step in 0..20 {
        trial.intermediate.insert(step, step as f64);
        trial.user_attrs.insert(format!("key {step}"), step.into());
    }
    trial
}

/// A database or a journal, by the name of the file.
fn open(file: &Path) -> Box<dyn Storage> {
    if file.extension().is_some_and(|e| e == "journal") {
        // A killed writer leaves its lock behind.
        let grace = Duration::from_millis(400);
        return Box::new(JournalStorage::open_with(file, grace).unwrap());
    }
    Box::new(SqliteStorage::open(file).unwrap())
}

fn create(file: &Path) -> Box<dyn Storage> {
    let storage = open(file);
    storage
        .create_study(&StudyRecord {
            name: "s".to_owned(),
            directions: vec![Direction::Minimize],
            user_attrs: Attrs::new(),
            system_attrs: Attrs::new(),
        })
        .unwrap();
    storage
}

/// Runs [`child_that_writes`] in a process of its own.
fn spawn(file: &Path, trials: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store_crash::child_that_writes",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, file)
        .env(TRIALS, trials.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the spawned processes run. Prints the number of every trial that is on disk.
#[test]
#[ignore = "runs in a process that another test spawns"]
fn child_that_writes() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let wanted: u64 = std::env::var(TRIALS).unwrap().parse().unwrap();
    let storage = open(Path::new(&file));
    for _ in 0..wanted {
        let mut number = storage.load_trials("s").unwrap().len() as u64;
        loop {
            match storage.write_trial("s", &complete(number)) {
                Ok(()) => break,
                Err(StorageError::TrialFinished { .. }) => number += 1,
                Err(other) => panic!("{other}"),
            }
        }
        println!("\nwritten {number}");
    }
}

#[test]
fn a_killed_writer_leaves_a_readable_file_with_everything_it_reported() {
    kill_writers("automl.db");
}

#[test]
fn a_killed_writer_leaves_a_readable_journal_with_everything_it_reported() {
    kill_writers("studies.journal");
}

fn kill_writers(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    drop(create(&file));
    let mut reported = 0;
    for round in 1..=5 {
        let mut child = spawn(&file, 100_000);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines {
            if let Some(number) = line.unwrap().strip_prefix("written ") {
                reported = number.parse::<u64>().unwrap() + 1;
                if reported >= round * 7 {
                    break;
                }
            }
        }
        // SIGKILL on unix: no destructor runs.
        child.kill().unwrap();
        child.wait().unwrap();
        let storage = open(&file);
        let found = storage.load_trials("s").unwrap();
        assert!(
            found.len() as u64 >= reported,
            "{} of {reported}",
            found.len()
        );
        for (number, trial) in found.iter().enumerate() {
            assert_eq!(
                trial,
                &complete(number as u64),
                "a trial is whole or absent"
            );
        }
    }
    assert!(reported >= 35);
}

#[test]
fn two_processes_write_to_one_file() {
    write_from_two("automl.db");
}

#[test]
fn two_processes_write_to_one_journal() {
    write_from_two("studies.journal");
}

fn write_from_two(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    let storage = create(&file);
    let children = [spawn(&file, 40), spawn(&file, 40)];
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let found = storage.load_trials("s").unwrap();
    assert_eq!(found.len(), 80);
    for (number, trial) in found.iter().enumerate() {
        assert_eq!(trial, &complete(number as u64));
    }
}
