//! Key files written by another hand, from FORMAT.md: whatever records a test wants, with right MACs.

use super::make::{NOW, Seeded, twenty};
use envelock::file::Protection;
use envelock::rand_core::TryRng;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The file key of an unprotected file, and its id.
pub struct Crafter {
    mac_key: [u8; 32],
    id: [u8; 16],
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

impl Crafter {
    /// FORMAT F-PROTECT
    pub fn of(header: &str) -> Self {
        let header: serde_json::Value = serde_json::from_str(header).unwrap();
        let text = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
        let file_key = text(&header["protections"][0]["file_key"]);
        Crafter::with_key(&file_key, text(&header["id"]).try_into().unwrap())
    }

    /// Of the file key that a new file of this seed draws: after its id.
    pub fn drawn(seed: u8) -> Self {
        let mut rng = Seeded::new(seed);
        let (mut id, mut file_key) = ([0; 16], [0; 32]);
        rng.try_fill_bytes(&mut id).unwrap();
        rng.try_fill_bytes(&mut file_key).unwrap();
        Crafter::with_key(&file_key, id)
    }

    fn with_key(file_key: &[u8], id: [u8; 16]) -> Self {
        Crafter { mac_key: hmac(file_key, &[b"envelock key file mac v1", &[1]]), id }
    }

    fn mac(&self, record: &str) -> [u8; 32] {
        hmac(&self.mac_key, &[b"envelock key file record v1", &self.id, record.as_bytes()])
    }

    /// FORMAT F-LINE, F-MAC
    pub fn line(&self, record: &str) -> String {
        format!("{{\"record\":{record},\"mac\":\"{}\"}}\n", hex::encode(self.mac(record)))
    }

    /// A file of records, the header first, with an end record that has `extra` at its end.
    /// FORMAT F-WHOLE, F-COPY
    pub fn file_with_end<S: AsRef<str>>(&self, records: &[S], extra: &str) -> Vec<u8> {
        let macs: Vec<u8> = records.iter().flat_map(|it| self.mac(it.as_ref())).collect();
        let whole = hmac(&self.mac_key, &[b"envelock key file whole v1", &self.id, &macs]);
        let lines: String = records.iter().map(|it| self.line(it.as_ref())).collect();
        let end = format!(
            r#"{{"kind":"end","lines":{},"whole":"{}","header":{}{extra}}}"#,
            records.len() + 1,
            hex::encode(whole),
            records[0].as_ref(),
        );
        [lines, self.line(&end)].concat().into_bytes()
    }

    pub fn file<S: AsRef<str>>(&self, records: &[S]) -> Vec<u8> {
        self.file_with_end(records, "")
    }
}

/// The records of a file, without its end record.
pub fn records(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let strip = |line: &str| line["{\"record\":".len()..line.len() - 74].to_owned();
    let mut records: Vec<String> = text.lines().map(strip).collect();
    records.pop();
    records
}

/// An unprotected file of 20 versions as records, and what writes it.
pub fn unprotected() -> (Vec<String>, Crafter) {
    let (file, key) = twenty(&Protection::unprotected_plaintext(), 2);
    let bytes = file.encode(&key, NOW).unwrap();
    let records = records(&bytes);
    let crafter = Crafter::of(&records[0]);
    assert!(crafter.file(&records) == bytes, "the second writer writes something else");
    (records, crafter)
}
