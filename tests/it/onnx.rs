//! ONNX Runtime computes what `automl predict` does, on every row, with cells missing and levels that are new.
//!
//! Needs a Python with onnx and onnxruntime: `$AUTOML_PYTHON`, else `python3`. Without one each test says so and passes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::program::Desk;
use crate::real_data;

/// The Python to use, or `None` with a line that says what is missing.
fn python() -> Option<PathBuf> {
    let name = std::env::var_os("AUTOML_PYTHON").unwrap_or_else(|| "python3".into());
    let found = Command::new(&name)
        .args(["-c", "import onnx, onnxruntime"])
        .output();
    if found.is_ok_and(|out| out.status.success()) {
        return Some(name.into());
    }
    eprintln!(
        "skipped: `{}` has no onnxruntime; set AUTOML_PYTHON to a Python that has it and onnx",
        name.display()
    );
    None
}

/// Exports `model.json` of the desk, and compares on `rows.csv`.
fn check(python: &Path, desk: &Desk) {
    desk.done(&[
        "export",
        "onnx",
        "--model",
        "model.json",
        "--output",
        "model.onnx",
    ]);
    desk.done(&[
        "predict",
        "--model",
        "model.json",
        "--input",
        "rows.csv",
        "--output",
        "out.csv",
    ]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/onnx_check.py");
    let out = Command::new(python)
        .arg(script)
        .args(["model.onnx", "model.json", "rows.csv", "out.csv"].map(|f| desk.path(f)))
        .output()
        .expect("python was found before");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "onnx_check.py failed:\n{said}");
    // Its warnings would show a graph that is not tidy.
    assert_eq!(said, "");
    let report: Json = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(report["rows"], desk.read("rows.csv").lines().count() - 1);
    assert!(report["difference"].as_f64().unwrap() <= 1e-6, "{report}");
    assert_eq!(report["labels_differ"], 0, "{report}");
}

/// A study of one trial on the file `d.csv` of the desk; its model is `model.json`.
fn fit(desk: &Desk, name: &str, target: &str, data: &str, learner: &str, preset: &str) {
    desk.write(
        "e.yaml",
        format!(
            "name: {name}
seed: 5
data: {{path: d.csv, target: {target}{data}}}
preprocess: {preset}
cv: {{folds: 2}}
search: {{trials: 1, sampler: random, learners: [{learner}], params: {{{learner}.n_estimators: 20}}}}
"
        ),
    );
    desk.done(&["study", "e.yaml", "--quiet"]);
    let versions = desk.json(&["registry", "show", &format!("{name}:1"), "--format", "json"]);
    let path = versions["files"][0]["path"].as_str().unwrap();
    std::fs::copy(
        desk.path(&format!("automl-store/artifacts/{path}")),
        desk.path("model.json"),
    )
    .unwrap();
}

/// The table with every thirteenth cell blank, and every seventeenth text one that no model knows.
fn messed(table: &str) -> String {
    let mut n = 0;
    let mut lines = table.lines();
    let mut out = lines.next().unwrap().to_owned() + "\n";
    for line in lines {
        let cells = line.split(',').map(|cell| {
            n += 1;
            let text = !cell.trim().is_empty() && cell.trim().parse::<f64>().is_err();
            match n {
                n if n % 13 == 0 => "",
                n if n % 17 == 0 && text => "Ünseen",
                _ => cell,
            }
        });
        out += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    out
}

#[test]
fn telco_with_every_preset() {
    let Some(python) = python() else { return };
    let Some(telco) = real_data::telco() else {
        return;
    };
    let table = std::fs::read_to_string(telco).unwrap();
    for preset in ["native", "one_hot", "telco"] {
        for learner in ["random_forest", "gbt"] {
            let desk = Desk::new();
            desk.write("d.csv", &table);
            fit(&desk, "churn", "Churn", "", learner, preset);
            for rows in [table.clone(), messed(&table)] {
                desk.write("rows.csv", rows);
                check(&python, &desk);
            }
        }
    }
}

#[test]
fn a_small_table_with_two_and_three_classes_and_a_number() {
    let Some(python) = python() else { return };
    let mut table = String::from("a,flag,color,two,three,number\n");
    for i in 0u32..300 {
        let (a, color) = (
            i * 37 % 101,
            ["red", "green", "blue", "white"][(i * 7 % 4) as usize],
        );
        let sum = a + 20 * (i * 7 % 4) + i * 13 % 40;
        let (two, three) = (
            ["no", "yes"][(sum > 90) as usize],
            ["x", "y", "z"][(sum / 70).min(2) as usize],
        );
        table += &format!("{}.5,{},{color},{two},{three},{}\n", a, i * 3 % 5 % 2, sum);
    }
    for (target, others, learner) in [
        ("two", "three, number", "gbt"),
        ("three", "two, number", "gbt"),
        ("three", "two, number", "random_forest"),
        ("number", "two, three", "gbt"),
        ("number", "two, three", "random_forest"),
    ] {
        let desk = Desk::new();
        desk.write("d.csv", &table);
        let task = if target == "number" {
            ", task: regression"
        } else {
            ""
        };
        fit(
            &desk,
            "small",
            target,
            &format!(", drop: [{others}]{task}"),
            learner,
            "native",
        );
        for rows in [table.clone(), messed(&table)] {
            desk.write("rows.csv", rows);
            check(&python, &desk);
        }
    }
}
