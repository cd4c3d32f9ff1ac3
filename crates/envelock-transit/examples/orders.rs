//! Encrypts, rotates, rewraps and decrypts under a key of OpenBao or Vault. See `docs/TRANSIT.md`.

use envelock::{Aad, AsyncEnvelope, RewrapOptions, inspect};
use envelock_remote::RemoteKeyring;
use envelock_transit::{Token, Transit};
use std::env::var;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = Token::new(var("BAO_TOKEN")?)?;
    let transit = Transit::builder(var("BAO_ADDR")?).token(token).build()?;
    let envelope = AsyncEnvelope::new(RemoteKeyring::new(transit, "orders")?);

    let aad = Aad::new(b"order 4711");
    let mut message = envelope.encrypt(b"four boxes", aad).await?;
    println!("encrypted: {:?}", inspect(&message)?.slots().next().map(|slot| slot.label));

    envelope.keyring().backend().rotate("orders").await?;
    envelope.keyring().forget_metadata();
    let header = inspect(&message)?.len();
    let rewrap = envelope.rewrap(&message[..header], RewrapOptions::new()).await?;
    message.splice(..header, rewrap.into_header());
    println!("rewrapped: {:?}", inspect(&message)?.slots().next().map(|slot| slot.label));
    assert_eq!(envelope.decrypt(&message, aad).await?, b"four boxes");
    Ok(())
}
