//! Tokens of the service, and their renewal.

use crate::RequestError;
use bytes::Bytes;
use envelock_remote::ServiceError;
use hyper::header::HeaderValue;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long a token that was just obtained is not replaced, even if the service refuses it.
const MIN_AGE: Duration = Duration::from_secs(10);

/// A token of the service: a secret. It is wiped on drop and shown nowhere.
pub struct Token {
    header: HeaderValue,
    renew_after: Option<Duration>,
}

/// The text cannot be a token: it is empty, or has a character other than visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token is empty, or has a character that is not visible ASCII")]
#[non_exhaustive]
pub struct InvalidToken;

impl Token {
    /// Returns a token from its text. White space around it is left off, as that of a file.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`].
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidToken> {
        let text = Zeroizing::new(text.into());
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        let wiped = Zeroizing::new(token.as_bytes().to_vec());
        let shared = Bytes::from_owner(wiped);
        let mut header = HeaderValue::from_maybe_shared(shared).map_err(|_| InvalidToken)?;
        header.set_sensitive(true);
        Ok(Token { header, renew_after: None })
    }

    /// Has the source asked for another token after this time: two thirds of the lease are usual.
    #[must_use]
    pub fn renew_after(self, age: Duration) -> Self {
        Token { renew_after: Some(age), ..self }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

type TokenFuture =
    Pin<Box<dyn Future<Output = Result<Token, Box<dyn Error + Send + Sync>>> + Send>>;

/// Where tokens come from.
pub(crate) enum TokenSource {
    Fixed(HeaderValue),
    Renewed { source: Box<dyn Fn() -> TokenFuture + Send + Sync>, current: Mutex<Option<Current>> },
}

#[derive(Clone)]
pub(crate) struct Current {
    header: HeaderValue,
    obtained: Instant,
    renew_at: Option<Instant>,
}

impl TokenSource {
    pub(crate) fn fixed(token: Token) -> Self {
        TokenSource::Fixed(token.header)
    }

    pub(crate) fn renewed<F>(source: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        TokenSource::Renewed {
            source: Box::new(move || Box::pin(source())),
            current: Mutex::new(None),
        }
    }

    /// Returns the token to send. All callers wait for one renewal.
    pub(crate) async fn token(&self) -> Result<HeaderValue, ServiceError> {
        let (source, current) = match self {
            TokenSource::Fixed(header) => return Ok(header.clone()),
            TokenSource::Renewed { source, current } => (source, current),
        };
        let mut current = current.lock().await;
        let now = Instant::now();
        match &mut *current {
            Some(held) if held.renew_at.is_none_or(|at| now < at) => Ok(held.header.clone()),
            Some(held) => match source().await {
                Ok(token) => Ok(current.insert(Current::new(token)).header.clone()),
                // It is due, and not refused yet: calls go on with it.
                Err(_) => {
                    held.renew_at = Some(now + MIN_AGE);
                    Ok(held.header.clone())
                }
            },
            None => {
                let token = source().await.map_err(no_token)?;
                Ok(current.insert(Current::new(token)).header.clone())
            }
        }
    }

    /// Returns another token than `refused`, which the service does not accept, if there is one.
    pub(crate) async fn replacement(
        &self,
        refused: &HeaderValue,
    ) -> Result<Option<HeaderValue>, ServiceError> {
        let TokenSource::Renewed { source, current } = self else { return Ok(None) };
        let mut current = current.lock().await;
        if let Some(held) = &*current {
            if held.header != refused {
                return Ok(Some(held.header.clone()));
            }
            // A policy that denies a path must not cost a login for each call.
            if held.obtained.elapsed() < MIN_AGE {
                return Ok(None);
            }
        }
        let token = source().await.map_err(no_token)?;
        let header = current.insert(Current::new(token)).header.clone();
        Ok((header != refused).then_some(header))
    }
}

impl Current {
    fn new(token: Token) -> Self {
        let obtained = Instant::now();
        // Nothing: an age beyond the range of the clock never comes.
        let renew_at = token.renew_after.and_then(|age| obtained.checked_add(age));
        Current { header: token.header, obtained, renew_at }
    }
}

/// Where tokens come from may be out of order for a while.
fn no_token(source: Box<dyn Error + Send + Sync>) -> ServiceError {
    ServiceError::unavailable(RequestError::Token { source })
}
