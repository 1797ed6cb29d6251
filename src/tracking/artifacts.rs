//! Files of a store: written whole, known by their sha256, never outside of the folder.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fsio;

use super::TrackingError;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Relative to the folder of artifacts, with `/` between the parts.
    pub path: String,
    /// The sha256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
}

/// The folder of artifacts. Every path is relative to it, with `/` between the parts.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    pub(super) fn new(folder: PathBuf) -> Self {
        Artifacts { folder }
    }

    /// The file that `path` names, whether it exists or not.
    ///
    /// # Errors
    /// [`TrackingError::Path`] for a path that is absolute, empty, or leaves the folder.
    pub fn file(&self, path: &str) -> Result<PathBuf, TrackingError> {
        let refuse = |what| {
            Err(TrackingError::Path {
                path: path.to_owned(),
                what,
            })
        };
        if path.is_empty() {
            return refuse("it is empty");
        }
        if path.contains(['\\', ':']) || path.chars().any(char::is_control) {
            return refuse("`\\`, `:` and control characters are not allowed");
        }
        if Path::new(path)
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            return refuse("it does not stay inside of the store");
        }
        if path.split('/').any(|part| part.is_empty() || part == ".") {
            return refuse("it has an empty part");
        }
        Ok(self.folder.join(path))
    }

    /// Writes `bytes` to `path` and replaces what was there, atomically. Folders are created.
    ///
    /// # Errors
    /// [`TrackingError::Path`]; the file cannot be written, which leaves the old one.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<Artifact, TrackingError> {
        self.write_with(path, |out| out.write_all(bytes))
    }

    /// Writes what `write` produces to `path`; see [`Artifacts::write`].
    ///
    /// # Errors
    /// As [`Artifacts::write`], and what `write` returns.
    pub fn write_with(
        &self,
        path: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Artifact, TrackingError> {
        let file = self.file(path)?;
        if let Some(folder) = file.parent() {
            fsio::create_dir(folder)?;
        }
        let mut hash = Sha256::new();
        let mut bytes = 0;
        fsio::replace(&file, |out| {
            let mut hashing = Hashing {
                out,
                hash: &mut hash,
                bytes: &mut bytes,
            };
            write(&mut hashing)
        })?;
        Ok(Artifact {
            path: path.to_owned(),
            sha256: hash.finalize().iter().map(|b| format!("{b:02x}")).collect(),
            bytes,
        })
    }

    /// The bytes of `path`, which must be those whose sha256 was recorded.
    ///
    /// # Errors
    /// The file is missing; [`TrackingError::Changed`] when it holds other bytes.
    pub fn read(&self, path: &str, sha256: &str) -> Result<Vec<u8>, TrackingError> {
        let file = self.file(path)?;
        let bytes = fsio::read(&file)?;
        let found = fsio::sha256(&bytes);
        if found != sha256 {
            return Err(TrackingError::Changed {
                path: file,
                expected: sha256.to_owned(),
                found,
            });
        }
        Ok(bytes)
    }
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hash: &'a mut Sha256,
    bytes: &'a mut u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.hash.update(&buf[..n]);
        *self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_changes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(dir.path().to_owned());
        let written = artifacts.write("a/b/model.json", b"hello").unwrap();
        assert_eq!(written.bytes, 5);
        assert_eq!(written.sha256, fsio::sha256(b"hello"));
        assert_eq!(
            artifacts.read(&written.path, &written.sha256).unwrap(),
            b"hello"
        );
        let again = artifacts
            .write_with("a/b/model.json", |out| {
                out.write_all(b"he")?;
                out.write_all(b"llo")
            })
            .unwrap();
        assert_eq!(again, written);
        std::fs::write(dir.path().join("a/b/model.json"), "hullo").unwrap();
        let error = artifacts.read(&written.path, &written.sha256).unwrap_err();
        assert!(matches!(error, TrackingError::Changed { .. }));
        assert!(error.to_string().contains("model.json"), "{error}");
        let failed = artifacts.write_with("a/b/model.json", |_| Err(io::Error::other("no")));
        assert!(failed.is_err());
        assert_eq!(
            std::fs::read(dir.path().join("a/b/model.json")).unwrap(),
            b"hullo"
        );
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(dir.path().join("inside"));
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "./x",
            "a//b",
            "a/",
            "a/./b",
            "C:\\x",
            "a\\..\\b",
            "a\0b",
            "a:b",
        ] {
            let error = artifacts.write(path, b"x").unwrap_err();
            assert!(
                matches!(error, TrackingError::Path { .. }),
                "{path}: {error}"
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        artifacts.write("..a/.b/...", b"x").unwrap();
    }
}
