//! MLflow: the trials of a study as runs on an MLflow server, or in a file that MLflow opens.
//!
//! A study is one parent run, every trial a run nested in it, and every registered version of it a logged model and a
//! version of a registered model. What a run says is derived from the store alone ([`run`]), so that the REST sender and the
//! [file writer](mod@file) say the same.
//!
//! **Contract.** Sending never slows or fails a study: the thread that runs the study puts finished trials into a mailbox of
//! limited size and goes on ([`background`]). There is no second copy of the results that could get lost: what is unsent is
//! what the store holds and the server has not confirmed ([`spool`]). A run is created at most once however often the sender
//! is killed: the intent is stored before the request, and a run whose confirmation was lost is looked for by its tag before
//! it is created again ([`send`]). No password and no token is stored, printed or part of an error.

pub mod background;
pub mod client;
mod error;
pub mod file;
pub mod folder;
mod publish;
pub mod run;
pub mod send;
pub mod spool;
#[cfg(test)]
mod tests;

pub use background::{Background, Left};
pub use error::MlflowError;
pub use run::ModelFacts;
pub use send::Sender;
pub use spool::{Ending, Target};

/// The environment variable with the address of the server; it replaces what a file says, and empty means none.
pub const URI_VARIABLE: &str = "AUTOML_MLFLOW_URI";

/// The address of a server as it is stored and shown.
///
/// # Errors
/// [`MlflowError::Address`] for anything that is no `http(s)://` address, or that carries a password.
pub fn address(typed: &str) -> Result<String, MlflowError> {
    let refuse = |what| {
        // Whatever stands before an `@` may be a password.
        let shown = match (typed.split_once("://"), typed.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
            (None, Some((_, host))) => format!("…@{host}"),
            _ => typed.to_owned(),
        };
        Err(MlflowError::Address { typed: shown, what })
    };
    let other = "only `http://` and `https://` servers can be sent to; for a file use `automl export mlflow`";
    let Some((scheme, rest)) = typed.trim().split_once("://") else {
        return refuse(match typed.trim_start().starts_with("file:") {
            true => other,
            false => "it has no scheme; write `http://host:5000`",
        });
    };
    if !matches!(scheme, "http" | "https") {
        return refuse(other);
    }
    if rest.contains('@') {
        return refuse(
            "a password does not belong into an address that is stored; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        );
    }
    if rest.is_empty() || rest.starts_with('/') || rest.contains(['?', '#', ' ']) {
        return refuse("it has no host, or more than a path after it");
    }
    Ok(format!("{scheme}://{}", rest.trim_end_matches('/')))
}
