"""SHAP values by the Python package `shap`, of models that automl fitted.

python shap.py golden AUTOML > shap.json
    Fits small models with the program AUTOML on made-up rows and writes model, rows and SHAP values.

python shap.py compare MODEL.json ROWS.csv EXPLAINED.json
    Reads a model file and rows, computes the values of all rows on one thread, and compares them with what
    `automl explain --model MODEL.json --input ROWS.csv --rows 0 --format json --output EXPLAINED.json` wrote.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This file has the name of the package.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np  # noqa: E402
import shap  # noqa: E402

LEAF, MISSING_LEFT, SET = 1, 2, 4


def ensemble(file):
    """The trees of a model file as shap's dictionaries, and which nodes ask for a set of levels."""
    model = file["model"]
    width, link, count = model["width"], model["link"], len(model["trees"])
    scale = 1 / count if link == "mean" else 1.0
    trees, sets = [], []
    for number, tree in enumerate(model["trees"]):
        nodes = len(tree["number"])
        left, right, default = (np.full(nodes, -1) for _ in range(3))
        feature, threshold = np.full(nodes, -1), np.zeros(nodes)
        values, cover = np.zeros((nodes, width)), np.zeros(nodes)
        is_set = np.zeros(nodes, dtype=np.int32)
        covers = iter(tree["cover"])
        for i in range(nodes):
            flags, value = tree["flags"][i], tree["number"][i]
            if flags & LEAF:
                cover[i] = next(covers)
                if link == "softmax":
                    values[i, number % width] = value
                elif width > 1:
                    values[i] = tree["values"][int(value) : int(value) + width]
                else:
                    values[i] = value
                continue
            left[i], right[i] = tree["link"][i], tree["link"][i] + 1
            default[i] = left[i] if flags & MISSING_LEFT else right[i]
            feature[i], threshold[i] = tree["feature"][i], value
            if flags & SET:
                # shap writes the set of a LightGBM tree as a sum of 2^(category - 1): level 0 is its category 1.
                words = tree["sets"][int(value)]
                threshold[i] = float(sum(word << (64 * w) for w, word in enumerate(words)))
                is_set[i] = 1
        for i in reversed(range(nodes)):
            if left[i] >= 0:
                cover[i] = cover[left[i]] + cover[right[i]]
                values[i] = (cover[left[i]] * values[left[i]] + cover[right[i]] * values[right[i]]) / cover[i]
        sets.append(is_set)
        trees.append(
            {
                "children_left": left,
                "children_right": right,
                "children_default": default,
                "features": feature,
                "thresholds": threshold,
                "values": values * scale,
                "node_sample_weight": cover,
            }
        )
    base = np.array(model["base"]) * scale
    explainer = shap.TreeExplainer({"trees": trees, "base_offset": base}, feature_perturbation="tree_path_dependent")
    for number, is_set in enumerate(sets):
        explainer.model.threshold_types[number, : len(is_set)] = is_set
    return explainer


def encode(file, rows):
    """Rows of the schema's numbers to features, as the model file says."""
    transform = file["transform"]
    out = np.empty((len(rows), len(transform["fills"])))
    for i, (rule, fill) in enumerate(zip(transform["encoder"]["rules"], transform["fills"])):
        (kind, how), = rule.items()
        cells = rows[:, how["column"]]
        if kind == "mapped":
            numbers = np.array(how["numbers"])
            cells = np.where(np.isnan(cells), np.nan, numbers[np.nan_to_num(cells).astype(int)])
        elif kind == "indicator":
            cells = (cells == how["level"]).astype(float)
        elif kind == "level":
            cells = cells + 1  # see `ensemble`
        if fill is not None:
            cells = np.where(np.isnan(cells), fill, cells)
        out[:, i] = cells
    return out


def read(file, path):
    """The rows of a CSV file as numbers of the schema."""
    schema = file["transform"]["schema"]
    with open(path, newline="") as lines:
        records = list(csv.DictReader(lines))
    rows = np.full((len(records), len(schema["fields"])), np.nan)
    missing = set(schema.get("missing", [])) | {""}
    for j, field in enumerate(schema["fields"]):
        levels = {level: code for code, level in enumerate(field.get("levels", []))}
        for i, record in enumerate(records):
            cell = record[field["name"]].strip()
            if cell in missing:
                continue
            rows[i, j] = float(cell) if field["kind"] == "numeric" else levels.get(cell, np.nan)
    return rows


