//! Several processes on one key file: no writer loses another's change, a waiting process gets its
//! error in time, and no other user can read a file at any moment of its life.

#![cfg(all(feature = "file", unix))]

use crate::common::key_files;
use crate::common::process;

mod bounds;
mod creation;
mod locks;
mod plans;
mod writers;

use std::time::Duration;

const MODULE: &str = module_path!();

/// The entry of a child; does nothing in the parent.
#[test]
fn child_entry() {
    let Some((role, arguments)) = process::role() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (role.as_str(), &arguments[..]) {
        ("rotate", [path, number]) => writers::rotate(path, number.parse().unwrap()),
        ("check", [path]) => writers::check(path),
        ("read", [path]) => {
            let tenth = Duration::from_millis(100);
            key_files::read_until_the_end(path, tenth, tenth);
        }
        ("apply", [path]) => plans::apply(path),
        ("apply all", [path]) => plans::apply_all(path),
        ("hold", [path]) => locks::hold(path),
        ("create", [directory, name]) => creation::create(directory, name),
        ("umask", [path, mask]) => creation::create_under(path, mask),
        ("decrypt", [path, message]) => bounds::decrypt_until_refused(path, message),
        ("encrypt", [path]) => bounds::encrypt_until_new(path),
        other => panic!("{other:?}"),
    }
}
