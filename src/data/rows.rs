//! Reading rows for prediction, one at a time, against the schema of a model.
//!
//! **Contract.** A row read here has the same bits as the same row of a [`super::table::Dataset`]. Columns may be in any
//! order and others may be among them; a missing column is an error. A level that the schema does not know is missing, and
//! counted. Memory does not grow with the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::error::DataError;
use super::infer::{Meaning, as_text};
use super::records::Records;
use super::table::{Kind, Schema};

/// How the cells of one column become numbers.
enum Cells {
    Numbers,
    Levels {
        by_text: BTreeMap<Box<[u8]>, f64>,
        /// Where all levels are numbers, so that `1.0` is the level `1`.
        by_number: Vec<f64>,
    },
    /// Text is no feature.
    Nothing,
}

/// Reads rows; see the module for the contract.
pub struct RowReader<R> {
    records: Records<R>,
    missing: BTreeSet<Box<[u8]>>,
    /// For each field of the schema, its column in the file.
    columns: Vec<usize>,
    cells: Vec<Cells>,
    unknown: Vec<u64>,
    rows: u64,
}

impl<R: Read> RowReader<R> {
    /// Reads the header of a comma-separated file and finds the columns of `schema` in it. Errors call the file `file`.
    ///
    /// # Errors
    /// No header, a header that names a column twice, or [`DataError::MissingColumns`].
    pub fn new(reader: R, file: &str, schema: &Schema) -> Result<Self, DataError> {
        Self::with_delimiter(reader, file, schema, b',')
    }

    /// Like [`RowReader::new`], for cells separated by another ASCII character.
    ///
    /// # Errors
    /// As [`RowReader::new`], and [`DataError::Delimiter`].
    pub fn with_delimiter(
        reader: R,
        file: &str,
        schema: &Schema,
        delimiter: u8,
    ) -> Result<Self, DataError> {
        let records = Records::open(reader, file, delimiter)?;
        let found: Vec<Option<usize>> = schema
            .fields
            .iter()
            .map(|field| records.header().iter().position(|h| *h == field.name))
            .collect();
        let absent: Vec<String> = schema
            .fields
            .iter()
            .zip(&found)
            .filter(|(_, column)| column.is_none())
            .map(|(field, _)| field.name.clone())
            .collect();
        if !absent.is_empty() {
            return Err(DataError::MissingColumns {
                file: file.to_owned(),
                columns: absent,
            });
        }
        let cells = schema
            .fields
            .iter()
            .map(|field| match field.kind {
                Kind::Numeric => Cells::Numbers,
                Kind::Boolean | Kind::Categorical => Cells::levels(&field.levels),
                Kind::Text => Cells::Nothing,
            })
            .collect();
        Ok(RowReader {
            records,
            missing: schema.missing.iter().map(|m| m.as_bytes().into()).collect(),
            columns: found.into_iter().flatten().collect(),
            cells,
            unknown: vec![0; schema.fields.len()],
            rows: 0,
        })
    }

    /// Reads the next row into `out`, one number per field of the schema: a number or the code of a level, NaN where the
    /// cell is missing or its level unknown. `false` at the end, and `out` stays as it was.
    ///
    /// # Errors
    /// A row with too many or too few cells, bytes that are no UTF-8, and text, NaN or infinities in a column of numbers.
    pub fn next_row(&mut self, out: &mut [f64]) -> Result<bool, DataError> {
        if !self.records.advance()? {
            return Ok(false);
        }
        self.rows += 1;
        for (i, out) in out.iter_mut().enumerate().take(self.columns.len()) {
            let column = self.columns[i];
            let cell = self.records.cell(column);
            *out = f64::NAN;
            if cell.is_empty() || self.missing.contains(cell) {
                continue;
            }
            match &self.cells[i] {
                Cells::Nothing => {}
                Cells::Numbers => match Meaning::of(as_text(cell)) {
                    Meaning::Number(number) => *out = number,
                    Meaning::NotFinite => {
                        return Err(DataError::NotFinite {
                            place: self.records.place(column),
                            cell: as_text(cell).to_owned(),
                        });
                    }
                    Meaning::Text => {
                        return Err(DataError::NotTheModelsNumber {
                            place: self.records.place(column),
                            cell: as_text(cell).to_owned(),
                        });
                    }
                },
                Cells::Levels { by_text, by_number } => {
                    match by_text.get(cell).copied().or_else(|| {
                        let Meaning::Number(number) = Meaning::of(as_text(cell)) else {
                            return None;
                        };
                        by_number
                            .iter()
                            .position(|&n| n == number)
                            .map(|code| code as f64)
                    }) {
                        Some(code) => *out = code,
                        None => self.unknown[i] += 1,
                    }
                }
            }
        }
        Ok(true)
    }

    /// The names of all columns of the file, in its order.
    pub fn header(&self) -> &[String] {
        self.records.header()
    }

    /// The cells of the current row as the file has them, without quotes, in its order.
    pub fn record(&self) -> impl Iterator<Item = &str> {
        (0..self.records.len()).map(|i| self.raw_cell(i))
    }

    /// One cell of the current row as the file has it; blank before the first row and beyond the last column.
    pub fn raw_cell(&self, column: usize) -> &str {
        as_text(self.records.raw_cell(column).unwrap_or_default())
    }

    /// The line where the current row begins, from 1.
    pub fn line(&self) -> u64 {
        self.records.line()
    }

    /// How many rows have been read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// For each field of the schema, the cells so far whose level it does not know.
    pub fn unknown_levels(&self) -> &[u64] {
        &self.unknown
    }
}

