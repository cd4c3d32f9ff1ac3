//! Fields of format version 2 that this library checks and keeps, and does not heed yet.

use super::fault::RecordFault;
use super::json::{Extra, Fields};
use super::record::Version;

/// Longest reason of a hold, in bytes.
const MAX_REASON_LEN: usize = 256;

/// What is left of a record once its fields were taken, after `check` of what is reserved.
// FORMAT F-RESERVED
pub(super) fn into_extra(
    fields: Fields<'_>,
    version: Version,
    check: fn(&Fields<'_>) -> Result<(), RecordFault>,
) -> Result<Extra, RecordFault> {
    if version == Version::Two {
        check(&fields)?;
    }
    Ok(fields.into_extra())
}

pub(super) fn check_header(fields: &Fields<'_>) -> Result<(), RecordFault> {
    let Some(text) = fields.peek("audit") else { return Ok(()) };
    let anchor = || {
        let mut anchor = Fields::parse(text).ok()?;
        let size = anchor.number("size").ok()?;
        anchor.hex::<32>("root").ok()?;
        Some(size)
    };
    anchor().map(drop).ok_or(RecordFault::Value { field: "audit" })
}

pub(super) fn check_key(fields: &Fields<'_>) -> Result<(), RecordFault> {
    if fields.peek("evidence").is_some_and(|value| value != "true") {
        return Err(RecordFault::Value { field: "evidence" });
    }
    check_hold(fields)
}

pub(super) fn check_version(fields: &Fields<'_>) -> Result<(), RecordFault> {
    check_hold(fields)
}

fn check_hold(fields: &Fields<'_>) -> Result<(), RecordFault> {
    let Some(text) = fields.peek("hold") else { return Ok(()) };
    let hold = || {
        let mut hold = Fields::parse(text).ok()?;
        hold.time("since").ok()?;
        hold.string("reason").ok()
    };
    let bounded = |reason: &alloc::string::String| {
        reason.len() <= MAX_REASON_LEN && !reason.chars().any(char::is_control)
    };
    hold().filter(bounded).map(drop).ok_or(RecordFault::Value { field: "hold" })
}
