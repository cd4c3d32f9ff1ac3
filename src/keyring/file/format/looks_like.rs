//! Bytes that are no key file, and key files that a conversion of text changed.

use super::fault::KeyFileFault;
use super::framing::PREFIX;
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The start of every key file in base64.
const BASE64: &[u8] = b"eyJyZWNvcmQi";

/// The magic of a message.
const MESSAGE: &[u8] = b"\xe5\x4e\x56\x4c";

/// The fault of bytes that do not start like a key file, or have other line ends.
pub(super) fn fault(bytes: &[u8]) -> KeyFileFault {
    match conversion(bytes) {
        Some(conversion) => KeyFileFault::Converted { conversion },
        None => KeyFileFault::NotKeyFile { looks_like: looks_like(bytes) },
    }
}

/// The conversion of a key file, if there was one.
pub(super) fn conversion(bytes: &[u8]) -> Option<TextConversion> {
    if let Some(rest) = bytes.strip_prefix(BYTE_ORDER_MARK) {
        return rest.starts_with(PREFIX).then_some(TextConversion::ByteOrderMark);
    }
    let first = bytes.split(|byte| *byte == b'\n').next()?;
    (first.starts_with(PREFIX) && first.ends_with(b"\r")).then_some(TextConversion::CarriageReturns)
}

fn looks_like(bytes: &[u8]) -> Option<KeyFileLooksLike> {
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
        // Without a mark: `{` and a zero.
        || bytes.starts_with(b"{\0") || bytes.starts_with(b"\0{");
    let text = bytes.trim_ascii();
    Some(match bytes {
        [] => KeyFileLooksLike::Empty,
        _ if bytes.iter().all(|byte| *byte == 0) => KeyFileLooksLike::Zeros,
        _ if is_utf16 => KeyFileLooksLike::Utf16,
        _ if bytes.starts_with(MESSAGE) => KeyFileLooksLike::Message,
        _ if text.strip_prefix(b"\"").unwrap_or(text).starts_with(BASE64) => {
            KeyFileLooksLike::Base64
        }
        _ if text.len() <= 4096 && is_line(text) => KeyFileLooksLike::Line,
        _ => return None,
    })
}

fn is_line(text: &[u8]) -> bool {
    core::str::from_utf8(text)
        .is_ok_and(|text| !text.is_empty() && !text.contains(char::is_control))
}

/// The bytes without the changes of a conversion; `None` if there was none. Wiped, since the bytes of
/// an unprotected file are key material.
pub(super) fn unconverted(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    conversion(bytes)?;
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    Some(out)
}

/// A conversion of a key file, which salvage reverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextConversion {
    /// Lines end in CR LF: by an editor, a transfer as text, a checkout on Windows.
    CarriageReturns,
    /// A byte order mark precedes the first line.
    ByteOrderMark,
}

impl fmt::Display for TextConversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextConversion::CarriageReturns => "has line ends of CR LF",
            TextConversion::ByteOrderMark => "begins with a byte order mark",
        })
    }
}

/// A guess, for people, at the kind of bytes that are no key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFileLooksLike {
    /// No bytes.
    Empty,
    /// Only zeros, as after a crash of a file system.
    Zeros,
    /// Text in UTF-16.
    Utf16,
    /// A key file in base64, as `kubectl get secret -o yaml` shows it: decode it first.
    Base64,
    /// An envelock message.
    Message,
    /// One line of text, perhaps the passphrase.
    Line,
}

impl fmt::Display for KeyFileLooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFileLooksLike::Empty => "it is empty",
            KeyFileLooksLike::Zeros => "it is all zeros",
            KeyFileLooksLike::Utf16 => "it is text in UTF-16",
            KeyFileLooksLike::Base64 => "it is a key file in base64, decode it first",
            KeyFileLooksLike::Message => "it is a message",
            KeyFileLooksLike::Line => "it is one line of text, a passphrase perhaps",
        })
    }
}
