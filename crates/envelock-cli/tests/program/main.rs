//! The program, driven as its users drive it: arguments, files, pipes, and a terminal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod configuration;
mod help;
mod inspect;
mod key;
mod key_rules;
mod messages;
mod next_steps;
mod outputs;
mod pages;
mod protections;
mod salvage;
mod sandbox;
mod secrets;
mod status;
mod terminal;
mod tokens;
mod wrong_input;
