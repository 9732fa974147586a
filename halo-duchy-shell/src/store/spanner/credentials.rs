//! Google's credentials as the client library of Spanner takes them.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::gcp::GcpCredentialProvider;
use token_source::{TokenSource, TokenSourceProvider};

use crate::cloud::gcp::find_credentials;

/// Gives the client library its tokens, for Google's whole platform; they are renewed before they end.
#[derive(Clone, Debug)]
pub(super) struct Credentials(GcpCredentialProvider);

impl Credentials {
    /// Finds them; nothing is asked of Google yet.
    pub(super) fn find() -> object_store::Result<Self> {
        find_credentials().map(Self)
    }
}

impl TokenSourceProvider for Credentials {
    fn token_source(&self) -> Arc<dyn TokenSource> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl TokenSource for Credentials {
    async fn token(&self) -> Result<String, Box<dyn Error + Send + Sync>> {
        let credential = self.0.get_credential().await?;
        Ok(format!("Bearer {}", credential.bearer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_for_credentials_asks_nobody() {
        // The HTTP client that would ask Google is made, with the TLS that it has to be given.
        let found = Credentials::find().expect("a way to credentials");
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
        found.token_source();
    }
}
