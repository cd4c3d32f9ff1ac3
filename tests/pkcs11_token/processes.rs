//! Two processes on one token and one catalogue.

use crate::independent::Bound;
use crate::process::{Process, listen, send};
use crate::token_env::{CatalogueDirectory, token};
use envelock::{Aad, Envelope, KeyVersion, Lifecycle, Pkcs11Keyring};

const ROW: Aad<'static> = Aad::new(b"row 7");

/// A child: obeys each command, and reports its outcome.
pub fn child(catalogue: &str) {
    let keyring = Pkcs11Keyring::open_any(catalogue, &token()).unwrap();
    send("ready");
    while let Some(line) = listen() {
        let envelope = Envelope::new(&keyring);
        match line.split_once(' ') {
            None if line == "rotate" => send(&keyring.rotate().unwrap().number().to_string()),
            None if line == "destroy" => {
                keyring.disable(KeyVersion::FIRST).unwrap();
                keyring.destroy_immediately(KeyVersion::FIRST).unwrap();
                send("destroyed");
            }
            None => send(&hex::encode(envelope.encrypt(line.as_bytes(), ROW).unwrap())),
            Some((_, message)) => {
                let message = hex::decode(message).unwrap();
                let plain = envelope.decrypt(&message, ROW);
                send(&plain.map_or("refused".into(), |plain| String::from_utf8(plain).unwrap()));
            }
        }
    }
}

#[test]
fn rotation_in_one_process_reaches_the_other() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let envelope = Envelope::new(&keyring);
    let first = envelope.encrypt(b"first", ROW).unwrap();
    let path = directory.path("catalogue");
    let mut child = Process::start(crate::MODULE, "processes", &[path.to_str().unwrap()]);
    child.expect("ready");
    child.say(&format!("decrypt {}", hex::encode(&first)));
    child.expect("first");
    for version in 2..=4_u32 {
        child.say("rotate");
        child.expect(&version.to_string());
        child.say("theirs");
        let message = hex::decode(child.must_hear()).unwrap();
        assert_eq!(Bound::of(&message).version, version);
        // Its key was made after this process had connected.
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), b"theirs");
        assert_eq!(keyring.primary_version(), KeyVersion::new(version));
        let ours = envelope.encrypt(b"ours", ROW).unwrap();
        assert_eq!(Bound::of(&ours).version, version);
        child.say(&format!("decrypt {}", hex::encode(&ours)));
        child.expect("ours");
    }
    keyring.rotate().unwrap();
    let newest = envelope.encrypt(b"newest", ROW).unwrap();
    child.say(&format!("decrypt {}", hex::encode(&newest)));
    child.expect("newest");
    child.say("destroy");
    child.expect("destroyed");
    keyring.catalogue().reload().unwrap();
    envelope.decrypt(&first, ROW).unwrap_err();
    assert_eq!(envelope.decrypt(&newest, ROW).unwrap(), b"newest");
    assert!(child.end().is_empty());
}
