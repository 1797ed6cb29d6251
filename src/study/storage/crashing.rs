//! A storage that fails on purpose, for testing engines and observers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::db::DbError;

use super::super::record::{Attrs, StudyRecord, TrialRecord, TrialState};
use super::{Held, Lease, Storage, StorageError, Write, Wrote};

/// Passes everything on to another storage until a number of writes have succeeded; then every write fails and
/// changes nothing, as on a full disk. Reads always work.
pub struct CrashingStorage {
    inner: Arc<dyn Storage>,
    left: AtomicUsize,
}

impl CrashingStorage {
    /// Lets `writes` calls that write through to `inner` and fails every later one.
    pub fn after(writes: usize, inner: Arc<dyn Storage>) -> Self {
        CrashingStorage {
            inner,
            left: AtomicUsize::new(writes),
        }
    }

    fn spend(&self) -> Result<(), StorageError> {
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .map(drop)
            .map_err(|_| {
                StorageError::Db(DbError::DiskFull {
                    path: PathBuf::from("crashing-storage"),
                })
            })
    }
}

impl Storage for CrashingStorage {
    fn create_study(&self, study: &StudyRecord) -> Result<(), StorageError> {
        self.spend()?;
        self.inner.create_study(study)
    }

    fn load_study(&self, name: &str) -> Result<Option<StudyRecord>, StorageError> {
        self.inner.load_study(name)
    }

    fn load_studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        self.inner.load_studies()
    }

    fn annotate_study(
        &self,
        name: &str,
        user_attrs: &Attrs,
        system_attrs: &Attrs,
    ) -> Result<(), StorageError> {
        self.spend()?;
        self.inner.annotate_study(name, user_attrs, system_attrs)
    }

    fn load_trials_from(&self, study: &str, from: u64) -> Result<Vec<TrialRecord>, StorageError> {
        self.inner.load_trials_from(study, from)
    }

    fn load_changed(
        &self,
        study: &str,
        from: u64,
        known: &[TrialState],
    ) -> Result<Vec<TrialRecord>, StorageError> {
        self.inner.load_changed(study, from, known)
    }

    fn write(&self, study: &str, writes: &[Write<'_>]) -> Result<Vec<Wrote>, StorageError> {
        self.spend()?;
        self.inner.write(study, writes)
    }

    fn leases(&self, study: &str) -> Result<Vec<Held>, StorageError> {
        self.inner.leases(study)
    }

    fn renew(&self, study: &str, held: &[(u64, Lease)]) -> Result<Vec<u64>, StorageError> {
        self.spend()?;
        self.inner.renew(study, held)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Direction;
    use super::super::sqlite::SqliteStorage;
    use super::*;

    #[test]
    fn writes_fail_from_the_chosen_one_on_and_reads_go_on() {
        let inner: Arc<dyn Storage> = Arc::new(SqliteStorage::in_memory().unwrap());
        let storage = CrashingStorage::after(2, inner);
        let study = StudyRecord {
            name: "s".to_owned(),
            directions: vec![Direction::Minimize],
            user_attrs: Attrs::new(),
            system_attrs: Attrs::new(),
        };
        storage.create_study(&study).unwrap();
        storage.write_trial("s", &TrialRecord::waiting(0)).unwrap();
        for _ in 0..2 {
            assert!(storage.write_trial("s", &TrialRecord::waiting(1)).is_err());
            assert!(
                storage
                    .annotate_study("s", &Attrs::new(), &Attrs::new())
                    .is_err()
            );
        }
        assert_eq!(storage.load_trials("s").unwrap().len(), 1);
        assert_eq!(storage.load_study("s").unwrap(), Some(study));
        assert_eq!(storage.load_studies().unwrap().len(), 1);
    }
}
