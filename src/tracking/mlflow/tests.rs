//! The sender against a small server that fails on purpose: at every request, before and after its effect.

mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::json;

use super::background::{Left, Pace, left};
use super::client::{Client, Limits};
use super::run::{ModelFacts, RunStatus};
use super::{Background, Ending, MlflowError, Sender, Target, address, file, spool};
use crate::clock::Timestamp;
use crate::learn::import::{Options, import};
use crate::study::record::{Attrs, Direction, StudyRecord, TrialRecord, TrialState};
use crate::study::{Budget, Study};
use crate::tracking::Store;
use server::{Fault, Server};

const ENDING: Ending = Ending {
    status: RunStatus::Finished,
    ended: Some(Timestamp(9_000_000_000)),
};

fn quick() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        call: Duration::from_millis(400),
        upload: Duration::from_millis(400),
    }
}

fn trial(number: u64) -> TrialRecord {
    let mut trial = TrialRecord::waiting(number);
    trial.state = match number % 5 {
        3 => TrialState::Pruned,
        4 => TrialState::Fail,
        _ => TrialState::Complete,
    };
    if trial.state == TrialState::Complete {
        trial.values.push(number as f64 / 7.0);
    }
    trial.user_attrs.insert("learner".to_owned(), json!("gbt"));
    trial
        .user_attrs
        .insert("folds".to_owned(), json!([0.25, 0.5]));
    trial.started = Some(Timestamp(1_000_000_000 + number as i64 * 1_000_000));
    trial.finished = trial.started.map(|t| Timestamp(t.0 + 500_000));
    trial
}

/// A store with a study `churn` of so many finished trials that goes to the server.
fn store(folder: &Path, server: &str, trials: u64) -> Store {
    let store = Store::open(folder).unwrap();
    let storage = store.storage();
    let user_attrs = Attrs::from([
        ("metric".to_owned(), json!("roc_auc")),
        ("dataset".to_owned(), json!("telco")),
        ("dataset_sha256".to_owned(), json!("ab".repeat(32))),
    ]);
    storage
        .create_study(&StudyRecord {
            name: "churn".to_owned(),
            directions: vec![Direction::Maximize],
            user_attrs,
            system_attrs: Attrs::from([("automl:seed".to_owned(), json!(7))]),
        })
        .unwrap();
    for number in 0..trials {
        storage.write_trial("churn", &trial(number)).unwrap();
    }
    note(&store, server);
    store
}

fn note(store: &Store, server: &str) {
    let target = Target {
        server: address(server).unwrap(),
        experiment: "churn".to_owned(),
    };
    spool::note(store.db(), "churn", &target, Some(ENDING)).unwrap();
}

/// A version of the study, its file in the store.
fn model(store: &Store, stage: &str) -> ModelFacts {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/imports/lightgbm_binary.txt");
        let pipeline = import(&std::fs::read(golden).unwrap(), None, &Options::default()).unwrap();
        pipeline.save().unwrap()
    });
    let file = store.artifacts().write("models/churn/1/model.json", bytes);
    ModelFacts {
        model: "churn".to_owned(),
        version: 1,
        stage: stage.to_owned(),
        trial: Some(2),
        created: Timestamp(8_000_000_000),
        metrics: BTreeMap::from([("roc_auc".to_owned(), 0.75)]),
        params: json!({"learner": "gbt", "hyperparameters": {"max_depth": 3}}),
        file: file.unwrap(),
    }
}

fn send(store: &Store, models: &[ModelFacts]) -> Result<usize, MlflowError> {
    let study = store.storage().load_study("churn")?.unwrap();
    let trials = store.storage().load_trials("churn")?;
    let mut sender = Sender::open(store, "churn", quick())?;
    sender.send_all(&study, &trials, models, ENDING, &mut |_| {})
}

