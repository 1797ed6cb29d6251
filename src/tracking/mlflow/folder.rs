//! A model as the folder that MLflow loads: `MLmodel` with its flavors, the ONNX model, and what Python needs to run it.
//!
//! Two flavors where the model has a form in ONNX: `onnx`, and `python_function` with a loader of our own
//! ([`LOADER`]), which reads missing and unknown cells as `automl predict` does; MLflow's own loader fails on texts and
//! on missing ones. Every model has the flavor `automl`, which names its model file. The same model gives the same bytes.

use prost::Message as _;
use serde_json::{Value as Json, json};

use crate::learn::onnx;
use crate::learn::onnx::proto::{DataType, ModelProto, ValueInfoProto};
use crate::learn::pipeline::Pipeline;

use super::MlflowError;
use super::run::ModelFacts;

/// The name of the folder within the artifacts of a run.
pub const PATH: &str = "model";
/// The loader that the folder carries.
pub const LOADER: &str = include_str!("automl_pyfunc.py");

/// The release of MLflow whose form this is.
const MLFLOW: &str = "3.17.2";
/// The version of Python that an environment is made with, when somebody asks MLflow to make one.
const PYTHON: &str = "3.11";
/// What the loader imports, from the releases on that know the operators of our exports and open types in signatures.
const REQUIREMENTS: [&str; 5] = [
    "mlflow>=2.20",
    "onnx>=1.16",
    "onnxruntime>=1.19",
    "pandas",
    "numpy",
];

/// A folder: relative names and bytes.
pub struct Folder {
    /// The files, `MLmodel` last, so that a folder that has one is whole.
    pub files: Vec<(String, Vec<u8>)>,
    /// Why there is no flavor that Python can load, if there is none.
    pub without_python: Option<String>,
    /// `MLmodel` as JSON.
    pub description: Json,
}

/// The folder of a version, whose model file is `bytes`.
///
/// # Errors
/// [`MlflowError::Model`] when the bytes are no model file.
pub fn folder(
    facts: &ModelFacts,
    bytes: &[u8],
    run_id: &str,
    model_id: Option<&str>,
) -> Result<Folder, MlflowError> {
    let unreadable = |what: String| MlflowError::Model {
        model: facts.model.clone(),
        version: facts.version,
        what,
    };
    let pipeline = Pipeline::load(bytes).map_err(|e| unreadable(e.to_string()))?;
    let mut files = vec![("model.json".to_owned(), bytes.to_vec())];
    let mut flavors = json!({
        "automl": {"data": "model.json", "version": env!("CARGO_PKG_VERSION"), "kind": pipeline.model.kind()},
    });
    let (mut signature, mut without_python) = (Json::Null, None);
    let mut size = bytes.len();
    match onnx::export(&pipeline) {
        Ok(onnx) => {
            let model = ModelProto::decode(&onnx[..]).map_err(|e| unreadable(e.to_string()))?;
            signature = columns(&model).unwrap_or(Json::Null);
            flavors["onnx"] = json!({
                "data": "model.onnx", "code": null, "onnx_version": "1.16.0", "providers": ["CPUExecutionProvider"],
            });
            flavors["python_function"] = json!({
                "data": "model.onnx", "loader_module": "automl_pyfunc", "code": "code", "python_version": PYTHON,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            });
            size += onnx.len();
            let requirements = REQUIREMENTS.join("\n") + "\n";
            let listed: String = REQUIREMENTS.map(|r| format!("  - {r}\n")).concat();
            files.extend([
                ("model.onnx".to_owned(), onnx),
                ("code/automl_pyfunc.py".to_owned(), LOADER.as_bytes().to_vec()),
                ("requirements.txt".to_owned(), requirements.into_bytes()),
                (
                    "conda.yaml".to_owned(),
                    format!(
                        "channels:\n- conda-forge\ndependencies:\n- python={PYTHON}\n- pip\n- pip:\n{listed}name: mlflow-env\n"
                    )
                    .into_bytes(),
                ),
                (
                    "python_env.yaml".to_owned(),
                    format!(
                        "python: \"{PYTHON}\"\nbuild_dependencies:\n- pip\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n"
                    )
                    .into_bytes(),
                ),
            ]);
        }
        Err(error) => without_python = Some(error.to_string()),
    }
    let mut description = json!({
        "artifact_path": PATH,
        "run_id": run_id,
        "utc_time_created": facts.created.to_sql(),
        "mlflow_version": MLFLOW,
        "model_uuid": &facts.file.sha256[..32],
        "model_size_bytes": size,
        "flavors": flavors,
    });
    if let Some(id) = model_id {
        description["model_id"] = json!(id);
    }
    if !signature.is_null() {
        description["signature"] = signature;
    }
    let mut text = String::new();
    yaml(&description, 0, &mut text);
    files.push(("MLmodel".to_owned(), text.into_bytes()));
    Ok(Folder {
        files,
        without_python,
        description,
    })
}

/// The signature: names and types of inputs and outputs, as the exported graph has them.
fn columns(model: &ModelProto) -> Option<Json> {
    let graph = model.graph.as_ref()?;
    // MLflow turns away whole numbers where a signature says `double`, and missing ones where it says `long`. A column of
    // numbers may have both, which the loader reads, so its type is left open.
    let list = |values: &[ValueInfoProto], numbers: &str| {
        let column = |value: &ValueInfoProto| {
            let holds = value.r#type.as_ref()?.tensor_type.as_ref()?.elem_type;
            let kind = match holds {
                h if h == DataType::Double as i32 => numbers,
                h if h == DataType::String as i32 => "string",
                _ => return None,
            };
            // The column has to be there; its cells may be missing.
            Some(json!({"type": kind, "name": value.name, "required": true}))
        };
        values.iter().map(column).collect::<Option<Vec<Json>>>()
    };
    let (inputs, outputs) = (list(&graph.input, "any")?, list(&graph.output, "double")?);
    Some(json!({
        "inputs": json!(inputs).to_string(), "outputs": json!(outputs).to_string(), "params": null,
    }))
}

/// Writes an object as YAML: keys in their order, every other value as JSON, which is YAML too.
fn yaml(value: &Json, depth: usize, out: &mut String) {
    let Json::Object(map) = value else { return };
    for (key, value) in map {
        out.push_str(&"  ".repeat(depth));
        out.push_str(key);
        match value {
            Json::Object(inner) if !inner.is_empty() => {
                out.push_str(":\n");
                yaml(value, depth + 1, out);
            }
            other => {
                out.push_str(": ");
                out.push_str(&other.to_string());
                out.push('\n');
            }
        }
    }
}
