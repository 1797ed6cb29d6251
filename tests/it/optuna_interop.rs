//! Optuna reads what we write, goes on with it, and we read what Optuna writes.
//!
//! Needs a Python with Optuna: `$AUTOML_PYTHON`, else `python3`. Without one each test says so and passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use automl::clock::Timestamp;
use automl::db::{Db, is_url};
use automl::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use automl::study::space::{Assignment, Domain, Params, Value};
use automl::study::storage::journal::JournalStorage;
use automl::study::storage::sqlite::SqliteStorage;
use automl::study::storage::{Claim, Lease, Storage, Write, Wrote};
use serde_json::{Value as Json, json};

/// The Python to use, or `None` with a line that says what is missing.
pub fn python() -> Option<PathBuf> {
    let name = std::env::var_os("AUTOML_PYTHON").unwrap_or_else(|| "python3".into());
    let found = Command::new(&name)
        .args(["-c", "import optuna; print(optuna.__version__)"])
        .output();
    match found {
        Ok(out) if out.status.success() => {
            let version = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            if version.starts_with("5.") {
                return Some(name.into());
            }
            eprintln!("skipped: Optuna {version} is not the version 5 that the files are for");
        }
        _ => eprintln!(
            "skipped: `{}` has no Optuna; set AUTOML_PYTHON to a Python that does",
            name.display()
        ),
    }
    None
}

/// The storage in a file, which its name says is a journal or a database, or in the database of a URL.
pub fn open(file: &Path) -> Box<dyn Storage> {
    match file.to_str() {
        Some(url) if is_url(url) => {
            Box::new(SqliteStorage::with_db(Arc::new(Db::open_url(url).unwrap())).unwrap())
        }
        Some(name) if name.ends_with(".journal") => Box::new(JournalStorage::open(file).unwrap()),
        _ => Box::new(SqliteStorage::open(file).unwrap()),
    }
}

pub fn check(python: &Path, command: &str, file: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/optuna_check.py");
    let mut check = Command::new(python);
    // Optuna must come to the same UTC times wherever it runs.
    check
        .arg(script)
        .arg(command)
        .arg(file)
        .env("TZ", "Asia/Tokyo");
    check
}

