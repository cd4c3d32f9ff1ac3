//! A PIN that wrong logins have locked, on tokens of their own that may be ruined.

use crate::logins::fault;
use crate::process::{Process, send};
use crate::token_env::{CatalogueDirectory, library, name, options, slot, variable};
use cryptoki_sys as ck;
use envelock::pkcs11::{self, Pin, PinFault};
use std::path::PathBuf;
use std::process::Command;

/// A fresh token beside that of the environment, removed on drop.
pub struct Second {
    directory: CatalogueDirectory,
    pub variables: Vec<(String, String)>,
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../ci/tokens/{}.sh", name()))
}

impl Second {
    pub fn new(arguments: &[&str]) -> Self {
        let directory = CatalogueDirectory::new();
        let set_up =
            Command::new("bash").arg(script()).arg(directory.as_ref()).args(arguments).output();
        let set_up = set_up.unwrap();
        assert!(set_up.status.success(), "{}", String::from_utf8_lossy(&set_up.stderr));
        let output = String::from_utf8(set_up.stdout).unwrap();
        let variables = output.lines().map(|line| {
            let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
            let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            (name.to_owned(), value.unwrap().replace("'\\''", "'"))
        });
        let variables = variables.collect();
        Second { directory, variables }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let mut stop = Command::new("bash");
        stop.arg(script()).arg("--stop").arg(self.directory.as_ref());
        assert!(stop.status().is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn attempt(options: pkcs11::Options, pin: &str) -> PinFault {
    let pin = pin.to_owned();
    let token = options.pin_from(move || Ok(Pin::new(&pin))).token().unwrap();
    fault(token.probe().map(drop))
}

/// Reports the result of each wrong PIN, and then of the right one.
pub fn child(allow: &str) {
    let options = || if allow == "allow" { options().allow_final_try() } else { options() };
    for number in 0..12 {
        send(&format!("{:?}", attempt(options(), &format!("0000000{number:x}"))));
    }
    send(&format!("{:?}", attempt(options(), &variable("ENVELOCK_P11_PIN"))));
    let locked = library().token_info(slot()).flags & ck::CKF_USER_PIN_LOCKED != 0;
    send(if locked { "locked" } else { "open" });
}

fn faults(allow: &str, expected: &[(&str, usize)], end: &str) {
    let second = Second::new(&[]);
    let mut child = Process::start_with(crate::MODULE, "pin lock", &[allow], &second.variables);
    let mut said: Vec<_> = (0..14).map(|_| child.must_hear()).collect();
    assert_eq!(said.pop().unwrap(), end);
    let mut grouped: Vec<(&str, usize)> = Vec::new();
    for fault in &said {
        match grouped.last_mut() {
            Some((last, count)) if last == fault => *count += 1,
            _ => grouped.push((fault, 1)),
        }
    }
    assert_eq!(grouped, expected);
    child.end();
}

/// Twelve wrong PINs, all different, and the right one.
#[test]
fn locking_token_is_spared_its_last_try() {
    match &*name() {
        "opencryptoki" => {
            faults("spare", &[("Rejected", 2), ("FinalTry", 11)], "open");
            faults("allow", &[("Rejected", 3), ("Locked", 10)], "locked");
        }
        "kryoptic" => {
            faults("spare", &[("Rejected", 9), ("FinalTry", 4)], "open");
            faults("allow", &[("Rejected", 9), ("Locked", 4)], "locked");
        }
        // They lock nothing.
        _ => {}
    }
}
