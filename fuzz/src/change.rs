//! Changes to a valid message, chosen by fuzzer input: bytes, fields, slots, chunks, splices.

use crate::Input;
use crate::fixture::{BASES, Base};
use crate::model::{Model, ModelSlot};

/// Most changes to one message.
const MAX_CHANGES: usize = 6;

/// A changed message. The first byte of the input says whether the rest is a message as it
/// is, or names a valid message and changes to it.
pub fn message(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    if choice == 0 {
        return input.take(usize::MAX).to_vec();
    }
    let base = &BASES[usize::from(choice - 1) % BASES.len()];
    changed(base.message.clone(), input)
}

/// `message` after a few changes.
pub fn changed(mut message: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..MAX_CHANGES {
        if input.is_empty() {
            break;
        }
        change(&mut message, input);
    }
    message
}

fn change(message: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.byte() % 16 {
        0..=3 => change_bytes(message, input),
        4..=5 => splice(message, input),
        6 => change_chunks(message, input),
        _ => change_header(message, input),
    }
}

fn change_bytes(message: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.byte() % 5;
    let at = input.position(message.len());
    match kind {
        _ if message.is_empty() => {}
        0 => message[at] ^= 1 << (input.byte() % 8),
        1 => message[at] = input.byte(),
        2 => message.truncate(at),
        3 => {
            let len = input.below(64);
            message.splice(at..at, input.take(len).iter().copied());
        }
        _ => {
            let end = (at + input.below(64)).min(message.len());
            message.drain(at..end);
        }
    }
}

/// Puts bytes of another message in: its header, its body, or any piece.
fn splice(message: &mut Vec<u8>, input: &mut Input<'_>) {
    let other: &Base = &BASES[input.below(BASES.len())];
    let kind = input.byte() % 4;
    let Some(header) = Model::read(message) else { return };
    match kind {
        0 => drop(message.splice(header.len().., other.body().iter().copied())),
        1 => drop(message.splice(..header.len(), other.header.write())),
        _ => {
            let at = input.position(message.len());
            let from = if kind == 2 { at } else { input.position(other.message.len()) };
            let piece = other.message.get(from..).unwrap_or_default();
            let piece = &piece[..input.below(1 << 15).min(piece.len()).min(message.len() - at)];
            message[at..at + piece.len()].copy_from_slice(piece);
        }
    }
}

/// Exchanges, repeats or drops chunks.
fn change_chunks(message: &mut Vec<u8>, input: &mut Input<'_>) {
    let Some(header) = Model::read(message) else { return };
    let start = header.len() + 56;
    let Some(chunks) = message.get(start..) else { return };
    let mut chunks: Vec<Vec<u8>> = chunks.chunks(16_400).map(<[u8]>::to_vec).collect();
    if chunks.is_empty() {
        return;
    }
    let (kind, one, other) =
        (input.byte() % 3, input.below(chunks.len()), input.below(chunks.len()));
    match kind {
        0 => chunks.swap(one, other),
        1 => chunks.insert(other, chunks[one].clone()),
        _ => drop(chunks.remove(one)),
    }
    message.truncate(start);
    message.extend(chunks.concat());
}

/// Changes fields and writes a header that is whole again, if not always valid.
fn change_header(message: &mut Vec<u8>, input: &mut Input<'_>) {
    let Some(mut header) = Model::read(message) else { return };
    let old_len = header.len();
    let kind = input.byte() % 8;
    let index = input.below(header.slots.len());
    match kind {
        0 => header.padding = input.below(1024),
        1 => {
            let other = input.below(header.slots.len());
            header.slots.swap(index, other);
        }
        2 => drop(header.slots.remove(index)),
        3 => header.slots.push(header.slots[index].clone()),
        4 => {
            let other = &BASES[input.below(BASES.len())].header.slots;
            let slot = other[input.below(other.len())].clone();
            header.slots.insert(index, slot);
        }
        5 => header.core[5] = input.byte() % 4,
        _ => change_slot(&mut header.slots[index], input),
    }
    message.splice(..old_len, header.write());
}

fn change_slot(slot: &mut ModelSlot, input: &mut Input<'_>) {
    match input.byte() % 6 {
        0 => slot.version = u32::from(input.byte() % 6),
        1 => slot.id[input.below(8)] ^= input.byte(),
        2 => slot.algorithm = input.byte(),
        3 => {
            let len = input.below(256);
            slot.name = input.take(len).to_vec();
        }
        4 => {
            let len = input.below(600);
            slot.wrapped.resize(len, 0xEE);
        }
        _ => {
            let at = input.position(slot.wrapped.len());
            if let Some(byte) = slot.wrapped.get_mut(at) {
                *byte ^= input.byte();
            }
        }
    }
}
