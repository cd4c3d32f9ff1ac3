//! Errors whose variants no other crate can make, for tests that compare with them.

use crate::aad::AadFault;
use crate::error::{Error, Unverified};
use crate::format::{DataKeyId, HeaderFault, KeyVersion, LooksLike, MessagePart};
use crate::keyset::Refusal;
use alloc::string::String;

macro_rules! constructors {
    ($($name:ident($($field:ident: $type:ty),*) => $variant:ident;)*) => {$(
        #[doc = concat!("Returns `Error::", stringify!($variant), "`.")]
        pub fn $name($($field: $type),*) -> Error {
            Error::$variant { $($field),* }
        }
    )*};
}

constructors! {
    aad_encoding(offset: usize) => AadEncoding;
    aad_pair(name: String, fault: AadFault) => AadPair;
    authentication(part: Unverified) => Authentication;
    buffer_length(len: usize, needed: usize) => BufferLength;
    chunk(index: u64, len: usize) => Chunk;
    detached_header_length(declared: usize, len: usize) => DetachedHeaderLength;
    header(offset: usize, fault: HeaderFault) => Header;
    header_room(needed: usize, available: usize) => HeaderRoom;
    key_length(len: usize, needed: usize) => KeyLength;
    last_slot(key: String) => LastSlot;
    missing_slot(key: String) => MissingSlot;
    no_key(key: String, version: KeyVersion, slots: usize) => NoKey;
    not_envelock(looks_like: LooksLike) => NotEnvelock;
    old_version_still_opens(key: String, version: KeyVersion) => OldVersionStillOpens;
    other_message(opened: DataKeyId, found: DataKeyId) => OtherMessage;
    refused(key: String, version: KeyVersion, refusal: Refusal) => Refused;
    too_many_members(most: usize) => TooManyMembers;
    truncated(part: MessagePart, len: u64, needed: u64) => Truncated;
}
