//! `automl registry`: versions, their stages, and who moved them.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::output::{self, print_line};
use crate::cli::{Ending, Format, StoreArg};
use crate::registry::{Gate, Registry, RegistryError, Rule, Stage, VersionRecord, evaluate};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  automl registry list
  automl registry show churn:2
  automl registry register churn --model model.json
  automl registry promote churn:2 production --why 'better on the last quarter'
  automl registry rollback churn --why 'complaints'
  automl registry log churn")]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    /// List versions.
    List {
        /// Only this model.
        model: Option<String>,
        #[command(flatten)]
        store: StoreArg,
        /// How to print.
        #[arg(long, default_value = "table")]
        format: Format,
    },
    /// Show one version.
    Show {
        /// `NAME:NUMBER` or `NAME@STAGE`.
        version: String,
        #[command(flatten)]
        store: StoreArg,
        /// How to print.
        #[arg(long, default_value = "table")]
        format: Format,
    },
    /// Register a model file, as one that was imported, as a new version.
    Register(super::register::RegisterArgs),
    /// Move a version to another stage, if its gate lets it.
    Promote {
        /// `NAME:NUMBER` or `NAME@STAGE`.
        version: String,
        /// staging, production or archived.
        stage: Stage,
        /// The reason, for the log.
        #[arg(long, default_value = "")]
        why: String,
        /// A rule that must hold, as in `roc_auc >= 0.84`; may be repeated. The rules the version was registered with
        /// hold too.
        #[arg(long = "rule", value_name = "RULE")]
        rules: Vec<Rule>,
        #[command(flatten)]
        store: StoreArg,
    },
    /// Return to the production version before the current one.
    Rollback {
        /// The model.
        model: String,
        /// The reason, for the log.
        #[arg(long, default_value = "")]
        why: String,
        #[command(flatten)]
        store: StoreArg,
    },
    /// Show every move, and check that none was changed.
    Log {
        /// Only this model.
        model: Option<String>,
        #[command(flatten)]
        store: StoreArg,
        /// How to print.
        #[arg(long, default_value = "table")]
        format: Format,
    },
}

pub(crate) fn run(args: RegistryArgs) -> anyhow::Result<Ending> {
    match args.command {
        RegistryCommand::List {
            model,
            store,
            format,
        } => list(&open(&store)?, model.as_deref(), format),
        RegistryCommand::Show {
            version,
            store,
            format,
        } => show(&open(&store)?, &version, format),
        RegistryCommand::Register(args) => super::register::run(args),
        RegistryCommand::Promote {
            version,
            stage,
            why,
            rules,
            store,
        } => promote(&open(&store)?, &version, stage, &why, rules),
        RegistryCommand::Rollback { model, why, store } => {
            let moved = open(&store)?.rollback(&model, &why)?;
            print_line!(
                "{} v{}: {} → {}",
                moved.model,
                moved.version,
                moved.from,
                moved.to
            );
            if let Some(replaced) = moved.replaced {
                print_line!("{} v{replaced}: production → archived", moved.model);
            }
            Ok(Ending::Done)
        }
        RegistryCommand::Log {
            model,
            store,
            format,
        } => log(&open(&store)?, model.as_deref(), format),
    }
}

fn open(store: &StoreArg) -> anyhow::Result<Registry> {
    Ok(Registry::open(&store.open_existing()?)?)
}

