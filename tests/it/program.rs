//! The real program in a folder of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

/// A folder in which the program runs; it goes away with the value.
pub struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// An empty folder.
    pub fn new() -> Self {
        Desk {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program with arguments, in this folder, without what the environment says about data and stores.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_automl"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("AUTOML_DATA_DIR")
            .env_remove("AUTOML_STORE")
            .env_remove("AUTOML_ARTIFACTS")
            .env_remove("AUTOML_MLFLOW_URI")
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the program, which must end with `code`; its stdout and stderr.
    pub fn ends(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(code),
            "automl {}\n{out}\n{err}",
            args.join(" ")
        );
        (out, err)
    }

    /// Runs the program, which must succeed; its stdout.
    pub fn done(&self, args: &[&str]) -> String {
        self.ends(0, args).0
    }

    /// Runs the program, which must succeed and print JSON.
    pub fn json(&self, args: &[&str]) -> Json {
        serde_json::from_str(&self.done(args)).unwrap()
    }

    /// Runs the program, which must refuse: exit code 2, nothing on stdout, no file made or changed. Its message.
    pub fn refused(&self, args: &[&str]) -> String {
        let before = self.files();
        let (out, err) = self.ends(2, args);
        assert_eq!(out, "", "automl {}: {err}", args.join(" "));
        assert_eq!(self.files(), before, "automl {}: {err}", args.join(" "));
        // Words of the language and of its libraries that no user should have to know.
        for jargon in [
            "Some(",
            "None",
            "untagged",
            "variant",
            "invalid type",
            "usize",
            "u64",
            "f64",
            "struct ",
            "panicked",
            "unwrap",
            "Err(",
            "serde",
            "NotFound",
        ] {
            assert!(!err.contains(jargon), "`{jargon}` in: {err}");
        }
        err.trim_end().to_owned()
    }

    /// Every file under the folder with its size; files of a running database aside.
    fn files(&self) -> BTreeMap<PathBuf, u64> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    found.insert(path.clone(), 0);
                    walk(&path, found);
                } else if !name.ends_with("-wal") && !name.ends_with("-shm") {
                    found.insert(path, entry.metadata().unwrap().len());
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.dir.path(), &mut found);
        found
    }
}

/// Bytes that the program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The text of a file of `configs/`.
pub fn config(name: &str) -> String {
    std::fs::read_to_string(config_path(name)).unwrap()
}

/// The path of a file of `configs/`.
pub fn config_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("configs")
        .join(name)
}

/// Sixty rows with two classes, a number and a category, always the same.
pub fn small_table() -> String {
    let mut rows = String::from("a,b,y\n");
    for i in 0u32..60 {
        let a = (i * 37 % 60) as f64 / 60.0;
        let noise = (i * 23 % 60) as f64 / 60.0;
        let label = if a + 0.6 * noise > 0.8 { "yes" } else { "no" };
        let b = ["p", "q", "r"][(i * 7 % 3) as usize];
        rows.push_str(&format!("{a:.3},{b},{label}\n"));
    }
    rows
}
