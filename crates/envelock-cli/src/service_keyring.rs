//! Keyrings over the Transit engine of OpenBao or Vault.

use crate::context::variable;
use crate::failure::{Failure, chain};
use crate::keyring_locator::ServiceKey;
use crate::output::printable;
use crate::secrets::SecretSource;
use crate::small_file;
use envelock_remote::{RemoteKeyring, SyncKeyring};
use envelock_transit::{SetupError, Token, Transit};
use std::path::Path;

/// Most bytes of the certificates of authorities.
const MAX_AUTHORITIES: usize = 1 << 20;

/// A keyring over one key of a service.
pub type ServiceKeyring = SyncKeyring<RemoteKeyring<Transit>>;

/// Opens the keyring of a locator. Makes no request.
///
/// # Errors
///
/// There is no address or token, one of them is wrong, or the certificates cannot be read.
pub fn open(locator: &ServiceKey) -> Result<ServiceKeyring, Failure> {
    let address = locator.address.clone().or_else(|| of_environment(["BAO_ADDR", "VAULT_ADDR"]));
    let address = address.ok_or_else(|| {
        let next = "write `transit:KEY;address=https://HOST:PORT`, or set BAO_ADDR";
        Failure::usage("no address of the service is given", next)
    })?;
    let mut builder = Transit::builder(address);
    if let Some(mount) = &locator.mount {
        builder = builder.mount(mount);
    }
    if let Some(namespace) = &locator.namespace {
        builder = builder.namespace(namespace);
    }
    if let Some(path) = &locator.authorities {
        builder = builder.root_certificates(certificates(path)?);
    }
    let source = token_source(locator)?;
    let first = token(&source)?;
    let builder = match source {
        // An agent writes a new one before the old one ends.
        SecretSource::File(_) => builder.token_source(move || {
            let read = token(&source).map_err(|failure| failure.what.into());
            std::future::ready(read)
        }),
        _ => builder.token(first),
    };
    let transit = builder.build().map_err(|error| {
        let next = match error {
            SetupError::Certificates { .. } => "check the file of `ca-file`: certificates in PEM",
            _ => "write `transit:KEY;address=https://HOST:PORT;mount=PATH;namespace=NAME`",
        };
        Failure::usage(chain(&error), next)
    })?;
    let key = locator.key.clone();
    SyncKeyring::start(async move || RemoteKeyring::new(transit, &key)).map_err(|error| {
        Failure::usage(
            chain(&error),
            "use letters, digits, '.', '_' and '-' in the name of the key",
        )
    })
}

fn of_environment<const N: usize>(names: [&str; N]) -> Option<String> {
    names.into_iter().find_map(|name| variable(name)?.into_string().ok())
}

fn token_source(locator: &ServiceKey) -> Result<SecretSource, Failure> {
    let names = ["BAO_TOKEN", "VAULT_TOKEN"];
    let set = || names.into_iter().find(|name| variable(name).is_some());
    let given = locator.token.clone().or_else(|| Some(SecretSource::Variable(set()?.into())));
    given.ok_or_else(|| {
        let next = "name its file in the locator: `?token-file=PATH`, or set BAO_TOKEN";
        Failure::usage("there is no token for the service", next)
    })
}

fn token(source: &SecretSource) -> Result<Token, Failure> {
    let text = source.read("token")?;
    let wrong = || {
        let next =
            "check the source of the token: a token is one word of letters, digits and signs";
        Failure::usage("there is no token in it", next).of(source)
    };
    let text = std::str::from_utf8(&text).map_err(|_| wrong())?;
    Token::new(text).map_err(|_| wrong())
}

fn certificates(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = small_file::open(path).and_then(|file| small_file::read(file, MAX_AUTHORITIES));
    read.map_err(|error| Failure::io(printable(path), &error))
}
