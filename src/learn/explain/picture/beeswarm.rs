//! The summary: one line per column, one dot per row, placed by its SHAP value and coloured by the column's value, and
//! beside it the mean size of all values.

use super::{Scale, escape, number, open, short, text, vertical};
use crate::data::table::Kind;
use crate::learn::explain::{Effect, Shap};
use crate::learn::pipeline::Pipeline;

/// Most columns shown; the others are in one last line.
const COLUMNS: usize = 16;
/// Most dots of a column.
const DOTS: usize = 700;
const LABEL: f64 = 178.0;
const SWARM: (f64, f64) = (196.0, 766.0);
const BARS: (f64, f64) = (800.0, 910.0);
const LINE: f64 = 38.0;

/// Colours from low to high; legible on white and on black.
const COLOURS: [&str; 7] = [
    "#2f7fd6", "#5d78d8", "#8a70cf", "#ad66bd", "#c65aa2", "#d34d83", "#dc4064",
];

/// The picture for one output.
pub fn beeswarm(
    pipeline: &Pipeline,
    rows: &[f64],
    shap: &Shap,
    effects: &[Effect],
    output: usize,
) -> String {
    let fields = &pipeline.transform.schema.fields;
    let shown = &effects[..effects.len().min(COLUMNS)];
    let count = shap.rows();
    // Rows spread evenly over those that were explained.
    let picked: Vec<usize> = (0..count.min(DOTS))
        .map(|i| i * count / count.min(DOTS))
        .collect();
    let value = |row: usize, column: usize| shap.row(row, output)[column];
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for effect in shown {
        for &row in &picked {
            let v = value(row, effect.column);
            (low, high) = (low.min(v), high.max(v));
        }
    }
    let x = Scale::new(low, high, SWARM.0 + 6.0, SWARM.1 - 6.0);
    let largest = shown.first().map_or(0.0, |e| e.mean_abs);
    let bar = Scale::new(0.0, f64::max(largest, 1e-300), BARS.0, BARS.1);
    let top = 26.0;
    let bottom = top + LINE * shown.len() as f64;
    let rest = &effects[shown.len()..];
    let mut out = open(
        960.0,
        bottom + 58.0,
        "SHAP values of each column over the explained rows",
    );
    out += &text("s", SWARM.0, 12.0, "start", "SHAP value of each row");
    out += &text("s", BARS.0, 12.0, "start", "mean |SHAP|");
    for (tick, label) in x.ticks(7) {
        out += &vertical(
            if tick == 0.0 { "z" } else { "g" },
            x.at(tick),
            top,
            bottom + 4.0,
        );
        out += &text("s", x.at(tick), bottom + 20.0, "middle", &label);
    }
    for (i, effect) in shown.iter().enumerate() {
        let y = top + LINE * (i as f64 + 0.5);
        let field = &fields[effect.column];
        out += &format!(
            "<g><title>{}</title>{}</g>\n",
            escape(&field.name),
            text("", LABEL, y + 4.5, "end", &short(&field.name, 24))
        );
        out += &format!(
            "<path class=\"g\" stroke-opacity=\".55\" d=\"M{:.1} {y:.1}H{:.1}\"/>\n",
            SWARM.0, SWARM.1
        );
        // A category of more than two levels has no low and high.
        let coloured = field.kind == Kind::Numeric || field.levels.len() == 2;
        let columns = fields.len();
        let cell = |row: usize| rows[row * columns + effect.column];
        let ranks = if coloured {
            Some(Ranks::new(picked.iter().map(|&r| cell(r))))
        } else {
            None
        };
        let dots = picked.iter().map(|&row| {
            let shade = ranks.as_ref().and_then(|r| r.shade(cell(row)));
            (x.at(value(row, effect.column)), shade)
        });
        out += &swarm(dots.collect(), y);
        let end = bar.at(effect.mean_abs);
        out += &format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"2\" fill=\"var(--bar)\"/>\n",
            BARS.0,
            y - 7.0,
            (end - BARS.0).max(0.5)
        );
        out += &text("n", end + 7.0, y + 4.5, "start", &number(effect.mean_abs));
    }
    if !rest.is_empty() {
        let sum: f64 = rest.iter().map(|e| e.mean_abs).sum();
        let label = format!("{} more columns, together {}", rest.len(), number(sum));
        out += &text("s", BARS.1 + 50.0, bottom + 20.0, "end", &label);
    }
    out += &legend(bottom + 44.0);
    out + "</svg>\n"
}

fn legend(y: f64) -> String {
    let mut out = text("s", SWARM.0, y + 4.0, "start", "value of the column: low");
    let start = SWARM.0 + 146.0;
    for (i, colour) in COLOURS.iter().enumerate() {
        let x = start + 17.0 * i as f64;
        out += &format!(
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"17\" height=\"9\" fill=\"{colour}\"/>\n",
            y - 5.0
        );
    }
    let end = start + 17.0 * COLOURS.len() as f64;
    out += &text("s", end + 8.0, y + 4.0, "start", "high");
    out += &format!(
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"var(--bar)\"/>\n",
        end + 62.0,
        y - 0.5
    );
    out + &text(
        "s",
        end + 72.0,
        y + 4.0,
        "start",
        "missing, or a category of three levels or more",
    )
}

/// The distinct values of a column, to colour by rank: a few huge values must not make all others look alike.
struct Ranks(Vec<f64>);

impl Ranks {
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.filter(|v| !v.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Ranks(sorted)
    }

    /// The colour of a value by the middle of its ranks; none where it is missing.
    fn shade(&self, value: f64) -> Option<usize> {
        if value.is_nan() || self.0.is_empty() {
            return None;
        }
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        if value <= first && first < last {
            return Some(0);
        }
        if value >= last && first < last {
            return Some(COLOURS.len() - 1);
        }
        let below = self.0.partition_point(|v| *v < value);
        let upto = self.0.partition_point(|v| *v <= value);
        let share = (below + upto) as f64 / (2 * self.0.len()) as f64;
        Some(((share * COLOURS.len() as f64) as usize).min(COLOURS.len() - 1))
    }
}

/// Dots along a line. Where many fall on one place they are stacked to both sides, closer the more there are.
fn swarm(dots: Vec<(f64, Option<usize>)>, y: f64) -> String {
    const PLACE: f64 = 3.0;
    let place = |x: f64| (x / PLACE) as i64;
    let mut order: Vec<usize> = (0..dots.len()).collect();
    order.sort_by_key(|&i| (place(dots[i].0), dots[i].1, i));
    let mut paths = vec![String::new(); COLOURS.len() + 1];
    for group in order.chunk_by(|&a, &b| place(dots[a].0) == place(dots[b].0)) {
        let step = f64::min(3.4, (LINE - 9.0) / group.len() as f64);
        for (i, &dot) in group.iter().enumerate() {
            // From the bottom up, so that colours lie side by side.
            let offset = ((group.len() - 1) as f64 / 2.0 - i as f64) * step;
            let (x, shade) = dots[dot];
            paths[shade.unwrap_or(COLOURS.len())] += &format!("M{x:.1} {:.1}h0", y + offset);
        }
    }
    let mut out = String::new();
    for (i, path) in paths.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
        let colour = COLOURS.get(i).unwrap_or(&"var(--bar)");
        out += &format!("<path class=\"d\" stroke=\"{colour}\" d=\"{path}\"/>\n");
    }
    out
}