pub fn run(python: &Path, command: &str, file: &Path) -> String {
    let out = check(python, command, file)
        .output()
        .expect("python was found before");
    assert!(
        out.status.success(),
        "optuna_check.py {command} failed:\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("UTF-8")
}

fn dump(python: &Path, file: &Path) -> Json {
    serde_json::from_str(&run(python, "dump", file)).expect("JSON")
}

fn number(v: f64) -> Json {
    match v {
        v if v.is_nan() => json!("nan"),
        f64::INFINITY => json!("inf"),
        f64::NEG_INFINITY => json!("-inf"),
        v => json!(v),
    }
}

fn value(v: Value) -> Json {
    match v {
        Value::Null => Json::Null,
        Value::Bool(v) => json!(v),
        Value::Int(v) => json!(v),
        Value::Float(v) => number(v),
        Value::Str(v) => json!(v),
    }
}

fn distribution(domain: &Domain) -> Json {
    let (name, attributes) = match domain {
        Domain::Float {
            low,
            high,
            step,
            log,
        } => (
            "FloatDistribution",
            json!({"step": step, "low": low, "high": high, "log": log}),
        ),
        Domain::Int {
            low,
            high,
            step,
            log,
        } => (
            "IntDistribution",
            json!({"step": step, "low": low, "high": high, "log": log}),
        ),
        Domain::Categorical { choices } => (
            "CategoricalDistribution",
            json!({"choices": choices.iter().cloned().map(value).collect::<Vec<_>>()}),
        ),
        _ => unreachable!("there are three kinds"),
    };
    json!({"name": name, "attributes": attributes})
}

/// A trial in the words of `optuna_check.py`.
pub fn described(trial: &TrialRecord) -> Json {
    let params: BTreeMap<&str, Json> = trial.params.iter().map(|(n, v)| (n, value(v))).collect();
    let distributions: BTreeMap<&str, Json> = trial
        .params
        .0
        .iter()
        .map(|a| (a.name.as_str(), distribution(&a.domain)))
        .collect();
    let intermediate: BTreeMap<String, Json> = trial
        .intermediate
        .iter()
        .map(|(step, v)| (step.to_string(), number(*v)))
        .collect();
    let values: Json = if trial.values.is_empty() {
        Json::Null
    } else {
        trial.values.iter().copied().map(number).collect()
    };
    json!({
        "number": trial.number,
        "state": trial.state,
        "params": params,
        "distributions": distributions,
        "values": values,
        "intermediate": intermediate,
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "constraints": trial.constraints(),
        "started": trial.started.map(Timestamp::to_sql),
        "finished": trial.finished.map(Timestamp::to_sql),
    })
}

fn params() -> Params {
    let choices = [
        Value::Null,
        Value::Bool(true),
        Value::Int(3),
        Value::Float(1.5),
        Value::from("z"),
    ];
    let assign = |name: &str, domain: Domain, internal: f64| Assignment {
        name: name.to_owned(),
        domain,
        internal,
    };
    Params(vec![
        assign(
            "x",
            Domain::float(-1.0, 1.0, None, false).unwrap(),
            0.1 + 0.2,
        ),
        assign("lr", Domain::float(1e-5, 1.0, None, true).unwrap(), 1.25e-4),
        assign(
            "grid",
            Domain::float(0.0, 1.0, Some(0.25), false).unwrap(),
            0.75,
        ),
        assign("n", Domain::int(1, 100, 1, true).unwrap(), 63.0),
        assign("kind", Domain::categorical(choices).unwrap(), 0.0),
    ])
}

/// One trial of every state and every sort of number.
fn trials() -> Vec<TrialRecord> {
    let complete = |number: u64, value: f64, kind: f64| {
        let mut params = params();
        params.0[4].internal = kind;
        TrialRecord {
            state: TrialState::Complete,
            params,
            values: vec![value],
            started: Some(Timestamp(1_700_000_000_000_000)),
            finished: Some(Timestamp(1_700_000_000_000_007)),
            ..TrialRecord::waiting(number)
        }
    };
    let mut first = complete(0, 1.0 / 3.0, 0.0);
    first.intermediate = [
        (0, f64::NAN),
        (1, f64::INFINITY),
        (2, f64::NEG_INFINITY),
        (10, 0.5),
    ]
    .into();
    first.user_attrs = Attrs::from([
        ("folds".to_owned(), json!([0.84, 0.1 + 0.2])),
        ("text".to_owned(), json!("wörd \"quoted\"\n\u{1f332}")),
        ("nested".to_owned(), json!({"a": [null, true, 1, 1.0]})),
    ]);
    let mut constrained = complete(3, 1e-300, 3.0);
    constrained.system_attrs = Attrs::from([("constraints".to_owned(), json!([-0.5, 2.0]))]);
    let mut pruned = complete(5, 0.0, 1.0);
    pruned.state = TrialState::Pruned;
    pruned.values.clear();
    let mut failed = complete(6, 0.0, 1.0);
    failed.state = TrialState::Fail;
    failed.values.clear();
    failed.system_attrs = Attrs::from([("fail_reason".to_owned(), json!("it broke"))]);
    let mut running = complete(7, 0.0, 2.0);
    running.state = TrialState::Running;
    running.values.clear();
    running.finished = None;
    let mut waiting = TrialRecord::waiting(8);
    waiting.system_attrs = Attrs::from([(
        "fixed_params".to_owned(),
        json!({"x": 0.25, "kind": null, "n": 17}),
    )]);
    vec![
        first,
        complete(1, f64::INFINITY, 1.0),
        complete(2, f64::NEG_INFINITY, 2.0),
        constrained,
        complete(4, -5.0, 4.0),
        pruned,
        failed,
        running,
        waiting,
    ]
}

fn write_ours(file: &Path) -> Box<dyn Storage> {
    let storage = open(file);
    storage
        .create_study(&StudyRecord {
            name: "ours".to_owned(),
            directions: vec![Direction::Minimize],
            user_attrs: Attrs::from([("dataset".to_owned(), json!({"sha256": "16320c9c"}))]),
            system_attrs: Attrs::from([("seed".to_owned(), json!(42))]),
        })
        .unwrap();
    for trial in trials() {
        storage.write_trial("ours", &trial).unwrap();
    }
    storage
        .create_study(&StudyRecord {
            name: "two objectives".to_owned(),
            directions: vec![Direction::Maximize, Direction::Minimize],
            user_attrs: Attrs::new(),
            system_attrs: Attrs::new(),
        })
        .unwrap();
    let both = TrialRecord {
        values: vec![1.0, f64::INFINITY],
        number: 0,
        ..trials()[3].clone()
    };
    storage.write_trial("two objectives", &both).unwrap();
    storage
}

#[test]
fn optuna_reads_every_kind_of_trial_as_it_was_written() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    optuna_reads_ours(&python, &dir.path().join("automl.db"));
}

