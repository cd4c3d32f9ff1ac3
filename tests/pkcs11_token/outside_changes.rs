//! Other code in the process ends sessions, logs out, initialises the library again: callers notice
//! nothing (THREATS row 66), and the observer receives the events under no lock.

use crate::keys::put;
use crate::logins::fault;
use crate::process::{Process, send};
use crate::raw_token::RawLibrary;
use crate::token_env::{
    CatalogueDirectory, algorithms, best, library, name, options, session, slot, variable,
};
use cryptoki_sys as ck;
use envelock::{
    Aad, Envelope, Lifecycle,
    format::WrapAlgorithm,
    observe::{Event, FnObserver, Observer},
    pkcs11::{self, ExternalKeyring, Pin, PinFault},
};
use std::sync::{Arc, Mutex, OnceLock};

const ROW: Aad<'static> = Aad::new(b"row 7");

/// The events that the observer received, in words.
type Heard = Arc<Mutex<Vec<String>>>;

/// A keyring with a warm key, and the events of its observer.
struct Stage {
    keyring: Arc<ExternalKeyring>,
    message: Vec<u8>,
    heard: Heard,
}

fn word(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::TokenReconnected { restarted, .. } => format!("reconnected {restarted}"),
        Event::TokenLogin { .. } => "login".into(),
        Event::TokenLoginRefused { error, .. } => format!("refused: {error}"),
        _ => return None,
    })
}

/// With an observer that uses the keyring itself, once there is one.
fn stage(options: pkcs11::Options, algorithm: WrapAlgorithm) -> Stage {
    let (_, keys) = put(&session(), algorithm);
    let heard = Heard::default();
    let used: Arc<OnceLock<(Arc<ExternalKeyring>, Vec<u8>)>> = Arc::default();
    let (hears, uses) = (heard.clone(), used.clone());
    let observer = FnObserver::new(move |event: &Event<'_>| {
        let Some(word) = word(event) else { return };
        // A refused use publishes an event, whose observer would use the keyring again.
        let is_refused = word.starts_with("refused");
        hears.lock().unwrap().push(word);
        if let Some((keyring, message)) = uses.get().filter(|_| !is_refused) {
            let keyring: &ExternalKeyring = keyring;
            assert_eq!(Envelope::new(keyring).decrypt(message, ROW).unwrap(), b"row");
        }
    });
    let observer: Arc<dyn Observer> = Arc::new(observer);
    let token = options.observer(observer).token().unwrap();
    let keyring = Arc::new(ExternalKeyring::new(&token, &keys).unwrap());
    let message = Envelope::new(&keyring).encrypt(b"row", ROW).unwrap();
    assert!(used.set((keyring.clone(), message.clone())).is_ok());
    Stage { keyring, message, heard }
}

impl Stage {
    /// The events since the last call, each once and in order.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn unwraps(&self) {
        let envelope = Envelope::new(&self.keyring);
        assert_eq!(envelope.decrypt(&self.message, ROW).unwrap(), b"row");
    }

    fn wraps(&self) {
        let message = Envelope::new(&self.keyring).encrypt(b"other", ROW).unwrap();
        assert_eq!(Envelope::new(&self.keyring).decrypt(&message, ROW).unwrap(), b"other");
    }
}

