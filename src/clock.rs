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

    /// `YYYY-MM-DDTHH:MM:SS.ffffffZ`, ISO 8601 in UTC.
    pub fn to_iso(self) -> String {
        self.to_sql().replacen(' ', "T", 1) + "Z"
    }

    /// `YYYY-MM-DDTHH:MM:SS.ffffff+00:00`, the form that Optuna's journal uses.
    pub fn to_iso_offset(self) -> String {
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

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// The one that the machine is set to, also by the variable `TZ`; UTC when it is set to none.
    pub fn of_machine() -> Self {
        Zone(jiff::tz::TimeZone::system())
    }

    /// The one of an IANA name, as in `Europe/Berlin` or `UTC`. `None` when there is none of this name.
    pub fn named(name: &str) -> Option<Self> {
        jiff::tz::TimeZone::get(name).ok().map(Zone)
    }

    /// The IANA name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.0.iana_name()
    }

    /// When clocks of this zone show what clocks of UTC show at `shown`. Of two such moments, as when summer ends, the
    /// earlier one, as in Python; when they skip it, the moment as much later.
    pub fn moment(&self, shown: Timestamp) -> Timestamp {
        let utc = jiff::Timestamp::from_microsecond(shown.0).ok();
        let civil = utc.map(|utc| utc.to_zoned(jiff::tz::TimeZone::UTC).datetime());
        let zoned = civil.and_then(|civil| civil.to_zoned(self.0.clone()).ok());
        // At the ends of what a calendar can say, ten thousand years away, there are no zones.
        zoned.map_or(shown, |zoned| Timestamp(zoned.timestamp().as_microsecond()))
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
        assert_eq!(t.to_iso(), "2026-11-20T21:10:12.345678Z");
    }

    #[test]
    fn local_time_becomes_the_moment_that_python_means() {
        let zone = Zone::named("Europe/Berlin").unwrap();
        let moment = |shown: &str| zone.moment(Timestamp::from_sql(shown).unwrap()).to_sql();
        assert_eq!(
            moment("2025-01-15 12:00:00.5"),
            "2025-01-15 11:00:00.500000"
        );
        assert_eq!(moment("2025-07-15 12:00:00"), "2025-07-15 10:00:00.000000");
        // Shown twice, and never.
        assert_eq!(moment("2025-10-26 02:30:00"), "2025-10-26 00:30:00.000000");
        assert_eq!(moment("2025-03-30 02:30:00"), "2025-03-30 01:30:00.000000");
        assert_eq!(zone.name(), Some("Europe/Berlin"));
        assert!(Zone::named("Europe/Nowhere").is_none());
        let end = Timestamp(i64::MAX);
        assert_eq!(zone.moment(end), end);
    }

    #[test]
    fn iso_form_round_trips() {
        let t = Timestamp(1_795_209_012_345_678);
        assert_eq!(Timestamp::from_iso(&t.to_iso_offset()), Some(t));
        let east = "1970-01-01T09:00:01.500000+09:00";
        assert_eq!(Timestamp::from_iso(east), Some(Timestamp(1_500_000)));
        let local = Timestamp::from_iso("2024-05-01T12:00:00.000001").unwrap();
        assert_eq!(local.0 % 1_000_000, 1);
        assert_eq!(Timestamp::from_iso("yesterday"), None);
    }
}
