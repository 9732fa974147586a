//! Keys that seal other keys: AES-256 in GCM, with nonces of our own.

use std::fmt;

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::key::{TokenKey, failure};
use super::uri::ObjectKind;
use super::{MAXIMUM_PLAINTEXT_BYTES, Pkcs11Error, Pkcs11Uri};

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const KEY_LEN: u64 = 32;

/// An AES-256 key of a token that never leaves it. What it seals is the nonce (12 bytes), the ciphertext, and the tag (16).
///
/// # Security
/// Nonces are random: one key should seal no more than 2³² plaintexts.
pub struct SealingKey {
    token: TokenKey,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("pkcs11::SealingKey").finish_non_exhaustive()
    }
}

impl SealingKey {
    /// The key that `uri` names.
    ///
    /// # Errors
    /// If the token is not there, does not take the PIN, or has no such key or several; or if the key is another than an
    /// AES-256 key that cannot be taken out of the token.
    pub fn open_key(uri: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        let own = uri.clone();
        let choose = move |session: &Session, candidates: &[ObjectHandle]| match candidates {
            [key] => check(&own, session, *key).map(|()| *key),
            several => Err(Pkcs11Error::SeveralKeys { uri: own.to_string(), found: several.len() }),
        };
        Ok(Self { token: TokenKey::open(uri, ObjectKind::SecretKey, KeyType::AES, Box::new(choose))? })
    }

    /// Seals `plaintext`, of at most [`MAXIMUM_PLAINTEXT_BYTES`], bound to `associated` data, which is not in what comes
    /// out.
    ///
    /// # Errors
    /// If the token does not do it.
    pub fn seal(&self, plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        if plaintext.len() > MAXIMUM_PLAINTEXT_BYTES {
            return Err(Pkcs11Error::Length(plaintext.len()));
        }
        let nonce = fresh_nonce()?;
        let sealed = self.token.call(|session, key| {
            with_gcm(nonce, associated, |mechanism| session.encrypt(mechanism, key, plaintext))
        })?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what [`Self::seal`] made of the same `associated` data.
    ///
    /// # Errors
    /// [`Pkcs11Error::Open`] if it was not, or if the token does not do it.
    pub fn open(&self, sealed: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Pkcs11Error::Open)?;
        if !(TAG_LEN..=MAXIMUM_PLAINTEXT_BYTES + TAG_LEN).contains(&ciphertext.len()) {
            return Err(Pkcs11Error::Open);
        }
        let trial = &fresh_nonce()?;
        let opened = self.token.call(|session, key| {
            let opened =
                with_gcm(*nonce, associated, |mechanism| session.decrypt(mechanism, key, ciphertext));
            match opened {
                Ok(plaintext) => Ok(Some(Zeroizing::new(plaintext))),
                Err(Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _)) => {
                    Ok(None)
                }
                // Some tokens say no more than this. If the key does encrypt, the ciphertext is at fault.
                Err(error @ Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, _)) => {
                    match with_gcm(*trial, b"", |mechanism| session.encrypt(mechanism, key, b"trial")) {
                        Ok(_) => Ok(None),
                        Err(_) => Err(error),
                    }
                }
                Err(error) => Err(error),
            }
        })?;
        opened.ok_or(Pkcs11Error::Open)
    }
}

fn fresh_nonce() -> Result<[u8; NONCE_LEN], getrandom::Error> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

fn with_gcm<T>(
    mut nonce: [u8; NONCE_LEN],
    associated: &[u8],
    work: impl FnOnce(&Mechanism<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let tag_bits = Ulong::from(8 * TAG_LEN as u64);
    work(&Mechanism::AesGcm(GcmParams::new(&mut nonce, associated, tag_bits)?))
}

/// Whether it is an AES-256 key that stays in the token.
fn check(uri: &Pkcs11Uri, session: &Session, key: ObjectHandle) -> Result<(), Pkcs11Error> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::ValueLen,
        AttributeType::Extractable,
        AttributeType::Sensitive,
    ];
    let found = session.get_attributes(key, &wanted).map_err(|error| failure(uri, error))?;
    let unsuitable = |why| Err(Pkcs11Error::Unsuitable { uri: uri.to_string(), why });
    let has = |attribute: &Attribute| found.contains(attribute);
    if !has(&Attribute::ValueLen(KEY_LEN.into())) {
        return unsuitable("a key that seals has to be AES of 256 bits");
    }
    if !has(&Attribute::Extractable(false)) || !has(&Attribute::Sensitive(true)) {
        return unsuitable("a key that seals has to be one that cannot be taken out of the token");
    }
    Ok(())
}
