//! Names that somebody typed and that do not exist: which one was meant. For messages only.

/// The known name that differs from `typed` by a slip of the keyboard: the nearest one, if at most a quarter of its
/// letters and one more differ.
pub(crate) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// ``did you mean `tpe`?``, or all names when none is near.
pub(crate) fn hint<'a>(typed: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(typed, known.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let names: Vec<String> = known.map(|name| format!("`{name}`")).collect();
            format!("known are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["tpe", "random", "partial_fixed"];
        assert_eq!(nearest("tep", known), Some("tpe"));
        assert_eq!(nearest("partail_fixd", known), Some("partial_fixed"));
        assert_eq!(nearest("genetic", known), None);
        assert_eq!(hint("radnom", known.into_iter()), "did you mean `random`?");
        assert_eq!(hint("grid", ["a", "b"].into_iter()), "known are `a`, `b`");
    }
}
