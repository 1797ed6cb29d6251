//! Files without surprises: every error names its path, replacing a file is atomic and durable, and a
//! lock belongs to a process, not to a file that a crash leaves behind.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// An I/O error with the path it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{action} `{}`: {source}", path.display())]
pub struct FileError {
    /// What was being done, as in "cannot read".
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        FileError {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|e| FileError::new("cannot read", path, e))
}

/// Creates a folder and its parents.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|e| FileError::new("cannot create folder", path, e))
}

/// Replaces `path` by what `write` produces. Readers see the old bytes or the new ones, never a part: the
/// bytes go to a temporary file in the same folder, are flushed to the disk, and are renamed over `path`.
/// On an error the old file stays and the temporary one is removed.
pub fn replace<F>(path: &Path, write: F) -> Result<(), FileError>
where
    F: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    put(path, write, true)
}

/// As [`replace`], but without waiting for the disk: after a power failure the file may be old, empty or cut off. For
/// what carries its own checksum and can be made again.
pub fn replace_without_sync<F>(path: &Path, write: F) -> Result<(), FileError>
where
    F: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    put(path, write, false)
}

fn put<F>(path: &Path, write: F, sync: bool) -> Result<(), FileError>
where
    F: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    let err = |e| FileError::new("cannot write", path, e);
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".automl-").suffix(".tmp");
    #[cfg(unix)]
    {
        // The default of temporary files is owner-only; what the user asked for follows the umask.
        use std::os::unix::fs::PermissionsExt;
        temporary.permissions(fs::Permissions::from_mode(0o666));
    }
    // The user named `path`; the temporary file's own name would only confuse.
    let file = temporary.tempfile_in(folder).map_err(|e| {
        let text = e.to_string();
        let what = text.split(" at path ").next().unwrap_or(&text);
        err(io::Error::new(e.kind(), what.to_owned()))
    })?;
    let mut out = BufWriter::new(file);
    write(&mut out).map_err(err)?;
    let file = out.into_inner().map_err(|e| err(e.into_error()))?;
    if sync {
        file.as_file().sync_all().map_err(err)?;
    }
    file.persist(path).map_err(|e| err(e.error))?;
    if !sync {
        return Ok(());
    }
    // The rename is durable once the folder is; folders cannot be opened on every system.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The sha256 of `bytes` as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The name of the machine, as far as system and environment tell.
pub fn host() -> String {
    let from_file = |path: &str| std::fs::read_to_string(path).ok();
    let from_env = |key: &str| std::env::var(key).ok();
    [
        from_file("/proc/sys/kernel/hostname"),
        from_file("/etc/hostname"),
        from_env("HOSTNAME"),
        from_env("COMPUTERNAME"),
    ]
    .into_iter()
    .flatten()
    .map(|name| name.trim().to_owned())
    .find(|name| !name.is_empty())
    .unwrap_or_else(|| "unknown".to_owned())
}

/// An exclusive lock on a file, held until dropped or until the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock at `path`, creating the file if needed. `Ok(None)` when another process holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Lock>, FileError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|e| FileError::new("cannot open lock", path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(FileError::new("cannot lock", path, e)),
        }
    }

    /// Makes `bytes` the content of the lock's file, for others to read who holds it.
    pub fn write(&self, bytes: &[u8], path: &Path) -> Result<(), FileError> {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| (&self.file).write_all(bytes));
        written.map_err(|e| FileError::new("cannot write", path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        replace(&path, |out| out.write_all(b"old")).unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"half of the n")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("a.txt"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_acquire(&path).unwrap().unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn sha256_of_nothing() {
        assert!(sha256(b"").starts_with("e3b0c44298fc1c14"));
    }
}
