//! Searches text for secrets in the spellings that code prints bytes in (THREATS 48).

use envelock::rand_core::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub const MASTER_KEY: [u8; 32] =
    *b"\x8C\x21uT7qzK2-mW9xJ4bRqe\xE3\x81\xFD\x06\xC5\x1B\xA9\x66\xE0\x42\x8F\xD4";
pub const PLAINTEXT: &[u8] = b"\xC3\x28Yq3nLx8Qz-Gd5tUe1\x99\x01\xFB\xEA\x73\x5D\xB8\x2E";
pub const AAD: &[u8] = b"\xB7\x44hC6wZr0k_Fs2vNc7Dj4\x1F\xAD\x62\xC9";

/// The generator whose first 32 bytes are the data key.
pub fn seeded() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([72; 32])
}

pub fn data_key() -> [u8; 32] {
    let mut data_key = [0; 32];
    seeded().fill_bytes(&mut data_key);
    data_key
}

fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|group| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| char::from(alphabet[(bits >> shift) as usize & 63]))
    });
    groups.flatten().collect()
}

fn spellings(piece: &[u8]) -> Vec<String> {
    let list = |separator: &str, spell: &dyn Fn(&u8) -> String| {
        piece.iter().map(spell).collect::<Vec<_>>().join(separator)
    };
    let mut spellings = vec![
        String::from_utf8_lossy(piece).into_owned(),
        piece.escape_ascii().to_string(),
        base64(&piece[..6]),
        base64(&piece[..6]).replace('+', "-").replace('/', "_"),
    ];
    for separator in ["", " ", ":", ", "] {
        spellings.push(list(separator, &|byte| format!("{byte:02x}")));
        spellings.push(list(separator, &|byte| format!("{byte:02X}")));
    }
    for separator in [",", ", ", " ", ",\n    "] {
        spellings.push(list(separator, &|byte| byte.to_string()));
    }
    spellings
}

/// Which eight bytes of `secret` stand in `text`.
fn find(text: &str, secret: &[u8]) -> Option<String> {
    secret.windows(8).find_map(|piece| {
        let spellings = spellings(piece);
        spellings.into_iter().find(|spelling| spelling.len() >= 8 && text.contains(spelling))
    })
}

#[track_caller]
pub fn assert_no_secret(text: &str) {
    for piece in [&data_key()[..], &MASTER_KEY[..], PLAINTEXT, AAD] {
        assert_eq!(find(text, piece), None);
    }
    // The search can find something.
    assert!(find(&format!("{text} {:?}", &MASTER_KEY[3..]), &MASTER_KEY).is_some());
    assert!(find(&format!("{text} {}", hex::encode(data_key())), &data_key()).is_some());
}
