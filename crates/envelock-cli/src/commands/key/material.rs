//! Key material of an operator: from a file, a descriptor or the environment, never from an argument.

use crate::failure::{Exit, Failure};
use crate::secrets::{Secret, SecretSource, hexadecimal};
use base64ct::{Base64, Encoding as _};
use clap::{Args, ValueEnum};
use envelock::MasterKey;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where key material comes from.
#[derive(Args)]
#[group(required = true, multiple = false, id = "material")]
pub struct MaterialSource {
    /// Read the key material from this file, which only its owner may read.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Read the key material from this open descriptor: `3` with `3<FILE`.
    #[arg(long, value_name = "FD")]
    from_fd: Option<u16>,
    /// Read the key material from this environment variable.
    #[arg(long, value_name = "VARIABLE")]
    from_env: Option<String>,
}

/// The encoding of key material.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Encoding {
    /// 64 hexadecimal digits.
    Hex,
    /// 44 characters of base64 (RFC 4648, section 4).
    Base64,
    /// 32 bytes.
    Raw,
}

impl MaterialSource {
    /// Reads the material: 32 bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read, others than its owner may read its file, or it is not 32 bytes in this encoding.
    pub fn read(&self, encoding: Encoding) -> Result<MasterKey, Failure> {
        let file = self.from_file.clone().map(SecretSource::File);
        let source = file.or(self.from_fd.map(SecretSource::Descriptor));
        let source = source.or(self.from_env.clone().map(SecretSource::Variable));
        let source = source.ok_or_else(|| {
            Failure::usage("no source of the key material is named", "pass `--from-file FILE`")
        })?;
        let bytes = source.read_bytes("key material")?;
        let decoded = match encoding {
            Encoding::Hex => hexadecimal(&bytes),
            Encoding::Base64 => base64(bytes.trim_ascii_end()),
            Encoding::Raw => Some(bytes),
        };
        decoded.and_then(|bytes| MasterKey::from_slice(&bytes)).ok_or_else(|| {
            let what = "the key material is not 32 bytes in that encoding";
            let next = "`--encoding` is hex (64 digits), base64 (44 characters) or raw (32 bytes)";
            Failure::new(Exit::CouldNotRun, what, next).of(source)
        })
    }
}

/// Decodes base64 (RFC 4648, section 4) with padding, and without bits that say nothing.
fn base64(text: &[u8]) -> Option<Secret> {
    let mut bytes = Zeroizing::new(vec![0; text.len()]);
    let len = Base64::decode(text, &mut bytes).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}
