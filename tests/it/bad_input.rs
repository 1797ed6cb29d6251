//! Whatever is typed wrong ends with exit code 2, a message that names the place and says what to type, nothing on
//! stdout, and no file made or changed.

use crate::program::{Desk, config, small_table};

/// An experiment on `d.csv`, and more lines.
fn experiment(more: &str) -> String {
    format!("name: t\ndata: {{path: d.csv, target: y}}\n{more}")
}

fn study(config: &str, table: Option<&[u8]>) -> String {
    let desk = Desk::new();
    desk.write("e.yaml", config);
    if let Some(table) = table {
        desk.write("d.csv", table);
    }
    desk.refused(&["study", "e.yaml"])
}

/// Compares all, so that one run shows every message that differs.
#[track_caller]
fn all_say(cases: impl IntoIterator<Item = (String, String, &'static str)>) {
    let mut wrong = String::new();
    for (name, said, expected) in cases {
        let said = said.strip_prefix("error: ").unwrap_or(&said).to_owned();
        if said != expected {
            wrong.push_str(&format!(
                "{name}\n    said {said:?}\nexpected {expected:?}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is said of a table, by an experiment that is right.
fn tables(cases: &[(&str, Option<&[u8]>, &'static str)]) {
    all_say(cases.iter().map(|(name, table, expected)| {
        (
            (*name).to_owned(),
            study(&experiment(""), *table),
            *expected,
        )
    }));
}

/// What is said of an experiment, with a table that is right.
fn experiments(cases: &[(String, &'static str)]) {
    let table = small_table();
    all_say(
        cases
            .iter()
            .map(|(text, expected)| (text.clone(), study(text, Some(table.as_bytes())), *expected)),
    );
}

#[test]
fn tables_that_cannot_be_read() {
    tables(&[
        (
            "missing file",
            None,
            "there is no file `d.csv`; check the path, which is relative to the folder the command runs in",
        ),
        (
            "empty file",
            Some(b""),
            "`d.csv` is empty; it needs a header line with the names of the columns and rows below it",
        ),
        (
            "header only",
            Some(b"a,b,y\n"),
            "`d.csv` has a header but no rows; add rows below line 1",
        ),
        (
            "duplicate header",
            Some(b"a,a,y\n1,2,n\n"),
            "`d.csv` line 1: column `a` is named twice, at positions 1 and 2; rename one of them",
        ),
        (
            "ragged row",
            Some(b"a,b,y\n1,2,n\n1,n\n"),
            "`d.csv` line 3: 2 cells where the header has 3; put cells that hold `,` in quotes, or remove the line",
        ),
        (
            "not UTF-8",
            Some(b"a,b,y\n1,2,n\n1,\xff,y\n"),
            "`d.csv` line 3, column `b`: not UTF-8; save the file as UTF-8 (for example `iconv -f latin1 -t utf-8`)",
        ),
        (
            "a quote that stays open",
            Some(b"a,b,y\n1,2,n\n1,\"2,y\n"),
            "`d.csv` line 3: a quote in this row is never closed; add the closing `\"`",
        ),
    ]);
}

#[test]
fn targets_that_cannot_be_learned() {
    tables(&[
        (
            "one class",
            Some(b"a,b,y\n1,2,n\n3,4,n\n"),
            "`d.csv`, target `y`: every row has `n`; there is nothing to learn, name another target",
        ),
        (
            "missing target values",
            Some(b"a,b,y\n1,2,n\n3,4,\n4,5,y\n5,6,\n"),
            "`d.csv` line 3, column `y`: the target is missing here and in 2 rows altogether; remove them or fill them in",
        ),
        (
            "one row of a class",
            Some(b"a,b,y\n1,2,n\n3,4,n\n4,5,y\n"),
            "e.yaml: holdout: class `y` of target `y` has 1 row to split, fewer than the 2 parts; add rows, leave the \
             class out, or write `stratify: false`",
        ),
        (
            "fewer rows of a class than folds",
            Some(b"a,b,y\n1,2,n\n3,4,n\n4,5,y\n5,5,y\n6,1,y\n7,1,n\n8,1,n\n9,3,n\n1,3,n\n"),
            "e.yaml: cv: class `y` of target `y` has 2 rows to split, fewer than the 5 folds; write `folds: 2`, or \
             `stratify: false`",
        ),
    ]);
    let said = study(
        &experiment("").replace("target: y", "target: yy"),
        Some(small_table().as_bytes()),
    );
    assert_eq!(
        said,
        "error: `target` names column `yy`, which `d.csv` does not have; did you mean `y`? It has `a`, `b`, `y`"
    );
}

#[test]
fn cells_that_are_no_numbers() {
    tables(&[
        (
            "NaN",
            Some(b"a,b,y\n1,2,n\n3,NaN,y\n4,5,y\n"),
            "`d.csv` line 3, column `b`: `NaN` is not a finite number; correct it, leave the cell blank, or write \
             `missing: [\"NaN\"]` if it means a missing value",
        ),
        (
            "infinity",
            Some(b"a,b,y\n1,2,n\n3,inf,y\n4,5,y\n"),
            "`d.csv` line 3, column `b`: `inf` is not a finite number; correct it, leave the cell blank, or write \
             `missing: [\"inf\"]` if it means a missing value",
        ),
    ]);
    let typed =
        |types: &str| experiment("").replace("target: y", &format!("target: y, types: {types}"));
    experiments(&[
        (
            typed("{b: numeric}"),
            "`d.csv` line 2, column `b`: `p` is not a number; if it means a missing value write `missing: [\"p\"]`, if \
             the column is no number write `types: {b: categorical}`",
        ),
        (
            typed("{bb: numeric}"),
            "`types` names column `bb`, which `d.csv` does not have; did you mean `b`? It has `a`, `b`, `y`",
        ),
        (
            typed("{b: number}"),
            "e.yaml:2:43: unknown value `number`; did you mean `numeric`? Known: numeric, boolean, categorical, text\n \
             2 | data: {path: d.csv, target: y, types: {b: number}}\n   |                                           ^",
        ),
    ]);
}

#[test]
fn keys_that_are_unknown() {
    experiments(&[
        (
            experiment("").replace("name:", "nme:"),
            "e.yaml:1:1: unknown key `nme`; did you mean `name`? Known: name, seed, data, preprocess, holdout, cv, \
             metric, search, final, calibration, registry, tracking\n 1 | nme: t\n   | ^",
        ),
        (
            experiment("").replace("target", "taget"),
            "e.yaml:2:21: unknown key `taget`; did you mean `target`? Known: source, path, target, positive, \
             weights, drop, types, missing, task, delimiter\n 2 | data: {path: d.csv, taget: y}\n   |                     ^",
        ),
        (
            experiment("preprocess: {preset: telco, mising: median}\n"),
            "e.yaml:3:29: unknown key `mising`; did you mean `missing`? Known: preset, missing, categories, levels, \
             one_hot, native, drop_first\n 3 | preprocess: {preset: telco, mising: median}\n   |                             ^",
        ),
        (
            params("gbt.learning_rate: {flaot: [0.1, 0.2]}"),
            "e.yaml:6:25: unknown key `flaot`; did you mean `float`? Known: value, float, int, categorical, log, step, up_to, when\n \
             6 |     gbt.learning_rate: {flaot: [0.1, 0.2]}\n   |                         ^",
        ),
        (
            experiment("registry: {gates: []}\n"),
            "e.yaml:3:12: unknown key `gates`; did you mean `gate`? Known: model, gate, stage\n \
             3 | registry: {gates: []}\n   |            ^",
        ),
        (
            experiment("search: {sampler: {tpe: {n_startup: 3}}}\n"),
            "e.yaml: search.sampler: tpe: unknown key `n_startup`; did you mean `n_startup_trials`? Known: \
             n_startup_trials, n_ei_candidates, multivariate, group, prior_weight, constant_liar",
        ),
    ]);
}

#[test]
fn values_of_the_wrong_kind() {
    let line = |text: &str, column: usize| {
        let caret = " ".repeat(column - 1);
        format!("\n 3 | {text}\n   | {caret}^")
    };
    let cases: &[(&str, usize, &str)] = &[
        (
            "search: {trials: many}",
            18,
            "this must be a whole number, 0 or more",
        ),
        (
            "search: {trials: -1}",
            18,
            "this must be a whole number, 0 or more",
        ),
        (
            "search: {trials: 1.5}",
            18,
            "this must be a whole number, 0 or more",
        ),
        (
            "search: [gbt]",
            9,
            "this must be keys with values, as in `{key: value}`",
        ),
        (
            "holdout: 0.2",
            10,
            "this must be keys with values, as in `{key: value}`",
        ),
        ("cv: {stratify: maybe}", 16, "this must be true or false"),
        ("holdout: {fraction: half}", 21, "this must be a number"),
        (
            "registry: {gate: roc_auc >= 0.8}",
            18,
            "this must be a list, as in `[a, b]`",
        ),
        ("seed: -3", 7, "this must be a whole number, 0 or more"),
        (
            "preprocess: {missing: avg}",
            23,
            "unknown value `avg`; known: native, median, mean, zero",
        ),
        (
            "preprocess: [native]",
            1,
            "this must be a preset such as `native`, or a preset with changes such as `{preset: telco, missing: median}`, \
             not a list",
        ),
        (
            "search: {sampler: [tpe]}",
            10,
            "this must be a sampler such as `auto`, or one with settings such as `{tpe: {n_startup_trials: 20}}`, not a list",
        ),
        (
            "name: again",
            1,
            "the key `name` is here twice; remove or rename one",
        ),
    ];
    let said = cases.iter().map(|(text, column, what)| {
        let expected = format!("e.yaml:3:{column}: {what}{}", line(text, *column));
        let expected: &'static str = Box::leak(expected.into_boxed_str());
        let said = study(
            &experiment(&format!("{text}\n")),
            Some(small_table().as_bytes()),
        );
        ((*text).to_owned(), said, expected)
    });
    all_say(said);
    experiments(&[
        (
            experiment("search: {trials: 0}\n"),
            "e.yaml: search.trials: must be at least 1",
        ),
        (
            experiment("search: {sampler: {tpe: {n_startup_trials: many}}}\n"),
            "e.yaml: search.sampler: tpe: `n_startup_trials`: this must be a whole number, 0 or more, not `many`",
        ),
        (
            experiment("search: {sampler: {tpe: {}, random: {}}}\n"),
            "e.yaml:3:19: write a sampler such as `auto`, or one with settings such as `{tpe: {n_startup_trials: 20}}`\n \
             3 | search: {sampler: {tpe: {}, random: {}}}\n   |                   ^",
        ),
        (
            experiment("holdout: {fraction: 2}\n"),
            "e.yaml: holdout: the holdout fraction must be above 0 and below 1, not 2; write for example \
             `holdout: {fraction: 0.2}`",
        ),
        (
            experiment("cv: {folds: 1}\n"),
            "e.yaml: cv: cross-validation needs at least 2 folds, not 1; write for example `cv: {folds: 5}`",
        ),
    ]);
}

#[test]
fn documents_that_are_no_experiment() {
    experiments(&[
        (
            String::new(),
            "e.yaml: the file is empty; it needs at least `name` and `data`",
        ),
        (
            "name: t\n".to_owned(),
            "e.yaml:1:1: the key `data` is missing here\n 1 | name: t\n   | ^",
        ),
        (
            "just text\n".to_owned(),
            "e.yaml:1:1: this must be keys with values, as in `{key: value}`\n 1 | just text\n   | ^",
        ),
        (
            "name: t\ndata: {path: d.csv\n".to_owned(),
            "e.yaml:2:7: unclosed bracket '{'\n 2 | data: {path: d.csv\n   |       ^",
        ),
        (
            "name: t\ndata: {}\n".to_owned(),
            "e.yaml: data: write either `source: telco` or `path: file.csv`",
        ),
        (
            "name: t\ndata: {path: d.csv}\n".to_owned(),
            "e.yaml: data.target: name the column to predict",
        ),
        (
            "name: t\ndata: {source: telcoo}\n".to_owned(),
            "e.yaml: data.source: there is no source `telcoo`; known: telco. For a file write `path: telcoo`",
        ),
    ]);
    let desk = Desk::new();
    assert!(
        desk.refused(&["study", "none.yaml"])
            .starts_with("error: cannot read `none.yaml`: No such file")
    );
    desk.write("e.yaml", b"name: \xff\n");
    assert_eq!(
        desk.refused(&["study", "e.yaml"]),
        "error: e.yaml: this is not UTF-8 text"
    );
}

/// An experiment that searches `gbt` over the given lines of `params`.
fn params(lines: &str) -> String {
    experiment(&format!(
        "search:\n  learners: [gbt]\n  params:\n    {}\n",
        lines.replace('\n', "\n    ")
    ))
}

#[test]
fn domains_that_cannot_be_searched() {
    experiments(&[
        (
            params("gbt.learning_rate: {float: [0.3, 0.2]}"),
            "e.yaml:6:24: `gbt.learning_rate`: bounds are reversed: [0.3, 0.2]; write the smaller one first",
        ),
        (
            params("gbt.learning_rate: {float: [0, 0.2], log: true}"),
            "e.yaml:6:24: `gbt.learning_rate`: a log scale cannot start at 0; the lower bound must be above 0 \
             (integers: at least 1)",
        ),
        (
            params("gbt.learning_rate: 0.1\ngbt.learning_rate: 0.2"),
            "e.yaml:7:5: the key `gbt.learning_rate` is here twice; remove or rename one\n \
             7 |     gbt.learning_rate: 0.2\n   |     ^",
        ),
        (
            params("gbt.learning_rate: {float: [0.1, 0.2], int: [1, 2]}"),
            "e.yaml:6:24: `gbt.learning_rate`: write exactly one of `float: [low, high]`, `int: [low, high]` and \
             `categorical: [a, b]`",
        ),
        (
            params("gbt.learning_rate: {float: [0.1]}"),
            "e.yaml:6:32: there must be two bounds, as in `[1, 10]`, not 1\n \
             6 |     gbt.learning_rate: {float: [0.1]}\n   |                                ^",
        ),
        (
            params("gbt.learning_rate: {float: [0.1, 0.2, 0.3]}"),
            "e.yaml:6:32: there must be two bounds, as in `[1, 10]`, not 3\n \
             6 |     gbt.learning_rate: {float: [0.1, 0.2, 0.3]}\n   |                                ^",
        ),
        (
            params("gbt.max_depth: {int: [1.5, 3]}"),
            "e.yaml:6:27: this must be a whole number\n \
             6 |     gbt.max_depth: {int: [1.5, 3]}\n   |                           ^",
        ),
        (
            params("gbt.learning_rate: [0.1, 0.2]"),
            "e.yaml:6:24: `gbt.learning_rate`: this must be a number, not a list; to search it write \
             `{float: [low, high]}` or `{int: [low, high]}`",
        ),
        (
            params("preprocess: {categorical: [native, nope]}"),
            "e.yaml:6:17: `preprocess` must be `{categorical: [...]}` of presets: native, one_hot, telco",
        ),
    ]);
}

#[test]
fn hyperparameters_are_checked_before_any_trial_runs() {
    const KNOWN: &str = "loss, loss_alpha, tweedie_power, class_weight, n_estimators, learning_rate, growth, max_depth, \
        max_leaves, min_leaf, min_leaf_counts, min_child_weight, subsample, colsample, colsample_level, colsample_node, goss_top, \
        goss_other, reg_alpha, reg_lambda, min_gain, category_smoothing, extra_trees, increasing, decreasing, \
        interactions, early_stopping, validation_fraction";
    let unknown = format!(
        "e.yaml:6:23: `gbt.learnin_rate`: unknown key `learnin_rate`; did you mean `learning_rate`? Known: {KNOWN}"
    );
    let unknown: &'static str = Box::leak(unknown.into_boxed_str());
    experiments(&[
        (params("gbt.learnin_rate: {float: [0.1, 0.2]}"), unknown),
        (params("gbt.learnin_rate: 0.1"), unknown),
        (
            params("gbt.learning_rate: {float: [-1, 1]}"),
            "e.yaml:6:24: `gbt.learning_rate`: `learning_rate: -1` is out of range; it must be above 0 and at most 10",
        ),
        (
            params("gbt.subsample: {float: [0.5, 2]}"),
            "e.yaml:6:20: `gbt.subsample`: `subsample: 2` is out of range; it must be above 0 and at most 1",
        ),
        (
            params("gbt.subsample: 2"),
            "e.yaml:6:20: `gbt.subsample`: `subsample: 2` is out of range; it must be above 0 and at most 1",
        ),
        (
            params("gbt.subsample: high"),
            "e.yaml:6:20: `gbt.subsample`: this must be a number, not `high`",
        ),
        (
            params("gbt.max_depth: {float: [1, 3]}"),
            "e.yaml:6:20: `gbt.max_depth`: this must be a whole number, 0 or more, not `1.0`; write `int: [low, high]`",
        ),
        (
            params("gbt.max_depth: {categorical: [2, deep]}"),
            "e.yaml:6:20: `gbt.max_depth`: this must be a whole number, 0 or more, not `deep`",
        ),
        (
            params("random_forest.max_depth: {int: [1, 3]}"),
            "e.yaml:6:30: `random_forest.max_depth` belongs to no learner that is searched; write `learner.parameter` \
             with one of gbt, preprocess",
        ),
        (
            params("gtb.max_depth: {int: [1, 3]}"),
            "e.yaml:6:20: `gtb.max_depth` belongs to no learner that is searched; write `learner.parameter` with one of \
             gbt, preprocess; did you mean `gbt`?",
        ),
        (
            params("gbt.max_depth: {int: [1, 3], when: {gbt.nope: 3}}"),
            "e.yaml:6:20: parameter `gbt.max_depth` depends on `gbt.nope`, which is not a parameter; none is declared \
             before it",
        ),
        (
            params(
                "gbt.max_depth: {int: [1, 3]}\ngbt.subsample: {float: [0.5, 1], when: {gbt.max_depht: 2}}",
            ),
            "e.yaml:7:20: parameter `gbt.subsample` depends on `gbt.max_depht`, which is not a parameter; known: \
             gbt.max_depth; did you mean `gbt.max_depth`?",
        ),
        (
            params(
                "gbt.max_depth: {int: [1, 3]}\ngbt.subsample: {float: [0.5, 1], when: {gbt.max_depth: 9}}",
            ),
            "e.yaml:7:20: parameter `gbt.subsample` exists when `gbt.max_depth` is `9`, but `gbt.max_depth` is int [1, 3]",
        ),
        (
            params("gbt.max_depth: {int: [1, 3]}") + "  enqueue: [{gbt.maxdepth: 2}]\n",
            "e.yaml: search.enqueue: point 1: `gbt.maxdepth` is not searched; did you mean `gbt.max_depth`? Searched: \
             gbt.max_depth",
        ),
        (
            params("gbt.max_depth: {int: [1, 3]}")
                + "  enqueue: [{gbt.max_depth: 2}, {gbt.max_depth: 7}]\n",
            "e.yaml: search.enqueue: point 2: `gbt.max_depth`: 7 is not in int [1, 3]",
        ),
        (
            params("gbt.max_depth: {int: [1, 3]}") + "  enqueue: [{gbt.max_depth: [2]}]\n",
            "e.yaml:7:29: this must be a single value: a number, text, true, false or null\n \
             7 |   enqueue: [{gbt.max_depth: [2]}]\n   |                             ^",
        ),
    ]);
}

#[test]
fn names_that_do_not_exist() {
    experiments(&[
        (
            experiment("calibration: plat\n"),
            "e.yaml:3:14: unknown value `plat`; did you mean `platt`? Known: none, isotonic, platt, auto\n \
             3 | calibration: plat\n   |              ^",
        ),
        (
            experiment("final: ensembel\n"),
            "e.yaml:3:8: unknown value `ensembel`; did you mean `ensemble`? Known: best, ensemble\n \
             3 | final: ensembel\n   |        ^",
        ),
        (
            "name: t\ndata: {path: d.csv, target: a}\ncalibration: platt\n".to_owned(),
            "e.yaml: calibration: `a` is a number, which has no probability to calibrate; write `calibration: none`",
        ),
        (
            experiment("search: {learners: [gbdt]}\n"),
            "e.yaml: search.learners: there is no learner `gbdt`; did you mean `gbt`? Learners: random_forest, extra_trees, gbt, \
             elastic_net, decision_tree, logistic, smartcore_forest",
        ),
        (
            experiment("metric: roc_acu\n"),
            "e.yaml: metric: there is no metric `roc_acu`; did you mean `roc_auc`? Metrics: roc_auc, average_precision, \
             log_loss, brier, accuracy, balanced_accuracy, precision, recall, f1, mcc, ece",
        ),
        (
            experiment("metric: rmse\n"),
            "e.yaml: metric: `rmse` is not a metric of a binary task; those are: roc_auc, average_precision, log_loss, \
             brier, accuracy, balanced_accuracy, precision, recall, f1, mcc, ece",
        ),
        (
            experiment("search: {sampler: tep}\n"),
            "e.yaml: search.sampler: there is no sampler `tep`; did you mean `tpe`?",
        ),
        (
            experiment("preprocess: telko\n"),
            "e.yaml: preprocess: there is no preset `telko`; did you mean `telco`? Presets: native, one_hot, telco",
        ),
        (
            experiment("registry: {stage: stagin}\n"),
            "e.yaml: registry.stage: there is no stage `stagin`; stages are candidate, staging, production, archived",
        ),
        (
            experiment("registry: {stage: archived}\n"),
            "e.yaml: registry.stage: a new version can go to `staging` or `production`, not to `archived`",
        ),
        (
            experiment("registry: {model: a/b}\n"),
            "e.yaml: registry.model: `a/b` cannot name a model: use up to 100 letters, digits, `-`, `_` and `.`, beginning \
             with a letter or digit, as in `churn`",
        ),
        (
            experiment("registry: {gate: [auc >= 0.8]}\n"),
            "e.yaml: registry.gate: `auc >= 0.8`: there is no metric `auc`; did you mean `roc_auc`? Metrics: roc_auc, average_precision, log_loss, \
             brier, accuracy, balanced_accuracy, precision, recall, f1, mcc, ece",
        ),
        (
            experiment("registry: {gate: [\"roc_auc@threshold >= 0.8\"]}\n"),
            "e.yaml: registry.gate: `roc_auc@threshold >= 0.8`: `roc_auc` does not depend on a threshold here; write it \
             without `@threshold`",
        ),
        (
            experiment("registry: {gate: [roc_auc = 0.8]}\n"),
            "e.yaml: registry.gate: the gate rule `roc_auc = 0.8` cannot be read: it has none of >=, >, <=, <, ==; write \
             it like `roc_auc >= 0.84`, `log_loss <= 0.45` or `beats: production`",
        ),
        (
            experiment("registry: {gate: [{beats: nobody}]}\n"),
            "e.yaml: registry.gate: the gate rule `beats: nobody` cannot be read: only `production` can be beaten, not \
             `nobody`; write it like `roc_auc >= 0.84`, `log_loss <= 0.45` or `beats: production`",
        ),
        (
            experiment("registry: {gate: [3]}\n"),
            "e.yaml: registry.gate: this must be a gate rule such as `roc_auc >= 0.84` or `beats: production`, not `3`",
        ),
    ]);
}

/// A desk with a finished study `t` on `d.csv` and its model `t:1` in the store `st`.
fn with_a_study() -> Desk {
    let desk = Desk::new();
    desk.write("d.csv", small_table());
    desk.write(
        "e.yaml",
        experiment("search:\n  trials: 2\n  learners: [gbt]\n  params:\n    gbt.max_depth: {int: [2, 3]}\n    gbt.n_estimators: 5\n"),
    );
    desk.done(&["study", "e.yaml", "--store", "st", "--quiet"]);
    desk
}

#[test]
fn a_study_is_not_continued_as_another_one() {
    let desk = with_a_study();
    let base = desk.read("e.yaml");
    let edited = |from: &str, to: &str| {
        assert!(base.contains(from));
        desk.write("e2.yaml", base.replace(from, to));
        desk.refused(&["study", "e2.yaml", "--store", "st"])
    };
    const HINT: &str = "\nhint: `automl study e2.yaml --name t-2` begins another study";
    let cases = [
        (
            edited("search:", "cv: {folds: 3}\nsearch:"),
            "error: study `t` was begun with `cv.folds` 5, and now it is 3; go back to 5",
        ),
        (
            edited("search:", "preprocess: one_hot\nsearch:"),
            "error: study `t` was begun with `preprocess.missing` \"native\", and now it is \"median\"; go back to \"native\"",
        ),
        (
            edited("search:", "metric: f1\nsearch:"),
            "error: study `t` was begun with `metric` \"roc_auc\", and now it is \"f1\"; go back to \"roc_auc\"",
        ),
        (
            edited("n_estimators: 5", "n_estimators: 6"),
            "error: study `t` was begun with `fixed.gbt.n_estimators` 5, and now it is 6; go back to 5",
        ),
        (
            edited("[2, 3]", "[2, 4]"),
            "error: the search space of study `t` changed: `gbt.max_depth` was #0 int [2, 3], now it is #0 int [2, 4]; \
             restore it or choose another study name",
        ),
        (
            edited("search:", "seed: 3\nsearch:"),
            "error: study `t` was begun with seed 0, not 3; go on with 0 or choose another study name",
        ),
        (
            edited("trials: 2", "trials: 2\n  concurrency: 2"),
            "error: study `t` was begun with concurrency 4, not 2; go on with 4 or choose another study name",
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, format!("{expected}{HINT}"));
    }
    assert_eq!(
        desk.refused(&[
            "study", "e.yaml", "--store", "st", "--resume", "--name", "other"
        ]),
        "error: there is no study `other` to resume in `st`; leave out `--resume` to begin it"
    );
    let said = desk.refused(&["study", "e.yaml", "--store", "none", "--resume"]);
    assert!(
        said.starts_with("error: there is no store in `none`"),
        "{said}"
    );
}

#[test]
fn models_and_rows_that_do_not_fit() {
    let desk = with_a_study();
    desk.write("x.csv", "a,b\n0.1,p\n");
    let predict = |model: &str, input: &str| {
        desk.refused(&[
            "predict", "--model", model, "--input", input, "--output", "out.csv", "--store", "st",
        ])
    };
    all_say(
        [
            ("t@production", "model `t` has no version in production; it has t:1 (candidate)"),
            ("tt:1", "there is no model `tt`; did you mean `t`?"),
            ("t:7", "model `t` has no version 7; it has t:1 (candidate)"),
            (
                "t:x",
                "`t:x` does not say which version; write `t@production`, `t@staging` or `t:3`",
            ),
            (
                "t.json",
                "`t.json` is no file; name a model file, or a version as in `churn@production` or `churn:3`",
            ),
        ]
        .map(|(model, expected)| (model.to_owned(), predict(model, "x.csv"), expected)),
    );
    desk.write("lacks.csv", "b,c\np,1\n");
    desk.write("ragged.csv", "a,b\n0.1,p\n0.2\n0.3,q\n");
    desk.write("text.csv", "a,b\n0.1,p\nold,p\n");
    desk.write("nan.csv", "a,b\n0.1,p\nNaN,p\n");
    desk.write("empty.csv", "");
    all_say(
        [
            (
                "lacks.csv",
                "`lacks.csv` lacks a column that the model needs: `a`; add it to the header and the rows",
            ),
            (
                "ragged.csv",
                "`ragged.csv` line 3: 1 cells where the header has 2; put cells that hold `,` in quotes, or remove the line",
            ),
            (
                "text.csv",
                "`text.csv` line 3, column `a`: `old` is not a number, and the model knows `a` as numbers; correct the \
                 cell or leave it blank",
            ),
            (
                "nan.csv",
                "`nan.csv` line 3, column `a`: `NaN` is not a finite number; correct it, leave the cell blank, or write \
                 `missing: [\"NaN\"]` if it means a missing value",
            ),
            (
                "empty.csv",
                "`empty.csv` is empty; it needs a header line with the names of the columns and rows below it",
            ),
        ]
        .map(|(input, expected)| (input.to_owned(), predict("t:1", input), expected)),
    );
    assert!(predict("t:1", "none.csv").starts_with("error: cannot read `none.csv`: No such file"));
    assert_eq!(
        desk.refused(&[
            "predict", "--model", "t:1", "--input", "x.csv", "--keep", "id", "--store", "st"
        ]),
        "error: --keep: the input has no column `id`; it has a, b"
    );
    assert_eq!(
        desk.refused(&[
            "predict",
            "--model",
            "t:1",
            "--input",
            "x.csv",
            "--output",
            "none/y.csv",
            "--store",
            "st"
        ]),
        "error: cannot write `none/y.csv`: No such file or directory (os error 2)"
    );
}

#[test]
fn model_files_that_are_damaged_or_newer() {
    let desk = with_a_study();
    desk.write("x.csv", "a,b\n0.1,p\n");
    let model = desk.read("st/artifacts/models/t/1/model.json");
    let said = |name: &str, bytes: &str| {
        desk.write(name, bytes);
        desk.refused(&[
            "predict", "--model", name, "--input", "x.csv", "--output", "out.csv",
        ])
    };
    assert_eq!(
        said("newer.json", &model.replace("\"format\":1", "\"format\":9")),
        "error: `newer.json`: the saved model cannot be read: format 9 is newer than this release reads (1); update automl"
    );
    let damaged =
        "the saved model cannot be read: it is damaged, or no model file that automl wrote";
    for (name, bytes) in [
        ("short.json", &model[..model.len() / 2]),
        ("empty.json", ""),
        ("text.json", "hello"),
        ("other.json", "{\"a\": 1}"),
    ] {
        let said = said(name, bytes);
        assert!(
            said.starts_with(&format!("error: `{name}`: {damaged}")),
            "{said}"
        );
    }
    let said = said(
        "edited.json",
        &model.replace("\"threshold\":", "\"treshold\":"),
    );
    assert!(
        said.starts_with(
            "error: `edited.json`: the saved model cannot be read: it is damaged or was changed"
        ),
        "{said}"
    );
    // A registered file that was changed is not used.
    desk.write("st/artifacts/models/t/1/model.json", &model[1..]);
    let said = desk.refused(&[
        "predict", "--model", "t:1", "--input", "x.csv", "--store", "st",
    ]);
    assert!(
        said.contains("`st/artifacts/models/t/1/model.json` has changed since it was written"),
        "{said}"
    );
}

#[test]
fn stores_that_are_none() {
    let desk = with_a_study();
    std::fs::create_dir(desk.path("bad")).unwrap();
    desk.write(
        "bad/automl.db",
        "this is no database, only a text that is long enough to be looked at",
    );
    let said = desk.refused(&["studies", "--store", "none"]);
    assert_eq!(
        said,
        "error: there is no store in `none`; hint: name the folder with `--store`, or make one with `automl study FILE`"
    );
    let url = "error: the store `s3://bucket/x` is a URL of an unknown kind; a store is a folder, as in `--store \
        automl-store`, `journal:FOLDER`, or `postgres://user:password@host/database`";
    assert_eq!(
        desk.refused(&["studies", "--store", "s3://me:secret@bucket/x"]),
        url
    );
    assert_eq!(
        desk.refused(&["study", "e.yaml", "--store", "s3://bucket/x"]),
        url
    );
    #[cfg(not(feature = "postgres"))]
    assert_eq!(
        desk.refused(&["studies", "--store", "postgres://me:secret@localhost/x"]),
        "error: the store `postgres://localhost/x` is a URL, and this program was built without PostgreSQL; build it \
         with `cargo build --release --features postgres`, or name a folder with `--store`"
    );
    let (out, err) = desk.ends(2, &["studies", "--store", "bad"]);
    assert_eq!(
        (out.as_str(), err.trim_end()),
        (
            "",
            "error: `bad/automl.db` is not a database; move it away or name another place with `--store`"
        )
    );
    assert_eq!(
        desk.refused(&["trials", "nope", "--store", "st"]),
        "error: there is no study `nope` in `st`; there are: `t`"
    );
    assert_eq!(
        desk.refused(&["show", "t", "99", "--store", "st"]),
        "error: study `t` has no trial 99; its trials are 0 to 1"
    );
}

#[test]
fn moves_that_the_registry_does_not_make() {
    let desk = with_a_study();
    let said = |args: &[&str]| {
        let mut all = vec!["registry"];
        all.extend(args);
        all.extend(["--store", "st"]);
        desk.refused(&all)
    };
    assert_eq!(
        said(&["promote", "t:1", "production"]),
        "error: version 1 of model `t` cannot go from candidate to production; promote it to staging first: \
         `automl registry promote t:1 staging`"
    );
    assert_eq!(
        said(&["promote", "t:1", "candidate"]),
        "error: version 1 of model `t` cannot go from candidate to candidate; it is there already"
    );
    let unknown = said(&["promote", "t:1", "nowhere"]);
    assert!(
        unknown.contains(
            "there is no stage `nowhere`; stages are candidate, staging, production, archived"
        ),
        "{unknown}"
    );
    let rule = said(&["promote", "t:1", "staging", "--rule", "roc_auc = 1"]);
    assert!(
        rule.contains(
            "the gate rule `roc_auc = 1` cannot be read: it has none of >=, >, <=, <, =="
        ),
        "{rule}"
    );
    assert_eq!(
        said(&["rollback", "t"]),
        "error: model `t` has no earlier production version to return to; see `automl registry log t`"
    );
    assert_eq!(
        said(&["rollback", "nope"]),
        "error: there is no model `nope`; there is t"
    );
    assert_eq!(
        said(&["show", "t:2"]),
        "error: model `t` has no version 2; it has t:1 (candidate)"
    );
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let desk = Desk::new();
    desk.write("e.yaml", config("csv.yaml"));
    for args in [
        &["stdy"][..],
        &["study"],
        &["study", "e.yaml", "--trials", "0"],
        &["study", "e.yaml", "--threads", "none"],
        &["study", "e.yaml", "--timeout", "0"],
        &["show", "t", "x"],
        &["predict", "--input", "x.csv"],
        &["list", "everything"],
    ] {
        desk.refused(args);
    }
    assert!(
        desk.refused(&[
            "data", "split", "e.yaml", "--data", "none.csv", "--output", "parts"
        ])
        .contains("there is no file `none.csv`")
    );
}
