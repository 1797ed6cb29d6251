"""What Optuna and its dashboard make of a file of ours: `optuna_views.py COMMAND FILE`.

plots FILE       prints how many points each of Optuna's plots has, of the studies `one` and `two`
fronts FILE      prints the numbers of the best trials of each study
pop FILE         runs three trials of the study `two`, of which enqueued ones come first
dashboard FILE   serves FILE on loopback with optuna-dashboard, prints what its API says, and ends it
"""

import json
import math
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings

import optuna

warnings.simplefilter("ignore")
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


def length(trace):
    """How many points a trace has."""
    if getattr(trace, "dimensions", None):
        return len(trace.dimensions[0]["values"])
    for axis in ("y", "x"):
        if getattr(trace, axis, None) is not None:
            return len(trace[axis])
    return 0


def plots(url):
    from optuna import visualization as views
    from optuna.terminator import BestValueStagnationEvaluator

    one, two = (optuna.load_study(study_name=name, storage=url) for name in ("one", "two"))
    figures = {
        "contour": views.plot_contour(one, params=["x", "n"]),
        "edf": views.plot_edf(one),
        "hypervolume_history": views.plot_hypervolume_history(two, [2.0, 2.0]),
        "intermediate_values": views.plot_intermediate_values(one),
        "optimization_history": views.plot_optimization_history(one),
        "parallel_coordinate": views.plot_parallel_coordinate(one),
        "param_importances": views.plot_param_importances(one),
        "pareto_front": views.plot_pareto_front(two),
        "rank": views.plot_rank(one, params=["x", "n", "kind"]),
        "slice": views.plot_slice(one),
        # The default evaluator wants PyTorch.
        "terminator_improvement": views.plot_terminator_improvement(
            one, improvement_evaluator=BestValueStagnationEvaluator()
        ),
        "timeline": views.plot_timeline(one),
    }
    assert {f"plot_{name}" for name in figures} == {n for n in dir(views) if n.startswith("plot_")}
    shown = {}
    for name, figure in figures.items():
        shown[name] = [length(trace) for trace in figure.data]
    bars = figures["param_importances"].data[0]
    shown["important"] = sorted(bars.y)
    print(json.dumps(shown))


def fronts(url):
    found = {}
    for name in optuna.get_all_study_names(url):
        study = optuna.load_study(study_name=name, storage=url)
        trials = study.best_trials
        found[name] = {
            "numbers": sorted(t.number for t in trials),
            "constraints": [list(t.constraints.values()) for t in study.trials],
        }
    print(json.dumps(plain(found)))


def pop(url):
    study = optuna.load_study(study_name="two", storage=url)

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        y = trial.suggest_float("y", 0.0, 1.0)
        trial.set_user_attr("by", "optuna")
        return x, (1.0 - x) * (1.0 + y)

    study.optimize(objective, n_trials=3)


def get(address):
    # A proxy of the environment is not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=30) as answer:
        return answer.read()


def dashboard(url):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    start = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, url, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        base = f"http://127.0.0.1:{port}"
        begun = time.monotonic()
        while True:
            try:
                listed = json.loads(get(f"{base}/api/studies"))
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    sys.exit(f"optuna-dashboard ended: {server.stderr.read()}")
                if time.monotonic() - begun > 120:
                    sys.exit("optuna-dashboard does not answer")
                time.sleep(0.1)
        out = {}
        for summary in listed["study_summaries"]:
            id = summary["study_id"]
            page = get(f"{base}/dashboard/studies/{id}").decode()
            assert "<html" in page, page
            out[summary["study_name"]] = json.loads(get(f"{base}/api/studies/{id}"))
        print(json.dumps(out))
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def main():
    command, path = sys.argv[1:]
    commands = {"plots": plots, "fronts": fronts, "pop": pop, "dashboard": dashboard}
    commands[command](path if "://" in path else f"sqlite:///{path}")


main()
