//! Out-of-fold predictions: one file per complete trial, beside the database and not in it.
//!
//! **Contract.** A file is used only when it is whole (its length and sha256 are checked) and when it was written for the
//! same thing (its key is compared). In every other case it counts as absent, and its predictions are made again: the
//! folder may be deleted at any time, and a crash at any moment costs no more than the work of one trial. Writing does not
//! wait for the disk.
//!
//! The format, version 1, all numbers little-endian: the 8 bytes `AUTOMLPR`, the version as u32, a reserved u32 of 0, the
//! key (32 bytes), the count of numbers as u64, the numbers as f64, the sha256 of everything before.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::fsio;

use super::TrackingError;

const MAGIC: &[u8; 8] = b"AUTOMLPR";
const FORMAT: u32 = 1;
/// Bytes before the numbers.
const HEAD: usize = 8 + 4 + 4 + 32 + 8;
/// Bytes after them.
const TAIL: usize = 32;

/// The predictions of one study's trials.
#[derive(Clone, Debug)]
pub struct Predictions {
    folder: PathBuf,
}

impl Predictions {
    pub(super) fn new(folder: PathBuf) -> Self {
        Predictions { folder }
    }

    /// The file of a trial, whether it exists or not.
    pub fn file(&self, trial: u64) -> PathBuf {
        self.folder.join(format!("{trial}.predictions"))
    }

    /// Keeps the predictions of a trial and replaces earlier ones. `key` says what they were made of.
    ///
    /// # Errors
    /// The file cannot be written, which leaves the old one.
    pub fn write(&self, trial: u64, key: &str, numbers: &[f64]) -> Result<(), TrackingError> {
        let mut bytes = Vec::with_capacity(HEAD + 8 * numbers.len() + TAIL);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&Sha256::digest(key.as_bytes()));
        bytes.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        let file = self.file(trial);
        let write = || fsio::replace_without_sync(&file, |out| out.write_all(&bytes));
        if write().is_err() {
            // The folder is made with the first file, and again when it was deleted.
            fsio::create_dir(&self.folder)?;
            write()?;
        }
        Ok(())
    }

    /// The predictions of a trial; none when there are none that are whole, of this format and made of `key`.
    pub fn read(&self, trial: u64, key: &str) -> Option<Vec<f64>> {
        let bytes = std::fs::read(self.file(trial)).ok()?;
        let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(TAIL)?)?;
        let (head, numbers) = body.split_at_checked(HEAD)?;
        let mut expected = MAGIC.to_vec();
        expected.extend_from_slice(&FORMAT.to_le_bytes());
        expected.extend_from_slice(&0_u32.to_le_bytes());
        expected.extend_from_slice(&Sha256::digest(key.as_bytes()));
        expected.extend_from_slice(&(numbers.len() as u64 / 8).to_le_bytes());
        if head != expected || numbers.len() % 8 != 0 || hash != &Sha256::digest(body)[..] {
            return None;
        }
        let (numbers, _) = numbers.as_chunks::<8>();
        Some(numbers.iter().map(|b| f64::from_le_bytes(*b)).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::tracking::Store;

    #[test]
    fn what_was_kept_is_found_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Store::open(dir.path()).unwrap().predictions("churn/über");
        assert_eq!(kept.read(0, "key"), None);
        let numbers = [0.1, -0.0, f64::MIN_POSITIVE / 3.0, 1.0 / 3.0, f64::INFINITY];
        kept.write(0, "key", &numbers).unwrap();
        kept.write(7, "key", &[]).unwrap();
        let bits = |n: &[f64]| n.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&kept.read(0, "key").unwrap()), bits(&numbers));
        assert_eq!(kept.read(7, "key"), Some(Vec::new()));
        assert_eq!(kept.read(0, "another"), None);
        assert_eq!(kept.read(1, "key"), None);
        kept.write(0, "another", &[1.0]).unwrap();
        assert_eq!(kept.read(0, "another"), Some(vec![1.0]));
        // A folder that is gone is made again.
        std::fs::remove_dir_all(dir.path().join("predictions")).unwrap();
        assert_eq!(kept.read(0, "another"), None);
        kept.write(0, "key", &numbers).unwrap();
        assert!(kept.read(0, "key").is_some());
    }

    #[test]
    fn a_damaged_file_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Store::open(dir.path()).unwrap().predictions("s");
        kept.write(3, "key", &[1.0, 2.0, 3.0]).unwrap();
        let whole = std::fs::read(kept.file(3)).unwrap();
        for end in 0..whole.len() {
            std::fs::write(kept.file(3), &whole[..end]).unwrap();
            assert_eq!(kept.read(3, "key"), None, "cut off after {end} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            std::fs::write(kept.file(3), &changed).unwrap();
            assert_eq!(kept.read(3, "key"), None, "byte {at} changed");
        }
        std::fs::write(kept.file(3), &whole).unwrap();
        assert_eq!(kept.read(3, "key"), Some(vec![1.0, 2.0, 3.0]));
    }
}