/// The server has the study once and whole: one parent, one run per trial with everything in it, one version.
fn check_whole(server: &Server, trials: u64, versions: usize) {
    let state = server.state.lock().unwrap();
    let [parent] = state.parents()[..] else {
        panic!("{} parents", state.parents().len())
    };
    assert_eq!(parent.status, "FINISHED");
    assert_eq!(parent.ended, Some(9_000_000));
    assert_eq!(parent.params["seed"], "7");
    assert_eq!(parent.inputs.len(), 1);
    let mut numbers: Vec<u64> = Vec::new();
    for run in state.nested() {
        let number: u64 = run.tags["automl.trial"].parse().unwrap();
        numbers.push(number);
        assert_eq!(run.tags["mlflow.parentRunId"], parent.id);
        assert_eq!(run.tags["automl.study"], "churn");
        assert_eq!(run.params["learner"], "gbt");
        let folds = run.metrics.iter().filter(|m| m.0 == "roc_auc_fold");
        assert_eq!(folds.count(), 2, "trial {number}");
        let status = ["FINISHED", "FINISHED", "FINISHED", "KILLED", "FAILED"][number as usize % 5];
        assert_eq!(run.status, status, "trial {number}");
        assert_eq!(run.started, 1_000_000 + number as i64 * 1000);
        assert_eq!(run.ended, Some(run.started + 500));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..trials).collect::<Vec<_>>());
    assert_eq!(state.versions.len(), versions);
    assert_eq!(state.models.len(), versions);
    for (version, model) in state.versions.iter().zip(&state.models) {
        assert_eq!(version.source, format!("models:/{}", model.id));
        assert_eq!(
            (&version.name, &version.run),
            (&"churn".to_owned(), &parent.id)
        );
        assert_eq!(version.tags["automl.version"], "1");
        assert_eq!(model.status, "LOGGED_MODEL_READY");
        for name in [
            "MLmodel",
            "model.onnx",
            "model.json",
            "code/automl_pyfunc.py",
            "requirements.txt",
            "conda.yaml",
            "python_env.yaml",
        ] {
            let path = format!("1/models/{}/artifacts/{name}", model.id);
            assert!(state.files.contains_key(&path), "{path}");
        }
    }
}

#[test]
fn everything_is_sent_once_and_a_second_time_nothing() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    let store = store(dir.path(), &server.url, 45);
    let models = [model(&store, "staging")];
    assert_eq!(left(&store, "churn", &models).unwrap().trials, 45);
    assert_eq!(send(&store, &models).unwrap(), 45);
    check_whole(&server, 45, 1);
    assert!(left(&store, "churn", &models).unwrap().is_nothing());
    {
        let state = server.state.lock().unwrap();
        let aliases: Vec<_> = state.aliases.iter().collect();
        let key = ("churn".to_owned(), "challenger".to_owned());
        assert_eq!(aliases, [(&key, &"1".to_owned())]);
        assert_eq!(state.versions[0].stage, "Staging");
    }

    server.heal();
    assert_eq!(send(&store, &models).unwrap(), 0);
    {
        // Only whether the run is still there.
        let state = server.state.lock().unwrap();
        let asked = state.requests.iter();
        let asked: Vec<&str> = asked.map(|(method, ..)| method.as_str()).collect();
        assert_eq!(asked, ["GET", "GET"]);
    }

    // A promotion moves stage and alias and sends no file again.
    let promoted = [ModelFacts {
        stage: "production".to_owned(),
        ..models[0].clone()
    }];
    assert_eq!(left(&store, "churn", &promoted).unwrap().models, 1);
    send(&store, &promoted).unwrap();
    check_whole(&server, 45, 1);
    let state = server.state.lock().unwrap();
    assert_eq!(state.versions[0].stage, "Production");
    let aliases: Vec<&str> = state
        .aliases
        .keys()
        .map(|(_, alias)| alias.as_str())
        .collect();
    assert_eq!(aliases, ["champion"]);
    assert!(!state.requests.iter().any(|(method, ..)| method == "PUT"));
}

