//! The contract of [`Storage`] as a test that any implementation can be put through.
//!
//! `conformance::run(|| Box::new(MyStorage::new()))` panics with a sentence about the first rule that is broken.

use std::sync::Barrier;

use serde_json::json;

use crate::clock::Timestamp;

use super::super::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use super::super::space::{Assignment, Domain, Params, Value};
use super::{Claim, Held, Lease, Storage, StorageError, Write, Wrote};

/// Puts the storages that `open` makes through the whole contract. Every call of `open` returns an empty storage.
///
/// # Panics
/// At the first rule that is broken, naming it.
pub fn run(open: impl Fn() -> Box<dyn Storage>) {
    studies_are_kept_in_order(&*open());
    names_are_unique(&*open());
    attributes_are_merged(&*open());
    trials_come_back_equal(&*open());
    an_unfinished_trial_is_replaced_as_a_whole(&*open());
    finished_trials_are_final(&*open());
    numbers_are_dense(&*open());
    unknown_studies_are_named(&*open());
    studies_do_not_mix(&*open());
    reads_are_copies(&*open());
    threads_lose_nothing(&*open());
    one_of_two_claims_holds(&*open());
    a_lapsed_lease_is_taken_over_once(&*open());
    a_refused_write_keeps_no_other_back(&*open());
}

fn study(name: &str) -> StudyRecord {
    StudyRecord {
        name: name.to_owned(),
        directions: vec![Direction::Minimize],
        user_attrs: Attrs::new(),
        system_attrs: Attrs::new(),
    }
}

fn create(storage: &dyn Storage, name: &str) {
    storage
        .create_study(&study(name))
        .expect("a study can be created");
}

fn write(storage: &dyn Storage, name: &str, trial: &TrialRecord) {
    storage
        .write_trial(name, trial)
        .expect("a valid trial can be written");
}

fn trials(storage: &dyn Storage, name: &str) -> Vec<TrialRecord> {
    storage
        .load_trials(name)
        .expect("trials of an existing study can be read")
}

fn complete(number: u64, value: f64) -> TrialRecord {
    TrialRecord {
        state: TrialState::Complete,
        values: vec![value],
        started: Some(Timestamp(1_700_000_000_000_000)),
        finished: Some(Timestamp(1_700_000_001_000_001)),
        ..TrialRecord::waiting(number)
    }
}

/// Equality under which NaN equals itself; zeros are equal whatever their sign, see the contract.
fn assert_same(found: &TrialRecord, expected: &TrialRecord) {
    let strip = |trial: &TrialRecord| {
        let mut trial = trial.clone();
        let reports: Vec<(i64, Option<f64>)> = std::mem::take(&mut trial.intermediate)
            .into_iter()
            .map(|(step, v)| (step, (!v.is_nan()).then_some(v)))
            .collect();
        (trial, reports)
    };
    assert_eq!(
        strip(found),
        strip(expected),
        "a trial comes back as it was written"
    );
}

fn studies_are_kept_in_order(storage: &dyn Storage) {
    assert!(
        storage.load_studies().expect("readable").is_empty(),
        "a new storage is empty"
    );
    assert!(
        storage.load_study("b").expect("readable").is_none(),
        "a study that does not exist is no error"
    );
    let b = StudyRecord {
        directions: vec![Direction::Maximize, Direction::Minimize],
        user_attrs: Attrs::from([("owner".to_owned(), json!({"who": ["ü", null, 1.5]}))]),
        system_attrs: Attrs::from([("seed".to_owned(), json!(42))]),
        ..study("b")
    };
    storage.create_study(&b).expect("a study can be created");
    create(storage, "a");
    assert_eq!(
        storage.load_studies().expect("readable"),
        [b.clone(), study("a")],
        "studies are listed in the order of creation"
    );
    assert_eq!(
        storage.load_study("b").expect("readable"),
        Some(b),
        "a study comes back as it was created"
    );
    assert!(trials(storage, "a").is_empty(), "a new study has no trials");
}

