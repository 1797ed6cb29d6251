use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;

use super::super::{Claim, conformance};
use super::*;
use crate::clock::Timestamp;
use crate::study::record::Direction;
use crate::study::space::{Assignment, Domain, Params, Value};

fn study(name: &str) -> StudyRecord {
    StudyRecord {
        name: name.to_owned(),
        directions: vec![Direction::Minimize],
        user_attrs: Attrs::from([("data".to_owned(), json!("ü"))]),
        system_attrs: Attrs::from([("seed".to_owned(), json!(42))]),
    }
}

fn running(number: u64) -> TrialRecord {
    let x = Assignment {
        name: "x".to_owned(),
        domain: Domain::float(-1.0, 1.0, None, false).unwrap(),
        internal: 0.1 + 0.2,
    };
    let kind = Assignment {
        name: "kind".to_owned(),
        domain: Domain::categorical([Value::Null, Value::from("z")]).unwrap(),
        internal: 1.0,
    };
    TrialRecord {
        state: TrialState::Running,
        params: Params(vec![x, kind]),
        started: Some(Timestamp(1_700_000_000_000_000 + number as i64)),
        ..TrialRecord::waiting(number)
    }
}

fn complete(number: u64) -> TrialRecord {
    TrialRecord {
        state: TrialState::Complete,
        values: vec![number as f64],
        intermediate: [(0, f64::INFINITY), (1, 0.5)].into(),
        user_attrs: Attrs::from([("folds".to_owned(), json!([0.25, 0.75]))]),
        finished: Some(Timestamp(1_700_000_001_500_000)),
        ..running(number)
    }
}

fn lease(owner: &str) -> Lease {
    Lease {
        owner: owner.to_owned(),
        token: 1,
        seconds: 60.0,
    }
}

/// Everything that a reader can see.
type Seen = Vec<(StudyRecord, Vec<TrialRecord>, Vec<(u64, Lease, u64)>)>;

fn seen(storage: &JournalStorage) -> Seen {
    let studies = storage.load_studies().unwrap().into_iter();
    let all = studies.map(|study| {
        let trials = storage.load_trials(&study.name).unwrap();
        let held = storage.leases(&study.name).unwrap().into_iter();
        let held = held.map(|h| (h.number, h.lease, h.beat)).collect();
        (study, trials, held)
    });
    all.collect()
}

/// A journal of calls of every kind; the length of the file and what was seen after each.
fn calls(path: &Path) -> Vec<(u64, Seen)> {
    let storage = JournalStorage::open(path).unwrap();
    let mut after = vec![(0, Seen::new())];
    let mut note = || {
        let length = fs::metadata(path).unwrap().len();
        after.push((length, seen(&storage)));
    };
    storage.create_study(&study("s")).unwrap();
    note();
    storage.write_trial("s", &TrialRecord::waiting(0)).unwrap();
    note();
    let (a, trials) = (lease("a"), [running(0), running(1), running(2)]);
    let claim = Claim::Begin {
        lease: &a,
        over: None,
    };
    let begin = trials.each_ref().map(|trial| Write { trial, claim });
    assert_eq!(storage.write("s", &begin).unwrap(), [Wrote::Done; 3]);
    note();
    let held = [(1, a.clone()), (2, a.clone())];
    assert!(storage.renew("s", &held).unwrap().is_empty());
    note();
    let trials = [complete(0), complete(2)];
    let claim = Claim::End(&a);
    let end = trials.each_ref().map(|trial| Write { trial, claim });
    assert_eq!(storage.write("s", &end).unwrap(), [Wrote::Done; 2]);
    note();
    let attrs = Attrs::from([("note".to_owned(), json!("\n"))]);
    storage.annotate_study("s", &attrs, &attrs).unwrap();
    note();
    after
}

#[test]
fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::run(|| {
        count.set(count.get() + 1);
        let path = dir.path().join(format!("{}.journal", count.get()));
        Box::new(JournalStorage::open(&path).unwrap())
    });
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, count.get(), "no lock is left behind");
}

/// One storage replays what another wrote: the whole contract without what the writer remembers.
#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let after = calls(&path);
    let again = JournalStorage::open(&path).unwrap();
    assert_eq!(seen(&again), after.last().unwrap().1);
    assert!(again.repairs().is_empty());
    let [(_, trials, _)] = &seen(&again)[..] else {
        panic!("one study")
    };
    assert_eq!(trials[..], [complete(0), running(1), complete(2)]);
}

