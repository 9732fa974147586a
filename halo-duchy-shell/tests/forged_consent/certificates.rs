//! Consent-signaling certificates for whom they should not be.

use std::path::PathBuf;

use halo_duchy_shell::consent::{Signature, Signer};
use halo_duchy_shell::pki::Pki;
use halo_duchy_shell::x509::{parse, subject_key_identifier};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

fn root_file(pki: &Pki, party: &str, extension: &str) -> String {
    let path: PathBuf = pki.collection().with_file_name(format!("{party}_root.{extension}"));
    std::fs::read_to_string(path).expect("written")
}

/// A root like that of `party`, with the same name and key identifier, but with `key`.
fn authority(pki: &Pki, party: &str, key: KeyPair) -> CertifiedIssuer<'static, KeyPair> {
    let root = CertificateDer::from_pem_slice(root_file(pki, party, "pem").as_bytes()).expect("PEM");
    let id = subject_key_identifier(&parse(&root).expect("a root")).expect("present").to_vec();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Halo Duchy development");
    params.distinguished_name.push(DnType::CommonName, format!("{party} root"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_identifier_method = KeyIdMethod::PreSpecified(id);
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

/// A certificate by the real root of `party`, as `change` makes it, with its signer.
pub fn genuine(pki: &Pki, party: &str, change: impl FnOnce(&mut CertificateParams)) -> Signer {
    let key = KeyPair::from_pem(&root_file(pki, party, "key")).expect("a key");
    leaf(&authority(pki, party, key), change)
}

/// A certificate by an authority that poses as the root of `party`.
pub fn posing(pki: &Pki, party: &str) -> Signer {
    leaf(&authority(pki, party, KeyPair::generate().expect("a key")), |_| ())
}

/// A certificate by an authority that nobody knows.
pub fn unknown() -> Signer {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    leaf(&CertifiedIssuer::self_signed(params, key).expect("a certificate"), |_| ())
}

fn leaf(issuer: &CertifiedIssuer<'_, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Signer {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    Signer::new(certificate.der().to_vec(), &key.serialize_der()).expect("they belong together")
}

pub fn expired(params: &mut CertificateParams) {
    params.not_after = OffsetDateTime::now_utc() - Duration::hours(1);
}

pub fn early(params: &mut CertificateParams) {
    params.not_before = OffsetDateTime::now_utc() + Duration::hours(1);
}

pub fn critical(params: &mut CertificateParams) {
    let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
}

/// The consent-signaling key of `party` itself.
pub fn own(pki: &Pki, party: &str) -> Signer {
    Signer::load(&pki.consent_certificate(party), &pki.consent_private_key(party)).expect("own files")
}

pub fn sign(signer: &Signer, data: &[u8]) -> Signature {
    signer.sign(data).expect("a sound key")
}
