"""Storages written by Optuna, and what Optuna reads from them: `optuna_storages.py FOLDER`.

Writes FOLDER/optunaN.db (SQLite), FOLDER/optunaN.log (journal) and FOLDER/optunaN.json, where N is the first number of the
installed version of Optuna. The committed files were made by

    pip install --target v4 optuna==4.5.0 && PYTHONPATH=v4 python optuna_storages.py .
    pip install --target v5 optuna==5.0.0 && PYTHONPATH=v5 python optuna_storages.py .

Local time is that of Asia/Tokyo, so that it can be told from UTC: Optuna 4 wrote local time into the database.
"""

import datetime
import json
import math
import os
import pathlib
import sqlite3
import sys
import time

os.environ["TZ"] = "Asia/Tokyo"
time.tzset()

import optuna  # noqa: E402  (the zone comes first)
from optuna.storages import JournalStorage  # noqa: E402
from optuna.storages.journal import JournalFileBackend  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)


def plain(value):
    """JSON without bare NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def utc(when):
    """Optuna shows local time without a zone."""
    if when is None:
        return None
    return when.astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def trial_record(storage, trial):
    return {
        "number": trial.number,
        "state": trial.state.name,
        "params": trial.params,
        "distributions": {
            name: json.loads(optuna.distributions.distribution_to_json(d))
            for name, d in trial.distributions.items()
        },
        "values": trial.values,
        "intermediate": {str(k): v for k, v in sorted(trial.intermediate_values.items())},
        "user_attrs": trial.user_attrs,
        "system_attrs": storage.get_trial(trial._trial_id).system_attrs,
        "started": utc(trial.datetime_start),
        "finished": utc(trial.datetime_complete),
    }


def dump(storage):
    out = {}
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        out[name] = {
            "directions": [d.name for d in study.directions],
            "user_attrs": study.user_attrs,
            "system_attrs": storage.get_study_system_attrs(study._study_id),
            "trials": [trial_record(storage, t) for t in study.get_trials(deepcopy=False)],
        }
    return plain(out)


def one(trial):
    """Every kind of parameter, number and ending."""
    x = trial.suggest_float("x", -1.0, 1.0)
    trial.suggest_float("lr", 1e-5, 1.0, log=True)
    trial.suggest_float("grid", 0.0, 1.0, step=0.25)
    trial.suggest_int("n", 1, 100, log=True)
    trial.suggest_int("even", 2, 10, step=2)
    if trial.suggest_categorical("kind", [None, True, 3, 1.5, "z"]) == 3:
        trial.suggest_float("only for three", 0.0, 1.0)
    for step, value in enumerate([float("nan"), float("inf"), -float("inf"), x]):
        trial.report(value, step)
    trial.set_user_attr("note", {"list": [1, 2.5, None], "text": 'wörd "quoted"\n🌲'})
    if trial.number == 2:
        raise optuna.TrialPruned()
    if trial.number == 3:
        return float("inf")
    if trial.number == 4:
        return float("nan")
    if trial.number == 5:
        return -float("inf")
    return x * x


def two(trial):
    x = trial.suggest_float("x", 0.0, 1.0)
    y = trial.suggest_float("y", 0.0, 1.0)
    trial.set_user_attr("sum", x + y)
    return x, (1.0 - x) * (1.0 + y)


def fill(storage):
    study = optuna.create_study(
        study_name="one",
        storage=storage,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=1),
    )
    study.set_user_attr("about", {"rows": 7043, "limit": None})
    study.enqueue_trial({"x": 0.5, "kind": None}, user_attrs={"from": "the user"})
    study.optimize(one, n_trials=10)
    study.ask()
    study.enqueue_trial({"x": -0.5, "kind": "z"})
    study = optuna.create_study(
        study_name="two",
        storage=storage,
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.NSGAIISampler(
            seed=1,
            population_size=4,
            constraints_func=lambda trial: (trial.user_attrs["sum"] - 0.8,),
        ),
    )
    study.set_metric_names(["gain", "cost"])
    study.optimize(two, n_trials=8)


def main():
    folder = pathlib.Path(sys.argv[1])
    base = f"optuna{optuna.__version__.split('.')[0]}"
    file, journal = folder / f"{base}.db", folder / f"{base}.log"
    for old in (file, journal):
        old.unlink(missing_ok=True)
    rdb = optuna.storages.RDBStorage(f"sqlite:///{file}")
    fill(rdb)
    log = JournalStorage(JournalFileBackend(str(journal)))
    fill(log)
    document = {"optuna": optuna.__version__, "db": dump(rdb), "log": dump(log)}
    with open(folder / f"{base}.json", "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1, ensure_ascii=False)
        out.write("\n")
    rdb.remove_session()
    rdb.engine.dispose()
    # Pages of a kilobyte hold the same rows in a quarter of the bytes.
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("VACUUM")


main()