#[test]
fn storages_on_one_file_lose_and_double_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let open = || JournalStorage::open(&path).unwrap();
    open().create_study(&study("s")).unwrap();
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for worker in 0..THREADS {
            let (start, storage) = (&start, open());
            scope.spawn(move || {
                let own = lease(&worker.to_string());
                let claim = Claim::Begin {
                    lease: &own,
                    over: None,
                };
                start.wait();
                for _ in 0..EACH {
                    let mut number = storage.load_trials("s").unwrap().len() as u64;
                    loop {
                        let trial = &running(number);
                        match storage.write("s", &[Write { trial, claim }]).unwrap()[0] {
                            Wrote::Done => break,
                            Wrote::Refused => number += 1,
                        }
                    }
                    let (trial, claim) = (&complete(number), Claim::End(&own));
                    let wrote = storage.write("s", &[Write { trial, claim }]);
                    assert_eq!(wrote.unwrap(), [Wrote::Done]);
                }
            });
        }
    });
    let all: Vec<TrialRecord> = (0..THREADS * EACH).map(complete).collect();
    assert_eq!(open().load_trials("s").unwrap(), all);
    assert!(open().repairs().is_empty());
}

#[test]
fn a_journal_cut_at_any_byte_holds_the_calls_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let after = calls(&path);
    let whole = fs::read(&path).unwrap();
    let cut = dir.path().join("cut.journal");
    for length in 0..=whole.len() {
        fs::write(&cut, &whole[..length]).unwrap();
        let storage = JournalStorage::open(&cut).unwrap();
        let mut calls = after.iter().rev();
        let (end, expected) = calls.find(|(end, _)| *end <= length as u64).unwrap();
        assert_eq!(&seen(&storage), expected, "cut at {length}");
        assert_eq!(
            hold(&storage.view).offset,
            *end,
            "nothing behind the last whole call is taken for read"
        );
        assert_eq!(
            fs::read(&cut).unwrap(),
            whole[..length],
            "reading changes nothing"
        );
    }
}

/// Bytes that crashes and file systems leave at the end of a file.
fn torn() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"\n".to_vec()),
        Just(vec![0; 300]),
        Just(b"{\"op_code\":4,\"study_id\"\n\0\0\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_torn_end_is_set_aside_and_the_next_write_works(at in 0.0..1.0, end in torn()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.journal");
        let after = calls(&path);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate((at * (bytes.len() + 1) as f64) as usize);
        bytes.extend(end);
        fs::write(&path, &bytes).unwrap();
        let storage = JournalStorage::open(&path).unwrap();
        let before = seen(&storage);
        prop_assert!(after.iter().any(|(_, seen)| *seen == before));
        let kept = hold(&storage.view).offset as usize;
        prop_assert!(after.iter().any(|(end, _)| *end == kept as u64));
        storage.create_study(&study("next")).unwrap();
        let expected: Vec<Repair> = (kept < bytes.len())
            .then(|| Repair {
                path: path.clone(),
                offset: kept as u64,
                bytes: (bytes.len() - kept) as u64,
                saved: lock::beside(&path, &format!(".torn-{kept}")),
            })
            .into_iter()
            .collect();
        prop_assert_eq!(storage.repairs(), &expected[..]);
        for repair in &expected {
            prop_assert_eq!(&fs::read(&repair.saved).unwrap()[..], &bytes[kept..]);
        }
        prop_assert!(fs::read(&path).unwrap().starts_with(&bytes[..kept]));
        let again = seen(&JournalStorage::open(&path).unwrap());
        prop_assert_eq!(&again[..before.len()], &before[..]);
        prop_assert_eq!(&again[before.len()..], &[(study("next"), vec![], vec![])][..]);
    }
}

