//! The events that an observer of a failing token receives.

use crate::hostile::{Hostile, PLAINTEXT, ROW, Scene, quick, verdict};
use envelock::{
    Envelope,
    format::WrapAlgorithm,
    observe::{Event, Observer},
};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::TokenReconnected { restarted, .. } => format!("reconnected {restarted}"),
            Event::TokenLogin { token } => format!("login {token}"),
            Event::TokenLoginRefused { error, .. } => format!("refused: {error}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn reconnects_logins_and_refusals_are_reported() {
    let hostile = Hostile::new();
    let scene = Scene::new(WrapAlgorithm::TOKEN_AES_256_GCM);
    let log = Arc::new(Log::default());
    let options = quick(WrapAlgorithm::TOKEN_AES_256_GCM).observer(log.clone());
    let keyring = scene.open_by(&options.token().unwrap()).unwrap();
    let login = "login label \"envelock\"";
    assert_eq!(log.take(), [login]);
    let decrypt = || Envelope::new(&keyring).decrypt(&scene.message, ROW);
    assert_eq!(decrypt().unwrap(), PLAINTEXT);
    assert!(log.take().is_empty());

    hostile.send("logout");
    assert_eq!(decrypt().unwrap(), PLAINTEXT);
    assert_eq!(log.take(), [login]);

    hostile.send("lose-sessions");
    assert_eq!(decrypt().unwrap(), PLAINTEXT);
    assert_eq!(log.take(), ["reconnected false", login]);

    hostile.send("dead DEVICE_ERROR");
    assert_eq!(decrypt().unwrap(), PLAINTEXT);
    let reported = log.take();
    assert!(reported.contains(&"reconnected true".to_owned()), "{reported:?}");
    assert!(reported.contains(&login.to_owned()), "{reported:?}");

    hostile.send("reset; logout; fail C_Login PIN_INCORRECT");
    assert_eq!(verdict(&decrypt()), "the PIN is wrong");
    let refused = "refused: cannot log in to the token: the PIN is wrong";
    assert_eq!(log.take(), [refused]);
    scene.forget_refused_pins();
    assert_eq!(decrypt().unwrap(), PLAINTEXT);
}
