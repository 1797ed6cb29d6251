//! One integration binary: what a user can see, on real files where they are at hand, with real processes that die.

mod architecture;
mod bad_input;
mod cli;
mod constraints;
#[cfg(feature = "adapters")]
mod cross_check;
mod data_sets;
mod deploy;
mod docs;
mod editing;
mod export;
mod journal;
mod learner_options;
mod learner_quality;
mod limits;
mod mlflow;
mod onnx;
mod optimize;
mod optuna_import;
mod optuna_interop;
mod optuna_mixed;
mod optuna_views;
mod portable;
#[cfg(all(unix, feature = "postgres"))]
mod postgres;
#[cfg(all(unix, feature = "postgres"))]
mod postgres_faults;
#[cfg(all(unix, feature = "postgres"))]
mod postgres_server;
#[cfg(feature = "postgres")]
mod postgres_workers;
mod predict_agrees;
mod problems;
mod program;
mod real_data;
mod rounds;
mod samplers;
mod sequence;
mod store_crash;
mod workers;
