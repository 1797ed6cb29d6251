"""Optuna's side of the storage tests: `optuna_check.py COMMAND FILE`, where FILE may be a URL or end in `.journal`.

dump FILE       prints what Optuna reads, one JSON object per study
continue FILE   runs three more trials of the study `ours` with Optuna
many FILE       runs more trials of `ours`, among them the one that waits, while others write too
create FILE     makes a file the way an Optuna user would
mixed FILE      prints a line, reads one, and adds twelve trials to the study `s` while others do; the objective is that of
                `workers.rs`
"""

import datetime
import json
import math
import sys
import time

import optuna

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


def utc(time):
    """Optuna shows local time without a zone."""
    if time is None:
        return None
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def trial_record(trial):
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
        "system_attrs": trial.system_attrs,
        "constraints": list(trial.constraints.values()),
        "started": utc(trial.datetime_start),
        "finished": utc(trial.datetime_complete),
    }


def dump(url):
    out = {}
    for name in optuna.get_all_study_names(url):
        study = optuna.load_study(study_name=name, storage=url)
        out[name] = {
            "directions": [d.name for d in study.directions],
            "user_attrs": study.user_attrs,
            "system_attrs": study._storage.get_study_system_attrs(study._study_id),
            "trials": [trial_record(t) for t in study.get_trials(deepcopy=False)],
        }
    print(json.dumps(plain(out)))


def objective(trial):
    x = trial.suggest_float("x", -1.0, 1.0)
    trial.suggest_float("lr", 1e-5, 1.0, log=True)
    trial.suggest_float("grid", 0.0, 1.0, step=0.25)
    trial.suggest_int("n", 1, 100, log=True)
    trial.suggest_categorical("kind", [None, True, 3, 1.5, "z"])
    trial.report(float("nan"), 0)
    trial.report(float("inf"), 1)
    trial.report(-float("inf"), 2)
    trial.report(x, 5)
    trial.set_user_attr("note", {"list": [1, 2.5, None, float("nan")]})
    trial.set_constraint("size", x)
    trial.set_constraint("time", -1.5)
    if trial.number == 2:
        raise optuna.TrialPruned()
    if trial.number == 3:
        return float("inf")
    if trial.number == 4:
        return float("nan")
    return x * x


def beside_others(trial):
    x = trial.suggest_float("x", -1.0, 2.0)
    time.sleep(0.05)
    n = trial.suggest_int("n", 1, 40, log=True)
    k = trial.suggest_categorical("k", ["a", "b"])
    time.sleep(0.05)
    trial.set_user_attr("by", "optuna")
    return (x - 0.3) ** 2 + n / 40 + (1 if k == "a" else 2)


def mixed(url):
    # Loading takes longer than the study: it is said when that is done, and waited for the word to begin.
    import sqlalchemy  # noqa: F401

    if url.startswith("postgresql"):
        import psycopg2  # noqa: F401
    print("ready", flush=True)
    sys.stdin.readline()
    # Others write too, and the limit of waiting is five seconds when none is given.
    wait = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=wait)
    study = optuna.load_study(study_name="s", storage=storage)
    study.optimize(beside_others, n_trials=12)


def main():
    command, path = sys.argv[1:]
    url = path if "://" in path else f"sqlite:///{path}"
    # SQLAlchemy wants to be told the driver.
    url = url.replace("postgres://", "postgresql+psycopg2://")
    if path.endswith(".journal"):
        backend = optuna.storages.journal.JournalFileBackend(path)
        url = optuna.storages.JournalStorage(backend)
    if command == "dump":
        dump(url)
    elif command == "continue":
        study = optuna.load_study(study_name="ours", storage=url)
        study.optimize(objective, n_trials=3)
    elif command == "many":
        study = optuna.load_study(study_name="ours", storage=url)
        study.optimize(objective, n_trials=16)
    elif command == "create":
        study = optuna.create_study(study_name="theirs", storage=url, direction="maximize")
        study.set_user_attr("limit", float("inf"))
        study.enqueue_trial({"x": 0.5, "kind": None}, user_attrs={"from": "the user"})
        study.optimize(objective, n_trials=6)
        study.ask()
        study.enqueue_trial({"x": -0.5})
    elif command == "mixed":
        mixed(url)
    else:
        sys.exit(f"unknown command {command}")


main()
