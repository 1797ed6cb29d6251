//! Time as a trait, so that nothing but the clock's owner decides what time it is.
//!
//! Time is recorded and limits how long a study runs; no other result depends on it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Seconds from `earlier` to `self`; negative when the clock went backwards.
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }

    /// `YYYY-MM-DD HH:MM:SS.ffffff` in UTC, the form that Optuna's relational schema uses.
    pub fn to_sql(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => t.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            // Outside of years −9999..9999: no such time was ever read from a clock.
            Err(_) => "1970-01-01 00:00:00.000000".to_owned(),
        }
    }

    /// `YYYY-MM-DDTHH:MM:SS.ffffff+00:00`, the form that Optuna's journal uses.
    pub fn to_iso(self) -> String {
        format!("{}+00:00", self.to_sql().replacen(' ', "T", 1))
    }

    /// Reads a time in ISO 8601 with or without an offset; without one it is in the time zone of this machine, as
    /// Optuna 4 wrote it. `None` for other text.
    pub fn from_iso(text: &str) -> Option<Self> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp(time.as_microsecond()));
        }
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        let local = civil.to_zoned(jiff::tz::TimeZone::system()).ok()?;
        Some(Timestamp(local.timestamp().as_microsecond()))
    }

    /// Reads what [`Timestamp::to_sql`] writes; the fraction may be absent. `None` for other text.
    pub fn from_sql(text: &str) -> Option<Self> {
        let civil: jiff::civil::DateTime = text.replacen(' ', "T", 1).parse().ok()?;
        let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Timestamp(utc.timestamp().as_microsecond()))
    }
}

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(since.map_or(0, |d| d.as_micros() as i64))
    }
}

/// A clock for tests that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Moves the clock by `seconds`, which may be negative.
    pub fn advance(&self, seconds: f64) {
        self.0.fetch_add((seconds * 1e6) as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_form_round_trips() {
        let t = Timestamp(1_795_209_012_345_678);
        assert_eq!(Timestamp::from_sql(&t.to_sql()), Some(t));
        assert_eq!(
            Timestamp::from_sql("1970-01-01 00:00:01"),
            Some(Timestamp(1_000_000))
        );
        assert_eq!(Timestamp::from_sql("yesterday"), None);
    }

    #[test]
    fn iso_form_round_trips() {
        let t = Timestamp(1_795_209_012_345_678);
        assert_eq!(Timestamp::from_iso(&t.to_iso()), Some(t));
        let east = "1970-01-01T09:00:01.500000+09:00";
        assert_eq!(Timestamp::from_iso(east), Some(Timestamp(1_500_000)));
        let local = Timestamp::from_iso("2024-05-01T12:00:00.000001").unwrap();
        assert_eq!(local.0 % 1_000_000, 1);
        assert_eq!(Timestamp::from_iso("yesterday"), None);
    }
}
