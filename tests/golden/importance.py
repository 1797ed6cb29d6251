"""Importance of parameters as Optuna says: PED-ANOVA of one and two directions, fANOVA over ten seeds.

Run with Optuna 5.0.0 and scikit-learn 1.9.1:
    python importance.py > importance.json
"""

import json
import math
import sys
import warnings

import numpy as np
import optuna
import sklearn
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore")


def numbers(trial):
    a = trial.suggest_float("a", -3, 5)
    b = trial.suggest_float("b", 1e-5, 1e2, log=True)
    c = trial.suggest_float("c", 0, 2, step=0.25)
    d = trial.suggest_int("d", 1, 9)
    e = trial.suggest_int("e", 0, 300, step=3)
    f = trial.suggest_int("f", 2, 1000, log=True)
    return (a - 1) ** 2 + 0.3 * abs(math.log10(b)) + 0.5 * c + 0.05 * (d - 4) ** 2 + e / 300 + 1 / f


def mixed(trial):
    x = trial.suggest_float("x", 0, 1)
    kind = trial.suggest_categorical("kind", ["none", "small", "large"])
    flag = trial.suggest_categorical("flag", [True, False])
    only = trial.suggest_categorical("only", [7])
    return (x - 0.3) ** 2 + {"none": 0, "small": 0.2, "large": 0.7}[kind] + 0.05 * flag + only * 0


def conditional(trial):
    model = trial.suggest_categorical("model", ["net", "forest", "tree"])
    if model == "net":
        lr = trial.suggest_float("lr", 1e-6, 1, log=True)
        return 0.2 + (math.log10(lr) + 3) ** 2 / 9
    if model == "forest":
        depth = trial.suggest_int("depth", 1, 32)
        return 0.4 + abs(depth - 10) / 32
    # The same name with another domain.
    depth = trial.suggest_int("depth", 1, 8)
    return 0.8 - depth / 80


def ties(trial):
    i = trial.suggest_int("i", 0, 3)
    j = trial.suggest_int("j", 0, 3)
    return min(i, 1) + 0 * j


def two(trial):
    x = trial.suggest_float("x", 0, 5)
    y = trial.suggest_float("y", 0, 3)
    z = trial.suggest_float("z", 0, 3)
    return 4 * x**2 + 4 * y**2, (x - 5) ** 2 + (y - 5) ** 2 + 0 * z


def domain(distribution):
    if isinstance(distribution, CategoricalDistribution):
        return {"categorical": list(distribution.choices)}
    kind = "float" if isinstance(distribution, FloatDistribution) else "int"
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return {
        kind: [distribution.low, distribution.high],
        "step": distribution.step,
        "log": distribution.log,
    }


def case(name, objective, trials, directions=("minimize",), fanova=True, tpe=False):
    if tpe:
        sampler = optuna.samplers.TPESampler(seed=3)
    else:
        sampler = optuna.samplers.RandomSampler(seed=3)
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.optimize(objective, n_trials=trials)
    result = {
        "name": name,
        "directions": list(directions),
        "trials": [
            {
                "values": t.values,
                "params": [
                    [k, domain(d), d.to_internal_repr(t.params[k])]
                    for k, d in t.distributions.items()
                ],
            }
            for t in study.trials
        ],
        "ped_anova": get_param_importances(study),
    }
    if fanova:
        runs = [
            get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
            for seed in range(10)
        ]
        result["fanova"] = {
            k: [float(np.mean([r[k] for r in runs])), float(np.std([r[k] for r in runs]))]
            for k in runs[0]
        }
    return result


json.dump(
    {
        "optuna": optuna.__version__,
        "scikit-learn": sklearn.__version__,
        "cases": [
            case("numbers", numbers, 120),
            case("numbers_tpe", numbers, 80, tpe=True),
            case("maximize", lambda t: -numbers(t), 40, directions=("maximize",)),
            case("mixed", mixed, 60),
            case("conditional", conditional, 90),
            case("ties", ties, 50),
            case("few", mixed, 3, fanova=False),
            case("two", two, 70, directions=("minimize", "minimize"), fanova=False),
        ],
    },
    sys.stdout,
    separators=(",", ":"),
)
