//! Jobs over directory trees.
