//! Operations that leak on purpose: the harness must report each of them.

use crate::{Entry, memcheck};
use std::hint::black_box;

fn leak(name: &str, run: impl Fn(&[u8; 32]) -> usize + 'static) -> Entry {
    let run = move || {
        let mut bytes = [7; 32];
        memcheck::secret(&mut bytes);
        let leaked = black_box(run(black_box(&bytes)));
        memcheck::public(&leaked);
    };
    Entry { name: name.into(), run: Box::new(run) }
}

pub fn all() -> Vec<Entry> {
    vec![
        leak("a comparison that stops at the first difference", |secret| {
            usize::from(!secret.iter().zip(&[7; 32]).any(|(left, right)| left != right))
        }),
        leak("a table indexed by a secret", |secret| {
            let table: Vec<usize> = (0..256).collect();
            table[usize::from(secret[3])]
        }),
        leak("a branch on a secret bit", |secret| {
            if black_box(secret[0] & 1) == 1 { black_box(secret.len()) } else { 0 }
        }),
    ]
}
