"""What MLflow sees of a study: `mlflow_check.py URI STUDY [ROWS.csv PREDICTED.csv]` prints it as JSON.

With rows, the model `models:/STUDY@champion` predicts them, and the largest difference from the predictions of the CSV is told.
"""

import json
import sys
import warnings

import mlflow
import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
uri, study = sys.argv[1:3]
mlflow.set_tracking_uri(uri)
runs = mlflow.search_runs(search_all_experiments=True, filter_string=f"tags.`automl.study` = '{study}'", max_results=5000)
parent_tag = "tags.mlflow.parentRunId"
nested = runs[runs[parent_tag].notna()] if parent_tag in runs else runs[:0]
parents = runs[~runs.index.isin(nested.index)]
client = mlflow.MlflowClient()
parent = client.get_run(parents.iloc[0].run_id)
first = nested[nested["tags.automl.trial"] == "0"].iloc[0]
report = {
    "version": mlflow.__version__,
    "runs": len(runs),
    "parents": len(parents),
    "trials": sorted(int(t) for t in nested["tags.automl.trial"]),
    "parents_named": sorted(set(nested[parent_tag])),
    "parent": parent.info.run_id,
    "parent_status": parent.info.status,
    "statuses": {s: int(n) for s, n in nested["status"].value_counts().items()},
    "params": dict(client.get_run(first.run_id).data.params),
    "parent_params": dict(parent.data.params),
    "parent_metrics": dict(parent.data.metrics),
    "metrics": {
        key: [[m.step, m.value] for m in client.get_metric_history(first.run_id, key)]
        for key in client.get_run(first.run_id).data.metrics
    },
    "milliseconds": int(client.get_run(first.run_id).info.end_time - client.get_run(first.run_id).info.start_time),
    "unfinished": int(nested["end_time"].isna().sum()),
    "inputs": [
        {"name": i.dataset.name, "digest": i.dataset.digest, "schema": json.loads(i.dataset.schema)}
        for i in parent.inputs.dataset_inputs
    ],
}
if len(sys.argv) > 3:
    rows, predicted = pd.read_csv(sys.argv[3]), pd.read_csv(sys.argv[4])
    version = client.get_model_version_by_alias(study, "champion")
    report["model"] = {"stage": version.current_stage, "run": version.run_id, "tags": version.tags}
    model = mlflow.pyfunc.load_model(f"models:/{study}@champion")
    report["signature"] = [i.name for i in model.metadata.signature.inputs]
    report["flavors"] = sorted(model.metadata.flavors)
    made = model.predict(rows[report["signature"]])
    report["difference"] = float(np.abs(made["p_yes"].to_numpy() - predicted["probability"].to_numpy()).max())
    report["labels_differ"] = int((made["label"].to_numpy() != predicted["prediction"].to_numpy()).sum())
    report["rows"] = len(made)
print(json.dumps(report))
