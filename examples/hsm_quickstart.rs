//! The quickstart with master keys on a PKCS#11 token. Only the constructor differs.
//!
//! ```text
//! examples/hsm_setup.sh                  # SoftHSM2, and the variables below in target/hsm/env
//! source target/hsm/env
//! cargo run --release --features pkcs11 --example hsm_quickstart [DIRECTORY]
//! ```
//!
//! For another token, set `ENVELOCK_P11_MODULE` (the path of its library), `ENVELOCK_P11_LABEL`,
//! `ENVELOCK_P11_PIN_FILE` (mode 0600), `ENVELOCK_P11_CATALOGUE` (the path of the key file) and, for
//! NSS, `ENVELOCK_P11_RESERVED`. Each run adds a version, whose keys stay on the token.

#[path = "common/tour.rs"]
mod tour;

use envelock::{Pkcs11Keyring, pkcs11};
use std::env;
use std::path::PathBuf;
use tour::{KEY, Result};

fn main() -> Result<()> {
    let token = token()?;
    let catalogue = PathBuf::from(variable("ENVELOCK_P11_CATALOGUE")?);
    let open = || Pkcs11Keyring::open(&catalogue, KEY, &token);
    let create = || Pkcs11Keyring::create(&catalogue, KEY, &token);
    tour::run(|_| Ok(if catalogue.exists() { open() } else { create() }?), |_| Ok(open()?))
}

fn token() -> Result<pkcs11::Token> {
    let mut options = pkcs11::Options::new(variable("ENVELOCK_P11_MODULE")?)
        .token_label(variable("ENVELOCK_P11_LABEL")?)
        .pin_file(variable("ENVELOCK_P11_PIN_FILE")?);
    if let Ok(reserved) = env::var("ENVELOCK_P11_RESERVED") {
        options = options.reserved(reserved);
    }
    Ok(options.token()?)
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| format!("{name} is not set: see examples/hsm_setup.sh").into())
}
