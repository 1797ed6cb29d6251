//! The lock of a journal: the file `<journal>.lock`, made as Optuna's `JournalFileSymlinkLock` makes it, so that both
//! programs keep out of each other's way. A symbolic link is made by one process only, on every network file system.
//!
//! A process that dies leaves its lock behind. Whoever waits breaks a lock that has not changed for the grace period.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::fsio::FileError;

use super::super::StorageError;

/// How long a lock stays unchanged before it is taken for one of a dead process. That of Optuna.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// Held until dropped.
#[derive(Debug)]
pub(super) struct FileLock {
    path: PathBuf,
    own: Link,
}

/// One lock among those that were at the same path.
type Link = (u64, Option<SystemTime>);

impl FileLock {
    /// Waits for the lock of `journal`. Calls `waits` with its path once when that takes long, a tenth of `grace`.
    ///
    /// # Errors
    /// The lock cannot be made or removed; [`StorageError::Locked`] when living processes hold it for long.
    pub fn acquire(
        journal: &Path,
        grace: Duration,
        waits: impl Fn(&Path),
    ) -> Result<FileLock, StorageError> {
        let path = beside(journal, ".lock");
        let failed = |action, source| FileError {
            action,
            path: path.clone(),
            source,
        };
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut watched = None;
        let mut told = false;
        loop {
            match make(journal, &path) {
                // Broken already when there is none.
                Ok(()) => {
                    if let Ok(meta) = fs::symlink_metadata(&path) {
                        let own = link(&meta);
                        return Ok(FileLock { path, own });
                    }
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed("cannot make the lock", e).into()),
            }
            match fs::symlink_metadata(&path) {
                Ok(meta) => {
                    // Every write to the journal also shows that somebody lives.
                    let written = fs::metadata(journal).and_then(|m| m.modified()).ok();
                    let seen = (link(&meta), written);
                    match watched {
                        Some((before, since)) if before == seen => {
                            let since: Instant = since;
                            if since.elapsed() > grace {
                                remove(&path).map_err(|e| failed("cannot remove the lock", e))?;
                                pause = Duration::from_millis(1);
                                watched = None;
                                continue;
                            }
                        }
                        _ => watched = Some((seen, Instant::now())),
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => watched = None,
                Err(e) => return Err(failed("cannot read the lock", e).into()),
            }
            if !told && begun.elapsed() > grace / 10 {
                told = true;
                waits(&path);
            }
            if begun.elapsed() > grace * 3 {
                return Err(StorageError::Locked {
                    lock: path,
                    seconds: begun.elapsed().as_secs_f64(),
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether the lock was not broken, as happens to a process that slept for longer than the grace period.
    pub fn is_held(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| link(&meta) == self.own)
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if self.is_held() {
            // Left behind, it is broken by the next writer.
            let _ = remove(&self.path);
        }
    }
}

/// The path of the file `journal` with `ending` after its name.
pub(super) fn beside(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Optuna looks at the time of what the link leads to, so it leads to the journal: by its name alone, which is right
/// from every machine, wherever the folder is there.
#[cfg(unix)]
fn make(journal: &Path, lock: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(journal.file_name().unwrap_or(journal.as_os_str()), lock)
}

/// Making a link needs a privilege elsewhere; Optuna's `JournalFileOpenLock` makes a file of the same name.
#[cfg(not(unix))]
fn make(_: &Path, lock: &Path) -> io::Result<()> {
    let file = fs::File::options().write(true).create_new(true).open(lock);
    file.map(drop)
}

fn link(meta: &Metadata) -> Link {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(meta);
    #[cfg(not(unix))]
    let inode = 0;
    (inode, meta.modified().ok())
}

/// Of several that remove a lock, the one whose renaming succeeds has removed it.
fn remove(lock: &Path) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let host = crate::fsio::sha256(crate::fsio::host().as_bytes());
    let unique = format!("{}-{}-{count}.rename", &host[..8], std::process::id());
    let renamed = beside(lock, &unique);
    match fs::rename(lock, &renamed) {
        Ok(()) => fs::remove_file(renamed),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