/// One change by other code, and the events that follow.
type Deed = (&'static str, fn(), &'static [&'static str]);

const SESSIONS: Deed = (
    "C_CloseAllSessions",
    || assert_eq!(library().close_all(slot()), ck::CKR_OK),
    &["reconnected false", "login"],
);
const LOGOUT: Deed = ("C_Logout", || assert_eq!(session().logout(), ck::CKR_OK), &["login"]);

/// NSS follows a null pointer in C_SignInit if an HMAC key is known and no user is logged in: no
/// earlier call could have prevented that.
pub fn crashes_logged_out(algorithm: WrapAlgorithm) -> bool {
    name() == "nss" && algorithm == WrapAlgorithm::TOKEN_AES_256_CBC_HMAC
}

#[test]
fn session_or_login_ended_by_others_is_restored() {
    for algorithm in algorithms() {
        let stage = stage(options(), algorithm);
        // Other code of this process may be logged in already.
        assert!(stage.heard().iter().all(|heard| heard == "login"));
        for (what, deed, heard) in [SESSIONS, LOGOUT] {
            if crashes_logged_out(algorithm) && what == LOGOUT.0 {
                continue;
            }
            for _ in 0..3 {
                deed();
                stage.unwraps();
                assert_eq!(stage.heard(), heard, "{what}, before an unwrap");
                deed();
                stage.wraps();
                assert_eq!(stage.heard(), heard, "{what}, before a wrap");
                stage.wraps();
                assert!(stage.heard().is_empty(), "{what}: all is well since");
            }
        }
    }
}

/// A change of keys recovers the same way.
#[test]
fn rotation_survives_changes_by_others() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &options().token().unwrap());
    for (_, deed, _) in [SESSIONS, LOGOUT] {
        deed();
        let version = keyring.rotate().unwrap();
        deed();
        keyring.disable(version).unwrap_err();
        deed();
        assert_eq!(keyring.rotate().unwrap().number(), version.number() + 1);
        deed();
        keyring.disable(version).unwrap();
        keyring.destroy_immediately(version).unwrap();
    }
}

pub fn child(label: &str) {
    // The crate initialises the library; then other code finalises it, and initialises it again.
    let heard_of = |first_by_us: bool| {
        if !first_by_us {
            initialize(&RawLibrary::load(&variable("ENVELOCK_P11_MODULE")));
        }
        let stage = stage(options(), best());
        assert_eq!(stage.heard(), ["login"]);
        let library = RawLibrary::load(&variable("ENVELOCK_P11_MODULE"));
        for again in [true, false, true] {
            assert_eq!(library.finalize(), ck::CKR_OK);
            if again {
                initialize(&library);
            }
            stage.unwraps();
            let heard = stage.heard();
            assert!(heard.iter().any(|word| word.starts_with("reconnected")), "{heard:?}");
            stage.wraps();
        }
    };
    heard_of(label == "ours");
    send("done");
}

fn initialize(library: &RawLibrary) {
    let reserved = std::env::var("ENVELOCK_P11_RESERVED").ok();
    assert_eq!(library.initialize(reserved.as_deref()), ck::CKR_OK);
}

/// Either may initialise the library first. In a process of its own, since its state outlives the test.
#[test]
fn library_set_up_again_by_others_is_used() {
    for who in ["ours", "theirs"] {
        let mut child = Process::start(crate::MODULE, "outside changes", &[who]);
        child.expect("done");
        assert!(child.end().is_empty());
    }
}

/// A lost login cannot be repeated after the PIN of the token changed: both are reported.
#[test]
fn refused_login_is_reported() {
    let (pin, wrong) = (Arc::new(Mutex::new(variable("ENVELOCK_P11_PIN"))), "00000003");
    let given = pin.clone();
    let options = options().pin_from(move || Ok(Pin::new(&*given.lock().unwrap())));
    let stage = stage(options, best());
    stage.heard();
    *pin.lock().unwrap() = wrong.into();
    assert_eq!(session().logout(), ck::CKR_OK);
    for _ in 0..3 {
        let refused = Envelope::new(&stage.keyring).decrypt(&stage.message, ROW);
        let fault = fault(refused.map(drop));
        assert!(matches!(fault, PinFault::Rejected), "{fault:?}");
    }
    let heard = stage.heard();
    let fault = PinFault::Rejected;
    let expected = format!("refused: {}", pkcs11::Error::Login { fault });
    assert_eq!(heard, [expected.clone(), expected.clone(), expected]);
    *pin.lock().unwrap() = variable("ENVELOCK_P11_PIN");
    stage.unwraps();
    assert_eq!(stage.heard(), ["login"]);
}
