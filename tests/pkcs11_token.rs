//! Judges the PKCS#11 keyrings on the token that the environment names: `tests/pkcs11.sh` sets one
//! up after the other and runs this for each. In one thread: a login is the process's.
#![cfg(all(feature = "pkcs11", feature = "test-util", unix))]

#[path = "common/mount.rs"]
mod mount;
#[path = "common/process.rs"]
mod process;
#[path = "common/raw_token.rs"]
mod raw_token;

#[path = "pkcs11_token/behind_our_back.rs"]
mod behind_our_back;
#[path = "pkcs11_token/choice.rs"]
mod choice;
#[path = "pkcs11_token/conformance.rs"]
mod conformance;
#[path = "pkcs11_token/deadlines.rs"]
mod deadlines;
#[path = "pkcs11_token/destruction.rs"]
mod destruction;
#[path = "pkcs11_token/external.rs"]
mod external;
#[path = "pkcs11_token/forged_wraps.rs"]
mod forged_wraps;
#[path = "pkcs11_token/forks.rs"]
mod forks;
#[path = "pkcs11_token/full_token.rs"]
mod full_token;
#[path = "pkcs11_token/independent.rs"]
mod independent;
#[path = "pkcs11_token/keys.rs"]
mod keys;
#[path = "pkcs11_token/known_answers.rs"]
mod known_answers;
#[path = "pkcs11_token/leftovers.rs"]
mod leftovers;
#[path = "pkcs11_token/lock_out.rs"]
mod lock_out;
#[path = "pkcs11_token/logins.rs"]
mod logins;
#[path = "pkcs11_token/many_threads.rs"]
mod many_threads;
#[path = "pkcs11_token/moving.rs"]
mod moving;
#[path = "pkcs11_token/objects.rs"]
mod objects;
#[path = "pkcs11_token/observers.rs"]
mod observers;
#[path = "pkcs11_token/place.rs"]
mod place;
#[path = "pkcs11_token/probe_example.rs"]
mod probe_example;
#[path = "pkcs11_token/processes.rs"]
mod processes;
#[path = "pkcs11_token/quirks.rs"]
mod quirks;
#[path = "pkcs11_token/sealed_files.rs"]
mod sealed_files;
#[path = "pkcs11_token/twins.rs"]
mod twins;
#[path = "pkcs11_token/weak_keys.rs"]
mod weak_keys;

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
