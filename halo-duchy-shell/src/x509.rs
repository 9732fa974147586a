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
use x509_parser::oid_registry::{OID_PKCS1_RSASSAPSS, OID_SIG_ED25519};
use x509_parser::prelude::{ASN1Time, FromDer, ParsedExtension, X509Certificate};
use x509_parser::verify::verify_signature;

use crate::signature::{self, SignatureAlgorithm, SignatureError};

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
    /// A signature by the key of the certificate was refused.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The root that a certificate names may not issue certificates.
    #[error("the root {0} is not a certificate authority")]
    NotAnAuthority(String),
    /// The certificate says that its key is not for signatures.
    #[error("the key usage of the certificate does not allow signatures")]
    KeyUsage,
    /// The certificate has an extension that must be understood and is not.
    #[error("the certificate has the critical extension {0}, which is not understood")]
    CriticalExtension(String),
    /// The certificate is another root's.
    #[error("the certificate was issued by the root {found}, not by {expected}")]
    OtherIssuer {
        /// The key identifier of the root that should have issued it, in hexadecimal.
        expected: String,
        /// The key identifier of the root that did.
        found: String,
    },
    /// The certificate or its root is not valid yet.
    #[error("the certificate is valid from {0} only")]
    NotYetValid(String),
    /// The certificate or its root is no longer valid.
    #[error("the certificate expired at {0}")]
    Expired(String),
    /// The time to check it for is none that a certificate can have.
    #[error("the time is out of range")]
    Time,
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

/// The Unix time of the last second in which a certificate in DER is valid; `None` of a malformed one.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    u64::try_from(parse(certificate).ok()?.validity().not_after.timestamp()).ok()
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

/// Checks that `signature`, by the algorithm `oid` in dot notation, is by the key of `signer` over `data`.
///
/// # Errors
/// If the certificate's key is not for signatures, the algorithm is not one of [`SignatureAlgorithm`] or does not suit the
/// key, or the signature is not right.
pub fn verify_data(
    signer: &X509Certificate<'_>,
    oid: &str,
    signature: &[u8],
    data: &[u8],
) -> Result<(), CertificateError> {
    let algorithm = SignatureAlgorithm::from_oid(oid)?;
    // As the JDK's `Signature.initVerify`: key usage that is not critical is a recommendation.
    let usage = signer.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::KeyUsage(usage) if extension.critical => Some(usage),
        _ => None,
    });
    if usage.is_some_and(|usage| !usage.digital_signature()) {
        return Err(CertificateError::KeyUsage);
    }
    Ok(signature::verify(signer.public_key(), algorithm, signature, data)?)
}

/// Checks that the key of `issuer` signed `certificate`. Certificates may also be signed by RSASSA-PSS and Ed25519, which
/// messages are not.
fn verify_issued(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), CertificateError> {
    let algorithm = &certificate.signature_algorithm;
    // What is signed must name the algorithm too, or it could be exchanged.
    if *algorithm != certificate.tbs_certificate.signature {
        return Err(CertificateError::Malformed);
    }
    let signed = certificate.tbs_certificate.as_ref();
    if [OID_PKCS1_RSASSAPSS, OID_SIG_ED25519].contains(&algorithm.algorithm) {
        return verify_signature(issuer.public_key(), algorithm, &certificate.signature_value, signed)
            .map_err(|_| SignatureError::Bad.into());
    }
    let algorithm = SignatureAlgorithm::from_oid(&algorithm.algorithm.to_id_string())?;
    Ok(signature::verify(issuer.public_key(), algorithm, &certificate.signature_value.data, signed)?)
}

/// Checks that `root` may issue certificates: it is a certificate authority, and its key usage, if it has any, includes
/// signing certificates. The JDK asks the same of trust anchors.
fn check_authority(root: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let authority = matches!(root.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    let signs = match root.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    if authority && signs {
        Ok(())
    } else {
        Err(CertificateError::NotAnAuthority(root.subject().to_string()))
    }
}

/// Checks that no extension of `leaf` is critical and unknown, or given twice.
fn check_extensions(leaf: &X509Certificate<'_>) -> Result<(), CertificateError> {
    // The map refuses duplicates.
    leaf.extensions_map().map_err(|_| CertificateError::Malformed)?;
    let unknown = leaf.extensions().iter().find(|extension| {
        let understood = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::SubjectKeyIdentifier(_)
                | ParsedExtension::AuthorityKeyIdentifier(_)
                | ParsedExtension::CertificatePolicies(_)
        );
        extension.critical && !understood
    });
    match unknown {
        Some(extension) => Err(CertificateError::CriticalExtension(extension.oid.to_id_string())),
        None => Ok(()),
    }
}

/// Checks that `certificate` is valid at `now`, its first and last second included.
fn check_validity(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    let validity = certificate.validity();
    if now < validity.not_before {
        return Err(CertificateError::NotYetValid(validity.not_before.to_string()));
    }
    if now > validity.not_after {
        return Err(CertificateError::Expired(validity.not_after.to_string()));
    }
    Ok(())
}

/// The trusted root certificates by their subject key identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// If no root has the identifier that `leaf` names, that root did not sign it or may not, or `leaf` asks for something
    /// that is not understood.
    pub fn issuer(&self, leaf: &X509Certificate<'_>) -> Result<&[u8], CertificateError> {
        let (id, root) = authority_key_identifier(leaf)
            .and_then(|id| self.0.get_key_value(id))
            .ok_or(CertificateError::UnknownIssuer)?;
        let root = parse(root)?;
        if leaf.issuer().as_raw() != root.subject().as_raw() {
            return Err(CertificateError::Forged);
        }
        verify_issued(leaf, &root).map_err(|error| match error {
            CertificateError::Signature(SignatureError::UnsupportedAlgorithm(_)) => error,
            _ => CertificateError::Forged,
        })?;
        check_authority(&root)?;
        check_extensions(leaf)?;
        Ok(id)
    }

    /// As [`Self::verify`], of whichever of `roots` issued `leaf`.
    ///
    /// # Errors
    /// The last one's, if it does not hold of any.
    pub fn verify_any(
        &self,
        leaf: &X509Certificate<'_>,
        roots: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        let mut verified = Err(CertificateError::UnknownIssuer);
        for root in roots {
            verified = self.verify(leaf, root, now);
            if verified.is_ok() {
                break;
            }
        }
        verified
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
            .ok_or(CertificateError::Time)?;
        let root = parse(self.0.get(root).ok_or(CertificateError::UnknownIssuer)?)?;
        check_validity(leaf, now)?;
        check_validity(&root, now)
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
