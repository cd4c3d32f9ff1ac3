//! TLS.

use crate::server::Server;
use envelock_remote::ServiceError;
use envelock_transit::{SetupError, Token, Transit, TransitBuilder};

fn builder(address: &str) -> TransitBuilder {
    Transit::builder(address).token(Token::new("root").unwrap())
}

#[tokio::test]
async fn authority_is_that_which_was_given() {
    let (_server, address, pem) = Server::start_with_tls();
    let trusting = builder(&address).root_certificates(pem).build().unwrap();
    // The engine is not mounted, as the server says over TLS.
    let answered = trusting.describe_key("orders").await;
    assert!(matches!(answered, Err(ServiceError::Broken(_))), "{answered:?}");
    let text = answered.unwrap_err().to_string();
    assert!(text.contains("404") && text.contains("no handler"), "{text}");

    let (_other, _, other) = Server::start_with_tls();
    let distrusting = builder(&address).root_certificates(other).build().unwrap();
    let refused = distrusting.describe_key("orders").await;
    assert!(matches!(refused, Err(ServiceError::Unavailable(_))), "{refused:?}");
    let plain = builder(&address.replace("https", "http")).build().unwrap();
    let refused = plain.describe_key("orders").await;
    assert!(matches!(refused, Err(ServiceError::Broken(_))), "{refused:?}");
}

#[test]
fn certificates_that_are_none_are_refused() {
    for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = builder("https://localhost").root_certificates(pem).build();
        assert!(matches!(refused, Err(SetupError::Certificates { .. })), "{refused:?}");
    }
}
