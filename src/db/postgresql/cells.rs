//! Arguments into whatever type a column has, and rows from whatever type it has.

use std::error::Error;

use ::postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use bytes::BytesMut;

use crate::clock::Timestamp;

use super::super::Arg;
use super::super::row::{Cell, Cells};

type Failure = Box<dyn Error + Sync + Send>;

/// From 1970, where ours begin, to 2000, where PostgreSQL's times begin, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

impl ToSql for Arg<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        let misfit = |what: String| -> Failure {
            format!("{what} does not fit into a column of type {ty}").into()
        };
        if let Kind::Domain(inner) = ty.kind() {
            return self.to_sql(inner, out);
        }
        match *self {
            Arg::Null => Ok(IsNull::Yes),
            Arg::Int(v) => match *ty {
                Type::INT2 => i16::try_from(v)
                    .map_err(|_| misfit(v.to_string()))?
                    .to_sql(ty, out),
                Type::INT4 => i32::try_from(v)
                    .map_err(|_| misfit(v.to_string()))?
                    .to_sql(ty, out),
                Type::INT8 => v.to_sql(ty, out),
                Type::FLOAT4 => (v as f32).to_sql(ty, out),
                Type::FLOAT8 => (v as f64).to_sql(ty, out),
                Type::BOOL if matches!(v, 0 | 1) => (v == 1).to_sql(ty, out),
                _ => Err(misfit(format!("the whole number {v}"))),
            },
            // As in SQLite.
            Arg::Real(v) if v.is_nan() => Ok(IsNull::Yes),
            Arg::Real(v) => match *ty {
                Type::FLOAT4 => (v as f32).to_sql(ty, out),
                Type::FLOAT8 => v.to_sql(ty, out),
                _ => Err(misfit(format!("the number {v}"))),
            },
            Arg::Text(v) => match *ty {
                Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                    let micros = Timestamp::from_sql(v)
                        .and_then(|t| t.0.checked_sub(EPOCH))
                        .ok_or_else(|| misfit(format!("`{v}`")))?;
                    out.extend_from_slice(&micros.to_be_bytes());
                    Ok(IsNull::No)
                }
                Type::JSONB => {
                    // The version of the format, then the text.
                    out.extend_from_slice(&[1]);
                    out.extend_from_slice(v.as_bytes());
                    Ok(IsNull::No)
                }
                Type::TEXT
                | Type::VARCHAR
                | Type::BPCHAR
                | Type::NAME
                | Type::UNKNOWN
                | Type::JSON => {
                    out.extend_from_slice(v.as_bytes());
                    Ok(IsNull::No)
                }
                _ if matches!(ty.kind(), Kind::Enum(_)) => {
                    out.extend_from_slice(v.as_bytes());
                    Ok(IsNull::No)
                }
                _ => Err(misfit("text".to_owned())),
            },
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A cell as it came; what has to be made into text first is kept beside it.
#[derive(Debug)]
enum Kept<'a> {
    Plain(Cell<'a>),
    Time(String),
    Foreign(String),
}

impl<'a> FromSql<'a> for Kept<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        let text = |raw: &'a [u8]| -> Result<Self, Failure> {
            Ok(Kept::Plain(Cell::Text(std::str::from_utf8(raw)?)))
        };
        Ok(match *ty {
            Type::BOOL => Kept::Plain(Cell::Int(bool::from_sql(ty, raw)?.into())),
            Type::INT2 => Kept::Plain(Cell::Int(i16::from_sql(ty, raw)?.into())),
            Type::INT4 => Kept::Plain(Cell::Int(i32::from_sql(ty, raw)?.into())),
            Type::INT8 => Kept::Plain(Cell::Int(i64::from_sql(ty, raw)?)),
            Type::FLOAT4 => Kept::Plain(Cell::Real(f32::from_sql(ty, raw)?.into())),
            Type::FLOAT8 => Kept::Plain(Cell::Real(f64::from_sql(ty, raw)?)),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
                text(raw)?
            }
            Type::JSONB => text(raw.get(1..).unwrap_or_default())?,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                let micros = i64::from_be_bytes(raw.try_into()?);
                match micros.checked_add(EPOCH) {
                    Some(micros) if micros != i64::MIN + EPOCH => {
                        Kept::Time(Timestamp(micros).to_sql())
                    }
                    _ => Kept::Foreign("an infinite time".to_owned()),
                }
            }
            _ => match ty.kind() {
                Kind::Enum(_) => text(raw)?,
                Kind::Domain(inner) => Kept::from_sql(inner, raw)?,
                _ => Kept::Foreign(ty.to_string()),
            },
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failure> {
        Ok(Kept::Plain(Cell::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// One row, decoded.
pub(super) struct Decoded<'a> {
    row: &'a ::postgres::Row,
    cells: Vec<Kept<'a>>,
}

impl<'a> Decoded<'a> {
    pub fn new(row: &'a ::postgres::Row) -> Result<Self, ::postgres::Error> {
        let cells = (0..row.len())
            .map(|column| row.try_get(column))
            .collect::<Result<_, _>>()?;
        Ok(Decoded { row, cells })
    }
}

impl Cells for Decoded<'_> {
    fn cell(&self, column: usize) -> Option<Cell<'_>> {
        Some(match self.cells.get(column)? {
            Kept::Plain(cell) => *cell,
            Kept::Time(text) => Cell::Text(text),
            Kept::Foreign(name) => Cell::Other(name),
        })
    }

    fn name(&self, column: usize) -> Option<&str> {
        self.row.columns().get(column).map(|c| c.name())
    }
}
