//! `automl data`: fetching known data, and splitting a file as an experiment does.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::Ending;
use crate::cli::output::{print_line, thousands};
use crate::data::{synthetic, telco};
use crate::fsio;
use crate::tune::experiment::Experiment;
use crate::tune::job::Job;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl data fetch telco
  automl data split configs/churn.yaml --output parts")]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Download a known file, check its hash, and put it where experiments look for it.
    Fetch {
        /// Which data.
        name: Known,
        /// Where to put it.
        #[arg(long, default_value = telco::DEFAULT_PATH, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write the rows that an experiment trains on and those it holds out, as `train.csv` and `holdout.csv`.
    Split {
        /// The experiment file.
        experiment: PathBuf,
        /// Read this file in place of the one that the experiment names.
        #[arg(long, value_name = "PATH")]
        data: Option<PathBuf>,
        /// The seed, in place of the experiment's.
        #[arg(long)]
        seed: Option<u64>,
        /// The folder to write to.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    /// The Telco customer churn data of IBM, 7,043 rows.
    Telco,
}

pub(crate) fn run(args: DataArgs) -> anyhow::Result<Ending> {
    match args.command {
        DataCommand::Fetch {
            name: Known::Telco,
            output,
        } => {
            let bytes = telco::fetch(&output)?;
            print_line!(
                "telco  {} bytes, sha256 {}…  → {}",
                thousands(bytes),
                &telco::SHA256[..8],
                output.display()
            );
        }
        DataCommand::Split {
            experiment,
            data,
            seed,
            output,
        } => {
            split(&experiment, data.as_deref(), seed, &output)?;
        }
    }
    Ok(Ending::Done)
}

fn split(file: &Path, data: Option<&Path>, seed: Option<u64>, folder: &Path) -> anyhow::Result<()> {
    let shown = file.display().to_string();
    let text = String::from_utf8(fsio::read(file)?)
        .with_context(|| format!("{shown}: this is not UTF-8 text"))?;
    let mut experiment = Experiment::parse(&text, &shown)?;
    experiment.seed = seed.unwrap_or(experiment.seed);
    let data_dir = std::env::var_os(telco::FOLDER_VARIABLE).map(PathBuf::from);
    let job = Job::prepare(experiment, &shown, data, data_dir.as_deref())?;
    let spec = &job.experiment.data;
    let bytes = match (&spec.path, telco::resolve(data, data_dir.as_deref())) {
        (Some(path), _) => fsio::read(data.unwrap_or(path))?,
        (None, Ok(telco::Source::File(path))) => fsio::read(&path)?,
        (None, _) => synthetic::telco(),
    };
    // The file was read before, so every record is there and as long as the header.
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(spec.delimiter.map_or(b',', |d| d as u8))
        .from_reader(bytes.as_slice());
    let header = reader.byte_headers()?.clone();
    let records: Vec<csv::ByteRecord> = reader.byte_records().collect::<Result<_, _>>()?;
    fsio::create_dir(folder)?;
    for (name, rows) in [
        ("train.csv", &job.split.train),
        ("holdout.csv", &job.split.test),
    ] {
        let path = folder.join(name);
        fsio::replace(&path, |out| {
            let mut out = csv::Writer::from_writer(out);
            out.write_byte_record(&header)?;
            for &row in rows {
                out.write_byte_record(&records[row as usize])?;
            }
            out.flush()
        })?;
        writeln!(
            std::io::stdout(),
            "{} rows → {}",
            thousands(rows.len()),
            path.display()
        )?;
    }
    Ok(())
}
