//! A guess at what input without envelock's magic is.

use super::MAGIC;
use core::fmt;

/// What input without envelock's magic looks like, from its first 64 bytes.
///
/// A diagnostic: nothing depends on it. It covers the ways in which a message gets damaged or
/// encoded in storage and transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LooksLike {
    /// No bytes.
    Empty,
    /// Zero bytes alone: a sparse file, or a column that was never written.
    Zeros,
    /// A message in base64 or base64url, possibly quoted or encoded twice: decode it first.
    Base64,
    /// A message in hexadecimal, possibly quoted or prefixed: decode it first.
    Hex,
    /// A message that was converted from Latin-1 to UTF-8 or UTF-16: it is damaged.
    TextConversion,
    /// A message behind white space or a byte order mark.
    LeadingText,
    /// Anything else, such as a body without its header.
    Unknown,
}

/// How many bytes are examined.
const SAMPLE_LEN: usize = 64;

/// First bytes behind leading white space.
const TEXT_PREFIXES: [(&[u8], LooksLike); 13] = [
    // Base64 of the magic and the format version, E5 4E 56 4C 01, and base64 of that.
    (b"5U5WTA", LooksLike::Base64),
    (b"\"5U5WTA", LooksLike::Base64),
    (b"'5U5WTA", LooksLike::Base64),
    (b"NVU1V1RB", LooksLike::Base64),
    (b"e54e564c", LooksLike::Hex),
    (b"E54E564C", LooksLike::Hex),
    (b"\"e54e564c", LooksLike::Hex),
    (b"\"E54E564C", LooksLike::Hex),
    (b"\\xe54e564c", LooksLike::Hex),
    (b"0xe54e564c", LooksLike::Hex),
    (b"\xC3\xA5NVL", LooksLike::TextConversion),
    (b"\xEF\xBF\xBDNVL", LooksLike::TextConversion),
    (b"\xEF\xBB\xBF\xE5NVL", LooksLike::LeadingText),
];

/// The magic in UTF-16, with and without a byte order mark.
const UTF_16_PREFIXES: [&[u8]; 3] =
    [b"\xFF\xFE\xE5\0N\0V\0L\0", b"\xFE\xFF\0\xE5\0N\0V\0L", b"\xE5\0N\0V\0L\0"];

impl LooksLike {
    pub(super) fn guess(input: &[u8]) -> Self {
        let sample = input.get(..SAMPLE_LEN).unwrap_or(input);
        let text = sample.trim_ascii_start();
        let by_prefix = TEXT_PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix));
        if input.is_empty() {
            LooksLike::Empty
        } else if sample.iter().all(|byte| *byte == 0) {
            LooksLike::Zeros
        } else if text.starts_with(&MAGIC) {
            LooksLike::LeadingText
        } else if let Some((_, guess)) = by_prefix {
            *guess
        } else if UTF_16_PREFIXES.iter().any(|prefix| sample.starts_with(prefix)) {
            LooksLike::TextConversion
        } else {
            LooksLike::Unknown
        }
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LooksLike::Empty => "it is empty",
            LooksLike::Zeros => "it is all zero bytes",
            LooksLike::Base64 => "it looks like a message in base64, decode it first",
            LooksLike::Hex => "it looks like a message in hexadecimal, decode it first",
            LooksLike::TextConversion => "it looks like a message damaged by a text conversion",
            LooksLike::LeadingText => {
                "it looks like a message behind white space or a byte order mark"
            }
            LooksLike::Unknown => "it has no envelock header",
        })
    }
}
