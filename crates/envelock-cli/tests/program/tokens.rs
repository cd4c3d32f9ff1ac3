//! Keyrings on a token of SoftHSM, where it is installed.

#![cfg(feature = "pkcs11")]

use crate::sandbox::{Result, Sandbox, failed, finish, succeeded};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Where distributions have the library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// A sandbox with a token, or `None` without SoftHSM.
struct Token {
    sandbox: Sandbox,
    keyring: String,
}

impl Token {
    fn new() -> Result<Option<Self>> {
        let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: SoftHSM is not installed");
            return Ok(None);
        };
        let sandbox = Sandbox::empty()?;
        std::fs::create_dir(sandbox.path("tokens"))?;
        let conf = format!("directories.tokendir = {}\n", sandbox.path("tokens").display());
        sandbox.write("softhsm2.conf", conf + "objectstore.backend = file\n")?;
        sandbox.write_secret("pin", "1234\n")?;
        let made = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", sandbox.path("softhsm2.conf"))
            .args(["--init-token", "--free", "--label", "orders token"])
            .args(["--pin", "1234", "--so-pin", "5678"])
            .output()?;
        assert!(made.status.success(), "{made:?}");
        let keyring = format!(
            "pkcs11:token=orders%20token?module-path={library}&x-catalogue=catalogue&pin-source=file:pin"
        );
        Ok(Some(Token { sandbox, keyring }))
    }

    fn run(&self, keyring: &str, arguments: &str) -> Result<Output> {
        let mut command = self.sandbox.command(&format!("-k {keyring} {arguments}"));
        finish(command.env("SOFTHSM2_CONF", self.sandbox.path("softhsm2.conf")), b"")
    }

    fn ok(&self, arguments: &str) -> Result<String> {
        succeeded(arguments, self.run(&self.keyring, arguments)?)
    }
}

#[test]
fn keyring_on_a_token_does_what_a_file_does() -> Result {
    let Some(token) = Token::new()? else { return Ok(()) };
    token.ok("key create orders --new-keyring")?;
    token.sandbox.write("plain", "x")?;
    token.ok("encrypt plain -o message")?;
    token.ok("key rotate orders")?;
    token.ok("rewrap message")?;
    token.ok("decrypt message -o back")?;
    assert_eq!(token.sandbox.read("back")?, b"x");
    let shown: Value = serde_json::from_str(
        token.ok("--json key show orders")?.lines().nth(1).ok_or("version 2")?,
    )?;
    assert_eq!((&shown["state"], &shown["origin"]), (&"primary".into(), &"token".into()));
    Ok(())
}

#[test]
fn token_that_refuses_is_reported() -> Result {
    let Some(token) = Token::new()? else { return Ok(()) };
    token.ok("key create orders --new-keyring")?;
    let other = token.keyring.replace("orders%20token", "absent");
    let errors = failed("other", &token.run(&other, "key list")?, 75)?;
    assert!(errors.contains("no token has label \"absent\""), "{errors}");
    token.sandbox.write_secret("pin", "4321")?;
    let errors = failed("pin", &token.run(&token.keyring, "key list")?, 1)?;
    assert!(errors.contains("the PIN is wrong"), "{errors}");
    let material = "key import orders --from-file material";
    token.sandbox.write_secret("pin", "1234")?;
    token.sandbox.write_secret("material", "07".repeat(32))?;
    let errors = failed(material, &token.run(&token.keyring, material)?, 1)?;
    assert!(errors.contains("key material cannot be imported"), "{errors}");
    assert!(errors.contains("key add orders`"), "{errors}");
    let tried = format!("{material} --dry-run");
    assert_eq!(failed(&tried, &token.run(&token.keyring, &tried)?, 1)?, errors);
    Ok(())
}
