//! Limits of a trial inside of the process: the memory of its fits, and time in fits that are long.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::program::{Desk, config_path};

/// A search of one learner on the example table.
fn desk(learner: &str, params: &str, enqueue: &str, more: &str) -> Desk {
    let desk = Desk::new();
    std::fs::copy(config_path("example.csv"), desk.path("example.csv")).unwrap();
    desk.write(
        "e.yaml",
        format!(
            "name: s
seed: 5
data: {{path: example.csv, target: bought}}
preprocess: {{preset: one_hot, missing: median}}
cv: {{folds: 3}}
search:
  trials: 3
  concurrency: 2
  sampler: random
  learners: [{learner}]
  params: {{{params}}}
  enqueue: {enqueue}
{more}"
        ),
    );
    desk
}

/// The trials of a study that must be done.
fn trials(desk: &Desk, store: &str, threads: &str) -> Vec<Json> {
    let mut args = vec!["study", "e.yaml", "--store", store, "--quiet"];
    args.extend(["--threads", threads]);
    desk.done(&args);
    let trials = desk.json(&["trials", "s", "--store", store, "--format", "json"]);
    trials.as_array().unwrap().clone()
}

fn held(trial: &Json) -> u64 {
    trial["user_attrs"]["held_bytes"].as_u64().unwrap()
}

/// To the byte, on any number of threads, whatever runs the folds.
#[test]
fn a_trial_that_holds_too_much_fails_on_any_number_of_threads() {
    let trees = |learner: &str, n: [u32; 3]| {
        let point = |n: u32| format!("{{{learner}.n_estimators: {n}}}");
        (
            format!("{learner}.n_estimators: {{int: [1, 90]}}"),
            format!("[{}]", n.map(point).join(", ")),
        )
    };
    let racing = "  pruner: {racing: {n_startup_trials: 90}}\n";
    let rounds = "  pruner: {median: {n_startup_trials: 90}}\n  steps: rounds\n";
    for (learner, more) in [
        ("random_forest", ""),
        ("random_forest", racing),
        ("extra_trees", ""),
        ("gbt", ""),
        ("gbt", rounds),
    ] {
        let (params, enqueue) = trees(learner, [10, 60, 11]);
        let free = desk(learner, &params, &enqueue, more);
        let one = trials(&free, "one", "1");
        let three = trials(&free, "three", "3");
        let all: Vec<u64> = one.iter().map(held).collect();
        assert_eq!(all, three.iter().map(held).collect::<Vec<_>>(), "{learner}");
        assert!(all[1] > all[0] && all[1] > all[2], "{learner}: {all:?}");
        // What the second one held is enough, and a byte less is too little.
        for (limit, fails) in [(all[1], false), (all[1] - 1, true)] {
            let more = format!("{more}  trial_memory: {limit}\n");
            let desk = desk(learner, &params, &enqueue, &more);
            for threads in ["1", "3"] {
                let limited = trials(&desk, threads, threads);
                let state = if fails { "FAIL" } else { "COMPLETE" };
                assert_eq!(limited[1]["state"], state, "{learner} {threads}");
                for other in [0, 2] {
                    assert_eq!(limited[other]["values"], one[other]["values"]);
                }
                let why = limited[1]["system_attrs"]["fail_reason"].as_str();
                if fails {
                    let why = why.unwrap();
                    assert!(why.starts_with("its folds held more than "), "{why}");
                    assert!(why.contains("the limit of `search.trial_memory`"), "{why}");
                }
            }
        }
    }
}

#[test]
fn fits_that_cannot_tell_on_the_way_are_refused_before_they_begin() {
    let mut learners = vec!["elastic_net"];
    if cfg!(feature = "adapters") {
        learners.extend(["logistic", "decision_tree", "smartcore_forest"]);
    }
    for learner in learners {
        let free = desk(learner, "", "[]", "");
        let one = trials(&free, "st", "2");
        let most = one.iter().map(held).max().unwrap();
        let more = format!("  trial_memory: {}\n", most - 1);
        let desk = desk(learner, "", "[]", &more);
        let report = desk.run(&["study", "e.yaml", "--quiet"]);
        let limited = desk.json(&["trials", "s", "--format", "json"]);
        let failed = limited.as_array().unwrap().iter();
        let failed = failed.filter(|t| t["state"] == "FAIL").count();
        let expected = one.iter().filter(|t| held(t) == most).count();
        assert_eq!(failed, expected, "{learner}: {report:?}");
    }
}

