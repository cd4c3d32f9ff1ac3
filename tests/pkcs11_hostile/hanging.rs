//! A token that does not answer: whoever set a deadline goes on without it.

use crate::hostile::{Hostile, PLAINTEXT, ROW, Scene, quick, verdict};
use envelock::{Envelope, WrapAlgorithm};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_call_that_hangs_is_left_at_the_deadline() {
    let hostile = Hostile::new();
    let scene = Scene::new(WrapAlgorithm::TOKEN_AES_256_GCM);
    let token = quick(WrapAlgorithm::TOKEN_AES_256_GCM)
        .deadline(Duration::from_millis(300))
        .max_sessions(2)
        .token()
        .unwrap();
    let keyring = scene.open_by(&token).unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);

    hostile.tell("delay C_Decrypt 60000 always");
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(verdict(&envelope.decrypt(&message, ROW)), "deadline");
    }
    // Both threads hang: nobody waits for them.
    let told = Instant::now();
    assert_eq!(verdict(&envelope.decrypt(&message, ROW)), "hanging");
    assert!(told.elapsed() < Duration::from_millis(250), "{:?}", told.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));

    // It answers again, and nothing is left of it.
    hostile.tell("reset");
    let answers = (0..50).any(|_| {
        thread::sleep(Duration::from_millis(20));
        envelope.decrypt(&message, ROW).is_ok_and(|opened| opened == PLAINTEXT)
    });
    assert!(answers);
    scene.check("after it hung");
}
