//! What a column is: cells are collected in a compact form while the file is read once, and judged at its end.
//!
//! As long as a column has few different texts, a cell is the number of its text. Once there are more than a category may
//! have, only two things remain possible: the column is numeric and its cells become numbers, or it is text and is only
//! counted. No cell is kept as a string.
//!
//! **The rules**, on the cells that are not missing:
//! - all finite numbers: boolean if they are exactly 0 and 1, else numeric;
//! - a few other texts between numbers (a single cell, or at most 5 %): an error, since a typo would turn a number into a
//!   category; likewise NaN and infinities between numbers, and a few markers in a column with too many different
//!   numbers to be a category;
//! - two texts: boolean; up to [`MAX_LEVELS`]: categorical, unless nearly every cell differs;
//! - else text, which is no feature.

use std::collections::HashMap;

use super::table::Kind;

/// The most levels that a categorical column may have; one code less than a byte holds stays free for missing.
pub const MAX_LEVELS: usize = 254;

/// Different texts that are told apart before a column must be numbers or text.
const MAX_TEXTS: usize = 256;
/// Different texts that are no numbers and may still be markers in a column of numbers.
const MAX_STRAYS: usize = 10;
/// Columns with fewer cells cannot be told to be identifiers.
const MIN_IDENTIFIER_CELLS: u64 = 20;
const MISSING: u16 = u16::MAX;

/// What a text is when read as a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// A finite number.
    Number(f64),
    /// NaN, an infinity, or beyond the range of 64 bits.
    NotFinite,
    /// No number at all.
    Text,
}

impl Meaning {
    pub(super) fn of(text: &str) -> Self {
        match text.parse::<f64>() {
            // −0 and 0 are the same cell value.
            Ok(number) if number.is_finite() => Meaning::Number(number + 0.0),
            Ok(_) => Meaning::NotFinite,
            Err(_) => Meaning::Text,
        }
    }

    fn number(self) -> Option<f64> {
        match self {
            Meaning::Number(n) => Some(n),
            Meaning::NotFinite | Meaning::Text => None,
        }
    }
}

/// A text with what is known about its cells.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) meaning: Meaning,
    pub(super) first_row: u32,
    pub(super) cells: u64,
}

enum Cells {
    /// The index of the text of each cell.
    Codes(Vec<u16>),
    /// The number of each cell.
    Numbers(Vec<f64>),
    /// Nothing but the counts.
    Counted,
}

/// Collects the cells of one column.
pub(super) struct ColumnBuilder {
    lookup: HashMap<Box<[u8]>, u16>,
    /// With codes, all texts; afterwards, those that are no finite numbers, at most one more than [`MAX_STRAYS`].
    texts: Vec<Text>,
    cells: Cells,
    keep_numbers: bool,
    pub(super) rows: u32,
    pub(super) missing: u64,
    pub(super) first_missing: Option<u32>,
}

/// A column that became a feature: numbers or codes, NaN where missing.
pub(super) struct Column {
    pub(super) kind: Kind,
    pub(super) levels: Vec<String>,
    pub(super) values: Vec<f64>,
}

/// What the cells of a column turned out to be.
pub(super) enum Verdict {
    Feature(Column),
    /// No feature, and why.
    LeftOut(String),
    /// A cell that keeps the column from being numeric, and the kind that would accept it.
    Stray(Text, &'static str),
    /// The kind asked for does not fit, and why.
    Unfit(String),
}

impl ColumnBuilder {
    /// A column without cells. With `forced` numeric, its cells are numbers whatever else occurs.
    pub(super) fn new(forced: Option<Kind>) -> Self {
        ColumnBuilder {
            lookup: HashMap::new(),
            texts: Vec::new(),
            cells: Cells::Codes(Vec::new()),
            keep_numbers: forced == Some(Kind::Numeric),
            rows: 0,
            missing: 0,
            first_missing: None,
        }
    }

    /// Cells that are not missing.
    pub(super) fn present(&self) -> u64 {
        u64::from(self.rows) - self.missing
    }

    /// Adds a cell that means missing.
    pub(super) fn push_missing(&mut self) {
        self.first_missing.get_or_insert(self.rows);
        self.missing += 1;
        match &mut self.cells {
            Cells::Codes(codes) => codes.push(MISSING),
            Cells::Numbers(numbers) => numbers.push(f64::NAN),
            Cells::Counted => {}
        }
        self.rows += 1;
    }

