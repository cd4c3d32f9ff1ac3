//! `envelock key import`: a version whose key material exists already.

use super::change::ChangeArguments;
use super::material::{Encoding, MaterialSource};
use crate::context::Context;
use crate::failure::Failure;
use crate::new_name;
use clap::Args;
use envelock::KeyVersion;
use envelock::keyset::{Change, Material};

/// Arguments of `envelock key import`.
#[derive(Args)]
pub struct Import {
    /// The name or an alias of the key; with `--new-key` a name that is free.
    key: String,
    /// The number of the version, above every number that was used. Default: the next.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Create the key, with this version as its primary. Otherwise the version is pending.
    #[arg(long)]
    new_key: bool,
    /// How the key material is written.
    #[arg(long, value_enum, default_value = "hex")]
    encoding: Encoding,
    #[command(flatten)]
    source: MaterialSource,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Import {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        if self.new_key {
            new_name::check("a key", &self.key)?;
        }
        let version = self.version.map(|number| {
            KeyVersion::new(number)
                .ok_or_else(|| Failure::usage("there is no version 0", "`--version 1`, or none"))
        });
        let version = version.transpose()?;
        let material = self.source.read(self.encoding)?;
        let (key, material) = (self.key.as_str(), Material::Imported(&material));
        let change = match self.new_key {
            true => {
                let version = version.unwrap_or(KeyVersion::FIRST);
                Change::CreateKey { key, version, material }
            }
            false => Change::AddVersion { key, version, material },
        };
        self.change
            .make(context, &[change])
            .map_err(|failure| failure.naming("key add KEY`", format!("key add {key}`")))
    }
}
