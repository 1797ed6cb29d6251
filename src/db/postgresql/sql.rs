//! From the placeholders that SQLite understands to those of PostgreSQL.

/// `sql` with `$1` for `?1`, but not inside of text, quoted names and comments.
pub(super) fn translated(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\'' | '"' => quoted(rest, c),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '?' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                out.push('$');
                rest = &rest[1..];
                continue;
            }
            _ => c.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// How long the quoted text at the start of `sql` is. A doubled quote inside of it ends one and begins the next.
fn quoted(sql: &str, quote: char) -> usize {
    sql[1..].find(quote).map_or(sql.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_change_and_text_stays() {
        for (sql, expected) in [
            (
                "SELECT a FROM b WHERE c = ?1 AND d > ?12",
                "SELECT a FROM b WHERE c = $1 AND d > $12",
            ),
            ("SELECT '?1', ?1", "SELECT '?1', $1"),
            ("SELECT 'it''s ?1', ?2", "SELECT 'it''s ?1', $2"),
            ("SELECT \"?1\" -- ?1\n, ?1", "SELECT \"?1\" -- ?1\n, $1"),
            ("/* ?1 */ ?1 'ü?1' ?1", "/* ?1 */ $1 'ü?1' $1"),
            ("a ? b, '?1", "a ? b, '?1"),
            ("?", "?"),
        ] {
            assert_eq!(translated(sql), expected);
        }
    }
}
