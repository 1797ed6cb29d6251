//! The rows to explain: all of a file, or some of them at random, and one that was asked for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use rand::RngExt as _;

use crate::data::rows::RowReader;
use crate::data::table::Task;
use crate::learn::pipeline::Pipeline;
use crate::seed::Seed;

/// What was read.
pub(super) struct Rows {
    /// Row-major, one number per column of the schema.
    pub values: Vec<f64>,
    /// The number of each row in the file, from 1, ascending.
    pub numbers: Vec<u64>,
    /// Class index or number of each row; empty where it was not asked for.
    pub truth: Vec<f64>,
    /// Rows in the file.
    pub all: u64,
}

/// Which rows to keep.
pub(super) struct Choice {
    /// At most this many, drawn at random; 0 for all.
    pub most: usize,
    /// This one for sure.
    pub row: Option<u64>,
    /// Whether the target must be there.
    pub with_truth: bool,
    pub seed: Seed,
}

struct Kept {
    number: u64,
    cells: Vec<f64>,
    truth: f64,
}

/// Reads the input of a command.
pub(super) fn read(
    pipeline: &Pipeline,
    input: &Path,
    delimiter: char,
    choice: &Choice,
) -> anyhow::Result<Rows> {
    let shown = input.display().to_string();
    let delimiter = u8::try_from(delimiter)
        .ok()
        .filter(u8::is_ascii)
        .with_context(|| format!("--delimiter: `{delimiter}` is not an ASCII character"))?;
    let stream: Box<dyn Read> = if input == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(input).with_context(|| format!("cannot read `{shown}`"))?;
        Box::new(io::BufReader::with_capacity(1 << 16, file))
    };
    let schema = &pipeline.transform.schema;
    let mut reader = RowReader::with_delimiter(stream, &shown, schema, delimiter)?;
    let target = &pipeline.card.target;
    let place = reader.header().iter().position(|h| h == target);
    let place = match (choice.with_truth, place) {
        (false, _) => None,
        (true, Some(place)) => Some(place),
        (true, None) => bail!(
            "`{shown}` has no column `{target}`, which --method permutation compares predictions with; \
             add it, or use --method shap"
        ),
    };
    let mut rng = choice.seed.child("rows", 0).rng();
    let mut kept: Vec<Kept> = Vec::new();
    let mut asked: Option<Kept> = None;
    let mut cells = vec![0.0; schema.fields.len()];
    while reader.next_row(&mut cells)? {
        let number = reader.rows();
        let truth = match place {
            Some(place) => truth(pipeline, reader.raw_cell(place))
                .with_context(|| format!("`{shown}` line {}, column `{target}`", reader.line()))?,
            None => f64::NAN,
        };
        let row = || Kept {
            number,
            cells: cells.clone(),
            truth,
        };
        if choice.row == Some(number) {
            asked = Some(row());
        }
        // Algorithm R (Vitter 1985): every row is kept with the same chance.
        if choice.most == 0 || kept.len() < choice.most {
            kept.push(row());
        } else {
            let at = rng.random_range(0..number) as usize;
            if at < choice.most {
                kept[at] = row();
            }
        }
    }
    let all = reader.rows();
    if all == 0 {
        bail!("`{shown}` has a header and no rows; there is nothing to explain");
    }
    if let Some(number) = choice.row
        && number > all
    {
        bail!("--row {number}: `{shown}` has {all} rows, counted from 1 without the header");
    }
    if let Some(asked) = asked
        && !kept.iter().any(|k| k.number == asked.number)
    {
        kept.push(asked);
    }
    kept.sort_by_key(|k| k.number);
    Ok(Rows {
        values: kept.iter().flat_map(|k| &k.cells).copied().collect(),
        numbers: kept.iter().map(|k| k.number).collect(),
        truth: kept.iter().map(|k| k.truth).collect(),
        all,
    })
}

/// The class index or the number that a cell of the target stands for.
fn truth(pipeline: &Pipeline, cell: &str) -> anyhow::Result<f64> {
    let cell = cell.trim();
    let number = cell.parse::<f64>().ok().filter(|n| n.is_finite());
    if pipeline.card.task == Task::Regression {
        return number
            .with_context(|| format!("`{cell}` is not a number; correct it or remove the row"));
    }
    let classes = &pipeline.card.classes;
    let found = classes.iter().position(|c| c == cell).or_else(|| {
        // A file may say 1.0 where the model says 1.
        classes
            .iter()
            .position(|c| number.is_some() && c.parse::<f64>().ok() == number)
    });
    match found {
        Some(class) => Ok(class as f64),
        None => bail!(
            "`{cell}` is none of the model's classes, {}; correct it or remove the row",
            classes.join(", ")
        ),
    }
}
