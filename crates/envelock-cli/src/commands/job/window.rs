//! Windows in local time: `22:00-05:00 Europe/Berlin`.

use envelock_ops::drivers::Window;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Returns the present or next window of a text, `HH:MM-HH:MM ZONE`, or why the text is none.
///
/// # Errors
///
/// The text is wrong, or the time zone is not known.
pub fn resolve(text: &str, now: Duration) -> Result<Window, String> {
    let form = || {
        format!("{text:?} is no window: write HH:MM-HH:MM ZONE, such as 22:00-05:00 Europe/Berlin")
    };
    let (times, zone) = text.trim().split_once(' ').ok_or_else(form)?;
    let (from, to) = times.split_once('-').ok_or_else(form)?;
    let (from, to) = (time(from).ok_or_else(form)?, time(to).ok_or_else(form)?);
    if from == to {
        return Err(format!("the window {times} is empty"));
    }
    let zone = TimeZone::get(zone.trim()).map_err(|error| error.to_string())?;
    let seconds = i64::try_from(now.as_secs()).map_err(|error| error.to_string())?;
    let now = Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
    let today = now.to_zoned_datetime(zone.clone()).date();
    // The window that began yesterday can still be open.
    for days in -1..=2 {
        let opens = instant(today, days, from, &zone)?;
        let closes = instant(today, if to < from { days + 1 } else { days }, to, &zone)?;
        // Where the clock is put forward, a short window can vanish.
        if closes > now && closes > opens {
            let seconds = |at: Timestamp| u64::try_from(at.as_second()).unwrap_or(0);
            return Ok(Window { opens_at: seconds(opens), closes_at: seconds(closes) });
        }
    }
    Err(format!("the window {times} never opens"))
}

fn instant(today: Date, days: i64, at: Time, zone: &TimeZone) -> Result<Timestamp, String> {
    let day = today.checked_add(SignedDuration::from_hours(24 * days));
    let zoned = day.and_then(|day| day.to_datetime(at).to_zoned_datetime(zone.clone()));
    zoned.map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str| digits.parse::<i8>().ok().filter(|_| digits.len() == 2);
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test")]
mod tests {
    use super::*;

    fn at(text: &str) -> Duration {
        let seconds = text.parse::<Timestamp>().expect("a time").as_second();
        Duration::from_secs(seconds.try_into().expect("after 1970"))
    }

    fn window(text: &str, now: &str) -> (String, String) {
        let window = resolve(text, at(now)).expect("a window");
        let text = |seconds: u64| {
            Timestamp::from_second(seconds.try_into().expect("a time")).expect("a time").to_string()
        };
        (text(window.opens_at), text(window.closes_at))
    }

    #[test]
    fn window_over_midnight_is_open_or_comes_next() {
        // Berlin is one hour ahead of UTC in winter.
        let berlin = "22:00-05:00 Europe/Berlin";
        let tonight = ("2026-11-30T21:00:00Z".into(), "2026-12-01T04:00:00Z".into());
        assert_eq!(window(berlin, "2026-11-30T12:00:00Z"), tonight);
        assert_eq!(window(berlin, "2026-11-30T21:00:00Z"), tonight);
        assert_eq!(window(berlin, "2026-12-01T03:59:59Z"), tonight);
        let next = window(berlin, "2026-12-01T04:00:00Z");
        assert_eq!(next, ("2026-12-01T21:00:00Z".into(), "2026-12-02T04:00:00Z".into()));
        let day = window("09:30-17:00 UTC", "2026-12-01T17:00:00Z");
        assert_eq!(day, ("2026-12-02T09:30:00Z".into(), "2026-12-02T17:00:00Z".into()));
    }

    #[test]
    fn window_follows_summer_time() {
        // Clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.
        let spring = window("01:00-04:00 Europe/Berlin", "2026-03-28T12:00:00Z");
        assert_eq!(spring, ("2026-03-29T00:00:00Z".into(), "2026-03-29T02:00:00Z".into()));
        let autumn = window("01:00-04:00 Europe/Berlin", "2026-10-24T12:00:00Z");
        assert_eq!(autumn, ("2026-10-24T23:00:00Z".into(), "2026-10-25T03:00:00Z".into()));
    }

    #[test]
    fn wrong_window_says_what_is_wrong() {
        let error = |text| resolve(text, Duration::ZERO).expect_err("wrong");
        for text in
            ["", "22:00-05:00", "22-05 UTC", "24:00-05:00 UTC", "22:00 UTC", "2:00-05:00 UTC"]
        {
            assert!(error(text).contains("is no window: write HH:MM-HH:MM ZONE"), "{text}");
        }
        assert!(error("22:00-22:00 UTC").contains("is empty"));
        assert!(error("22:00-05:00 Europe/Atlantis").contains("Europe/Atlantis"));
    }
}
