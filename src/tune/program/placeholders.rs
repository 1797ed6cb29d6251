//! Commands with placeholders, and the last number of what they print.
//!
//! `{lr}` stands for the value of parameter `lr`, `{trial}` for the trial's number and `{seed}` for its seed. Other
//! braces are left alone, and so is `${lr}`, which belongs to a shell. A parameter that a trial does not have is empty
//! text.

use std::path::Path;

use crate::study::declared::Space;
use crate::study::space::Params;
use crate::tune::yaml::closest;

use super::ProgramError;

/// A command whose words may hold placeholders.
pub(super) struct Template {
    words: Vec<String>,
    parts: Vec<Vec<Part>>,
}

enum Part {
    Text(String),
    Param(String),
    Trial,
    Seed,
}

impl Template {
    pub(super) fn new(command: &[String], space: &Space) -> Result<Self, ProgramError> {
        if command.first().is_none_or(String::is_empty) {
            return Err(ProgramError::Empty);
        }
        let parts = command.iter().map(|word| parts(word, space));
        Ok(Template {
            parts: parts.collect::<Result<_, _>>()?,
            words: command.to_vec(),
        })
    }

    /// Whether there is a placeholder, so that the command is run for each trial.
    pub(super) fn is_per_trial(&self) -> bool {
        let text = |p: &Part| matches!(p, Part::Text(_));
        !self.parts.iter().flatten().all(text)
    }

    /// The command as written.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// The command of one trial.
    pub(super) fn fill(&self, params: &Params, trial: u64, seed: u32) -> Vec<String> {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Trial => trial.to_string(),
            Part::Seed => seed.to_string(),
            Part::Param(name) => params
                .assignment(name)
                .map_or(String::new(), |a| a.value().to_string()),
        };
        let word = |parts: &Vec<Part>| parts.iter().map(text).collect();
        self.parts.iter().map(word).collect()
    }

    /// Looks for the program, which is started only when a trial is.
    pub(super) fn check_program(&self) -> Result<(), ProgramError> {
        let fixed = self.parts[0].iter().all(|p| matches!(p, Part::Text(_)));
        let program = Path::new(&self.words[0]);
        // A name with a separator is a path; any other is looked for as the system does.
        let found = if program.components().count() > 1 {
            program.is_file()
        } else {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            let ends = ["", std::env::consts::EXE_SUFFIX];
            std::env::split_paths(&folders).any(|folder| {
                ends.iter()
                    .any(|end| folder.join(format!("{}{end}", self.words[0])).is_file())
            })
        };
        if found || !fixed {
            return Ok(());
        }
        Err(ProgramError::Start {
            program: self.words[0].clone(),
            why: std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such program"),
        })
    }
}

fn parts(word: &str, space: &Space) -> Result<Vec<Part>, ProgramError> {
    let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), word);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name);
        let shell = before.ends_with('$');
        let part = match name {
            Some(name) if !shell && space.param(name).is_some() => {
                Some(Part::Param(name.to_owned()))
            }
            Some("trial") if !shell => Some(Part::Trial),
            Some("seed") if !shell => Some(Part::Seed),
            Some(name) if !shell && is_name(name) => {
                let known = space.params().iter().map(|p| p.name.as_str());
                if let Some(likely) = closest(name, known) {
                    return Err(ProgramError::Placeholder {
                        typed: name.to_owned(),
                        likely,
                    });
                }
                None
            }
            _ => None,
        };
        match (part, name) {
            (Some(part), Some(name)) => {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(part);
                rest = &after[name.len() + 1..];
            }
            _ => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.chars().all(inner)
}

/// The last numbers of a text that is read line by line.
pub(super) struct LastNumbers {
    wanted: usize,
    found: Vec<f64>,
}

impl LastNumbers {
    pub(super) fn new(wanted: usize) -> Self {
        LastNumbers {
            wanted,
            found: Vec::new(),
        }
    }

    /// Reads a line. A number is a word of its own, between blanks, `:`, `=`, commas, quotes and brackets; `nan` and
    /// `inf` are numbers, `10s` and `83%` are not.
    pub(super) fn read(&mut self, line: &str) {
        let between = |c: char| c.is_whitespace() || ":=,;()[]{}\"'".contains(c);
        for word in line.split(between) {
            if let Ok(number) = word.trim_end_matches('.').parse::<f64>() {
                self.found.push(number);
            }
        }
        let surplus = self.found.len().saturating_sub(self.wanted);
        self.found.drain(..surplus);
    }

    /// As many as wanted, in the order in which they were printed.
    pub(super) fn values(self) -> Result<Vec<f64>, String> {
        match (self.wanted, self.found.len()) {
            (wanted, found) if wanted == found => Ok(self.found),
            (1, _) => Err("the command printed no number; the last one is its value".to_owned()),
            (wanted, found) => Err(format!(
                "the command printed {found} numbers; the last {wanted} are its values"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::declared::Param;
    use crate::study::space::Domain;

    fn space() -> Space {
        let float = |name| Param::new(name, Domain::float(0.0, 1.0, None, false).unwrap());
        Space::new(vec![float("lr"), float("net.depth")]).unwrap()
    }

    fn filled(word: &str) -> String {
        let words = ["run".to_owned(), word.to_owned()];
        let template = Template::new(&words, &space()).unwrap();
        let mut params = Params::default();
        params.0.push(crate::study::space::Assignment {
            name: "lr".to_owned(),
            domain: space().params()[0].domain.clone(),
            internal: 0.25,
        });
        template.fill(&params, 7, 9).remove(1)
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_left() {
        assert_eq!(filled("--lr={lr}"), "--lr=0.25");
        assert_eq!(filled("{lr}{lr}-{trial}/{seed}"), "0.250.25-7/9");
        assert_eq!(filled("d={net.depth}"), "d=");
        for same in [
            "",
            "{",
            "{}",
            "}{",
            "${lr}",
            "{print $1}",
            "{\"a\": {}}",
            "{lr",
            "{other}",
        ] {
            assert_eq!(filled(same), same);
        }
        assert_eq!(filled("{{lr}}"), "{0.25}");
        let words = ["x".to_owned(), "{print}".to_owned()];
        assert!(!Template::new(&words, &space()).unwrap().is_per_trial());
        let typed = Template::new(&["{net.dept}".to_owned()], &space());
        assert_eq!(
            typed.err().unwrap().to_string(),
            "`{net.dept}` in the command is not a parameter; did you mean `{net.depth}`?"
        );
    }

    #[test]
    fn the_last_number_is_the_value() {
        let last = |text: &str, n| {
            let mut numbers = LastNumbers::new(n);
            text.lines().for_each(|l| numbers.read(l));
            numbers.values()
        };
        assert_eq!(last("epoch 1\naccuracy: 0.83\n", 1), Ok(vec![0.83]));
        assert_eq!(last("loss=-1.5e-3, took 10s.", 1), Ok(vec![-0.0015]));
        assert_eq!(last("{\"value\": 4}\ndone", 1), Ok(vec![4.0]));
        assert_eq!(last("1 2\n3.", 2), Ok(vec![2.0, 3.0]));
        assert_eq!(last("inf", 1), Ok(vec![f64::INFINITY]));
        assert!(last("the loss is nan", 1).unwrap()[0].is_nan());
        assert!(last("none", 1).unwrap_err().contains("printed no number"));
        assert!(last("1", 2).unwrap_err().contains("printed 1 numbers"));
    }
}
