"""ONNX Runtime's side of the export tests: `onnx_check.py MODEL.onnx MODEL.json ROWS.csv PREDICTED.csv`.

Feeds the rows as a user would, by the names and types that the model declares, and compares with what `automl predict`
wrote. Prints one JSON object.
"""

import csv
import json
import sys

import numpy as np
import onnx
import onnxruntime

exported, saved, rows_file, predicted_file = sys.argv[1:]
onnx.checker.check_model(onnx.load(exported), full_check=True)
session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
with open(saved, encoding="utf-8") as file:
    missing = set(json.load(file)["transform"]["schema"].get("missing", []))
with open(rows_file, newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
with open(predicted_file, newline="", encoding="utf-8") as file:
    predicted = list(csv.DictReader(file))


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return float("nan")


feed = {}
for column in session.get_inputs():
    assert column.shape == ["N"], column
    cells = [row[column.name].strip() for row in rows]
    cells = ["" if cell in missing else cell for cell in cells]
    if column.type == "tensor(double)":
        feed[column.name] = np.array([number(cell) for cell in cells])
    else:
        assert column.type == "tensor(string)", column
        feed[column.name] = np.array(cells, dtype=object)
names = [output.name for output in session.get_outputs()]
assert all(output.shape == ["N"] for output in session.get_outputs())
outputs = dict(zip(names, session.run(None, feed)))
labels = outputs.get("label")
if labels is None:
    ours = {"prediction": "prediction"}
elif len(names) == 3:
    ours = {names[2]: "probability"}
    np.testing.assert_allclose(outputs[names[1]], 1 - outputs[names[2]], atol=1e-15)
else:
    ours = {name: name for name in names[1:]}
difference = 0.0
for theirs, column in ours.items():
    numbers = np.array([float(row[column]) for row in predicted])
    apart = np.abs(outputs[theirs] - numbers) / np.maximum(1.0, np.abs(numbers))
    difference = max(difference, float(apart.max()))
# One row at a time takes other ways through the runtime.
single = session.run(None, {name: values[:1] for name, values in feed.items()})
for name, alone in zip(names, single):
    if alone.dtype == object:
        assert alone[0] == outputs[name][0]
    else:
        np.testing.assert_allclose(alone[0], outputs[name][0], rtol=1e-12)
print(json.dumps({
    "rows": len(predicted),
    "difference": difference,
    "labels_differ": 0 if labels is None else sum(a != b["prediction"] for a, b in zip(labels, predicted)),
    "versions": [onnx.__version__, onnxruntime.__version__],
}))
