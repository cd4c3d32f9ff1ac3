//! The bodies of requests.

use base64ct::{Base64, Encoding};
use envelock::KeyVersion;
use envelock_remote::{Decrypt, Encrypt};
use zeroize::Zeroizing;

/// A type of key that does not exist. Transit looks at the type only where it would have to create the key, and
/// then refuses: so encryption never creates one, whatever the token may do.
const NO_UPSERT: &str = r#""type":"existing-key-only","#;

/// What an item has beside its values: names, quotes, prefix and version.
const ITEM_OVERHEAD: usize = 80;

/// JSON that is made of base64, digits and names, so that nothing needs an escape. Wiped on drop.
pub(crate) type Json = Zeroizing<Vec<u8>>;

pub(crate) fn encrypt(items: &[Encrypt<'_>]) -> Json {
    let lengths = items.iter().map(|item| (item.plaintext.len(), item.context.len()));
    let mut json = room(lengths);
    json.extend_from_slice(b"{");
    json.extend_from_slice(NO_UPSERT.as_bytes());
    batch(&mut json, items, |json, item| {
        json.extend_from_slice(br#""plaintext":""#);
        base64(json, item.plaintext);
        item.context
    });
    json
}

/// The body of a decryption, and that of a rewrap.
pub(crate) fn decrypt(items: &[&Decrypt<'_>]) -> Json {
    let lengths = items.iter().map(|item| (item.blob.len(), item.context.len()));
    let mut json = room(lengths);
    json.extend_from_slice(b"{");
    batch(&mut json, items, |json, item| {
        json.extend_from_slice(br#""ciphertext":""#);
        json.extend_from_slice(format!("vault:v{}:", item.version).as_bytes());
        base64(json, item.blob);
        item.context
    });
    json
}

/// Room for all of it, since a buffer that grows leaves copies behind.
fn room(lengths: impl Iterator<Item = (usize, usize)>) -> Json {
    let encoded = |len: usize| len.div_ceil(3) * 4;
    let items = lengths.map(|(value, context)| encoded(value) + encoded(context) + ITEM_OVERHEAD);
    Zeroizing::new(Vec::with_capacity(items.sum::<usize>() + ITEM_OVERHEAD))
}

fn batch<'a, T>(json: &mut Json, items: &[T], value: impl Fn(&mut Json, &T) -> &'a [u8]) {
    json.extend_from_slice(br#""batch_input":["#);
    for (index, item) in items.iter().enumerate() {
        json.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        let context = value(json, item);
        json.extend_from_slice(br#"","context":""#);
        base64(json, context);
        json.extend_from_slice(br#""}"#);
    }
    json.extend_from_slice(b"]}");
}

/// Appends `bytes` in base64 by pieces, each of which is wiped.
fn base64(json: &mut Json, bytes: &[u8]) {
    const PIECE: usize = 48;
    let mut text = Zeroizing::new([0; PIECE / 3 * 4]);
    for piece in bytes.chunks(PIECE) {
        // Nothing: the room of a piece is that of its base64.
        let encoded = Base64::encode(piece, text.as_mut_slice()).unwrap_or_default();
        json.extend_from_slice(encoded.as_bytes());
    }
}

pub(crate) fn create() -> Json {
    Zeroizing::new(br#"{"type":"aes256-gcm96","derived":true}"#.to_vec())
}

pub(crate) fn empty() -> Json {
    Zeroizing::new(b"{}".to_vec())
}

/// An object of numbers and truth values; those that are `None` are left out.
pub(crate) fn fields(fields: &[(&str, Option<String>)]) -> Json {
    let given = fields.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let pairs: Vec<_> = given.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    Zeroizing::new(format!("{{{}}}", pairs.join(",")).into_bytes())
}

pub(crate) fn number(version: KeyVersion) -> String {
    version.number().to_string()
}
