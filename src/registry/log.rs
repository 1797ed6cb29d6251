//! The log of every move: appended, never changed, each entry chained to the one before by hash.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::db::{Row, Tx};
use crate::fsio;

use super::gate::GateReport;
use super::version::Stage;
use super::{Registry, RegistryError, tables};

/// What an entry of the log says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A version was added.
    Register,
    /// A version moved towards production.
    Promote,
    /// A gate kept a version from moving.
    Refuse,
    /// A person withdrew a version.
    Archive,
    /// A production version made room for another.
    Replace,
    /// An earlier production version came back.
    Rollback,
}

impl Action {
    const ALL: [Action; 6] = [
        Action::Register,
        Action::Promote,
        Action::Refuse,
        Action::Archive,
        Action::Replace,
        Action::Rollback,
    ];

    /// The word for it, as stored.
    pub fn name(self) -> &'static str {
        match self {
            Action::Register => "register",
            Action::Promote => "promote",
            Action::Refuse => "refuse",
            Action::Archive => "archive",
            Action::Replace => "replace",
            Action::Rollback => "rollback",
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogEntry {
    /// Position in the log, from 1, over all models.
    pub seq: u64,
    /// When, `YYYY-MM-DD HH:MM:SS.ffffff` UTC.
    pub at: String,
    /// Who, as `user@host`.
    pub who: String,
    /// What.
    pub action: Action,
    /// The model.
    pub model: String,
    /// The version.
    pub version: u64,
    /// Where it was.
    pub from: Option<Stage>,
    /// Where it went, or was to go.
    pub to: Option<Stage>,
    /// Why.
    pub why: String,
    /// The gate report, when there was one.
    pub gates: Option<Json>,
    /// The hash of the entry before; zeros for the first.
    pub prev_hash: String,
    /// The hash of this entry.
    pub hash: String,
}

/// What [`Registry::verify_log`] found to be sound. Who notes the hash down can later tell that nothing was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogState {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last one.
    pub hash: String,
}

/// An entry about to be appended.
pub(super) struct Move<'a> {
    pub at: &'a str,
    pub who: &'a str,
    pub action: Action,
    pub model: &'a str,
    pub version: u64,
    pub from: Option<Stage>,
    pub to: Option<Stage>,
    pub why: &'a str,
    pub report: Option<&'a GateReport>,
}

/// What the first entry is chained to.
fn genesis() -> String {
    "0".repeat(64)
}

/// The columns as they are stored, which are what the hash is over.
struct Stored {
    seq: u64,
    at: String,
    who: String,
    action: String,
    model: String,
    version: u64,
    from: Option<String>,
    to: Option<String>,
    why: String,
    gates: Option<String>,
    prev_hash: String,
}

impl Stored {
    /// sha256 of a JSON object with sorted keys; the gate report goes in as the text that is stored.
    fn hash(&self) -> String {
        let fields: BTreeMap<&str, Json> = BTreeMap::from([
            ("seq", json!(self.seq)),
            ("at", json!(self.at)),
            ("who", json!(self.who)),
            ("action", json!(self.action)),
            ("model", json!(self.model)),
            ("version", json!(self.version)),
            ("from", json!(self.from)),
            ("to", json!(self.to)),
            ("why", json!(self.why)),
            ("gates", json!(self.gates)),
            ("prev_hash", json!(self.prev_hash)),
        ]);
        let text: Vec<String> = fields
            .iter()
            .map(|(key, value)| format!("{}:{value}", json!(key)))
            .collect();
        fsio::sha256(format!("{{{}}}", text.join(",")).as_bytes())
    }
}

pub(super) fn append(tx: &Tx<'_>, entry: &Move<'_>) -> Result<(), RegistryError> {
    tx.lock_table("registry_log")?;
    let last = tx.first(
        "SELECT seq, hash FROM registry_log ORDER BY seq DESC LIMIT 1",
        &[],
        |row| Ok::<_, RegistryError>((row.count(0)?, row.text(1)?.to_owned())),
    )?;
    let (last, prev_hash) = last.unwrap_or_else(|| (0, genesis()));
    let stored = Stored {
        seq: last + 1,
        at: entry.at.to_owned(),
        who: entry.who.to_owned(),
        action: entry.action.name().to_owned(),
        model: entry.model.to_owned(),
        version: entry.version,
        from: entry.from.map(|s| s.name().to_owned()),
        to: entry.to.map(|s| s.name().to_owned()),
        why: entry.why.to_owned(),
        gates: entry.report.map(|report| report.to_json().to_string()),
        prev_hash,
    };
    tx.execute(
        "INSERT INTO registry_log (seq, at, who, action, model, version, from_stage, to_stage, why, gates,
                                   prev_hash, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &[
            stored.seq.into(),
            (&stored.at).into(),
            (&stored.who).into(),
            (&stored.action).into(),
            (&stored.model).into(),
            stored.version.into(),
            stored.from.as_ref().into(),
            stored.to.as_ref().into(),
            (&stored.why).into(),
            stored.gates.as_ref().into(),
            (&stored.prev_hash).into(),
            (&stored.hash()).into(),
        ],
    )?;
    Ok(())
}

const COLUMNS: &str =
    "SELECT seq, at, who, action, model, version, from_stage, to_stage, why, gates, prev_hash, hash
                       FROM registry_log ORDER BY seq";