    /// Adds a cell without the blanks around it, not empty.
    pub(super) fn push(&mut self, cell: &[u8]) {
        if let Cells::Codes(codes) = &mut self.cells {
            if let Some(&code) = self.lookup.get(cell) {
                self.texts[usize::from(code)].cells += 1;
                codes.push(code);
                self.rows += 1;
                return;
            }
            let text = as_text(cell);
            let meaning = Meaning::of(text);
            if self.texts.len() < MAX_TEXTS {
                let code = self.texts.len() as u16;
                codes.push(code);
                self.lookup.insert(cell.into(), code);
                self.texts.push(Text {
                    text: text.to_owned(),
                    meaning,
                    first_row: self.rows,
                    cells: 1,
                });
                self.rows += 1;
                return;
            }
            self.widen();
        }
        match &mut self.cells {
            Cells::Numbers(numbers) => match Meaning::of(as_text(cell)) {
                Meaning::Number(number) => numbers.push(number),
                meaning => {
                    numbers.push(f64::NAN);
                    self.push_stray(as_text(cell), meaning);
                }
            },
            Cells::Codes(_) | Cells::Counted => {}
        }
        self.rows += 1;
    }

    /// Turns codes into numbers, or gives the cells up.
    fn widen(&mut self) {
        let Cells::Codes(codes) = &self.cells else {
            return;
        };
        let strays = self
            .texts
            .iter()
            .filter(|t| t.meaning.number().is_none())
            .count();
        self.cells = if strays <= MAX_STRAYS || self.keep_numbers {
            Cells::Numbers(codes.iter().map(|&c| self.number(c)).collect())
        } else {
            Cells::Counted
        };
        self.texts.retain(|t| t.meaning.number().is_none());
        self.texts.truncate(MAX_STRAYS + 1);
        self.lookup = HashMap::new();
    }

    fn push_stray(&mut self, text: &str, meaning: Meaning) {
        if let Some(known) = self.texts.iter_mut().find(|t| t.text == text) {
            known.cells += 1;
            return;
        }
        if self.texts.len() <= MAX_STRAYS {
            self.texts.push(Text {
                text: text.to_owned(),
                meaning,
                first_row: self.rows,
                cells: 1,
            });
        }
        if self.texts.len() > MAX_STRAYS && !self.keep_numbers {
            self.cells = Cells::Counted;
        }
    }

    fn number(&self, code: u16) -> f64 {
        self.texts
            .get(usize::from(code))
            .and_then(|t| t.meaning.number())
            .unwrap_or(f64::NAN)
    }

    /// The texts of a column with few of them; `None` when there are more than can be classes or levels.
    pub(super) fn few_texts(&self) -> Option<&[Text]> {
        match self.cells {
            Cells::Codes(_) => Some(&self.texts),
            Cells::Numbers(_) | Cells::Counted => None,
        }
    }

    /// The first cell that is no finite number; a text comes before NaN and infinities.
    pub(super) fn first_stray(&self) -> Option<&Text> {
        self.texts
            .iter()
            .filter(|t| t.meaning.number().is_none())
            .min_by_key(|t| (t.meaning != Meaning::Text, t.first_row))
    }

    /// A stray cell, if this looks like a column of numbers with a mistake in it; see the rules of the module.
    pub(super) fn mistake(&self) -> Option<&Text> {
        let stray = self.first_stray()?;
        let strays = || self.texts.iter().filter(|t| t.meaning.number().is_none());
        let cells: u64 = strays().map(|t| t.cells).sum();
        let numbers = self.present() - cells;
        let looks_numeric = match self.cells {
            Cells::Codes(_) => {
                strays().all(|t| t.meaning == Meaning::NotFinite)
                    || (numbers > cells && numbers >= 2 && cells <= (self.present() / 20).max(1))
            }
            Cells::Numbers(_) => numbers >= cells,
            Cells::Counted => false,
        };
        looks_numeric.then_some(stray)
    }

    /// Whether every cell that is not missing is a finite number, and there is one.
    pub(super) fn all_numbers(&self) -> bool {
        self.first_stray().is_none() && self.present() > 0 && !matches!(self.cells, Cells::Counted)
    }

    /// The cells as numbers, NaN where missing.
    pub(super) fn into_numbers(mut self) -> Vec<f64> {
        match std::mem::replace(&mut self.cells, Cells::Counted) {
            Cells::Numbers(numbers) => numbers,
            Cells::Codes(codes) => codes.iter().map(|&c| self.number(c)).collect(),
            Cells::Counted => vec![f64::NAN; self.rows as usize],
        }
    }

