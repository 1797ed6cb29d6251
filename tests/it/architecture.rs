//! The house stands as its plan says: a module imports from lower floors only, and only the command line prints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floor of every room under `src/`.
const FLOORS: &[(&str, u32)] = &[
    ("seed", 0),
    ("clock", 0),
    ("fsio", 0),
    ("names", 0),
    ("stats", 0),
    ("db", 1),
    ("data", 1),
    ("study", 2),
    ("learn", 2),
    ("tune", 3),
    ("tracking", 3),
    ("registry", 4),
    ("cli", 7),
];

/// What the two columns of the house do not know of each other: optimization never reads tables, learning never sees
/// studies or the database.
const APART: &[(&str, &str)] = &[("study", "data"), ("learn", "db")];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let short = |p: PathBuf| p.strip_prefix(&root).unwrap().to_owned();
    found.into_iter().map(|(p, t)| (short(p), t)).collect()
}

/// The room of a file, as in `study` for `study/engine/mod.rs`; none for `lib.rs` and `main.rs`.
fn room(path: &Path) -> Option<String> {
    let first = path.iter().next()?.to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// Code without comments. A `//` inside a text ends the line too early, which hides no path.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

/// The rooms that a text names by `crate::…`, also as `use crate::{a, b}`.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let word = |s: &str| -> String {
        s.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let lines: Vec<&str> = text.lines().map(code).collect();
    for (i, line) in lines.iter().enumerate() {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            if !rest.starts_with('{') {
                found.push((i + 1, word(rest)));
                continue;
            }
            // A group may go over several lines: take the first word after each comma at depth one.
            let group = std::iter::once(&rest[1..]).chain(lines[i + 1..].iter().copied());
            let (mut depth, mut fresh) = (1, true);
            'group: for part in group {
                let mut current = String::new();
                for c in part.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => fresh = true,
                        c if depth == 1 && fresh && (c.is_ascii_alphanumeric() || c == '_') => {
                            current.push(c);
                            continue;
                        }
                        _ => {}
                    }
                    if !current.is_empty() {
                        found.push((i + 1, std::mem::take(&mut current)));
                        fresh = c == ',';
                    }
                    if depth == 0 {
                        break 'group;
                    }
                }
                if !current.is_empty() {
                    found.push((i + 1, current));
                    fresh = false;
                }
            }
        }
    }
    found
}

#[test]
fn a_module_imports_from_lower_floors_only() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(own) = room(&path) else { continue };
        let shown = path.display();
        let Some(&floor) = floors.get(own.as_str()) else {
            wrong.push(format!(
                "{shown}: the room `{own}` has no floor; give it one"
            ));
            continue;
        };
        for (line, other) in named(&text) {
            // The name of a macro or an item at the root, or the room itself.
            let Some(&below) = floors.get(other.as_str()) else {
                continue;
            };
            let apart = APART.contains(&(own.as_str(), other.as_str()));
            if own != other && (below >= floor || apart) {
                wrong.push(format!(
                    "{shown}:{line}: `{own}` (floor {floor}) imports `{other}` (floor {below})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path.starts_with("cli") {
            continue;
        }
        // Tests may print.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        if path.file_name().is_some_and(|n| n == "tests.rs") {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let line = code(line);
            for name in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
                let hit = line.match_indices(name).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                });
                if hit {
                    wrong.push(format!("{}:{}: {name}", path.display(), i + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn names_of_modules_are_nouns_of_the_field() {
    for (path, _) in sources() {
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        for bad in [
            "utils", "util", "helpers", "common", "misc", "core", "types", "manager",
        ] {
            assert_ne!(stem, bad, "{}", path.display());
        }
    }
}

#[test]
fn the_reader_of_imports_finds_groups() {
    let text = "use crate::{seed::Seed, db};\nuse crate::{\n    data::{table, csv},\n    fsio,\n};\nlet x = crate::clock::now();\n// crate::cli\n";
    let names: Vec<String> = named(text).into_iter().map(|(_, n)| n).collect();
    assert_eq!(names, ["seed", "db", "data", "fsio", "clock"]);
}
