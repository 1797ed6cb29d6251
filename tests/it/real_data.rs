//! Where tests find the public data sets. They are not part of the repository: without them a test says so and passes,
//! except with `CI=true`, where a missing file is a failure.

use std::path::{Path, PathBuf};

/// The path of `name`, as in `telco.csv`: in `$AUTOML_DATA_DIR`, in `data/`, or in `../shared/data/`.
pub fn find(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        std::env::var_os("AUTOML_DATA_DIR").map(PathBuf::from),
        Some(root.join("data")),
        Some(root.join("../shared/data")),
    ];
    let found = folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "`{name}` is needed with CI=true: put it into the folder that AUTOML_DATA_DIR names"
        );
        eprintln!("skipped: `{name}` is in none of $AUTOML_DATA_DIR, data/, ../shared/data/");
    }
    found
}

/// The path of the Telco file.
pub fn telco() -> Option<PathBuf> {
    find("telco.csv")
}
