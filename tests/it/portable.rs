//! Models of other programs through the command line: imported, used, registered, exported; and files that are no models.

use std::path::Path;

use crate::program::Desk;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/imports");
    std::fs::read(folder.join(name)).unwrap()
}

const ROWS: &str = "id,a,b,c,color,code\n1,0.5,0,1.5,red,3\n2,,1,0.2,,11\n3,-1.25,3,4,pink,\n";

/// A desk with two models and three rows.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("lightgbm.txt", golden("lightgbm_binary.txt"));
    desk.write("xgboost.json", golden("xgboost3_binary.json"));
    desk.write("rows.csv", ROWS);
    desk
}

#[test]
fn an_imported_model_is_used_like_any_other() {
    let desk = desk();
    for (model, kind) in [("lightgbm.txt", "lightgbm"), ("xgboost.json", "xgboost")] {
        let (out, err) = desk.ends(
            0,
            &[
                "import",
                "--model",
                model,
                "--target",
                "left",
                "--classes",
                "no,yes",
                "--threshold",
                "0.4",
                "--output",
                "model.json",
            ],
        );
        assert_eq!(out, "");
        assert!(
            err.contains("predicts `left`: no, yes → model.json"),
            "{err}"
        );
        let predict = ["predict", "--input", "rows.csv", "--keep", "id", "--model"];
        let from_file = desk.done(&[&predict[..], &["model.json"]].concat());
        assert_eq!(from_file.lines().count(), 4);
        assert!(
            from_file.starts_with("id,prediction,probability\n"),
            "{from_file}"
        );
        for line in from_file.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let probability: f64 = cells[2].parse().unwrap();
            assert_eq!(cells[1], if probability >= 0.4 { "yes" } else { "no" });
        }
        let register = [
            "registry",
            "register",
            kind,
            "--model",
            "model.json",
            "--metric",
            "roc_auc=0.8",
        ];
        assert_eq!(desk.done(&register), format!("{kind} v1: candidate\n"));
        assert_eq!(
            desk.done(&register),
            format!("{kind} v1: candidate, registered before with the same bytes\n")
        );
        let version = format!("{kind}:1");
        let from_registry = desk.done(&[&predict[..], &[version.as_str()]].concat());
        assert_eq!(from_registry, from_file);
        let shown = desk.json(&["registry", "show", &version, "--format", "json"]);
        assert_eq!(shown["metrics"]["roc_auc"], 0.8);
        assert_eq!(shown["primary"]["metric"], "roc_auc");
        assert_eq!(shown["params"]["learner"], kind);
        desk.done(&[
            "registry",
            "promote",
            &version,
            "staging",
            "--rule",
            "roc_auc >= 0.75",
        ]);
        desk.done(&[
            "export",
            "onnx",
            "--model",
            &format!("{kind}@staging"),
            "--output",
            "model.onnx",
        ]);
        assert!(std::fs::metadata(desk.path("model.onnx")).unwrap().len() > 1000);
        desk.done(&["registry", "list"]);
    }
}

#[test]
fn files_that_cannot_be_imported() {
    let desk = desk();
    desk.write("cut.txt", &golden("lightgbm_binary.txt")[..3000]);
    desk.write("cut.json", &golden("xgboost3_binary.json")[..3000]);
    desk.write("other.json", "{\"a\": 1}");
    desk.write("levels.json", "[1, 2]");
    desk.write("sizes.json", "{\"size\": [\"s\"]}");
    let mut said = Vec::new();
    for args in [
        &["--model", "cut.txt"][..],
        &["--model", "cut.json"],
        &["--model", "other.json"],
        &["--model", "rows.csv"],
        &["--model", "nothing.txt"],
        &["--from", "xgboost", "--model", "lightgbm.txt"],
        &["--from", "lightgbm", "--model", "xgboost.json"],
        &["--model", "lightgbm.txt", "--classes", "a,b,c"],
        &["--model", "lightgbm.txt", "--threshold", "1.5"],
        &["--model", "lightgbm.txt", "--target", "color"],
        &["--model", "lightgbm.txt", "--levels", "levels.json"],
        &["--model", "lightgbm.txt", "--levels", "sizes.json"],
        &["--from", "catboost", "--model", "lightgbm.txt"],
    ] {
        let all = [&["import", "--output", "model.json"], args].concat();
        said.push(format!(
            "$ automl {}\n{}",
            all.join(" "),
            desk.refused(&all)
        ));
    }
    insta::assert_snapshot!("import_refused", said.join("\n\n"));
}

#[test]
fn what_cannot_be_registered_or_exported() {
    let desk = desk();
    desk.done(&[
        "import",
        "--model",
        "lightgbm.txt",
        "--output",
        "model.json",
    ]);
    let mut said = Vec::new();
    for args in [
        &["registry", "register", "a b", "--model", "model.json"][..],
        &["registry", "register", "m", "--model", "lightgbm.txt"],
        &["registry", "register", "m", "--model", "nothing.json"],
        &[
            "registry",
            "register",
            "m",
            "--model",
            "model.json",
            "--metric",
            "roc_auc",
        ],
        &[
            "registry",
            "register",
            "m",
            "--model",
            "model.json",
            "--metric",
            "roc_acu=0.8",
        ],
        &[
            "registry",
            "register",
            "m",
            "--model",
            "model.json",
            "--metric",
            "rmse=0.8",
        ],
        &[
            "export",
            "onnx",
            "--model",
            "lightgbm.txt",
            "--output",
            "model.onnx",
        ],
        &[
            "export",
            "onnx",
            "--model",
            "nothing.json",
            "--output",
            "model.onnx",
        ],
        &[
            "export",
            "onnx",
            "--model",
            "model.json",
            "--output",
            "no/folder/model.onnx",
        ],
        &[
            "export",
            "tflite",
            "--model",
            "model.json",
            "--output",
            "model.tflite",
        ],
    ] {
        said.push(format!(
            "$ automl {}\n{}",
            args.join(" "),
            desk.refused(args)
        ));
    }
    insta::assert_snapshot!("portable_refused", said.join("\n\n"));
}