    /// The levels in byte order. Texts of equal numbers, as `1` and `1.0`, are one level if all texts are numbers; the
    /// level has the first text in byte order.
    pub(super) fn levels(&self) -> Levels {
        let mut order: Vec<u16> = (0..self.few_texts().map_or(0, <[Text]>::len) as u16).collect();
        order.sort_by(|&a, &b| {
            let text = |c: u16| &self.texts[usize::from(c)].text;
            text(a).cmp(text(b))
        });
        let all_numbers = self.texts.iter().all(|t| t.meaning.number().is_some());
        let mut names: Vec<String> = Vec::new();
        let mut numbers: Vec<f64> = Vec::new();
        let mut codes = vec![0_u16; order.len()];
        for text in order {
            let number = self.number(text);
            let same = numbers.iter().position(|&n| all_numbers && n == number);
            let level = same.unwrap_or_else(|| {
                names.push(self.texts[usize::from(text)].text.clone());
                numbers.push(number);
                names.len() - 1
            });
            codes[usize::from(text)] = level as u16;
        }
        Levels { names, codes }
    }

    /// The cells as codes of `levels`, NaN where missing.
    pub(super) fn into_codes(self, levels: &Levels) -> Vec<f64> {
        match self.cells {
            Cells::Codes(codes) => codes
                .iter()
                .map(|&c| levels.codes.get(usize::from(c)))
                .map(|level| level.map_or(f64::NAN, |&l| f64::from(l)))
                .collect(),
            Cells::Numbers(_) | Cells::Counted => vec![f64::NAN; self.rows as usize],
        }
    }

    /// Judges the column as a feature.
    pub(super) fn judge(self, forced: Option<Kind>) -> Verdict {
        match forced {
            Some(Kind::Text) => return Verdict::LeftOut("set to text".to_owned()),
            Some(Kind::Numeric) => {
                return match self.first_stray() {
                    Some(stray) => Verdict::Stray(stray.clone(), self.accepting_kind()),
                    None => self.numeric(),
                };
            }
            _ if self.present() == 0 => {
                return Verdict::LeftOut("every cell is missing".to_owned());
            }
            Some(Kind::Boolean | Kind::Categorical) => {}
            None => {
                if self.all_numbers() && !self.zeros_and_ones() {
                    return self.numeric();
                }
                if let Some(stray) = self.mistake() {
                    return Verdict::Stray(stray.clone(), self.accepting_kind());
                }
            }
        }
        let levels = self.levels();
        let count = levels.names.len();
        if self.few_texts().is_none() || count > MAX_LEVELS {
            let why = format!("more than {MAX_LEVELS} different texts");
            return match forced {
                None => Verdict::LeftOut(why),
                Some(_) => Verdict::Unfit(format!("it has {why}")),
            };
        }
        if forced == Some(Kind::Boolean) && count != 2 {
            let noun = if count == 1 { "level" } else { "levels" };
            return Verdict::Unfit(format!("it has {count} {noun}, not 2"));
        }
        let present = self.present();
        if forced.is_none() && present >= MIN_IDENTIFIER_CELLS && count as u64 * 10 > present * 9 {
            return Verdict::LeftOut("nearly every cell is different".to_owned());
        }
        let kind = match forced {
            Some(kind) => kind,
            None if count == 2 => Kind::Boolean,
            None => Kind::Categorical,
        };
        let values = self.into_codes(&levels);
        Verdict::Feature(Column {
            kind,
            levels: levels.names,
            values,
        })
    }

    fn numeric(self) -> Verdict {
        Verdict::Feature(Column {
            kind: Kind::Numeric,
            levels: Vec::new(),
            values: self.into_numbers(),
        })
    }

    fn zeros_and_ones(&self) -> bool {
        let numbers: Vec<f64> = self
            .few_texts()
            .unwrap_or_default()
            .iter()
            .filter_map(|t| t.meaning.number())
            .collect();
        numbers.contains(&0.0)
            && numbers.contains(&1.0)
            && numbers.iter().all(|n| [0.0, 1.0].contains(n))
    }

    /// The kind that accepts any text in this column.
    fn accepting_kind(&self) -> &'static str {
        match self.few_texts() {
            Some(texts) if texts.len() <= MAX_LEVELS => "categorical",
            _ => "text",
        }
    }
}

/// The levels of a column, and the level of each of its texts.
pub(super) struct Levels {
    pub(super) names: Vec<String>,
    codes: Vec<u16>,
}

/// A cell as text. Readers check that the bytes are UTF-8 before cells come here.
pub(super) fn as_text(cell: &[u8]) -> &str {
    std::str::from_utf8(cell).unwrap_or_default()
}
