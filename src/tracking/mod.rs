//! The tracking store: one folder that holds everything a study leaves behind, or a database on a server beside one.
//!
//! ```text
//! automl-store/
//!   automl.db     studies, trials, the model registry (SQLite)
//!   artifacts/    files, each replaced atomically and known by its sha256
//!   predictions/  out-of-fold predictions of complete trials; safe to delete, they are made again when needed
//!   locks/        who runs which study, and which processes live; safe to delete when nothing runs
//! ```
//!
//! In a store that was made as `journal:FOLDER` the studies are in `studies.journal`, see
//! [`journal`](crate::study::storage::journal), and `automl.db` has the registry alone: for network file systems.
//!
//! A store whose place is a URL (`postgres://…`) has its database there, shared by many machines, and a folder with the
//! rest. A [`StudyLock`] lies in that folder, so it keeps processes apart that share the folder.
//!
//! [`mlflow`] brings studies to MLflow.
//!
//! **Contract.** A [`Store`] has one database for all rooms; studies may be in a journal beside it. An artifact is either
//! absent or whole. A [`StudyLock`] ends with its process, however that ends.

mod artifacts;
mod member;
pub mod mlflow;
mod place;
mod predictions;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::db::{Db, DbError};
use crate::fsio::{self, FileError, Lock};
use crate::study::storage::journal::{JournalStorage, Repair};
use crate::study::storage::sqlite::SqliteStorage;
use crate::study::storage::{Storage, StorageError};

use place::{DATABASE, JOURNAL, Place};

pub use artifacts::{Artifact, Artifacts};
pub use member::Member;
pub use predictions::Predictions;

/// The folder that is used when none is named.
pub const DEFAULT_FOLDER: &str = "automl-store";

/// The folder for files when the store is a URL and none is named.
pub const DEFAULT_ARTIFACTS: &str = "automl-artifacts";

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackingError {
    /// A URL of a kind that no store has.
    #[error(
        "the store `{url}` is a URL of an unknown kind; a store is a folder, as in `--store automl-store`, \
         `journal:FOLDER`, or `postgres://user:password@host/database`"
    )]
    Url {
        /// The URL, without a password in it.
        url: String,
    },
    /// There is no store where one is to be read.
    #[error(
        "there is no store in `{}`; hint: name the folder with `--store`, or make one with `automl study FILE`",
        folder.display()
    )]
    NoStore {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no store in the database where one is to be read.
    #[error(
        "there is no store in the database `{url}`; hint: correct the name, or make one with `automl study FILE \
         --store URL`"
    )]
    NoTables {
        /// The URL without its password.
        url: String,
    },
    /// Studies are in the database of a folder that is to have them in a journal.
    #[error(
        "`{}` has its studies in `automl.db`, so it cannot have them in a journal too; leave `journal:` out, or name \
         another folder",
        folder.display()
    )]
    HasDatabase {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process runs the study.
    #[error(
        "study `{study}` is being run by another process (lock `{}`); wait for it or stop it, then try again",
        lock.display()
    )]
    StudyLocked {
        /// The study's name.
        study: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The lock of this process cannot be had.
    #[error("the lock `{}` is held by another process; is the folder shared with another machine of the same name?", lock.display())]
    Member {
        /// The lock file.
        lock: PathBuf,
    },
    /// A name that leads out of the store, or cannot be a file name everywhere.
    #[error(
        "`{path}` cannot name an artifact: {what}; use a relative path such as `models/churn/model.json`"
    )]
    Path {
        /// The path given.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An artifact's bytes are not those that were written.
    #[error("`{}` has changed since it was written: its sha256 is {found}, not {expected}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The sha256 that was recorded.
        expected: String,
        /// The sha256 of the bytes that are there.
        found: String,
    },
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The journal failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An open store; see the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// The folder or URL as a person would name it, without a password.
    place: String,
    shared: bool,
    folder: PathBuf,
    db: Arc<Db>,
    studies: Studies,
}

#[derive(Clone, Debug)]
enum Studies {
    Database(Arc<SqliteStorage>),
    Journal(Arc<JournalStorage>),
}

