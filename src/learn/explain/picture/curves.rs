//! Partial dependence: the mean prediction as a column changes, above the curves of single rows.

use super::{Scale, escape, number, open, short, text, vertical};
use crate::learn::explain::Dependence;
use crate::learn::pipeline::Pipeline;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 250.0;

/// One picture per dependence, side by side, all on one scale. `share` has a number per picture, shown as its rank.
pub fn dependence(pipeline: &Pipeline, all: &[Dependence], output: usize) -> String {
    let outputs = pipeline.width();
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for place in all.iter().flat_map(|d| &d.places) {
        // Curves of single rows may be far out; all of them are seen for numbers only.
        let curves = place.curves.iter().skip(output).step_by(outputs);
        for v in curves.chain([&place.mean[output]]) {
            (low, high) = (low.min(*v), high.max(*v));
        }
    }
    let mut out = "<div class=\"pair\">\n".to_owned();
    for one in all {
        let name = &pipeline.transform.schema.fields[one.column].name;
        let picture = if one.levels {
            levels(one, output, name)
        } else {
            line(
                one,
                output,
                outputs,
                name,
                Scale::new(low, high, HEIGHT - 40.0, 10.0),
            )
        };
        out += &format!("<figure><h3>{}</h3>\n{picture}</figure>\n", escape(name));
    }
    out + "</div>\n"
}

fn line(one: &Dependence, output: usize, outputs: usize, name: &str, y: Scale) -> String {
    let first = one.places.first().map_or(0.0, |p| p.value);
    let last = one.places.last().map_or(0.0, |p| p.value);
    let x = Scale::new(first, last, 46.0, WIDTH - 12.0);
    let mut out = open(WIDTH, HEIGHT, &format!("mean prediction by {name}"));
    for (tick, label) in y.ticks(5) {
        out += &format!(
            "<path class=\"g\" d=\"M46 {0:.1}H{1:.1}\"/>\n",
            y.at(tick),
            WIDTH - 12.0
        );
        out += &text("s", 39.0, y.at(tick) + 4.0, "end", &label);
    }
    for (tick, label) in x.ticks(6) {
        out += &text("s", x.at(tick), HEIGHT - 10.0, "middle", &label);
    }
    let path = |value: &dyn Fn(usize) -> f64| {
        let mut d = String::new();
        for (i, place) in one.places.iter().enumerate() {
            let step = if i == 0 { 'M' } else { 'L' };
            d += &format!("{step}{:.1} {:.1}", x.at(place.value), y.at(value(i)));
        }
        d
    };
    let curves = one.places.first().map_or(0, |p| p.curves.len() / outputs);
    let mut thin = String::new();
    for curve in 0..curves {
        thin += &path(&|i| one.places[i].curves[curve * outputs + output]);
    }
    out += &format!(
        "<path fill=\"none\" stroke=\"var(--bar)\" stroke-opacity=\".28\" d=\"{thin}\"/>\n"
    );
    let mean = path(&|i| one.places[i].mean[output]);
    out += &format!(
        "<path fill=\"none\" stroke=\"var(--paper)\" stroke-width=\"6\" stroke-linejoin=\"round\" d=\"{mean}\"/>\n"
    );
    out += &format!(
        "<path fill=\"none\" stroke=\"var(--high)\" stroke-width=\"2.6\" stroke-linejoin=\"round\" d=\"{mean}\"/>\n"
    );
    // Where the rows are: each mark stands for as many of them.
    for place in &one.places {
        out += &vertical("z", x.at(place.value), HEIGHT - 36.0, HEIGHT - 30.0);
    }
    out + "</svg>\n"
}

fn levels(one: &Dependence, output: usize, name: &str) -> String {
    let high = one
        .places
        .iter()
        .map(|p| p.mean[output])
        .fold(0.0, f64::max);
    let low = one
        .places
        .iter()
        .map(|p| p.mean[output])
        .fold(0.0, f64::min);
    let x = Scale::new(low, high, 150.0, WIDTH - 100.0);
    let shown = &one.places[..one.places.len().min(24)];
    let line = f64::min(34.0, 190.0 / shown.len().max(1) as f64).max(20.0);
    let height = f64::max(HEIGHT * 0.5, line * shown.len() as f64 + 36.0);
    let mut out = open(WIDTH, height, &format!("mean prediction by {name}"));
    for (i, place) in shown.iter().enumerate() {
        let y = 8.0 + line * (i as f64 + 0.5);
        let value = place.mean[output];
        let (start, end) = (x.at(value.min(0.0)), x.at(value.max(0.0)));
        out += &format!(
            "<g><title>{}</title>{}</g>\n",
            escape(&place.label),
            text("", 142.0, y + 4.5, "end", &short(&place.label, 20))
        );
        out += &format!(
            "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"var(--high)\" fill-opacity=\".85\"/>\n",
            y - line * 0.31,
            (end - start).max(0.5),
            line * 0.62
        );
        out += &text("n", end + 7.0, y + 4.5, "start", &number(value));
        let rows = format!("{:.0}% of rows", place.share * 100.0);
        out += &text("s", WIDTH - 2.0, y + 4.5, "end", &rows);
    }
    out + "</svg>\n"
}
