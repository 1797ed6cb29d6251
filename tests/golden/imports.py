"""Small models of LightGBM and XGBoost with their own predictions, for the tests of `automl import`.

    python tests/golden/imports.py lightgbm      # writes imports/lightgbm.json and its models; LightGBM 4.7
    python tests/golden/imports.py xgboost       # writes imports/xgboost<major>.json and its models; XGBoost 2.1 and 3.2

Rows hold missing values, zeros, levels, and for every threshold the numbers on it and beside it, in 32 and in 64 bits.
"""
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parent / "imports"
FOLDER.mkdir(exist_ok=True)
COLORS = ["blue", "green", "red", "white", "ivory", "black"]


def rows():
    rng = np.random.default_rng(11)
    n = 400
    frame = pd.DataFrame({
        "a": np.round(rng.normal(size=n), 3),
        "b": rng.integers(0, 4, n).astype(float),
        "c": rng.gamma(2.0, size=n).astype(np.float32).astype(float),
        "color": rng.choice(COLORS, n),
        "code": rng.integers(0, 12, n).astype(float),
    })
    score = frame.a + (frame.b == 0) + 0.3 * frame.c + (frame.color == "red") - (frame.code % 3 == 1)
    for column, share in (("a", 0.15), ("b", 0.1), ("code", 0.05)):
        frame.loc[rng.random(n) < share, column] = np.nan
    frame.loc[rng.random(n) < 0.1, "color"] = None
    score = score + rng.normal(size=n) * 0.5
    return frame, score


def beside(thresholds):
    """The numbers on a threshold and next to it."""
    found = []
    for t in thresholds:
        t32 = np.float32(t)
        down, up = np.nextafter(t32, np.float32(-np.inf)), np.nextafter(t32, np.float32(np.inf))
        middle = (float(t32) + float(down)) / 2
        found += [t, np.nextafter(t, -np.inf), np.nextafter(t, np.inf), float(down), float(up), middle,
                  np.nextafter(middle, -np.inf), np.nextafter(middle, np.inf)]
    return found


def with_edges(frame, thresholds):
    """Some rows of the table, then rows whose numbers lie beside thresholds."""
    some = frame.iloc[:60]
    extra = []
    for column, found in thresholds.items():
        for i, number in enumerate(beside(sorted(set(found))[:6])):
            row = frame.iloc[60 + i % 300].copy()
            row[column] = number
            extra.append(row)
    zero = frame.iloc[5].copy()
    zero[["a", "b", "c"]] = [0.0, 0.0, 0.0]
    return pd.concat([some, pd.DataFrame(extra + [zero])], ignore_index=True)[frame.columns]


def text(frame):
    """CSV with numbers that read back as the same bits."""
    def cell(v):
        if v is None or (isinstance(v, float) and np.isnan(v)):
            return ""
        return v if isinstance(v, str) else repr(float(v))
    lines = [",".join(frame.columns)]
    lines += [",".join(cell(v) for v in row) for row in frame.astype(object).to_numpy()]
    return "\n".join(lines) + "\n"


def categorical(frame, codes):
    """Colours as pandas categories, or as codes."""
    frame = frame.copy()
    kind = pd.CategoricalDtype(sorted(COLORS))
    colors = frame.color.astype(kind)
    if codes:
        frame["color"] = colors.cat.codes.astype(float).where(colors.notna())
    else:
        frame["color"] = colors
    return frame


def case(file, frame, predictions, **options):
    return {"file": file, "options": options, "csv": text(frame), "expected": np.asarray(predictions, float).tolist()}


def lightgbm():
    import lightgbm as lgb

    frame, score = rows()
    binary = (score > score.median()).astype(int)
    three = np.digitize(score, [0.4, 1.4])
    positive = np.exp(score / 2)
    base = dict(verbose=-1, num_leaves=7, min_data_in_leaf=5, min_data_per_group=5, cat_smooth=1, num_threads=1,
                deterministic=True, seed=3)
    cases = []

    def run(name, params, target, codes, rounds=8, **options):
        table = categorical(frame, codes)
        features = ["color", "code"] if codes else "auto"
        data = lgb.Dataset(table, target, categorical_feature=features)
        model = lgb.train({**base, **params}, data, rounds)
        file = f"lightgbm_{name}.txt"
        saved = model.model_to_string().split("\nparameters:")
        # Without the parameters, which are for people.
        pandas = [line for line in saved[1].splitlines() if line.startswith("pandas_categorical")]
        (FOLDER / file).write_text(saved[0].rstrip() + "\n\n" + "\n".join(pandas) + "\n")
        thresholds = {}
        trees = model.trees_to_dataframe()
        for _, node in trees[(trees.decision_type == "<=")].iterrows():
            thresholds.setdefault(node.split_feature, []).append(float(node.threshold))
        probe = with_edges(frame, thresholds)
        table = categorical(probe, codes)
        cases.append(case(file, table if codes else probe, model.predict(table), **options))

    run("binary", dict(objective="binary", sigmoid=1.3), binary, False, classes=["no", "yes"])
    run("zero", dict(objective="poisson", zero_as_missing=True), positive, False)
    run("no_missing", dict(objective="regression", use_missing=False), score, False)
    run("multiclass", dict(objective="multiclass", num_class=3), three, True, 4)
    run("forest", dict(objective="binary", boosting="rf", bagging_freq=1, bagging_fraction=0.7), binary, False)
    return "lightgbm", lgb.__version__, cases


def xgboost():
    import xgboost as xgb

    frame, score = rows()
    binary = (score > score.median()).astype(int)
    three = np.digitize(score, [0.4, 1.4])
    positive = np.exp(score / 2)
    major = xgb.__version__.split(".")[0]
    base = dict(max_depth=3, seed=3, nthread=1, min_child_weight=0.1, max_cat_to_onehot=3)
    cases = []

    def run(name, params, target, codes, rounds=6, **options):
        data = xgb.DMatrix(categorical(frame, codes), target, enable_categorical=not codes)
        model = xgb.train({**base, **params}, data, rounds)
        file = f"xgboost{major}_{name}.json"
        model.save_model(FOLDER / file)
        thresholds = {}
        trees = model.trees_to_dataframe()
        for _, node in trees[trees.Split.notna()].iterrows():
            thresholds.setdefault(node.Feature, []).append(float(np.float32(node.Split)))
        thresholds.pop("color", None)
        probe = with_edges(frame, thresholds)
        predictions = model.predict(xgb.DMatrix(categorical(probe, codes), enable_categorical=not codes))
        # Before release 3.1 a file has no names of levels.
        by_code = codes or tuple(map(int, xgb.__version__.split(".")[:2])) < (3, 1)
        cases.append(case(file, categorical(probe, True) if by_code else probe, predictions, **options))
        if by_code and not codes:
            cases.append(case(file, probe, predictions, levels={"color": sorted(COLORS)}, **options))

    run("binary", dict(objective="binary:logistic"), binary, False, classes=["no", "yes"])
    run("multiclass", dict(objective="multi:softprob", num_class=3, num_parallel_tree=2, subsample=0.7), three, True, 3)
    run("dart", dict(objective="count:poisson", booster="dart", rate_drop=0.3), positive, False)
    run("number", dict(objective="reg:squarederror"), 1e5 * score, True)
    return f"xgboost{major}", xgb.__version__, cases


if __name__ == "__main__":
    name, version, cases = {"lightgbm": lightgbm, "xgboost": xgboost}[sys.argv[1]]()
    out = {"version": version, "cases": cases}
    (FOLDER / f"{name}.json").write_text(json.dumps(out, indent=1) + "\n")
