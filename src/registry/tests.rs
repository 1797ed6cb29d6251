use std::collections::BTreeMap;

use serde_json::json;

use super::gate::Comparison;
use super::*;
use crate::clock::ManualClock;
use crate::study::record::Direction;

fn new_version(content: &str, auc: f64) -> NewVersion {
    NewVersion {
        model: "churn".to_owned(),
        files: vec![
            ("model.json".to_owned(), content.as_bytes().to_vec()),
            ("report/card.md".to_owned(), b"# card".to_vec()),
        ],
        metrics: BTreeMap::from([
            ("roc_auc".to_owned(), auc),
            ("log_loss".to_owned(), 0.41),
            ("ece".to_owned(), f64::NAN),
            ("worst".to_owned(), f64::INFINITY),
        ]),
        primary: Primary {
            metric: "roc_auc".to_owned(),
            direction: Direction::Maximize,
        },
        params: json!({"learner": "gbt", "learning_rate": 0.05}),
        dataset: DatasetRef {
            name: "telco".to_owned(),
            sha256: "16320c9c".to_owned(),
            holdout_sha256: Some("beef".to_owned()),
        },
        study: Some("churn".to_owned()),
        trial: Some(87),
        gate: vec!["roc_auc >= 0.5".parse().unwrap(), Rule::BeatsProduction],
        source: Source {
            automl: "0.1.0".to_owned(),
            seed: Some(u64::MAX),
            host: "box".to_owned(),
            task: "binary classification".to_owned(),
            schema: json!({"columns": 19}),
        },
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let registry = Registry::open(&store)
            .unwrap()
            .with_actor("ada@box")
            .with_clock(Arc::new(ManualClock::default()));
        Fixture { dir, registry }
    }

    /// Registers `n` versions and brings each to production in turn.
    fn with_productions(n: u64) -> Self {
        let fixture = Self::new();
        for v in 1..=n {
            fixture.register(v);
            fixture.go(v, Stage::Staging);
            fixture.go(v, Stage::Production);
        }
        fixture
    }

    fn register(&self, v: u64) {
        let registered = self
            .registry
            .register(&new_version(&format!("model {v}"), 0.8 + v as f64 / 100.0))
            .unwrap();
        assert_eq!((registered.version, registered.created), (v, true));
    }

    fn go(&self, version: u64, to: Stage) -> Moved {
        self.registry
            .promote("churn", version, to, "because", None)
            .unwrap()
    }

    fn stages(&self) -> Vec<Stage> {
        let all = self.registry.list(Some("churn")).unwrap();
        all.iter().map(|v| v.stage).collect()
    }

    fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("store/artifacts").join(path)
    }

    fn run_sql(&self, sql: &str) -> Result<(), DbError> {
        self.registry.store.db().write(|tx| tx.batch(sql))
    }
}

#[test]
fn a_version_comes_back_as_it_was_registered() {
    let f = Fixture::new();
    let new = new_version("bytes", 0.85);
    let registered = f.registry.register(&new).unwrap();
    assert_eq!(
        registered,
        Registered {
            version: 1,
            created: true,
            stage: Stage::Candidate
        }
    );
    let found = f.registry.show("churn", 1).unwrap();
    assert_eq!(found.stage, Stage::Candidate);
    assert!(found.metrics["ece"].is_nan());
    assert_eq!(found.metrics["worst"], f64::INFINITY);
    assert_eq!(found.metrics["roc_auc"], 0.85);
    assert_eq!(found.primary, new.primary);
    assert_eq!(found.params, new.params);
    assert_eq!(found.dataset, new.dataset);
    assert_eq!(found.source, new.source);
    assert_eq!(
        (found.study.as_deref(), found.trial),
        (Some("churn"), Some(87))
    );
    assert_eq!(found.files[0].path, "models/churn/1/model.json");
    assert_eq!(found.files[0].bytes, 5);
    assert_eq!(f.registry.read_file(&found.files[0]).unwrap(), b"bytes");
    assert_eq!(f.registry.models().unwrap(), ["churn"]);
    assert_eq!(f.registry.list(None).unwrap().len(), 1);
    serde_json::to_string(&found).unwrap();
}

