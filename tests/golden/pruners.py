"""Decisions of Optuna's pruners on made-up reports: writes pruners.json beside this file.

Hyperband is taken with one bracket, since Optuna draws brackets from the study's name.
"""

import copy
import json
import math
import pathlib
import random
import warnings

import optuna
import scipy

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")
P = optuna.pruners
CASES = [
    ("median", {}, P.MedianPruner()),
    ("median", {"n_startup_trials": 0, "n_warmup_steps": 3, "interval_steps": 2, "n_min_trials": 3},
     P.MedianPruner(0, 3, 2, n_min_trials=3)),
    ("percentile", {"percentile": 30.0, "n_startup_trials": 2}, P.PercentilePruner(30.0, 2)),
    ("percentile", {"percentile": 80.0, "interval_steps": 3}, P.PercentilePruner(80.0, interval_steps=3)),
    ("asha", {}, P.SuccessiveHalvingPruner()),
    ("asha", {"min_resource": 1, "reduction_factor": 2}, P.SuccessiveHalvingPruner(1, 2)),
    ("asha", {"min_resource": 2, "reduction_factor": 3, "min_early_stopping_rate": 1, "bootstrap_count": 3},
     P.SuccessiveHalvingPruner(2, 3, 1, 3)),
    ("hyperband", {"min_resource": 4, "max_resource": 8, "reduction_factor": 3},
     P.HyperbandPruner(4, 8, 3)),
    ("patient", {"patience": 2}, P.PatientPruner(None, 2)),
    ("patient", {"patience": 1, "min_delta": 0.2, "pruner": {"median": {"n_startup_trials": 1}}},
     P.PatientPruner(P.MedianPruner(1), 1, 0.2)),
    ("threshold", {"lower": -1.0, "upper": 1.5, "n_warmup_steps": 2}, P.ThresholdPruner(-1.0, 1.5, 2)),
    ("wilcoxon", {}, P.WilcoxonPruner()),
    ("wilcoxon", {"p_threshold": 0.3, "n_startup_steps": 4}, P.WilcoxonPruner(p_threshold=0.3, n_startup_steps=4)),
]

cases = []
for direction in ["minimize", "maximize"]:
    for number, (name, params, pruner) in enumerate(CASES):
        rng = random.Random(100 + number)
        # A pruner keeps what it learnt of one study.
        study = optuna.create_study(direction=direction, pruner=copy.deepcopy(pruner),
                                    sampler=optuna.samplers.RandomSampler(seed=0))
        blocks = [rng.gauss(0, 0.5) for _ in range(16)]
        trials = []
        for t in range(40):
            trial = study.ask()
            level, reports, pruned = rng.gauss(0, 0.5), [], False
            steps = range(1, 17) if t % 3 else range(2, 17, 2)
            for step in steps:
                # Rounded, so that equal values occur.
                value = round(level + blocks[step - 1] + rng.gauss(0, 0.3), 1)
                if rng.random() < 0.01 and name != "wilcoxon":
                    value = math.nan
                trial.report(value, step)
                # A NaN is reported as null.
                pruned = bool(trial.should_prune())
                reports.append([step, None if math.isnan(value) else value, pruned])
                if pruned:
                    break
            if pruned:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                value = None
            else:
                values = [v for _, v, _ in reports if v is not None]
                value = sum(values) / len(values)
                study.tell(trial, value)
            trials.append({"value": value, "reports": reports})
        cases.append({"pruner": name, "params": params, "direction": direction, "trials": trials})

out = {"optuna": optuna.__version__, "scipy": scipy.__version__, "cases": cases}
path = pathlib.Path(__file__).with_name("pruners.json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
print(path, path.stat().st_size)
