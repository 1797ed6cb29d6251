//! Columns ranked by one number each: importance by permutation or gain, mean predictions of levels.

use super::{Scale, escape, number, open, short, text, vertical};

/// One line.
#[derive(Clone, Debug)]
pub struct Bar {
    /// On the left.
    pub label: String,
    /// The length.
    pub value: f64,
    /// Standard deviation of the length, drawn as a whisker.
    pub spread: Option<f64>,
    /// Beside the number.
    pub note: String,
}

/// The picture; `unit` names what is measured.
pub fn bars(all: &[Bar], unit: &str) -> String {
    let low = all
        .iter()
        .map(|b| b.value - b.spread.unwrap_or(0.0))
        .fold(0.0, f64::min);
    let high = all
        .iter()
        .map(|b| b.value + b.spread.unwrap_or(0.0))
        .fold(0.0, f64::max);
    let x = Scale::new(low, high, 196.0, 820.0);
    let (top, line) = (26.0, 28.0);
    let bottom = top + line * all.len() as f64;
    let mut out = open(960.0, bottom + 30.0, unit);
    out += &text("s", 196.0, 12.0, "start", &escape(unit));
    for (tick, label) in x.ticks(6) {
        out += &vertical(
            if tick == 0.0 { "z" } else { "g" },
            x.at(tick),
            top,
            bottom + 2.0,
        );
        out += &text("s", x.at(tick), bottom + 18.0, "middle", &label);
    }
    for (i, bar) in all.iter().enumerate() {
        let y = top + line * (i as f64 + 0.5);
        let (start, end) = (x.at(bar.value.min(0.0)), x.at(bar.value.max(0.0)));
        out += &format!(
            "<g><title>{}</title>{}</g>\n",
            escape(&bar.label),
            text("", 182.0, y + 4.5, "end", &short(&bar.label, 24))
        );
        let colour = if bar.value < 0.0 { "high" } else { "low" };
        out += &format!(
            "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" rx=\"2\" fill=\"var(--{colour})\"/>\n",
            y - 8.0,
            (end - start).max(0.5)
        );
        let mut edge = end;
        if let Some(spread) = bar.spread {
            let (a, b) = (x.at(bar.value - spread), x.at(bar.value + spread));
            out +=
                &format!("<path class=\"z\" stroke=\"var(--ink)\" d=\"M{a:.1} {y:.1}H{b:.1}\"/>\n");
            edge = edge.max(b);
        }
        out += &text(
            "n",
            edge + 8.0,
            y + 4.5,
            "start",
            &format!("{} {}", number(bar.value), escape(&bar.note)),
        );
    }
    out + "</svg>\n"
}
