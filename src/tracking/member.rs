//! A process that runs trials of a store's studies, and who of the others is known to have ended.
//!
//! A member holds a lock in the store's folder for as long as its process lives. So another one that shares the folder
//! and the machine sees at once that it has ended, however it did; of members elsewhere it knows nothing, and waits for
//! their leases to lapse.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock as _, SystemClock};
use crate::fsio::{self, Lock};
use crate::study::engine::Share;

use super::{Store, TrackingError};

/// How long the lock of a process number is waited for, which others hold for a moment when they look.
const PATIENCE: Duration = Duration::from_secs(5);

/// This process among those that run the studies of a store.
#[derive(Debug)]
pub struct Member {
    owner: String,
    folder: PathBuf,
    is_shared: bool,
    _lock: Lock,
}

impl Drop for Member {
    /// One that ends in order holds no trial, so nobody has to learn of it.
    fn drop(&mut self) {
        let file = lock_file(&self.folder, &std::process::id().to_string());
        let _ = std::fs::remove_file(file);
    }
}

impl Store {
    /// Makes this process a member.
    ///
    /// # Errors
    /// The store's folder cannot be written.
    pub fn join(&self) -> Result<Member, TrackingError> {
        let folder = self.folder().join("locks");
        fsio::create_dir(&folder)?;
        let path = lock_file(&folder, &std::process::id().to_string());
        let begun = Instant::now();
        let lock = loop {
            match Lock::try_acquire(&path)? {
                Some(lock) => break lock,
                None if begun.elapsed() > PATIENCE => {
                    return Err(TrackingError::Member { lock: path });
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        // Process numbers come again, also in this process if it joins twice.
        let nonce = format!("{:x}", SystemClock.now().0);
        // Not replaced: the lock is the file's own.
        lock.write(nonce.as_bytes(), &path)?;
        Ok(Member {
            owner: format!("{}/{}/{nonce}", fsio::host(), std::process::id()),
            folder,
            is_shared: self.is_shared(),
            _lock: lock,
        })
    }
}

impl Member {
    /// How this process takes part in studies: one trial at once, until told otherwise.
    pub fn share(&self, lease: Duration) -> Share {
        let folder = self.folder.clone();
        let share = Share::new(&self.owner);
        Share {
            lease,
            // A server is asked less often, and may be away for a while.
            poll: Duration::from_millis(if self.is_shared { 250 } else { 50 }),
            patience: Duration::from_secs(if self.is_shared { 300 } else { 0 }),
            gone: Arc::new(move |owner| is_gone(&folder, owner)),
            ..share
        }
    }
}

fn lock_file(folder: &Path, process: &str) -> PathBuf {
    folder.join(format!("process-{process}.lock"))
}

/// Whether the member of this name is known to have ended.
fn is_gone(folder: &Path, owner: &str) -> bool {
    let mut parts = owner.rsplitn(3, '/');
    let (Some(nonce), Some(process), Some(host)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let number = !process.is_empty() && process.bytes().all(|b| b.is_ascii_digit());
    if !number || host != fsio::host() {
        return false;
    }
    let path = lock_file(folder, process);
    // No file: its member shared another folder.
    let Ok(found) = fsio::read(&path) else {
        return false;
    };
    found != nonce.as_bytes() || matches!(Lock::try_acquire(&path), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_gone_when_its_process_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let member = store.join().unwrap();
        let (owner, folder) = (member.owner.clone(), member.folder.clone());
        assert!(!is_gone(&folder, &owner), "it lives");
        drop(member);
        let file = lock_file(&folder, &std::process::id().to_string());
        assert!(!file.exists(), "it ended in order");
        // What a process leaves behind that was killed.
        let nonce = owner.rsplit('/').next().unwrap();
        std::fs::write(&file, nonce).unwrap();
        assert!(is_gone(&folder, &owner), "its lock is free");
        let again = store.join().unwrap();
        assert_ne!(again.owner, owner);
        assert!(is_gone(&folder, &owner), "its number is another's");
        assert!(!is_gone(&folder, &again.owner));
        for elsewhere in [
            "",
            "x",
            "a/b",
            "nowhere/1/5f",
            &format!("{}/4000000000/5f", fsio::host()),
            &format!("{}/../5f", fsio::host()),
        ] {
            assert!(
                !is_gone(&folder, elsewhere),
                "{elsewhere}: nothing is known"
            );
        }
    }
}