#[test]
fn the_same_bytes_are_no_new_version_and_heal_a_lost_file() {
    let f = Fixture::new();
    f.register(1);
    f.register(2);
    f.go(1, Stage::Staging);
    let mut again = new_version("model 1", 0.5);
    again.files.reverse();
    std::fs::write(f.file("models/churn/1/model.json"), "damaged").unwrap();
    std::fs::remove_file(f.file("models/churn/1/report/card.md")).unwrap();
    assert_eq!(
        f.registry.register(&again).unwrap(),
        Registered {
            version: 1,
            created: false,
            stage: Stage::Staging
        }
    );
    assert_eq!(f.registry.list(Some("churn")).unwrap().len(), 2);
    let found = f.registry.show("churn", 1).unwrap();
    assert_eq!(f.registry.read_file(&found.files[0]).unwrap(), b"model 1");
    f.registry.read_file(&found.files[1]).unwrap();
    // Another model may have the same bytes.
    again.model = "other".to_owned();
    assert!(f.registry.register(&again).unwrap().created);
}

#[test]
fn a_registration_that_was_killed_leaves_nothing_in_the_way() {
    let f = Fixture::new();
    f.register(1);
    // What a kill between the files and the transaction leaves: a folder that no version refers to.
    let left = f.file("models/churn/2");
    std::fs::create_dir_all(left.join("old")).unwrap();
    std::fs::write(left.join("model.json"), "half").unwrap();
    std::fs::write(left.join("old/stray"), "x").unwrap();
    assert_eq!(f.registry.list(None).unwrap().len(), 1);
    f.register(2);
    assert_eq!(std::fs::read(left.join("model.json")).unwrap(), b"model 2");
    assert!(!left.join("old").exists());
    f.registry.verify_log().unwrap();
}

#[test]
fn bad_names_and_files_are_refused_before_anything_is_written() {
    let f = Fixture::new();
    for name in [
        "",
        "a/b",
        "..",
        "a@b",
        "a:b",
        ".hidden",
        "ü",
        &"x".repeat(101),
    ] {
        let mut new = new_version("x", 0.8);
        new.model = name.to_owned();
        let error = f.registry.register(&new).unwrap_err();
        assert!(
            matches!(error, RegistryError::ModelName { .. }),
            "{name}: {error}"
        );
    }
    let with_files = |files: &[&str]| {
        let mut new = new_version("x", 0.8);
        new.files = files.iter().map(|n| ((*n).to_owned(), vec![1])).collect();
        f.registry.register(&new).unwrap_err().to_string()
    };
    assert!(with_files(&[]).contains("no files"));
    assert!(with_files(&["a", "a"]).contains("two of its files"));
    assert!(with_files(&["../../automl.db"]).contains("cannot name an artifact"));
    assert!(f.registry.list(None).unwrap().is_empty());
    assert!(f.registry.log(None).unwrap().is_empty());
}

