"""Makes learners.json: scores of LightGBM's and scikit-learn's ensembles on public data, on folds that need no random
numbers: the k-th row used belongs to fold k mod 5.

Run: python learners.py FOLDER_WITH_THE_CSV_FILES > learners.json
"""

import json
import sys
import warnings
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_squared_error, roc_auc_score

warnings.filterwarnings("ignore")
FOLDER = Path(sys.argv[1])
# Forests are scored with several seeds: their mean is the reference, their spread the reason of the tolerance.
SEEDS = 5


def telco():
    data = pd.read_csv(FOLDER / "telco.csv").drop(columns="customerID")
    y = (data.pop("Churn") == "Yes").to_numpy().astype(int)
    data["TotalCharges"] = pd.to_numeric(data["TotalCharges"], errors="coerce")
    return data, y


def recipe(data):
    """The recipe that the preset `telco` names."""
    data = data.copy()
    hot = ["gender", "InternetService", "Contract", "PaymentMethod"]
    numbers = {"Yes": 1, "No": 0, "No internet service": 0, "No phone service": 0}
    for column in data.columns:
        if column not in hot and not pd.api.types.is_numeric_dtype(data[column]):
            data[column] = data[column].map(numbers)
    data["TotalCharges"] = data["TotalCharges"].fillna(data["TotalCharges"].median())
    return pd.get_dummies(data, columns=hot, drop_first=True).astype(float)


def categories(data):
    """Every column that is no number as a category."""
    data = data.copy()
    for column in data.columns:
        if not pd.api.types.is_numeric_dtype(data[column]):
            data[column] = data[column].astype("category")
    return data


def housing():
    data = pd.read_csv(FOLDER / "california_housing.csv").iloc[::4].reset_index(drop=True)
    y = data.pop("median_house_value").to_numpy()
    return pd.get_dummies(data, columns=["ocean_proximity"]).astype(float), y


def wine():
    data = pd.read_csv(FOLDER / "wine_quality.csv")
    data["color"] = (data["color"] == "white").astype(float)
    y = data.pop("quality").to_numpy().astype(float)
    return data.astype(float), y


def covertype():
    data = pd.read_csv(FOLDER / "covertype15k.csv").iloc[::5].reset_index(drop=True)
    y = data.pop("Cover_Type").to_numpy()
    return data.astype(float), y


def cross_validate(x, y, make, scores):
    """The mean of every score over the folds, and over the seeds its spread."""
    by_seed = []
    for seed in range(SEEDS):
        by_fold = []
        for k in range(5):
            test = np.arange(len(y)) % 5 == k
            model = make(seed).fit(x[~test], y[~test])
            by_fold.append([score(model, x[test], y[test]) for score in scores.values()])
        by_seed.append(np.mean(by_fold, axis=0))
    mean, spread = np.mean(by_seed, axis=0), np.std(by_seed, axis=0, ddof=1)
    return {n: {"mean": m, "sd": s} for n, m, s in zip(scores, mean.tolist(), spread.tolist())}


def gbt(kind, params):
    names = {
        "max_leaves": "num_leaves",
        "min_leaf": "min_child_samples",
        "colsample": "colsample_bytree",
        "category_smoothing": "cat_smooth",
    }
    # LightGBM always counts the rows of a leaf by their hessians.
    given = {names.get(k, k): v for k, v in params.items() if k != "min_leaf_counts"}
    given.setdefault("max_depth", -1)
    make = lightgbm.LGBMRegressor if kind == "regression" else lightgbm.LGBMClassifier
    return lambda seed: make(**given, subsample_freq=1, random_state=seed, verbose=-1, n_jobs=1)


def forest(kind, params):
    make = RandomForestRegressor if kind == "regression" else RandomForestClassifier
    return lambda seed: make(**params, random_state=seed, n_jobs=1)


SCORES = {
    "roc_auc": lambda m, x, y: roc_auc_score(y, m.predict_proba(x)[:, 1]),
    "accuracy": lambda m, x, y: accuracy_score(y, m.predict(x)),
    "f1": lambda m, x, y: f1_score(y, m.predict(x)),
    "log_loss": lambda m, x, y: log_loss(y, m.predict_proba(x), labels=m.classes_),
    "rmse": lambda m, x, y: mean_squared_error(y, m.predict(x)) ** 0.5,
}
FORESTS = [
    {"n_estimators": 50},
    {"n_estimators": 50, "min_samples_leaf": 10},
    {"n_estimators": 50, "max_depth": 8, "max_features": 0.3},
]
BOOSTED = [
    {"n_estimators": 60},
    {"n_estimators": 100, "learning_rate": 0.05, "max_depth": 3, "reg_lambda": 1.0},
    {"n_estimators": 60, "max_leaves": 15, "min_leaf": 50, "subsample": 0.8, "colsample": 0.5},
    {"n_estimators": 60, "max_leaves": 8, "min_leaf": 5, "reg_alpha": 1.0, "reg_lambda": 5.0},
]

raw, churn = telco()
plans = [("telco", "telco", "random_forest", "binary", p, ["roc_auc", "accuracy", "f1"]) for p in FORESTS]
plans += [("telco", "telco", "gbt", "binary", p, ["roc_auc"]) for p in BOOSTED]
plans += [("telco", "native", "gbt", "binary", BOOSTED[1], ["roc_auc"])]
plans += [("california_housing", "one_hot", "random_forest", "regression", {"n_estimators": 20}, ["rmse"])]
plans += [("california_housing", "one_hot", "gbt", "regression", {"n_estimators": 100}, ["rmse"])]
# Trees of single rows give probabilities of 0 for rare classes, whose log loss is luck; five rows a leaf do not.
leaf5 = {"n_estimators": 30, "min_samples_leaf": 5}
plans += [("covertype15k", "native", "random_forest", "multiclass", leaf5, ["accuracy", "log_loss"])]
boosted = {"n_estimators": 30, "max_leaves": 15}
plans += [("covertype15k", "native", "gbt", "multiclass", boosted, ["accuracy", "log_loss"])]
# The settings of docs/quality.md. Their tolerance is about four standard deviations of the difference that is seen there.
even = {"n_estimators": 200, "learning_rate": 0.05, "min_leaf_counts": "hessians"}
plans += [("telco", "telco", "gbt", "binary", even, ["roc_auc", "log_loss"])]
plans += [("wine_quality", "one_hot", "gbt", "regression", even, ["rmse"])]
TOLERANCES = {"roc_auc": 0.002, "log_loss": 0.003, "rmse": 0.003}

cases = []
for data, preset, learner, kind, params, names in plans:
    if data == "telco":
        x, y = (recipe(raw) if preset == "telco" else categories(raw)), churn
    else:
        x, y = {"california_housing": housing, "covertype15k": covertype, "wine_quality": wine}[data]()
    make = (gbt if learner == "gbt" else forest)(kind, params)
    scores = cross_validate(x, y, make, {n: SCORES[n] for n in names})
    if params is even:
        for name, score in scores.items():
            score["tolerance"] = TOLERANCES[name]
    cases.append({"data": data, "preset": preset, "learner": learner, "params": params, "scores": scores})
    print(cases[-1], file=sys.stderr, flush=True)
versions = {"scikit-learn": sklearn.__version__, "lightgbm": lightgbm.__version__}
json.dump({"versions": versions, "cases": cases}, sys.stdout, indent=1)
sys.stdout.write("\n")
