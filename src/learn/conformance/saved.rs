//! Damaged files: whatever the bytes are, loading gives an error or a model that predicts.

use rand::RngExt;
use serde_json::{Value as Json, json};

use crate::learn::table::LearnerEntry;
use crate::seed::{Rng, Seed};

use super::made::Made;

/// Damaged copies that are tried. Most are refused; the others must predict.
const COPIES: u64 = 400;

pub(super) fn run(entry: &LearnerEntry, made: &Made) {
    let text = super::save(entry, &*super::fit(entry, made));
    for end in [0, 1, text.len() / 3, text.len() / 2, text.len() - 1] {
        // Saved forms are ASCII up to names, so a cut may only fall into a name.
        let cut = text.get(..end).unwrap_or_default();
        refused(entry, cut, "a file that was cut off");
    }
    for other in ["null", "[]", "{}", "{\"format\":1}", "text"] {
        refused(entry, other, "something else");
    }
    let whole: Json = serde_json::from_str(&text).expect("the saved form is JSON");
    let mut newer = whole.clone();
    newer["format"] = json!(1_000_000);
    refused(entry, &newer.to_string(), "a format of the far future");

    for copy in 0..COPIES {
        let mut rng = Seed::root(5).child("damage", copy).rng();
        let mut damaged = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            damage(&mut damaged, &mut rng);
        }
        let Ok(model) = (entry.load)(&damaged.to_string()) else {
            continue;
        };
        let mut out = vec![0.0; model.width()];
        for value in [0.0, f64::NAN, 1e9, -1e9, 3.0, 254.0, 255.0, 0.5] {
            let row = vec![value; model.features()];
            model.predict_row(&row, &mut out);
            let mut again = vec![0.0; model.width()];
            model.predict_matrix(&row, &mut again);
            let bits = |out: &[f64]| out.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&out), bits(&again), "{}", entry.name);
        }
    }
}

fn refused(entry: &LearnerEntry, text: &str, what: &str) {
    assert!(
        (entry.load)(text).is_err(),
        "{}: {what} must be refused when it is loaded as a model",
        entry.name
    );
}

/// Walks to a random place and changes what is there.
pub(super) fn damage(json: &mut Json, rng: &mut Rng) {
    match json {
        Json::Object(map) if !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = &keys[rng.random_range(0..keys.len())];
            if rng.random_range(0..30) == 0 {
                map.remove(key);
            } else if let Some(inner) = map.get_mut(key) {
                damage(inner, rng);
            }
        }
        Json::Array(list) if !list.is_empty() => {
            let at = rng.random_range(0..list.len());
            match rng.random_range(0..12) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                2 => {
                    let other = rng.random_range(0..list.len());
                    list.swap(at, other);
                }
                _ => damage(&mut list[at], rng),
            }
        }
        other => {
            let values = [
                json!(0),
                json!(1),
                json!(2),
                json!(3),
                json!(-1),
                json!(7),
                json!(255),
                json!(65_535),
                json!(4_294_967_295_u32),
                json!(0.5),
                json!(1e308),
                json!(-1e308),
                json!(null),
                json!("regression"),
                json!("binary"),
                json!("multiclass"),
                json!("softmax"),
                json!("logistic"),
                json!("mean"),
                json!("identity"),
            ];
            *other = values[rng.random_range(0..values.len())].clone();
        }
    }
}
