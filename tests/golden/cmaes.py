"""States of the package cmaes after updates by fixed points; writes cmaes.json beside itself."""
import importlib.metadata
import json
import pathlib

import numpy as np
from cmaes import CMA, CMAwM, get_warm_start_mgd


def state(cma):
    return {
        "mean": cma._mean.tolist(),
        "sigma": float(cma._sigma),
        "covariance": cma._C.ravel().tolist(),
        "path_c": cma._pc.tolist(),
        "path_sigma": cma._p_sigma.tolist(),
    }


def ellipsoid(x):
    scales = 10.0 ** np.arange(len(x))
    return float(np.sum(scales * (x - 0.3) ** 2) + x[0] * x[-1])


def run(n, population, generations, seed):
    rng = np.random.default_rng(seed)
    cma = CMA(mean=np.full(n, 0.5), sigma=0.2, population_size=population)
    out = {"n": n, "population": cma.population_size, "sigma": 0.2, "groups": []}
    for _ in range(generations):
        # Within the length that no step is shortened from: sqrt(n) + 2.
        basis, lengths = cma._eigen_decomposition()
        points = []
        for _ in range(cma.population_size):
            z = rng.standard_normal(n)
            z *= min(1.0, 0.95 * (np.sqrt(n) + 2) / np.linalg.norm(z))
            points.append(cma._mean + cma._sigma * basis @ (lengths * z))
        told = [(x, ellipsoid(x)) for x in points]
        cma.tell(told)
        told.sort(key=lambda t: t[1])
        out["groups"].append({"ranked": [x.tolist() for x, _ in told], "after": state(cma)})
    return out


def margin(seed):
    """Two lines, a grid of 11 values and one of 2, all on [0, 1] in the middle of equal parts."""
    rng = np.random.default_rng(seed)
    half = np.array([0, 0, 0.5 / 11, 0.5 / 2])
    steps = np.array([0, 0, 1 / 11, 1 / 2])
    bounds = np.stack([half, 1 - half], axis=1)
    cma = CMAwM(mean=np.full(4, 0.47), sigma=0.03, bounds=bounds, steps=steps, seed=5)
    out = {"groups": []}
    for _ in range(15):
        told = []
        for _ in range(cma.population_size):
            encoded, x = cma.ask()
            z = np.linalg.solve(np.linalg.cholesky(cma._cma._C), x - cma.mean) / cma._cma._sigma
            shorter = min(1.0, 0.95 * 4 / np.linalg.norm(z))
            x = cma.mean + (x - cma.mean) * shorter
            told.append((x, float(np.sum((encoded - 0.8) ** 2) + rng.normal() * 1e-6)))
        cma.tell(told)
        told.sort(key=lambda t: t[1])
        after = state(cma._cma)
        after["stretch"] = cma._A.tolist()
        out["groups"].append({"ranked": [x.tolist() for x, _ in told], "after": after})
    return out


rng = np.random.default_rng(9)
source = [(x, float(np.sum((x - 0.6) ** 2))) for x in rng.random((80, 3))]
mean, sigma, cov = get_warm_start_mgd(source)
np.random.seed(4)
out = {
    "made_by": f"cmaes {importlib.metadata.version('cmaes')}, numpy {np.__version__}, cmaes.py",
    "runs": [run(1, None, 8, 1), run(2, 6, 8, 2), run(5, None, 20, 3), run(4, 21, 6, 4)],
    "margin": margin(5),
    "warm": {
        "source": [[*x.tolist(), v] for x, v in source],
        "mean": mean.tolist(),
        "sigma": float(sigma),
        "covariance": cov.ravel().tolist(),
    },
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out) + "\n")
