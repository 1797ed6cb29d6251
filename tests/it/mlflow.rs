//! MLflow itself: a server that is killed half way, a file that it opens, a model that it loads.
//!
//! Needs a Python with mlflow: `$AUTOML_MLFLOW_PYTHON`, else `$AUTOML_PYTHON`, else `python3`. Without one each test says so and
//! passes.
#![cfg(unix)]

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value as Json, json};

use crate::program::{Desk, small_table, text};

/// The Python to use, or `None` with a line that says what is missing.
fn python() -> Option<PathBuf> {
    let name = ["AUTOML_MLFLOW_PYTHON", "AUTOML_PYTHON"]
        .into_iter()
        .find_map(std::env::var_os);
    let name = name.unwrap_or_else(|| "python3".into());
    let find = "import importlib.metadata as m; m.version('mlflow'); m.version('onnxruntime')";
    let found = Command::new(&name).args(["-c", find]).output();
    if found.is_ok_and(|out| out.status.success()) {
        return Some(name.into());
    }
    eprintln!(
        "skipped: `{}` has no mlflow; set AUTOML_MLFLOW_PYTHON to a Python that has it and onnxruntime",
        name.display()
    );
    None
}

/// A real `mlflow server` on loopback; it ends with the value, and so does everything it started.
struct Server<'a> {
    python: &'a Path,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl<'a> Server<'a> {
    fn start(python: &'a Path, desk: &Desk) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Server {
            python,
            folder: desk.path("server"),
            port: free.local_addr().unwrap().port(),
            child: None,
        };
        drop(free);
        std::fs::create_dir(&server.folder).unwrap();
        server.up();
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it answers.
    fn up(&mut self) {
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let child = Command::new(self.python)
            .args([
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--workers",
                "1",
            ])
            .args(["--port", &self.port.to_string()])
            .args([
                "--backend-store-uri",
                "sqlite:///mlflow.db",
                "--artifacts-destination",
                "artifacts",
            ])
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(180);
        let answers = || {
            let got = ureq::get(format!("{}/health", self.url())).call();
            got.is_ok_and(|a| a.status() == 200)
        };
        while !answers() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap();
            assert!(
                Instant::now() < until,
                "mlflow server does not answer:\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills it with all that it started.
    fn down(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let group = Pid::from_child(&child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.down();
    }
}

/// What MLflow sees; see `mlflow_check.py`.
fn look(python: &Path, desk: &Desk, uri: &str, args: &[&str]) -> Json {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mlflow_check.py");
    let out = Command::new(python)
        .arg(script)
        .arg(uri)
        .args(args)
        .current_dir(desk.path("."))
        .output()
        .expect("python was found before");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "mlflow_check.py failed:\n{said}");
    serde_json::from_slice(&out.stdout).expect("JSON")
}

const SPACE: &str = "direction: minimize
params:
  x: {float: [-5, 5]}
  n: {int: [1, 9]}
";

/// Speaks the protocol; every tenth trial fails.
const OBJECTIVE: &str = r#"while read -r line; do
  trial=$(echo "$line" | sed 's/.*"trial":\([0-9]*\).*/\1/')
  sleep 0.03
  case $trial in
    *7) echo '{"fail": "on purpose"}' ;;
    *) echo "{\"value\": $trial.5}" ;;
  esac
done
"#;

/// How many trials of the study `space` have ended.
fn finished(desk: &Desk) -> u64 {
    let out = desk.run(&["studies", "--format", "json"]);
    let studies: Json = serde_json::from_slice(&out.stdout).unwrap_or(Json::Null);
    let count = |state: &str| studies[0]["trials"][state].as_u64().unwrap_or(0);
    count("complete") + count("failed")
}