#[test]
fn every_torn_end_has_a_file_of_its_own_and_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let whole = calls(&path).last().unwrap().0;
    let storage = JournalStorage::open(&path).unwrap();
    let told = std::sync::Arc::new(Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&told);
    storage.on_repair(move |repair| sink.lock().unwrap().push(repair.clone()));
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"half");
    for count in 1..=3 {
        fs::write(&path, &bytes).unwrap();
        storage.mend().unwrap();
        storage.mend().unwrap();
        assert_eq!(storage.repairs().len(), count);
        assert_eq!(fs::metadata(&path).unwrap().len(), whole);
    }
    assert_eq!(*told.lock().unwrap(), storage.repairs());
    let saved = storage
        .repairs()
        .into_iter()
        .map(|r| fs::read(r.saved).unwrap());
    assert!(saved.into_iter().all(|bytes| bytes == b"half"));
}

#[test]
fn what_no_crash_explains_is_an_error_that_names_the_line_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    calls(&path);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line;
        lines.join("\n") + "\n"
    };
    let last = lines.len() - 1;
    for (at, line, part) in [
        (2, "{\"op_code\":3,", "EOF"),
        (2, "", "EOF"),
        (2, "7", "`op_code`"),
        (last, "{\"op_code\":11,\"worker_id\":\"x\"}", "operation 11"),
        (
            last,
            "{\"op_code\":9,\"trial_id\":0}",
            "`system_attr` is missing",
        ),
        (
            last,
            "{\"op_code\":6,\"trial_id\":1,\"state\":7}",
            "the state 7",
        ),
        (
            last,
            "{\"op_code\":6,\"trial_id\":1,\"state\":1,\"values\":[NaN]}",
            "without a value",
        ),
        (
            last,
            "{\"op_code\":6,\"trial_id\":1,\"state\":3,\"datetime_complete\":\"now\"}",
            "`datetime_complete`",
        ),
    ] {
        let bytes = with(at, line);
        fs::write(&path, &bytes).unwrap();
        let error = JournalStorage::open(&path).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(&error, StorageError::CorruptLine { line, .. } if *line == at as u64 + 1),
            "{text}"
        );
        assert!(text.contains(part) && text.contains("backup"), "{text}");
        assert!(text.contains(&format!("line {} of", at + 1)), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
    }
}

#[test]
fn a_storage_follows_a_file_that_was_cut_off_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let after = calls(&path);
    let storage = JournalStorage::open(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for count in [after.len() - 2, 2] {
        let (length, expected) = &after[count];
        fs::write(&path, &bytes[..*length as usize]).unwrap();
        assert_eq!(&seen(&storage), expected);
        let other = JournalStorage::open(&path).unwrap();
        for i in 0..10 {
            other.create_study(&study(&format!("{count} {i}"))).unwrap();
        }
        assert_eq!(seen(&storage), seen(&other));
    }
}

/// The lines of the last call of a journal with one study and one trial in it.
fn append(path: &Path, lines: &[&str]) -> Vec<TrialRecord> {
    let mut text = fs::read_to_string(path).unwrap();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    fs::write(path, text).unwrap();
    let storage = JournalStorage::open(path).unwrap();
    storage.load_trials("s").unwrap()
}

#[test]
fn a_call_that_others_wrote_behind_counts_as_far_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let (create, half) = (
        r#"{"op_code":0,"worker_id":"p","study_name":"s","directions":[1]}"#,
        r#"{"op_code":4,"worker_id":"automl/a","study_id":0,"datetime_start":null,"state":4,"automl_left":1}"#,
    );
    fs::write(&path, "").unwrap();
    assert!(append(&path, &[create, half]).is_empty());
    let theirs = r#"{"op_code":4,"worker_id":"p","study_id":0,"datetime_start":"2024-01-01T00:00:00+00:00"}"#;
    let trials = append(&path, &[theirs]);
    let states: Vec<TrialState> = trials.iter().map(|t| t.state).collect();
    assert_eq!(states, [TrialState::Waiting, TrialState::Running]);
}

