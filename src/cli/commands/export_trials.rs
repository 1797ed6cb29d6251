//! `automl export csv|json|parquet`: the trials of a study as a table for other programs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::trials::load;
use crate::cli::{Ending, StoreArg};
use crate::fsio;
use crate::study::frame::Frame;

#[derive(Debug, Args)]
pub(crate) struct TrialsArgs {
    /// The study's name.
    study: String,
    /// The file to write, replaced whole or not at all; stdout when not given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, Args)]
pub(crate) struct ParquetArgs {
    /// The study's name.
    study: String,
    /// The file to write; it is replaced whole or not at all.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    store: StoreArg,
}

pub(super) fn csv(args: TrialsArgs) -> anyhow::Result<Ending> {
    table(&args, |frame, out| frame.write_csv(out))
}

pub(super) fn json(args: TrialsArgs) -> anyhow::Result<Ending> {
    table(&args, |frame, out| frame.write_json(out))
}

#[cfg(feature = "parquet")]
pub(super) fn parquet(args: ParquetArgs) -> anyhow::Result<Ending> {
    let (study, trials) = load(&args.store, &args.study)?;
    let frame = Frame::new(&study, &trials);
    fsio::replace(&args.output, |out| frame.write_parquet(out))?;
    say(&args.study, &frame, &args.output);
    Ok(Ending::Done)
}

#[cfg(not(feature = "parquet"))]
pub(super) fn parquet(args: ParquetArgs) -> anyhow::Result<Ending> {
    let ParquetArgs {
        study,
        output,
        store: _,
    } = args;
    anyhow::bail!(
        "this program was built without Parquet; build it with `cargo build --release --features parquet`, or write \
         `{}` by `automl export csv {study} --output {}`",
        output.display(),
        output.with_extension("csv").display()
    )
}

fn table(
    args: &TrialsArgs,
    write: impl FnOnce(&Frame<'_>, &mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<Ending> {
    let (study, trials) = load(&args.store, &args.study)?;
    let frame = Frame::new(&study, &trials);
    match &args.output {
        Some(file) => {
            fsio::replace(file, |out| write(&frame, out))?;
            say(&args.study, &frame, file);
        }
        None => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            write(&frame, &mut out)?;
            out.flush()?;
        }
    }
    Ok(Ending::Done)
}

fn say(study: &str, frame: &Frame<'_>, file: &Path) {
    let states: Vec<String> = frame
        .states()
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let states = match states.is_empty() {
        true => String::new(),
        false => format!(": {}", states.join(", ")),
    };
    eprintln!(
        "{study} → {} ({} trials × {} columns{states})",
        file.display(),
        frame.trials().len(),
        frame.columns().len(),
    );
}
