//! What can be wrong with data, and how it is said.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::fsio::FileError;

use super::table::{Kind, Task};

/// A cell of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// From 1, as an editor counts; in a quoted cell with line breaks, the line where the cell begins.
    pub line: u64,
    /// The column's name in the header.
    pub column: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` line {}, column `{}`",
            self.file, self.line, self.column
        )
    }
}

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is no such file.
    #[error("there is no file `{}`; {hint}", path.display())]
    NoFile {
        /// The path given.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// The system could not read a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading stopped in the middle.
    #[error("cannot read `{file}` after line {line}: {source}")]
    Read {
        /// The file as the user named it.
        file: String,
        /// The last line that was read.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Not a single line.
    #[error(
        "`{file}` is empty; it needs a header line with the names of the columns and rows below it"
    )]
    Empty {
        /// The file as the user named it.
        file: String,
    },
    /// A header and nothing below it.
    #[error("`{file}` has a header but no rows; add rows below line 1")]
    NoRows {
        /// The file as the user named it.
        file: String,
    },
    /// Two columns of the same name.
    #[error(
        "`{file}` line {line}: column `{column}` is named twice, at positions {first} and {second}; rename one of them"
    )]
    DuplicateHeader {
        /// The file as the user named it.
        file: String,
        /// The line of the header.
        line: u64,
        /// The name.
        column: String,
        /// Position from 1.
        first: usize,
        /// Position from 1.
        second: usize,
    },
    /// A row with more or fewer cells than the header.
    #[error(
        "`{file}` line {line}: {found} cells where the header has {expected}; \
         put cells that hold `{delimiter}` in quotes, or remove the line"
    )]
    Ragged {
        /// The file as the user named it.
        file: String,
        /// The line where the row begins.
        line: u64,
        /// Cells in the header.
        expected: usize,
        /// Cells in the row.
        found: usize,
        /// What separates cells.
        delimiter: char,
    },
    /// A quote that is opened and never closed.
    #[error("`{file}` line {line}: a quote in this row is never closed; add the closing `\"`")]
    UnclosedQuote {
        /// The file as the user named it.
        file: String,
        /// The line where the row begins.
        line: u64,
    },
    /// Bytes that are no UTF-8.
    #[error("{place}: not UTF-8; save the file as UTF-8 (for example `iconv -f latin1 -t utf-8`)")]
    NotUtf8 {
        /// Where.
        place: Place,
    },
    /// No target was named.
    #[error(
        "no target is named for `{file}`; write `target: COLUMN` with one of {}",
        list(columns)
    )]
    NoTarget {
        /// The file as the user named it.
        file: String,
        /// The columns of the file.
        columns: Vec<String>,
    },
    /// A column that the file does not have.
    #[error(
        "`{key}` names column `{column}`, which `{file}` does not have; {}",
        suggest(column, columns)
    )]
    UnknownColumn {
        /// The file as the user named it.
        file: String,
        /// The option that names it, as in `target`.
        key: &'static str,
        /// The name given.
        column: String,
        /// The columns of the file.
        columns: Vec<String>,
    },
    /// Columns that a model needs and a file does not have.
    #[error(
        "`{file}` lacks {} that the model needs: {}; add {} to the header and the rows",
        if columns.len() == 1 { "a column" } else { "columns" },
        list(columns),
        if columns.len() == 1 { "it" } else { "them" }
    )]
    MissingColumns {
        /// The file as the user named it.
        file: String,
        /// Their names in the order of the model.
        columns: Vec<String>,
    },
    /// Text in a column of numbers.
    #[error(
        "{place}: `{cell}` is not a number; if it means a missing value write `missing: [{cell:?}]`, \
         if the column is no number write `types: {{{}: {instead}}}`",
        place.column
    )]
    NotANumber {
        /// Where.
        place: Place,
        /// The cell.
        cell: String,
        /// The kind that would accept the cell.
        instead: &'static str,
    },
    /// Text in a column of numbers of a file that is predicted.
    #[error("{place}: `{cell}` is not a number, and the model knows `{}` as numbers; correct the cell or leave it blank", place.column)]
    NotTheModelsNumber {
        /// Where.
        place: Place,
        /// The cell.
        cell: String,
    },
    /// NaN, an infinity, or a number too large for 64 bits, in a column of numbers.
    #[error(
        "{place}: `{cell}` is not a finite number; correct it, leave the cell blank, \
         or write `missing: [{cell:?}]` if it means a missing value"
    )]
    NotFinite {
        /// Where.
        place: Place,
        /// The cell.
        cell: String,
    },
    /// The kind asked for does not fit the column.
    #[error("`{file}`, column `{column}`: it cannot be {}, {why}; change `types: {{{column}: …}}`", kind_name(*kind))]
    Kind {
        /// The file as the user named it.
        file: String,
        /// The column.
        column: String,
        /// The kind asked for.
        kind: Kind,
        /// What the column holds.
        why: String,
    },
    /// Nothing is left to learn from.
    #[error(
        "`{file}` has no feature: {}; change `drop` or `types`",
        reasons(left_out)
    )]
    NoFeatures {
        /// The file as the user named it.
        file: String,
        /// Columns and why they are no features.
        left_out: Vec<(String, String)>,
    },
    /// Rows without a target.
    #[error(
        "{place}: the target is missing here and in {count} {} altogether; remove them or fill them in",
        if *count == 1 { "row" } else { "rows" }
    )]
    MissingTarget {
        /// The first one.
        place: Place,
        /// How many rows.
        count: u64,
    },
    /// A weight that is no number of at least 0.
    #[error("{place}: {what}; a weight is a number of at least 0, correct it or remove the row")]
    Weight {
        /// The first one.
        place: Place,
        /// What is there instead.
        what: String,
    },
    /// A column of weights that cannot be one.
    #[error("`{file}`: `weights: {column}` {why}; name another column or leave `weights` out")]
    Weights {
        /// The file as the user named it.
        file: String,
        /// The column.
        column: String,
        /// Why not.
        why: &'static str,
    },
    /// A target that is the same everywhere.
    #[error(
        "`{file}`, target `{column}`: every row has `{class}`; there is nothing to learn, name another target"
    )]
    OneClass {
        /// The file as the user named it.
        file: String,
        /// The target.
        column: String,
        /// Its only class.
        class: String,
    },
    /// A target with too many classes.
    #[error(
        "`{file}`, target `{column}`: more than {limit} classes; name another target, \
         or write `task: regression` if it is a number"
    )]
    ManyClasses {
        /// The file as the user named it.
        file: String,
        /// The target.
        column: String,
        /// How many are allowed.
        limit: usize,
    },
    /// A target that does not fit the task.
    #[error("`{file}`, target `{column}`: it cannot be {}, {why}", task_name(*task))]
    Task {
        /// The file as the user named it.
        file: String,
        /// The target.
        column: String,
        /// The task asked for.
        task: Task,
        /// What the target holds and what to write.
        why: String,
    },
    /// A positive class that does not occur.
    #[error(
        "`{file}`, target `{column}`: no row has the positive class `{positive}`; {}",
        suggest(positive, classes)
    )]
    UnknownPositive {
        /// The file as the user named it.
        file: String,
        /// The target.
        column: String,
        /// The class given.
        positive: String,
        /// The classes that occur.
        classes: Vec<String>,
    },
    /// A positive class where there are not two classes.
    #[error(
        "`{file}`, target `{column}`: `positive: {positive}` needs two classes, and this target has {what}; remove `positive`"
    )]
    PositiveWithoutPair {
        /// The file as the user named it.
        file: String,
        /// The target.
        column: String,
        /// The class given.
        positive: String,
        /// What the target has instead.
        what: String,
    },
    /// A delimiter that cannot separate cells.
    #[error(
        "a delimiter must be one ASCII character other than a quote or a line break, not byte {byte:#04x}; write `,`, `;` or a tab"
    )]
    Delimiter {
        /// The byte given.
        byte: u8,
    },
}

