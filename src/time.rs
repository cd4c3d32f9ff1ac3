//! Points in time: seconds since 1970 in UTC. The core takes them as arguments and has no clock.

use core::fmt::{self, Write as _};
use core::num::NonZeroU64;
use core::time::Duration;

const SECONDS_PER_DAY: u64 = 86_400;

/// The last second of the year 9999, the last year of RFC 3339.
const MAX_SECONDS: u64 = 253_402_300_799;

/// A point in time: whole seconds since 1970-01-01T00:00:00Z without leap seconds.
///
/// `Display` writes the form of RFC 3339, `2026-11-21T15:44:52Z`. Arithmetic saturates at 1970 and at
/// the end of 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// The seconds plus one. NonZero, so that `None` needs no uninitialised payload bytes, in which a
    /// move could carry a piece of a key to the heap.
    after: NonZeroU64,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Timestamp = Timestamp { after: NonZeroU64::MIN };

    /// Returns the time `seconds` after 1970-01-01T00:00:00Z, at most the end of 9999.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        let seconds = if seconds > MAX_SECONDS { MAX_SECONDS } else { seconds };
        // Saturates: never, the last second is far below.
        Timestamp { after: NonZeroU64::MIN.saturating_add(seconds) }
    }

    /// Returns the time of the system clock, or 1970 if the clock is set before that (feature `std`).
    #[cfg(feature = "std")]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_unix_seconds(since.map_or(0, |since| since.as_secs()))
    }

    /// Returns the seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_seconds(self) -> u64 {
        // Saturates: never, it is not zero.
        self.after.get().saturating_sub(1)
    }

    /// Returns the time `duration` later, in whole seconds, at most the end of 9999.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        // Saturates: at the end of 9999.
        Timestamp::from_unix_seconds(self.unix_seconds().saturating_add(duration.as_secs()))
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later: clocks may go back.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        // Saturates: zero if it is later.
        Duration::from_secs(self.unix_seconds().saturating_sub(earlier.unix_seconds()))
    }

    /// Parses the form that [`Display`](fmt::Display) writes. Returns `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let field = |start: usize, end: usize| {
            let digits = bytes.get(start..end)?;
            digits.iter().try_fold(0_u64, |number, digit| {
                digit.is_ascii_digit().then_some(())?;
                number.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0')?))
            })
        };
        let days = days_from_civil(field(0, 4)?, field(5, 7)?, field(8, 10)?)?;
        let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
        let minutes = hour.checked_mul(60)?.checked_add(minute)?;
        let seconds = minutes.checked_mul(60)?.checked_add(second)?;
        let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_add(seconds)?;
        let time = Timestamp::from_unix_seconds(seconds);
        // Canonical form: `Display` must write the text that was read.
        let mut comparison = TextComparison { rest: text };
        fmt::write(&mut comparison, format_args!("{time}")).ok()?;
        comparison.rest.is_empty().then_some(time)
    }
}

/// A writer that fails on the first difference from `rest`.
struct TextComparison<'a> {
    rest: &'a str,
}

impl fmt::Write for TextComparison<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.rest = self.rest.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// 1970-01-01T00:00:00Z.
impl Default for Timestamp {
    fn default() -> Self {
        Timestamp::UNIX_EPOCH
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unix_seconds();
        let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        two_digits(f, year / 100)?;
        two_digits(f, year % 100)?;
        for (before, number) in
            [('-', month), ('-', day), ('T', hour), (':', minute), (':', second)]
        {
            f.write_char(before)?;
            two_digits(f, number)?;
        }
        f.write_char('Z')
    }
}

/// Writes a number below 100. A key file has several dates for each version, and formatting with a
/// width takes several times as long.
fn two_digits(f: &mut fmt::Formatter<'_>, number: u64) -> fmt::Result {
    for digit in [number / 10, number % 10] {
        let digit = u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 10));
        f.write_char(digit.ok_or(fmt::Error)?)?;
    }
    Ok(())
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_months(year: u64) -> [u64; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Returns the days from 1970-01-01 to the start of `year` in the Gregorian calendar.
fn days_before_year(year: u64) -> Option<u64> {
    let full = year.checked_sub(1)?;
    let leap = (full / 4).checked_sub(full / 100)?.checked_add(full / 400)?;
    // 719,162 days from 0001-01-01 to 1970-01-01.
    full.checked_mul(365)?.checked_add(leap)?.checked_sub(719_162)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let before = usize::try_from(month.checked_sub(1)?).ok()?;
    let months = days_of_months(year);
    let before = months.get(..before)?.iter().sum::<u64>();
    days_before_year(year)?.checked_add(before)?.checked_add(day.checked_sub(1)?)
}

#[expect(clippy::arithmetic_side_effects, reason = "days until the year 9999 at most")]
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // The first estimate is never late, since a year has at most 366 days; at most 16 years early.
    let mut year = days / 366 + 1970;
    #[expect(clippy::expect_used, reason = "it fails for years before 1970 alone")]
    let mut rest = days - days_before_year(year).expect("a year from 1970 on");
    while rest >= days_of_year(year) {
        rest -= days_of_year(year);
        year += 1;
    }
    let mut month = 1_u64;
    for len in days_of_months(year) {
        if rest < len {
            break;
        }
        rest -= len;
        month += 1;
    }
    (year, month, rest + 1)
}
