//! The journal's file: reading what is new, appending durably, and setting aside what a crash left at the end.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use crate::fsio::FileError;

use super::super::{StorageError, json};
use super::fields::LEFT;
use super::lock::beside;
use super::replay::State;

/// The end of a journal that a crash or a full disk left behind, set aside before the next write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The journal.
    pub path: PathBuf,
    /// Where the unfinished call began, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes were taken out of the file.
    pub bytes: u64,
    /// The file that they are kept in.
    pub saved: PathBuf,
}

/// What of the file was read, and what it means.
#[derive(Debug, Default)]
pub(super) struct View {
    pub state: State,
    /// Everything before this byte is in `state`.
    pub offset: u64,
    lines: u64,
    /// The last line that was read: a file that has another one there was cut off and written on meanwhile.
    last: Vec<u8>,
}

/// A line that was read and not applied yet.
struct Line {
    fields: Json,
    left: u64,
    end: usize,
}

impl View {
    /// Reads what is new. Returns how many bytes there are behind the last whole call: of a crash, or of a writer that
    /// is not done; with the lock held only the former.
    pub fn refresh(&mut self, path: &Path) -> Result<u64, StorageError> {
        let mut tries = 0;
        loop {
            match self.read_on(path) {
                // A reader without the lock may see old and new bytes while the end is being repaired.
                Err(StorageError::CorruptLine { .. }) if tries < 3 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    }

    fn read_on(&mut self, path: &Path) -> Result<u64, StorageError> {
        let failed = |source| FileError {
            action: "cannot read",
            path: path.to_owned(),
            source,
        };
        // Opened each time: a network file system looks for what others wrote when a file is opened.
        let mut file = File::open(path).map_err(failed)?;
        let mut read_from = |from: u64| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(from))
                .and_then(|_| file.read_to_end(&mut bytes))
                .map_err(failed)?;
            Ok::<_, FileError>(bytes)
        };
        let bytes = read_from(self.offset - self.last.len() as u64)?;
        if let Some(new) = bytes.strip_prefix(self.last.as_slice()) {
            return self.absorb(path, new);
        }
        *self = View::default();
        let bytes = read_from(0)?;
        self.absorb(path, &bytes)
    }

    /// Applies the whole calls that `bytes` begins with, which follow what was read. Returns how many bytes are left.
    pub fn absorb(&mut self, path: &Path, bytes: &[u8]) -> Result<u64, StorageError> {
        let start = self.offset;
        let mut call: Vec<Line> = Vec::new();
        let mut at = 0;
        while let Some(length) = bytes[at..].iter().position(|b| *b == b'\n') {
            let end = at + length + 1;
            let fields = match read_line(&bytes[at..end - 1]) {
                Ok(fields) => fields,
                Err(what) => {
                    let mut later = bytes[end..].split_inclusive(|b| *b == b'\n');
                    // At the end of the file it is what a crash left behind.
                    if !later.any(|line| line.ends_with(b"\n") && read_line(line).is_ok()) {
                        break;
                    }
                    let line = self.lines + call.len() as u64 + 1;
                    return Err(corrupt(path, line, what));
                }
            };
            let left = fields.get(LEFT).and_then(Json::as_u64).unwrap_or(0);
            let line = Line { fields, left, end };
            if call.last().is_some_and(|last| !line.follows(last)) {
                // Its rest never came, and others have written since: they have seen its lines as they are.
                self.apply(path, start, bytes, &mut call)?;
            }
            call.push(line);
            if left == 0 {
                self.apply(path, start, bytes, &mut call)?;
            }
            at = end;
        }
        Ok(start + bytes.len() as u64 - self.offset)
    }

    fn apply(
        &mut self,
        path: &Path,
        start: u64,
        bytes: &[u8],
        call: &mut Vec<Line>,
    ) -> Result<(), StorageError> {
        for line in call.drain(..) {
            let number = self.lines + 1;
            let applied = self.state.apply(&line.fields);
            applied.map_err(|what| corrupt(path, number, what))?;
            self.lines = number;
            let before = (self.offset - start) as usize;
            self.offset = start + line.end as u64;
            self.last.clear();
            self.last.extend_from_slice(&bytes[before..line.end]);
        }
        Ok(())
    }
}

impl Line {
    fn follows(&self, last: &Line) -> bool {
        let worker = |line: &Line| line.fields.get("worker_id").cloned();
        self.left + 1 == last.left && worker(self) == worker(last)
    }
}

fn read_line(bytes: &[u8]) -> Result<Json, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let fields = json::read_line(text)?;
    match fields.get("op_code") {
        Some(_) => Ok(fields),
        None => Err("it has no `op_code`".to_owned()),
    }
}

fn corrupt(path: &Path, line: u64, what: String) -> StorageError {
    StorageError::CorruptLine {
        path: path.to_owned(),
        line,
        what,
    }
}

/// Makes an empty journal, unless there is one.
pub(super) fn create(path: &Path) -> Result<(), StorageError> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(file) => {
            file.sync_all().map_err(|e| cannot_write(path, e))?;
            sync_folder(path);
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        // A folder that is read-only may hold a journal to read.
        Err(_) if path.is_file() => Ok(()),
        Err(e) => Err(cannot_write(path, e)),
    }
}

/// Writes `bytes` behind the first `offset`, which are all there are, to the disk; or nothing.
pub(super) fn append(path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = File::options()
        .append(true)
        .open(path)
        .map_err(|e| cannot_write(path, e))?;
    let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) else {
        return Ok(());
    };
    match file.set_len(offset).and_then(|()| file.sync_all()) {
        Ok(()) => Err(cannot_write(path, error)),
        Err(_) => Err(StorageError::Unknown {
            path: path.to_owned(),
            what: error.to_string(),
        }),
    }
}

/// Takes everything behind the first `offset` bytes out of the journal, and keeps it in a file of its own.
pub(super) fn repair(path: &Path, offset: u64) -> Result<Repair, StorageError> {
    let failed = |e| cannot_write(path, e);
    let mut journal = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let mut torn = Vec::new();
    journal
        .seek(SeekFrom::Start(offset))
        .and_then(|_| journal.read_to_end(&mut torn))
        .map_err(failed)?;
    let saved = save(path, offset, &torn)?;
    journal
        .set_len(offset)
        .and_then(|()| journal.sync_all())
        .map_err(failed)?;
    Ok(Repair {
        path: path.to_owned(),
        offset,
        bytes: torn.len() as u64,
        saved,
    })
}

/// Writes a new file beside the journal. The same place may have been torn before.
fn save(path: &Path, offset: u64, torn: &[u8]) -> Result<PathBuf, StorageError> {
    let mut count = 1;
    loop {
        let again = match count {
            1 => String::new(),
            count => format!("-{count}"),
        };
        let saved = beside(path, &format!(".torn-{offset}{again}"));
        match File::options().write(true).create_new(true).open(&saved) {
            Ok(mut file) => {
                if let Err(e) = file.write_all(torn).and_then(|()| file.sync_all()) {
                    let _ = fs::remove_file(&saved);
                    return Err(cannot_write(&saved, e));
                }
                sync_folder(path);
                return Ok(saved);
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => count += 1,
            Err(e) => return Err(cannot_write(&saved, e)),
        }
    }
}

/// A new name is durable once its folder is; folders cannot be opened on every system.
fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn cannot_write(path: &Path, source: io::Error) -> StorageError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StorageError::Full {
                path,
                what: source.to_string(),
            }
        }
        _ => StorageError::File(FileError {
            action: "cannot write",
            path,
            source,
        }),
    }
}