/// Kills the sender at its n-th request, before the request has its effect and after it, for every n: what is in the store at
/// that moment is taken up by another sender.
#[test]
fn a_sender_that_is_killed_at_any_request_loses_and_doubles_nothing() {
    let clean = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let whole = store(dir.path(), &clean.url, 2);
    clean.heal();
    send(&whole, &[model(&whole, "production")]).unwrap();
    let requests = clean.state.lock().unwrap().requests.len();
    assert!(requests > 25, "{requests}");

    for at in 0..requests {
        for before in [true, false] {
            let server = Server::start();
            let dir = tempfile::tempdir().unwrap();
            let (folder, copy) = (dir.path().join("store"), dir.path().join("copy"));
            let first = store(&folder, &server.url, 2);
            let models = vec![model(&first, "production")];
            let (reached, frozen) = channel();
            let (release, released) = channel::<()>();
            let mut freeze = Some(Box::new(move || {
                reached.send(()).unwrap();
                let _ = released.recv_timeout(Duration::from_secs(20));
            }) as Box<dyn FnOnce() + Send>);
            server.plan(move |n, _| match n == at {
                true => freeze.take().map(|f| Fault::Freeze(before, f)),
                false => None,
            });
            let sending = {
                let (first, models) = (first.clone(), models.clone());
                std::thread::spawn(move || send(&first, &models))
            };
            frozen.recv_timeout(Duration::from_secs(20)).unwrap();
            copy_folder(&folder, &copy);
            release.send(()).unwrap();
            assert!(sending.join().unwrap().is_err(), "request {at}");
            server.heal();
            let second = Store::open(&copy).unwrap();
            send(&second, &models).unwrap_or_else(|e| panic!("after request {at}: {e}"));
            check_whole(&server, 2, 1);
            assert!(left(&second, "churn", &models).unwrap().is_nothing());
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn failures_of_every_kind_only_leave_more_to_send() {
    for kind in 0..5 {
        let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
        let store = store(dir.path(), &server.url, 3);
        let models = [model(&store, "candidate")];
        // Every eighth request or so fails, without a pattern; whoever tries again comes through.
        server.plan(move |n, _| {
            let odd = crate::fsio::sha256(format!("{kind} {n}").as_bytes());
            odd.starts_with(['0', '1']).then(|| match kind {
                0 => Fault::Status(500),
                1 => Fault::Status(429),
                2 => Fault::Lost,
                3 => Fault::Unanswered,
                _ => Fault::Hang(Duration::from_millis(600)),
            })
        });
        let mut tries = 0;
        while let Err(error) = send(&store, &models) {
            assert!(error.is_temporary(), "{error}");
            tries += 1;
            assert!(tries < 200, "kind {kind}: {error}");
        }
        assert!(tries > 1, "kind {kind}: {tries}");
        check_whole(&server, 3, 1);
    }
}

#[test]
fn a_run_that_comes_after_it_was_given_up_is_taken_away() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    let store = store(dir.path(), &server.url, 3);
    let mut created = 0;
    server.plan(move |_, path| {
        created += i32::from(path.ends_with("runs/create"));
        // The parent comes first.
        (created == 2).then(|| {
            created += 1;
            Fault::Late(Duration::from_millis(300))
        })
    });
    let mut failed = 0;
    while send(&store, &[]).is_err() {
        failed += 1;
        assert!(failed < 20);
    }
    assert!(failed > 0);
    std::thread::sleep(Duration::from_millis(800));
    let all = server.state.lock().unwrap().runs.len();
    assert!(all > 4, "{all} runs: nothing came late");
    server.heal();
    send(&store, &[]).unwrap();
    check_whole(&server, 3, 0);
}

#[test]
fn a_trial_that_is_refused_does_not_hold_up_the_others() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    let store = store(dir.path(), &server.url, 4);
    let mut odd = trial(4);
    odd.user_attrs
        .insert("learner".to_owned(), json!("refuse me"));
    store.storage().write_trial("churn", &odd).unwrap();
    assert_eq!(send(&store, &[]).unwrap(), 4);
    let left = left(&store, "churn", &[]).unwrap();
    assert_eq!((left.trials, left.refused, left.study), (1, 1, false));
    assert!(left.why.unwrap().contains("log-batch"));
}

#[test]
fn a_server_that_was_emptied_gets_everything_again_and_a_deleted_run_is_left_alone() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    let store = store(dir.path(), &server.url, 5);
    let models = [model(&store, "candidate")];
    send(&store, &models).unwrap();
    *server.state.lock().unwrap() = server::State::default();
    store.storage().write_trial("churn", &trial(5)).unwrap();
    send(&store, &models).unwrap();
    check_whole(&server, 6, 1);

    store.storage().write_trial("churn", &trial(6)).unwrap();
    let parent = server.state.lock().unwrap().parents()[0].id.clone();
    for run in &mut server.state.lock().unwrap().runs {
        run.deleted |= run.id == parent;
    }
    let error = send(&store, &models).unwrap_err().to_string();
    assert!(
        error.contains("was deleted in MLflow") && error.contains("mlflow runs restore"),
        "{error}"
    );
    assert_eq!(server.state.lock().unwrap().nested().len(), 6);
}

