"""Makes calibration.json: isotonic regression and Platt scaling of probabilities, by scikit-learn.

Run: python calibration.py > calibration.json

Platt scaling is fitted to logits of probabilities kept 1e-12 away from 0 and 1, as the crate does.
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

rng = np.random.default_rng(3)


def logit(p):
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return np.log(p / (1 - p))


cases = []
for n, digits, bend, rate in [(400, 17, 2.0, 0.0), (400, 2, 0.5, -1.0), (300, 1, 1.0, 1.0), (60, 17, 3.0, -2.0)]:
    z = rng.normal(size=n)
    y = (z + rng.logistic(size=n) * 0.7 + rate > 0).astype(int)
    p = np.round(1 / (1 + np.exp(-bend * z)), digits)
    at = np.concatenate([np.linspace(0, 1, 41), rng.random(20), p[:20]])
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    platt = _SigmoidCalibration().fit(logit(p), y)
    cases.append(
        {
            "p": p.tolist(),
            "truth": y.tolist(),
            "at": at.tolist(),
            "isotonic": isotonic.predict(at).tolist(),
            "platt": platt.predict(logit(at)).tolist(),
        }
    )
json.dump({"program": "scikit-learn", "version": sklearn.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