fn list(registry: &Registry, model: Option<&str>, format: Format) -> anyhow::Result<Ending> {
    let versions = registry.list(model)?;
    if format == Format::Json {
        output::print_json(&json!(versions))?;
        return Ok(Ending::Done);
    }
    let row = |v: &VersionRecord| {
        let metric = v.metrics.get(&v.primary.metric);
        vec![
            v.model.clone(),
            v.version.to_string(),
            v.stage.to_string(),
            v.primary.metric.clone(),
            metric.map_or("-".to_owned(), |m| output::score(*m)),
            v.dataset.name.clone(),
            v.study.clone().unwrap_or_else(|| "-".to_owned()),
            v.trial.map_or("-".to_owned(), |t| t.to_string()),
            v.created.to_sql()[..19].to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = versions.iter().map(row).collect();
    let header = [
        "model",
        "version",
        "stage",
        "metric",
        "holdout",
        "dataset",
        "study",
        "trial",
        "created (UTC)",
    ];
    match format {
        Format::Csv => output::print_csv(&header, &rows)?,
        _ => output::print_table(&header, &rows)?,
    }
    Ok(Ending::Done)
}

fn show(registry: &Registry, spec: &str, format: Format) -> anyhow::Result<Ending> {
    let (version, path) = registry.resolve(spec)?;
    if format == Format::Json {
        output::print_json(&json!(version))?;
        return Ok(Ending::Done);
    }
    let mut rows = Vec::new();
    let mut push = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    push("model", format!("{} v{}", version.model, version.version));
    push("stage", version.stage.to_string());
    push("created", version.created.to_sql() + " UTC");
    push("file", path.display().to_string());
    for file in &version.files {
        push("sha256", file.sha256.clone());
    }
    let dataset = &version.dataset;
    push(
        "dataset",
        if dataset.sha256.is_empty() {
            dataset.name.clone()
        } else {
            format!("{} (sha256 {})", dataset.name, dataset.sha256)
        },
    );
    if let (Some(study), Some(trial)) = (&version.study, version.trial) {
        push("from", format!("study {study}, trial {trial}"));
    }
    push(
        "made by",
        format!(
            "automl {} on {}",
            version.source.automl, version.source.host
        ),
    );
    push("parameters", version.params.to_string());
    for (name, value) in &version.metrics {
        push(name, value.to_string());
    }
    let gate: Vec<String> = version.gate.iter().map(Rule::to_string).collect();
    push(
        "gate",
        if gate.is_empty() {
            "-".to_owned()
        } else {
            gate.join(", ")
        },
    );
    match format {
        Format::Csv => output::print_csv(&["name", "value"], &rows)?,
        _ => output::print_table(&["", ""], &rows)?,
    }
    Ok(Ending::Done)
}

fn promote(
    registry: &Registry,
    spec: &str,
    to: Stage,
    why: &str,
    rules: Vec<Rule>,
) -> anyhow::Result<Ending> {
    let (version, _) = registry.resolve(spec)?;
    let rules = version.gate.iter().cloned().chain(rules).collect();
    let gate = Gate { rules, stage: to };
    // Taking a version out of use needs no gate.
    let report = (to != Stage::Archived && !gate.rules.is_empty()).then(|| {
        let production = registry.production(&version.model)?;
        Ok::<_, RegistryError>(evaluate(
            &gate,
            &version,
            production.as_ref(),
            &version.primary,
        ))
    });
    let report = report.transpose()?;
    match registry.promote(&version.model, version.version, to, why, report.as_ref()) {
        Ok(moved) => {
            print_line!(
                "{} v{}: {} → {}",
                moved.model,
                moved.version,
                moved.from,
                moved.to
            );
            if let Some(replaced) = moved.replaced {
                print_line!("{} v{replaced}: production → archived", moved.model);
            }
            Ok(Ending::Done)
        }
        Err(RegistryError::Refused {
            model,
            version,
            to,
            report,
        }) => {
            print_line!("{model} v{version} was not promoted to {to}: its gate refused");
            print_line!("{report}");
            Ok(Ending::No)
        }
        Err(error) => Err(error.into()),
    }
}

fn log(registry: &Registry, model: Option<&str>, format: Format) -> anyhow::Result<Ending> {
    let entries = registry.log(model)?;
    registry.verify_log()?;
    if format == Format::Json {
        output::print_json(&json!(entries))?;
        return Ok(Ending::Done);
    }
    let stage = |s: Option<Stage>| s.map_or("-".to_owned(), |s| s.to_string());
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|e| {
            vec![
                e.seq.to_string(),
                e.at[..19].to_owned(),
                e.who.clone(),
                e.model.clone(),
                e.version.to_string(),
                e.action.name().to_owned(),
                stage(e.from),
                stage(e.to),
                e.why.clone(),
            ]
        })
        .collect();
    let header = [
        "entry",
        "time (UTC)",
        "who",
        "model",
        "version",
        "action",
        "from",
        "to",
        "why",
    ];
    match format {
        Format::Csv => output::print_csv(&header, &rows)?,
        _ => output::print_table(&header, &rows)?,
    }
    Ok(Ending::Done)
}
