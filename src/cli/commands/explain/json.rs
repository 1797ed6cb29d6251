//! Explanations as one JSON document; docs/explain.md lists its keys.

use serde_json::{Map, Value as Json, json};

use super::{Desk, Found};
use crate::data::table::Task;
use crate::learn::explain::{self, Dependence, Direction, Effect};

pub(super) fn value(desk: &Desk<'_>, found: &Found<'_>) -> Json {
    let card = &desk.pipeline.card;
    let fields = &desk.pipeline.transform.schema.fields;
    let mut all = json!({
        "method": match found {
            Found::Shap { .. } => "shap",
            Found::Permutation { .. } => "permutation",
            Found::Gain(_) => "gain",
            Found::Partial(_) => "partial",
        },
        "model": desk.model,
        "input": desk.input,
        "rows_read": desk.rows.all,
        "rows_used": desk.rows.numbers.len(),
        "target": card.target,
        "classes": card.classes,
    });
    let mut put = |key: &str, value: Json| {
        all[key] = value;
    };
    match found {
        Found::Shap {
            shap,
            effects,
            gain,
            predictions,
            ..
        } => {
            let units: Vec<String> = (0..shap.width)
                .map(|o| explain::unit(desk.pipeline, o))
                .collect();
            put("units", json!(units));
            put("base", json!(shap.base));
            let column = |e: &Effect| column(desk, e, gain.as_deref());
            put("columns", effects.iter().map(column).collect());
            let width = shap.width;
            let row = |place: usize| {
                let values = (0..width).map(|output| {
                    let pairs = fields.iter().zip(shap.row(place, output));
                    pairs
                        .map(|(f, v)| (f.name.clone(), json!(v)))
                        .collect::<Map<_, _>>()
                });
                let scores: Vec<f64> = (0..width).map(|o| shap.score(place, o)).collect();
                json!({
                    "row": desk.rows.numbers[place],
                    "prediction": &predictions[place * width..(place + 1) * width],
                    "score": scores,
                    "values": values.collect::<Vec<_>>(),
                })
            };
            let rows: Vec<Json> = match desk.asked {
                Some(place) => vec![row(place)],
                None => (0..shap.rows()).map(row).collect(),
            };
            put("rows", json!(rows));
        }
        Found::Permutation { importance, metric } => {
            put("metric", json!(metric.name));
            put("score", json!(importance.score));
            let summary = importance.summary();
            let columns = fields.iter().zip(summary).zip(&importance.losses);
            let columns: Vec<Json> = columns
                .map(|((field, (mean, deviation)), losses)| {
                    json!({"name": field.name, "mean": mean, "deviation": deviation, "losses": losses})
                })
                .collect();
            put("columns", json!(columns));
        }
        Found::Gain(gains) => {
            let columns = fields.iter().zip(gains);
            let columns: Vec<Json> = columns
                .map(|(field, gain)| json!({"name": field.name, "gain": gain}))
                .collect();
            put("columns", json!(columns));
        }
        Found::Partial(all) => put("columns", all.iter().map(|d| partial(desk, d)).collect()),
    }
    all
}

fn column(desk: &Desk<'_>, effect: &Effect, gain: Option<&[f64]>) -> Json {
    let field = &desk.pipeline.transform.schema.fields[effect.column];
    let mut value = json!({"name": field.name, "mean_abs": effect.mean_abs});
    if let Some(gain) = gain {
        value["gain"] = json!(gain[effect.column]);
    }
    match &effect.direction {
        Direction::Number { correlation } => value["correlation"] = json!(correlation),
        Direction::Levels(levels) => {
            let level = |(level, rows, mean): &(usize, usize, f64)| json!({"level": field.levels[*level], "rows": rows, "mean": mean});
            value["levels"] = levels.iter().map(level).collect();
        }
    }
    value
}

fn partial(desk: &Desk<'_>, one: &Dependence) -> Json {
    let field = &desk.pipeline.transform.schema.fields[one.column];
    let places: Vec<Json> = one
        .places
        .iter()
        .map(|p| {
            let value = if one.levels {
                json!(p.label)
            } else {
                json!(p.value)
            };
            // Of two classes and for a number there is one output; a list would only be in the way.
            let mean = match desk.pipeline.card.task {
                Task::Multiclass => json!(p.mean),
                _ => json!(p.mean[0]),
            };
            json!({"value": value, "mean": mean, "share": p.share})
        })
        .collect();
    json!({"name": field.name, "places": places})
}
