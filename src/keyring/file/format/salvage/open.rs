//! What a damaged key file still lets be told apart: lines, and a header that opens.

use super::super::decode;
use super::super::fault::KeyFileFault;
use super::super::file_key::FileKey;
use super::super::framing::{self, Line, PREFIX};
use super::super::looks_like;
use super::super::record::Header;
use crate::keyring::file::Protection;
use alloc::vec::Vec;

/// Opens the file key by the header or by its copy in the end record: ids and protections of
/// both, since each may be damaged in one of them. Of two file keys that open, the one of more
/// lines: a header from before the file key was replaced opens, too.
pub(super) fn open_any(
    bytes: &[u8],
    protection: &Protection,
) -> Result<(Header, FileKey), KeyFileFault> {
    let record = |piece| Some(Line::parse(piece).ok()?.record);
    let header = pieces(framing::first(bytes)).into_iter().filter_map(record);
    let header = header.filter_map(|text| Header::parse(text).ok()).next();
    let last = pieces(framing::last(bytes)).into_iter().filter_map(decode::copy);
    let last = last.filter_map(|text| Header::parse(&text).ok()).next();
    let headers: Vec<_> = header.into_iter().chain(last).collect();

    let mut fault = None;
    let mut tried = Vec::new();
    let mut best: Option<(usize, &Header, FileKey)> = None;
    let pairs = |turn: bool| {
        let all = headers.iter().flat_map(|one| headers.iter().map(move |other| (one, other)));
        all.filter(move |(one, other)| core::ptr::eq(*one, *other) != turn)
    };
    for (one, other) in pairs(false).chain(pairs(true)) {
        let attempt = (one.id, &other.protections);
        if tried.contains(&attempt) {
            continue;
        }
        tried.push(attempt);
        match FileKey::open(one.id, &other.protections, protection) {
            Ok(key) => {
                let lines = count_under(bytes, &key);
                if best.as_ref().is_none_or(|(most, ..)| *most < lines) {
                    best = Some((lines, other, key));
                }
            }
            Err(error) => drop(fault.get_or_insert(error)),
        }
    }
    if let Some((_, header, key)) = best {
        return Ok((Header::clone(header), key));
    }
    // Without a header that can be read, whatever reading it says.
    let unread = || decode::header(bytes).err().unwrap_or_else(|| looks_like::fault(bytes));
    Err(fault.unwrap_or_else(unread))
}

/// How many lines are under `key`.
fn count_under(bytes: &[u8], key: &FileKey) -> usize {
    let verifies =
        |line: &[u8]| Line::parse(line).is_ok_and(|line| key.verifies(line.record, &line.mac));
    framing::lines(bytes).take(framing::MAX_LINES).filter(|(_, line)| verifies(line)).count()
}

/// Most pieces that a line is taken apart into.
const MAX_PIECES: usize = 1_000;

/// The lines in a line: one, or several where a line end was damaged.
pub(super) fn pieces(line: &[u8]) -> Vec<&[u8]> {
    let starts = line.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let starts: Vec<usize> = starts.map(|(start, _)| start).filter(|start| *start > 0).collect();
    // No damage to line ends makes so many out of one; and each would cost memory.
    if starts.is_empty()
        || starts.len() > MAX_PIECES
        || Line::parse(line).is_ok_and(|it| framing::name_of(it.record).is_some())
    {
        return Vec::from([line]);
    }
    let mut rest = line;
    let mut pieces = Vec::new();
    for start in starts.into_iter().rev() {
        let Some((before, piece)) = rest.split_at_checked(start) else { continue };
        pieces.push(piece);
        rest = before;
    }
    pieces.push(rest);
    pieces.reverse();
    let whole = |piece: &[u8]| Line::parse(piece).is_ok();
    let trimmed = pieces.into_iter().map(|piece| match piece.split_last() {
        // What was the line end.
        Some((_, without)) if !whole(piece) && whole(without) => without,
        _ => piece,
    });
    trimmed.collect()
}