#[test]
fn a_server_from_before_logged_models_gets_the_model_with_the_run() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    let store = store(dir.path(), &server.url, 1);
    server.state.lock().unwrap().old = true;
    send(&store, &[model(&store, "production")]).unwrap();
    let state = server.state.lock().unwrap();
    let parent = &state.parents()[0].id;
    assert!(
        state
            .files
            .contains_key(&format!("1/{parent}/artifacts/model/MLmodel"))
    );
    let source = &state.versions[0].source;
    assert_eq!(
        *source,
        format!("mlflow-artifacts:/1/{parent}/artifacts/model")
    );
}

#[test]
fn credentials_go_with_every_request_and_into_no_message() {
    let server = Server::start();
    let client = Client::with_authorization(&server.url, quick(), Some("Bearer s3cret".to_owned()));
    client.experiment("churn").unwrap();
    for (_, path, authorization) in &server.state.lock().unwrap().requests {
        assert_eq!(authorization.as_deref(), Some("Bearer s3cret"), "{path}");
    }
    server.plan(|_, _| Some(Fault::Status(401)));
    let error = client.experiment("churn").unwrap_err();
    assert!(!error.is_temporary());
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("MLFLOW_TRACKING_TOKEN") && !text.contains("s3cret"),
        "{text}"
    );
}

