//! The worked examples of `src/format/SPEC.md`, every intermediate value of them, computed again
//! from the specification's formulas over bare primitives, then by this crate.
//!
//! SPEC K-MASTER, K-NATIVE, K-CHECK, K-AAD, W-XAES, W-GCM, W-CBC, W-TOKEN, B-KDF, B-CONTEXT, B-NONCE, B-NOAAD, B-COMMIT, B-LAST:
//! a change of one of these rules changes a value here.

mod formulas;
mod tokens;

use envelock::rand_core::{TryCryptoRng, TryRng};
use envelock::{
    Aad, DataKey, Envelope, Error, KeyName, KeyVersion, Keyring, MasterKey, MasterKeyId,
    MemoryKeyring, SlotLabel, Suite, danger,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use formulas::{
    EXAMPLE_A, EXAMPLE_B, EXAMPLE_E, EXAMPLE_F, Foreign, Inputs, KEY_NAME, Values, compute,
};
use std::convert::Infallible;
use std::path::Path;

/// The file with the examples, in blocks fenced as `text` whose first line is `example` and a
/// letter: lines `name = hex`, continued by indented lines of hex.
const SOURCE: &str = "../src/format/SPEC.md";

/// Gives the randomness of the examples, in order, and nothing after it.
struct Scripted(Vec<u8>);

impl Scripted {
    fn new(inputs: &Inputs) -> Self {
        let (data_key, r, salt, wrap_nonce) = inputs.randomness();
        let mut drawn = [&data_key[..], &r, &salt, &wrap_nonce].concat();
        // A message draws as much as the longest data key needs, in one piece.
        drawn.resize(32 + 8 + 24 + 24, 0);
        Scripted(drawn)
    }
}

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unimplemented!("whole byte strings are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unimplemented!("whole byte strings are drawn")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}

/// Writes a foreign slot, if there is one, then the memory keyring's.
struct WithForeign {
    foreign: Option<Foreign>,
    keyring: MemoryKeyring,
}

impl WithForeign {
    fn new(inputs: &Inputs) -> Self {
        let version = KeyVersion::new(inputs.version).unwrap();
        let key = MasterKey::from_bytes(&inputs.master_key());
        let keyring = MemoryKeyring::import(KEY_NAME, version, &key).unwrap();
        WithForeign { foreign: inputs.foreign, keyring }
    }
}

impl Foreign {
    fn label(&self) -> SlotLabel<'static> {
        SlotLabel {
            name: KeyName::new(self.name).unwrap(),
            version: KeyVersion::new(self.version).unwrap(),
            master_key_id: MasterKeyId(self.id),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }
}

impl Keyring for WithForeign {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        if let Some(foreign) = &self.foreign {
            let max_wrapped_key_len = Some(foreign.wrapped_key.len());
            visit(&PrimaryKey { label: foreign.label(), max_wrapped_key_len });
        }
        self.keyring.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        if let Some(foreign) = &self.foreign {
            slots.push(&foreign.label(), foreign.wrapped_key)?;
        }
        self.keyring.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.keyring.unwrap(slot, context, data_key)
    }
}

fn value<'v>(values: &'v Values, name: &str) -> &'v [u8] {
    &values.iter().find(|(other, _)| *other == name).unwrap().1
}

fn check_with_envelock(inputs: &Inputs) {
    let values = compute(inputs);
    let message = value(&values, "message");
    let suite = Suite::from_id(inputs.suite).unwrap();
    let envelope = Envelope::new(WithForeign::new(inputs)).with_suite(suite);
    let envelope = envelope.with_reserved(inputs.padding);
    let aad = Aad::new(inputs.aad);
    let mut rng = Scripted::new(inputs);
    assert_eq!(envelope.with_rng(&mut rng).encrypt(inputs.plaintext, aad).unwrap(), message);
    assert!(rng.0.is_empty(), "not all of the randomness was drawn");
    assert_eq!(envelope.decrypt(message, aad).unwrap(), inputs.plaintext);

    let body = value(&values, "body");
    let salt = value(&values, "salt").try_into().unwrap();
    let [data_key, context] = ["data key", "context"].map(|name| value(&values, name));
    let encryptor = danger::chunk_encryptor(suite, data_key, salt, context).unwrap();
    assert_eq!(encryptor.prefix()[24..], *value(&values, "commitment"));
    assert_eq!(danger::decrypt_body(suite, data_key, context, body).unwrap(), inputs.plaintext);
}

