#![doc = include_str!("../README.md")]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod codes;
mod commands;
mod control;
mod exports;
mod fault_list;
mod faults;
mod forwarded;
mod functions;
mod overlaps;
mod random_faults;
mod real_module;
mod sessions;
mod slots;
mod state;
mod wrong_results;
