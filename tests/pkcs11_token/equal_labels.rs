//! Two tokens with one label, as SoftHSM allows: the serial number decides.

use crate::pin_lock::Second;
use crate::process::{Process, send};
use crate::raw_token::text;
use crate::token_env::{library, name, options, variable};
use envelock::pkcs11;
use std::collections::BTreeSet;
use std::process::Command;

pub fn child() {
    let error = options().token().unwrap().probe().unwrap_err();
    let Some(pkcs11::Error::TokenNotUnique { wanted, found }) = error.backend() else {
        panic!("{error:?}")
    };
    assert_eq!(*wanted, format!("label {:?}", variable("ENVELOCK_P11_LABEL")));
    assert!(!error.is_retryable());
    let library = library();
    let infos = library.slots().into_iter().map(|slot| library.token_info(slot));
    let label = variable("ENVELOCK_P11_LABEL");
    let serials: BTreeSet<String> = infos
        .filter(|info| text(&info.label) == label)
        .map(|info| text(&info.serialNumber).to_owned())
        .collect();
    assert_eq!(serials.len(), 2);
    let reported: BTreeSet<String> = found.iter().map(|token| token.serial.clone()).collect();
    assert_eq!(reported, serials);
    let text = error.to_string();
    assert!(serials.iter().all(|serial| text.contains(serial)), "{text}");
    for serial in serials {
        let token = options().token_serial(&serial).token().unwrap();
        assert_eq!(token.probe().unwrap().serial, serial);
    }
    send("done");
}

#[test]
fn serial_number_distinguishes_tokens_of_one_label() {
    if name() != "softhsm" {
        return;
    }
    let second = Second::new(&[]);
    let again = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "envelock"])
        .args(["--so-pin", "87654321", "--pin", "12345678"])
        .envs(second.variables.iter().cloned())
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let mut child = Process::start_with(crate::MODULE, "equal labels", &[], &second.variables);
    child.expect("done");
    assert!(child.end().is_empty());
}
