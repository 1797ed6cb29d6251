//! `automl optimize`, `ask`, `tell` and `importance`: objectives that are programs, with the real program.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::program::{Desk, text};

const SPACE: &str = "direction: minimize
params:
  x: {int: [0, 40]}
  y: {int: [0, 9]}
";

/// Speaks the protocol and gives (x - 7)² + y, later for some trials than for others.
const OBJECTIVE: &str = r#"while read -r line; do
  x=$(echo "$line" | sed 's/.*"x":\([0-9]*\).*/\1/')
  y=$(echo "$line" | sed 's/.*"y":\([0-9]*\).*/\1/')
  sleep "0.0$y"
  echo "{\"value\": $(( (x - 7) * (x - 7) + y ))}"
done
"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("space.yaml", SPACE);
    desk.write("objective.sh", OBJECTIVE);
    desk
}

/// Number, state, parameters and values of each trial of a history file.
fn history(desk: &Desk, file: &str) -> Vec<Json> {
    let lines = desk.read(file);
    let trials = lines.lines().map(|line| {
        let trial: Json = serde_json::from_str(line).unwrap();
        json!([
            trial["number"],
            trial["state"],
            trial["params"],
            trial["values"]
        ])
    });
    trials.collect()
}

/// A `python3` that runs, unless there is none.
fn python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    let runs = found.is_ok_and(|o| o.status.success());
    if !runs {
        assert!(std::env::var_os("CI").is_none(), "CI needs python3");
        eprintln!("left out: there is no python3");
    }
    runs
}

#[test]
fn a_python_objective_with_a_crash_a_hang_and_nan() {
    if !python() {
        return;
    }
    let desk = Desk::new();
    desk.write(
        "space.yaml",
        "direction: minimize
params:
  lr:      {float: [1.0e-6, 1.0], log: true}
  dropout: {float: [0.0, 0.9], step: 0.05}
  units:   {int: [4, 1024], log: true}
  model:   {categorical: [net, forest]}
  depth:   {int: [1, 32], when: {model: forest}}
",
    );
    desk.write(
        "objective.py",
        r#"
import json, math, sys, time
for line in sys.stdin:
    trial = json.loads(line)
    p = trial["params"]
    assert ("depth" in p) == (p["model"] == "forest")
    assert 0 <= trial["seed"] < 2**32
    if trial["trial"] == 3:
        raise ValueError("boom")
    if trial["trial"] == 5:
        time.sleep(1000)
    loss = (math.log10(p["lr"]) + 3) ** 2 + p["dropout"] + p.get("depth", 40) / 40
    if trial["trial"] == 7:
        loss = float("nan")
    print(json.dumps({"report": {"step": 1, "value": 2 * loss}}), flush=True)
    assert json.loads(sys.stdin.readline()) == {"prune": False}
    print("to stderr", file=sys.stderr)
    print(json.dumps({"value": loss}), flush=True)
"#,
    );
    let run = |more: &[&str]| {
        let mut args = vec!["optimize", "space.yaml", "--seed", "1", "--format", "json"];
        args.extend(["--trial-timeout", "3", "--history", "h.jsonl"]);
        args.extend(more);
        args.extend(["--", "python3", "objective.py"]);
        desk.ends(0, &args)
    };
    let (out, err) = run(&["--trials", "16", "--concurrency", "2"]);
    let result: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(
        result["trials"],
        json!({"complete": 13, "pruned": 0, "failed": 3, "running": 0, "waiting": 0})
    );
    assert!(
        err.contains("to stderr") && err.contains("ValueError: boom"),
        "{err}"
    );
    let lines: Vec<Json> = desk
        .read("h.jsonl")
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 16);
    let why = |n: usize| {
        lines[n]["system_attrs"]["fail_reason"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        why(3).ends_with("(exit status: 1): ValueError: boom"),
        "{}",
        why(3)
    );
    assert_eq!(why(5), "no answer within 3 s; the program was ended");
    assert_eq!(why(7), "the objective returned NaN");
    assert_eq!(
        lines[0]["intermediate_values"].as_object().unwrap().len(),
        1
    );
    let best = &result["best"];
    let value = |line: &Json| line["value"].as_f64().unwrap_or(f64::INFINITY);
    let least = lines.iter().map(value).fold(f64::INFINITY, f64::min);
    assert_eq!(best["value"], json!(least));
    assert_eq!(
        best["params"],
        lines[best["number"].as_u64().unwrap() as usize]["params"]
    );
    assert!(result["seconds"].as_f64().unwrap() > 3.0);

    let (out, err) = run(&["--trials", "20", "--concurrency", "2", "--quiet"]);
    let result: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(result["trials"]["complete"], 17);
    assert_eq!(err, "");
}

