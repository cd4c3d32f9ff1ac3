//! Fields of format version 2 that are objects of their own: holds, and what an audit log was.

use super::fault::RecordFault;
use super::json::{Fields, Object};
use super::record::Version;
use crate::keyset::Hold;

/// Takes a hold of a record, or what else has a date and a reason; format version 1 has none.
// FORMAT F-HOLD
pub(super) fn note(
    fields: &mut Fields<'_>,
    field: &'static str,
    version: Version,
) -> Result<Option<Hold>, RecordFault> {
    let text = if version == Version::Two { fields.optional(field) } else { None };
    let Some(text) = text else { return Ok(None) };
    let hold = || {
        let mut hold = Fields::parse(text).ok()?;
        let since = hold.time("since").ok()?;
        Hold::new(since, &hold.string("reason").ok()?).ok()
    };
    hold().map(Some).ok_or(RecordFault::Value { field })
}

pub(super) fn write_note(object: Object, field: &str, hold: Option<&Hold>) -> Object {
    let Some(hold) = hold else { return object };
    let text = Object::new().time("since", hold.since()).string("reason", hold.reason()).end();
    object.raw(field, &text)
}

/// Checks what the header says of an audit log, which is kept.
// FORMAT F-RESERVED
pub(super) fn check_audit(fields: &Fields<'_>) -> Result<(), RecordFault> {
    let Some(text) = fields.peek("audit") else { return Ok(()) };
    let anchor = || {
        let mut anchor = Fields::parse(text).ok()?;
        let size = anchor.number("size").ok()?;
        anchor.hex::<32>("root").ok()?;
        Some(size)
    };
    anchor().map(drop).ok_or(RecordFault::Value { field: "audit" })
}
