//! Clocks that are not `std`'s.

use std::time::Duration;

/// The processor time of this thread: on a busy machine it stops while others run.
#[allow(dead_code)] // Not every test uses all of it.
pub fn processor_time() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The time of a monotonic clock that all processes share.
#[allow(dead_code)] // Not every test uses all of it.
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes the record alone, which is there.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut now) }, 0);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}
