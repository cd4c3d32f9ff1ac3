//! The conformance suite of keyrings, through the synchronous keyring: over a scripted service, and over keyrings on
//! blocking threads.

use envelock::conformance::{self, Controls};
use envelock::format::WrapAlgorithm;
use envelock::keyset::VersionState;
use envelock::{KeyVersion, Keyring, MemoryKeyring};
use envelock_remote::scripted::{Fault, ScriptedService};
use envelock_remote::{Blocking, CallOptions, RemoteKeyring, SyncKeyring};
use std::convert::Infallible;
use std::time::Duration;

const KEY: &str = "orders";

type Remote = SyncKeyring<RemoteKeyring<ScriptedService>>;

/// Fails at once where others would try again, since the clock is not paused.
fn options() -> CallOptions {
    CallOptions::default().max_attempts(1).circuit(0, Duration::ZERO)
}

fn keyring(service: ScriptedService, key: &str) -> Remote {
    let keyring = RemoteKeyring::builder(service, key).calls(options()).build().unwrap();
    SyncKeyring::start(async move || Ok::<_, Infallible>(keyring)).unwrap()
}

struct Judged {
    service: ScriptedService,
    keyring: Remote,
}

impl Judged {
    fn new() -> Self {
        let service = ScriptedService::with_key(KEY);
        let keyring = keyring(service.clone(), KEY);
        Judged { service, keyring }
    }

    fn fail(&self, fault: Fault) -> bool {
        self.service.fail(fault);
        true
    }
}

impl Controls for Judged {
    type Keyring = Remote;

    fn keyring(&self) -> &Remote {
        &self.keyring
    }

    fn rotate(&self) -> bool {
        self.service.rotate(KEY).is_some()
    }

    fn promote(&self, version: KeyVersion) -> bool {
        self.service.promote(KEY, version)
    }

    fn disable(&self, version: KeyVersion) -> bool {
        self.service.set_state(KEY, version, VersionState::Disabled)
    }

    fn deny(&self) -> bool {
        self.fail(Fault::Denied)
    }

    fn throttle(&self, retry_after: Option<Duration>) -> bool {
        self.fail(Fault::Throttled(retry_after))
    }

    fn break_backend(&self) -> bool {
        self.fail(Fault::ServerError)
    }

    fn restore(&self) {
        self.service.heal();
    }

    fn forget(&self) {
        self.keyring.keyring().forget_metadata();
    }

    fn twins(&self, test: &mut dyn FnMut(&dyn Keyring)) {
        self.service.share(KEY, "twin");
        test(&keyring(self.service.clone(), "twin"));
        let algorithm = WrapAlgorithm::new(254).unwrap();
        test(&keyring(self.service.clone().with_algorithm(algorithm), KEY));
    }
}

#[test]
fn keyring_over_a_service_conforms() {
    conformance::keyring(|| Judged::new().keyring);
}

#[test]
fn keyring_conforms_while_its_service_changes_and_fails() {
    conformance::remote(Judged::new);
}

fn on_blocking_threads<K: Keyring + 'static>(keyring: K) -> SyncKeyring<Blocking<K>> {
    // A name that the suite asks for, and that is no key's.
    let keyring = Blocking::builder(keyring).also_loads("conformance/nobody").build();
    SyncKeyring::start(async move || Ok::<_, Infallible>(keyring)).unwrap()
}

#[test]
fn memory_keyring_on_threads_conforms() {
    conformance::keyring(|| on_blocking_threads(MemoryKeyring::create(KEY).unwrap()));
}

#[cfg(unix)]
#[test]
fn file_keyring_on_threads_conforms() {
    use envelock::file::Protection;
    use envelock::{FileKeyring, MasterKey};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    let name = format!("envelock-blocking-conformance-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let files = AtomicUsize::new(0);
    conformance::keyring(|| {
        let path = directory.join(files.fetch_add(1, Relaxed).to_string());
        let protection = Protection::raw_key(MasterKey::from_bytes(&[7; 32]));
        on_blocking_threads(FileKeyring::create(path, KEY, &protection).unwrap())
    });
    std::fs::remove_dir_all(&directory).unwrap();
}
