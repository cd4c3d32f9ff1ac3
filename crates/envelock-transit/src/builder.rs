//! The builder of a client.

use crate::Transit;
use crate::http::{self, Http};
use crate::token::{Token, TokenSource};
use envelock::MasterKeyId;
use hyper::Uri;
use hyper::header::HeaderValue;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

/// Why a client was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The address is not `http` or `https`, a host and a port, or has a path.
    #[error("address {address} is not http:// or https:// with a host and a port, and no path")]
    #[non_exhaustive]
    Address {
        /// The address.
        address: String,
    },
    /// The address begins with `http`, and is not of this machine. See
    /// [`allow_clear_text`](TransitBuilder::allow_clear_text).
    #[error("{address} would send the token and data keys in the clear: give an https address")]
    #[non_exhaustive]
    ClearText {
        /// The address.
        address: String,
    },
    /// The address begins with `https`, and feature `rustls` is off.
    #[error("address {address} needs feature `rustls` of envelock-transit")]
    #[non_exhaustive]
    TlsFeature {
        /// The address.
        address: String,
    },
    /// The path of the engine has a part that is empty, or other characters than letters, digits, '.', '_'
    /// and '-'.
    #[error("mount {mount} is not a path of letters, digits, '.', '_' and '-'")]
    #[non_exhaustive]
    Mount {
        /// The path.
        mount: String,
    },
    /// The namespace has other characters than visible ASCII.
    #[error("namespace {namespace} has a character that is not visible ASCII")]
    #[non_exhaustive]
    Namespace {
        /// The namespace.
        namespace: String,
    },
    /// There is neither a token nor a source of tokens.
    #[error("there is no token: give one, or a source of tokens")]
    NoToken,
    /// The certificates of the authority cannot be read, or those of the system are not there.
    #[error("certificates of the authority cannot be read")]
    #[non_exhaustive]
    Certificates {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Builds a [`Transit`].
#[must_use]
pub struct TransitBuilder {
    address: String,
    mount: String,
    namespace: Option<String>,
    tokens: Option<TokenSource>,
    master_key_id: Option<MasterKeyId>,
    allows_clear_text: bool,
    #[cfg(feature = "rustls")]
    roots: Option<Vec<u8>>,
}

impl TransitBuilder {
    pub(crate) fn new(address: String) -> Self {
        TransitBuilder {
            address,
            mount: "transit".to_owned(),
            namespace: None,
            tokens: None,
            master_key_id: None,
            allows_clear_text: false,
            #[cfg(feature = "rustls")]
            roots: None,
        }
    }

    /// Sets the path of the engine, without a slash at its ends; `transit` without a call.
    pub fn mount(self, mount: impl Into<String>) -> Self {
        TransitBuilder { mount: mount.into(), ..self }
    }

    /// Sets the namespace, such as `team/orders`.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        TransitBuilder { namespace: Some(namespace.into()), ..self }
    }

    /// Sets the token, for as long as the client is used.
    pub fn token(self, token: Token) -> Self {
        TransitBuilder { tokens: Some(TokenSource::fixed(token)), ..self }
    }

    /// Sets where tokens come from: `source` is called before the first request, when
    /// [`renew_after`](Token::renew_after) has passed, and when the service refuses a token that is older than ten
    /// seconds. Callers wait for one call of it.
    pub fn token_source<F>(self, source: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        TransitBuilder { tokens: Some(TokenSource::renewed(source)), ..self }
    }

    /// Sets the id of the master keys, in the place of one that is made of the engine's id and the key's name.
    ///
    /// For a key that was restored from a backup into another engine: give the id that its messages have. All
    /// keys that this client is used for get the same id. A wrap then costs no description of its key.
    pub fn master_key_id(self, id: MasterKeyId) -> Self {
        TransitBuilder { master_key_id: Some(id), ..self }
    }

    /// Takes an address that begins with `http` and is not of this machine.
    ///
    /// # Security
    ///
    /// Whoever sees the connection has the token and every data key. Use it only where something else encrypts
    /// it, such as the sidecar of a service mesh.
    pub fn allow_clear_text(self) -> Self {
        TransitBuilder { allows_clear_text: true, ..self }
    }

    /// Sets the certificates of the authorities to trust, as PEM, in the place of those of the system.
    #[cfg(feature = "rustls")]
    pub fn root_certificates(self, pem: impl Into<Vec<u8>>) -> Self {
        TransitBuilder { roots: Some(pem.into()), ..self }
    }

    /// Returns the client. Makes no request, and needs no runtime.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn build(self) -> Result<Transit, SetupError> {
        let address = parse_address(&self.address, self.allows_clear_text)?;
        let mount = self.mount;
        let is_path = mount.split('/').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && part.bytes().any(|b| b != b'.')
        });
        if !is_path {
            return Err(SetupError::Mount { mount });
        }
        let tokens = self.tokens.ok_or(SetupError::NoToken)?;
        let namespace = match self.namespace {
            None => None,
            Some(namespace) => match HeaderValue::from_str(&namespace) {
                Ok(value) if namespace.bytes().all(|byte| byte.is_ascii_graphic()) => Some(value),
                _ => return Err(SetupError::Namespace { namespace }),
            },
        };
        #[cfg(not(feature = "rustls"))]
        let connector = http::connector();
        #[cfg(feature = "rustls")]
        let connector = {
            let roots = self.roots.as_deref().map(parse_roots).transpose()?;
            http::connector(roots)
                .map_err(|error| SetupError::Certificates { source: error.into() })?
        };
        let http = Http::new(address, namespace, tokens, connector);
        Ok(Transit::new(http, mount, self.master_key_id))
    }
}

fn parse_address(address: &str, allows_clear_text: bool) -> Result<String, SetupError> {
    let wrong = || SetupError::Address { address: address.to_owned() };
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    if uri.path_and_query().is_some_and(|path| path != "/") || authority.as_str().contains('@') {
        return Err(wrong());
    }
    match scheme {
        "http" if allows_clear_text || is_loopback(authority.host()) => {}
        "http" => return Err(SetupError::ClearText { address: address.to_owned() }),
        "https" if cfg!(feature = "rustls") => {}
        "https" => return Err(SetupError::TlsFeature { address: address.to_owned() }),
        _ => return Err(wrong()),
    }
    Ok(format!("{scheme}://{authority}"))
}

/// Returns whether `host` is this machine, by its address or this one name.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(feature = "rustls")]
fn parse_roots(pem: &[u8]) -> Result<rustls::RootCertStore, SetupError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    let failed = |source: Box<dyn Error + Send + Sync>| SetupError::Certificates { source };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| failed(error.into()))?;
        roots.add(certificate).map_err(|error| failed(error.into()))?;
    }
    if roots.is_empty() {
        return Err(failed("there is no certificate in them".into()));
    }
    Ok(roots)
}

impl fmt::Debug for TransitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitBuilder")
            .field("address", &self.address)
            .field("mount", &self.mount)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{SetupError, parse_address};

    #[test]
    fn clear_text_leaves_this_machine_only_if_allowed() {
        for near in ["http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost:8200/"] {
            parse_address(near, false).expect("an address of this machine");
        }
        for far in ["http://10.0.0.7:8200", "http://bao:8200", "http://localhost.example"] {
            let refused = parse_address(far, false);
            assert!(matches!(refused, Err(SetupError::ClearText { address }) if address == far));
            parse_address(far, true).expect("an address that is allowed");
        }
    }
}