fn names_are_unique(storage: &dyn Storage) {
    create(storage, "s");
    let other = StudyRecord {
        directions: vec![Direction::Maximize],
        ..study("s")
    };
    assert!(
        matches!(storage.create_study(&other), Err(StorageError::StudyExists { name }) if name == "s"),
        "a taken name is StudyExists"
    );
    assert_eq!(
        storage.load_studies().expect("readable"),
        [study("s")],
        "a refused study changes nothing"
    );
}

fn attributes_are_merged(storage: &dyn Storage) {
    create(storage, "s");
    let attrs = |pairs: &[(&str, i64)]| -> Attrs {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), json!(v)))
            .collect()
    };
    for (user, system) in [
        (attrs(&[("a", 1), ("b", 2)]), attrs(&[("x", 1)])),
        (attrs(&[("b", 3)]), attrs(&[])),
        (attrs(&[]), attrs(&[("y", 4)])),
    ] {
        storage
            .annotate_study("s", &user, &system)
            .expect("attributes can be added");
    }
    let found = storage.load_study("s").expect("readable").expect("exists");
    assert_eq!(
        (found.user_attrs, found.system_attrs),
        (attrs(&[("a", 1), ("b", 3)]), attrs(&[("x", 1), ("y", 4)])),
        "attributes of equal name are replaced, others stay"
    );
}

/// One parameter of every kind, not in alphabetical order.
fn all_params() -> Params {
    let domain = |d: Result<Domain, super::super::space::SpaceError>| d.expect("a valid domain");
    let choices = [
        Value::Null,
        Value::Bool(true),
        Value::Int(1),
        Value::Float(1.0),
        Value::Float(-2.5e-300),
        Value::Str("a \"quoted\" wörd\n".to_owned()),
    ];
    let assign = |name: &str, domain: Domain, internal: f64| Assignment {
        name: name.to_owned(),
        domain,
        internal,
    };
    Params(vec![
        assign(
            "z",
            domain(Domain::float(-1.0, 1.0, None, false)),
            0.1 + 0.2,
        ),
        assign("lr", domain(Domain::float(1e-5, 1.0, None, true)), 1e-5),
        assign(
            "grid",
            domain(Domain::float(0.0, 1.0, Some(0.1), false)),
            0.7,
        ),
        assign("depth", domain(Domain::int(-3, 30, 3, false)), 27.0),
        assign("leaves", domain(Domain::int(1, 1 << 40, 1, true)), 1e6),
        assign("kind", domain(Domain::categorical(choices)), 5.0),
        assign("a", domain(Domain::categorical(["only"])), 0.0),
    ])
}

fn trials_come_back_equal(storage: &dyn Storage) {
    create(storage, "s");
    let mut all = vec![
        TrialRecord {
            system_attrs: Attrs::from([(
                "fixed_params".to_owned(),
                json!({"z": 0.5, "kind": null}),
            )]),
            ..TrialRecord::waiting(0)
        },
        TrialRecord {
            state: TrialState::Running,
            params: all_params(),
            started: Some(Timestamp(1_700_000_000_123_456)),
            ..TrialRecord::waiting(1)
        },
        TrialRecord {
            params: all_params(),
            intermediate: [
                (-5, f64::NAN),
                (0, f64::INFINITY),
                (1, f64::NEG_INFINITY),
                (7, -0.0),
                (i64::from(i32::MAX), 1e-320),
            ]
            .into(),
            user_attrs: Attrs::from([
                (
                    "folds".to_owned(),
                    json!([0.8, 0.25, 1e-300, 12345678901234567_i64]),
                ),
                ("empty".to_owned(), json!(null)),
                ("".to_owned(), json!({"nested": {"deep": [true, "…"]}})),
            ]),
            ..complete(2, f64::MIN_POSITIVE)
        },
        TrialRecord {
            state: TrialState::Pruned,
            intermediate: [(3, 0.5)].into(),
            values: Vec::new(),
            ..complete(3, 0.0)
        },
        TrialRecord {
            state: TrialState::Fail,
            values: Vec::new(),
            system_attrs: Attrs::from([("fail_reason".to_owned(), json!("it broke"))]),
            ..complete(4, 0.0)
        },
    ];
    for (i, value) in [f64::INFINITY, f64::NEG_INFINITY, -0.0, 1.0 / 3.0, f64::MAX]
        .into_iter()
        .enumerate()
    {
        all.push(complete(5 + i as u64, value));
    }
    for trial in &all {
        write(storage, "s", trial);
    }
    let found = trials(storage, "s");
    assert_eq!(found.len(), all.len(), "every trial is listed once");
    for (found, expected) in found.iter().zip(&all) {
        assert_same(found, expected);
    }
}

