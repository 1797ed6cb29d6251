//! Printing: tables, numbers, chains of errors.

use std::io::{self, Write};

/// Prints a line to stdout. When its reader went away (`automl study FILE | head`), the work goes on without: what it leaves
/// behind is in the store.
macro_rules! print_line {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}
pub(super) use print_line;

/// An error with its causes on one line, each said once.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        // A transparent error repeats what it wraps.
        if text.ends_with(&message) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
    }
    text
}

/// Whether the reader of stdout went away.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let direct = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let csv = cause
            .downcast_ref::<csv::Error>()
            .and_then(|e| match e.kind() {
                csv::ErrorKind::Io(e) => Some(e.kind()),
                _ => None,
            });
        direct.or(csv) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// Prints a document and a line end to stdout.
pub(super) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Prints a table to stdout: columns as wide as their widest cell, numbers to the right. A header of empty names is
/// left out.
pub(super) fn print_table(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write_table(&mut out, header, rows)
}

/// As [`print_table`], to any writer.
pub(super) fn write_table(
    out: &mut dyn Write,
    header: &[&str],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let width = |s: &str| s.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|h| width(h)).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let is_number = |c: &str| c.is_empty() || c == "-" || c.parse::<f64>().is_ok();
    let right: Vec<bool> = (0..header.len())
        .map(|i| !rows.is_empty() && rows.iter().all(|r| is_number(&r[i])))
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, cell) in cells.enumerate() {
            let pad = " ".repeat(widths[i].saturating_sub(width(cell)));
            if i > 0 {
                text.push_str("  ");
            }
            if right[i] {
                text.push_str(&pad);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&pad);
            }
        }
        writeln!(out, "{}", text.trim_end())
    };
    if header.iter().any(|h| !h.is_empty()) {
        line(&mut header.iter().copied())?;
    }
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Writes rows as CSV to stdout.
pub(super) fn print_csv(header: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(io::stdout().lock());
    out.write_record(header)?;
    for row in rows {
        out.write_record(row)?;
    }
    out.flush()?;
    Ok(())
}

/// `7043` as `7,043`.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// A score with four digits after the point, or six significant ones when it is large or tiny.
pub(super) fn score(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e4).contains(&size) {
        format!("{value:.4}")
    } else if size.is_finite() && size >= 1e4 {
        format!("{value:.1}")
    } else {
        format!("{value:.4e}")
    }
}

/// Seconds as `1:23:45`, `12:34` or `0:07`.
pub(super) fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(7043), "7,043");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(score(0.84913), "0.8491");
        assert_eq!(score(45_804.182_2), "45804.2");
        assert_eq!(score(1e-7), "1.0000e-7");
        assert_eq!(clock(7.2), "0:07");
        assert_eq!(clock(3_725.0), "1:02:05");
    }
}
