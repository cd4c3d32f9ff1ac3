//! Reports what a PKCS#11 token supports, and prints the code that opens it.
//!
//! ```sh
//! cargo run --release --features pkcs11 --example hsm_probe -- MODULE [LABEL] [PIN_FILE]
//! ```
//!
//! `MODULE` is the path of the token's library. Without a label, the library may have one token only.
//! Without a file, the PIN is read from standard input. NSS needs its configuration in
//! `ENVELOCK_P11_RESERVED`. The example leaves nothing on the token.

use envelock::{
    Error,
    pkcs11::{self, Pin},
};
use std::error::Error as _;
use std::process::ExitCode;
use std::{env, io};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let Some(module) = arguments.next() else {
        eprintln!("usage: hsm_probe MODULE [LABEL] [PIN_FILE]");
        return ExitCode::FAILURE;
    };
    let (label, pin_file) = (arguments.next(), arguments.next());
    match probe(&module, label.as_deref(), pin_file.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn probe(module: &str, label: Option<&str>, pin_file: Option<&str>) -> Result<(), Error> {
    let mut options = pkcs11::Options::new(module);
    if let Some(label) = label {
        options = options.token_label(label);
    }
    if let Ok(reserved) = env::var("ENVELOCK_P11_RESERVED") {
        options = options.reserved(reserved);
    }
    options = match pin_file {
        Some(path) => options.pin_file(path),
        None => options.pin_from(|| {
            eprint!("PIN: ");
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            Ok(Pin::new(line.trim_end_matches(['\r', '\n'])))
        }),
    };
    let report = options.token()?.probe()?;
    println!("{report}");
    if report.chosen().is_some() {
        println!("\nlet token = envelock::pkcs11::Options::new({module:?})");
        println!("    .token_label({:?})", report.label);
        println!("    .token_serial({:?})", report.serial);
        if let Ok(reserved) = env::var("ENVELOCK_P11_RESERVED") {
            println!("    .reserved({reserved:?})");
        }
        println!("    .pin_file({:?})", pin_file.unwrap_or("/path/to/a/file/of/mode/0600"));
        println!("    .token()?;");
    }
    Ok(())
}