fn optuna_reads_ours(python: &Path, file: &Path) {
    // Kept open: Optuna reads the live file.
    let storage = write_ours(file);
    let found = dump(python, file);
    let ours = &found["ours"];
    assert_eq!(ours["directions"], json!(["MINIMIZE"]));
    assert_eq!(
        ours["user_attrs"],
        json!({"dataset": {"sha256": "16320c9c"}})
    );
    assert_eq!(ours["system_attrs"], json!({"seed": 42}));
    let expected = trials();
    let read = ours["trials"].as_array().unwrap();
    assert_eq!(read.len(), expected.len());
    for (read, expected) in read.iter().zip(&expected) {
        assert_eq!(read, &described(expected));
    }
    let two = &found["two objectives"];
    assert_eq!(two["directions"], json!(["MAXIMIZE", "MINIMIZE"]));
    assert_eq!(two["trials"][0]["values"], json!([1.0, "inf"]));
    drop(storage);
}

#[test]
fn optuna_goes_on_with_a_study_and_we_read_the_result() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    optuna_goes_on(&python, &dir.path().join("automl.db"));
}

fn optuna_goes_on(python: &Path, file: &Path) {
    let storage = write_ours(file);
    run(python, "continue", file);
    let found = storage.load_trials("ours").unwrap();
    let expected = trials();
    assert_eq!(found.len(), expected.len() + 2, "one of three was enqueued");
    for (found, expected) in found.iter().zip(&expected).take(8) {
        assert_eq!(described(found), described(expected));
    }
    let popped = &found[8];
    assert_eq!(popped.state, TrialState::Complete);
    assert_eq!(popped.value(), Some(0.0625), "the enqueued x was used");
    let value = |name: &str| popped.params.assignment(name).unwrap().value();
    assert_eq!(value("kind"), Value::Null);
    assert_eq!(value("n"), Value::Int(17));
    for trial in &found[9..] {
        assert_eq!(trial.state, TrialState::Complete);
        assert_eq!(trial.params.0.len(), 5);
        assert_eq!(trial.params.0[0].name, "x", "parameters keep their order");
    }
    // And we go on after Optuna.
    let mut next = expected[3].clone();
    next.number = found.len() as u64;
    storage.write_trial("ours", &next).unwrap();
    let read = dump(python, file);
    assert_eq!(
        read["ours"]["trials"].as_array().unwrap().last(),
        Some(&described(&next))
    );
    assert_eq!(open(file).load_studies().unwrap().len(), 2);
}

#[test]
fn a_study_made_by_optuna_opens() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    a_study_of_optuna_opens(&python, &dir.path().join("theirs.db"));
}

fn a_study_of_optuna_opens(python: &Path, file: &Path) {
    run(python, "create", file);
    let before = dump(python, file);
    let storage = open(file);
    let study = storage.load_study("theirs").unwrap().unwrap();
    assert_eq!(study.directions, [Direction::Maximize]);
    assert_eq!(study.user_attrs["limit"], json!("Infinity"));
    let found = storage.load_trials("theirs").unwrap();
    let states: Vec<TrialState> = found.iter().map(|t| t.state).collect();
    use TrialState::{Complete, Fail, Pruned, Running, Waiting};
    assert_eq!(
        states,
        [
            Complete, Complete, Pruned, Complete, Fail, Complete, Running, Waiting
        ]
    );
    for (found, read) in found
        .iter()
        .zip(before["theirs"]["trials"].as_array().unwrap())
    {
        let mut read = read.clone();
        // Optuna copies the last report into the value of a pruned trial; a record has values when complete.
        if found.state == Pruned {
            read["values"] = Json::Null;
        }
        // What Python prints as a bare NaN is text here.
        if let Some(note) = read["user_attrs"].get_mut("note") {
            assert_eq!(note["list"][3], json!("nan"));
            note["list"][3] = json!("NaN");
        }
        assert_eq!(described(found), read);
    }
    assert_eq!(found[0].user_attrs["from"], json!("the user"));
    assert_eq!(
        dump(python, file),
        before,
        "opening changes nothing that Optuna sees"
    );
}