fn an_unfinished_trial_is_replaced_as_a_whole(storage: &dyn Storage) {
    create(storage, "s");
    let mut trial = TrialRecord::waiting(0);
    trial.user_attrs.insert("old".to_owned(), json!(1));
    write(storage, "s", &trial);
    trial.state = TrialState::Running;
    trial.params = all_params();
    trial.started = Some(Timestamp(5));
    trial.intermediate.insert(0, 1.0);
    write(storage, "s", &trial);
    assert_same(&trials(storage, "s")[0], &trial);
    let fewer = TrialRecord {
        params: Params(all_params().0.split_off(5)),
        user_attrs: Attrs::from([("new".to_owned(), json!(2))]),
        ..complete(0, 0.5)
    };
    write(storage, "s", &fewer);
    let found = trials(storage, "s");
    assert_eq!(
        found.len(),
        1,
        "writing an unfinished trial again adds none"
    );
    assert_same(&found[0], &fewer);
}

fn finished_trials_are_final(storage: &dyn Storage) {
    create(storage, "s");
    for (number, state) in [TrialState::Complete, TrialState::Pruned, TrialState::Fail]
        .into_iter()
        .enumerate()
    {
        let mut trial = complete(number as u64, 1.0);
        if state != TrialState::Complete {
            trial.state = state;
            trial.values.clear();
        }
        write(storage, "s", &trial);
        for other in [complete(trial.number, 2.0), trial.clone()] {
            assert!(
                matches!(
                    storage.write_trial("s", &other),
                    Err(StorageError::TrialFinished { study, number })
                        if study == "s" && number == trial.number
                ),
                "a finished trial cannot be written again"
            );
        }
        assert_same(&trials(storage, "s")[number], &trial);
    }
}

fn numbers_are_dense(storage: &dyn Storage) {
    create(storage, "s");
    let gap = |number: u64, next: u64| {
        assert!(
            matches!(
                storage.write_trial("s", &complete(number, 0.0)),
                Err(StorageError::NumberGap { number: n, next: x, .. }) if n == number && x == next
            ),
            "a number that leaves a hole is NumberGap and names the next one"
        );
    };
    gap(1, 0);
    assert!(
        trials(storage, "s").is_empty(),
        "a refused trial is not kept"
    );
    write(storage, "s", &complete(0, 0.0));
    gap(2, 1);
    write(storage, "s", &TrialRecord::waiting(1));
    write(storage, "s", &TrialRecord::waiting(2));
    // Finishing out of order is what parallel trials do.
    write(storage, "s", &complete(2, 2.0));
    write(storage, "s", &complete(1, 1.0));
    let numbers: Vec<u64> = trials(storage, "s").iter().map(|t| t.number).collect();
    assert_eq!(numbers, [0, 1, 2], "trials are listed by number");
}

fn unknown_studies_are_named(storage: &dyn Storage) {
    let named = |result: Result<(), StorageError>| {
        assert!(
            matches!(result, Err(StorageError::NoStudy { name }) if name == "nobody"),
            "an unknown study is NoStudy"
        );
    };
    named(storage.annotate_study("nobody", &Attrs::new(), &Attrs::new()));
    named(storage.load_trials("nobody").map(drop));
    named(storage.write_trial("nobody", &TrialRecord::waiting(0)));
    assert!(
        storage.load_studies().expect("readable").is_empty(),
        "a refused write creates no study"
    );
}

fn studies_do_not_mix(storage: &dyn Storage) {
    for name in ["a", "b"] {
        create(storage, name);
    }
    for number in 0..3 {
        for (name, value) in [("a", 1.0), ("b", 2.0)] {
            let mut trial = complete(number, value);
            trial.user_attrs.insert("of".to_owned(), json!(name));
            write(storage, name, &trial);
        }
    }
    for (name, value) in [("a", 1.0), ("b", 2.0)] {
        let found = trials(storage, name);
        assert_eq!(found.len(), 3, "numbers count within a study");
        for trial in found {
            assert_eq!(
                (trial.value(), &trial.user_attrs["of"]),
                (Some(value), &json!(name)),
                "a trial stays in its study"
            );
        }
    }
}

