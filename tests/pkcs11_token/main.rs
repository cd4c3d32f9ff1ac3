//! Tests the PKCS#11 keyrings on the token that the environment names: `ci/pkcs11.sh` sets one
//! up after the other and runs this for each. In one thread: a login is the process's.
#![cfg(all(feature = "pkcs11", feature = "test-util", unix))]

#[allow(dead_code)]
#[path = "../common/detached.rs"]
mod detached;
#[path = "../common/mount.rs"]
mod mount;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/raw_token.rs"]
mod raw_token;

mod behind_our_back;
mod choice;
mod conformance;
mod deadlines;
mod destruction;
mod external;
mod forged_wraps;
mod forks;
mod full_token;
#[path = "../common/independent.rs"]
mod independent;
mod keys;
mod known_answers;
mod leftovers;
mod lock_out;
mod logins;
mod many_threads;
mod more;
mod moving;
mod objects;
mod observers;
#[path = "../common/place.rs"]
mod place;
mod probe_example;
mod processes;
mod quirks;
mod sealed_files;
mod twins;
mod weak_keys;

const MODULE: &str = module_path!();

/// What a process that a test starts does.
#[test]
fn child_entry() {
    let Some((role, arguments)) = process::role() else { return };
    match (role.as_str(), arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice()) {
        ("behind our back", [who]) => behind_our_back::child(who),
        ("full token", [algorithm, label, mac]) => full_token::child(algorithm, label, mac),
        ("processes", [catalogue]) => processes::child(catalogue),
        ("logins", [role, label]) => logins::child(role, label),
        ("lock out", [allow]) => lock_out::child(allow),
        ("twins", []) => twins::child(),
        other => panic!("{other:?}"),
    }
}
