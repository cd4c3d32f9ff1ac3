//! `envelock encrypt`: a file or standard input to a message.

use super::associated_data::AssociatedData;
use super::streams::{Input, NewFile, Target};
use crate::context::Context;
use crate::failure::Failure;
use crate::open_keyring::OpenKeyring;
use clap::Args;
use envelock::{Aad, Envelope, Error, Keyring, Lifecycle as _, MultiKeyring, file};
use std::sync::Arc;

/// Arguments of `envelock encrypt`.
#[derive(Args)]
pub struct Encrypt {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    target: Target,
    /// The master key or alias to encrypt under, if the keyring has several.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Another keyring that alone can decrypt the message, too; can be repeated.
    #[arg(long, value_name = "KEYRING")]
    also: Vec<String>,
    #[command(flatten)]
    associated_data: AssociatedData,
}

impl Encrypt {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.input.check(context)?;
        let target = self.target.check(true)?;
        let aad = self.associated_data.bytes(context)?;
        let mut keyrings = vec![context.keyring()?];
        if let (Some(key), [keyring]) = (&self.key, keyrings.as_mut_slice()) {
            *keyring = keyring.with_key(key)?;
        }
        for also in &self.also {
            keyrings.push(context.other_keyring(also)?);
        }
        target.check(&context.files_in_use(), false)?;
        let envelope = Envelope::new(together(&keyrings)?);
        let aad = Aad::new(&aad);
        let failed = |error| {
            let names: Vec<&str> = keyrings.iter().map(|keyring| keyring.given.as_str()).collect();
            let has_no_primary = matches!(error, Error::NoPrimary);
            let failure = self.input.failure(error, &names.join(", "));
            match keyrings.as_slice() {
                [keyring] if has_no_primary => {
                    let key = keyring.lifecycle().key().to_string();
                    failure.with_next(format!(
                        "`envelock key rotate {key}` makes a version that wraps"
                    ))
                }
                _ => failure,
            }
        };
        match target {
            NewFile::At(path, options) => {
                let len = match self.input.is_standard_input() {
                    true => file::encrypt_from(&envelope, self.input.open()?, &path, aad, options),
                    false => file::encrypt(&envelope, self.input.path(), &path, aad, options),
                };
                let len = len.map_err(failed)?;
                context.flush(&keyrings);
                self.target.print(context.output(), &path, len)
            }
            NewFile::StandardOutput(sink) => {
                envelope.encrypt_copy(self.input.open()?, sink, aad).map_err(failed)?;
                context.flush(&keyrings);
                Ok(())
            }
        }
    }
}

/// Returns a keyring that wraps with every one of `keyrings`.
fn together(keyrings: &[OpenKeyring]) -> Result<Arc<dyn Keyring>, Failure> {
    let mut members = keyrings.iter().map(OpenKeyring::lifecycle);
    let first = members.next().ok_or(Error::NoPrimary)?;
    if keyrings.len() == 1 {
        return Ok(first);
    }
    let mut all = MultiKeyring::new(first);
    for member in members {
        all = all.with(member)?;
    }
    Ok(Arc::new(all))
}