/// What is counted is what the process grows by, where a forest is most of it.
#[cfg(target_os = "linux")]
#[test]
fn what_is_counted_is_in_the_size_of_what_the_process_holds() {
    let desk = desk(
        "random_forest",
        "random_forest.n_estimators: {int: [1, 5000]}",
        "[{random_forest.n_estimators: 1}, {random_forest.n_estimators: 5000}]",
        "",
    );
    let file = desk
        .read("e.yaml")
        .replace("concurrency: 2", "concurrency: 1");
    desk.write("e.yaml", file.replace("trials: 3", "trials: 2"));
    let trials = trials(&desk, "st", "2");
    let peak = |trial: &Json| {
        let peak = trial["user_attrs"]["peak_memory_bytes"].as_u64();
        peak.unwrap() as f64
    };
    let ratio = held(&trials[1]) as f64 / (peak(&trials[1]) - peak(&trials[0]));
    // Three folds count as if they ran side by side, and two do: the third finds what the allocator kept.
    assert!((0.7..2.0).contains(&ratio), "{ratio}: {trials:?}");
}

#[test]
fn an_amount_that_is_none_is_said() {
    for (amount, what) in [
        (
            "much",
            "`much` is no amount of memory; write it as in `500MB`",
        ),
        ("0", "`0` is no amount of memory"),
    ] {
        let desk = desk("gbt", "", "[]", &format!("  trial_memory: {amount}\n"));
        let message = desk.refused(&["study", "e.yaml"]);
        assert!(
            message.contains("e.yaml: search.trial_memory: "),
            "{message}"
        );
        assert!(message.contains(what), "{message}");
    }
}

/// Many levels and a tolerance that is never met: passes without end.
#[test]
fn a_long_linear_fit_ends_within_a_second_of_its_limit() {
    let desk = desk(
        "elastic_net",
        "elastic_net.alpha: 0.0001, elastic_net.max_iter: 100000, elastic_net.tol: {float: [1.0e-300, 1], log: true}",
        "[{elastic_net.tol: 1}, {elastic_net.tol: 1.0e-300}]",
        "  trial_timeout: 2\n",
    );
    // Categories as they are: a term for each level.
    let file = desk.read("e.yaml").replace("one_hot", "native");
    desk.write("e.yaml", file);
    let mut rows = "a,b,c,bought\n".to_owned();
    for row in 0..2000_u32 {
        let draw = |by: u32| (row.wrapping_mul(2_654_435_761).rotate_left(by) >> 8) % 100;
        let (a, b, c) = (draw(0), draw(11), draw(22));
        let bought = if (a + b * 3 + c * 7 + row) % 5 < 2 {
            "yes"
        } else {
            "no"
        };
        writeln!(rows, "a{a},b{b},c{c},{bought}").unwrap();
    }
    desk.write("example.csv", rows);
    let began = Instant::now();
    let mut args = vec!["study", "e.yaml", "--quiet", "--trials", "2"];
    args.extend(["--format", "json"]);
    let report = desk.json(&args);
    assert_eq!(report["trials"]["failed"], 1, "{report}");
    assert!(began.elapsed() < Duration::from_secs(12));
    let trials = desk.json(&["trials", "s", "--format", "json"]);
    let reason = &trials[1]["system_attrs"]["fail_reason"];
    assert_eq!(
        *reason,
        json!("took longer than the limit of 2 s for a trial")
    );
    let seconds = trials[1]["seconds"].as_f64();
    assert!(seconds.is_none_or(|s| s < 3.0), "{seconds:?}");
}
