//! The key file's format: what is written is read again, what was changed is found and named, and
//! the rest can be salvaged (THREATS rows 3, 37, 57 to 59, 61).
#![cfg(feature = "file")]

#[path = "common/clock.rs"]
mod clock;
#[path = "key_file_format/craft.rs"]
mod craft;
#[path = "key_file_format/flips.rs"]
mod flips;
#[path = "key_file_format/full.rs"]
mod full;
#[path = "key_file_format/golden.rs"]
mod golden;
#[path = "key_file_format/make.rs"]
mod make;
#[path = "key_file_format/merged.rs"]
mod merged;
#[path = "key_file_format/order.rs"]
mod order;
#[path = "key_file_format/properties.rs"]
mod properties;
#[path = "key_file_format/protections.rs"]
mod protections;
#[path = "key_file_format/several.rs"]
mod several;
#[path = "key_file_format/token.rs"]
mod token;
#[path = "key_file_format/unknown.rs"]
mod unknown;

use envelock::test_util::key_file_format::KeyFile;
use make::{NOW, raw_key, twenty};

#[test]
fn what_is_written_is_read_again() {
    let (file, key) = twenty(&raw_key(), 1);
    let bytes = file.encode(&key, NOW).unwrap();
    let (again, key) = KeyFile::open(&bytes, &raw_key()).unwrap();
    assert_eq!(again.keysets(), file.keysets());
    assert_eq!(again.verify_material(&key).unwrap(), 19);
    assert_eq!(again.written(), NOW);
    assert!(again.encode(&key, NOW).unwrap() == bytes);
}
