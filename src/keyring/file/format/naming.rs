//! Which record a damaged line is, going by the verified lines around it.

use super::fault::RecordName;
use super::file_key::FileKey;
use super::framing::{self, Line};
use crate::format::KeyVersion;
use alloc::string::String;

/// What stands before a line, verified.
pub(super) struct Before<'a> {
    /// Name of the master key whose versions may come, its highest number, and the last version.
    pub(super) key: Option<(&'a str, u32, u32)>,
}

/// The record that a damaged line is.
///
/// Its own words may be what is damaged: they are taken where they fit in between the lines
/// before and after, and where nothing else does, that is told instead.
pub(super) fn name(number: usize, bytes: &[u8], before: &Before<'_>, key: &FileKey) -> RecordName {
    let mut lines = framing::lines(bytes).skip(number.saturating_sub(1));
    let line = lines.next().map(|(_, line)| line).unwrap_or_default();
    if number == 1 {
        return RecordName::Header;
    }
    let said = framing::name(line);
    let Some((_, next)) = lines.next() else {
        return if said == RecordName::Unknown && bytes.ends_with(b"\n") {
            RecordName::End
        } else {
            said
        };
    };
    let next = Line::parse(next).ok().filter(|it| key.verifies(it.record, &it.mac));
    // Of two damaged lines side by side each is what it says.
    let Some(next) = next.and_then(|it| framing::name_of(it.record)) else { return said };
    between(said, before, &next)
}

fn between(said: RecordName, before: &Before<'_>, next: &RecordName) -> RecordName {
    let within = before.key.map(|(key, taken, last)| {
        // The numbers that a version of the key before can have here.
        let after = match next {
            RecordName::Version { key: next, version } if next == key => version.number(),
            _ => taken.saturating_add(1),
        };
        (key, last.saturating_add(1), after)
    });
    match next {
        // A version with its line end damaged, and the key behind it on the same line.
        RecordName::Version { .. } if fits(&said, within) => said,
        // A version that is not of the key before is of the key on the damaged line.
        RecordName::Version { key, .. } if within.is_none_or(|(name, ..)| name != key) => {
            RecordName::Key { name: key.clone() }
        }
        RecordName::Version { .. } => version(said, within),
        // Behind versions come other kinds, which say themselves what they are.
        _ => match &said {
            RecordName::Version { .. } | RecordName::Unknown => version(said, within),
            _ => said,
        },
    }
}

fn fits(said: &RecordName, within: Option<(&str, u32, u32)>) -> bool {
    match (said, within) {
        (RecordName::Version { key, version }, Some((name, first, end))) => {
            key == name && (first..end).contains(&version.number())
        }
        _ => false,
    }
}

/// The version that can stand on the line: the one it says, or the only one that there can be.
fn version(said: RecordName, within: Option<(&str, u32, u32)>) -> RecordName {
    let Some((key, first, end)) = within else { return said };
    match &said {
        RecordName::Version { version, .. } if (first..end).contains(&version.number()) => {
            RecordName::Version { key: String::from(key), version: *version }
        }
        _ => match KeyVersion::new(first).filter(|_| end.saturating_sub(first) == 1) {
            Some(version) => RecordName::Version { key: String::from(key), version },
            None if matches!(said, RecordName::Version { .. }) => RecordName::Unknown,
            None => said,
        },
    }
}
