//! Roots of parties, and what they issue in place of what `halo-duchy pki` made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use halo_duchy_shell::x509::{parse, subject_key_identifier};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;

/// A root.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// The one that `halo-duchy pki` made for `party`.
    pub fn of(party: &str, pki: &Path) -> Self {
        let read = |end: &str| fs::read_to_string(pki.join(format!("{party}_root.{end}"))).expect("a file");
        let (pem, key) = (read("pem"), KeyPair::from_pem(&read("key")).expect("a key"));
        Self { issuer: Issuer::from_ca_cert_pem(&pem, key).expect("a root"), pem }
    }

    /// Another.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::from_ca_cert_pem(&pem, key).expect("a root"), pem }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its subject key identifier.
    pub fn key_identifier(&self) -> Vec<u8> {
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("a certificate");
        let root = parse(&der).expect("a certificate");
        subject_key_identifier(&root).expect("a root has one").to_vec()
    }

    /// Issues a certificate for a new key.
    fn issue(&self, hosts: &[&str], lasts: Duration) -> (rcgen::Certificate, KeyPair) {
        let hosts: Vec<String> = hosts.iter().map(|host| String::from(*host)).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(60);
        params.not_after = OffsetDateTime::now_utc() + lasts;
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// Gives `party` a new key and certificate for TLS, in the files that it has.
    pub fn renew_tls(&self, party: &str, pki: &Path, lasts: Duration) {
        let (certificate, key) = self.issue(&["localhost", "127.0.0.1"], lasts);
        replace(&pki.join(format!("{party}_tls.pem")), certificate.pem());
        replace(&pki.join(format!("{party}_tls.key")), key.serialize_pem());
    }

    /// A new key and certificate for consent signaling, in DER.
    pub fn consent(&self) -> (Vec<u8>, Vec<u8>) {
        let (certificate, key) = self.issue(&[], Duration::from_secs(86_400));
        (certificate.der().to_vec(), key.serialize_der())
    }
}

/// Writes a file anew, so that nobody reads a half of it.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    fs::write(&beside, content).expect("a file");
    fs::rename(beside, path).expect("a file");
}
