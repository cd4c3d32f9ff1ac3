//! Command line of envelock.
fn main() {}
