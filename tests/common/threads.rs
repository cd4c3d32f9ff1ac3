//! The smallest pool there is: a thread of its own for each call and each job.

use envelock::Workers;

/// So many threads, that is, a body is split into so many parts.
pub struct Threads(pub usize);

impl Workers for Threads {
    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            scope.spawn(one);
            other();
        });
    }

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(job);
    }

    fn threads(&self) -> usize {
        self.0
    }

    // Whatever is short is shared too: it is what is judged here.
    fn least_len(&self) -> usize {
        1
    }
}
