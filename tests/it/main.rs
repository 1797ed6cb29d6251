//! Tests that need more than one module or process. One binary, so that linking is paid once.

mod optuna_interop;
mod store_crash;