#[test]
fn addresses_are_checked_and_passwords_in_them_not_repeated() {
    assert_eq!(address("http://host:5000/").unwrap(), "http://host:5000");
    assert_eq!(
        address("https://host/mlflow").unwrap(),
        "https://host/mlflow"
    );
    for wrong in [
        "host:5000",
        "file:///mlruns",
        "sqlite:///mlflow.db",
        "http://",
        "http:///x",
        "http://h?x=1",
    ] {
        assert!(address(wrong).is_err(), "{wrong}");
    }
    let file = address("file:./mlruns").unwrap_err().to_string();
    assert!(file.contains("automl export mlflow"), "{file}");
    for secret in [
        "http://me:s3cret@host:5000",
        "ftp://me:s3cret@host",
        "me:s3cret@host",
    ] {
        let error = address(secret).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

fn pace() -> Pace {
    Pace {
        limits: quick(),
        gather: Duration::from_millis(5),
        backoff: Duration::from_millis(20),
        mailbox: 10,
        silence: Duration::from_millis(1500),
        farewell: Duration::from_secs(20),
    }
}

/// Runs a real study of quick trials beside the server: what is left, and how long the trials and the end took.
fn study_beside(dir: &Path, url: &str, trials: u64) -> (Left, Duration, Duration) {
    let store = Store::open(dir).unwrap();
    let mut study = Study::builder("churn")
        .storage(store.storage())
        .seed(1)
        .open()
        .unwrap();
    let target = Target {
        server: url.to_owned(),
        experiment: "x".to_owned(),
    };
    let behind = !study.trials().is_empty();
    let background = Background::start(&store, "churn", &target, behind, pace()).unwrap();
    study.observe(background.observer());
    let begun = Instant::now();
    study
        .optimize(Budget::trials(trials), |trial| {
            Ok(trial.float("x", 0.0..=1.0).uniform()?)
        })
        .unwrap();
    let took = begun.elapsed();
    let begun = Instant::now();
    let left = background.finish(ENDING, Vec::new()).unwrap();
    (left, took, begun.elapsed())
}

#[test]
fn a_study_sends_its_trials_while_it_runs_and_the_rest_at_its_end() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    let (left, ..) = study_beside(dir.path(), &server.url, 60);
    assert!(left.is_nothing(), "{left:?}");
    assert!(left.page.unwrap().contains("/#/experiments/1/runs/r0"));
    {
        let state = server.state.lock().unwrap();
        assert_eq!((state.parents().len(), state.nested().len()), (1, 60));
    }
    // Continued, it is the same run.
    let (left, ..) = study_beside(dir.path(), &server.url, 70);
    assert!(left.is_nothing(), "{left:?}");
    let state = server.state.lock().unwrap();
    assert_eq!((state.parents().len(), state.nested().len()), (1, 70));
    assert_eq!(state.parents()[0].status, "FINISHED");
}

#[test]
fn a_server_that_hangs_or_is_gone_slows_and_fails_nothing() {
    let alone = tempfile::tempdir().unwrap();
    let store = Store::open(alone.path()).unwrap();
    let mut study = Study::builder("churn")
        .storage(store.storage())
        .seed(1)
        .open()
        .unwrap();
    let begun = Instant::now();
    study
        .optimize(Budget::trials(60), |trial| {
            Ok(trial.float("x", 0.0..=1.0).uniform()?)
        })
        .unwrap();
    let without = begun.elapsed();

    let hangs = Server::start();
    hangs.plan(|_, _| Some(Fault::Hang(Duration::from_secs(30))));
    // Nobody listens there.
    let gone = "http://127.0.0.1:9".to_owned();
    for url in [hangs.url.clone(), gone] {
        let dir = tempfile::tempdir().unwrap();
        let (left, took, ending) = study_beside(dir.path(), &url, 60);
        assert_eq!((left.trials, left.study), (60, true), "{url}");
        assert!(left.why.is_some(), "{url}");
        assert!(
            took < without * 3 + Duration::from_secs(2),
            "{took:?} beside {without:?}"
        );
        assert!(ending < Duration::from_secs(4), "{ending:?}");
        // Later everything is there, once.
        let server = Server::start();
        let store = Store::open(dir.path()).unwrap();
        // The thread of the study gives its lock back when its last call has ended.
        let begun = Instant::now();
        note(&store, &server.url);
        while let Err(error) = send(&store, &[]) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(server.state.lock().unwrap().nested().len(), 60);
    }
}

#[test]
fn more_trials_than_the_mailbox_holds_are_read_from_the_store() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
    // Far more trials end while it fails than wait in memory; it fails once, since the end is a second try and the last.
    let mut first = true;
    server.plan(move |_, _| std::mem::take(&mut first).then_some(Fault::Status(503)));
    let trials = 60;
    let (left, ..) = study_beside(dir.path(), &server.url, trials);
    assert!(left.is_nothing(), "{left:?}");
    let state = server.state.lock().unwrap();
    assert_eq!(
        (state.parents().len(), state.nested().len() as u64),
        (1, trials)
    );
}

mod in_a_file {
    use super::*;
    use file::{Exported, REVISION, write};
    use rusqlite::Connection;

    fn exported(store: &Store, models: Vec<ModelFacts>) -> Exported {
        Exported {
            study: store.storage().load_study("churn").unwrap().unwrap(),
            trials: store.storage().load_trials("churn").unwrap(),
            models,
            ending: ENDING,
        }
    }

