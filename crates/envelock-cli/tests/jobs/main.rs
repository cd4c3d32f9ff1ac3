//! Jobs over real trees of files: the program is run as operators and schedulers do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod canaries;
mod census;
mod doctor;
mod ends;
mod interruptions;
mod next_steps;
mod others;
mod plans;
mod records;
mod reencryption;
