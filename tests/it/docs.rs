//! The documents say what the code does: every name of the static tables is described, every experiment in a document or
//! in `configs/` can be read, every invariant names a test that exists, every link leads somewhere.

use std::path::{Path, PathBuf};

use automl::learn::forest::ForestParams;
use automl::learn::gbt::GbtParams;
use automl::learn::linear::ElasticNetParams;
use automl::learn::metric::METRICS;
use automl::learn::preprocess::{PRESETS, Preprocess};
use automl::learn::table::LEARNERS;
use automl::study::pruner::PRUNERS;
use automl::study::sampler::SAMPLERS;
use automl::study::sampler::tpe::TpeParams;
use automl::study::stopper::STOPPERS;
use automl::tune::experiment::Experiment;
use automl::tune::search::Search;
use automl::tune::space_file::SpaceFile;
use serde::Serialize;
use serde_json::Value as Json;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files of a folder that end in `.extension`, sorted.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let paths = entries.map(|e| e.expect("readable").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    paths
}

fn documents() -> Vec<PathBuf> {
    [files("", "md"), files("docs", "md")].concat()
}

fn keys(of: &impl Serialize) -> Vec<(String, Json)> {
    match serde_json::to_value(of).expect("plain data") {
        Json::Object(map) => map.into_iter().collect(),
        other => panic!("{other} is no object"),
    }
}

#[test]
fn every_name_that_can_be_written_is_described() {
    let text = read("docs/experiment.md");
    let mut missing = Vec::new();
    let mut row = |kind: &str, name: &str| {
        if !text.contains(&format!("\n| `{name}` |")) {
            missing.push(format!("{kind} `{name}`"));
        }
    };
    METRICS.iter().for_each(|m| row("metric", m.name));
    SAMPLERS.iter().for_each(|s| row("sampler", s.name));
    PRUNERS.iter().for_each(|p| row("pruner", p.name));
    STOPPERS.iter().for_each(|s| row("stopper", s.name));
    PRESETS.iter().for_each(|p| row("preset", p.name));
    keys(&Preprocess::default())
        .iter()
        .for_each(|(k, _)| row("preprocess", k));
    for (key, _) in keys(&TpeParams::default()) {
        if !text.contains(&format!("| `{key}` |")) {
            missing.push(format!("tpe's `{key}`"));
        }
    }
    assert!(missing.is_empty(), "docs/experiment.md lacks {missing:?}");
}

#[test]
fn every_learner_is_described_with_its_space_and_defaults() {
    let text = read("docs/experiment.md");
    for learner in LEARNERS {
        let begin = format!("**`{}`**", learner.name);
        let Some((_, part)) = text.split_once(&begin) else {
            panic!("docs/experiment.md lacks the learner {begin}");
        };
        let part = part.split("\n**`").next().unwrap_or(part);
        assert!(
            part.contains(&format!("```yaml\n{}```", learner.space)),
            "the default space of `{}` is now\n{}",
            learner.name,
            learner.space
        );
        let defaults = match learner.name {
            "gbt" => keys(&GbtParams::default()),
            "random_forest" => keys(&ForestParams::default()),
            "elastic_net" => keys(&ElasticNetParams::default()),
            "extra_trees" => keys(&ForestParams::extra_trees()),
            _ => continue,
        };
        for (key, value) in defaults {
            // The default of `max_features` depends on the task.
            let row = match &value {
                Json::Null => format!("| `{key}` | "),
                Json::Bool(_) => format!("| `{key}` | `{value}` |"),
                Json::String(text) => format!("| `{key}` | `{text}` |"),
                _ => format!("| `{key}` | {value} |"),
            };
            assert!(part.contains(&row), "`{}` lacks `{row}`", learner.name);
        }
    }
}

#[test]
fn every_experiment_in_documents_and_configs_can_be_read() {
    let mut seen = 0;
    let mut check = |text: &str, file: &str| {
        seen += 1;
        let experiment = Experiment::parse(text, file).unwrap_or_else(|e| panic!("{e}"));
        let search = &experiment.search;
        Search::new(&search.learners, &search.params, file).unwrap_or_else(|e| panic!("{e}"));
    };
    for path in files("configs", "yaml") {
        let text = std::fs::read_to_string(&path).expect("readable");
        check(&text, &path.display().to_string());
    }
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("readable");
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or(block);
            if block.starts_with("name:") {
                check(block, &path.display().to_string());
            }
        }
    }
    assert!(seen >= 6, "only {seen} experiments were found");
}

#[test]
fn every_space_file_in_documents_can_be_read() {
    let mut seen = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("readable");
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or(block);
            if block.starts_with("direction") {
                let file = path.display().to_string();
                SpaceFile::parse(block, &file).unwrap_or_else(|e| panic!("{e}"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 1, "no space file was found");
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let text = read("docs/experiment.md");
    let block = text.split("```yaml\n").nth(1).expect("a first block");
    let block = block.split("```").next().expect("its end");
    let written = Experiment::parse(block, "docs/experiment.md").expect("it can be read");
    let short = Experiment::parse("name: churn\ndata: {source: telco}\n", "short").expect("right");
    assert_eq!(keys(&written), keys(&short));
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let text = read("ARCHITECTURE.md");
    let mut seen = 0;
    for named in text.split('`').filter(|part| part.contains(".rs::")) {
        let (file, test) = named.split_once("::").expect("it contains one");
        let code = read(file);
        assert!(
            code.contains(&format!("fn {test}(")),
            "ARCHITECTURE.md names `{test}`, which is not in {file}"
        );
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} tests are named");
}

#[test]
fn every_link_leads_to_a_file() {
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("readable");
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = path.parent().expect("a file has a folder");
            assert!(
                folder.join(target).exists(),
                "{} links to `{target}`, which is not there",
                path.display()
            );
        }
    }
}