#[test]
fn optuna_reads_every_kind_of_trial_from_our_journal() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    optuna_reads_ours(&python, &dir.path().join("studies.journal"));
}

#[test]
fn optuna_goes_on_with_a_study_in_our_journal() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    optuna_goes_on(&python, &dir.path().join("studies.journal"));
}

#[test]
fn a_journal_made_by_optuna_opens() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    a_study_of_optuna_opens(&python, &dir.path().join("theirs.journal"));
}

/// Trials that are begun, reported, taken over, replaced and ended in several calls are to Optuna what they are to us.
#[test]
fn optuna_follows_a_trial_of_our_journal_through_its_life() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("studies.journal");
    let storage = write_ours(&file);
    let lease = |owner: &str| Lease {
        owner: owner.to_owned(),
        token: 1,
        seconds: f64::INFINITY,
    };
    let (a, b) = (lease("a"), lease("b"));
    let mut trial = trials()[7].clone();
    let waiting = trials()[8].clone();
    trial.number = 8;
    trial.started = Some(Timestamp(1_700_000_005_000_000));
    trial.system_attrs = waiting.system_attrs;
    let write = |trial: &TrialRecord, claim: Claim<'_>| {
        let wrote = storage.write("ours", &[Write { trial, claim }]).unwrap();
        assert_eq!(wrote, [Wrote::Done]);
    };
    let same = |trial: &TrialRecord, hidden: &[&str]| {
        let mut read = dump(&python, &file)["ours"]["trials"][8].take();
        for key in hidden {
            let attrs = read["system_attrs"].as_object_mut().unwrap();
            assert!(attrs.remove(*key).is_some(), "{key} in {attrs:?}");
        }
        assert_eq!(read, described(trial));
        assert_eq!(
            described(&storage.load_trials("ours").unwrap()[8]),
            described(trial)
        );
    };
    let begin = |lease, over| Claim::Begin { lease, over };
    write(&trial, begin(&a, None));
    same(&trial, &["automl:lease"]);
    // Taken over by another, who begins it again.
    assert!(storage.renew("ours", &[(8, a.clone())]).unwrap().is_empty());
    trial.started = Some(Timestamp(1_700_000_009_000_000));
    write(&trial, begin(&b, Some(&a)));
    same(&trial, &["automl:lease"]);
    trial.state = TrialState::Complete;
    trial.values = vec![f64::NEG_INFINITY];
    trial.intermediate = trials()[0].intermediate.clone();
    trial.user_attrs = trials()[0].user_attrs.clone();
    trial.finished = Some(Timestamp(1_700_000_010_000_001));
    write(&trial, Claim::End(&b));
    same(&trial, &["automl:lease"]);
}

