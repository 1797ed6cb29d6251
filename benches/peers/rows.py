#!/usr/bin/env python3
"""Writes the rows and folds of the peer benchmarks as CSV, so that the examples `fixed_list` and `fit_speed` see the same ones.

    python rows.py PEERS OUT telco adult synth100k synth1m

PEERS is the folder of the peer scripts (its `common.py` reads and encodes the data), OUT the folder to write to:
`NAME_train.csv` and `NAME_test.csv`, all columns numbers, target `y`; for telco also `telco_folds.txt`, the fold of
every training row. Synthetic sets are read from $SYNTH_DIR, where `gen_large.py` has put them."""
import os
import sys

sys.path.insert(0, sys.argv[1])
from common import load, split, telco_xy  # noqa: E402

out = sys.argv[2]
os.makedirs(out, exist_ok=True)
for name in sys.argv[3:]:
    if name.startswith("synth"):
        folder = os.environ.get("SYNTH_DIR", ".")
        parts = [load("synth100k", codes=True, path=f"{folder}/{f}.csv")[:2] for f in (name, "synth_test100k")]
        (train, y_train), (test, y_test) = parts
    else:
        x, y = telco_xy() if name == "telco" else load(name, codes=True)[:2]
        train, test, y_train, y_test = split(x, y)
    for part, x, y in (("train", train, y_train), ("test", test, y_test)):
        x.assign(y=y).to_csv(f"{out}/{name}_{part}.csv", index=False)
    if name == "telco":
        from sklearn.model_selection import StratifiedKFold

        folds = [0] * len(train)
        for fold, (_, rows) in enumerate(StratifiedKFold(5, shuffle=True, random_state=42).split(train, y_train)):
            for row in rows:
                folds[row] = fold
        with open(f"{out}/telco_folds.txt", "w") as file:
            file.writelines(f"{fold}\n" for fold in folds)
