"""Optuna on several directions: ranks, fronts, crowding, volumes, and how TPE and NSGA-II divide trials. Writes pareto.json."""

import json
import math
import pathlib
import random
import warnings

import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume
from optuna._hypervolume.hssp import _solve_hssp
from optuna.samplers._tpe.sampler import _get_reference_point, _split_trials
from optuna.samplers.nsgaii import _elite_population_selection_strategy as elite
from optuna.study._multi_objective import _fast_non_domination_rank, _is_pareto_front
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")


def plain(value):
    """JSON has no infinities."""
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def cloud(rng, n, d, kind):
    if kind == "line":  # nearly all of them on one front
        rows = [[rng.random() for _ in range(d)] for _ in range(n)]
        return [[x / sum(row) + 0.001 * rng.random() for x in row] for row in rows]
    if kind == "grid":  # many ties
        return [[float(rng.randint(-2, 3)) for _ in range(d)] for _ in range(n)]
    if kind == "infinite":
        return [[rng.choice([0.5, math.inf, rng.gauss(0, 1)]) for _ in range(d)] for _ in range(n)]
    return [[rng.gauss(0, 1) for _ in range(d)] for _ in range(n)]


def crowding(points):
    trials = [optuna.trial.create_trial(values=p) for p in points]
    for number, trial in enumerate(trials):
        trial.number = number
    distances = elite._calc_crowding_distance(list(trials))
    return [float(distances[i]) for i in range(len(points))]


rng = random.Random(11)
points = []
for kind, n, d in [
    ("plain", 40, 1), ("grid", 25, 1),
    ("plain", 60, 2), ("line", 30, 2), ("grid", 40, 2), ("infinite", 25, 2), ("plain", 1, 2),
    ("plain", 50, 3), ("line", 25, 3), ("grid", 60, 3), ("infinite", 30, 3),
    ("plain", 40, 4), ("line", 16, 4), ("grid", 40, 4), ("plain", 30, 5), ("line", 12, 6),
]:
    rows = cloud(rng, n, d, kind)
    losses = np.array(rows)
    case = {
        "points": rows,
        "ranks": _fast_non_domination_rank(losses).tolist(),
        "front": np.flatnonzero(_is_pareto_front(losses, assume_unique_lexsorted=False)).tolist(),
        "crowding": crowding(rows),
    }
    if kind != "infinite":
        reference = losses.max(axis=0) + (0.0 if kind == "grid" else 0.25)
        case["reference"] = reference.tolist()
        case["hypervolume"] = compute_hypervolume(losses, reference)
        near = _get_reference_point(losses)
        case["near"] = near.tolist()
        front = losses[case["front"]]
        case["choices"] = [
            _solve_hssp(front, np.array(case["front"]), size, near).tolist()
            for size in sorted({1, len(front) // 3, len(front) // 2, len(front) - 1, len(front)} - {0})
        ]
    points.append(case)

splits = []
for directions, n, limits, pruned in [
    (["minimize"], 43, 0, True), (["maximize"], 60, 2, True), (["minimize"], 30, 1, False), (["minimize"], 400, 1, False),
    (["minimize", "minimize"], 34, 0, False), (["minimize", "maximize"], 120, 0, False),
    (["maximize", "minimize"], 60, 2, False), (["minimize", "maximize"], 45, 1, False),
    (["minimize", "minimize", "maximize"], 80, 0, False), (["maximize", "minimize", "maximize"], 55, 1, False),
    (["minimize"] * 4, 60, 0, False),
]:
    study = optuna.create_study(directions=directions)
    strict = n == 45  # nothing is feasible
    records = []
    for number in range(n):
        x = [rng.random() for _ in directions]
        if len(x) == 1:
            values = [round(x[0], 2)]
        elif n % 2 == 1:
            values = [round(v, 1) for v in x]
        else:  # directions that contradict each other
            values = [v / sum(x) for v in x] if len(set(directions)) == 1 else x
        constraints = [rng.gauss(2.0 if strict else 0.4, 1.0) for _ in range(limits)]
        record = {"values": values, "constraints": constraints}
        if strict:
            record["constraints"] = [abs(c) + 0.01 for c in constraints]
        if pruned and number % 4 == 1:
            record["reports"] = {str(step): rng.choice([0.2, rng.random()]) for step in range(rng.randint(0, 4))}
        records.append(record)
        study.add_trial(optuna.trial.create_trial(
            state=TrialState.PRUNED if "reports" in record else TrialState.COMPLETE,
            values=None if "reports" in record else values,
            intermediate_values={int(k): v for k, v in record.get("reports", {}).items()},
            params={"x": x[0]},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            system_attrs={"constraints": record["constraints"]} if limits else {},
        ))
    tenth = math.ceil(0.1 * n)
    below, above = _split_trials(study, study.trials, min(tenth, 25) if len(directions) == 1 else tenth)
    sampler = optuna.samplers.TPESampler()
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    estimator = sampler._build_parzen_estimator(study, space, below, handle_below=True)
    case = {
        "directions": directions,
        "trials": records,
        "below": [t.number for t in below],
        "weights": estimator._mixture_distribution.weights.tolist(),
        "best": sorted(t.number for t in study.best_trials) if limits or len(directions) > 1 else None,
    }
    if not pruned:
        # Points without ties, of which it does not matter in which order they come.
        chosen = elite.NSGAIIElitePopulationSelectionStrategy(population_size=20)(study, study.get_trials())
        case["elite"] = sorted(t.number for t in chosen) if n % 2 == 0 and len(directions) > 1 else None
    splits.append(case)

path = pathlib.Path(__file__).with_suffix(".json")
document = {"optuna": optuna.__version__, "numpy": np.__version__, "points": points, "splits": splits}
path.write_text(json.dumps(plain(document)) + "\n")
