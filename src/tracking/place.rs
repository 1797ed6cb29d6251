//! What names a store: a folder, `journal:` before a folder, or the URL of a database.

use std::path::Path;

use crate::db::{self, Db, DbError};

use super::{DEFAULT_ARTIFACTS, TrackingError};

/// Before the name of a folder whose studies are in a journal.
const PREFIX: &str = "journal:";

/// The journal with the studies of a folder.
pub(super) const JOURNAL: &str = "studies.journal";

/// The database of a folder.
pub(super) const DATABASE: &str = "automl.db";

/// Where the studies of a store are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In the database of a URL.
    Server(&'a str),
    /// In the database of a folder.
    Folder(&'a Path),
    /// In the journal of a folder.
    Journal(&'a Path),
}

impl<'a> Place<'a> {
    /// What a user's text names. A folder with a journal needs no prefix.
    pub fn of(place: &'a Path) -> Result<Self, TrackingError> {
        let text = place.to_str();
        if let Some(text) = text.filter(|text| db::is_url(text)) {
            if text.starts_with("postgres://") || text.starts_with("postgresql://") {
                return Ok(Place::Server(text));
            }
            return Err(TrackingError::Url {
                url: db::redacted(text),
            });
        }
        Ok(match text.and_then(|text| text.strip_prefix(PREFIX)) {
            Some("") => {
                return Err(TrackingError::Url {
                    url: PREFIX.to_owned(),
                });
            }
            Some(folder) => Place::Journal(Path::new(folder)),
            None if place.join(JOURNAL).is_file() => Place::Journal(place),
            None => Place::Folder(place),
        })
    }

    /// Where the files of a store are when no other folder is named.
    pub fn files(self) -> &'a Path {
        match self {
            Place::Server(_) => Path::new(DEFAULT_ARTIFACTS),
            Place::Folder(folder) | Place::Journal(folder) => folder,
        }
    }
}

/// Refuses to begin a journal beside a database with studies in it, which would be hidden by it.
pub(super) fn refuse_hiding(folder: &Path) -> Result<(), TrackingError> {
    let database = folder.join(DATABASE);
    if folder.join(JOURNAL).exists() || !database.is_file() {
        return Ok(());
    }
    let has_studies = Db::open(&database)?.read(|tx| {
        if !tx.has_table("studies")? {
            return Ok(false);
        }
        let study = tx.first("SELECT study_id FROM studies LIMIT 1", &[], |row| {
            row.int(0)
        })?;
        Ok::<_, DbError>(study.is_some())
    })?;
    match has_studies {
        true => Err(TrackingError::HasDatabase {
            folder: folder.to_owned(),
        }),
        false => Ok(()),
    }
}
