//! The `automl` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    automl::cli::run(std::env::args_os())
}
