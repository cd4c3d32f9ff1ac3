//! What the locators of keyrings and sources have in common: parameters, and percent encoding (RFC 3986).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Why a locator was not understood. It has no values: one can be a secret.
pub type Fault = String;

/// Returns the part before the first `?`, and the parameters after it, still encoded.
pub fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// Returns `name=value` pairs that `separator` divides, with decoded values. Refuses a name twice.
pub fn pairs(text: &str, separator: char) -> Result<Vec<(&str, Vec<u8>)>, Fault> {
    let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
    for pair in text.split(separator).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter is not NAME=VALUE")?;
        if pairs.iter().any(|(there, _)| *there == name) {
            return Err(format!("{name:?} is given twice"));
        }
        pairs.push((name, decode(value)?));
    }
    Ok(pairs)
}

/// Decodes percent encoding.
pub fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err("it ends within a percent code: write a percent sign as %25".into());
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
        match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => {
                return Err("it has a wrong percent code: write a percent sign as %25".into());
            }
        }
        rest = tail;
    }
    if bytes.contains(&0) {
        return Err("it has a zero byte".into());
    }
    Ok(bytes)
}

/// Encodes what a locator does not have as it is.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02x}"),
        }
    }
    text
}

/// Returns a value as text.
pub fn text(name: &str, value: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(value).map_err(|_| format!("the value of {name:?} is not UTF-8"))
}

/// Returns a value as a path that is not empty.
pub fn path(name: &str, value: Vec<u8>) -> Result<PathBuf, Fault> {
    match value.is_empty() {
        true => Err(format!("{name:?} needs a path")),
        false => Ok(OsString::from_vec(value).into()),
    }
}