#[test]
fn lines_mean_what_they_mean_to_optuna() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    fs::write(&path, "").unwrap();
    let float = r#""distribution":"{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.0, \"high\": 1.0, \"log\": false}}""#;
    let other = float.replace("false", "true").replace("0.0", "0.1");
    let param = |trial: u64, value: f64, domain: &str| {
        format!(
            r#"{{"op_code":5,"worker_id":"p","trial_id":{trial},"param_name":"x","param_value_internal":{value},{domain}}}"#
        )
    };
    let lines = [
        // Deleted, so the study of this name below is the one with id 1; trials keep their ids.
        r#"{"op_code":0,"worker_id":"p","study_name":"s","directions":[2]}"#.to_owned(),
        r#"{"op_code":4,"worker_id":"p","study_id":0,"datetime_start":null}"#.to_owned(),
        r#"{"op_code":1,"worker_id":"p","study_id":0}"#.to_owned(),
        r#"{"op_code":0,"worker_id":"p","study_name":"s","directions":[1]}"#.to_owned(),
        r#"{"op_code":0,"worker_id":"p","study_name":"s","directions":[2]}"#.to_owned(),
        r#"{"op_code":4,"worker_id":"p","study_id":0,"datetime_start":null}"#.to_owned(),
        r#"{"op_code":4,"worker_id":"p","study_id":1,"datetime_start":"2023-11-14T22:13:20.000001+00:00"}"#.to_owned(),
        param(0, 0.9, float),
        param(1, 0.5, float),
        // Another scale than the study has for it.
        param(1, 0.25, &other),
        param(9, 0.25, float),
        r#"{"op_code":10,"worker_id":"p","trial_ids":[1]}"#.to_owned(),
        r#"{"op_code":7,"worker_id":"p","trial_id":1,"step":3,"intermediate_value":-Infinity}"#.to_owned(),
        r#"{"op_code":8,"worker_id":"p","trial_id":1,"user_attr":{"a":[NaN,"\ud800"]}}"#.to_owned(),
        // It runs already: the time does not change.
        r#"{"op_code":6,"worker_id":"q","trial_id":1,"state":0,"values":null,"datetime_start":"2024-01-01T00:00:00+00:00"}"#.to_owned(),
        r#"{"op_code":6,"worker_id":"p","trial_id":1,"state":1,"values":[Infinity],"datetime_complete":"2023-11-15T07:13:21+09:00"}"#.to_owned(),
        // Finished: nothing of this counts.
        param(1, 0.75, float),
        r#"{"op_code":9,"worker_id":"p","trial_id":1,"system_attr":{"b":1}}"#.to_owned(),
        r#"{"op_code":6,"worker_id":"p","trial_id":1,"state":3,"values":null,"datetime_complete":"2025-01-01T00:00:00+00:00"}"#.to_owned(),
        // A pruned trial has the last report as its value, which is none.
        r#"{"op_code":4,"worker_id":"p","study_id":1,"datetime_start":null,"datetime_complete":"2023-11-14T22:13:20+00:00","state":2,"value":1.5,"values":null,"distributions":{},"params":{},"user_attrs":{},"system_attrs":{},"intermediate_values":{"7":1.5}}"#.to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let found = append(&path, &lines);
    let complete = TrialRecord {
        state: TrialState::Complete,
        params: Params(vec![Assignment {
            name: "x".to_owned(),
            domain: Domain::float(0.0, 1.0, None, false).unwrap(),
            internal: 0.5,
        }]),
        values: vec![f64::INFINITY],
        intermediate: [(3, f64::NEG_INFINITY)].into(),
        user_attrs: Attrs::from([("a".to_owned(), json!(["NaN", "\u{fffd}"]))]),
        started: Some(Timestamp(1_700_000_000_000_001)),
        finished: Some(Timestamp(1_700_000_001_000_000)),
        ..TrialRecord::waiting(0)
    };
    let pruned = TrialRecord {
        state: TrialState::Pruned,
        intermediate: [(7, 1.5)].into(),
        finished: Some(Timestamp(1_700_000_000_000_000)),
        ..TrialRecord::waiting(1)
    };
    assert_eq!(found, [complete, pruned]);
    let storage = JournalStorage::open(&path).unwrap();
    let studies = storage.load_studies().unwrap();
    assert_eq!(studies.len(), 1);
    assert_eq!(studies[0].directions, [Direction::Minimize]);
}

