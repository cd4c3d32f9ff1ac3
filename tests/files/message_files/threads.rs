//! Sixteen threads rewrap one file, and two read it.

use super::*;
use envelock::file;
use envelock::{RewrapOptions, file::FileChange};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;

const THREADS: usize = 16;

fn many_at_once(growth: usize, rounds: u32) {
    let stored = Stored::new(40_000, growth);
    let (is_over, next) = (AtomicBool::new(false), AtomicU32::new(3));
    let (mut counts, mut reads) = ([0_u32; 3], 0_u32);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0_u32;
                    loop {
                        let message = read_message(&stored.path());
                        assert_eq!(stored.envelope.decrypt(&message, ROW).unwrap(), text(40_000));
                        reads += 1;
                        if is_over.load(Relaxed) {
                            break reads;
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    // Its own: a primary that moves while a slot is made is another test.
                    let envelope = Envelope::new(Elastic::new(72, growth));
                    let mut counts = [0_u32; 3];
                    for _ in 0..rounds {
                        envelope.keyring().promote(next.fetch_add(1, Relaxed));
                        // On a busy machine one of 16 can wait for longer than it is let.
                        let done = loop {
                            match file::rewrap(&envelope, stored.path(), RewrapOptions::new()) {
                                Err(error) if error.is_retryable() => {}
                                done => break done,
                            }
                        };
                        counts[match done.unwrap().change() {
                            FileChange::Unchanged => 0,
                            FileChange::InPlace => 1,
                            FileChange::Copied => 2,
                            other => panic!("{other:?}"),
                        }] += 1;
                    }
                    counts
                })
            })
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        // Whatever failed, the readers have to hear of the end.
        is_over.store(true, Relaxed);
        for outcome in outcomes {
            let found = outcome.unwrap();
            counts.iter_mut().zip(found).for_each(|(count, found)| *count += found);
        }
        reads = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    });
    println!("unchanged, in place, copied: {counts:?}; {reads} reads beside");
    assert_eq!(counts.iter().sum::<u32>(), THREADS as u32 * rounds);
    // How often depends on the order of the threads: a version below one that was written already
    // has the shorter slot, which fits in place. The first of them has to grow.
    assert!(counts[if growth > 0 { 2 } else { 1 }] > 0);
    stored.envelope.keyring().promote(next.into_inner());
    drop(file::rewrap(&stored.envelope, stored.path(), RewrapOptions::new()).unwrap());
    assert_eq!(names(stored.root.path()), ["message"]);
    assert_eq!(stored.envelope.decrypt(&stored.read(), ROW).unwrap(), text(40_000));
}

#[test]
fn rewraps_in_place_by_16_threads_fail_no_reader() {
    many_at_once(0, 20);
}

#[test]
fn rewraps_by_copy_by_16_threads_fail_no_reader() {
    many_at_once(24, 20);
}
