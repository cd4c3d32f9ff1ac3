//! Makes the golden messages from seeded generators, byte for byte the same every time.

use super::independent::Material;
use super::manifest::{Entry, rule, words};
use crate::common::detached::WriteDetached;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Aad, AadPairs, DataKey, Envelope, KeyName, KeyVersion, Keyring, Lifecycle, MasterKey,
    MasterKeyId, MemoryKeyring, RewrapOptions, SlotLabel, Suite,
    format::{Slot, WrapAlgorithm},
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use std::sync::Mutex;

/// A message, its description, and the files that hold it.
pub struct Golden {
    pub entry: Entry,
    pub files: Vec<(String, Vec<u8>)>,
}

/// Every shape of every suite.
pub fn all() -> Vec<Golden> {
    Suite::ALL.iter().flat_map(|suite| shapes(*suite)).collect()
}

fn shapes(suite: Suite) -> Vec<Golden> {
    let new = |shape| Maker::new(suite, shape);
    let sizes = [("empty", 0), ("one-byte", 1), ("one-chunk-less-one", 16_383)];
    let chunks = [("one-chunk", 16_384), ("one-chunk-and-one", 16_385), ("three-chunks", 49_152)];
    let mut made: Vec<_> =
        sizes.into_iter().chain(chunks).map(|(shape, len)| new(shape).message(len)).collect();
    made.push(new("no-aad").with_aad(b"").message(20));
    made.push(new("padding").with_reserved(1000).message(100));
    made.push(new("one-byte-of-padding").with_reserved(1).message(100));
    made.push(new("three-slots").with_foreign("kms:eu/prod", 9, 50).with_second().message(300));
    made.push(new("sixteen-slots").with_many_foreign().message(300));
    made.push(new("old-version").with_version(2, "primary").message(300));
    made.push(new("pending-version").with_other_primary().message(300));
    made.push(new("long-name").named(&"a".repeat(63), u32::MAX).message(300));
    made.push(new("pairs").with_aad(&pairs()).message(300));
    made.push(new("rewrapped").with_version(4, "primary").rewrapped(20_000));
    made.push(new("detached").with_reserved(8).detached(20_000));
    made.push(new("token-gcm").with_token(WrapAlgorithm::TOKEN_AES_256_GCM).message(300));
    made.push(new("token-cbc").with_token(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC).message(300));
    made
}

/// Canonical associated data of more than one field.
fn pairs() -> Vec<u8> {
    let pairs = AadPairs::new().with("tenant", "acme").unwrap();
    let pairs = pairs.with("row", 42_u64.to_be_bytes()).unwrap();
    pairs.with("note", "").unwrap().to_bytes()
}

/// Gathers what a message shall be, drawing all key material from one generator.
struct Maker {
    entry: Entry,
    rng: ChaCha20Rng,
    suite: Suite,
    aad: Vec<u8>,
    reserved: usize,
    slots: Slots,
    /// The reader's versions of the first name: number, key, state.
    reader: Vec<(u32, [u8; 32], &'static str)>,
    name: String,
}

impl Maker {
    fn new(suite: Suite, shape: &str) -> Self {
        let name = format!("suite{}-{shape}", suite.id());
        let mut rng = ChaCha20Rng::from_seed(Sha256::digest(&name).into());
        let key = draw(&mut rng);
        Maker {
            entry: Entry::new(&name),
            rng,
            suite,
            aad: shape.as_bytes().to_vec(),
            reserved: 0,
            slots: Slots::default(),
            reader: vec![(1, key, "primary")],
            name: "orders".into(),
        }
    }

    fn named(mut self, tail: &str, version: u32) -> Self {
        self.name = format!("Z{tail}");
        self.reader[0].0 = version;
        self
    }

    fn with_aad(mut self, aad: &[u8]) -> Self {
        self.aad = aad.to_vec();
        self
    }

    fn with_reserved(mut self, bytes: usize) -> Self {
        self.reserved = bytes;
        self
    }

    /// The reader has a later version too, and wraps under it.
    fn with_version(mut self, version: u32, state: &'static str) -> Self {
        self.reader[0].2 = "enabled";
        self.reader.push((version, draw(&mut self.rng), state));
        self
    }

    /// The message is under a version that the reader has, not promoted yet.
    fn with_other_primary(mut self) -> Self {
        let writer = self.reader[0].1;
        self.reader = vec![(6, draw(&mut self.rng), "primary"), (7, writer, "pending")];
        self
    }

