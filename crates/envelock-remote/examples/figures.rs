//! What concurrent decryptions cost: time, threads, memory and processor, beside tasks that only wait as long.
//!
//! `cargo run --release -p envelock-remote --features test-util --example figures -- [decryptions] [milliseconds]`, by default
//! 2,000 of 20 ms. The service is in this process: its own AES-GCM is part of the processor's time. Memory and threads are read
//! from `/proc`, so that they are 0 where it is missing.

use envelock::keyring::{AsyncKeyring, Inline};
use envelock::{Aad, AsyncEnvelope, MemoryKeyring};
use envelock_remote::scripted::{Method, ScriptedService};
use envelock_remote::{Blocking, CallOptions, RemoteKeyring};
use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const THREADS: usize = 2;
const IN_FLIGHT: usize = 64;
const BATCH: usize = 250;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (most, latency) = (usize::try_from(number(2000)?)?, Duration::from_millis(number(20)?));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let waves = u32::try_from(most.div_ceil(IN_FLIGHT))?;
    println!(
        "{most} at once on {THREADS} threads, {IN_FLIGHT} calls of {latency:?} at once: at least {:?}",
        latency * waves
    );
    println!("| | time | threads | more memory | processor, each |\n|---|---:|---:|---:|---:|");
    runtime.block_on(wait(most, latency))?;
    runtime.block_on(decrypt(most, latency, 1))?;
    runtime.block_on(decrypt(most, latency, BATCH))?;
    let keys = || MemoryKeyring::create("orders");
    let (inline, blocking) = (Inline::new(keys()?), Blocking::new(keys()?));
    runtime.block_on(decrypt_under(inline, most, || (), "decrypt under a key in memory"))?;
    runtime.block_on(decrypt_under(blocking, most, || (), "the same on blocking threads"))
}

/// Tasks that take a permit and sleep.
async fn wait(most: usize, latency: Duration) -> Result<()> {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let before = Usage::now();
    let mut tasks = JoinSet::new();
    for _ in 0..most {
        let permits = Arc::clone(&permits);
        tasks.spawn(async move {
            let permit = permits.acquire().await;
            sleep(latency).await;
            drop(permit);
            Ok(())
        });
    }
    finish(tasks, &before, "permit and sleep alone").await
}

async fn decrypt(most: usize, latency: Duration, batch: usize) -> Result<()> {
    let batch = NonZeroUsize::new(batch).ok_or("a batch has an item")?;
    let service = ScriptedService::with_key("orders").with_max_batch(batch);
    let calls = CallOptions::default().max_in_flight(IN_FLIGHT);
    let keyring = RemoteKeyring::builder(service.clone(), "orders").calls(calls).build()?;
    let begin = || {
        service.set_latency(latency);
        service.take_calls();
    };
    decrypt_under(keyring, most, begin, &format!("decrypt, calls of up to {batch}")).await?;
    eprintln!("{} calls of the service", service.calls(Method::Decrypt));
    Ok(())
}

async fn decrypt_under<K: AsyncKeyring + 'static>(
    keyring: K,
    most: usize,
    begin: impl FnOnce(),
    what: &str,
) -> Result<()> {
    let envelope = Arc::new(AsyncEnvelope::new(keyring));
    let mut messages = Vec::with_capacity(most);
    for number in 0..most {
        messages.push(envelope.encrypt(&number.to_be_bytes(), Aad::none()).await?);
    }
    begin();
    let before = Usage::now();
    let mut tasks = JoinSet::new();
    for (number, message) in messages.into_iter().enumerate() {
        let envelope = Arc::clone(&envelope);
        tasks.spawn(async move {
            let plaintext = envelope.decrypt(&message, Aad::none()).await?;
            if plaintext == number.to_be_bytes() { Ok(()) } else { Err("another message".into()) }
        });
    }
    finish(tasks, &before, what).await
}

async fn finish(mut tasks: JoinSet<Result<()>>, before: &Usage, what: &str) -> Result<()> {
    let count = u32::try_from(tasks.len())?;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let after = Usage::now();
    println!(
        "| {what} | {:.0?} | {} | {} kB | {:.1?} |",
        after.at - before.at,
        after.threads,
        after.peak_kb.saturating_sub(before.resident_kb),
        after.processor.saturating_sub(before.processor) / count.max(1),
    );
    Ok(())
}

/// What the process uses.
struct Usage {
    at: Instant,
    threads: u64,
    resident_kb: u64,
    peak_kb: u64,
    processor: Duration,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // Resets the peak, so that each row has its own.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        Usage {
            at: Instant::now(),
            threads: field("Threads:"),
            resident_kb: field("VmRSS:"),
            peak_kb: field("VmHWM:"),
            processor: processor_time(),
        }
    }
}

/// Returns the time that the process has run on processors, all threads together.
fn processor_time() -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
