//! `automl predict`: rows of a file in, labels and probabilities out, one row at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::{Ending, StoreArg};
use crate::data::rows::RowReader;
use crate::data::table::Task;
use crate::fsio;
use crate::learn::pipeline::Pipeline;
use crate::registry::Registry;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl predict --model churn@production --input new.csv --output scored.csv
  automl predict --model churn:3 --input new.csv --keep customerID
  cat new.csv | automl predict --model model.json --input -")]
pub(crate) struct PredictArgs {
    /// A registered version, `NAME@STAGE` or `NAME:NUMBER`, or a model file.
    #[arg(long)]
    model: String,
    /// The rows, a CSV file with a header; `-` is stdin.
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// Where predictions go, as CSV; `-` is stdout.
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    output: PathBuf,
    /// Columns of the input to repeat in the output, as an identifier.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    keep: Vec<String>,
    /// What separates the cells of the input.
    #[arg(long, default_value = ",")]
    delimiter: char,
    #[command(flatten)]
    store: StoreArg,
}

pub(crate) fn run(args: PredictArgs) -> anyhow::Result<Ending> {
    let pipeline = load(&args.model, &args.store)?;
    let shown = args.input.display().to_string();
    let delimiter = u8::try_from(args.delimiter)
        .ok()
        .filter(u8::is_ascii)
        .with_context(|| {
            format!(
                "--delimiter: `{}` is not an ASCII character",
                args.delimiter
            )
        })?;
    let input: Box<dyn Read> = if args.input == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.input).with_context(|| format!("cannot read `{shown}`"))?;
        Box::new(io::BufReader::with_capacity(1 << 16, file))
    };
    let mut reader =
        RowReader::with_delimiter(input, &shown, &pipeline.transform.schema, delimiter)?;
    let mut failure = None;
    if args.output == Path::new("-") {
        write(&pipeline, &mut reader, &args.keep, io::stdout().lock())?;
    } else {
        // The file appears when all rows are predicted, or not at all.
        let written = fsio::replace(&args.output, |out| {
            write(&pipeline, &mut reader, &args.keep, out).map_err(|error| {
                let message = io::Error::other(error.to_string());
                failure = Some(error);
                message
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        written?;
        eprintln!("{} rows → {}", reader.rows(), args.output.display());
    }
    for (field, count) in pipeline
        .transform
        .schema
        .fields
        .iter()
        .zip(reader.unknown_levels())
    {
        if *count > 0 {
            eprintln!(
                "note: {count} {} a level of `{}` that the model never saw; it counts as missing",
                if *count == 1 { "row has" } else { "rows have" },
                field.name
            );
        }
    }
    Ok(Ending::Done)
}

/// A model file when there is one of that name, else a version of the registry.
pub(super) fn load(model: &str, store: &StoreArg) -> anyhow::Result<Pipeline> {
    let path = Path::new(model);
    let bytes = if path.is_file() {
        fsio::read(path)?
    } else if model.contains(['@', ':']) && !model.contains(['/', '\\']) {
        let registry = Registry::open(&store.open_existing()?)?;
        let (version, _) = registry.resolve(model)?;
        registry.read_file(&version.files[0])?
    } else {
        bail!(
            "`{model}` is no file; name a model file, or a version as in `churn@production` or `churn:3`"
        );
    };
    Pipeline::load(&bytes).with_context(|| format!("`{model}`"))
}

fn write<R: Read>(
    pipeline: &Pipeline,
    reader: &mut RowReader<R>,
    keep: &[String],
    out: impl Write,
) -> anyhow::Result<()> {
    let mut kept = Vec::with_capacity(keep.len());
    for column in keep {
        match reader.header().iter().position(|h| h == column) {
            Some(at) => kept.push(at),
            None => bail!(
                "--keep: the input has no column `{column}`; it has {}",
                reader.header().join(", ")
            ),
        }
    }
    let mut out = csv::Writer::from_writer(out);
    let card = &pipeline.card;
    let mut header: Vec<String> = keep.to_vec();
    header.push("prediction".to_owned());
    match card.task {
        Task::Binary => header.push("probability".to_owned()),
        Task::Multiclass => header.extend(card.classes.iter().map(|c| format!("p_{c}"))),
        Task::Regression => {}
    }
    out.write_record(&header)?;
    let mut row = vec![0.0; pipeline.transform.schema.fields.len()];
    let mut features = Vec::new();
    let mut prediction = vec![0.0; pipeline.width()];
    while reader.next_row(&mut row)? {
        pipeline.predict_row(&row, &mut features, &mut prediction);
        for &column in &kept {
            out.write_field(reader.raw_cell(column))?;
        }
        if let Some(label) = pipeline.label(&prediction) {
            out.write_field(label)?;
        }
        // The shortest text that reads back as the same number.
        for number in &prediction {
            out.write_field(number.to_string())?;
        }
        out.write_record(None::<&[u8]>)?;
    }
    out.flush()?;
    Ok(())
}
