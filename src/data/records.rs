//! Records of a CSV file with the line that an editor would show for each of them.
//!
//! The parser skips blank lines, ends a record before the `\n` of `\r\n`, and lets quoted cells span lines, so its own line
//! numbers are not those of an editor. The bytes of the current record are therefore kept as they were read, and line
//! breaks are counted in them when, and only when, a line number is asked for.

use std::io::{self, Read};

use ::csv::ByteRecord;

use super::error::{DataError, Place};

/// Bytes that may pile up before those of finished records are dropped.
const KEPT_BYTES: usize = 1 << 18;

/// A reader that keeps what it has read since the last [`Tape::forget`].
struct Tape<R> {
    inner: R,
    kept: Vec<u8>,
    /// Position of `kept[0]` in the file.
    from: u64,
    /// Line breaks before `kept[0]`.
    lines: u64,
    ended: bool,
}

impl<R: Read> Read for Tape<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        self.kept.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl<R> Tape<R> {
    /// Drops what lies before the position `byte`, once that is worth it.
    fn forget(&mut self, byte: u64) {
        let count = self.index(byte);
        if count >= KEPT_BYTES {
            self.lines += breaks(&self.kept[..count]);
            self.kept.drain(..count);
            self.from = byte;
        }
    }

    fn index(&self, byte: u64) -> usize {
        (byte.saturating_sub(self.from) as usize).min(self.kept.len())
    }

    /// The line, from 1, of the first byte at or after `byte` that is no line break.
    fn line(&self, byte: u64) -> u64 {
        let rest = &self.kept[self.index(byte)..];
        let blank = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
        let start = self.index(byte) + blank.count();
        self.lines + breaks(&self.kept[..start]) + 1
    }
}

fn breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&b| b == b'\n').count() as u64
}

/// Reads a CSV file record by record: the header is unique, every record has as many cells, every cell is UTF-8.
pub(super) struct Records<R> {
    reader: ::csv::Reader<Tape<R>>,
    file: String,
    delimiter: u8,
    header: Vec<String>,
    record: ByteRecord,
}

impl<R: Read> Records<R> {
    /// Reads the header. `file` is how the user named the file.
    pub(super) fn open(reader: R, file: &str, delimiter: u8) -> Result<Self, DataError> {
        if !delimiter.is_ascii() || matches!(delimiter, b'"' | b'\r' | b'\n') {
            return Err(DataError::Delimiter { byte: delimiter });
        }
        let tape = Tape {
            inner: reader,
            kept: Vec::new(),
            from: 0,
            lines: 0,
            ended: false,
        };
        let mut records = Records {
            reader: ::csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .delimiter(delimiter)
                .buffer_capacity(1 << 16)
                .from_reader(tape),
            file: file.to_owned(),
            delimiter,
            header: Vec::new(),
            record: ByteRecord::new(),
        };
        if !records.read()? {
            return Err(DataError::Empty {
                file: records.file.clone(),
            });
        }
        records.read_header()?;
        Ok(records)
    }

    fn read_header(&mut self) -> Result<(), DataError> {
        self.header = self
            .record
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim().to_owned())
            .collect();
        self.check_utf8()?;
        let mut seen = std::collections::BTreeMap::new();
        for (i, name) in self.header.iter().enumerate() {
            if let Some(first) = seen.insert(name, i) {
                return Err(DataError::DuplicateHeader {
                    file: self.file.clone(),
                    line: self.line(),
                    column: name.clone(),
                    first: first + 1,
                    second: i + 1,
                });
            }
        }
        Ok(())
    }

    /// The names of the columns.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Moves to the next record; `false` at the end.
    pub(super) fn advance(&mut self) -> Result<bool, DataError> {
        if !self.read()? {
            return Ok(false);
        }
        if self.record.len() != self.header.len() {
            return Err(DataError::Ragged {
                file: self.file.clone(),
                line: self.line(),
                expected: self.header.len(),
                found: self.record.len(),
                delimiter: char::from(self.delimiter),
            });
        }
        self.check_utf8()?;
        Ok(true)
    }

    fn read(&mut self) -> Result<bool, DataError> {
        let start = self.reader.position().byte();
        self.reader.get_mut().forget(start);
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => Ok(false),
            Ok(true) => {
                self.check_quotes()?;
                Ok(true)
            }
            Err(error) => {
                let line = self.reader.get_ref().line(start);
                let source = match error.into_kind() {
                    ::csv::ErrorKind::Io(source) => source,
                    // A flexible reader of byte records reports nothing else.
                    other => io::Error::other(format!("{other:?}")),
                };
                Err(DataError::Read {
                    file: self.file.clone(),
                    line: line.saturating_sub(1),
                    source,
                })
            }
        }
    }

    /// A quote that is never closed swallows the rest of the file into one cell of the last record.
    fn check_quotes(&self) -> Result<(), DataError> {
        let tape = self.reader.get_ref();
        let end = self.reader.position().byte();
        let at_end = tape.ended && tape.index(end) == tape.kept.len();
        if !at_end || !self.record.as_slice().contains(&b'\n') {
            return Ok(());
        }
        let raw = &tape.kept[tape.index(self.start())..];
        if raw.iter().filter(|&&b| b == b'"').count() % 2 == 0 {
            return Ok(());
        }
        Err(DataError::UnclosedQuote {
            file: self.file.clone(),
            line: self.line(),
        })
    }

    fn check_utf8(&self) -> Result<(), DataError> {
        if self.record.as_slice().is_ascii() {
            return Ok(());
        }
        let bad = self
            .record
            .iter()
            .position(|cell| std::str::from_utf8(cell).is_err());
        match bad {
            None => Ok(()),
            Some(column) => Err(DataError::NotUtf8 {
                place: self.place(column),
            }),
        }
    }

    /// A cell of the current record without the blanks around it.
    pub(super) fn cell(&self, column: usize) -> &[u8] {
        self.record[column].trim_ascii()
    }

    /// A cell of the current record as it is in the file, without its quotes.
    pub(super) fn raw_cell(&self, column: usize) -> Option<&[u8]> {
        self.record.get(column)
    }

    /// How many cells the current record has.
    pub(super) fn len(&self) -> usize {
        self.record.len()
    }

    fn start(&self) -> u64 {
        self.record.position().map_or(0, ::csv::Position::byte)
    }

    /// The line where the current record begins.
    pub(super) fn line(&self) -> u64 {
        self.reader.get_ref().line(self.start())
    }

    /// Where a cell of the current record is.
    pub(super) fn place(&self, column: usize) -> Place {
        let before: u64 = self.record.iter().take(column).map(breaks).sum();
        Place {
            file: self.file.clone(),
            line: self.line() + before,
            column: self.header[column].clone(),
        }
    }
}
