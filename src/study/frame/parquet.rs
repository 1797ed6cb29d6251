//! The table as Parquet: one optional column each of BOOLEAN, INT64, DOUBLE, UTF-8 text, or INT64 as microseconds in UTC,
//! compressed with Snappy, in row groups of at most [`ROWS`] rows.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::super::record::TrialRecord;
use super::{Cell, Column, Frame, Kind};

/// Rows per group.
const ROWS: usize = 65_536;

impl Frame<'_> {
    /// Writes the table as Parquet.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_parquet(&self, out: &mut dyn Write) -> io::Result<()> {
        // The writer of the crate wants to own something that may change threads, so the bytes are gathered here:
        // they are less than the trials, which are in memory too.
        let bytes = self.parquet().map_err(|error| match error {
            ParquetError::External(error) => io::Error::other(error),
            other => io::Error::other(other.to_string()),
        })?;
        out.write_all(&bytes)
    }

    fn parquet(&self) -> Result<Vec<u8>> {
        let fields = self
            .columns()
            .iter()
            .map(|column| field(column).map(Arc::new));
        let schema = Type::group_type_builder("trials")
            .with_fields(fields.collect::<Result<_>>()?)
            .build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("automl version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let mut file =
            SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        for rows in self.trials().chunks(ROWS) {
            let mut group = file.next_row_group()?;
            for column in self.columns() {
                let Some(mut out) = group.next_column()? else {
                    break;
                };
                write(column, rows, &mut out)?;
                out.close()?;
            }
            group.close()?;
        }
        file.into_inner()
    }
}

fn field(column: &Column) -> Result<Type> {
    let (physical, logical) = match column.kind() {
        Kind::Bool => (Physical::BOOLEAN, None),
        Kind::Int => (Physical::INT64, None),
        Kind::Float => (Physical::DOUBLE, None),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
        ),
    };
    Type::primitive_type_builder(column.name(), physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

/// Writes the cells of `rows`: the values that there are, and for each row whether there is one.
fn write(
    column: &Column,
    rows: &[TrialRecord],
    out: &mut SerializedColumnWriter<'_>,
) -> Result<()> {
    let cells: Vec<Cell<'_>> = rows.iter().map(|trial| column.cell(trial)).collect();
    let there = |cell: &Cell<'_>| i16::from(*cell != Cell::Null);
    let levels: Vec<i16> = cells.iter().map(there).collect();
    match column.kind() {
        Kind::Bool => {
            let values: Vec<bool> = cells.iter().filter_map(truth).collect();
            out.typed::<BoolType>()
                .write_batch(&values, Some(&levels), None)?;
        }
        Kind::Int | Kind::Time => {
            let values: Vec<i64> = cells.iter().filter_map(whole).collect();
            out.typed::<Int64Type>()
                .write_batch(&values, Some(&levels), None)?;
        }
        Kind::Float => {
            let values: Vec<f64> = cells.iter().filter_map(number).collect();
            out.typed::<DoubleType>()
                .write_batch(&values, Some(&levels), None)?;
        }
        Kind::Text => {
            let values: Vec<ByteArray> = cells.iter().filter_map(text).collect();
            out.typed::<ByteArrayType>()
                .write_batch(&values, Some(&levels), None)?;
        }
    }
    Ok(())
}

fn truth(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Bool(v) => Some(*v),
        _ => None,
    }
}

fn whole(cell: &Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Int(v) => Some(*v),
        Cell::Time(v) => Some(v.0),
        _ => None,
    }
}

fn number(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Float(v) => Some(*v),
        _ => None,
    }
}

fn text(cell: &Cell<'_>) -> Option<ByteArray> {
    match cell {
        Cell::Text(v) => Some(ByteArray::from(v.as_ref())),
        _ => None,
    }
}
