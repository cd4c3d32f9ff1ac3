//! Keyrings, keysets, policies, rewraps, observers and errors.

mod asynchronous;
mod caching_keyring;
mod combine;
#[path = "../common/mod.rs"]
mod common;
mod compromised_rewrap;
mod conformance;
mod errors;
mod hostile_keyrings;
mod key_names;
mod keyset_changes;
mod keyset_walk;
mod keysets;
mod lifecycle_table;
mod memory_keyring;
mod migrating_keyring;
mod multi_keyring;
mod observe;
mod observe_features;
mod policy_table;
mod rewrap;
mod rewrap_properties;
mod rotation_policy;
mod secret_traits;
mod wrap_contexts;
