//! A key is searched for once, however many others the token has. The evidence is the list of calls
//! that `pkcs11-spy` of OpenSC writes.

use crate::keys::{VALUE, aes, fresh, keys, secret};
use crate::process::{Process, send};
use crate::token_env::{algorithms, best, name, session, token, variable};
use envelock::{Aad, Envelope, format::WrapAlgorithm, pkcs11::ExternalKeyring};
use std::fs;
use std::path::PathBuf;

const OTHERS: usize = 300;

fn spy() -> Option<PathBuf> {
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let directories = ["pkcs11-spy.so", "pkcs11/pkcs11-spy.so"];
    directories
        .map(|directory| PathBuf::from(&libraries).join(directory))
        .into_iter()
        .find(|it| it.exists())
}

/// The number of calls of a function so far.
fn calls(function: &str) -> usize {
    let list = fs::read_to_string(variable("PKCS11SPY_OUTPUT")).unwrap();
    list.lines().filter(|line| line.trim().ends_with(&format!(": {function}"))).count()
}

/// Under the spy: the calls of the token once the keys are known.
pub fn child(algorithm: &str, label: &str, mac: &str) {
    let algorithm = WrapAlgorithm::new(algorithm.parse().unwrap()).unwrap();
    let keyring = ExternalKeyring::new(&token(), &keys(algorithm, label, mac)).unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"row", Aad::none()).unwrap();
    let searches = calls("C_FindObjectsInit");
    let objects = if algorithm == WrapAlgorithm::TOKEN_AES_256_GCM { 1 } else { 2 };
    assert_eq!(searches, objects, "one for each object");
    let (encrypts, decrypts) = (calls("C_Encrypt"), calls("C_Decrypt"));
    for _ in 0..10 {
        envelope.encrypt(b"row", Aad::none()).unwrap();
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
    }
    assert_eq!(calls("C_FindObjectsInit"), searches);
    assert_eq!(calls("C_GetAttributeValue") % objects, 0);
    // A wrap is verified by one more decryption, and the key by another up to ten times a second.
    assert_eq!(calls("C_Encrypt") - encrypts, 10);
    assert!((20..=30).contains(&(calls("C_Decrypt") - decrypts)));
    assert_eq!(calls("C_OpenSession"), 2, "one holds the login, one works");
    assert_eq!((calls("C_Login"), calls("C_Initialize")), (1, 1));
    assert_eq!((calls("C_WrapKey"), calls("C_UnwrapKey")), (0, 0), "DESIGN 4.3");
    send("done");
}

#[test]
fn key_is_looked_for_once_on_a_full_token() {
    let Some(spy) = spy() else {
        // The set-up of kryoptic installs it.
        assert_ne!(name(), "kryoptic", "pkcs11-spy.so is missing: apt-get install opensc-pkcs11");
        println!("SKIPPED: pkcs11-spy.so is missing: apt-get install opensc-pkcs11");
        return;
    };
    let session = session();
    let others = (0..OTHERS).map(|_| session.create(&aes(&fresh("other"), &VALUE)).unwrap());
    let others: Vec<_> = others.collect();
    assert!(session.keys().len() >= OTHERS);
    for algorithm in algorithms() {
        let (label, mac) = (fresh("sought"), fresh("sought-mac"));
        session.create(&aes(&label, &VALUE)).unwrap();
        session.create(&secret(&mac, &VALUE)).unwrap();
        let output = std::env::temp_dir().join(fresh("spy"));
        let variables = [
            ("PKCS11SPY", variable("ENVELOCK_P11_MODULE")),
            ("PKCS11SPY_OUTPUT", output.to_str().unwrap().to_owned()),
            ("ENVELOCK_P11_MODULE", spy.to_str().unwrap().to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let id = algorithm.id().to_string();
        let mut child =
            Process::start_with(crate::MODULE, "key lookup", &[&id, &label, &mac], &variables);
        child.expect("done");
        assert!(child.end().is_empty());
        fs::remove_file(output).unwrap();
    }
    for other in others {
        session.destroy(other);
    }
    assert!(algorithms().contains(&best()));
}