#[test]
fn stages_go_in_order_and_production_is_one() {
    use Stage::{Archived, Candidate, Production, Staging};
    let f = Fixture::new();
    for v in 1..=3 {
        f.register(v);
    }
    let refused = |v: u64, to: Stage, part: &str| {
        let error = f.registry.promote("churn", v, to, "why", None).unwrap_err();
        assert!(matches!(error, RegistryError::NotAllowed { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(1, Production, "staging first");
    refused(1, Candidate, "already");
    f.go(1, Staging);
    refused(1, Candidate, "stages go");
    assert_eq!(f.go(1, Production).replaced, None);
    refused(1, Staging, "stages go");
    f.go(2, Staging);
    f.go(3, Archived);
    let moved = f.go(2, Production);
    assert_eq!((moved.from, moved.replaced), (Staging, Some(1)));
    assert_eq!(f.stages(), [Archived, Production, Archived]);
    refused(1, Production, "rollback churn");
    refused(3, Staging, "rollback churn");
    refused(3, Archived, "already");
    let log = f.registry.log(Some("churn")).unwrap();
    let replaced = log.iter().find(|e| e.action == Action::Replace).unwrap();
    assert_eq!((replaced.version, replaced.to), (1, Some(Archived)));
    assert!(
        replaced.why.contains("replaced by version 2"),
        "{}",
        replaced.why
    );
    // The database itself holds the rule.
    let error = f
        .run_sql("UPDATE registry_versions SET stage = 'production'")
        .unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
    f.registry.verify_log().unwrap();
}

#[test]
fn rollback_walks_back_and_forgets_what_was_rolled_back_from() {
    use Stage::{Archived, Production, Staging};
    let f = Fixture::with_productions(3);
    let moved = f.registry.rollback("churn", "errors").unwrap();
    assert_eq!((moved.version, moved.replaced), (2, Some(3)));
    assert_eq!(f.stages(), [Archived, Production, Archived]);
    assert_eq!(
        f.registry.rollback("churn", "more errors").unwrap().version,
        1
    );
    let error = f.registry.rollback("churn", "x").unwrap_err();
    assert!(matches!(error, RegistryError::NoPrevious { .. }), "{error}");
    assert_eq!(f.stages(), [Production, Archived, Archived]);
    f.register(4);
    f.go(4, Staging);
    f.go(4, Production);
    assert_eq!(f.registry.rollback("churn", "x").unwrap().version, 1);
    f.registry.verify_log().unwrap();
}

#[test]
fn rollback_after_a_withdrawal_returns_to_the_version_before_it() {
    let f = Fixture::with_productions(2);
    f.go(2, Stage::Archived);
    assert!(f.registry.production("churn").unwrap().is_none());
    let moved = f.registry.rollback("churn", "nobody answers").unwrap();
    assert_eq!((moved.version, moved.replaced), (1, None));
    let f = Fixture::new();
    f.register(1);
    assert!(matches!(
        f.registry.rollback("churn", "x").unwrap_err(),
        RegistryError::NoPrevious { .. }
    ));
}

#[test]
fn changed_files_keep_a_version_from_moving() {
    let f = Fixture::with_productions(2);
    f.register(3);
    let before = f.registry.log(None).unwrap().len();
    std::fs::write(f.file("models/churn/1/report/card.md"), "# other").unwrap();
    let error = f.registry.rollback("churn", "x").unwrap_err();
    assert!(
        matches!(error, RegistryError::FilesChanged { version: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("card.md"), "{error}");
    std::fs::remove_file(f.file("models/churn/3/model.json")).unwrap();
    let error = f
        .registry
        .promote("churn", 3, Stage::Staging, "x", None)
        .unwrap_err();
    assert!(error.to_string().contains("model.json"), "{error}");
    assert_eq!(
        f.stages(),
        [Stage::Archived, Stage::Production, Stage::Candidate]
    );
    assert_eq!(f.registry.log(None).unwrap().len(), before);
    f.go(3, Stage::Archived);
}

#[test]
fn a_refusal_is_an_error_with_a_table_and_an_entry_in_the_log() {
    let f = Fixture::new();
    f.register(1);
    f.register(2);
    let record = f.registry.show("churn", 1).unwrap();
    let gate: Gate = serde_saphyr::from_str("- roc_auc >= 0.84\n- log_loss < 0.5").unwrap();
    let report = evaluate(&gate, &record, None, &record.primary);
    assert!(!report.passed);
    let error = f
        .registry
        .promote("churn", 1, Stage::Staging, "study churn", Some(&report))
        .unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r"
    version 1 of model `churn` was not promoted to staging: its gate refused
    rule             value  required  passed  note
    roc_auc >= 0.84   0.81      0.84  no
    log_loss < 0.5    0.41       0.5  yes
    ");
    assert_eq!(f.stages()[0], Stage::Candidate);
    let log = f.registry.log(Some("churn")).unwrap();
    let last = log.last().unwrap();
    assert_eq!(
        (last.action, last.to),
        (Action::Refuse, Some(Stage::Staging))
    );
    assert_eq!(
        last.gates.as_ref().unwrap()["rows"][0]["value"],
        json!(0.81)
    );
    assert_eq!(last.who, "ada@box");
    let error = f
        .registry
        .promote("churn", 2, Stage::Staging, "x", Some(&report))
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::ReportOfAnother { .. }),
        "{error}"
    );
    f.registry.verify_log().unwrap();
}

#[test]
fn gates_are_read_from_yaml() {
    let read = |text: &str| serde_saphyr::from_str::<Gate>(text);
    let rule = |metric: &str, comparison, bound| Rule::Compare {
        metric: metric.to_owned(),
        comparison,
        bound,
    };
    let gate = read("- roc_auc >= 0.84\n- log_loss<=.45\n- ece < 1e-1\n- f1 > 0\n- n == -3\n- beats: production")
        .unwrap();
    assert_eq!(
        gate.rules,
        [
            rule("roc_auc", Comparison::AtLeast, 0.84),
            rule("log_loss", Comparison::AtMost, 0.45),
            rule("ece", Comparison::Below, 0.1),
            rule("f1", Comparison::Above, 0.0),
            rule("n", Comparison::Equal, -3.0),
            Rule::BeatsProduction,
        ]
    );
    assert_eq!(gate.stage, Stage::Staging);
    assert_eq!(read("[]").unwrap(), Gate::default());
    assert_eq!(
        read("stage: production\nrules:\n  - 'beats: production'").unwrap(),
        Gate {
            rules: vec![Rule::BeatsProduction],
            stage: Stage::Production
        }
    );
    for (text, part) in [
        ("- roc_auc 0.84", "`roc_auc 0.84`"),
        ("- roc_auc = 0.84", "none of >="),
        ("- roc_auc >= high", "`high` is not a number"),
        ("- roc_auc >= .nan", "`.nan` is not a number"),
        ("- 0.84 <= roc_auc", "`0.84` is not the name"),
        ("- beats: staging", "not `staging`"),
        ("- beets: production", "`roc_auc >= 0.84`"),
        ("- 0.84", "roc_auc >= 0.84"),
        ("rule:\n  - a > 1", "unknown key `rule`"),
        ("stage: archived\nrules: []", "not to `archived`"),
        ("- beats: production\n  roc_auc: 1", "also has the key"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let json = serde_json::to_string(&gate.rules).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<Rule>>(&json).unwrap(),
        gate.rules
    );
}

#[test]
fn beats_production_compares_only_what_was_measured_on_the_same_rows() {
    let f = Fixture::new();
    for (content, auc) in [("a", 0.84), ("b", 0.85), ("c", 0.84)] {
        f.registry.register(&new_version(content, auc)).unwrap();
    }
    let gate: Gate = serde_saphyr::from_str("- beats: production").unwrap();
    let version = |n| f.registry.show("churn", n).unwrap();
    let check = |version: &VersionRecord, production: Option<&VersionRecord>| {
        let report = evaluate(&gate, version, production, &version.primary);
        (report.passed, report.rows[0].note.clone())
    };
    let (one, two) = (version(1), version(2));
    let (passed, note) = check(&one, None);
    assert!(passed && note.contains("no production version"), "{note}");
    assert!(check(&two, Some(&one)).0);
    assert!(!check(&one, Some(&two)).0);
    assert!(!check(&version(3), Some(&one)).0, "equal does not beat");
    assert!(
        check(&one, Some(&one))
            .1
            .contains("is the production version")
    );
    let smaller = Primary {
        metric: "roc_auc".to_owned(),
        direction: Direction::Minimize,
    };
    assert!(evaluate(&gate, &one, Some(&two), &smaller).passed);
    let mut other = one.clone();
    other.dataset.holdout_sha256 = Some("cafe".to_owned());
    let (passed, note) = check(&two, Some(&other));
    assert!(!passed && note.contains("other held-out rows"), "{note}");
    other.dataset.sha256 = "0".to_owned();
    assert!(check(&two, Some(&other)).1.contains("other data"));
    let mut without = two.clone();
    without.metrics.remove("roc_auc");
    without.metrics.insert("roc_auk".to_owned(), 1.0);
    let (passed, note) = check(&without, Some(&one));
    assert!(!passed && note.contains("did you mean `roc_auk`"), "{note}");
    let (passed, note) = check(&version(3), Some(&without));
    assert!(
        !passed && note.contains("of version 2 was not measured"),
        "{note}"
    );
    let mut nan = two.clone();
    nan.metrics.insert("roc_auc".to_owned(), f64::NAN);
    assert!(!check(&nan, Some(&one)).0);
}

#[test]
fn the_log_cannot_be_changed_from_within() {
    let f = Fixture::with_productions(1);
    for sql in [
        "UPDATE registry_log SET why = 'other' WHERE seq = 1",
        "DELETE FROM registry_log",
    ] {
        let error = f.run_sql(sql).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    let state = f.registry.verify_log().unwrap();
    assert_eq!(state.entries, 3);
    assert_eq!(state.hash, f.registry.log(None).unwrap()[2].hash);
}

#[test]
fn changes_of_the_log_from_without_are_found() {
    for (sql, seq) in [
        ("UPDATE registry_log SET why = 'other' WHERE seq = 2", 2),
        ("UPDATE registry_log SET from_stage = NULL WHERE seq = 3", 3),
        ("UPDATE registry_log SET hash = prev_hash WHERE seq = 1", 1),
        ("DELETE FROM registry_log WHERE seq = 1", 1),
        ("DELETE FROM registry_log WHERE seq = 2", 2),
        ("DELETE FROM registry_log WHERE seq = 3", 3),
        ("UPDATE registry_versions SET stage = 'archived'", 4),
    ] {
        let f = Fixture::with_productions(1);
        f.registry.verify_log().unwrap();
        f.run_sql("DROP TRIGGER registry_log_no_update; DROP TRIGGER registry_log_no_delete")
            .unwrap();
        f.run_sql(sql).unwrap();
        let error = f.registry.verify_log().unwrap_err();
        assert!(
            matches!(error, RegistryError::LogBroken { seq: s, .. } if s == seq),
            "{sql}: {error}"
        );
    }
}

#[test]
fn specs_resolve_to_files_and_say_what_exists() {
    let f = Fixture::with_productions(2);
    f.register(3);
    f.go(3, Stage::Staging);
    f.register(4);
    f.go(4, Stage::Staging);
    for (spec, version) in [
        ("churn@production", 2),
        ("churn@staging", 4),
        ("churn@archived", 1),
        ("churn:3", 3),
        ("churn:v1", 1),
    ] {
        let (record, path) = f.registry.resolve(spec).unwrap();
        assert_eq!(record.version, version, "{spec}");
        assert_eq!(path, f.file(&format!("models/churn/{version}/model.json")));
        assert!(path.is_file());
    }
    for (spec, part) in [
        ("churn@candidate", "churn:2 (production)"),
        ("churn@prod", "candidate, staging, production, archived"),
        ("churn:9", "churn:4 (staging)"),
        ("churn:x", "`churn:3`"),
        ("churn", "`churn@production`"),
        ("chrun@production", "did you mean `churn`?"),
        ("weather:1", "there is churn"),
        ("", "there is no model"),
        ("@", "there is no stage"),
    ] {
        let error = f.registry.resolve(spec).unwrap_err().to_string();
        assert!(error.contains(part), "{spec}: {error}");
    }
    let empty = Fixture::new();
    let error = empty.registry.resolve("churn:1").unwrap_err().to_string();
    assert!(error.contains("none is registered yet"), "{error}");
}

#[test]
fn threads_that_register_at_once_get_numbers_of_their_own() {
    let f = Fixture::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let registry = f.registry.clone();
            scope.spawn(move || {
                for i in 0..3 {
                    // Half of the contents are registered twice.
                    let content = format!("model {i} of {}", thread / 2);
                    registry.register(&new_version(&content, 0.8)).unwrap();
                }
            });
        }
    });
    let all = f.registry.list(Some("churn")).unwrap();
    let numbers: Vec<u64> = all.iter().map(|v| v.version).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    for version in &all {
        for file in &version.files {
            f.registry.read_file(file).unwrap();
        }
    }
    assert_eq!(f.registry.verify_log().unwrap().entries, 6);
}
