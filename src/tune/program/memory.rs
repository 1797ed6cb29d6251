//! How much memory a group of processes holds.

/// Whether this system tells.
pub const KNOWN: bool = cfg!(target_os = "linux");

/// The resident memory of all processes of a group, in bytes; pages that several share count for each. 0 where the system
/// does not tell.
#[cfg(target_os = "linux")]
pub(super) fn of_group(group: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let is_process = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_process(name))
        // One that ended since is not there any more.
        .filter_map(|name| std::fs::read_to_string(format!("/proc/{name}/status")).ok())
        .filter(|status| field(status, "NSpgid:") == Some(u64::from(group)))
        .filter_map(|status| field(&status, "VmRSS:"))
        .map(|kib| kib * 1024)
        .sum()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of_group(_: u32) -> u64 {
    0
}

/// The first number of a line of `/proc/*/status`.
#[cfg(target_os = "linux")]
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads an amount of memory such as `500MB`, `1.5 GiB` or `2G`, in bytes.
///
/// # Errors
/// It is not such an amount, or less than a byte; in words.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no amount of memory; write it as in `500MB` or `1.5GiB`");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "B" => 1.0,
        "kB" | "KB" | "K" | "k" => 1e3,
        "MB" | "M" => 1e6,
        "GB" | "G" => 1e9,
        "TB" | "T" => 1e12,
        "KiB" => f64::from(1 << 10),
        "MiB" => f64::from(1 << 20),
        "GiB" => f64::from(1 << 30),
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit;
    if bytes >= 1.0 {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        for (text, bytes) in [
            ("4096", 4096),
            ("500MB", 500_000_000),
            ("1.5 GiB", 3 << 29),
            ("2G", 2_000_000_000),
            (" 64KiB ", 65536),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "much", "-1GB", "1 XB", "0", "1.2.3MB", "GB"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("write it as in `500MB`"), "{error}");
        }
    }
}
