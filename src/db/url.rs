//! Telling URLs from paths, and showing them without what is nobody's business.

/// Whether `place` is a URL, as in `postgres://host/database`, and not the path of a file or folder.
pub fn is_url(place: &str) -> bool {
    place.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// `url` without user, password and settings. A URL that is written wrongly may hide its password anywhere, so of
/// one that does not look right only the scheme is left.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "…".to_owned();
    };
    // The last `@` ends what may be a password, wherever `/` and `?` are in it.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = rest.split('?').next().unwrap_or("");
    let host = place.split('/').next().unwrap_or("");
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let odd = url.to_ascii_lowercase().contains("password")
        || !port.chars().all(|c| c.is_ascii_digit() || c == ']');
    if odd {
        format!("{scheme}://…")
    } else {
        format!("{scheme}://{place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["postgres://h/d", "postgresql://", "s3://b", "a+b-c.d://x"] {
            assert!(is_url(url), "{url}");
        }
        for path in [
            "automl-store",
            "/a/b",
            "C:\\x",
            "a/b://c",
            "://x",
            "3://x",
            "",
        ] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            (
                "postgres://me:secret@db:5432/a?sslmode=require",
                "postgres://db:5432/a",
            ),
            (
                "postgres://db.example/automl",
                "postgres://db.example/automl",
            ),
            ("postgres://[::1]:5432/a", "postgres://[::1]:5432/a"),
            ("postgres://me:se/cr?et@db/a", "postgres://db/a"),
            ("postgres://me:secret", "postgres://…"),
            ("postgres://db/a?password=x@secret", "postgres://…"),
            ("postgres://db/a?user=me&PASSWORD=secret", "postgres://…"),
            ("secret", "…"),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }
}
