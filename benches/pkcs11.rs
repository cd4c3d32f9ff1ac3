//! Wrapping and unwrapping by a PKCS#11 token, beside the token's own calls in the same seconds; and
//! how long a keyring takes to come back from what can happen to a token.
//!
//! `benches/pkcs11.sh [TOKEN...]` sets fresh tokens up and runs this. See `benches/README.md`.

mod floor;
mod interleave;
#[path = "token/raw.rs"]
mod raw;
#[path = "../tests/common/raw_token.rs"]
mod raw_token;

use envelock::conformance::{TestMessage, TestRng};
use envelock::{
    Aad, CachingKeyring, DataKeyReuse, Envelope, Keyring, Lifecycle, MemoryKeyring, OsRandom,
    Pkcs11Keyring, Suite,
    format::WrapAlgorithm,
    pkcs11::{self, Pin},
};
use interleave::{Lane, interleave, time};
use raw::Floor;
use raw_token::RawLibrary;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const BUDGET: Duration = Duration::from_secs(4);
/// Operations in a sample; the tokens with 100 us a call take fewer.
const COUNT: usize = 200;
const ROUNDS: usize = 25;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let token = Token::of_environment();
    println!("\n### {}\n", token.name);
    println!("| wrap algorithm | threads | wrap | unwrap | of the token's own calls |");
    println!("|---|---:|---:|---:|---:|");
    for algorithm in token.algorithms() {
        for threads in [1, 2] {
            token.wraps(algorithm, threads);
        }
    }
    token.messages();
    token.recovery();
    token.many_keys();
}

struct Token {
    name: String,
    module: String,
    label: String,
    pin: String,
    reserved: Option<String>,
    directory: PathBuf,
}