impl Store {
    /// Opens the store in a folder, and makes one when there is none; with `journal:` before the folder, one whose
    /// studies are in a journal; or the one in the database of a URL, with its files in [`DEFAULT_ARTIFACTS`].
    ///
    /// # Errors
    /// [`TrackingError::Url`], [`TrackingError::HasDatabase`]; a folder that cannot be created; a database or journal
    /// that cannot be opened.
    pub fn open(place: impl AsRef<Path>) -> Result<Store, TrackingError> {
        let place = Place::of(place.as_ref())?;
        Self::make(place, place.files())
    }

    /// [`Store::open`] with artifacts, predictions and locks in the folder `files`, whatever the database's place is.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        place: impl AsRef<Path>,
        files: impl AsRef<Path>,
    ) -> Result<Store, TrackingError> {
        Self::make(Place::of(place.as_ref())?, files.as_ref())
    }

    /// Opens the store at `place`, which must be there: for commands that only read, so that a mistyped name
    /// leaves no empty folder and no tables behind.
    ///
    /// # Errors
    /// [`TrackingError::NoStore`] or [`TrackingError::NoTables`], and those of [`Store::open`].
    pub fn open_existing(place: impl AsRef<Path>) -> Result<Store, TrackingError> {
        let place = Place::of(place.as_ref())?;
        Self::find(place, place.files())
    }

    /// [`Store::open_existing`] with the files in `files`; see [`Store::open_with`].
    ///
    /// # Errors
    /// As [`Store::open_existing`].
    pub fn open_existing_with(
        place: impl AsRef<Path>,
        files: impl AsRef<Path>,
    ) -> Result<Store, TrackingError> {
        Self::find(Place::of(place.as_ref())?, files.as_ref())
    }

    fn make(place: Place<'_>, files: &Path) -> Result<Store, TrackingError> {
        if let Place::Folder(folder) | Place::Journal(folder) = place {
            fsio::create_dir(folder)?;
        }
        if let Place::Journal(folder) = place {
            place::refuse_hiding(folder)?;
        }
        let store = Self::on(place, files)?;
        for sub in ["artifacts", "locks"] {
            fsio::create_dir(&files.join(sub))?;
        }
        Ok(store)
    }

    fn find(place: Place<'_>, files: &Path) -> Result<Store, TrackingError> {
        let there = match place {
            Place::Server(url) => {
                let db = Db::open_url(url)?;
                if !db.read(|tx| tx.has_table("studies"))? {
                    return Err(TrackingError::NoTables {
                        url: db.path().display().to_string(),
                    });
                }
                return Self::with_database(db, None, files);
            }
            Place::Folder(folder) => (folder, folder.join(DATABASE)),
            Place::Journal(folder) => (folder, folder.join(JOURNAL)),
        };
        if !there.1.is_file() {
            return Err(TrackingError::NoStore {
                folder: there.0.to_owned(),
            });
        }
        let store = Self::on(place, files)?;
        for sub in ["artifacts", "locks"] {
            fsio::create_dir(&files.join(sub))?;
        }
        Ok(store)
    }

    fn on(place: Place<'_>, files: &Path) -> Result<Store, TrackingError> {
        match place {
            Place::Server(url) => Self::with_database(Db::open_url(url)?, None, files),
            Place::Folder(folder) => {
                let db = Db::open(&folder.join(DATABASE))?;
                Self::with_database(db, Some(folder), files)
            }
            Place::Journal(folder) => {
                let journal = JournalStorage::open(&folder.join(JOURNAL))?;
                Ok(Store {
                    place: folder.display().to_string(),
                    shared: true,
                    folder: files.to_owned(),
                    db: Arc::new(Db::open_without_wal(&folder.join(DATABASE))?),
                    studies: Studies::Journal(Arc::new(journal)),
                })
            }
        }
    }

    /// A store whose studies are in `db`, in `folder` or on a server.
    fn with_database(db: Db, folder: Option<&Path>, files: &Path) -> Result<Store, TrackingError> {
        let db = Arc::new(db);
        let storage = Arc::new(SqliteStorage::with_db(Arc::clone(&db))?);
        Ok(Store {
            place: folder.unwrap_or(db.path()).display().to_string(),
            shared: folder.is_none(),
            folder: files.to_owned(),
            db,
            studies: Studies::Database(storage),
        })
    }

    /// Where the store is, as a person would name it: the folder, or the URL without its password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The folder with artifacts, predictions and locks.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether processes of other machines may use the store: its studies are on a server or in a journal.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// The database, for rooms that keep tables of their own in it.
    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// Studies and trials.
    pub fn storage(&self) -> Arc<dyn Storage> {
        match &self.studies {
            Studies::Database(storage) => storage.clone(),
            Studies::Journal(journal) => journal.clone(),
        }
    }

    /// What was set aside at the end of the journal, since this store was opened; see [`JournalStorage::repairs`].
    pub fn repairs(&self) -> Vec<Repair> {
        match &self.studies {
            Studies::Database(_) => Vec::new(),
            Studies::Journal(journal) => journal.repairs(),
        }
    }

    /// Tells `listener` of every repair there was and will be.
    pub fn on_repair(&self, listener: impl Fn(&Repair) + Send + 'static) {
        if let Studies::Journal(journal) = &self.studies {
            for repair in journal.repairs() {
                listener(&repair);
            }
            journal.on_repair(listener);
        }
    }

    /// Tells `listener` of the lock of the journal whenever a write has to wait for it for long; see
    /// [`JournalStorage::on_wait`].
    pub fn on_wait(&self, listener: impl Fn(&Path) + Send + 'static) {
        if let Studies::Journal(journal) = &self.studies {
            journal.on_wait(listener);
        }
    }

    /// The files.
    pub fn artifacts(&self) -> Artifacts {
        Artifacts::new(self.folder.join("artifacts"))
    }

    /// The out-of-fold predictions of a study's trials. Nothing is created before the first is written.
    pub fn predictions(&self, study: &str) -> Predictions {
        Predictions::new(self.folder.join("predictions").join(safe_name(study)))
    }

    /// Makes this process the only one that runs a study, until the lock is dropped.
    ///
    /// # Errors
    /// [`TrackingError::StudyLocked`] at once when it is not the only one.
    pub fn lock_study(&self, study: &str) -> Result<StudyLock, TrackingError> {
        let path = self.lock_path("study", study)?;
        match Lock::try_acquire(&path)? {
            Some(lock) => Ok(StudyLock { _lock: lock }),
            None => Err(TrackingError::StudyLocked {
                study: study.to_owned(),
                lock: path,
            }),
        }
    }

    /// Waits for the lock `kind`-`name` of this store. `Ok(None)` when another process held it for all of
    /// `patience`.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn wait_for_lock(
        &self,
        kind: &str,
        name: &str,
        patience: Duration,
    ) -> Result<Option<Lock>, TrackingError> {
        let path = self.lock_path(kind, name)?;
        let begun = Instant::now();
        loop {
            if let Some(lock) = Lock::try_acquire(&path)? {
                return Ok(Some(lock));
            }
            if begun.elapsed() >= patience {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn lock_path(&self, kind: &str, name: &str) -> Result<PathBuf, TrackingError> {
        let folder = self.folder.join("locks");
        // A store that was opened only to be read may have no folder yet.
        fsio::create_dir(&folder)?;
        Ok(folder.join(format!("{kind}-{}.lock", safe_name(name))))
    }
}

/// Held while a process runs a study; see [`Store::lock_study`].
#[derive(Debug)]
pub struct StudyLock {
    _lock: Lock,
}

/// A file name for any text: what is safe is kept, and a part of the hash tells apart what is not.
fn safe_name(name: &str) -> String {
    let kept: String = name
        .chars()
        .take(60)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut out = kept;
    // Case is part of a name and not of every file system, so the hash is always there.
    let _ = write!(out, "-{}", &fsio::sha256(name.as_bytes())[..12]);
    out
}
