"""Posterior of scikit-learn's Gaussian process at fixed kernel parameters; writes gp.json beside itself."""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

rng = np.random.default_rng(3)
x = rng.random((23, 3))
y = np.sin(5 * x[:, 0]) + x[:, 1] ** 2 - 0.3 * x[:, 2]
scale, lengths, noise = 1.7, np.array([0.4, 0.9, 2.5]), 1e-3
gp = GaussianProcessRegressor(
    ConstantKernel(scale) * Matern(lengths, nu=2.5), alpha=noise, optimizer=None
).fit(x, y)
at = rng.random((9, 3))
mean, deviation = gp.predict(at, return_std=True)
out = {
    "made_by": f"scikit-learn {sklearn.__version__}, gp.py",
    "x": x.tolist(),
    "y": y.tolist(),
    "scale": scale,
    "lengths": lengths.tolist(),
    "noise": noise,
    "at": at.tolist(),
    "mean": mean.tolist(),
    "deviation": deviation.tolist(),
    "ln_likelihood": gp.log_marginal_likelihood(),
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out, indent=1) + "\n")
