#!/usr/bin/env python3
"""One fit and one batch of predictions, ours and the peers' in turn, as a table in Markdown.

    python fit.py PEERS ROWS BINARY [--data telco adult] [--learner gbt] [--threads 1] [--rounds 5] [--trees 200]
                  [--params JSON] [--rust BINARY]

PEERS is the folder of the peer scripts, ROWS what `rows.py` wrote, BINARY the built example `fit_speed`. Every round runs
each program once, one after the other; the table gives medians over the rounds. Ratios above 1 are in our favour. `--params` are
for our learner; `--rust` is the built program of the folder `rust`, which adds the boosting of other crates."""
import argparse
import json
import os
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("peers")
parser.add_argument("rows")
parser.add_argument("binary")
parser.add_argument("--data", nargs="+", default=["telco", "adult"])
parser.add_argument("--learner", nargs="+", default=["gbt", "random_forest"])
parser.add_argument("--threads", nargs="+", type=int, default=[1])
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--reps", type=int, default=3)
parser.add_argument("--trees", type=int, default=200)
parser.add_argument("--params")
parser.add_argument("--rust")
given = parser.parse_args()

PEERS = {"gbt": ["gbt_lightgbm", "gbt_xgboost"], "random_forest": ["rf_sklearn"]}


def last_json(command, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


print("| data | learner | threads | program | fit s | ours is faster by | adds MiB | AUC |")
print("|---|---|---|---|---|---|---|---|")
for data in given.data:
    test = "synth100k" if data.startswith("synth") else data
    for learner in given.learner:
        for threads in given.threads:
            ours = [given.binary, "--train", f"{given.rows}/{data}_train.csv", "--test", f"{given.rows}/{test}_test.csv"]
            ours += ["--learner", learner, "--trees", str(given.trees), "--threads", str(threads), "--reps", str(given.reps)]
            script = [sys.executable, f"{given.peers}/fit_speed.py", "--child", "--data", data, "--threads", str(threads)]
            script += ["--trees", str(given.trees), "--reps", str(given.reps)]
            files = ours[1:5]
            if given.params:
                ours += ["--params", given.params]
            commands = {"automl": ours} | {peer: script + ["--algo", peer] for peer in PEERS[learner]}
            if given.rust and learner == "gbt":
                rest = files + ["--trees", str(given.trees), "--threads", str(threads), "--reps", str(given.reps)]
                commands |= {peer: [given.rust, peer] + rest for peer in ("hessboost", "forust")}
            runs = {name: [] for name in commands}
            for _ in range(given.rounds):
                for name, command in commands.items():
                    runs[name].append(last_json(command, threads))
            median = {name: statistics.median(r["fit_s"] for r in of) for name, of in runs.items()}
            for name, of in runs.items():
                ratio = "" if name == "automl" else f"{median[name] / median['automl']:.2f} ×"
                added = [r["fit_delta_mib"] for r in of if "fit_delta_mib" in r]
                memory = f"{statistics.median(added):.1f}" if added else ""
                print(f"| {data} | {learner} | {threads} | {name} | {median[name]:.3f} | {ratio} | {memory} | {of[0]['auc']:.4f} |", flush=True)
