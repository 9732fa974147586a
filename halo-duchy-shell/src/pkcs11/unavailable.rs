//! What keys in tokens are in a program that was built without them.

use std::sync::Arc;

use x509_parser::prelude::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::{Pkcs11Error, Pkcs11Uri};
use crate::signature::{KeyKind, SignatureAlgorithm, SignatureError};

/// A key that signs; there is none.
#[derive(Debug)]
pub enum SigningKey {}

/// A key that seals; there is none.
#[derive(Debug)]
pub enum SealingKey {}

impl SigningKey {
    /// Refuses.
    ///
    /// # Errors
    /// [`Pkcs11Error::NotBuilt`].
    pub fn open(_: &Pkcs11Uri, _: &SubjectPublicKeyInfo<'_>) -> Result<Self, Pkcs11Error> {
        super::check_program()?;
        Err(Pkcs11Error::NotBuilt)
    }

    /// Never called.
    pub fn kind(&self) -> KeyKind {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn sign(&self, _: SignatureAlgorithm, _: &[u8]) -> Result<Vec<u8>, SignatureError> {
        match *self {}
    }

    /// Never called.
    pub fn for_tls(self: Arc<Self>) -> Arc<dyn rustls::sign::SigningKey> {
        match *self {}
    }
}

impl SealingKey {
    /// Refuses.
    ///
    /// # Errors
    /// [`Pkcs11Error::NotBuilt`].
    pub fn open_key(_: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        super::check_program()?;
        Err(Pkcs11Error::NotBuilt)
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn seal(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn open(&self, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        match *self {}
    }
}
