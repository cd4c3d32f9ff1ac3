//! Opening a damaged key file: its header or the copy of it, and lines with damaged line ends.

use super::super::decode;
use super::super::fault::KeyFileFault;
use super::super::file_key::FileKey;
use super::super::framing::{self, Line, PREFIX};
use super::super::looks_like;
use super::super::record::FileHeader;
use crate::keyring::file::Protection;
use alloc::vec::Vec;

/// Opens the file key by the header or its copy in the end record. The id is taken from one and
/// the protections from any of them, since damage may concern one field of each. Of two file keys
/// that open, returns the one under which more lines verify: the header of a time before the file
/// key was replaced opens, too.
pub(super) fn open_any(
    bytes: &[u8],
    protection: &Protection,
) -> Result<(FileHeader, FileKey), KeyFileFault> {
    let record = |piece| Some(Line::parse(piece).ok()?.record);
    let parse = |text: &str| FileHeader::parse(text).ok();
    let header = pieces(framing::first(bytes)).into_iter().filter_map(record).find_map(parse);
    let copy = pieces(framing::last(bytes)).into_iter().filter_map(decode::copy);
    let copy = copy.filter_map(|text| parse(&text)).next();
    let headers: Vec<_> = header.into_iter().chain(copy).collect();

    let mut fault = None;
    let mut tried = Vec::new();
    let mut best: Option<(usize, &FileHeader, FileKey)> = None;
    for (one, other) in headers.iter().flat_map(|one| headers.iter().map(move |it| (one, it))) {
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
        return Ok((header.clone(), key));
    }
    // Without a readable header, the fault of reading it.
    let unread = || decode::header(bytes).err().unwrap_or_else(|| looks_like::fault(bytes));
    Err(fault.unwrap_or_else(unread))
}

/// The number of lines that verify under `key`.
fn count_under(bytes: &[u8], key: &FileKey) -> usize {
    let verifies =
        |line: &[u8]| Line::parse(line).is_ok_and(|line| key.verifies(line.record, &line.mac));
    framing::lines(bytes).take(framing::MAX_LINES).filter(|(_, line)| verifies(line)).count()
}

/// Most pieces of one line.
const MAX_PIECES: usize = 1_000;

/// The lines in a line: one, or several if line ends between them are damaged.
pub(super) fn pieces(line: &[u8]) -> Vec<&[u8]> {
    let starts = line.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let starts: Vec<usize> = starts.map(|(start, _)| start).filter(|start| *start > 0).collect();
    // Damage makes few pieces, and each one takes memory.
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
        // The damaged line end.
        Some((_, without)) if !whole(piece) && whole(without) => without,
        _ => piece,
    });
    trimmed.collect()
}
