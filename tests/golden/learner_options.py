"""Makes learner_options.json: scores of LightGBM's and scikit-learn's ensembles with each loss and option, on public data, on
folds that need no random numbers: the k-th row used belongs to fold k mod 5.

Run: python learner_options.py FOLDER_WITH_THE_CSV_FILES > learner_options.json
"""

import json
import sys
import warnings
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
    mean_tweedie_deviance,
    roc_auc_score,
)

warnings.filterwarnings("ignore")
FOLDER = Path(sys.argv[1])
# Everything is fitted several times: with other seeds, and boosting with other numbers of bins too, since where edges lie moves
# a score as much as luck does. The mean is the reference, the spread the reason of the tolerance.
BINS = [255, 254, 250, 240, 230, 200]
STEPS = {"california_housing": 4, "wine_quality": 1, "telco": 1, "covertype15k": 5}


def load(name, target):
    data = pd.read_csv(FOLDER / f"{name}.csv").iloc[:: STEPS[name]].reset_index(drop=True)
    if name == "telco":
        data = data.drop(columns="customerID")
        data["TotalCharges"] = pd.to_numeric(data["TotalCharges"], errors="coerce")
    y = data.pop(target)
    y = (y == "Yes").astype(int) if name == "telco" else y
    if name == "telco":
        # The recipe that the preset `telco` names.
        hot = ["gender", "InternetService", "Contract", "PaymentMethod"]
        numbers = {"Yes": 1, "No": 0, "No internet service": 0, "No phone service": 0}
        for column in data.columns:
            if column not in hot and not pd.api.types.is_numeric_dtype(data[column]):
                data[column] = data[column].map(numbers)
        data["TotalCharges"] = data["TotalCharges"].fillna(data["TotalCharges"].median())
        return pd.get_dummies(data, columns=hot, drop_first=True).astype(float), y.to_numpy()
    hot = [c for c in data.columns if not pd.api.types.is_numeric_dtype(data[c])]
    return pd.get_dummies(data, columns=hot).astype(float), y.to_numpy()


NAMES = {
    "max_leaves": "num_leaves",
    "min_leaf": "min_child_samples",
    "colsample": "colsample_bytree",
    "colsample_node": "feature_fraction_bynode",
    "loss_alpha": "alpha",
    "tweedie_power": "tweedie_variance_power",
    "goss_top": "top_rate",
    "goss_other": "other_rate",
}
LOSSES = {"squared": "regression", "absolute": "regression_l1"}


def gbt(kind, params, columns):
    given = {NAMES.get(k, k): v for k, v in params.items()}
    given.setdefault("max_depth", -1)
    if "loss" in given:
        loss = given.pop("loss")
        given["objective"] = LOSSES.get(loss, loss)
    if "top_rate" in given:
        given["data_sample_strategy"] = "goss"
    up, down = given.pop("increasing", []), given.pop("decreasing", [])
    if up or down:
        given["monotone_constraints"] = [int(c in up) - int(c in down) for c in columns]
    groups = given.pop("interactions", None)
    if groups:
        rest = [c for c in columns if not any(c in g for g in groups)]
        given["interaction_constraints"] = [[list(columns).index(c) for c in g] for g in groups + [rest]]
    make = lightgbm.LGBMRegressor if kind == "regression" else lightgbm.LGBMClassifier
    return lambda seed: make(**given, subsample_freq=1, random_state=seed, max_bin=BINS[seed], verbose=-1, n_jobs=1)


def forest(kind, params, columns):
    return lambda seed: RandomForestClassifier(**params, random_state=seed, n_jobs=1)


def extra_trees(kind, params, columns):
    make = ExtraTreesRegressor if kind == "regression" else ExtraTreesClassifier
    return lambda seed: make(**params, random_state=seed, n_jobs=1)


MAKE = {"gbt": gbt, "random_forest": forest, "extra_trees": extra_trees}


def score(name, params, model, x, y):
    if name == "roc_auc":
        return roc_auc_score(y, model.predict_proba(x)[:, 1])
    if name == "log_loss":
        return log_loss(y, model.predict_proba(x), labels=model.classes_)
    predicted = model.predict(x)
    return {
        "accuracy": lambda: float(np.mean(y == predicted)),
        "rmse": lambda: mean_squared_error(y, predicted) ** 0.5,
        "mae": lambda: mean_absolute_error(y, predicted),
        "pinball": lambda: mean_pinball_loss(y, predicted, alpha=params["loss_alpha"]),
        "poisson_deviance": lambda: mean_poisson_deviance(y, predicted),
        "tweedie_deviance": lambda: mean_tweedie_deviance(y, predicted, power=params["tweedie_power"]),
    }[name]()


