//! `automl list`: the tables of names that experiment files can use.

use clap::{Args, ValueEnum};

use crate::cli::{Ending, output};
use crate::learn::metric::{Goal, METRICS};
use crate::learn::preprocess::PRESETS;
use crate::learn::table::LEARNERS;
use crate::study::pruner::PRUNERS;
use crate::study::sampler::SAMPLERS;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl list learners
  automl list metrics")]
pub(crate) struct ListArgs {
    /// Which table.
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Learners,
    Metrics,
    Samplers,
    Pruners,
    Presets,
}

pub(crate) fn run(args: ListArgs) -> anyhow::Result<Ending> {
    let text = |parts: &[&str]| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    match args.what {
        What::Learners => {
            let tasks = |all: &[crate::data::table::Task]| {
                all.iter()
                    .map(|t| format!("{t:?}").to_lowercase())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let rows: Vec<_> = LEARNERS
                .iter()
                .map(|l| text(&[l.name, &tasks(l.tasks), l.summary]))
                .collect();
            output::print_table(&["learner", "tasks", "what it is"], &rows)?;
        }
        What::Metrics => {
            let goal = |g| {
                if g == Goal::Maximize {
                    "maximize"
                } else {
                    "minimize"
                }
            };
            let rows: Vec<_> = METRICS
                .iter()
                .map(|m| text(&[m.name, goal(m.goal), m.summary]))
                .collect();
            output::print_table(&["metric", "goal", "what it is"], &rows)?;
        }
        What::Samplers => {
            let rows: Vec<_> = SAMPLERS
                .iter()
                .map(|s| text(&[s.name, s.summary]))
                .collect();
            output::print_table(&["sampler", "what it is"], &rows)?;
        }
        What::Pruners => {
            let rows: Vec<_> = PRUNERS.iter().map(|p| text(&[p.name, p.summary])).collect();
            output::print_table(&["pruner", "what it is"], &rows)?;
        }
        What::Presets => {
            let rows: Vec<_> = PRESETS.iter().map(|p| text(&[p.name, p.summary])).collect();
            output::print_table(&["preset", "what it is"], &rows)?;
        }
    }
    Ok(Ending::Done)
}
