//! The table as CSV: a header, an empty cell for nothing, `inf`, `-inf` and `NaN`, ISO 8601 in UTC.

use std::borrow::Cow;
use std::io::{self, Write};

use super::{Cell, Frame, real};

impl Frame<'_> {
    /// Writes the table as CSV.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(self.columns().iter().map(|column| column.name()))?;
        for trial in self.trials() {
            for column in self.columns() {
                let cell: Cow<'_, str> = match column.cell(trial) {
                    Cell::Null => "".into(),
                    Cell::Bool(v) => v.to_string().into(),
                    Cell::Int(v) => v.to_string().into(),
                    Cell::Float(v) => real(v).into(),
                    Cell::Text(v) => v,
                    Cell::Time(v) => v.to_iso().into(),
                };
                out.write_field(cell.as_bytes())?;
            }
            out.write_record(None::<&[u8]>)?;
        }
        out.flush()
    }
}