    fn with_foreign(mut self, name: &str, version: u32, wrapped_len: usize) -> Self {
        let mut wrapped = vec![0; wrapped_len];
        self.rng.fill_bytes(&mut wrapped);
        let id = draw(&mut self.rng);
        self.slots.foreign.push(Foreign { name: name.into(), version, id, wrapped });
        self
    }

    fn with_many_foreign(mut self) -> Self {
        for version in 1..=15 {
            // Lengths around those of real algorithms, and the shortest.
            self = self.with_foreign("f", version, version as usize * 7 - 6);
        }
        self
    }

    /// A second key name of which the reader has the key too.
    fn with_second(mut self) -> Self {
        let key = draw(&mut self.rng);
        self.entry.push("key", format_args!("escrow/2026 3 {} primary", hex::encode(key)));
        self.slots.memory.push(import("escrow/2026", 3, &key));
        self
    }

    /// A slot of a token before that of the reader.
    fn with_token(mut self, algorithm: WrapAlgorithm) -> Self {
        let (encrypt, mac) = (draw(&mut self.rng), draw(&mut self.rng));
        let material = Material { algorithm, encrypt, mac };
        let token =
            Token { name: "hsm/orders".into(), version: 3, id: draw(&mut self.rng), material };
        self.entry.push("token-key", token.line());
        self.slots.tokens.push(token);
        self
    }

    fn message(mut self, len: usize) -> Golden {
        let message = self.encrypt(len);
        let file = format!("{}.bin", self.entry.name);
        self.finish(len, message, |entry, message, _| {
            entry.push("file", &file);
            vec![(file, message)]
        })
    }

    fn rewrapped(mut self, len: usize) -> Golden {
        let mut message = self.encrypt(len);
        let [(old, old_key, _), (new, new_key, _)] = self.reader[..] else { unreachable!() };
        let keyring = import(&self.name, old, &old_key);
        let new = KeyVersion::new(new).unwrap();
        keyring.import_version(new, &MasterKey::from_bytes(&new_key)).unwrap();
        keyring.promote(new).unwrap();
        let envelope = Envelope::new(&keyring);
        let front = envelope.with_rng(&mut self.rng);
        assert!(front.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed());
        let file = format!("{}.bin", self.entry.name);
        self.finish(len, message, |entry, message, _| {
            entry.push("file", &file);
            vec![(file, message)]
        })
    }

    fn detached(mut self, len: usize) -> Golden {
        let message = self.encrypt(len);
        let files = ["header", "body"].map(|part| format!("{}.{part}.bin", self.entry.name));
        self.finish(len, message, |entry, mut header, header_len| {
            let [header_file, body_file] = files;
            entry.push("header", &header_file);
            entry.push("body", &body_file);
            let body = header.split_off(header_len);
            vec![(header_file, header), (body_file, body)]
        })
    }

    fn encrypt(&mut self, len: usize) -> Vec<u8> {
        // The writer is the process that had the reader's version as its primary.
        let (version, key, _) = match self.reader[..] {
            [_, pending @ (_, _, "pending")] => pending,
            [first, ..] => first,
            [] => unreachable!(),
        };
        self.slots.memory.push(import(&self.name, version, &key));
        let envelope = Envelope::new(&self.slots).with_suite(self.suite);
        let envelope = envelope.with_reserved(self.reserved);
        envelope.with_rng(&mut self.rng).encrypt(&rule(len), Aad::new(&self.aad)).unwrap()
    }

    fn finish(
        self,
        len: usize,
        message: Vec<u8>,
        store: impl FnOnce(&mut Entry, Vec<u8>, usize) -> Vec<(String, Vec<u8>)>,
    ) -> Golden {
        let Maker { mut entry, suite, aad, slots, reader, name, .. } = self;
        entry.push("suite", suite.id());
        entry.push("aad", hex::encode(aad));
        entry.push("plaintext", format_args!("rule {len}"));
        entry.push("data-key", hex::encode(&*slots.data_key.lock().unwrap()));
        for (version, key, state) in reader {
            entry.push("key", format_args!("{name} {version} {} {state}", hex::encode(key)));
        }
        let header = inspect(&message).unwrap();
        let header_len = header.len();
        entry.push("padding", header.padding_len());
        for Slot { label, wrapped_key } in header.slots() {
            let SlotLabel { name, version, master_key_id, algorithm } = label;
            let (algorithm, len) = (algorithm.id(), wrapped_key.len());
            entry.push("slot", format_args!("{name} {version} {master_key_id} {algorithm} {len}"));
        }
        let files = store(&mut entry, message, header_len);
        Golden { entry, files }
    }
}

fn draw<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn import(name: &str, version: u32, key: &[u8; 32]) -> MemoryKeyring {
    let version = KeyVersion::new(version).unwrap();
    MemoryKeyring::import(name, version, &MasterKey::from_bytes(key)).unwrap()
}

/// A slot under an unknown key, of an algorithm that the format does not know.
struct Foreign {
    name: String,
    version: u32,
    id: [u8; 8],
    wrapped: Vec<u8>,
}

impl Foreign {
    fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::new(&self.name).unwrap(),
            version: KeyVersion::new(self.version).unwrap(),
            master_key_id: MasterKeyId(self.id),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }
}

