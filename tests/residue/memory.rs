//! The search of all memory of this process, through `/proc/self/mem`.

use super::spy;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// The result of a search.
#[derive(Debug, Default)]
pub struct Found {
    pub heap_bytes: usize,
    pub heap_hits: usize,
    pub stack_bytes: usize,
    pub stack_hits: usize,
}

const CHUNK: usize = 1 << 16;

/// Searches everything that can be written to. This thread's stack and the main thread's count
/// as stack; all else as heap: blocks in use, free ones, and statics.
pub fn scan() -> Found {
    let local = 0_u8;
    let stack_address = std::ptr::from_ref(&local) as usize;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut buffer = vec![0; CHUNK];
    let mut found = Found::default();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().unwrap(), fields.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        let (start, end) = (address(start), address(end));
        if !access.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let hits = scan_range(&memory, start, end, &mut buffer);
        if (start..end).contains(&stack_address) || line.ends_with("[stack]") {
            found.stack_bytes += end - start;
            found.stack_hits += hits;
        } else {
            found.heap_bytes += end - start;
            found.heap_hits += hits;
        }
    }
    found
}

fn scan_range(memory: &File, start: usize, end: usize, buffer: &mut [u8]) -> usize {
    let mut hits = 0;
    let mut at = start;
    while at < end {
        // Each chunk reads on 7 bytes, so that a piece across two chunks is seen, once.
        let len = (end - at).min(buffer.len());
        let read = memory.read_at(&mut buffer[..len], at as u64).unwrap_or(0);
        hits += spy::count(read, |index| buffer[index]);
        // The buffer is memory of this process too: what it copied must not be found in it.
        buffer.fill(0);
        std::hint::black_box(&mut *buffer);
        at += len;
        at -= if at < end { 7 } else { 0 };
    }
    hits
}
