//! Every bit of a key file of 20 versions, flipped (THREATS row 61).

use super::make::{NOW, Seeded, raw_key, twenty};
use envelock::test_access::key_file_format::{KeyFile, Salvaged, salvage};
use envelock::{
    KeyVersion,
    file::{KeyFileFault, RecordName},
    keyset::VersionState,
};
use std::collections::BTreeSet;

/// The record of a line, read without the crate.
struct Extent {
    end: usize,
    name: RecordName,
    /// Where the bytes end that name the record.
    named: usize,
}

fn extents(bytes: &[u8]) -> Vec<Extent> {
    let mut start = 0;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            let record = &value["record"];
            let text = |field: &str| record[field].as_str().unwrap().to_owned();
            let number = record["version"].as_u64().unwrap_or(1) as u32;
            let (name, last) = match record["kind"].as_str().unwrap() {
                "header" => (RecordName::Header, "\"format\""),
                "key" => (RecordName::Key { name: text("name") }, "\"taken\""),
                "version" => {
                    let version = KeyVersion::new(number).unwrap();
                    (RecordName::Version { key: text("key"), version }, "\"id\"")
                }
                "alias" => (RecordName::Alias { name: text("name") }, "\"key\""),
                _ => (RecordName::End, "\"lines\""),
            };
            let last = line.windows(last.len()).position(|it| it == last.as_bytes()).unwrap();
            let extent = Extent { end: start + line.len(), name, named: start + last };
            start = extent.end;
            extent
        })
        .collect()
}

type Versions = BTreeSet<(String, KeyVersion)>;

fn versions(file: &KeyFile) -> Versions {
    let of = |keyset: &envelock::keyset::Keyset| {
        let name = keyset.name().as_str().to_owned();
        keyset.versions().iter().map(move |it| (name.clone(), it.version)).collect::<Vec<_>>()
    };
    file.keysets().iter().flat_map(of).collect()
}

#[test]
fn every_flipped_bit_is_named_and_the_rest_salvaged() {
    let (file, key) = twenty(&raw_key(), 1);
    let bytes = file.encode(&key, NOW).unwrap();
    let extents = extents(&bytes);
    let all = versions(&file);
    assert_eq!(all.len(), 20);
    let halves = [0, 1].map(|half| {
        let (bytes, extents, file, all) = (&bytes, &extents, &file, &all);
        move || {
            let mut count = Count::default();
            for at in (half..bytes.len()).step_by(2) {
                let index = extents.iter().position(|extent| at < extent.end).unwrap();
                for bit in 0..8 {
                    flip(bytes, at, bit, index, extents, file, all, &mut count);
                }
            }
            count
        }
    });
    let counts = std::thread::scope(|scope| {
        halves.map(|half| scope.spawn(half)).map(|thread| thread.join().unwrap())
    });
    let sum = |at: usize| counts[0].0[at] + counts[1].0[at];
    let [flips, named, whole, less, wrong] = [0, 1, 2, 3, 4].map(sum);
    println!("{flips} flips, {named} named; 20 versions salvaged of {whole}, 19 of {less}");
    assert_eq!(flips, bytes.len() * 8);
    assert_eq!(whole + less, flips);
    assert_eq!(wrong, 0, "wrong names");
    assert!(named * 100 > flips * 80, "only {named} of {flips} were named");
}

/// Flips, those named by their record, salvages of 20 and of 19 versions, and wrong names.
#[derive(Default)]
struct Count([usize; 5]);

#[expect(clippy::too_many_arguments)]
fn flip(
    bytes: &[u8],
    at: usize,
    bit: u32,
    index: usize,
    extents: &[Extent],
    file: &KeyFile,
    all: &Versions,
    count: &mut Count,
) {
    let extent = &extents[index];
    let mut changed = bytes.to_vec();
    changed[at] ^= 1 << bit;
    let reported = || format!("bit {bit} of byte {at}, of {} on line {}", extent.name, index + 1);
    let fault = KeyFile::open(&changed, &raw_key()).map(drop).expect_err(&reported());
    assert_eq!(fault.line(), Some(index + 1), "{}: {fault}", reported());
    let named = match &fault {
        KeyFileFault::Record { record, .. } => *record == extent.name,
        _ => extent.name == RecordName::Header,
    };
    // A line without its frame has no name, and the name on a line may be what is damaged.
    let unnamed = matches!(&fault, KeyFileFault::Record { record: RecordName::Unknown, .. });
    if !named && !unnamed && at >= extent.named {
        count.0[4] += 1;
        println!("{}: {fault}", reported());
    }

    let salvaged =
        salvage(&changed, &raw_key()).unwrap_or_else(|fault| panic!("{}: {fault}", reported()));
    let lost = lost(&salvaged, all);
    assert!(!salvaged.damaged.is_empty(), "{}", reported());
    let own = match &extent.name {
        // A line end: both records are whole.
        RecordName::Version { key, version } if at + 1 < extent.end => {
            Some((key.clone(), *version))
        }
        _ => None,
    };
    assert_eq!(lost, own.iter().cloned().collect(), "{}", reported());
    consistent(&salvaged, file, own);
    if (at * 8 + bit as usize).is_multiple_of(997) {
        stored_again(&salvaged);
    }
    count.0[0] += 1;
    count.0[1] += usize::from(named);
    count.0[2 + lost.len()] += 1;
}

fn lost(salvaged: &Salvaged, all: &Versions) -> Versions {
    let found = versions(&salvaged.file);
    assert_eq!(found, salvaged.intact.iter().cloned().collect());
    assert!(found.is_subset(all));
    all - &found
}

/// The other records are unchanged; numbers stay taken, and nothing became the primary.
fn consistent(salvaged: &Salvaged, file: &KeyFile, lost: Option<(String, KeyVersion)>) {
    let (after, before) = (salvaged.file.keysets(), file.keysets());
    for keyset in after.iter() {
        let name = keyset.name().as_str();
        let old = before.keyset(name).unwrap();
        assert!(
            (old.highest_version()..=old.highest_version() + 1).contains(&keyset.highest_version())
        );
        for record in keyset.versions() {
            assert_eq!(old.version(record.version), Some(record));
        }
        let primary = old.primary().filter(|it| lost != Some((name.into(), *it)));
        assert_eq!(keyset.primary(), primary);
    }
    assert!(salvaged.revision.is_some_and(|revision| revision == before.revision()));
    let undestroyed = |keysets: &envelock::keyset::KeysetMap| {
        let versions = keysets.iter().flat_map(|keyset| keyset.versions());
        versions.filter(|it| it.state != VersionState::Destroyed).count()
    };
    let material = salvaged.file.verify_material(&salvaged.key).unwrap();
    assert_eq!(material, undestroyed(after));
}

fn stored_again(salvaged: &Salvaged) {
    let mut rng = Seeded::new(9);
    let (file, key) =
        salvaged.file.replace_file_key(&salvaged.key, &[&raw_key()], &mut rng).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    let (again, key) = KeyFile::open(&bytes, &raw_key()).unwrap();
    assert_eq!(again.keysets(), salvaged.file.keysets());
    again.verify_material(&key).unwrap();
    assert!(KeyFile::reload(&bytes, &salvaged.key).is_err());
}