/// A version on a token, in software.
struct Token {
    name: String,
    version: u32,
    id: [u8; 8],
    material: Material,
}

impl Token {
    fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::new(&self.name).unwrap(),
            version: KeyVersion::new(self.version).unwrap(),
            master_key_id: MasterKeyId(self.id),
            algorithm: self.material.algorithm,
        }
    }

    /// As the manifest has it.
    fn line(&self) -> String {
        let Material { algorithm, encrypt, mac } = &self.material;
        let mac = if self.material.is_gcm() { String::new() } else { hex::encode(mac) };
        let [id, key] = [hex::encode(self.id), hex::encode(encrypt)];
        let line = format!("{} {} {id} {} {key} {mac}", self.name, self.version, algorithm.id());
        line.trim_end().into()
    }

    fn parse(line: &str) -> Self {
        let (line, mac) = match line.split(' ').count() {
            5 => (line, [0; 32]),
            _ => {
                let (line, mac) = line.rsplit_once(' ').unwrap();
                (line, hex::decode(mac).unwrap().try_into().unwrap())
            }
        };
        let [name, version, id, algorithm, key] = words(line);
        let algorithm = WrapAlgorithm::new(algorithm.parse().unwrap()).unwrap();
        let encrypt = hex::decode(key).unwrap().try_into().unwrap();
        Token {
            name: name.into(),
            version: version.parse().unwrap(),
            id: hex::decode(id).unwrap().try_into().unwrap(),
            material: Material { algorithm, encrypt, mac },
        }
    }
}

/// The keyring of the tokens that a manifest names.
pub fn tokens(entry: &Entry) -> Option<impl Keyring> {
    let tokens: Vec<_> = entry.all("token-key").map(Token::parse).collect();
    (!tokens.is_empty()).then(|| Slots { tokens, ..Slots::default() })
}

/// A keyring that writes all of its slots and remembers the data key; it reads those of tokens.
#[derive(Default)]
struct Slots {
    tokens: Vec<Token>,
    foreign: Vec<Foreign>,
    memory: Vec<MemoryKeyring>,
    data_key: Mutex<Vec<u8>>,
}

impl Keyring for Slots {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        for token in &self.tokens {
            visit(&PrimaryKey { label: token.label(), max_wrapped_key_len: None });
        }
        for foreign in &self.foreign {
            let max_wrapped_key_len = Some(foreign.wrapped.len());
            visit(&PrimaryKey { label: foreign.label(), max_wrapped_key_len });
        }
        self.memory.iter().try_for_each(|keyring| keyring.visit_primaries(visit))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        *self.data_key.lock().unwrap() = data_key.expose().to_vec();
        for token in &self.tokens {
            let mut iv = [0; 16];
            rng.try_fill_bytes(&mut iv[..token.material.iv_len()])?;
            let aad = context.wrap_aad(&token.label());
            slots.push(&token.label(), &token.material.wrap(&aad, iv, data_key.expose()))?;
        }
        for foreign in &self.foreign {
            slots.push(&foreign.label(), &foreign.wrapped)?;
        }
        self.memory.iter().try_for_each(|keyring| keyring.wrap(data_key, context, slots, rng))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let token = self.tokens.iter().find(|token| token.label() == slot.label);
        let token = token.ok_or(KeyringError::NotMine)?;
        let opened = token.material.unwrap(&context.wrap_aad(&slot.label), slot.wrapped_key);
        match opened {
            Some(opened) if data_key.set(&opened) => Ok(()),
            _ => Err(KeyringError::Authentication),
        }
    }

    fn freshness(&self, _: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        Ok(Freshness::NotMine)
    }
}
