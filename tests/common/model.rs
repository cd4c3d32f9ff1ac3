//! What every entry point must return, worked out from the bytes and the original message
//! without any cryptography.

use super::reference::{self, RefHeader, RefSlot, Refused};
use super::shapes::Shape;
use envelock::{
    DataKeyId, Error,
    format::{HeaderFault, MessagePart},
    keyring::Refusal,
    keyset::VersionState,
};

/// A result, without what only text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Opens,
    NotEnvelock,
    Truncated { part: MessagePart, len: u64, needed: u64 },
    Fault { offset: usize, fault: HeaderFault },
    DetachedLength { declared: usize, len: usize },
    NoKey { key: String, version: u32, slots: usize },
    Refused { key: String, version: u32, refusal: Refusal },
    Authentication,
    OtherMessage { opened: DataKeyId, found: DataKeyId },
    Other(String),
}

impl Answer {
    pub fn of<T>(result: &Result<T, Error>) -> Answer {
        let Err(error) = result else { return Answer::Opens };
        match error.clone() {
            Error::NotEnvelock { .. } => Answer::NotEnvelock,
            Error::Truncated { part, len, needed, .. } => Answer::Truncated { part, len, needed },
            Error::Header { offset, fault, .. } => Answer::Fault { offset, fault },
            Error::DetachedHeaderLength { declared, len, .. } => {
                Answer::DetachedLength { declared, len }
            }
            Error::NoKey { key, version, slots, .. } => {
                Answer::NoKey { key, version: version.number(), slots }
            }
            Error::Refused { key, version, refusal, .. } => {
                Answer::Refused { key, version: version.number(), refusal }
            }
            Error::Authentication { .. } => Answer::Authentication,
            Error::OtherMessage { opened, found, .. } => Answer::OtherMessage { opened, found },
            other => Answer::Other(other.to_string()),
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotEnvelock => Answer::NotEnvelock,
            Refused::Truncated { len, needed } => {
                Answer::Truncated { part: MessagePart::Header, len, needed }
            }
            Refused::Fault { offset, fault } => Answer::Fault { offset, fault },
        }
    }
}

/// The result of a decryption, and whether it got as far as the chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decrypted {
    pub answer: Answer,
    pub reached_chunks: bool,
}

impl From<Answer> for Decrypted {
    fn from(answer: Answer) -> Self {
        Decrypted { answer, reached_chunks: false }
    }
}

/// Length of the plaintext of a body of this length, or the next length that a body has
/// (SPEC B-LENGTH).
pub fn plaintext_len(body_len: usize) -> Result<usize, usize> {
    let is_length = |len: usize| len >= 72 && (len - 56) % 16_400 >= 16;
    if !is_length(body_len) {
        return Err((body_len..).find(|len| is_length(*len)).unwrap());
    }
    let chunks = (body_len - 56).div_ceil(16_400);
    Ok(body_len - 56 - 16 * chunks)
}

/// The relation of a slot to the keyring of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    NotMine,
    Refused(Refusal),
    Authentication,
    Opens { fresh: bool },
}

fn standing(shape: &Shape, core: &[u8; 22], slot: &RefSlot) -> Standing {
    let primary_name = reader_name(shape);
    if slot.name() != primary_name || slot.algorithm != 1 {
        return Standing::NotMine;
    }
    let versions = shape.reader.versions();
    let Some(record) = versions.iter().find(|record| record.version.number() == slot.version)
    else {
        // SPEC O-NOFALLBACK
        return Standing::Refused(Refusal::UnknownVersion);
    };
    if record.master_key_id.0 != slot.master_key_id {
        return Standing::NotMine;
    }
    if record.state == VersionState::Disabled {
        return Standing::Refused(Refusal::Disabled);
    }
    // SPEC K-AAD: a wrap is bound to the core and to its whole label.
    if *core == shape.header.core && shape.header.slots.contains(slot) {
        Standing::Opens { fresh: record.state == VersionState::Primary }
    } else {
        Standing::Authentication
    }
}

/// The name of the shape's keyset: every reader is one keyset, and a slot of it stands in the
/// original header.
fn reader_name(shape: &Shape) -> &str {
    let versions = shape.reader.versions();
    let known = |slot: &&RefSlot| {
        versions.iter().any(|record| record.master_key_id.0 == slot.master_key_id)
    };
    shape.header.slots.iter().find(known).unwrap().name()
}

/// The first of refused, authentication failed, no key (SPEC O-PRECEDENCE).
fn no_slot_opened(shape: &Shape, header: &RefHeader) -> Answer {
    let standings = header.slots.iter().map(|slot| (slot, standing(shape, &header.core, slot)));
    for (slot, standing) in standings.clone() {
        if let Standing::Refused(refusal) = standing {
            return Answer::Refused { key: slot.name().into(), version: slot.version, refusal };
        }
    }
    if standings.clone().any(|(_, standing)| standing == Standing::Authentication) {
        return Answer::Authentication;
    }
    let first = &header.slots[0];
    Answer::NoKey { key: first.name().into(), version: first.version, slots: header.slots.len() }
}

