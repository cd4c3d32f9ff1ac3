//! Times are shown in the one form of RFC 3339 that is read back, from 1970 to 9999.

use envelock::Timestamp;
use std::time::Duration;

const SECONDS_PER_DAY: u64 = 86_400;
const MAX_SECONDS: u64 = 253_402_300_799;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

/// The results of Python's `datetime`.
const KNOWN: [(u64, &str); 26] = [
    (0, "1970-01-01T00:00:00Z"),
    (1, "1970-01-01T00:00:01Z"),
    (31_535_999, "1970-12-31T23:59:59Z"),
    (68_169_599, "1972-02-28T23:59:59Z"),
    (68_169_600, "1972-02-29T00:00:00Z"),
    (68_256_000, "1972-03-01T00:00:00Z"),
    (94_694_399, "1972-12-31T23:59:59Z"),
    (946_684_799, "1999-12-31T23:59:59Z"),
    (946_684_800, "2000-01-01T00:00:00Z"),
    (951_827_696, "2000-02-29T12:34:56Z"),
    (951_868_800, "2000-03-01T00:00:00Z"),
    (1_000_000_000, "2001-09-09T01:46:40Z"),
    (1_709_251_199, "2024-02-29T23:59:59Z"),
    (1_795_275_892, "2026-11-21T15:44:52Z"),
    (2_147_483_648, "2038-01-19T03:14:08Z"),
    (3_981_312_000, "2096-02-29T00:00:00Z"),
    (4_107_542_399, "2100-02-28T23:59:59Z"),
    (4_107_542_400, "2100-03-01T00:00:00Z"),
    (4_294_967_296, "2106-02-07T06:28:16Z"),
    (13_574_563_200, "2400-02-29T00:00:00Z"),
    (13_601_087_999, "2400-12-31T23:59:59Z"),
    (64_065_708_428, "4000-02-29T06:07:08Z"),
    (253_281_168_000, "9996-02-29T00:00:00Z"),
    (253_370_764_800, "9999-01-01T00:00:00Z"),
    (253_402_214_400, "9999-12-31T00:00:00Z"),
    (253_402_300_799, "9999-12-31T23:59:59Z"),
];

#[test]
fn known_times_are_shown_and_read() {
    for (seconds, text) in KNOWN {
        let time = at(seconds);
        assert_eq!(time.to_string(), text);
        assert_eq!(Timestamp::parse(text), Some(time), "{text}");
        assert_eq!(time.unix_seconds(), seconds);
    }
}

#[test]
fn every_day_from_1970_to_9999_is_read_as_it_is_shown() {
    let mut last = (1969, 12, 31);
    for day in 0..=MAX_SECONDS / SECONDS_PER_DAY {
        let time = at(day * SECONDS_PER_DAY + day % SECONDS_PER_DAY);
        let shown = time.to_string();
        assert_eq!(Timestamp::parse(&shown), Some(time), "{time}");
        let field = |start, end| shown[start..end].parse::<u32>().unwrap();
        let date = (field(0, 4), field(5, 7), field(8, 10));
        let (year, month, before) = last;
        let next = [(year, month, before + 1), (year, month + 1, 1), (year + 1, 1, 1)];
        assert!(date > last && next.contains(&date), "{last:?} {date:?}");
        last = date;
    }
    assert_eq!(last, (9999, 12, 31));
}

#[test]
fn every_second_of_a_day_is_read_as_it_is_shown() {
    for second in 0..SECONDS_PER_DAY {
        let time = at(1_709_164_800 + second);
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time), "{time}");
    }
}

#[test]
fn no_other_form_is_read() {
    for text in [
        "",
        "2026",
        "2026-11-21",
        "2026-11-21T15:44:52",
        "2026-11-21T15:44:52z",
        "2026-11-21t15:44:52Z",
        "2026-11-21 15:44:52Z",
        "2026-11-21T15:44:52+00:00",
        "2026-11-21T15:44:52.0Z",
        "2026-11-21T15:44:52Z ",
        " 2026-11-21T15:44:52Z",
        "2026-11-21T15:44:52Z\0",
        "2026/11/21T15:44:52Z",
        "2026-11-21T15-44-52Z",
        "+026-11-21T15:44:52Z",
        "2026-+1-21T15:44:52Z",
        "-026-11-21T15:44:52Z",
        "2026-1-21T15:44:52Z",
        "2026-011-21T15:44:52Z",
        "２０２６-11-21T15:44:52Z",
        "2026-11-2éT15:44:52Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "9999-12-31T24:00:00Z",
        "9999-13-01T00:00:00Z",
        "2026-00-21T15:44:52Z",
        "2026-13-21T15:44:52Z",
        "2026-14-21T15:44:52Z",
        "2026-99-21T15:44:52Z",
        "2026-11-00T15:44:52Z",
        "2026-11-31T15:44:52Z",
        "2026-12-32T15:44:52Z",
        "2026-02-29T15:44:52Z",
        "2100-02-29T15:44:52Z",
        "2000-02-30T15:44:52Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T15:60:00Z",
        "2026-11-21T15:44:60Z",
        "2016-12-31T23:59:60Z",
        "2026-11-21T99:99:99Z",
    ] {
        assert_eq!(Timestamp::parse(text), None, "{text:?}");
    }
}

/// One changed byte is another time or none, and is never read as this one.
#[test]
fn changed_byte_is_another_time_or_none() {
    let text = "2026-11-21T15:44:52Z";
    let time = Timestamp::parse(text).unwrap();
    for at in 0..text.len() {
        for byte in (0..=0x7F_u8).filter(|byte| *byte != text.as_bytes()[at]) {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = byte;
            let changed = std::str::from_utf8(&changed).unwrap();
            if let Some(other) = Timestamp::parse(changed) {
                assert!(other != time && other.to_string() == changed, "{changed:?}");
            }
        }
    }
}

#[test]
fn arithmetic_saturates_at_both_ends() {
    let last = at(MAX_SECONDS);
    for beyond in [MAX_SECONDS + 1, u64::MAX] {
        assert_eq!(at(beyond), last);
    }
    let second = Duration::from_secs(1);
    assert_eq!(at(MAX_SECONDS - 1).plus(second), last);
    assert_eq!(last.plus(second), last);
    assert_eq!(Timestamp::UNIX_EPOCH.plus(Duration::MAX), last);
    assert_eq!(at(5).plus(Duration::from_millis(1_999)), at(6));
    assert_eq!(at(7).since(at(5)), Duration::from_secs(2));
    assert_eq!(at(5).since(at(7)), Duration::ZERO);
    assert_eq!(last.since(Timestamp::UNIX_EPOCH), Duration::from_secs(MAX_SECONDS));
}