    fn count(conn: &Connection, sql: &str) -> i64 {
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_tables_hold_what_the_runs_say() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("store"), "http://h", 10);
        let mut odd = trial(10);
        odd.values = vec![f64::INFINITY];
        odd.intermediate.insert(1, f64::NAN);
        store.storage().write_trial("churn", &odd).unwrap();
        let (out, artifacts) = (dir.path().join("mlflow.db"), dir.path().join("a b"));
        let study = exported(&store, vec![model(&store, "production")]);
        let written = write(&store, &[study], &out, &artifacts).unwrap();
        assert_eq!((written.runs, written.versions), (12, 1));
        let conn = Connection::open(&out).unwrap();
        let tables = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'";
        assert_eq!(count(&conn, tables), 16);
        assert_eq!(
            count(&conn, "SELECT COUNT(*) FROM pragma_foreign_key_check"),
            0
        );
        let of = |status: &str| {
            count(
                &conn,
                &format!("SELECT COUNT(*) FROM runs WHERE status = '{status}'"),
            )
        };
        assert_eq!((of("FINISHED"), of("KILLED"), of("FAILED")), (8, 2, 2));
        let nested = "SELECT COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId'";
        assert_eq!(count(&conn, nested), 11);
        // Infinity is the largest number, NaN has a column of its own.
        let inf = "SELECT COUNT(*) FROM metrics WHERE key = 'roc_auc' AND value > 1e308";
        assert_eq!(count(&conn, inf), 1);
        assert_eq!(
            count(&conn, "SELECT COUNT(*) FROM metrics WHERE is_nan = 1"),
            1
        );
        let last = "SELECT COUNT(*) FROM latest_metrics WHERE key = 'roc_auc_fold' AND step = 2 AND value = 0.5";
        assert_eq!(count(&conn, last), 11);
        let source: String = conn
            .query_row(
                "SELECT source FROM model_versions WHERE current_stage = 'Production'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        let path = source.strip_prefix("file://").unwrap().replace("%20", " ");
        assert!(Path::new(&path).join("MLmodel").is_file(), "{source}");
        assert_eq!(
            count(
                &conn,
                "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
            ),
            1
        );
    }

    #[test]
    fn only_a_file_of_ours_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("store"), "http://h", 3);
        let out = dir.path().join("mlflow.db");
        let again = || write(&store, &[exported(&store, Vec::new())], &out, dir.path());
        again().unwrap();
        let first = std::fs::read(&out).unwrap();
        again().unwrap();
        assert_eq!(
            std::fs::read(&out).unwrap(),
            first,
            "the same study gives the same bytes"
        );

        let change = |sql: &str, says: &str| {
            std::fs::write(&out, &first).unwrap();
            let conn = Connection::open(&out).unwrap();
            conn.execute_batch(sql).unwrap();
            drop(conn);
            let before = std::fs::read(&out).unwrap();
            let error = again().unwrap_err().to_string();
            assert!(
                error.contains(says) && error.contains("--output"),
                "{error}"
            );
            assert_eq!(std::fs::read(&out).unwrap(), before);
        };
        change(
            "UPDATE alembic_version SET version_num = 'dc11669786a5'",
            "belongs to MLflow now",
        );
        change("PRAGMA application_id = 0", "another program wrote it");
        change(
            "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id) VALUES ('x', 'x', 'RUNNING', 'active', 0)",
            "1 runs of other programs",
        );
        change(
            "UPDATE tags SET value = 'other' WHERE key = 'automl.study'",
            "`other`",
        );
        for other in ["", "SQLite format 3\0", "text"] {
            std::fs::write(&out, other).unwrap();
            let error = again().unwrap_err().to_string();
            assert!(error.contains("no file for MLflow"), "{error}");
            assert_eq!(std::fs::read(&out).unwrap(), other.as_bytes());
        }
        assert_eq!(REVISION, "acf3f17fdcc7");
        // Nothing is left beside it.
        let names = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name());
        let hidden = names.filter(|n| n.to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0);
    }
}
