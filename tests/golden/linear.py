"""Makes linear.json: elastic-net regression and logistic regression on standardised features, by scikit-learn.

Run: python linear.py > linear.json

A case is a table of numbers with gaps (null) and levels. What the learner does natively is written out here: a gap is the
weighted mean and a 0/1 column, a category is a 0/1 column per level, every column and a numeric target are standardised.
"""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.preprocessing import StandardScaler

warnings.simplefilter("ignore", FutureWarning)
rng = np.random.default_rng(5)
cases = []
for task, alpha, l1_ratio, weighted, intercept, native in [
    ("binary", 0.01, 0.5, False, True, False),
    ("binary", 0.02, 1.0, False, True, False),
    ("binary", 0.005, 0.0, True, True, True),
    ("binary", 0.01, 0.3, True, True, True),
    ("binary", 0.01, 0.5, False, False, False),
    ("multiclass", 0.01, 0.0, False, True, False),
    ("multiclass", 0.01, 0.6, True, True, True),
    ("regression", 0.05, 0.5, False, True, False),
    ("regression", 0.01, 0.0, True, True, True),
    ("regression", 0.1, 1.0, True, True, True),
    ("regression", 0.02, 0.5, False, False, False),
]:
    n = 160
    kind = rng.integers(0, 4, n)
    x = np.column_stack(
        [rng.normal(100, 30, n), rng.normal(0, 0.01, n), rng.integers(0, 2, n), np.full(n, 3.0), rng.normal(size=n)]
    )
    x[:, 4] += x[:, 0] / 30
    signal = (x[:, 0] - 100) / 30 - x[:, 1] / 0.01 + x[:, 2]
    if native:
        signal = signal + np.array([0.0, 1.5, -1.0, 0.3])[kind]
        gap = rng.random(n) < 0.2
        signal[gap] += 1.0
        x[gap, 1] = np.nan
    w = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    if task == "regression":
        y = 50 * signal + rng.normal(0, 40, n) + 1000
    elif task == "binary":
        y = (signal + rng.logistic(size=n) > 0.5).astype(float)
    else:
        y = np.digitize(signal + rng.logistic(size=n), [-0.7, 1.2]).astype(float)

    columns = []
    for j in range(x.shape[1]):
        c = x[:, j].copy()
        if np.nanstd(c) == 0:
            continue  # A constant is not used; without an intercept it would stand in for one.
        missing = np.isnan(c)
        if missing.any():
            c[missing] = np.average(c[~missing], weights=w[~missing])
            columns.append(missing.astype(float))
        columns.append(c)
    if native:
        columns += [(kind == level).astype(float) for level in range(4)]
    z = StandardScaler(with_mean=intercept).fit_transform(np.column_stack(columns), sample_weight=w)
    if task == "regression":
        mean = np.average(y, weights=w) if intercept else 0.0
        deviation = np.sqrt(np.average((y - np.average(y, weights=w)) ** 2, weights=w))
        t = (y - mean) / deviation
        if l1_ratio == 0.0:
            # Ridge by its normal equations: ElasticNet's coordinate descent warns about it.
            a = (z * w[:, None]).T @ z / w.sum() + alpha * np.eye(z.shape[1])
            p = mean + deviation * (z @ np.linalg.solve(a, (z * w[:, None]).T @ t / w.sum()))
        else:
            model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, fit_intercept=intercept, tol=1e-14, max_iter=10**6)
            p = mean + deviation * model.fit(z, t, sample_weight=w).predict(z)
    else:
        model = LogisticRegression(
            C=1 / (alpha * w.sum()),
            l1_ratio=l1_ratio,
            solver="lbfgs" if l1_ratio == 0.0 else "saga",
            tol=1e-12,
            max_iter=10**6,
            fit_intercept=intercept,
            random_state=0,
        ).fit(z, y, sample_weight=w)
        p = model.predict_proba(z)
        p = p[:, 1] if task == "binary" else p
    cells = [[None if np.isnan(v) else float(v) for v in column] for column in x.T]
    cases.append(
        {
            "task": task,
            "params": {"alpha": alpha, "l1_ratio": l1_ratio, "fit_intercept": intercept, "tol": 1e-10, "max_iter": 10000},
            "columns": cells,
            "levels": kind.tolist() if native else None,
            "weights": w.tolist() if weighted else None,
            "truth": y.tolist(),
            "predictions": p.ravel().tolist(),
        }
    )
json.dump(
    {"program": "scikit-learn", "version": sklearn.__version__, "cases": cases},
    sys.stdout,
    separators=(",", ":"),
)
sys.stdout.write("\n")