#[test]
fn envelock_makes_and_opens_an_example_of_each_suite() {
    let examples = [&EXAMPLE_A, &EXAMPLE_E, &EXAMPLE_B, &EXAMPLE_F];
    assert_eq!(examples.map(|it| it.suite), [1, 2, 3, 4]);
    assert_eq!(examples.len(), Suite::ALL.len());
    examples.into_iter().for_each(check_with_envelock);
}

/// SPEC W-GCM, W-CBC, K-AAD: with the slots of the examples a message opens, and with any bit of the
/// wrapped key changed it does not.
#[test]
fn envelock_makes_and_opens_the_slots_of_tokens() {
    for inputs in [&tokens::EXAMPLE_C, &tokens::EXAMPLE_D] {
        let values = tokens::compute(inputs);
        let [core, slot, blob] = ["core", "slot 0", "wrapped key"].map(|name| value(&values, name));
        let envelope = Envelope::new(tokens::SoftToken(inputs));
        let mut rng = Scripted(inputs.randomness());
        let mut message = envelope.with_rng(&mut rng).encrypt(b"dawn", Aad::none()).unwrap();
        assert!(rng.0.is_empty(), "not all of the randomness was drawn");
        assert_eq!(message[..22], *core);
        let end = 25 + slot.len();
        assert_eq!(message[25..end], *slot);
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"dawn");
        for at in end - blob.len()..end {
            for bit in 0..8 {
                message[at] ^= 1 << bit;
                let opened = envelope.decrypt(&message, Aad::none());
                assert!(
                    matches!(opened, Err(Error::Authentication { .. })),
                    "bit {bit} of byte {at}"
                );
                message[at] ^= 1 << bit;
            }
        }
    }
}

/// The examples, with what computes them.
fn computed() -> [(&'static str, Values); 6] {
    [
        ("example A", compute(&EXAMPLE_A)),
        ("example B", compute(&EXAMPLE_B)),
        ("example C", tokens::compute(&tokens::EXAMPLE_C)),
        ("example D", tokens::compute(&tokens::EXAMPLE_D)),
        ("example E", compute(&EXAMPLE_E)),
        ("example F", compute(&EXAMPLE_F)),
    ]
}

/// The examples in `text`: title, then names with values.
fn parse(text: &str) -> Vec<(&str, Vec<(&str, String)>)> {
    let mut examples: Vec<(&str, Vec<(&str, String)>)> = Vec::new();
    let mut inside = false;
    for (line, next) in text.lines().zip(text.lines().skip(1)) {
        if line == "```text" && next.starts_with("example ") {
            inside = true;
        } else if line == "```" {
            inside = false;
        } else if inside && line.starts_with("example ") {
            examples.push((line, Vec::new()));
        } else if inside {
            let values = &mut examples.last_mut().unwrap().1;
            match line.split_once(" =") {
                Some((name, hex)) => values.push((name.trim_end(), hex.trim().into())),
                None => values.last_mut().unwrap().1.push_str(line.trim()),
            }
        }
    }
    examples
}

/// SPEC B-KDF, B-CONTEXT, B-NONCE, K-CHECK, K-MASTER, K-NATIVE, K-AAD, W-XAES, W-GCM, W-CBC, W-TOKEN:
/// the written values are those that the formulas give, none is missing and none is there that is
/// not computed.
#[test]
fn examples_in_specification_have_every_value_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE);
    let text = std::fs::read_to_string(path).unwrap();
    let hex = |values: Values| -> Vec<_> {
        values.into_iter().map(|(name, value)| (name, hex::encode(value))).collect()
    };
    assert_eq!(parse(&text), computed().map(|(title, values)| (title, hex(values))));
}

#[test]
#[ignore = "prints the examples as they stand in the specification"]
fn prints_the_examples() {
    for (title, values) in computed() {
        println!("```text\n{title}");
        for (name, value) in values {
            let hex = hex::encode(value);
            let lines: Vec<_> = hex.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
            println!(
                "{}",
                format!("{name:<16} = {}", lines.join("\n                   ")).trim_end()
            );
        }
        println!("```\n");
    }
}