#[test]
fn any_change_of_an_unfinished_trial_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let storage = JournalStorage::open(&path).unwrap();
    storage.create_study(&study("s")).unwrap();
    let moved = |started: Option<i64>| TrialRecord {
        started: started.map(Timestamp),
        ..running(0)
    };
    let mut other_order = running(0);
    other_order.params.0.reverse();
    let mut other_value = other_order.clone();
    other_value.params.0[1].internal = -0.0;
    let mut noted = other_value.clone();
    noted.system_attrs = Attrs::from([("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
    let mut renoted = noted.clone();
    renoted.system_attrs.remove("a");
    let unknown_time = TrialRecord {
        finished: None,
        started: None,
        ..complete(0)
    };
    let changes = [
        moved(None),
        moved(Some(5)),
        moved(Some(6)),
        TrialRecord::waiting(0),
        moved(Some(7)),
        moved(None),
        TrialRecord {
            started: Some(Timestamp(8)),
            ..TrialRecord::waiting(0)
        },
        other_order,
        other_value,
        noted,
        renoted,
        unknown_time,
    ];
    for change in &changes {
        storage.write_trial("s", change).unwrap();
        let again = JournalStorage::open(&path).unwrap();
        for storage in [&storage, &again] {
            assert_eq!(&storage.load_trials("s").unwrap()[0], change);
        }
    }
}

#[test]
fn values_that_optuna_could_not_read_are_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let storage = JournalStorage::open(&path).unwrap();
    storage.create_study(&study("s")).unwrap();
    let before = fs::read(&path).unwrap();
    for values in [vec![f64::NAN], vec![], vec![1.0, 2.0]] {
        let trial = TrialRecord {
            values,
            ..complete(1)
        };
        let (first, claim) = (complete(0), Claim::Alone);
        let writes = [&first, &trial].map(|trial| Write { trial, claim });
        let error = storage.write("s", &writes).unwrap_err();
        assert!(matches!(
            error,
            StorageError::InvalidTrial { number: 1, .. }
        ));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[cfg(unix)]
#[test]
fn the_lock_of_a_dead_process_is_broken_and_that_of_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let lock = lock::beside(&path, ".lock");
    let take = || std::os::unix::fs::symlink("a.journal", &lock);
    let grace = Duration::from_millis(150);
    let storage = JournalStorage::open_with(&path, grace).unwrap();
    let (sender, waited) = std::sync::mpsc::channel();
    storage.on_wait(move |lock| sender.send(lock.to_owned()).unwrap());
    take().unwrap();
    let begun = Instant::now();
    storage.create_study(&study("s")).unwrap();
    assert!(begun.elapsed() >= grace);
    assert_eq!(
        waited.try_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&lock)
    );
    assert!(!lock.is_symlink(), "and ours is gone");

    // Others take turns: every lock is another one.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        take().unwrap();
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
                let next = lock::beside(&lock, ".next");
                std::os::unix::fs::symlink("a.journal", &next).unwrap();
                fs::rename(&next, &lock).unwrap();
            }
        });
        let error = storage.create_study(&study("t")).unwrap_err();
        stop.store(true, Ordering::SeqCst);
        assert!(matches!(error, StorageError::Locked { .. }), "{error}");
        assert!(error.may_pass());
    });
    assert_eq!(storage.load_studies().unwrap(), [study("s")]);
}

#[test]
fn a_lock_that_was_broken_is_not_released_for_its_new_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    fs::write(&path, "").unwrap();
    let short = Duration::from_millis(60);
    let slept = FileLock::acquire(&path, lock::GRACE, |_| ()).unwrap();
    let broke = FileLock::acquire(&path, short, |_| ()).unwrap();
    assert!(!slept.is_held() && broke.is_held());
    drop(slept);
    assert!(broke.is_held());
}

#[test]
fn a_large_journal_opens_fast_and_is_read_on_in_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let storage = JournalStorage::open(&path).unwrap();
    storage.create_study(&study("s")).unwrap();
    let trials: Vec<TrialRecord> = (0..5000).map(complete).collect();
    let claim = Claim::Alone;
    let writes: Vec<Write<'_>> = trials.iter().map(|trial| Write { trial, claim }).collect();
    storage.write("s", &writes).unwrap();
    let begun = Instant::now();
    let again = JournalStorage::open(&path).unwrap();
    let opened = begun.elapsed();
    assert_eq!(again.load_trials("s").unwrap(), trials);
    let begun = Instant::now();
    for _ in 0..10 {
        assert!(again.load_trials_from("s", 5000).unwrap().is_empty());
    }
    assert!(
        begun.elapsed() < opened,
        "only what is new is read: 10 looks took {:?}, opening {opened:?}",
        begun.elapsed()
    );
}