fn reads_are_copies(storage: &dyn Storage) {
    create(storage, "s");
    write(storage, "s", &TrialRecord::waiting(0));
    let before = trials(storage, "s");
    write(storage, "s", &complete(0, 1.0));
    write(storage, "s", &complete(1, 1.0));
    assert_eq!(
        before,
        [TrialRecord::waiting(0)],
        "a later write does not change what was read"
    );
}

/// Threads race for the next number: exactly one gets each, the others are told.
fn threads_lose_nothing(storage: &dyn Storage) {
    const THREADS: usize = 4;
    const EACH: usize = 10;
    create(storage, "s");
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..EACH {
                    let mut number = trials(storage, "s").len() as u64;
                    loop {
                        match storage.write_trial("s", &complete(number, number as f64)) {
                            Ok(()) => break,
                            Err(StorageError::TrialFinished { .. }) => number += 1,
                            Err(other) => {
                                panic!("a race for a number is TrialFinished, not: {other}")
                            }
                        }
                    }
                }
            });
        }
    });
    let found = trials(storage, "s");
    assert_eq!(found.len(), THREADS * EACH, "no write is lost");
    for (number, trial) in found.iter().enumerate() {
        assert_same(trial, &complete(number as u64, number as f64));
    }
}

fn lease(owner: &str, token: u64) -> Lease {
    Lease {
        owner: owner.to_owned(),
        token,
        seconds: 60.0,
    }
}

fn running(number: u64) -> TrialRecord {
    TrialRecord {
        state: TrialState::Running,
        params: all_params(),
        started: Some(Timestamp(1_700_000_000_000_000)),
        ..TrialRecord::waiting(number)
    }
}

fn begin(storage: &dyn Storage, number: u64, lease: &Lease, over: Option<&Lease>) -> Wrote {
    let claim = Claim::Begin { lease, over };
    claimed(storage, &running(number), claim)
}

fn claimed(storage: &dyn Storage, trial: &TrialRecord, claim: Claim<'_>) -> Wrote {
    let wrote = storage.write("s", &[Write { trial, claim }]);
    wrote.expect("a claim is answered")[0]
}

fn leases(storage: &dyn Storage) -> Vec<Held> {
    storage.leases("s").expect("readable")
}

fn one_of_two_claims_holds(storage: &dyn Storage) {
    create(storage, "s");
    let (a, b) = (lease("a", 1), lease("b", 1));
    for (who, expected) in [(&a, Wrote::Done), (&b, Wrote::Refused), (&a, Wrote::Done)] {
        let wrote = begin(storage, 0, who, None);
        assert_eq!(
            wrote, expected,
            "the first claim holds, and may be repeated"
        );
    }
    assert_same(&trials(storage, "s")[0], &running(0));
    let held = leases(storage);
    assert_eq!((held.len(), held[0].number), (1, 0), "one lease per trial");
    assert_eq!(held[0].lease, a, "a lease comes back as it was taken");
    assert!(
        (-1.0..30.0).contains(&held[0].age) && !held[0].has_lapsed(),
        "a new lease is young"
    );
    let done = complete(0, 0.5);
    for (who, expected) in [(&b, Wrote::Refused), (&a, Wrote::Done), (&a, Wrote::Done)] {
        let wrote = claimed(storage, &done, Claim::End(who));
        assert_eq!(wrote, expected, "only the holder ends a trial");
    }
    let later = TrialRecord {
        finished: Some(Timestamp(1_700_000_009_000_000)),
        ..complete(0, 0.7)
    };
    assert_eq!(
        claimed(storage, &later, Claim::End(&a)),
        Wrote::Refused,
        "a finished trial does not end again"
    );
    assert_eq!(begin(storage, 0, &b, None), Wrote::Refused);
    assert_same(&trials(storage, "s")[0], &done);
    assert!(leases(storage).is_empty(), "a lease ends with its trial");
    write(storage, "s", &TrialRecord::waiting(1));
    assert_eq!(
        begin(storage, 1, &b, None),
        Wrote::Done,
        "what waits begins"
    );
    // A process that runs the study alone leaves no lease.
    write(storage, "s", &running(2));
    assert_eq!(begin(storage, 2, &b, Some(&a)), Wrote::Refused);
    assert_eq!(begin(storage, 2, &b, None), Wrote::Done);
    write(storage, "s", &running(2));
    assert_eq!(leases(storage).len(), 1, "and it ends one that there is");
    // Another program knows of no leases, and of parameters one after the other.
    let theirs = TrialRecord {
        params: Params::default(),
        ..running(3)
    };
    write(storage, "s", &theirs);
    assert_eq!(
        begin(storage, 3, &b, None),
        Wrote::Refused,
        "a trial with other parameters was begun by another program"
    );
    assert_same(&trials(storage, "s")[3], &theirs);
}

