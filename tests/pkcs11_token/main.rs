//! Tests the PKCS#11 keyrings on the token that the environment names: `ci/pkcs11.sh` sets up one
//! after the other and runs this for each. In one thread: a login belongs to the whole process.
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

mod conformance;
mod deadlines;
mod destruction;
mod discarded_keys;
mod equal_labels;
mod external;
mod forged_wraps;
mod forks;
#[path = "../common/independent.rs"]
mod independent;
mod key_lookup;
mod keys;
mod known_answers;
mod logins;
mod many_threads;
mod migration;
mod objects;
mod observers;
mod other_tokens;
mod outside_changes;
mod pin_lock;
mod probe_example;
mod processes;
mod quirks;
#[path = "../common/token_env.rs"]
mod token_env;
mod token_protected_files;
mod token_selection;
mod weak_keys;

const MODULE: &str = module_path!();

/// The entry of a process that a test starts.
#[test]
fn child_entry() {
    let Some((role, arguments)) = process::role() else { return };
    match (role.as_str(), arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice()) {
        ("outside changes", [who]) => outside_changes::child(who),
        ("key lookup", [algorithm, label, mac]) => key_lookup::child(algorithm, label, mac),
        ("processes", [catalogue]) => processes::child(catalogue),
        ("logins", [role, label]) => logins::child(role, label),
        ("pin lock", [allow]) => pin_lock::child(allow),
        ("equal labels", []) => equal_labels::child(),
        other => panic!("{other:?}"),
    }
}
