//! The key file's format: what is written is read again, what was changed is found and named, and
//! the rest can be salvaged (THREATS rows 3, 37, 57 to 59, 61).
#![cfg(feature = "file")]

use crate::common::clock;
mod craft;
mod flips;
mod full;
mod golden;
mod make;
mod merged;
mod order;
mod properties;
mod protections;
mod several;
mod token;
mod unknown;

use envelock::test_access::key_file_format::KeyFile;
use make::{NOW, raw_key, twenty};

#[test]
fn written_file_is_read_again() {
    let (file, key) = twenty(&raw_key(), 1);
    let bytes = file.encode(&key, NOW).unwrap();
    let (again, key) = KeyFile::open(&bytes, &raw_key()).unwrap();
    assert_eq!(again.keysets(), file.keysets());
    assert_eq!(again.verify_material(&key).unwrap(), 19);
    assert_eq!(again.written(), NOW);
    assert!(again.encode(&key, NOW).unwrap() == bytes);
}
