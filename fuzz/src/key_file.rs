//! Key files with right MACs around records of the fuzzer's, by a second writer.

use crate::Input;
use std::sync::LazyLock;

/// A committed unprotected key file: header, other records, and its MAC key.
pub struct Parts {
    pub records: Vec<String>,
    mac_key: [u8; 32],
    id: [u8; 16],
}

/// Of each format version.
const GOLDEN: [&str; 2] = [
    include_str!("../../tests/golden/keyfile/unprotected.keys"),
    include_str!("../../tests/golden/keyfile2/unprotected.keys"),
];

pub static PARTS: LazyLock<[Parts; 2]> = LazyLock::new(|| GOLDEN.map(parts));

fn parts(golden: &str) -> Parts {
    let strip = |line: &str| line["{\"record\":".len()..line.len() - 74].to_owned();
    let mut records: Vec<String> = golden.lines().map(strip).collect();
    records.pop();
    let field = |name: &str| {
        let at = records[0].find(name).expect("the header has it") + name.len() + 3;
        let end = records[0][at..].find('"').expect("it is a string") + at;
        unhex(&records[0][at..end])
    };
    let (id, file_key) = (field("\"id"), field("\"file_key"));
    let mac_key = hmac(&file_key, &[b"envelock key file mac v1", &[1]]);
    Parts { mac_key, id: id.try_into().expect("it has 16 bytes"), records }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("it is hex");
    (0..text.len() / 2).map(|index| byte(2 * index)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// A file of changed records, each under its own right MAC; the end record too, mostly.
pub fn file(parts: &Parts, input: &mut Input<'_>) -> Vec<u8> {
    let mut records: Vec<Vec<u8>> =
        parts.records.iter().map(|record| record.clone().into_bytes()).collect();
    while !input.is_empty() && records.len() < 64 {
        change(&mut records, input);
    }
    let mac =
        |record: &[u8]| hmac(&parts.mac_key, &[b"envelock key file record v1", &parts.id, record]);
    let macs: Vec<u8> = records.iter().flat_map(|record| mac(record)).collect();
    let whole = hmac(&parts.mac_key, &[b"envelock key file whole v1", &parts.id, &macs]);
    let mut end = format!("{{\"kind\":\"end\",\"lines\":{},", records.len() + 1).into_bytes();
    end.extend(format!("\"whole\":\"{}\",\"header\":", hex(&whole)).bytes());
    end.extend(records.first().map(Vec::as_slice).unwrap_or_default());
    end.push(b'}');
    records.push(end);
    let mut file = Vec::new();
    for record in &records {
        file.extend(b"{\"record\":");
        file.extend(record);
        file.extend(format!(",\"mac\":\"{}\"}}\n", hex(&mac(record))).bytes());
    }
    file
}

/// One change: to a record as text, or to the list of them.
fn change(records: &mut Vec<Vec<u8>>, input: &mut Input<'_>) {
    let count = records.len().max(1);
    let (kind, at, other) = (input.below(8), input.below(count), input.below(count));
    let Some(record) = records.get_mut(at) else { return };
    match kind {
        0 => record.clear(),
        1 | 2 => {
            let place = input.below(record.len() + 1);
            let (cut, len) = (input.below(32), input.below(16));
            let end = (place + cut).min(record.len());
            record.splice(place..end, input.take(len).iter().copied());
        }
        3 => {
            // A field more.
            let len = input.below(48);
            let field = input.take(len).to_vec();
            let place = record.len().saturating_sub(1);
            record.splice(place..place, [b",".to_vec(), field].concat());
        }
        4 => records.swap(at, other),
        5 => {
            let copy = record.clone();
            records.insert(other, copy);
        }
        6 => drop(records.remove(at)),
        _ => {
            let len = input.below(64);
            records.insert(other, input.take(len).to_vec());
        }
    }
}