#[test]
fn two_hundred_trials_arrive_once_though_server_and_sender_are_killed() {
    let Some(python) = python() else { return };
    let desk = Desk::new();
    desk.write("space.yaml", SPACE);
    desk.write("objective.sh", OBJECTIVE);
    let mut server = Server::start(&python, &desk);
    let study = [
        "optimize",
        "space.yaml",
        "--trials",
        "200",
        "--",
        "sh",
        "objective.sh",
    ];
    let running = desk
        .command(&study)
        .env("AUTOML_MLFLOW_URI", server.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while finished(&desk) < 100 {
        assert!(Instant::now() < until, "the study does not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    server.down();
    let ended = running.wait_with_output().unwrap();
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.contains("mlflow: not sent yet: "), "{said}");
    assert!(
        said.trim_end()
            .ends_with("hint: automl tracking sync space"),
        "{said}"
    );
    assert_eq!(finished(&desk), 200);
    let status = desk.json(&["tracking", "status", "--format", "json"]);
    let sent = status[0]["trials"]["sent"].as_u64().unwrap();
    let unsent = status[0]["trials"]["unsent"].as_u64().unwrap();
    assert_eq!(sent + unsent, 200);
    assert!(sent > 0 && unsent >= 90, "{status}");

    // Down, it is said and nothing is lost.
    let (_, said) = desk.ends(2, &["tracking", "sync", "space", "--wait", "0"]);
    assert!(
        said.contains("cannot reach") && said.contains("unsent"),
        "{said}"
    );
    server.up();
    // Senders that are killed wherever they are.
    for after in [150, 400, 650] {
        let mut sender = desk
            .command(&["tracking", "sync", "space"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(after));
        let _ = sender.kill();
        let _ = sender.wait();
    }
    let (_, said) = desk.ends(0, &["tracking", "sync"]);
    assert!(said.contains("/#/experiments/"), "{said}");
    let (_, again) = desk.ends(0, &["tracking", "sync"]);
    assert!(again.contains("has everything"), "{again}");

    let seen = look(&python, &desk, &server.url(), &["space"]);
    assert_eq!(seen["runs"], 201, "{seen}");
    assert_eq!(seen["parents"], 1);
    assert_eq!(seen["trials"], json!((0..200).collect::<Vec<u64>>()));
    assert_eq!(seen["parents_named"], json!([seen["parent"]]));
    assert_eq!(seen["parent_status"], "FINISHED");
    assert_eq!(seen["statuses"], json!({"FINISHED": 180, "FAILED": 20}));
    assert_eq!(seen["unfinished"], 0);
    assert_eq!(seen["metrics"]["value"], json!([[0, 0.5]]));
    assert!(seen["milliseconds"].as_u64().unwrap() >= 25, "{seen}");
}

/// The small table with a column of whole numbers, as pandas reads them.
fn table() -> String {
    let mut out = String::new();
    for (i, line) in small_table().lines().enumerate() {
        let cell = if i == 0 {
            "c".to_owned()
        } else {
            (i * 11 % 17).to_string()
        };
        out += &format!("{line},{cell}\n");
    }
    out
}

/// A study of the small table whose model goes to production; its predictions are in `out.csv`.
fn small(desk: &Desk) {
    desk.write("d.csv", table());
    desk.write(
        "e.yaml",
        "name: small
seed: 1
data: {path: d.csv, target: y, positive: \"yes\"}
cv: {folds: 3}
search:
  trials: 4
  sampler: random
  learners: [gbt]
  params: {gbt.max_depth: {int: [2, 4]}, gbt.learning_rate: {float: [0.05, 0.3]}, gbt.n_estimators: 20, gbt.min_leaf: 3}
registry: {gate: [roc_auc >= 0.5], stage: production}
",
    );
}

fn predicted(desk: &Desk) {
    let model = [
        "predict",
        "--model",
        "small@production",
        "--input",
        "rows.csv",
        "--output",
        "out.csv",
    ];
    // Cells that are missing, levels that are new.
    let rows = table().replace(",q,", ",,").replace(",r,", ",new,");
    desk.write("rows.csv", rows.replacen("0.000", "", 1));
    desk.done(&model);
}

/// The study, its data and its model are as `small` says, wherever MLflow reads them.
fn check_small(seen: &Json) {
    assert_eq!(
        (&seen["runs"], &seen["parents"]),
        (&json!(5), &json!(1)),
        "{seen}"
    );
    assert_eq!(seen["trials"], json!([0, 1, 2, 3]));
    assert_eq!(seen["statuses"], json!({"FINISHED": 4}));
    assert_eq!(seen["parent_status"], "FINISHED");
    assert_eq!(seen["params"]["learner"], "gbt");
    assert!(seen["params"]["gbt.max_depth"].is_string());
    assert_eq!(seen["parent_params"]["seed"], "1");
    assert_eq!(seen["parent_params"]["cv.folds"], "3");
    let folds = seen["metrics"]["roc_auc_fold"].as_array().unwrap();
    let steps: Vec<u64> = folds.iter().map(|f| f[0].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3]);
    let mean = folds.iter().map(|f| f[1].as_f64().unwrap()).sum::<f64>() / 3.0;
    assert!((seen["metrics"]["roc_auc"][0][1].as_f64().unwrap() - mean).abs() < 1e-12);
    assert!(
        seen["parent_metrics"]["holdout_roc_auc"].is_number(),
        "{seen}"
    );
    assert_eq!(seen["inputs"][0]["name"], "d");
    let columns = seen["inputs"][0]["schema"]["mlflow_colspec"]
        .as_array()
        .unwrap();
    assert_eq!(columns.len(), 4);
    assert_eq!(seen["model"]["stage"], "Production");
    assert_eq!(seen["model"]["run"], seen["parent"]);
    assert_eq!(
        seen["flavors"],
        json!(["automl", "onnx", "python_function"])
    );
    assert_eq!(seen["signature"], json!(["a", "b", "c"]));
    assert_eq!(seen["rows"], 60);
    assert!(seen["difference"].as_f64().unwrap() < 1e-12, "{seen}");
    assert_eq!(seen["labels_differ"], 0);
}

#[test]
fn a_study_with_its_model_on_a_server() {
    let Some(python) = python() else { return };
    let desk = Desk::new();
    small(&desk);
    let server = Server::start(&python, &desk);
    desk.write(
        "e.yaml",
        desk.read("e.yaml") + &format!("tracking: {{mlflow: \"{}\"}}\n", server.url()),
    );
    let (_, said) = desk.ends(0, &["study", "e.yaml"]);
    assert!(
        said.contains(&format!("mlflow {}/#/experiments/", server.url())),
        "{said}"
    );
    predicted(&desk);
    let ask = ["small", "rows.csv", "out.csv"];
    check_small(&look(&python, &desk, &server.url(), &ask));

    // Withdrawn here, it is withdrawn there after the next `sync`; continued, it is the same run.
    desk.done(&[
        "registry", "promote", "small:1", "archived", "--why", "test",
    ]);
    desk.ends(0, &["tracking", "sync", "small"]);
    desk.done(&["study", "e.yaml", "--trials", "6", "--quiet"]);
    let seen = look(&python, &desk, &server.url(), &["small"]);
    assert_eq!(
        (&seen["runs"], &seen["parents"]),
        (&json!(7), &json!(1)),
        "{seen}"
    );
}

#[test]
fn a_study_with_its_model_in_a_file() {
    let Some(python) = python() else { return };
    let desk = Desk::new();
    small(&desk);
    desk.done(&["study", "e.yaml", "--quiet"]);
    predicted(&desk);
    let export = [
        "export",
        "mlflow",
        "--study",
        "small",
        "--output",
        "mlflow.db",
    ];
    let (_, said) = desk.ends(0, &export);
    assert_eq!(said, "small → mlflow.db (5 runs, 1 model version)\n");
    desk.ends(0, &export);
    let seen = look(
        &python,
        &desk,
        "sqlite:///mlflow.db",
        &["small", "rows.csv", "out.csv"],
    );
    check_small(&seen);
    // MLflow has brought it to its own schema, and it is MLflow's now.
    let refused = desk.refused(&export);
    assert!(refused.contains("belongs to MLflow now"), "{refused}");
}
