//! Explanations as a page.

use super::{Desk, Found};
use crate::cli::output::{score, thousands};
use crate::data::table::Task;
use crate::learn::explain::picture::{Bar, Page, bars, beeswarm, dependence, waterfall};
use crate::learn::explain::{self, Dependence, Shap};

pub(super) fn write(desk: &Desk<'_>, found: &Found<'_>) -> String {
    let card = &desk.pipeline.card;
    let fields = &desk.pipeline.transform.schema.fields;
    let predicted = match card.task {
        Task::Binary => format!("{} = {}", card.target, card.classes[1]),
        Task::Multiclass => format!("{} = {}", card.target, card.classes[desk.output]),
        Task::Regression => card.target.clone(),
    };
    let used = desk.rows.numbers.len();
    let rows = match desk.rows.all {
        all if all == used as u64 => thousands(used),
        all => format!("{} of {}", thousands(used), thousands(all as usize)),
    };
    let mut facts = vec![
        (
            "model",
            format!("{} ({})", desk.model, desk.pipeline.model.kind()),
        ),
        ("rows", format!("{} in {rows}", desk.input)),
        ("fitted on", card.dataset.clone()),
    ];
    match found {
        Found::Shap { shap, .. } => {
            facts.push(("unit", explain::unit(desk.pipeline, desk.output)));
            facts.push(("base", score(shap.base[desk.output])));
        }
        Found::Permutation { importance, metric } => {
            facts.push((metric.name, score(importance.score)));
        }
        Found::Gain(_) | Found::Partial(_) => {}
    }
    facts[1].1 = format!("{rows}, {}", desk.input);
    let mut page = Page::new(&format!("What {predicted} rests on"), &facts);
    match found {
        Found::Shap {
            shap,
            effects,
            predictions,
            dependence,
            ..
        } => {
            let swarm = beeswarm(desk.pipeline, &desk.rows.values, shap, effects, desk.output);
            let mut how = "Each dot is one row: right of the line the column raised the row's score, left of it the \
                           column lowered it. Values of one row add up to its score less the base."
                .to_owned();
            if shap.width > 1 {
                how += " Dots are for one class; the mean on the right is summed over all classes.";
            }
            page.section("Columns by what they do to the score", &how, &swarm);
            single_rows(&mut page, desk, shap, predictions);
            partial(&mut page, desk, dependence);
        }
        Found::Permutation { importance, metric } => {
            let summary = importance.summary();
            let all = ranked(summary.len(), &|c| summary[c].0, &|c| Bar {
                label: fields[c].name.clone(),
                value: summary[c].0,
                spread: Some(summary[c].1),
                note: String::new(),
            });
            let how = format!(
                "Each column's cells were shuffled among the rows {} times. The bar is how much worse {} got on average, \
                 the thin line its standard deviation.",
                importance.losses.first().map_or(0, Vec::len),
                metric.name
            );
            page.section(
                "What the score rests on",
                &how,
                &bars(&all, &format!("loss of {}", metric.name)),
            );
        }
        Found::Gain(gains) => {
            let all = ranked(gains.len(), &|c| gains[c], &|c| Bar {
                label: fields[c].name.clone(),
                value: gains[c],
                spread: None,
                note: String::new(),
            });
            let how = "How much the splits on each column improved the training loss. Columns with many values are \
                       split more often than they deserve; compare with permutation importance.";
            page.section(
                "What training used",
                how,
                &bars(&all, "share of the total gain"),
            );
        }
        Found::Partial(all) => partial(&mut page, desk, all),
    }
    page.finish()
}

fn ranked(count: usize, value: &dyn Fn(usize) -> f64, bar: &dyn Fn(usize) -> Bar) -> Vec<Bar> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
    order.into_iter().map(bar).collect()
}

/// The row that was asked for; without one the rows with the highest and the lowest score.
fn single_rows(page: &mut Page, desk: &Desk<'_>, shap: &Shap, predictions: &[f64]) {
    let by_score = |a: &usize, b: &usize| {
        let (a, b) = (shap.score(*a, desk.output), shap.score(*b, desk.output));
        a.total_cmp(&b)
    };
    let mut places: Vec<(usize, &str)> = Vec::new();
    match desk.asked {
        Some(place) => places.push((place, "")),
        None => {
            places.extend(
                (0..shap.rows())
                    .max_by(by_score)
                    .map(|p| (p, ", the highest score")),
            );
            places.extend(
                (0..shap.rows())
                    .min_by(by_score)
                    .map(|p| (p, ", the lowest score")),
            );
            places.dedup_by_key(|p| p.0);
        }
    }
    let width = desk.pipeline.width();
    let columns = desk.pipeline.transform.schema.fields.len();
    for (place, why) in places {
        let prediction = predictions[place * width + desk.output];
        let card = &desk.pipeline.card;
        let said = match card.task {
            Task::Regression => format!("predicted {}", score(prediction)),
            Task::Binary => format!("probability of {} {}", card.classes[1], score(prediction)),
            Task::Multiclass => {
                format!(
                    "probability of {} {}",
                    card.classes[desk.output],
                    score(prediction)
                )
            }
        };
        let row = &desk.rows.values[place * columns..(place + 1) * columns];
        page.section(
            &format!("Row {}{why}: {said}", desk.rows.numbers[place]),
            "From the base, which is predicted when nothing is known of a row, to the score of this one.",
            &waterfall(desk.pipeline, row, shap, place, desk.output),
        );
    }
}

fn partial(page: &mut Page, desk: &Desk<'_>, all: &[Dependence]) {
    if all.is_empty() {
        return;
    }
    let what = match desk.pipeline.card.task {
        Task::Regression => "prediction",
        _ => "probability",
    };
    let how = format!(
        "The mean {what} when every row has this value: the thick line, or the bars of a category. Thin lines are \
         single rows; the marks below divide the rows into equal parts."
    );
    page.section(
        "How single columns act",
        &how,
        &dependence(desk.pipeline, all, desk.output),
    );
}