fn a_lapsed_lease_is_taken_over_once(storage: &dyn Storage) {
    create(storage, "s");
    let (a, b, c) = (lease("a", 1), lease("b", 2), lease("c", 2));
    begin(storage, 0, &a, None);
    let renew = |who: &Lease| {
        let lost = storage.renew("s", &[(0, who.clone()), (7, who.clone())]);
        lost.expect("answered")
    };
    assert_eq!(
        renew(&a),
        [7],
        "what is held is renewed, what is not is told"
    );
    assert_eq!(leases(storage)[0].beat, 1, "every renewal counts");
    for (who, expected) in [(&b, Wrote::Done), (&c, Wrote::Refused)] {
        let wrote = begin(storage, 0, who, Some(&a));
        assert_eq!(wrote, expected, "of two that take over one does");
    }
    assert_eq!(leases(storage)[0].lease, b);
    assert_eq!(renew(&a), [0, 7], "the earlier holder learns of it");
    let wrote = claimed(storage, &complete(0, 1.0), Claim::End(&a));
    assert_eq!(wrote, Wrote::Refused, "and its result does not count");
    assert_same(&trials(storage, "s")[0], &running(0));
    let wrote = claimed(storage, &complete(0, 2.0), Claim::End(&b));
    assert_eq!(wrote, Wrote::Done);
    assert_same(&trials(storage, "s")[0], &complete(0, 2.0));
}

fn a_refused_write_keeps_no_other_back(storage: &dyn Storage) {
    create(storage, "s");
    let (a, b) = (lease("a", 1), lease("b", 1));
    begin(storage, 0, &a, None);
    let new: Vec<TrialRecord> = (0..4).map(running).collect();
    let claim = Claim::Begin {
        lease: &b,
        over: None,
    };
    let writes: Vec<Write<'_>> = new.iter().map(|trial| Write { trial, claim }).collect();
    let wrote = storage.write("s", &writes).expect("answered");
    assert_eq!(wrote[0], Wrote::Refused);
    assert_eq!(wrote[1..], [Wrote::Done; 3], "several trials begin at once");
    let from = storage.load_trials_from("s", 2).expect("readable");
    let numbers: Vec<u64> = from.iter().map(|t| t.number).collect();
    assert_eq!(numbers, [2, 3], "trials are read from a number on");
    write(storage, "s", &complete(2, 0.0));
    let known = [TrialState::Running, TrialState::Running];
    let changed = storage.load_changed("s", 1, &known).expect("readable");
    let numbers: Vec<u64> = changed.iter().map(|t| t.number).collect();
    assert_eq!(numbers, [2, 3], "those that changed and those that are new");
    assert_same(&changed[0], &complete(2, 0.0));
    let none = storage.load_trials_from("s", 9).expect("readable");
    assert!(none.is_empty(), "there may be none");
    let gap = [running(4), running(6)];
    let writes: Vec<Write<'_>> = gap.iter().map(|trial| Write { trial, claim }).collect();
    let refused = storage.write("s", &writes);
    assert!(matches!(refused, Err(StorageError::NumberGap { .. })));
    assert_eq!(
        trials(storage, "s").len(),
        4,
        "an error undoes all of a call"
    );
}
