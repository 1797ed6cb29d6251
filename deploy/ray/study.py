"""Leads a study and starts its workers as Ray tasks: python study.py EXPERIMENT STUDY --workers 20. See README.md."""

import argparse
import os
import subprocess
import sys

import ray


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", help="the experiment file, readable on the node that leads")
    parser.add_argument("study", help="the study's name, as the experiment says")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=2, help="processors of each worker")
    parser.add_argument("--automl", default="automl", help="the program, on every node")
    return parser.parse_args()


@ray.remote(max_retries=10)
def worker(command, environment):
    """Runs trials until the study ends. When the node dies, Ray starts it again elsewhere."""
    return subprocess.run(command, env={**os.environ, **environment}).returncode


def main():
    args = options()
    if "AUTOML_STORE" not in os.environ:
        sys.exit("set AUTOML_STORE to postgres://user:password@host/database")
    shared = {key: value for key, value in os.environ.items() if key.startswith("AUTOML_")}
    ray.init()
    command = [args.automl, "worker", args.study, "--threads", str(args.cpus), "--wait", "600", "--quiet"]
    task = worker.options(num_cpus=args.cpus)
    workers = [task.remote(command, shared) for _ in range(args.workers)]
    # 1: the gate refused the model; the study itself is done.
    code = subprocess.run([args.automl, "study", args.experiment, "--quiet", "--format", "json"]).returncode
    print("workers ended with", ray.get(workers), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