/// The name of a kind as it is written in `types`.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Numeric => "numeric",
        Kind::Boolean => "boolean",
        Kind::Categorical => "categorical",
        Kind::Text => "text",
    }
}

/// The name of a task as it is written in `task`.
pub fn task_name(task: Task) -> &'static str {
    match task {
        Task::Binary => "binary",
        Task::Multiclass => "multiclass",
        Task::Regression => "regression",
    }
}

/// Names in backticks; of a long list the first twenty.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let mut text = shown.join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// "did you mean" where a name is close, and the names that exist.
fn suggest(name: &str, names: &[String]) -> String {
    let wanted = name.to_lowercase();
    let closest = names
        .iter()
        .map(|n| (strsim::damerau_levenshtein(&wanted, &n.to_lowercase()), n))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= (wanted.chars().count() / 3).max(1));
    match closest {
        Some((_, n)) => format!("did you mean `{n}`? It has {}", list(names)),
        None => format!("it has {}", list(names)),
    }
}

fn reasons(left_out: &[(String, String)]) -> String {
    if left_out.is_empty() {
        return "the target is its only column".to_owned();
    }
    let shown: Vec<String> = left_out
        .iter()
        .take(20)
        .map(|(column, why)| format!("`{column}` ({why})"))
        .collect();
    shown.join(", ")
}
