//! Ciphertexts that open under two keys are built for real, and refused (THREATS 1, 3, G6).
//!
//! AES-GCM and ChaCha20-Poly1305 do not commit to a key: their tags are linear in the ciphertext,
//! so one free block (GCM) or two (Poly1305) make one tag fit two keys. Each test first shows
//! that the bare cipher takes the same bytes under both keys, with the very keys and nonces that
//! envelock derives; then that envelock takes them under at most one, before any chunk is tried.

mod body;
mod ciphers;
mod gcm;
mod poly1305;
mod wrap;
