//! Messages in files under crashes: every image that a crash can leave of each operation holds
//! the message with its old header or its new one, or the new file whole or not at all; and so
//! does every image of the recovery after it.

#![cfg(all(feature = "file", unix))]

mod durability;
mod enumeration;
mod scene;
mod whole;
