//! The roots of trust, and which of them issued a certificate.
//!
//! Every entity has its own root, and the key identifier of that root is the entity's identity. Chains have exactly
//! one certificate below the root. An authority key identifier alone proves nothing: whoever controls a trusted root
//! can write another's identifier into a leaf, and path building by name would not notice. So an issuer is only
//! believed after the signature verifies under the key of the root that has the identifier.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::asn1_rs::BitString;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, Oid,
};
use x509_parser::prelude::{ASN1Time, AlgorithmIdentifier, FromDer, ParsedExtension, X509Certificate};
use x509_parser::verify::verify_signature;

/// Why a certificate was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The bytes are no certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// The text is not a series of certificates in PEM.
    #[error("the collection is not PEM")]
    MalformedPem,
    /// The collection has no certificate.
    #[error("the collection of root certificates is empty")]
    NoRoots,
    /// A root has no subject key identifier.
    #[error("root {0} has no subject key identifier")]
    NoKeyIdentifier(String),
    /// A certificate of the collection was issued by another.
    #[error("{0} is not a root: another certificate issued it")]
    NotARoot(String),
    /// Two roots have one subject key identifier.
    #[error("two roots have the subject key identifier {0}")]
    DuplicateRoot(String),
    /// The certificate names no issuer, or one that is not trusted.
    #[error("no trusted root issued the certificate")]
    UnknownIssuer,
    /// The signature is not by the root that the certificate names.
    #[error("the certificate is not signed by the root it names")]
    Forged,
    /// A signature is of an algorithm that is not accepted.
    #[error("signatures of the algorithm {0} are not accepted")]
    UnsupportedAlgorithm(String),
    /// A signature is not by the key of the certificate.
    #[error("the signature is not by the key of the certificate")]
    BadSignature,
    /// The certificate is another root's.
    #[error("the certificate was issued by the root {found}, not by {expected}")]
    OtherIssuer {
        /// The key identifier of the root that should have issued it, in hexadecimal.
        expected: String,
        /// The key identifier of the root that did.
        found: String,
    },
    /// The certificate is not valid yet, or no longer.
    #[error("the certificate is outside its period of validity")]
    Expired,
}

/// Parses one certificate in DER and nothing after it.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

/// The subject key identifier, if the certificate has one.
pub fn subject_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// The key identifier of the issuer, if the certificate has one.
pub fn authority_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

/// The algorithms by which certificates and messages may be signed: ECDSA over P-256 or P-384, and RSA with PKCS #1
/// padding. In dot notation.
fn accepted_algorithms() -> [Oid<'static>; 5] {
    [
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
    ]
}

/// Checks that `signature`, by the algorithm `oid` in dot notation, is by the key of `signer` over `data`.
///
/// # Errors
/// If the algorithm is not one of ECDSA and RSA with SHA-256 or longer, or does not suit the key, or the signature is
/// not right.
pub fn verify_data(
    signer: &X509Certificate<'_>,
    oid: &str,
    signature: &[u8],
    data: &[u8],
) -> Result<(), CertificateError> {
    let algorithm = accepted_algorithms()
        .into_iter()
        .find(|accepted| accepted.to_id_string() == oid)
        .ok_or_else(|| CertificateError::UnsupportedAlgorithm(oid.to_owned()))?;
    let algorithm = AlgorithmIdentifier { algorithm, parameters: None };
    verify_signature(signer.public_key(), &algorithm, &BitString::new(0, signature), data)
        .map_err(|_| CertificateError::BadSignature)
}

/// Checks that the key of `issuer` signed `certificate`.
fn verify_issued(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), CertificateError> {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    verify_data(issuer, &oid, &certificate.signature_value.data, certificate.tbs_certificate.as_ref())
}

/// The trusted root certificates by their subject key identifiers.
#[derive(Clone, Debug)]
pub struct TrustedRoots(BTreeMap<Vec<u8>, CertificateDer<'static>>);

impl TrustedRoots {
    /// Reads a collection of roots in PEM.
    ///
    /// # Errors
    /// If it is empty or malformed, or a certificate is not a root with a subject key identifier of its own.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut roots = BTreeMap::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| CertificateError::MalformedPem)?;
            let id = root_key_identifier(&certificate)?;
            if roots.get(&id).is_some_and(|earlier| *earlier != certificate) {
                return Err(CertificateError::DuplicateRoot(hex::encode(id)));
            }
            roots.insert(id, certificate);
        }
        if roots.is_empty() { Err(CertificateError::NoRoots) } else { Ok(Self(roots)) }
    }

    /// The root with the subject key identifier `id`.
    pub fn get(&self, id: &[u8]) -> Option<&CertificateDer<'static>> {
        self.0.get(id)
    }

    /// All roots.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.values()
    }

    /// The subject key identifier of the root that issued `leaf`.
    ///
    /// # Errors
    /// If no root has the identifier that `leaf` names, or that root did not sign it.
    pub fn issuer(&self, leaf: &X509Certificate<'_>) -> Result<&[u8], CertificateError> {
        let (id, root) = authority_key_identifier(leaf)
            .and_then(|id| self.0.get_key_value(id))
            .ok_or(CertificateError::UnknownIssuer)?;
        let root = parse(root)?;
        if leaf.issuer().as_raw() != root.subject().as_raw() {
            return Err(CertificateError::Forged);
        }
        verify_issued(leaf, &root).map_err(|_| CertificateError::Forged)?;
        Ok(id)
    }

    /// Checks that the root `root` issued `leaf` and that both are valid at `now`. Revocation is not checked.
    ///
    /// # Errors
    /// If one of these does not hold.
    pub fn verify(
        &self,
        leaf: &X509Certificate<'_>,
        root: &[u8],
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        let issuer = self.issuer(leaf)?;
        if issuer != root {
            return Err(CertificateError::OtherIssuer {
                expected: hex::encode(root),
                found: hex::encode(issuer),
            });
        }
        let now = now
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|now| i64::try_from(now.as_secs()).ok())
            .and_then(|now| ASN1Time::from_timestamp(now).ok())
            .ok_or(CertificateError::Expired)?;
        let root = parse(self.0.get(root).ok_or(CertificateError::UnknownIssuer)?)?;
        if leaf.validity().is_valid_at(now) && root.validity().is_valid_at(now) {
            Ok(())
        } else {
            Err(CertificateError::Expired)
        }
    }
}

/// Checks that `der` is a root, and returns its subject key identifier.
fn root_key_identifier(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let root = parse(der)?;
    let name = || root.subject().to_string();
    let id = subject_key_identifier(&root).ok_or_else(|| CertificateError::NoKeyIdentifier(name()))?;
    let own_authority = authority_key_identifier(&root).is_none_or(|authority| authority == id);
    if !own_authority || root.issuer().as_raw() != root.subject().as_raw() {
        return Err(CertificateError::NotARoot(name()));
    }
    verify_issued(&root, &root).map_err(|_| CertificateError::NotARoot(name()))?;
    Ok(id.to_vec())
}

#[cfg(test)]
mod tests;
