//! The ready-made files under `deploy/` are what they say: they parse, and the scripts run a study.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use automl::tune::experiment::Experiment;
use serde_json::Value as Json;

use crate::program::Desk;
use crate::sequence;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

#[test]
fn the_kubernetes_file_starts_a_study_and_its_workers() {
    let text = std::fs::read_to_string(deploy("kubernetes/study.yaml")).unwrap();
    let documents: Vec<Json> = serde_saphyr::from_multiple(&text).unwrap();
    let kinds: Vec<&str> = documents
        .iter()
        .map(|d| d["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ConfigMap", "Job", "Job"]);
    let experiment = documents[0]["data"]["churn.yaml"].as_str().unwrap();
    let experiment = Experiment::parse(experiment, "churn.yaml").unwrap();
    let args = |job: &Json| -> Vec<String> {
        let args = &job["spec"]["template"]["spec"]["containers"][0]["args"];
        let args = args.as_array().unwrap().iter();
        args.map(|a| a.as_str().unwrap().to_owned()).collect()
    };
    let desk = Desk::new();
    for (job, name) in [
        (&documents[1], "/config/churn.yaml"),
        (&documents[2], "churn"),
    ] {
        let args = args(job);
        assert_eq!(args[1], name);
        // Known to the program, whatever else is wrong here.
        let args: Vec<&str> = args.iter().map(String::as_str).chain(["--help"]).collect();
        desk.done(&args);
    }
    assert_eq!(experiment.name, "churn");
    let workers = &documents[2]["spec"];
    assert_eq!(workers["completionMode"], "Indexed");
    let parallel = workers["parallelism"].as_u64().unwrap();
    assert!(experiment.search.concurrency as u64 >= 2 * parallel);
    let mounted = |job: &Json| {
        let pod = &job["spec"]["template"]["spec"];
        (
            pod["containers"][0]["volumeMounts"].clone(),
            pod["volumes"].clone(),
        )
    };
    assert_eq!(mounted(&documents[1]), mounted(&documents[2]));
}

/// The command in a desk, with the program on its path and its store there.
fn in_desk(desk: &Desk, program: &str, script: &str, args: &[&str]) -> Command {
    let automl = Path::new(env!("CARGO_BIN_EXE_automl"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    let folders = std::iter::once(automl.parent().unwrap().to_owned()).chain(folders);
    let mut command = Command::new(program);
    command
        .arg(deploy(script))
        .args(args)
        .current_dir(desk.path(""))
        .env("PATH", std::env::join_paths(folders).unwrap())
        .env("AUTOML_STORE", desk.path("many"))
        .env_remove("AUTOML_ARTIFACTS")
        .env_remove("AUTOML_MLFLOW_URI");
    command
}

fn assert_done(output: &Output) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {err}", output.status);
}

#[test]
fn the_slurm_scripts_run_a_study() {
    let desk = sequence::desk();
    let alone = sequence::finish(&desk, "alone", &[]);
    let mut workers = in_desk(&desk, "bash", "slurm/workers.sbatch", &["s"]);
    let workers = workers.env("SLURM_CPUS_PER_TASK", "1").spawn().unwrap();
    let study = in_desk(&desk, "bash", "slurm/study.sbatch", &["e.yaml"]).output();
    assert_done(&study.unwrap());
    assert_done(&workers.wait_with_output().unwrap());
    assert_eq!(sequence::finish(&desk, "many", &[]), alone);
    let unset = in_desk(&desk, "bash", "slurm/study.sbatch", &["e.yaml"])
        .env_remove("AUTOML_STORE")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&unset.stderr).contains("set it to postgres://"));
}

/// Ray's part is to start processes; a stand-in with threads does that here.
const RAY: &str = "\
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(8)
def init(): pass
def get(tasks): return [task.result() for task in tasks]
def remote(**_):
    class Task:
        def __init__(self, work): self.work = work
        def options(self, **_): return self
        def remote(self, *args): return pool.submit(self.work, *args)
    return Task
";

#[test]
fn the_ray_script_runs_a_study() {
    let python = std::env::var("AUTOML_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if Command::new(&python).arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let desk = sequence::desk();
    let alone = sequence::finish(&desk, "alone", &[]);
    std::fs::create_dir(desk.path("modules")).unwrap();
    desk.write("modules/ray.py", RAY);
    let args = ["e.yaml", "s", "--workers", "2", "--cpus", "1"];
    let output = in_desk(&desk, &python, "ray/study.py", &args)
        .env("PYTHONPATH", desk.path("modules"))
        .output()
        .unwrap();
    assert_done(&output);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("workers ended with [0, 0]"), "{err}");
    assert_eq!(sequence::finish(&desk, "many", &[]), alone);
}