HOUSE = ("california_housing", "median_house_value", "regression")
WINE = ("wine_quality", "quality", "regression")
SULFUR = ("wine_quality", "free_sulfur_dioxide", "regression")
CITRIC = ("wine_quality", "citric_acid", "regression")
TELCO = ("telco", "Churn", "binary")
COVER = ("covertype15k", "Cover_Type", "multiclass")
plans = []
for data in [HOUSE, WINE]:
    delta = 50_000.0 if data is HOUSE else 0.5
    plans += [(*data, "gbt", {"loss": "squared"}, ["rmse", "mae"])]
    plans += [(*data, "gbt", {"loss": "absolute"}, ["rmse", "mae"])]
    plans += [(*data, "gbt", {"loss": "huber", "loss_alpha": delta}, ["rmse", "mae"])]
    for level in [0.1, 0.5, 0.9]:
        plans += [(*data, "gbt", {"loss": "quantile", "loss_alpha": level}, ["pinball"])]
    plans += [(*data, "gbt", {"loss": "poisson"}, ["rmse", "poisson_deviance"])]
    plans += [(*data, "gbt", {"loss": "tweedie", "tweedie_power": 1.5}, ["rmse", "tweedie_deviance"])]
plans += [(*SULFUR, "gbt", {"loss": "poisson"}, ["rmse", "poisson_deviance"])]
plans += [(*CITRIC, "gbt", {"loss": "tweedie", "tweedie_power": 1.2}, ["rmse", "tweedie_deviance"])]
small = {"n_estimators": 100, "max_leaves": 15}
plans += [(*TELCO, "gbt", {**small, "class_weight": "balanced"}, ["roc_auc", "log_loss"])]
plans += [(*TELCO, "gbt", {**small, "goss_top": 0.2, "goss_other": 0.1}, ["roc_auc", "log_loss"])]
plans += [(*HOUSE, "gbt", {"goss_top": 0.2, "goss_other": 0.1}, ["rmse"])]
plans += [(*TELCO, "gbt", {**small, "colsample_node": 0.3}, ["roc_auc", "log_loss"])]
plans += [(*HOUSE, "gbt", {"colsample_node": 0.5}, ["rmse"])]
plans += [(*TELCO, "gbt", {**small, "extra_trees": True}, ["roc_auc", "log_loss"])]
plans += [(*HOUSE, "gbt", {"extra_trees": True}, ["rmse"])]
up = {"increasing": ["median_income"], "decreasing": ["population", "latitude"]}
plans += [(*HOUSE, "gbt", up, ["rmse"])]
plans += [(*TELCO, "gbt", {**small, "decreasing": ["tenure"], "increasing": ["MonthlyCharges"]}, ["roc_auc", "log_loss"])]
groups = {"interactions": [["longitude", "latitude"], ["median_income", "housing_median_age"]]}
plans += [(*HOUSE, "gbt", groups, ["rmse"])]
balanced = {"n_estimators": 50, "min_samples_leaf": 10, "class_weight": "balanced"}
# scikit-learn draws a bootstrap by weight and then counts every draw as 1, we draw evenly and multiply: ranks agree, while the
# probabilities of small leaves differ.
plans += [(*TELCO, "random_forest", balanced, ["roc_auc"])]
for params in [{"n_estimators": 100}, {"n_estimators": 100, "min_samples_leaf": 10, "max_features": 0.5}]:
    plans += [(*TELCO, "extra_trees", params, ["roc_auc"])]
    plans += [(*HOUSE, "extra_trees", params, ["rmse"])]
    plans += [(*COVER, "extra_trees", params, ["accuracy"])]

cases = []
for data, target, kind, learner, params, names in plans:
    x, y = load(data, target)
    by_seed = []
    for seed in range(len(BINS)):
        by_fold = []
        for k in range(5):
            test = np.arange(len(y)) % 5 == k
            model = MAKE[learner](kind, params, list(x.columns))(seed).fit(x[~test], y[~test])
            by_fold.append([score(n, params, model, x[test], y[test]) for n in names])
        by_seed.append(np.mean(by_fold, axis=0))
    mean = np.mean(by_seed, axis=0).tolist()
    spread = np.std(by_seed, axis=0, ddof=1).tolist()
    scores = {n: {"mean": m, "sd": s} for n, m, s in zip(names, mean, spread)}
    cases.append({"data": data, "target": target, "learner": learner, "params": params, "scores": scores})
    print(cases[-1], file=sys.stderr, flush=True)
versions = {"scikit-learn": sklearn.__version__, "lightgbm": lightgbm.__version__}
json.dump({"versions": versions, "cases": cases}, sys.stdout, indent=1)
sys.stdout.write("\n")
