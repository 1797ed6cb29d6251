"""Makes metrics.json: inputs and what scikit-learn makes of them.

Run: python metrics.py > metrics.json
"""

import json
import sys

import numpy as np
import sklearn
from sklearn import metrics as m

rng = np.random.default_rng(20240607)


def ece(confidence, hit, weights):
    """10 bins of equal width; not in scikit-learn, so written out with numpy."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    total = 0.0
    for b in range(10):
        at = bins == b
        total += abs(np.sum(weights[at] * confidence[at]) - np.sum(weights[at] * hit[at]))
    return total / np.sum(weights)


def binary(y, p, w, threshold):
    label = (p >= threshold).astype(int)
    ones = np.ones(len(y)) if w is None else w
    return {
        "roc_auc": m.roc_auc_score(y, p, sample_weight=w),
        "average_precision": m.average_precision_score(y, p, sample_weight=w),
        "log_loss": m.log_loss(y, p, sample_weight=w, labels=[0, 1]),
        "brier": m.brier_score_loss(y, p, sample_weight=w),
        "accuracy": m.accuracy_score(y, label, sample_weight=w),
        "balanced_accuracy": m.balanced_accuracy_score(y, label, sample_weight=w),
        "precision": m.precision_score(y, label, sample_weight=w, zero_division=0),
        "recall": m.recall_score(y, label, sample_weight=w, zero_division=0),
        "f1": m.f1_score(y, label, sample_weight=w, zero_division=0),
        "mcc": m.matthews_corrcoef(y, label, sample_weight=w),
        "ece": ece(p, y, ones),
    }


def multiclass(y, p, w, _):
    label = p.argmax(axis=1)
    classes = list(range(p.shape[1]))
    ones = np.ones(len(y)) if w is None else w
    macro = {"average": "macro", "sample_weight": w, "zero_division": 0}
    values = {
        "roc_auc": m.roc_auc_score(y, p, multi_class="ovr", average="macro", sample_weight=w, labels=classes),
        "average_precision": m.average_precision_score(y, p, average="macro", sample_weight=w),
        "log_loss": m.log_loss(y, p, sample_weight=w, labels=classes),
        "brier": m.brier_score_loss(y, p, sample_weight=w, labels=classes),
        "accuracy": m.accuracy_score(y, label, sample_weight=w),
        "balanced_accuracy": m.balanced_accuracy_score(y, label, sample_weight=w),
        "precision": m.precision_score(y, label, **macro),
        "recall": m.recall_score(y, label, **macro),
        "f1": m.f1_score(y, label, **macro),
        "f1_weighted": m.f1_score(y, label, average="weighted", sample_weight=w, zero_division=0),
        "mcc": m.matthews_corrcoef(y, label, sample_weight=w),
        "ece": ece(p.max(axis=1), (label == y).astype(float), ones),
    }
    for name in ["precision", "recall", "f1"]:
        values[name + "_macro"] = values[name]
    values["roc_auc_ovr"] = values["roc_auc"]
    return values


def regression(y, p, w, _):
    return {
        "r2": m.r2_score(y, p, sample_weight=w),
        "rmse": m.root_mean_squared_error(y, p, sample_weight=w),
        "mae": m.mean_absolute_error(y, p, sample_weight=w),
        "mse": m.mean_squared_error(y, p, sample_weight=w),
        "medae": m.median_absolute_error(y, p, sample_weight=w),
        "mape": m.mean_absolute_percentage_error(y, p, sample_weight=w),
    }


def case(name, task, y, p, w=None, threshold=0.5):
    values = {"binary": binary, "multiclass": multiclass, "regression": regression}[task](y, p, w, threshold)
    it = {
        "name": name,
        "task": task,
        "width": 1 if p.ndim == 1 else p.shape[1],
        "threshold": threshold,
        "truth": [float(v) for v in y],
        "predictions": [float(v) for v in p.ravel()],
        "weights": None if w is None else [float(v) for v in w],
        "expected": {k: float(v) for k, v in values.items()},
    }
    if task == "binary" and w is None:
        # The best F1 over every threshold that a probability can be.
        it["best_f1"] = float(max(m.f1_score(y, (p >= t).astype(int), zero_division=0) for t in np.unique(p)))
    return it


def binary_data(n, rate, digits):
    y = (rng.random(n) < rate).astype(int)
    p = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * y - 1)))
    return y, p if digits is None else np.round(p, digits)


cases = []
y, p = binary_data(400, 0.27, None)
cases.append(case("distinct", "binary", y, p))
y, p = binary_data(600, 0.27, 1)
cases.append(case("many ties", "binary", y, p, threshold=0.35))
y, p = binary_data(500, 0.03, 2)
cases.append(case("imbalanced, with ties", "binary", y, p))
y, p = binary_data(300, 0.4, 2)
p[:20] = 0.0
p[20:40] = 1.0
p[40:44] = [5e-324, 1e-300, 1 - 2**-53, 2**-53]
cases.append(case("extreme probabilities", "binary", y, p))
cases.append(case("extreme probabilities, weights", "binary", y, p, rng.gamma(2.0, size=300), 0.6))
y, p = binary_data(400, 0.27, 2)
w = rng.gamma(2.0, size=400)
w[::17] = 0.0
cases.append(case("ties, weights, some 0", "binary", y, p, w))
cases.append(case("nothing called positive", "binary", y, p * 0.4))

for name, n, scale, weighted in [("four classes", 500, 1.5, False), ("four classes, weights", 400, 0.8, True)]:
    y = rng.choice(4, size=n, p=[0.55, 0.25, 0.15, 0.05])
    z = rng.normal(size=(n, 4)) + scale * np.eye(4)[y]
    z = np.round(z, 1)
    p = np.exp(z)
    p = p / p.sum(axis=1, keepdims=True)
    cases.append(case(name, "multiclass", y, p, rng.gamma(2.0, size=n) if weighted else None))
y = rng.choice(4, size=300, p=[0.55, 0.25, 0.15, 0.05])
p = np.eye(4)[np.where(rng.random(300) < 0.8, y, 0)]
cases.append(case("four classes, certain", "multiclass", y, p))

y = rng.normal(50, 20, size=400)
p = y + rng.normal(0, 8, size=400)
cases.append(case("regression, even", "regression", y, p))
cases.append(case("regression, odd", "regression", y[:399], p[:399]))
cases.append(case("regression, weights", "regression", y, p, rng.gamma(2.0, size=400)))
cases.append(case("regression, far from 0", "regression", 1e6 + y, 1e6 + y[::-1].copy()))

json.dump(
    {
        "program": "scikit-learn",
        "version": sklearn.__version__,
        "numpy": np.__version__,
        "cases": cases,
    },
    sys.stdout,
    indent=None,
    separators=(",", ":"),
)
sys.stdout.write("\n")
