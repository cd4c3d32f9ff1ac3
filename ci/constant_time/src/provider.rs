//! Prints the default provider of this CPU, after every provider compiled in, asked for by name, made
//! the same message and opened it.

use envelock::rand_core::SeedableRng;
use envelock::{Aad, Envelope, KeyVersion, MasterKey, MemoryKeyring, Provider, Suite};
use rand_chacha::ChaCha20Rng;

fn main() {
    let master_key = MasterKey::from_bytes(&[9; 32]);
    let keyring = MemoryKeyring::import("cpu", KeyVersion::FIRST, &master_key).expect("a name");
    for &suite in Suite::ALL {
        // Both widths of vectors, a chunk, and a rest that fills no block.
        for len in [0, 15, 200, 1000, 20_001] {
            let messages = Provider::ALL.iter().map(|&provider| {
                let envelope = Envelope::new(&keyring).with_suite(suite).with_provider(provider);
                let mut rng = ChaCha20Rng::from_seed([1; 32]);
                let message = envelope.with_rng(&mut rng).encrypt(&vec![3; len], Aad::none());
                let message = message.expect("a primary");
                assert!(
                    envelope.decrypt(&message, Aad::none()).expect("authentic") == vec![3; len]
                );
                message
            });
            let messages: Vec<_> = messages.collect();
            assert!(messages.iter().all(|message| *message == messages[0]), "{suite} {len}");
        }
    }
    println!("{}", Provider::default());
}
