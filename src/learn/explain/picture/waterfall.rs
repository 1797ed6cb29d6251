//! One row: from what is predicted when nothing is known to its own score, column by column.

use super::{Scale, escape, number, open, short, signed, text, vertical};
use crate::learn::explain::{Shap, cell_text};
use crate::learn::pipeline::Pipeline;

/// Most columns shown; the others are one step.
const COLUMNS: usize = 12;

/// The picture of one row: `place` is its position in `shap`, `row` its cells.
pub fn waterfall(
    pipeline: &Pipeline,
    row: &[f64],
    shap: &Shap,
    place: usize,
    output: usize,
) -> String {
    let fields = &pipeline.transform.schema.fields;
    let values = shap.row(place, output);
    let mut order: Vec<usize> = (0..values.len()).filter(|c| values[*c] != 0.0).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    let mut steps: Vec<(String, String, f64)> = Vec::new();
    let few = if order.len() > COLUMNS {
        COLUMNS - 1
    } else {
        order.len()
    };
    for &column in &order[..few] {
        let cell = cell_text(pipeline, column, row[column]);
        steps.push((fields[column].name.clone(), cell, values[column]));
    }
    if order.len() > few {
        let rest = order[few..].iter().map(|c| values[*c]).sum();
        steps.push((
            format!("{} more columns", order.len() - few),
            String::new(),
            rest,
        ));
    }
    let base = shap.base[output];
    let score = shap.score(place, output);
    let (mut low, mut high, mut sum) = (base.min(score), base.max(score), base);
    for step in &steps {
        sum += step.2;
        (low, high) = (low.min(sum), high.max(sum));
    }
    let pad = (high - low) * 0.04;
    let x = Scale::new(low - pad, high + pad, 310.0, 890.0);
    let (top, line) = (34.0, 31.0);
    let bottom = top + line * steps.len() as f64;
    let mut out = open(960.0, bottom + 54.0, "SHAP values of one row");
    for (tick, label) in x.ticks(7) {
        out += &vertical("g", x.at(tick), top, bottom + 4.0);
        out += &text("s", x.at(tick), bottom + 20.0, "middle", &label);
    }
    out += &vertical("z", x.at(base), top - 8.0, bottom + 4.0);
    out += &text(
        "n",
        x.at(base),
        top - 14.0,
        "middle",
        &format!("base {}", number(base)),
    );
    let mut at = base;
    for (i, (name, cell, value)) in steps.iter().enumerate() {
        let y = top + line * (i as f64 + 0.5);
        let (from, to) = (x.at(at), x.at(at + value));
        let label = if cell.is_empty() {
            text("", 292.0, y + 4.5, "end", &escape(name))
        } else {
            format!(
                "<text x=\"292\" y=\"{:.1}\" text-anchor=\"end\"><tspan class=\"s\">{} =</tspan> {}</text>\n",
                y + 4.5,
                short(name, 22),
                short(cell, 22)
            )
        };
        out += &format!(
            "<g><title>{} = {}</title>{label}</g>\n",
            escape(name),
            escape(cell)
        );
        out += &arrow(from, to, y, *value > 0.0);
        let (place, anchor) = if *value > 0.0 {
            (to + 6.0, "start")
        } else {
            (to - 6.0, "end")
        };
        out += &text("n", place, y + 4.5, anchor, &signed(*value));
        at += value;
        if i + 1 < steps.len() {
            out += &format!(
                "<path class=\"z\" stroke-dasharray=\"2 3\" d=\"M{to:.1} {:.1}V{:.1}\"/>\n",
                y + 10.0,
                y + line - 10.0
            );
        }
    }
    out += &vertical("z", x.at(score), bottom - 6.0, bottom + 30.0);
    out += &format!(
        "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"600\">score {}</text>\n",
        x.at(score),
        bottom + 46.0,
        number(score)
    );
    out + "</svg>\n"
}

/// A bar that points where it leads.
fn arrow(from: f64, to: f64, y: f64, up: bool) -> String {
    let tip = f64::min(7.0, (to - from).abs());
    let neck = if up { to - tip } else { to + tip };
    let colour = if up { "high" } else { "low" };
    format!(
        "<path fill=\"var(--{colour})\" d=\"M{from:.1} {a:.1}H{neck:.1}L{to:.1} {y:.1}L{neck:.1} {b:.1}H{from:.1}Z\"/>\n",
        a = y - 9.0,
        b = y + 9.0
    )
}
