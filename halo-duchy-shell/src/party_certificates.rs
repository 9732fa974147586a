//! The certificates of other parties, from the Kingdom but not on its word.
//!
//! Whoever asks for a certificate knows whose it should be. The Kingdom only hands it out: that it belongs to that
//! party is shown by the root that issued it, as everywhere (docs/consent-and-envelopes.md#certificates).

use tonic::Status;

use crate::client::{CallPolicy, Channel};
use crate::identity::{Caller, Identities};
use crate::platform;
use crate::proto::api::GetCertificateRequest;
use crate::proto::api::certificate::RevocationState;
use crate::proto::api::certificates_client::CertificatesClient;
use crate::tls::TlsIdentity;
use crate::x509::{self, CertificateError};

/// Why there is no certificate to rely on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartyCertificateError {
    /// The Kingdom did not give it.
    #[error("the Kingdom did not give certificate {name}: {status}")]
    Kingdom {
        /// The certificate's name.
        name: String,
        /// What it answered.
        status: Status,
    },
    /// It was revoked or is on hold.
    #[error("certificate {0} was revoked")]
    Revoked(String),
    /// It is malformed, out of date, or by no trusted root.
    #[error("certificate {name}: {source}")]
    Certificate {
        /// The certificate's name.
        name: String,
        /// What is wrong.
        source: CertificateError,
    },
    /// Another party's root issued it.
    #[error("certificate {name} does not belong to {expected}")]
    OtherParty {
        /// The certificate's name.
        name: String,
        /// Whose it should be.
        expected: Caller,
    },
}

/// Fetches and checks certificates.
#[derive(Clone, Debug)]
pub struct PartyCertificates {
    client: CertificatesClient<Channel>,
    tls: TlsIdentity,
    principals: Identities,
}

impl PartyCertificates {
    /// Asks the Kingdom behind `kingdom`; believes the roots that `tls` has at the time, each of which is of the party that
    /// `principals` says.
    pub fn new(kingdom: Channel, tls: TlsIdentity, principals: Identities) -> Self {
        Self { client: CertificatesClient::new(kingdom), tls, principals }
    }

    /// The certificate `name` of `owner`, in DER, valid now.
    ///
    /// # Errors
    /// If the Kingdom does not have it or it must not be relied on.
    pub async fn get(&self, name: &str, owner: &Caller) -> Result<Vec<u8>, PartyCertificateError> {
        let request = GetCertificateRequest { name: name.to_owned() };
        let certificate = CallPolicy::default()
            .unary(|| {
                let (mut client, request) = (self.client.clone(), request.clone());
                async move { client.get_certificate(request).await }
            })
            .await
            .map_err(|status| PartyCertificateError::Kingdom { name: name.to_owned(), status })?;
        if certificate.revocation_state() != RevocationState::Unspecified {
            return Err(PartyCertificateError::Revoked(name.to_owned()));
        }
        self.check(name, &certificate.x509_der, owner)?;
        Ok(certificate.x509_der)
    }

    fn check(&self, name: &str, der: &[u8], owner: &Caller) -> Result<(), PartyCertificateError> {
        let refused = |source| PartyCertificateError::Certificate { name: name.to_owned(), source };
        let certificate = x509::parse(der).map_err(refused)?;
        let roots = self.tls.roots();
        let root = roots.issuer(&certificate).map_err(refused)?;
        if self.principals.current().get(root) != Some(owner) {
            let (name, expected) = (name.to_owned(), owner.clone());
            return Err(PartyCertificateError::OtherParty { name, expected });
        }
        roots.verify(&certificate, root, platform::time()).map_err(refused)
    }
}
