//! TLS to the server: its certificate must be for the host, from the authorities that are trusted.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use crate::tls::TlsError;

/// Connects by TLS 1.2 or 1.3 to servers with certificates from the authorities in the file `roots`, or else from
/// those that the machine trusts.
pub(super) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, PostgresError> {
    let trusted = match roots {
        Some(path) => from_file(path)?,
        None => from_machine()?,
    };
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(TlsError::Identity)?.with_root_certificates(trusted).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn from_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let malformed = || TlsError::Pem { path: path.to_owned(), what: "certificate" };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|_| malformed())?).map_err(|_| malformed())?;
    }
    if roots.is_empty() { Err(malformed()) } else { Ok(roots) }
}

fn from_machine() -> Result<RootCertStore, PostgresError> {
    let mut roots = RootCertStore::empty();
    // A machine may have certificates of no use; what counts is that there are others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(PostgresError::NoRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_hold_certificates() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("roots.pem");
        let read = || connector(Some(&path));
        assert!(matches!(read(), Err(PostgresError::Tls(TlsError::Read { .. }))));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no PEM", garbage] {
            std::fs::write(&path, text).expect("a file");
            assert!(matches!(read(), Err(PostgresError::Tls(TlsError::Pem { .. }))), "{text}");
        }
        let authority = rcgen::generate_simple_self_signed(["authority".to_owned()]).expect("a certificate");
        std::fs::write(&path, authority.cert.pem()).expect("a file");
        assert!(read().is_ok());
    }
}
