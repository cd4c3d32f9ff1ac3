//! Streams, synchronous and asynchronous, against the one-shot calls.

mod async_streams;
#[allow(dead_code)]
#[path = "../common/detached.rs"]
mod detached;
mod in_place_workers;
mod random_access;
mod readers;
mod stream_changes;
mod stream_ends;
mod stream_pools;
mod stream_prefixes;
mod stream_states;
mod stream_vectors;
mod streams;