/// Optuna takes turns with two of us, all through the lock of the file: every trial is there once, and each side reads
/// the same of all.
#[test]
fn optuna_and_we_write_to_one_journal_at_the_same_time() {
    const OURS: u64 = 40;
    const THEIRS: usize = 15;
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("studies.journal");
    let before = write_ours(&file).load_trials("ours").unwrap().len();
    std::thread::scope(|scope| {
        let optuna = scope.spawn(|| run(&python, "many", &file));
        for worker in 0..2 {
            let storage = open(&file);
            scope.spawn(move || {
                for i in 0..OURS / 2 {
                    let mut number = storage.load_trials("ours").unwrap().len() as u64;
                    let mut trial = trials()[0].clone();
                    trial.user_attrs = Attrs::from([("by".to_owned(), json!([worker, i]))]);
                    loop {
                        trial.number = number;
                        let lease = Lease {
                            owner: format!("{worker} {i}"),
                            token: 1,
                            seconds: 60.0,
                        };
                        let running = TrialRecord {
                            state: TrialState::Running,
                            values: Vec::new(),
                            finished: None,
                            ..trial.clone()
                        };
                        let write = |trial, claim| {
                            let wrote = storage.write("ours", &[Write { trial, claim }]);
                            // A trial that Optuna has begun has no lease: it is told by its state.
                            let there = storage.load_trials("ours").unwrap();
                            let ours = there[number as usize].user_attrs == trial.user_attrs;
                            wrote.unwrap()[0] == Wrote::Done && ours
                        };
                        let over = Some(&lease);
                        if write(
                            &running,
                            Claim::Begin {
                                lease: &lease,
                                over,
                            },
                        ) {
                            assert!(write(&trial, Claim::End(&lease)));
                            break;
                        }
                        number += 1;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            });
        }
        optuna.join().unwrap();
    });
    let found = open(&file).load_trials("ours").unwrap();
    assert_eq!(found.len(), before + OURS as usize + THEIRS);
    let mut by: Vec<String> = found
        .iter()
        .filter_map(|t| t.user_attrs.get("by"))
        .map(Json::to_string)
        .collect();
    by.sort();
    by.dedup();
    assert_eq!(by.len(), OURS as usize);
    let theirs = found.iter().filter(|t| t.user_attrs.contains_key("note"));
    assert!(theirs.count() >= THEIRS);
    let read = dump(&python, &file);
    let read = read["ours"]["trials"].as_array().unwrap();
    assert_eq!(read.len(), found.len());
    for (read, found) in read.iter().zip(&found) {
        let described = described(found);
        for key in [
            "number",
            "state",
            "params",
            "distributions",
            "intermediate",
            "started",
            "finished",
        ] {
            assert_eq!(read[key], described[key], "{key} of {}", found.number);
        }
    }
}

#[cfg(all(unix, feature = "postgres"))]
pub mod on_postgres {
    use std::collections::BTreeSet;

    use super::*;
    use crate::postgres_server::{Server, shared};

    /// A Python with Optuna and a driver, and a server.
    pub fn both() -> Option<(PathBuf, Arc<Server>)> {
        let python = python()?;
        let driver = Command::new(&python)
            .args(["-c", "import psycopg2"])
            .output()
            .unwrap();
        if !driver.status.success() {
            eprintln!("skipped: `{}` has no psycopg2", python.display());
            return None;
        }
        Some((python, shared()?))
    }

    fn url(server: &Server) -> PathBuf {
        server.new_url().into()
    }

    #[test]
    fn optuna_reads_every_kind_of_trial() {
        let Some((python, server)) = both() else {
            return;
        };
        optuna_reads_ours(&python, &url(&server));
    }

    #[test]
    fn optuna_goes_on_with_a_study_and_we_read_it() {
        let Some((python, server)) = both() else {
            return;
        };
        optuna_goes_on(&python, &url(&server));
    }

    #[test]
    fn a_study_made_by_optuna_opens() {
        let Some((python, server)) = both() else {
            return;
        };
        a_study_of_optuna_opens(&python, &url(&server));
    }

    /// The statements of a dump of the schema, without comments and settings.
    fn schema(server: &Server, url: &Path) -> BTreeSet<String> {
        let dump = server.run("pg_dump", &["-s", "--no-owner", url.to_str().unwrap()]);
        let lines: Vec<&str> = dump
            .lines()
            .filter(|l| !l.starts_with("--") && !l.starts_with('\\') && !l.is_empty())
            .collect();
        lines
            .join("\n")
            .split(";\n")
            .map(|statement| statement.trim_end_matches(';').to_owned())
            .collect()
    }

    #[test]
    fn our_tables_are_those_of_optuna() {
        let Some((python, server)) = both() else {
            return;
        };
        let (ours, theirs) = (url(&server), url(&server));
        open(&ours);
        run(&python, "create", &theirs);
        let (ours_alone, theirs_alone) = (schema(&server, &ours), schema(&server, &theirs));
        assert!(theirs_alone.len() > 60);
        let missing: Vec<&String> = theirs_alone.difference(&ours_alone).collect();
        assert!(missing.is_empty(), "{missing:#?}");
        let more: Vec<&String> = ours_alone.difference(&theirs_alone).collect();
        assert!(more.iter().all(|s| s.contains("automl_")), "{more:#?}");
        // Two tables with their keys, and an index.
        assert_eq!(more.len(), 5, "{more:#?}");
        // Opened by us, theirs becomes the same.
        open(&theirs);
        assert_eq!(schema(&server, &theirs), ours_alone);
    }
}
