//! Explanations as pictures: inline SVG in one HTML file that needs nothing from elsewhere, light or dark as the reader's
//! screen is.
//!
//! **Contract.** The same explanation gives the same bytes. Every text that comes from data is escaped. No scripts.

mod beeswarm;
mod curves;
mod rank;
mod waterfall;

pub use beeswarm::beeswarm;
pub use curves::dependence;
pub use rank::{Bar, bars};
pub use waterfall::waterfall;

/// A page of sections.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page. `facts` are pairs of a name and a value, shown below the title.
    pub fn new(title: &str, facts: &[(&str, String)]) -> Self {
        let mut body = format!("<header><h1>{}</h1><dl>", escape(title));
        for (name, value) in facts {
            body += &format!(
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(name),
                escape(value)
            );
        }
        body += "</dl></header>\n";
        Page {
            title: title.to_owned(),
            body,
        }
    }

    /// Adds a heading, a sentence on how to read what follows, and pictures. `pictures` is markup.
    pub fn section(&mut self, heading: &str, how: &str, pictures: &str) {
        self.body += &format!(
            "<section><h2>{}</h2><p>{}</p>\n{pictures}</section>\n",
            escape(heading),
            escape(how)
        );
    }

    /// The document.
    pub fn finish(self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{}</title>\n<style>{STYLE}</style></head>\n<body><main>\n{}</main></body></html>\n",
            escape(&self.title),
            self.body
        )
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2330;--soft:#5d6778;--line:#dfe3ea;--faint:#eef1f5;--low:#2f7fd6;--high:#d93a63;--bar:#6c7a92;--thin:#2f7fd6}
@media (prefers-color-scheme:dark){:root{--paper:#12161d;--ink:#e8ecf3;--soft:#9aa5b7;--line:#2b323e;--faint:#1b212b;--low:#5aa5f2;--high:#f26a8d;--bar:#8592a8;--thin:#5aa5f2}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
main{max-width:1020px;margin:0 auto;padding:40px 28px 72px}
h1{font-size:26px;line-height:1.25;margin:0 0 14px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 4px}
h3{font-size:14px;margin:0 0 6px;font-weight:600}
p{margin:0 0 16px;color:var(--soft);max-width:76ch}
dl{display:flex;flex-wrap:wrap;gap:10px 34px;margin:0;padding:14px 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
dt{font-size:12px;color:var(--soft)}dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
section{margin-top:40px}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--ink);font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
svg .s{fill:var(--soft);font-size:12px}svg .n{font-size:12px;font-variant-numeric:tabular-nums}
svg .g{stroke:var(--line);stroke-width:1;fill:none}svg .z{stroke:var(--soft);stroke-width:1;fill:none}
svg .b{fill:var(--faint)}svg .d{fill:none;stroke-width:4.6;stroke-linecap:round;stroke-opacity:.72}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:30px 34px}
figure{margin:0}
@media (max-width:480px){.pair{grid-template-columns:1fr}main{padding:24px 14px}}
@media print{section{break-inside:avoid}}
";

/// Text for HTML and for attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Controls have no place in a document.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// At most `most` characters, the last an ellipsis where there were more.
fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return escape(text);
    }
    let cut: String = text.chars().take(most.saturating_sub(1)).collect();
    escape(cut.trim_end()) + "…"
}

/// A number with three digits that count.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = if value == 0.0 || !value.is_finite() {
        return if value == 0.0 {
            "0".to_owned()
        } else {
            value.to_string()
        };
    } else if size >= 1e7 || size < 1e-4 {
        format!("{value:.2e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    text.replace('-', "−")
}

/// As [`number`], with a plus where it is above 0.
pub fn signed(value: f64) -> String {
    if value > 0.0 {
        format!("+{}", number(value))
    } else {
        number(value)
    }
}

/// From numbers to places on a line.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// A line that shows `low..=high`, widened where both are the same.
    fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            let around = f64::max(low.abs() * 0.1, 1e-6);
            (low - around, high + around)
        };
        Scale {
            low,
            high,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        // Halves, so that the difference of two large numbers stays finite.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        self.from + share.clamp(-0.2, 1.2) * (self.to - self.from)
    }

    /// Round numbers within, about `count` of them, with the text of each.
    fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let rough = (self.high / 2.0 - self.low / 2.0) * 2.0 / count.max(1) as f64;
        if !rough.is_finite() || rough <= 0.0 {
            return Vec::new();
        }
        let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|s| s * power)
            .find(|s| *s >= rough * 0.999)
            .unwrap_or(10.0 * power);
        let digits = (-libm::floor(libm::log10(step) + 1e-9)).clamp(0.0, 12.0) as usize;
        let first = libm::ceil(self.low / step - 1e-9);
        let mut ticks = Vec::new();
        for i in 0..=2 * count + 2 {
            let value = (first + i as f64) * step;
            if value > self.high + step * 1e-9 || !value.is_finite() {
                break;
            }
            // No minus before nothing.
            let value = if value == 0.0 { 0.0 } else { value };
            let text = if step >= 1e6 || step < 1e-6 {
                format!("{value:e}")
            } else {
                format!("{value:.digits$}")
            };
            ticks.push((value, text.replace('-', "−")));
        }
        ticks
    }
}

/// The start of a picture of `width × height` that says what it is to those who cannot see it.
fn open(width: f64, height: f64, label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">\n",
        escape(label)
    )
}

/// A vertical line.
fn vertical(class: &str, x: f64, from: f64, to: f64) -> String {
    format!("<path class=\"{class}\" d=\"M{x:.1} {from:.1}V{to:.1}\"/>\n")
}

/// A line of text; `anchor` is `start`, `middle` or `end`.
fn text(class: &str, x: f64, y: f64, anchor: &str, escaped: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{escaped}</text>\n"
    )
}
