//! Key material of an operator: from a file, a descriptor or the environment, never from an argument.

use crate::failure::{Exit, Failure};
use crate::secrets::{Secret, SecretSource, hexadecimal};
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
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut count): (u32, u32) = (0, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit.checked_sub(b'A'),
            b'a'..=b'z' => digit.checked_sub(b'a' - 26),
            b'0'..=b'9' => digit.checked_add(52 - b'0'),
            b'+' => Some(62),
            b'/' => Some(63),
            _ => None,
        };
        bits = bits << 6 | u32::from(value?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        let decoded = |text: &[u8]| base64(text).map(|bytes| bytes.to_vec());
        let vectors: [(&[u8], &[u8]); 7] = [
            (b"", b""),
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==", b"foob"),
            (b"Zm9vYmE=", b"fooba"),
            (b"Zm9vYmFy", b"foobar"),
        ];
        for (text, bytes) in vectors {
            assert_eq!(decoded(text).as_deref(), Some(bytes));
        }
        assert_eq!(decoded(b"+/+/").as_deref(), Some(&[0xfb, 0xff, 0xbf][..]));
        for wrong in [&b"Zg="[..], b"Zg", b"Zh==", b"Z===", b"Zm9-", b"Zg==Zg==", b"Zm 9"] {
            assert_eq!(decoded(wrong), None, "{wrong:?}");
        }
    }
}
