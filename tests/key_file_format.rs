//! The key file's format: what is written is read again, what was changed is found and named, and
//! the rest can be salvaged (THREATS rows 3, 37, 57 to 59, 61).
#![cfg(feature = "file")]

#[path = "key_file_format/make.rs"]
mod make;

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
    println!("{}", String::from_utf8(bytes).unwrap());
}
