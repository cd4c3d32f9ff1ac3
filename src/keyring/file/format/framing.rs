//! Lines of a key file: a fixed frame around the bytes of a record and their MAC.

use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::json::{Fields, from_hex, to_hex};
use crate::crypto::mac::MAC_LEN;
use crate::format::{KeyName, KeyVersion};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// Most bytes of a key file (FORMAT F-BOUNDS).
pub(in crate::keyring::file) const MAX_FILE_LEN: usize = 64 << 20;

/// Most lines that a recovery reads. No intact file has as many.
pub(super) const MAX_LINES: usize = 1_000_000;

/// Most bytes of a line, without its line end.
pub(super) const MAX_LINE_LEN: usize = 64 << 10;

pub(super) const PREFIX: &[u8] = b"{\"record\":";
const MAC_PREFIX: &[u8] = b",\"mac\":\"";
const SUFFIX: &[u8] = b"\"}";

/// The parts of a line, unverified.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) record: &'a str,
    pub(super) mac: [u8; MAC_LEN],
}

impl<'a> Line<'a> {
    /// Strips the frame (FORMAT F-LINE).
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, RecordFault> {
        if line.len() > MAX_LINE_LEN {
            return Err(RecordFault::LineTooLong);
        }
        let parts = || {
            let rest = line.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let (rest, mac) = rest.split_last_chunk::<{ 2 * MAC_LEN }>()?;
            let record = core::str::from_utf8(rest.strip_suffix(MAC_PREFIX)?).ok()?;
            let is_object = record.starts_with('{') && record.ends_with('}');
            is_object.then_some(())?;
            Some(Line { record, mac: from_hex(mac)? })
        };
        parts().ok_or(RecordFault::Frame)
    }

    /// Appends a line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for part in [PREFIX, self.record.as_bytes(), MAC_PREFIX, to_hex(&self.mac).as_bytes()] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(SUFFIX);
        out.push(b'\n');
    }
}

/// The lines of a file with their numbers from 1. Bytes behind the last line end are the last line.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    whole.split(|byte| *byte == b'\n').zip(1..).map(|(line, number)| (number, line))
}

pub(super) fn first(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes)
}

pub(super) fn last(bytes: &[u8]) -> &[u8] {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    whole.rsplit(|byte| *byte == b'\n').next().unwrap_or(whole)
}

/// The fault of a line.
pub(super) fn fault(line: usize, bytes: &[u8], what: RecordFault) -> KeyFileFault {
    let record = if line == 1 { RecordName::Header } else { name(bytes) };
    KeyFileFault::Record { line, record, what }
}

/// The record that a line names itself, verified or not.
pub(super) fn name(line: &[u8]) -> RecordName {
    let whole = Line::parse(line).ok().and_then(|line| name_of(line.record));
    whole.or_else(|| name_in_pieces(line)).unwrap_or(RecordName::Unknown)
}

/// The name of a record.
pub(super) fn name_of(record: &str) -> Option<RecordName> {
    let mut fields = Fields::parse(record).ok()?;
    record_name(|field| match field {
        "version" => fields.take(field).map(ToOwned::to_owned),
        _ => fields.string(field).ok(),
    })
}

/// The record that a broken line names itself, in the form that this library writes.
fn name_in_pieces(line: &[u8]) -> Option<RecordName> {
    record_name(|field| {
        let (quote, end) = if field == "version" { ("", b',') } else { ("\"", b'"') };
        let start = ["\"", field, "\":", quote].concat();
        let at = line.windows(start.len()).position(|window| window == start.as_bytes())?;
        let rest = line.get(at + start.len()..)?;
        let end = rest.iter().position(|byte| *byte == end)?;
        Some(core::str::from_utf8(rest.get(..end)?).ok()?.to_owned())
    })
}

/// The name of a record by its fields.
fn record_name(mut field: impl FnMut(&'static str) -> Option<String>) -> Option<RecordName> {
    let mut valid = |name| field(name).filter(|text| KeyName::new(text).is_ok());
    Some(match valid("kind")?.as_str() {
        "header" => RecordName::Header,
        "key" => RecordName::Key { name: valid("name")? },
        "version" => {
            let (key, number) = (valid("key")?, valid("version")?.parse().ok()?);
            RecordName::Version { key, version: KeyVersion::new(number)? }
        }
        "alias" => RecordName::Alias { name: valid("name")? },
        "end" => RecordName::End,
        _ => RecordName::Unknown,
    })
}
