//! Shapes of messages: sizes around the chunk length, slots of several kinds, padding, rotation.

use super::detached::WriteDetached;
use super::reference::{self, RefHeader};
use super::rings::{Member, Several, ring};
use super::{below, rng};
use envelock::{Aad, Envelope, KeyVersion, Lifecycle, MemoryKeyring, RewrapOptions, Suite};

/// One message, the keyring that reads it, and what it must decrypt to.
pub struct Shape {
    pub name: &'static str,
    pub suite: Suite,
    pub reader: MemoryKeyring,
    pub message: Vec<u8>,
    pub plaintext: Vec<u8>,
    pub aad: &'static [u8],
    pub header: RefHeader,
}

impl Shape {
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    pub fn body(&self) -> &[u8] {
        &self.message[self.header_len()..]
    }

    pub fn aad(&self) -> Aad<'static> {
        Aad::new(self.aad)
    }

    /// Whether a sweep of every bit of it would take too long.
    pub fn is_big(&self) -> bool {
        self.plaintext.len() > 1000
    }
}

/// How a shape comes to be: a size, associated data, reserved bytes, who writes and who reads.
struct Recipe {
    name: &'static str,
    len: usize,
    aad: &'static [u8],
    reserved: usize,
    writer: fn() -> Several,
    reader: fn() -> MemoryKeyring,
    rewrapped: bool,
}

impl Recipe {
    fn new(name: &'static str, len: usize, aad: &'static [u8]) -> Self {
        let writer = || Several(vec![Member::Ring(orders_v1())]);
        Recipe { name, len, aad, reserved: 0, writer, reader: orders_v1, rewrapped: false }
    }

    fn reserved(self, reserved: usize) -> Self {
        Recipe { reserved, ..self }
    }

    fn written_by(self, writer: fn() -> Several) -> Self {
        Recipe { writer, ..self }
    }

    fn read_by(self, reader: fn() -> MemoryKeyring) -> Self {
        Recipe { reader, ..self }
    }

    fn rewrapped(self) -> Self {
        Recipe { rewrapped: true, ..self }
    }
}

fn orders_v1() -> MemoryKeyring {
    ring("orders", &[(1, 0x11)])
}

fn orders_v2() -> MemoryKeyring {
    ring("orders", &[(1, 0x11), (2, 0x22)])
}

fn orders_v1_disabled() -> MemoryKeyring {
    let ring = orders_v2();
    ring.disable(KeyVersion::FIRST).unwrap();
    ring
}

fn backup() -> Member {
    Member::Ring(ring("backup", &[(7, 0x77)]))
}

fn opaque() -> Member {
    let name = "kms://eu-west-1/escrow".into();
    Member::Opaque { name, version: 3, algorithm: 200, wrapped: vec![0xB0; 33] }
}

/// The keyset of another environment: same name and version, other material.
fn namesake() -> Member {
    Member::Ring(ring("orders", &[(2, 0x99)]))
}

/// Every shape; at least 12 (THREATS G1).
fn recipes() -> Vec<Recipe> {
    let long = || ring(&"n".repeat(64), &[(u32::MAX, 0x33)]);
    let sixteen = || {
        let name = |index: u32| format!("k{index}");
        let other = |index: u32| Member::Opaque {
            name: name(index),
            version: index + 1,
            algorithm: 128,
            wrapped: vec![0xC0; 1],
        };
        let mut members: Vec<Member> = (0..15).map(other).collect();
        members.push(Member::Ring(orders_v1()));
        Several(members)
    };
    vec![
        Recipe::new("empty", 0, b""),
        Recipe::new("one byte", 1, b"row 1"),
        Recipe::new("padded", 100, b"row 2").reserved(9),
        Recipe::new("mine, foreign, opaque", 100, b"row 3")
            .written_by(|| Several(vec![Member::Ring(orders_v1()), backup(), opaque()])),
        Recipe::new("opaque, foreign, mine, padded", 100, b"")
            .reserved(3)
            .written_by(|| Several(vec![opaque(), backup(), Member::Ring(orders_v1())])),
        Recipe::new("disabled version first", 40, b"row 4")
            .written_by(|| Several(vec![Member::Ring(orders_v1()), Member::Ring(orders_v2())]))
            .read_by(orders_v1_disabled),
        Recipe::new("rotated", 60, b"row 5").read_by(orders_v2),
        Recipe::new("rewrapped", 60, b"row 6").reserved(8).read_by(orders_v2).rewrapped(),
        Recipe::new("namesake of other material first", 20, b"")
            .written_by(|| Several(vec![namesake(), Member::Ring(orders_v1())]))
            .read_by(orders_v2),
        Recipe::new("longest name, last version", 10, b"row 7")
            .written_by(|| Several(vec![Member::Ring(ring(&"n".repeat(64), &[(u32::MAX, 0x33)]))]))
            .read_by(long),
        Recipe::new("sixteen slots", 10, b"").written_by(sixteen),
        Recipe::new("chunk less one", 16_383, b"row 8"),
        Recipe::new("chunk", 16_384, b"row 9"),
        Recipe::new("chunk and one", 16_385, b""),
        Recipe::new("two chunks and one", 2 * 16_384 + 1, b"row 10").reserved(1),
    ]
}

/// Every shape of `suite`, from randomness of `seed`.
pub fn all(suite: Suite, seed: u64) -> Vec<Shape> {
    let mut rng = rng(seed);
    let mut shapes = Vec::new();
    for recipe in recipes() {
        // Neither a zero nor the filling of output buffers: what leaks is distinguished from both.
        let byte = |_| 1 + below(&mut rng, 0xA4) as u8;
        let plaintext: Vec<u8> = (0..recipe.len).map(byte).collect();
        let aad = Aad::new(recipe.aad);
        let writer = Envelope::new((recipe.writer)()).with_suite(suite);
        let writer = writer.with_reserved(recipe.reserved);
        let mut message = writer.with_rng(&mut rng).encrypt(&plaintext, aad).unwrap();
        let reader = (recipe.reader)();
        if recipe.rewrapped {
            let envelope = Envelope::new(&reader);
            let with_rng = envelope.with_rng(&mut rng);
            assert!(
                with_rng.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed()
            );
        }
        let opened = Envelope::new(&reader).decrypt(&message, aad).unwrap();
        assert_eq!(opened, plaintext, "{}", recipe.name);
        let header = reference::parse(&message).unwrap();
        let Recipe { name, aad, .. } = recipe;
        shapes.push(Shape { name, suite, reader, message, plaintext, aad, header });
    }
    shapes
}
