//! Reading a header: no panic, no large allocation, exactly what a second codec accepts, byte
//! for byte the same when written again, and an error at the first offset that offends.
#![no_main]

use envelock::{
    Error, Header,
    format::{HeaderFault, MessagePart},
    inspect, plaintext_len,
};
use envelock_fuzz::allocator::{self, Counting};
use envelock_fuzz::complete::complete;
use envelock_fuzz::model::{self, Model};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An inspection allocates nothing.
const LIMIT: usize = 0;

fuzz_target!(|data: &[u8]| {
    match allocator::limit(LIMIT, || inspect(data)) {
        Ok(header) => accepted(data, &header),
        Err(error) => rejected(data, &error),
    }
});

/// SPEC H-CANON, and every accessor agrees.
fn accepted(data: &[u8], header: &Header<'_>) {
    let model = Model::of(header);
    assert_eq!(Some(&model), Model::read(data).as_ref());
    assert_eq!(model.write(), &data[..header.len()]);
    assert_eq!(header.as_bytes(), &data[..header.len()]);
    assert_eq!(model.len(), header.len());
    assert_eq!(header.slots().len(), header.slots().count());
    let slots_len: usize = header.slots().map(|slot| slot.encoded_len()).sum();
    assert_eq!(25 + slots_len + header.padding_len(), header.len());
    for slot in header.slots() {
        assert_eq!(slot.label.name.len(), slot.label.name.as_str().len());
    }
    let first = header.slots().next().map(|slot| slot.label.index_bytes());
    assert_eq!(first.as_ref().map(|bytes| &bytes[..]), data.get(25..37));
    assert!(format!("{header} {header:?}").len() > 100);

    let body_len = data.len() - header.len();
    assert_eq!(plaintext_len(data).ok(), model::plaintext_len(body_len));
    assert!(matches!(
        inspect(&data[..header.len() - 1]),
        Err(Error::Truncated { part: MessagePart::Header, needed, .. }) if needed == header.len() as u64
    ));
}

fn rejected(data: &[u8], error: &Error) {
    assert_eq!(Model::read(data), None);
    assert!(plaintext_len(data).is_err());
    assert!(!format!("{error} {error:?}").is_empty());
    match error {
        Error::Header { offset, fault, .. } => first_offence(data, *offset, fault),
        Error::Truncated { part: MessagePart::Header, len, needed, .. } => {
            assert_eq!(*len, data.len() as u64);
            assert!(needed > len);
            let completed = complete(data).expect("nothing offends in a truncated header");
            assert!(*needed <= completed.len() as u64);
        }
        Error::NotEnvelock { .. } => {
            let magic = data.get(..4).unwrap_or(data);
            assert!(magic.is_empty() || !b"\xE5NVL".starts_with(magic));
        }
        other => panic!("not an error of a header: {other}"),
    }
}

/// SPEC H-FIRST: before the offset nothing offends, and what follows the field changes nothing.
fn first_offence(data: &[u8], offset: usize, fault: &HeaderFault) {
    let completed = complete(&data[..offset]).expect("nothing offends before the offset");
    assert!(inspect(&completed).is_ok());
    let field_len = match fault {
        HeaderFault::HeaderLength(_) | HeaderFault::WrappedKeyLength(_) => 2,
        HeaderFault::ZeroVersion => 4,
        // The length of the name is three bytes before it, in the slot's fixed part of 16 bytes.
        HeaderFault::DuplicateSlot => usize::from(data[offset - 3]),
        _ => 1,
    };
    let cut = inspect(&data[..offset + field_len]);
    let same = |error: &Error| matches!(error, Error::Header { offset: at, fault: same, .. } if *at == offset && same == fault);
    assert!(cut.is_err_and(|error| same(&error)));
    let mut overwritten = data.to_vec();
    overwritten[offset + field_len..].fill(0xFF);
    assert!(inspect(&overwritten).is_err_and(|error| same(&error)));
    assert!(complete(&data[..offset + field_len]).is_none());
}
