//! Explanations as tables for a terminal.

use std::io::Write as _;

use super::{Desk, Found};
use crate::cli::output::{self, score, thousands};
use crate::data::table::Task;
use crate::learn::explain::{self, Dependence, Direction, Effect, Shap, cell_text};

/// Characters of the longest bar.
const BAR: usize = 24;

pub(super) fn write(desk: &Desk<'_>, found: &Found<'_>) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let fields = &desk.pipeline.transform.schema.fields;
    let rows = thousands(desk.rows.numbers.len());
    match found {
        Found::Shap {
            shap,
            effects,
            predictions,
            ..
        } => {
            if desk
                .asked
                .is_some_and(|place| desk.rows.numbers.len() > place)
            {
                one_row(&mut out, desk, shap, predictions)?;
                writeln!(out)?;
            }
            summary(&mut out, desk, shap, effects)?;
        }
        Found::Permutation { importance, metric } => {
            writeln!(
                out,
                "How much worse {} gets when a column is shuffled; {rows} rows, {} {}",
                metric.name,
                metric.name,
                score(importance.score)
            )?;
            writeln!(out)?;
            let summary = importance.summary();
            let mut order: Vec<usize> = (0..fields.len()).collect();
            order.sort_by(|a, b| summary[*b].0.total_cmp(&summary[*a].0));
            let largest = summary.iter().map(|s| s.0).fold(0.0, f64::max);
            let lines: Vec<Vec<String>> = order
                .into_iter()
                .map(|c| {
                    let (mean, deviation) = summary[c];
                    vec![
                        fields[c].name.clone(),
                        score(mean),
                        format!("± {}", score(deviation)),
                        bar(mean, largest),
                    ]
                })
                .collect();
            output::write_table(&mut out, &["column", "loss", "deviation", ""], &lines)?;
        }
        Found::Gain(gains) => {
            writeln!(out, "Share of the total gain of all splits\n")?;
            let mut order: Vec<usize> = (0..fields.len()).collect();
            order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
            let largest = gains.iter().copied().fold(0.0, f64::max);
            let lines: Vec<Vec<String>> = order
                .into_iter()
                .map(|c| {
                    vec![
                        fields[c].name.clone(),
                        score(gains[c]),
                        bar(gains[c], largest),
                    ]
                })
                .collect();
            output::write_table(&mut out, &["column", "gain", ""], &lines)?;
        }
        Found::Partial(all) => {
            for (i, one) in all.iter().enumerate() {
                if i > 0 {
                    writeln!(out)?;
                }
                partial(&mut out, desk, one)?;
            }
        }
    }
    Ok(out)
}

fn summary(
    out: &mut Vec<u8>,
    desk: &Desk<'_>,
    shap: &Shap,
    effects: &[Effect],
) -> anyhow::Result<()> {
    let rows = thousands(shap.rows());
    let unit = explain::unit(desk.pipeline, desk.output);
    writeln!(
        out,
        "SHAP values of {rows} rows: {unit}; base {}",
        score(shap.base[desk.output])
    )?;
    if shap.width > 1 {
        writeln!(
            out,
            "mean |SHAP| is summed over the classes {}; directions are those of one, see --class",
            desk.pipeline.card.classes.join(", ")
        )?;
    }
    writeln!(out)?;
    let largest = effects.first().map_or(0.0, |e| e.mean_abs);
    let lines: Vec<Vec<String>> = effects
        .iter()
        .map(|e| {
            vec![
                desk.pipeline.transform.schema.fields[e.column].name.clone(),
                score(e.mean_abs),
                bar(e.mean_abs, largest),
                direction(desk, e),
            ]
        })
        .collect();
    output::write_table(out, &["column", "mean |SHAP|", "", "direction"], &lines)?;
    Ok(())
}