impl Token {
    fn of_environment() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: benches/pkcs11.sh"))
        };
        let directory = std::env::temp_dir().join(format!("envelock-bench-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory");
        Token {
            name: variable("ENVELOCK_TOKEN"),
            module: variable("ENVELOCK_P11_MODULE"),
            label: variable("ENVELOCK_P11_LABEL"),
            pin: variable("ENVELOCK_P11_PIN"),
            reserved: std::env::var("ENVELOCK_P11_RESERVED").ok(),
            directory,
        }
    }

    fn algorithms(&self) -> Vec<WrapAlgorithm> {
        let (gcm, cbc) = (WrapAlgorithm::TOKEN_AES_256_GCM, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC);
        match self.name.as_str() {
            "opencryptoki" => vec![cbc],
            // Each HMAC decrypts its key from the database: 100 a second.
            "nss" => vec![gcm],
            _ => vec![gcm, cbc],
        }
    }

    fn keyring(&self, name: &str, algorithm: WrapAlgorithm) -> Pkcs11Keyring {
        let pin = self.pin.clone();
        // As the other side of the ratio: in the thread of the caller.
        let mut options = pkcs11::Options::new(&self.module)
            .no_deadline()
            .token_label(&self.label)
            .pin_from(move || Ok(Pin::new(&pin)))
            .algorithm(algorithm);
        if let Some(reserved) = &self.reserved {
            options = options.reserved(reserved);
        }
        let token = options.token().expect("the library");
        let path = self.directory.join(format!("{name}-{}", algorithm.id()));
        Pkcs11Keyring::create(&path, "invoices", &token).expect("a token")
    }

    /// The raw library, once the keyring has set it up and logged in.
    fn raw(&self) -> RawLibrary {
        RawLibrary::load(&self.module)
    }

    fn wraps(&self, algorithm: WrapAlgorithm, threads: usize) {
        let keyring = self.keyring(&format!("wraps-{threads}"), algorithm);
        let message = TestMessage::new(Suite::Cobblestone256, &mut TestRng::seeded(1));
        let (wrapped, slots) = message.wrap(&keyring, &mut OsRandom);
        wrapped.expect("a token");
        let raw = self.raw();
        let slot = raw.slot(&self.label);
        let floors: Vec<Floor> =
            (0..threads).map(|_| Floor::new(raw.open(slot), algorithm)).collect();

        let all = |work: &(dyn Fn(usize) + Sync)| {
            time(COUNT * threads, || {
                thread::scope(|scope| {
                    for thread in 0..threads {
                        scope.spawn(move || (0..COUNT).for_each(|_| work(thread)));
                    }
                });
            })
        };
        let mut lanes: [Lane<'_>; 2] = [
            Box::new(|| {
                [all(&|thread| floors[thread].wrap()), all(&|thread| floors[thread].unwrap())]
            }),
            Box::new(|| {
                let wrap = |_| drop(black_box(message.wrap(&keyring, &mut OsRandom)));
                let unwrap = |_| {
                    let mut key = envelock::DataKey::empty();
                    let slot = slots[0].slot();
                    keyring.unwrap(&slot, &message.context(), &mut key).expect("its own");
                };
                [all(&wrap), all(&unwrap)]
            }),
        ];
        let rounds = interleave(&mut lanes, BUDGET);
        println!(
            "| {algorithm} | {threads} | {:.1} us | {:.1} us | {:.2}, {:.2} |",
            rounds.time(1, 0) / 1e3,
            rounds.time(1, 1) / 1e3,
            rounds.speed(1, 0, 0),
            rounds.speed(1, 0, 1),
        );
    }

    /// A message of 64 bytes, with the token behind a cache, beside the memory keyring.
    fn messages(&self) {
        let algorithm = self.algorithms()[0];
        let minute = Duration::from_secs(60);
        let reuse = Arc::new(DataKeyReuse::new(1 << 20, 1 << 40, minute));
        let memory = MemoryKeyring::create("invoices").expect("a name");
        let token = self.keyring("messages", algorithm);
        let cached = CachingKeyring::new(self.keyring("cached", algorithm));
        let keyrings: [(&str, &dyn Keyring, bool); 3] = [
            ("memory", &memory, false),
            ("token", &token, false),
            ("token, cached both ways", &cached, true),
        ];
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        for (_, keyring, reuses) in keyrings {
            let mut envelope = Envelope::new(keyring);
            if reuses {
                envelope = envelope.with_data_key_reuse(reuse.clone());
            }
            let message = envelope.encrypt(&[1; 64], Aad::new(floor::AAD)).expect("a token");
            lanes.push(Box::new(move || {
                let encrypt = || {
                    for _ in 0..COUNT {
                        drop(black_box(envelope.encrypt(&[1; 64], Aad::new(floor::AAD))));
                    }
                };
                let there = time(COUNT, encrypt);
                let decrypt = || {
                    for _ in 0..COUNT {
                        drop(black_box(envelope.decrypt(&message, Aad::new(floor::AAD))));
                    }
                };
                [there, time(COUNT, decrypt)]
            }));
        }
        let rounds = interleave(&mut lanes, BUDGET);
        println!("\n| keyring, 64-byte messages | encrypt | decrypt | of memory's speed |");
        println!("|---|---:|---:|---:|");
        for (lane, (name, ..)) in keyrings.iter().enumerate() {
            println!(
                "| {name} | {:.1} us | {:.1} us | {:.2}, {:.2} |",
                rounds.time(lane, 0) / 1e3,
                rounds.time(lane, 1) / 1e3,
                rounds.speed(lane, 0, 0),
                rounds.speed(lane, 0, 1),
            );
        }
    }

    /// The first decryption after something happened.
    fn recovery(&self) {
        let keyring = self.keyring("recovery", self.algorithms()[0]);
        let envelope = Envelope::new(&keyring);
        let message = envelope.encrypt(b"here", Aad::none()).expect("a token");
        let raw = self.raw();
        let slot = raw.slot(&self.label);
        println!("\n| after | the next decryption takes |\n|---|---:|");
        let events: [(&str, &dyn Fn()); 4] = [
            ("nothing", &|| ()),
            ("a logout", &|| {
                raw.open(slot).logout();
            }),
            ("the loss of all sessions", &|| {
                raw.close_all(slot);
            }),
            ("the loss of the library's state (C_Finalize)", &|| {
                raw.finalize();
            }),
        ];
        for (name, event) in events {
            let mut times: Vec<f64> = (0..ROUNDS)
                .map(|_| {
                    event();
                    let start = Instant::now();
                    envelope.decrypt(&message, Aad::none()).expect("it comes back");
                    start.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("| {name} | {:.2} ms |", times[times.len() / 2]);
        }
    }

    /// Wraps beside few and beside many other keys of the token, and the first one after a
    /// connection, which looks for the key.
    fn many_keys(&self) {
        let keyring = self.keyring("many", self.algorithms()[0]);
        let envelope = Envelope::new(&keyring);
        println!("\n| other keys | encrypt | the first after a reconnect |\n|---:|---:|---:|");
        let raw = self.raw();
        let mut there = 0;
        for others in [10, 100, 400] {
            while there < others {
                keyring.add_version().expect("room");
                there += 1;
            }
            let encrypt = || drop(envelope.encrypt(b"here", Aad::none()).expect("a token"));
            encrypt();
            let warm = time(COUNT, || (0..COUNT).for_each(|_| encrypt()));
            let mut first: Vec<f64> = (0..9)
                .map(|_| {
                    raw.close_all(raw.slot(&self.label));
                    time(1, encrypt)
                })
                .collect();
            first.sort_by(f64::total_cmp);
            println!("| {others} | {:.1} us | {:.2} ms |", warm / 1e3, first[4] / 1e6);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
