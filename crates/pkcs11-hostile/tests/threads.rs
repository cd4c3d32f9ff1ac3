//! Faults in several threads: no crash, no hang, no wrong result.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use common::token::{CallResult, Client, DATA, IV, Token, p11};

const THREADS: usize = 4;

/// A longer wait counts as a hang.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A connection that threads share, and the number of its replacements.
struct Connection {
    client: Client,
    epoch: u64,
}

fn round_trip(client: &Client, data: &[u8]) -> CallResult<Vec<u8>> {
    let sealed = client.encrypt(IV, data)?;
    Ok(client.decrypt(IV, sealed.bytes())?.bytes().to_vec())
}

/// One round trip in a new session.
fn once(connection: &Connection) -> CallResult<Vec<u8>> {
    let session = connection.client.open()?;
    let client = connection.client.with(session);
    let answer = round_trip(&client, &DATA);
    let _ = p11!(client, C_CloseSession(session));
    answer
}

/// Initialises the library again until a connection works.
fn reconnect(shared: &RwLock<Connection>, seen: u64) {
    let mut connection = shared.write().unwrap_or_else(PoisonError::into_inner);
    if connection.epoch != seen {
        return;
    }
    connection.epoch += 1;
    for _ in 0..100 {
        let _ = connection.client.finalize();
        let _ = connection.client.initialize();
        if connection.client.connect().is_ok() {
            return;
        }
    }
    panic!("no recovery");
}

#[test]
fn random_faults_cause_no_wrong_result() {
    let token = Token::fresh();
    token.arm("random 42 50 100");
    let shared = RwLock::new(Connection { client: *token, epoch: 0 });
    let started = Instant::now();
    let failures = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while token.hostile.injected() < 100 {
                    assert!(started.elapsed() < TIMEOUT, "{}", token.hostile.injected());
                    let connection = shared.read().unwrap_or_else(PoisonError::into_inner);
                    let (answer, epoch) = (once(&connection), connection.epoch);
                    drop(connection);
                    match answer {
                        Ok(opened) => assert_eq!(opened, DATA),
                        Err(_) => {
                            failures.fetch_add(1, Ordering::Relaxed);
                            reconnect(&shared, epoch);
                        }
                    }
                }
            });
        }
    });
    // How many occur during a recovery depends on the order of the threads.
    assert!(failures.into_inner() > 0);
    assert_eq!(token.hostile.injected(), 100);
}

/// SoftHSM crashes if sessions, the login or the library end during another call.
#[test]
fn session_ends_exclude_other_calls() {
    let token = Token::fresh();
    let stop = AtomicBool::new(false);
    let good = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut client = *token;
                while !stop.load(Ordering::Relaxed) {
                    let Ok(session) = client.open() else { continue };
                    client.session = session;
                    // The key of the owner, under its current handle.
                    let Ok((1.., keys)) = client.find(1) else { continue };
                    client.aes = keys[0];
                    for _ in 0..20 {
                        if let Ok(opened) = round_trip(&client, &DATA) {
                            assert_eq!(opened, DATA);
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        let mut owner = *token;
        let started = Instant::now();
        let mut round = 0;
        // Until enough calls have run at the same time.
        while round < 200 || good.load(Ordering::Relaxed) <= 100 {
            assert!(started.elapsed() < TIMEOUT, "no other call succeeds");
            let fault = if round % 2 == 0 { "lose-sessions" } else { "logout" };
            token.arm(fault);
            thread::sleep(Duration::from_millis(1));
            if round % 20 == 0 {
                let _ = owner.finalize();
                let _ = owner.initialize();
            }
            let _ = owner.connect();
            round += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(token.hostile.injected() > 100, "{}", token.hostile.injected());
}

#[test]
fn delayed_call_blocks_no_other() {
    let token = Token::fresh();
    token.arm("delay C_GetTokenInfo 3600000 always");
    let (send, receive) = channel();
    thread::scope(|scope| {
        scope.spawn(|| send.send(token.token_info(token.slot).is_ok()).expect("a receiver"));
        while token.hostile.injected() == 0 {
            thread::yield_now();
        }
        assert_eq!(round_trip(&token, &DATA).expect("another function"), DATA);
        token.finalize().expect("C_Finalize does not wait");
        token.initialize().expect("C_Initialize");
        assert!(receive.try_recv().is_err(), "the call still sleeps");
        token.arm("clear");
        assert_eq!(receive.recv_timeout(TIMEOUT), Ok(true));
    });
}

#[test]
fn invalid_commands_change_nothing() {
    let token = Token::fresh();
    assert_eq!(token.hostile.try_command("fail C_Encrypt 5 always; nonsense"), -1);
    assert_eq!(token.hostile.try_command("flip-first on C_Login"), -1);
    assert_eq!(round_trip(&token, &DATA).expect("nothing armed"), DATA);
    assert_eq!(token.hostile.injected(), 0);
    assert_eq!(token.hostile.calls("C_Encrypt"), 1);
    assert_eq!(token.hostile.calls("C_Nothing"), u64::MAX);
    token.arm("reset");
    assert_eq!(token.hostile.calls("C_Encrypt"), 0);
}

/// Two faults that are due on one call are injected in two calls.
#[test]
fn faults_due_together_are_injected_in_order() {
    let token = Token::fresh();
    token.arm("fail C_GetSessionInfo DEVICE_ERROR after 3\nfail C_GetSessionInfo 0x32 after 3");
    let codes: Vec<_> = (0..6).map(|_| token.session_info().map(drop)).collect();
    let injected = [Err(CKR_DEVICE_ERROR), Err(CKR_DEVICE_REMOVED), Ok(())];
    assert_eq!(codes, [[Ok(()); 3], injected].concat());
}

/// The overlaps of `call` with a delayed call in the session of the token.
fn overlaps(token: &Token, call: impl FnOnce() -> bool) -> u64 {
    token.arm("reset; delay C_GetSessionInfo 3600000");
    thread::scope(|scope| {
        scope.spawn(|| token.session_info().map(drop));
        while token.hostile.injected() == 0 {
            thread::yield_now();
        }
        let _ = call();
        let count = token.hostile.overlaps();
        token.arm("clear");
        count
    })
}

#[test]
fn overlapping_calls_are_counted() {
    let mut token = Token::fresh();
    let other = token.open().expect("another session");
    let of_other = token.with(other);
    assert_eq!(overlaps(&token, || of_other.session_info().is_ok()), 0, "another session");
    assert_eq!(overlaps(&token, || token.slot_count().is_ok()), 0, "no session");
    assert_eq!(overlaps(&token, || p11!(token, C_CloseSession(other)).is_ok()), 0);
    assert_eq!(overlaps(&token, || token.session_info().is_ok()), 1, "the same session");
    assert_eq!(overlaps(&token, || p11!(token, C_CloseSession(token.session)).is_ok()), 1);
    token.connect().expect("a new session");
    let other = token.open().expect("another session");
    assert_eq!(
        overlaps(&token, || p11!(token, C_Logout(other)).is_ok()),
        1,
        "the login of all sessions"
    );
    assert_eq!(overlaps(&token, || p11!(token, C_CloseAllSessions(token.slot)).is_ok()), 1);
    token.connect().expect("a new session");
    assert_eq!(overlaps(&token, || token.finalize().is_ok()), 1);
}
