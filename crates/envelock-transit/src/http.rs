//! Requests over HTTP.

use crate::RequestError;
use crate::answer::{Answer, MAX_BODY};
use crate::token::TokenSource;
use bytes::Bytes;
use envelock_remote::ServiceError;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::time::Duration;
use zeroize::Zeroizing;

/// Within it a host accepts the connection, or another of its addresses is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The service closes idle connections after five minutes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(not(feature = "rustls"))]
type Connector = HttpConnector;
#[cfg(feature = "rustls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;

/// A client of one service.
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
    /// Scheme and authority.
    address: String,
    namespace: Option<HeaderValue>,
    tokens: TokenSource,
}

/// An answer that was read whole, and is wiped on drop.
pub(crate) struct Received {
    status: u16,
    retry_after: Option<HeaderValue>,
    body: Zeroizing<Vec<u8>>,
}

impl Received {
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            retry_after: self.retry_after.as_ref().map(HeaderValue::as_bytes),
            body: &self.body,
        }
    }
}

impl Http {
    pub(crate) fn new(
        address: String,
        namespace: Option<HeaderValue>,
        tokens: TokenSource,
        connector: Connector,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Http { client, address, namespace, tokens }
    }

    /// Sends one request to `/v1/{path}`. If the service does not accept the token and there is another, sends
    /// it once more.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Received, ServiceError> {
        // Wiped when the last request that has it is dropped.
        let body = body.map_or_else(Bytes::new, Bytes::from_owner);
        let token = self.tokens.token().await?;
        let received = self.send_with(&token, method.clone(), path, body.clone()).await?;
        if received.status != 403 {
            return Ok(received);
        }
        match self.tokens.replacement(&token).await? {
            Some(token) => self.send_with(&token, method, path, body).await,
            None => Ok(received),
        }
    }

    async fn send_with(
        &self,
        token: &HeaderValue,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Received, ServiceError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address))
            .header("x-vault-token", token)
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(ServiceError::broken)?;
        let response =
            self.client.request(request).await.map_err(|error| self.no_answer(error.into()))?;
        self.receive(response).await
    }

    async fn receive(&self, response: Response<Incoming>) -> Result<Received, ServiceError> {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let mut incoming = response.into_body();
        let mut body = Zeroizing::new(Vec::new());
        // What the service announces is the first room, so that most answers are not copied again.
        let announced = incoming.size_hint().exact().unwrap_or(0);
        reserve(&mut body, usize::try_from(announced).unwrap_or(usize::MAX))?;
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| self.no_answer(error.into()))?;
            if let Ok(data) = frame.into_data() {
                reserve(&mut body, data.len())?;
                body.extend_from_slice(&data);
            }
        }
        Ok(Received { status, retry_after, body })
    }

    fn no_answer(&self, source: Box<dyn Error + Send + Sync>) -> ServiceError {
        let address = self.address.clone();
        ServiceError::unavailable(RequestError::NoAnswer { address, source })
    }
}

/// Makes room for `more` bytes. A buffer that is replaced is wiped.
fn reserve(body: &mut Zeroizing<Vec<u8>>, more: usize) -> Result<(), ServiceError> {
    let len = body.len().checked_add(more).filter(|&len| len <= MAX_BODY);
    let len = len.ok_or_else(|| ServiceError::broken(RequestError::TooLong))?;
    if len > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * body.capacity())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    Ok(())
}

/// Returns the connector of addresses that begin with `http`.
fn plain() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

#[cfg(not(feature = "rustls"))]
pub(crate) fn connector() -> Connector {
    plain()
}

/// Returns the connector that trusts `roots`, or the authorities of the system.
#[cfg(feature = "rustls")]
pub(crate) fn connector(roots: Option<rustls::RootCertStore>) -> std::io::Result<Connector> {
    let mut plain = plain();
    plain.enforce_http(false);
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = match roots {
        Some(roots) => {
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(std::io::Error::other)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            builder.with_tls_config(config)
        }
        None => builder.with_provider_and_native_roots(rustls::crypto::ring::default_provider())?,
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(plain))
}