/// The expected result of a decryption of `message`.
pub fn decrypt(shape: &Shape, message: &[u8]) -> Decrypted {
    match reference::parse(message) {
        Ok(header) => decrypt_parts(shape, &header, &message[header.len()..]),
        Err(refused) => Answer::from(refused).into(),
    }
}

/// The expected result of a decryption of a detached header and its body.
pub fn decrypt_detached(shape: &Shape, header: &[u8], body: &[u8]) -> Decrypted {
    match reference::parse(header) {
        Ok(parsed) if parsed.len() == header.len() => decrypt_parts(shape, &parsed, body),
        Ok(parsed) => Answer::DetachedLength { declared: parsed.len(), len: header.len() }.into(),
        Err(refused) => Answer::from(refused).into(),
    }
}

fn decrypt_parts(shape: &Shape, header: &RefHeader, body: &[u8]) -> Decrypted {
    if let Some(truncated) = truncated(body) {
        return truncated.into();
    }
    let opens =
        |slot: &RefSlot| matches!(standing(shape, &header.core, slot), Standing::Opens { .. });
    if !header.slots.iter().any(opens) {
        return no_slot_opened(shape, header).into();
    }
    // SPEC O-FINAL: a slot opened, so the core is the original's, and the body decides.
    decrypt_body(shape, body)
}

/// What the key that the original message was opened with must return for `message`: no slot counts.
pub fn decrypt_opened(shape: &Shape, message: &[u8]) -> Decrypted {
    match reference::parse(message) {
        Ok(header) => opened_parts(shape, &header, &message[header.len()..]),
        Err(refused) => Answer::from(refused).into(),
    }
}

/// The same, of a detached header and its body.
pub fn decrypt_opened_detached(shape: &Shape, header: &[u8], body: &[u8]) -> Decrypted {
    match reference::parse(header) {
        Ok(parsed) if parsed.len() == header.len() => opened_parts(shape, &parsed, body),
        _ => decrypt_detached(shape, header, body),
    }
}

fn opened_parts(shape: &Shape, header: &RefHeader, body: &[u8]) -> Decrypted {
    let id = |core: &[u8; 22]| DataKeyId(core[6..].try_into().unwrap());
    match truncated(body) {
        Some(truncated) => truncated.into(),
        None if header.core != shape.header.core => {
            let (opened, found) = (id(&shape.header.core), id(&header.core));
            Answer::OtherMessage { opened, found }.into()
        }
        None => decrypt_body(shape, body),
    }
}

/// SPEC B-LENGTH: a body that cannot be whole is refused before its key matters.
fn truncated(body: &[u8]) -> Option<Answer> {
    let needed = plaintext_len(body.len()).err()? as u64;
    Some(Answer::Truncated { part: MessagePart::Body, len: body.len() as u64, needed })
}

fn decrypt_body(shape: &Shape, body: &[u8]) -> Decrypted {
    let reached_chunks = body[..56] == shape.body()[..56];
    let answer = if body == shape.body() { Answer::Opens } else { Answer::Authentication };
    Decrypted { answer, reached_chunks }
}

/// The expected result of a rewrap: its error, or whether the header changes.
pub fn rewrap(shape: &Shape, message: &[u8]) -> Result<bool, Answer> {
    let header = reference::parse(message)?;
    if goes_by_labels(shape, &header) {
        return Ok(false);
    }
    let mut standings = header.slots.iter().map(|slot| standing(shape, &header.core, slot));
    if !standings.clone().any(opens) {
        return Err(no_slot_opened(shape, &header));
    }
    Ok(standings.any(|standing| standing == Standing::Opens { fresh: false }))
}

/// Whether every slot of the keyring's name is labelled with the primary (SPEC R-LABELS).
fn goes_by_labels(shape: &Shape, header: &RefHeader) -> bool {
    let mut named = header.slots.iter().filter(|slot| slot.name() == reader_name(shape)).peekable();
    named.peek().is_some() && named.all(|slot| slot.algorithm == 1 && is_primary(shape, slot))
}

/// Whether a slot has the name, version and id of the primary.
fn is_primary(shape: &Shape, slot: &RefSlot) -> bool {
    let versions = shape.reader.versions();
    let primary = versions.iter().find(|record| record.state == VersionState::Primary).unwrap();
    (slot.name(), slot.version, slot.master_key_id)
        == (reader_name(shape), primary.version.number(), primary.master_key_id.0)
}

fn opens(standing: Standing) -> bool {
    matches!(standing, Standing::Opens { .. })
}

/// The slots of `header` that a rewrap keeps byte for byte, in order (SPEC R-KEEP): whatever does
/// not open, but what a new slot supersedes.
pub fn kept(shape: &Shape, header: &RefHeader) -> Vec<RefSlot> {
    let standing = |slot: &RefSlot| standing(shape, &header.core, slot);
    let is_current =
        header.slots.iter().map(standing).any(|it| it == Standing::Opens { fresh: true });
    let stays =
        |slot: &&RefSlot| !opens(standing(slot)) && (is_current || !is_primary(shape, slot));
    header.slots.iter().filter(stays).cloned().collect()
}
