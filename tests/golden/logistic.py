"""Makes logistic.json: penalised logistic regression on standardised features, by scikit-learn.

Run: python logistic.py > logistic.json
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(11)
cases = []
for n, classes, alpha in [(150, 2, 1.0), (150, 2, 20.0), (120, 3, 1.0)]:
    x = np.column_stack([rng.normal(100, 30, n), rng.normal(0, 0.01, n), rng.integers(0, 2, n), np.full(n, 3.0)])
    z = StandardScaler().fit_transform(x)
    score = z[:, [0]] * np.linspace(-1, 1, classes) * 1.5 + z[:, [1]] * np.linspace(1, -1, classes)
    y = (score + rng.gumbel(size=(n, classes))).argmax(axis=1)
    model = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10000).fit(z, y)
    p = model.predict_proba(z)
    p = p[:, 1] if classes == 2 else p
    cases.append(
        {
            "alpha": alpha,
            "classes": classes,
            "columns": x.T.tolist(),
            "truth": y.tolist(),
            "probabilities": p.ravel().tolist(),
        }
    )
json.dump(
    {"program": "scikit-learn", "version": sklearn.__version__, "cases": cases},
    sys.stdout,
    separators=(",", ":"),
)
sys.stdout.write("\n")
