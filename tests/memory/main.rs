//! What operations allocate: the allocator of this binary counts by thread.

mod allocations;
mod stream_memory;