fn direction(desk: &Desk<'_>, effect: &Effect) -> String {
    if effect.mean_abs == 0.0 {
        return "not used".to_owned();
    }
    let levels = &desk.pipeline.transform.schema.fields[effect.column].levels;
    match &effect.direction {
        Direction::Number { correlation } if *correlation > 0.4 => "larger raises it".to_owned(),
        Direction::Number { correlation } if *correlation < -0.4 => "larger lowers it".to_owned(),
        Direction::Number { .. } => "up and down".to_owned(),
        Direction::Levels(found) => match &found[..] {
            [] => "missing everywhere".to_owned(),
            [one] => format!("{} {:+.3}", levels[one.0], one.2),
            [first, .., last] => {
                format!(
                    "{} {:+.3}, {} {:+.3}",
                    levels[first.0], first.2, levels[last.0], last.2
                )
            }
        },
    }
}

fn one_row(
    out: &mut Vec<u8>,
    desk: &Desk<'_>,
    shap: &Shap,
    predictions: &[f64],
) -> anyhow::Result<()> {
    let Some(place) = desk.asked else {
        return Ok(());
    };
    let card = &desk.pipeline.card;
    let fields = &desk.pipeline.transform.schema.fields;
    let width = desk.pipeline.width();
    let prediction = &predictions[place * width..(place + 1) * width];
    let said = match (card.task, desk.pipeline.label(prediction)) {
        (Task::Binary, Some(label)) => {
            format!(
                "{} = {label}, probability of {} {}",
                card.target,
                card.classes[1],
                score(prediction[0])
            )
        }
        (_, Some(label)) => {
            let class = desk.output;
            format!(
                "{} = {label}, probability of {} {}",
                card.target,
                card.classes[class],
                score(prediction[class])
            )
        }
        (_, None) => format!("{} = {}", card.target, score(prediction[0])),
    };
    writeln!(
        out,
        "Row {} of {}: {said}",
        desk.rows.numbers[place], desk.input
    )?;
    writeln!(
        out,
        "SHAP values in {}\n",
        explain::unit(desk.pipeline, desk.output)
    )?;
    let values = shap.row(place, desk.output);
    let mut order: Vec<usize> = (0..fields.len()).filter(|c| values[*c] != 0.0).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    let largest = order.first().map_or(0.0, |c| values[*c].abs());
    let cells = &desk.rows.values[place * fields.len()..(place + 1) * fields.len()];
    let mut lines = vec![vec![
        "base".to_owned(),
        String::new(),
        score(shap.base[desk.output]),
        String::new(),
    ]];
    lines.extend(order.into_iter().map(|c| {
        vec![
            fields[c].name.clone(),
            cell_text(desk.pipeline, c, cells[c]),
            format!("{:+.4}", values[c]),
            bar(values[c].abs(), largest),
        ]
    }));
    lines.push(vec![
        "score".to_owned(),
        String::new(),
        score(shap.score(place, desk.output)),
        String::new(),
    ]);
    output::write_table(out, &["column", "value", "SHAP", ""], &lines)?;
    Ok(())
}

fn partial(out: &mut Vec<u8>, desk: &Desk<'_>, one: &Dependence) -> anyhow::Result<()> {
    let card = &desk.pipeline.card;
    let field = &desk.pipeline.transform.schema.fields[one.column];
    let what = match card.task {
        Task::Regression => card.target.clone(),
        Task::Binary => format!("probability of {} = {}", card.target, card.classes[1]),
        Task::Multiclass => format!(
            "probability of {} = {}",
            card.target, card.classes[desk.output]
        ),
    };
    writeln!(
        out,
        "Mean prediction ({what}) when every row has this `{}`\n",
        field.name
    )?;
    let means: Vec<f64> = one.places.iter().map(|p| p.mean[desk.output]).collect();
    let largest = means.iter().copied().fold(0.0, f64::max);
    let lines: Vec<Vec<String>> = one
        .places
        .iter()
        .zip(&means)
        .map(|(place, mean)| vec![place.label.clone(), score(*mean), bar(*mean, largest)])
        .collect();
    output::write_table(out, &[field.name.as_str(), "mean", ""], &lines)?;
    Ok(())
}

/// A bar as long as its share of the largest; half characters are told apart.
fn bar(value: f64, largest: f64) -> String {
    if value <= 0.0 || largest <= 0.0 {
        return String::new();
    }
    let halves = (value / largest * (2 * BAR) as f64).round() as usize;
    let mut text = "█".repeat(halves / 2);
    if halves % 2 == 1 {
        text.push('▌');
    }
    if text.is_empty() {
        text.push('▏');
    }
    text
}