#[test]
fn threads_and_interruptions_do_not_change_the_trials_of_a_program() {
    let desk = desk();
    let run = |store: &str, threads: &str, trials: &str| {
        let file = format!("{store}.jsonl");
        let mut args = vec![
            "optimize",
            "space.yaml",
            "--seed",
            "4",
            "--concurrency",
            "3",
        ];
        args.extend(["--quiet", "--store", store, "--threads", threads]);
        args.extend(["--trials", trials, "--history", &file]);
        args.extend(["--", "sh", "objective.sh"]);
        desk.done(&args);
        history(&desk, &file)
    };
    let whole = run("a", "3", "24");
    assert_eq!(run("b", "1", "24"), whole);
    run("c", "2", "9");
    assert_eq!(run("c", "3", "24"), whole);

    // Killed while it runs: its programs end with it, and the same command goes on.
    desk.write(
        "slow.sh",
        "echo $$ >> pids; sleep 0.3\n".to_owned() + OBJECTIVE,
    );
    let mut killed = desk
        .command(&[
            "optimize",
            "space.yaml",
            "--seed",
            "4",
            "--concurrency",
            "3",
        ])
        .args([
            "--quiet", "--store", "d", "--trials", "24", "--", "sh", "slow.sh",
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !desk.path("pids").exists() || desk.read("pids").lines().count() < 3 {
        assert!(Instant::now() < until, "the program did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let lives = |pid: &str| {
        let asked = Command::new("kill").args(["-0", pid]).output();
        asked.unwrap().status.success()
    };
    let until = Instant::now() + Duration::from_secs(10);
    while desk.read("pids").lines().any(lives) {
        assert!(Instant::now() < until, "a program outlived us");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(run("d", "3", "24"), whole);
}

#[test]
fn a_command_is_run_once_per_trial_and_several_values_have_a_front() {
    let desk = desk();
    let out = desk.done(&[
        "optimize",
        "space.yaml",
        "--seed",
        "1",
        "--trials",
        "30",
        "--quiet",
        "--",
        "sh",
        "-c",
        "echo \"value: $(( ({x} - 7) * ({x} - 7) + {y} )).\"",
    ]);
    assert!(
        out.starts_with("study `space`: 30 trials (30 complete) in "),
        "{out}"
    );
    let ways = out.lines().nth(1).unwrap();
    assert!(
        ways.starts_with("search: spread over the space (10), Gaussian process "),
        "{out}"
    );
    let best = out.lines().nth(2).unwrap();
    assert!(best.starts_with("best value "), "{out}");

    let space = SPACE.replace("direction: minimize", "directions: [minimize, maximize]");
    desk.write("two.yaml", space + "trials: 20\nenqueue: [{x: 7, y: 0}]\n");
    let args = ["optimize", "two.yaml", "--quiet", "--format", "json"];
    let result = desk.json(&[&args[..], &["--", "echo", "{x}", "{y}"]].concat());
    assert_eq!(result.get("best"), None);
    let front = result["front"].as_array().unwrap();
    assert!(!front.is_empty());
    for a in front {
        for b in front {
            let value = |t: &Json, i: usize| t["values"][i].as_f64().unwrap();
            let beaten = value(b, 0) <= value(a, 0)
                && value(b, 1) >= value(a, 1)
                && (value(b, 0), value(b, 1)) != (value(a, 0), value(a, 1));
            assert!(!beaten, "{a} is beaten by {b}");
        }
    }
    let first = desk.json(&["show", "two", "0", "--format", "json"]);
    assert_eq!(first["params"], json!({"x": 7, "y": 0}));
}

/// Trial n is worth n and holds its constraints from trial 4 on; two trials tell nonsense.
const CONSTRAINED: &str = r#"while read -r line; do
  n=$(echo "$line" | sed 's/.*"trial":\([0-9]*\).*/\1/')
  case $n in
    3) echo '{"value": 0, "constraints": [NaN]}' ;;
    5) echo '{"value": 0, "constraints": "low"}' ;;
    *) echo "{\"value\": $n, \"constraints\": [$((4 - n)), -1]}" ;;
  esac
done
"#;

#[test]
fn constraints_choose_among_trials_and_wrong_ones_fail_one_trial() {
    let desk = desk();
    desk.write("limits.sh", CONSTRAINED);
    let run = |trials: &str| {
        let args = ["optimize", "space.yaml", "--quiet", "--trials", trials];
        desk.done(&[&args[..], &["--", "sh", "limits.sh"]].concat())
    };
    let none = run("3");
    assert!(none.ends_with("no trial holds its constraints\n"), "{none}");
    let all = run("10");
    assert!(all.contains("10 trials (8 complete, 2 failed)"), "{all}");
    assert!(all.contains("best value 4 in trial 4\n"), "{all}");
    let best = desk.json(&["best", "space", "--format", "json"]);
    assert_eq!(best["number"], json!(4));
    assert_eq!(best["system_attrs"]["constraints"], json!([0.0, -1.0]));
    let why = |number: &str| {
        let trial = desk.json(&["show", "space", number, "--format", "json"]);
        assert_eq!(trial["state"], "FAIL");
        trial["system_attrs"]["fail_reason"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(why("3").starts_with("constraint 0 is NaN"), "{}", why("3"));
    assert!(why("5").contains("which is no answer"), "{}", why("5"));
    let shown = desk.done(&["show", "space", "1"]);
    assert!(shown.contains("3, -1 (broken)"), "{shown}");
    let csv = desk.done(&["trials", "space", "--format", "csv"]);
    let feasible = csv.lines().map(|l| l.split(',').nth(3).unwrap());
    assert_eq!(
        feasible.collect::<Vec<_>>(),
        [
            "feasible", "no", "no", "no", "-", "yes", "-", "yes", "yes", "yes", "yes"
        ]
    );

    // The same told by hand.
    let asked = |name| desk.json(&["ask", "space.yaml", "--name", name, "--format", "json"]);
    let tell = |number, constraints: &str| {
        desk.done(&["tell", "lab", number, "--value", "1", constraints]);
        let trial = desk.json(&["show", "lab", number, "--format", "json"]);
        (
            trial["state"].clone(),
            trial["system_attrs"]["constraints"].clone(),
        )
    };
    asked("lab");
    assert_eq!(
        tell("0", "--constraints=-0.5,2"),
        (json!("COMPLETE"), json!([-0.5, 2.0]))
    );
    let refused = desk.refused(&["best", "lab"]);
    assert!(
        refused.contains("no complete trial of study `lab` holds"),
        "{refused}"
    );
    asked("lab");
    assert_eq!(tell("1", "--constraints=nan"), (json!("FAIL"), Json::Null));
}

#[test]
fn several_directions_end_in_a_front() {
    let desk = desk();
    let space = SPACE.replace("direction: minimize", "directions: [minimize, maximize]");
    desk.write(
        "two.yaml",
        space + "sampler: nsga2\nenqueue: [{x: 0, y: 2}, {x: 40, y: 9}, {x: 40, y: 0}]\n",
    );
    let run = |more: &[&str]| {
        let args = ["optimize", "two.yaml", "--quiet", "--trials", "3"];
        let command = ["--", "echo", "{x}", "{y}"];
        desk.done(&[&args[..], more, &command[..]].concat())
    };
    let shown = run(&[]);
    let (first, rest) = shown.split_once('\n').unwrap();
    assert!(first.starts_with("study `two`: 3 trials (3 complete) in "));
    insta::assert_snapshot!(rest, @r"
    search: the first generation (3)
    trials that no other beats: 2
    hypervolume 80.0000 up to the worst values of all complete trials, 40.0000 and 0.0000
    number  values_0  values_1  params
         0    0.0000    2.0000  x=0 y=2
         1   40.0000    9.0000  x=40 y=9
    ");
    let result: Json = serde_json::from_str(&run(&["--format", "json"])).unwrap();
    assert_eq!(result["hypervolume"], json!(80.0));
    assert_eq!(result["reference"], json!([40.0, 0.0]));
    assert_eq!(
        result["front"],
        json!([
            {"number": 0, "values": [0.0, 2.0], "params": {"x": 0, "y": 2}},
            {"number": 1, "values": [40.0, 9.0], "params": {"x": 40, "y": 9}},
        ])
    );
    let csv = desk.done(&["trials", "two", "--format", "csv"]);
    let without_seconds = csv.lines().map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[..4], &cells[5..]].concat().join(",")
    });
    insta::assert_snapshot!(without_seconds.collect::<Vec<_>>().join("\n"), @r"
    number,state,values_0,values_1,x,y
    0,COMPLETE,0,2,0,2
    1,COMPLETE,40,9,40,9
    2,COMPLETE,40,0,40,0
    ");
    let refused = desk.refused(&["best", "two"]);
    assert!(
        refused.contains("several directions and no single best trial"),
        "{refused}"
    );
}

#[test]
fn what_cannot_be_optimized_is_refused_before_anything_is_made() {
    let desk = desk();
    desk.write("bad.yaml", "params:\n  x: {flaot: [0, 1]}\n");
    let refused = |args: &[&str]| {
        let mut all = vec!["optimize"];
        all.extend(args);
        desk.refused(&all)
    };
    let key = refused(&["bad.yaml", "--", "true"]);
    assert!(
        key.contains("bad.yaml:2:7: unknown key `flaot`; did you mean `float`?"),
        "{key}"
    );
    assert!(refused(&["none.yaml", "--", "true"]).contains("none.yaml"));
    let start = refused(&["space.yaml", "--", "no-such-program"]);
    assert!(start.contains("cannot start `no-such-program`"), "{start}");
    let name = refused(&["space.yaml", "--", "echo", "{xx}"]);
    assert!(name.contains("did you mean `{x}`?"), "{name}");
    let sampler = refused(&["space.yaml", "--sampler", "tep", "--", "true"]);
    assert!(sampler.contains("did you mean `tpe`?"), "{sampler}");
    for zero in ["--timeout", "--trial-timeout"] {
        let text = refused(&["space.yaml", zero, "0", "--", "true"]);
        assert!(text.contains(zero), "{text}");
    }
    assert!(refused(&["space.yaml", "--history", "no/h", "--", "true"]).contains("--history"));
    assert!(refused(&["space.yaml"]).contains("COMMAND"));

    // A program that never answers is a study of failed trials, and says so.
    let (out, err) = desk.ends(
        2,
        &[
            "optimize",
            "space.yaml",
            "--trials",
            "2",
            "--quiet",
            "--",
            "false",
        ],
    );
    assert!(out.contains("2 failed"), "{out}");
    assert!(
        err.contains("no complete trial; the first failure: the program ended"),
        "{err}"
    );
    let other = desk.run(&["optimize", "space.yaml", "--seed", "9", "--", "true"]);
    let err = text(&other.stderr);
    assert!(
        err.contains("begun with seed 0, not 9") && err.contains("--name space-2"),
        "{err}"
    );
}

#[test]
fn ask_and_tell_is_the_study_that_optimize_runs() {
    let desk = desk();
    let settings = ["--seed", "2", "--concurrency", "2"];
    let optimize = [
        "optimize",
        "space.yaml",
        "--quiet",
        "--trials",
        "8",
        "--history",
        "h.jsonl",
    ];
    let command = ["--name", "whole", "--", "sh", "objective.sh"];
    desk.done(&[&optimize[..], &settings, &command].concat());

    let ask = |format: &str| {
        let args = ["ask", "space.yaml", "--name", "lab", "--format", format];
        desk.command(&[&args[..], &settings].concat())
            .output()
            .unwrap()
    };
    let asked = || -> Json { serde_json::from_slice(&ask("json").stdout).unwrap() };
    let tell = |trial: &Json| {
        let (x, y) = (trial["params"]["x"].as_i64(), trial["params"]["y"].as_i64());
        let value = (x.unwrap() - 7).pow(2) + y.unwrap();
        let (number, value) = (trial["number"].to_string(), value.to_string());
        desk.done(&["tell", "lab", &number, "--value", &value]);
    };
    for round in 0..4 {
        let (one, two) = (asked(), asked());
        assert_eq!(
            (&one["number"], &two["number"]),
            (&json!(2 * round), &json!(2 * round + 1))
        );
        assert!(one["seed"].is_u64());
        let blocked = ask("json");
        assert_eq!(blocked.status.code(), Some(2));
        let err = text(&blocked.stderr);
        let hint = format!("automl tell lab {} --fail lost", 2 * round);
        assert!(err.contains(&hint), "{err}");
        // The later one first.
        tell(&two);
        tell(&one);
    }
    let of = |study: &str| {
        let trials = desk.json(&["trials", study, "--format", "json"]);
        let points = trials.as_array().unwrap().iter();
        points
            .map(|t| json!([t["number"], t["state"], t["params"], t["values"]]))
            .collect::<Vec<Json>>()
    };
    assert_eq!(of("lab"), of("whole"));

    let shown = text(&ask("table").stdout);
    assert!(shown.starts_with("number  8\nx"), "{shown}");
    let refused = |args: &[&str]| desk.ends(2, args).1;
    assert!(refused(&["tell", "lab", "3", "--value", "1"]).contains("told already"));
    assert!(refused(&["tell", "lab", "30", "--value", "1"]).contains("automl trials lab"));
    assert!(refused(&["tell", "lab", "8", "--values", "1,2"]).contains("one per direction"));
    assert!(refused(&["tell", "lab", "8"]).contains("--fail"));
    assert!(refused(&["tell", "lba", "8", "--value", "1"]).contains("no study `lba`"));
    let (out, err) = desk.ends(0, &["tell", "lab", "8", "--fail", "lost"]);
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("", "trial 8 is recorded as FAIL\n")
    );
}

#[test]
fn importance_is_told_of_any_study() {
    let desk = desk();
    let optimize = [
        "optimize",
        "space.yaml",
        "--quiet",
        "--trials",
        "40",
        "--sampler",
        "random",
    ];
    desk.done(
        &[
            &optimize[..],
            &["--", "sh", "-c", "echo $(( ({x} - 7) * ({x} - 7) + {y} ))"],
        ]
        .concat(),
    );
    let shares = desk.json(&["importance", "space", "--format", "json"]);
    assert_eq!(shares["method"], "ped_anova");
    let share = |shares: &Json, name: &str| shares["importance"][name].as_f64().unwrap();
    assert!((share(&shares, "x") + share(&shares, "y") - 1.0).abs() < 1e-12);
    assert!(share(&shares, "x") > 0.7, "{shares}");
    let shares = desk.json(&[
        "importance",
        "space",
        "--method",
        "fanova",
        "--format",
        "json",
    ]);
    assert!(share(&shares, "x") > 0.95, "{shares}");
    let table = desk.done(&["importance", "space"]);
    assert!(table.starts_with("parameter  importance\nx"), "{table}");
    let unknown = desk.ends(2, &["importance", "space", "--method", "shap"]).1;
    assert!(
        unknown.contains("known are `ped_anova`, `fanova`"),
        "{unknown}"
    );
}

#[test]
fn a_study_begins_with_the_trials_of_another() {
    let desk = desk();
    let run = |space: &str, more: &[&str]| {
        let mut args = vec!["optimize", space, "--quiet", "--format", "json"];
        args.extend(["--history", "h.jsonl", "--sampler", "tpe"]);
        args.extend(more);
        args.extend(["--", "sh", "objective.sh"]);
        desk.json(&args)
    };
    run("space.yaml", &["--trials", "12"]);
    let old = history(&desk, "h.jsonl");
    desk.write("wide.yaml", SPACE.replace("[0, 9]", "[0, 30]"));
    let from = ["--from", "space", "--without", "2,5"];
    let more: Vec<&str> = ["--trials", "14"].into_iter().chain(from).collect();
    run("wide.yaml", &more);
    let new = history(&desk, "h.jsonl");
    assert_eq!(new.len(), 14);
    let kept: Vec<&Json> = old.iter().filter(|t| t[0] != 2 && t[0] != 5).collect();
    for (old, new) in kept.iter().zip(&new) {
        assert_eq!((&old[1], &old[2], &old[3]), (&new[1], &new[2], &new[3]));
    }
    // The same command again adds nothing and goes on.
    let more: Vec<&str> = ["--trials", "15"].into_iter().chain(from).collect();
    run("wide.yaml", &more);
    assert_eq!(history(&desk, "h.jsonl")[..14], new);

    let narrow = SPACE.replace("[0, 9]", "[0, 2]");
    desk.write("narrow.yaml", narrow);
    let (_, note) = desk.ends(
        0,
        &[
            "optimize",
            "narrow.yaml",
            "--from",
            "space",
            "--trials",
            "12",
            "--quiet",
            "--",
            "sh",
            "objective.sh",
        ],
    );
    assert!(
        note.contains("of 12 trials of `space` are left out; trial "),
        "{note}"
    );
    assert!(note.contains("cannot be added: `y`: "), "{note}");

    for (from, message) in [
        (
            ["--from", "none", "--without", "1"],
            "there is no study `none`",
        ),
        (
            ["--from", "space", "--without", "12"],
            "has no trial 12; it has 12 trials",
        ),
        (
            ["--from", "other", "--without", "1"],
            "a study cannot begin with itself",
        ),
    ] {
        desk.write("other.yaml", SPACE);
        let mut args = vec!["optimize", "other.yaml"];
        args.extend(from);
        args.extend(["--", "sh", "objective.sh"]);
        let (_, said) = desk.ends(2, &args);
        assert!(said.contains(message), "{said}");
        let studies = desk.done(&["studies", "--format", "json"]);
        assert!(!studies.contains("other"), "{studies}");
    }
}
