//! A guess at what input is that does not start like a message of ours.

use super::MAGIC;
use core::fmt;

/// What input without envelock's magic looks like, from its first bytes.
///
/// A guess, to save its reader an hour; nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LooksLike {
    /// No bytes at all.
    Empty,
    /// All zero as far as looked: a sparse file, a column that was never written.
    Zeroes,
    /// A message in base64 or base64url, in quotes at times: decode it first.
    Base64,
    /// A message in base64 of base64, as some tools for secrets make it: decode it twice.
    Base64Twice,
    /// A message in hexadecimal: decode it first.
    Hex,
    /// A message that something took for Latin-1 text and wrote as UTF-8 or UTF-16: it is damaged.
    TextConversion,
    /// A message with leading white space or a byte order mark.
    LeadingText,
    /// An age file.
    Age,
    /// An OpenPGP message.
    Pgp,
    /// A PEM block.
    Pem,
    /// A HashiCorp Vault Transit ciphertext.
    VaultTransit,
    /// A JSON document.
    Json,
    /// A JSON Web Encryption or signed token.
    Jose,
    /// A message of the AWS Encryption SDK.
    AwsEncryptionSdk,
    /// The output of `openssl enc`.
    OpensslEnc,
    /// A gzip, zstd or zip stream: decompress it first.
    Compressed,
    /// Other text.
    Text,
    /// Other bytes; a body that lost its header looks like this.
    Unknown,
}

/// Bytes looked at to tell text from bytes.
const SAMPLE_LEN: usize = 64;

impl LooksLike {
    pub(super) fn guess(input: &[u8]) -> Self {
        let sample = input.get(..SAMPLE_LEN).unwrap_or(input);
        let text = sample.trim_ascii_start();
        let by_prefix: [(&[u8], LooksLike); 23] = [
            // base64 of the magic and format version: E5 4E 56 4C 01.
            (b"5U5WTA", LooksLike::Base64),
            (b"\"5U5WTA", LooksLike::Base64),
            (b"'5U5WTA", LooksLike::Base64),
            (b"NVU1V1RB", LooksLike::Base64Twice),
            (b"e54e564c", LooksLike::Hex),
            (b"E54E564C", LooksLike::Hex),
            (b"\"e54e564c", LooksLike::Hex),
            (b"\"E54E564C", LooksLike::Hex),
            (b"\\xe54e564c", LooksLike::Hex),
            (b"0xe54e564c", LooksLike::Hex),
            (b"\xC3\xA5NVL", LooksLike::TextConversion),
            (b"\xEF\xBF\xBDNVL", LooksLike::TextConversion),
            (b"\xEF\xBB\xBF\xE5NVL", LooksLike::LeadingText),
            (b"age-encryption.org/", LooksLike::Age),
            (b"-----BEGIN AGE ENCRYPTED FILE", LooksLike::Age),
            (b"-----BEGIN PGP ", LooksLike::Pgp),
            (b"-----BEGIN ", LooksLike::Pem),
            (b"vault:v", LooksLike::VaultTransit),
            (b"eyJ", LooksLike::Jose),
            (b"Salted__", LooksLike::OpensslEnc),
            (b"{", LooksLike::Json),
            (b"[{", LooksLike::Json),
            (b"[\"", LooksLike::Json),
        ];
        let by_bytes: [(&[u8], LooksLike); 9] = [
            (b"\xFF\xFE\xE5\0N\0V\0L\0", LooksLike::TextConversion),
            (b"\xFE\xFF\0\xE5\0N\0V\0L", LooksLike::TextConversion),
            (b"\xE5\0N\0V\0L\0", LooksLike::TextConversion),
            (&[0x02, 0x04, 0x78], LooksLike::AwsEncryptionSdk),
            (&[0x02, 0x05, 0x78], LooksLike::AwsEncryptionSdk),
            (&[0x01, 0x80], LooksLike::AwsEncryptionSdk),
            (&[0x1F, 0x8B], LooksLike::Compressed),
            (&[0x28, 0xB5, 0x2F, 0xFD], LooksLike::Compressed),
            (b"PK\x03\x04", LooksLike::Compressed),
        ];
        let prefixed = |prefixes: &[(&[u8], LooksLike)], bytes: &[u8]| {
            prefixes.iter().find(|(prefix, _)| bytes.starts_with(prefix)).map(|(_, guess)| *guess)
        };
        let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        if input.is_empty() {
            LooksLike::Empty
        } else if sample.iter().all(|byte| *byte == 0) {
            LooksLike::Zeroes
        } else if text.starts_with(&MAGIC) {
            LooksLike::LeadingText
        } else if let Some(guess) = prefixed(&by_prefix, text).or(prefixed(&by_bytes, sample)) {
            guess
        } else if sample.iter().all(printable) {
            LooksLike::Text
        } else {
            LooksLike::Unknown
        }
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LooksLike::Empty => "it is empty",
            LooksLike::Zeroes => "it is all zero bytes",
            LooksLike::Base64 => "it looks like base64 of one, decode it first",
            LooksLike::Base64Twice => "it looks like base64 of base64 of one, decode it twice",
            LooksLike::Hex => "it looks like hexadecimal of one, decode it first",
            LooksLike::TextConversion => "it looks like one that was damaged by a text conversion",
            LooksLike::LeadingText => "it looks like one behind white space or a byte order mark",
            LooksLike::Age => "it looks like an age file",
            LooksLike::Pgp => "it looks like an OpenPGP message",
            LooksLike::Pem => "it looks like a PEM block",
            LooksLike::VaultTransit => "it looks like a Vault Transit ciphertext",
            LooksLike::Json => "it looks like JSON",
            LooksLike::Jose => "it looks like a JOSE token",
            LooksLike::AwsEncryptionSdk => "it looks like a message of the AWS Encryption SDK",
            LooksLike::OpensslEnc => "it looks like output of openssl enc",
            LooksLike::Compressed => "it looks compressed",
            LooksLike::Text => "it looks like text",
            LooksLike::Unknown => "it has no envelock header",
        })
    }
}