def explain(file, rows):
    """Base by output, and values by row, output and feature."""
    explainer = ensemble(file)
    features = encode(file, rows)
    started = time.perf_counter()
    values = np.asarray(explainer.shap_values(features, check_additivity=False))
    seconds = time.perf_counter() - started
    if values.ndim == 2:
        values = values[:, :, None]
    base = np.atleast_1d(explainer.expected_value)
    return base, values.transpose(0, 2, 1), seconds


def columns(file, values):
    """Values of features added up by column."""
    out = np.zeros((*values.shape[:2], len(file["transform"]["schema"]["fields"])))
    for i, rule in enumerate(file["transform"]["encoder"]["rules"]):
        (how,) = rule.values()
        out[:, :, how["column"]] += values[:, :, i]
    return out


CASES = [
    ("gbt, two classes, sets and missing values", "gbt", "class2", "native", "n_estimators: 8\n    gbt.max_leaves: 12"),
    ("gbt, three classes", "gbt", "class3", "native", "n_estimators: 4\n    gbt.max_leaves: 8"),
    ("gbt, numbers, indicators", "gbt", "number", "one_hot", "n_estimators: 8\n    gbt.max_leaves: 12"),
    ("forest, two classes", "random_forest", "class2", "native", "n_estimators: 4"),
    ("forest, three classes", "random_forest", "class3", "one_hot", "n_estimators: 4\n    random_forest.max_depth: 5"),
    ("forest, numbers", "random_forest", "number", "native", "n_estimators: 3\n    random_forest.max_depth: 7"),
]


def golden(automl):
    rng = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        names = ["n1", "n2", "n3", "flag", "color", "shape"]
        table = []
        for _ in range(400):
            n = rng.normal(size=3).round(2)
            flag, color, shape = rng.integers(2), rng.integers(5), rng.integers(9)
            score = n[0] + n[1] * flag + 0.7 * (color in (1, 3)) - 0.5 * (shape in (0, 4, 5)) + rng.normal() / 3
            cells = [*map(str, n), "no yes".split()[flag], f"c{color}", f"s{shape}"]
            cells = ["" if rng.random() < 0.08 else c for c in cells]
            targets = {"class2": "yes" if score > 0.3 else "no", "class3": "abc"[int((score > -0.4) + (score > 0.7))]}
            table.append((cells, {**targets, "number": f"{score:.4f}"}))
        cases = []
        for k, (name, learner, target, preprocess, params) in enumerate(CASES):
            lines = [",".join([*names, "y"])] + [",".join([*cells, t[target]]) for cells, t in table]
            Path(folder, "d.csv").write_text("\n".join(lines) + "\n")
            Path(folder, "e.yaml").write_text(
                f"name: g{k}\ndata: {{path: d.csv, target: y}}\npreprocess: {preprocess}\n"
                f"search:\n  trials: 1\n  learners: [{learner}]\n  params:\n    {learner}.{params}\n"
            )
            subprocess.run([automl, "study", "e.yaml", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            file = json.loads(Path(folder, f"automl-store/artifacts/models/g{k}/1/model.json").read_text())
            rows = read(file, Path(folder, "d.csv"))[:20]
            base, values, _ = explain(file, rows)
            cases.append(
                {
                    "name": name,
                    "model": file,
                    "rows": [[None if np.isnan(v) else v for v in row] for row in rows.tolist()],
                    "base": base.tolist(),
                    "values": values.tolist(),
                }
            )
    json.dump({"shap": shap.__version__, "numpy": np.__version__, "cases": cases}, sys.stdout)
    print()


def compare(model, path, explained):
    file = json.loads(Path(model).read_text())
    rows = read(file, path)
    base, values, seconds = explain(file, rows)
    ours = json.loads(Path(explained).read_text())
    names = [f["name"] for f in file["transform"]["schema"]["fields"]]
    found = np.array([[[v[n] for n in names] for v in row["values"]] for row in ours["rows"]])
    theirs = columns(file, values)
    print(
        json.dumps(
            {
                "shap": shap.__version__,
                "rows": len(rows),
                "largest difference": float(np.abs(found - theirs).max()),
                "largest difference of the base": float(np.abs(np.array(ours["base"]) - base).max()),
                "seconds of shap, one thread": round(seconds, 3),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"] and len(sys.argv) == 3:
        golden(str(Path(sys.argv[2]).resolve()))
    elif sys.argv[1:2] == ["compare"] and len(sys.argv) == 5:
        compare(*sys.argv[2:])
    else:
        sys.exit(__doc__)