impl Cells {
    fn levels(levels: &[String]) -> Self {
        let numbers: Option<Vec<f64>> = levels
            .iter()
            .map(|level| match Meaning::of(level) {
                Meaning::Number(number) => Some(number),
                Meaning::NotFinite | Meaning::Text => None,
            })
            .collect();
        Cells::Levels {
            by_text: levels
                .iter()
                .enumerate()
                .map(|(code, level)| (level.as_bytes().into(), code as f64))
                .collect(),
            by_number: numbers.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csv::{ReadOptions, read_dataset_bytes};
    use crate::data::table::Field;

    fn schema() -> Schema {
        let field = |name: &str, kind, levels: &[&str]| Field {
            name: name.to_owned(),
            kind,
            levels: levels.iter().map(|&l| l.to_owned()).collect(),
        };
        Schema {
            fields: vec![
                field("age", Kind::Numeric, &[]),
                field("smoker", Kind::Boolean, &["0", "1"]),
                field("color", Kind::Categorical, &["blue", "green", "red"]),
            ],
            missing: vec!["NA".to_owned()],
        }
    }

    fn read(text: &str) -> Result<Vec<Vec<f64>>, DataError> {
        let mut reader = RowReader::new(text.as_bytes(), "x.csv", &schema())?;
        let mut rows = Vec::new();
        let mut row = vec![0.0; 3];
        while reader.next_row(&mut row)? {
            rows.push(row.clone());
        }
        Ok(rows)
    }

    #[test]
    fn columns_in_another_order_among_others() {
        let text = "id,color,age,smoker\n a1 ,red, 30 ,1.0\nb2,pink,,0\n\n\"c,\"\"3\",NA,NA,2\n";
        let mut reader = RowReader::new(text.as_bytes(), "x.csv", &schema()).unwrap();
        assert_eq!(reader.header(), ["id", "color", "age", "smoker"]);
        assert_eq!(reader.raw_cell(0), "id", "the header is current at first");
        let mut row = [0.0; 3];
        assert!(reader.next_row(&mut row).unwrap());
        assert_eq!(row, [30.0, 1.0, 2.0]);
        assert_eq!(
            reader.record().collect::<Vec<_>>(),
            [" a1 ", "red", " 30 ", "1.0"]
        );
        assert!(reader.next_row(&mut row).unwrap());
        assert!(row[0].is_nan() && row[1] == 0.0 && row[2].is_nan());
        assert_eq!(reader.line(), 3);
        assert!(reader.next_row(&mut row).unwrap());
        assert!(row.iter().all(|v| v.is_nan()));
        assert_eq!((reader.line(), reader.raw_cell(0)), (5, "c,\"3"));
        assert!(!reader.next_row(&mut row).unwrap());
        assert_eq!(reader.unknown_levels(), [0, 1, 1]);
        assert_eq!(reader.rows(), 3);
    }

    #[test]
    fn errors_name_line_and_column() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            message("age\n1\n"),
            "`x.csv` lacks columns that the model needs: `smoker`, `color`; add them to the header and the rows"
        );
        assert_eq!(
            message("age,smoker,color\n1,0,red\n\r\nold,0,red\n"),
            "`x.csv` line 4, column `age`: `old` is not a number, and the model knows `age` as numbers; \
             correct the cell or leave it blank"
        );
        assert_eq!(
            message("color,smoker,age\n\"r\ned\",0,-inf\n"),
            "`x.csv` line 3, column `age`: `-inf` is not a finite number; correct it, leave the cell blank, \
             or write `missing: [\"-inf\"]` if it means a missing value"
        );
        assert_eq!(
            message("age,smoker,color\n1,0\n"),
            "`x.csv` line 2: 2 cells where the header has 3; put cells that hold `,` in quotes, or remove the line"
        );
        assert!(message("").starts_with("`x.csv` is empty"));
        assert_eq!(read("age,smoker,color\n").unwrap().len(), 0);
    }

    #[test]
    fn rows_have_the_bits_of_the_dataset() {
        let mut text = String::from("a,b,c,y\n");
        for i in 0..600 {
            let a = f64::from(i) * 0.1 - 7.3;
            let b = ["NA", "x", " y", "z "][i as usize % 4];
            text += &format!("{a},{b},{},{}\n", i % 2, i % 3);
        }
        let options = ReadOptions {
            target: Some("y".to_owned()),
            ..ReadOptions::default()
        };
        let data = read_dataset_bytes(text.as_bytes(), "x.csv", "x", &options).unwrap();
        let table = &data.table;
        let mut reader = RowReader::new(text.as_bytes(), "x.csv", &table.schema).unwrap();
        let mut row = vec![0.0; 3];
        for i in 0..table.rows {
            assert!(reader.next_row(&mut row).unwrap());
            for (value, column) in row.iter().zip(&table.columns) {
                assert_eq!(value.to_bits(), column[i].to_bits());
            }
        }
        assert_eq!(reader.unknown_levels(), [0, 0, 0]);
    }

    #[test]
    fn lines_are_right_beyond_what_is_kept() {
        let mut text = String::from("age,smoker,color\r\n");
        for _ in 0..60_000 {
            text += "1,0,\"a\nb\"\r\n";
        }
        text += "1,0,blue\r\nx,0,red";
        let error = read(&text).unwrap_err().to_string();
        assert!(
            error.starts_with("`x.csv` line 120003, column `age`"),
            "{error}"
        );
    }
}
