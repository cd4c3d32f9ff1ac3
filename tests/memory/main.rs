//! Allocations of operations: the allocator of this binary counts by thread.

mod allocations;
#[allow(dead_code)]
#[path = "../common/detached.rs"]
mod detached;
mod stream_memory;