fn read_stored(row: &Row<'_>) -> Result<(Stored, String), RegistryError> {
    let stored = Stored {
        seq: row.count(0)?,
        at: row.text(1)?.to_owned(),
        who: row.text(2)?.to_owned(),
        action: row.text(3)?.to_owned(),
        model: row.text(4)?.to_owned(),
        version: row.count(5)?,
        from: row.opt_text(6)?.map(str::to_owned),
        to: row.opt_text(7)?.map(str::to_owned),
        why: row.text(8)?.to_owned(),
        gates: row.opt_text(9)?.map(str::to_owned),
        prev_hash: row.text(10)?.to_owned(),
    };
    Ok((stored, row.text(11)?.to_owned()))
}

fn read_entry(row: &Row<'_>) -> Result<LogEntry, RegistryError> {
    let (stored, hash) = read_stored(row)?;
    let broken = |what: String| RegistryError::LogBroken {
        seq: stored.seq,
        what,
    };
    let stage = |name: &Option<String>| name.as_deref().map(str::parse).transpose();
    Ok(LogEntry {
        action: Action::ALL
            .into_iter()
            .find(|a| a.name() == stored.action)
            .ok_or_else(|| broken(format!("has the unknown action `{}`", stored.action)))?,
        from: stage(&stored.from)?,
        to: stage(&stored.to)?,
        gates: match &stored.gates {
            Some(text) => Some(
                serde_json::from_str(text)
                    .map_err(|e| broken(format!("has an unreadable gate report: {e}")))?,
            ),
            None => None,
        },
        seq: stored.seq,
        at: stored.at,
        who: stored.who,
        model: stored.model,
        version: stored.version,
        why: stored.why,
        prev_hash: stored.prev_hash,
        hash,
    })
}

/// The log in the order of events.
pub(super) fn entries(tx: &Tx<'_>) -> Result<Vec<LogEntry>, RegistryError> {
    tx.rows(COLUMNS, &[], read_entry)
}

/// The versions of a model that were in production, in the order in which a rollback would return to them: the
/// current one last, and nothing that was rolled back from or withdrawn.
pub(super) fn production_history(tx: &Tx<'_>, model: &str) -> Result<Vec<u64>, RegistryError> {
    let mut stack: Vec<u64> = Vec::new();
    for entry in entries(tx)?.iter().filter(|e| e.model == model) {
        match (entry.action, entry.from, entry.to) {
            (Action::Promote, _, Some(Stage::Production)) => stack.push(entry.version),
            (Action::Archive, Some(Stage::Production), _) => {
                stack.retain(|v| *v != entry.version);
            }
            (Action::Rollback, ..) => {
                if let Some(at) = stack.iter().rposition(|v| *v == entry.version) {
                    stack.truncate(at + 1);
                }
            }
            _ => {}
        }
    }
    Ok(stack)
}

impl Registry {
    /// The log in the order of events; of one model when it is named.
    ///
    /// # Errors
    /// [`RegistryError::NoModel`]; the database cannot be read.
    pub fn log(&self, model: Option<&str>) -> Result<Vec<LogEntry>, RegistryError> {
        self.store.db().read(|tx| {
            if let Some(name) = model {
                tables::model_id(tx, name)?;
            }
            let mut all = entries(tx)?;
            all.retain(|entry| model.is_none_or(|name| entry.model == name));
            Ok(all)
        })
    }

    /// Checks that the log is what was written: no hole, every hash right and chained to the one before, and every
    /// version in the stage that its last move says.
    ///
    /// # Errors
    /// [`RegistryError::LogBroken`] with the first entry that is wrong; the database cannot be read.
    pub fn verify_log(&self) -> Result<LogState, RegistryError> {
        self.store.db().read(|tx| {
            let mut state = LogState {
                entries: 0,
                hash: genesis(),
            };
            let mut stages: BTreeMap<(String, u64), Option<String>> = BTreeMap::new();
            tx.each(COLUMNS, &[], |row| {
                let (stored, hash) = read_stored(row)?;
                let broken = |what: &str| {
                    Err(RegistryError::LogBroken {
                        seq: state.entries + 1,
                        what: what.to_owned(),
                    })
                };
                if stored.seq != state.entries + 1 {
                    return broken("is missing");
                }
                if stored.prev_hash != state.hash {
                    return broken("does not follow the one before it");
                }
                if stored.hash() != hash {
                    return broken("does not have its hash: a field was changed");
                }
                if stored.action != Action::Refuse.name() {
                    stages.insert((stored.model, stored.version), stored.to);
                }
                state = LogState {
                    entries: stored.seq,
                    hash,
                };
                Ok::<_, RegistryError>(())
            })?;
            // Entries cut off at the end leave versions in stages that nothing explains.
            for model in tables::models(tx)? {
                for version in tables::versions(tx, &model, self.store.db().path())? {
                    let logged = stages.get(&(model.clone(), version.version)).cloned().flatten();
                    if logged.as_deref() != Some(version.stage.name()) {
                        return Err(RegistryError::LogBroken {
                            seq: state.entries + 1,
                            what: format!(
                                "is missing: version {} of `{model}` is in {}, the last logged stage is {}",
                                version.version,
                                version.stage,
                                logged.as_deref().unwrap_or("none")
                            ),
                        });
                    }
                }
            }
            Ok(state)
        })
    }
}
