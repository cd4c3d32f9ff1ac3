//! Messages byte by byte: header, body, associated data, test vectors and stored files.

mod aad_pairs;
mod backend_agreement;
mod chunk_order;
mod cobblestone_differential;
#[path = "../common/mod.rs"]
mod common;
mod golden;
mod header_faults;
mod lengths;
mod looks_like;
mod permitted_changes;
mod providers;
mod python_messages;
mod python_streams;
mod salamander;
mod single_change;
mod slot_order;
mod spec_examples;
mod splice;
mod timestamps;
mod wycheproof_chunked;
