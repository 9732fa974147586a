//! Envelopes: a secret under a data key of its own, beside that key under a key encryption key.
//!
//! The secret itself is never sent to a key management service, whatever its length. An envelope is
//!
//! | bytes | |
//! | --- | --- |
//! | 8 | `HALOENV` and the version, 1 |
//! | 2 | the length of the wrapped data key, big-endian |
//! | so many | the data key as the key encryption key has encrypted it |
//! | 12 | nonce |
//! | the secret's length and 16 | the secret under AES-256-GCM with the data key |
//!
//! Both encryptions have the same associated data, by which an envelope opens only where it belongs.
//!
//! No data key is kept: each opening asks the key encryption key, so that one that is withdrawn opens nothing from then on.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use zeroize::Zeroizing;

use super::{KeyEncryption, KeyEncryptionError};
use crate::platform;

/// What every envelope begins with, the version included.
const MAGIC: [u8; 8] = *b"HALOENV\x01";
const DATA_KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// The longest secret that is not taken for a malformed envelope, in bytes. An envelope is longer: its two nonces and tags
/// and its data key alone have 88 bytes.
pub const LONGEST_CLEAR_SECRET: usize = 66;

/// Why an envelope is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It does not begin as envelopes do, or ends too early.
    #[error("it is no envelope of version 1, and too long for a secret in the clear")]
    Malformed,
    /// The key encryption key does not open the data key.
    #[error("the data key: {0}")]
    DataKey(#[from] KeyEncryptionError),
    /// The data key opens nothing: the envelope was altered.
    #[error("the envelope was altered: its data key does not open it")]
    Altered,
}

/// Whether these bytes are to be opened, rather than a secret in the clear.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.len() > LONGEST_CLEAR_SECRET
}

/// Puts a secret into an envelope, which opens with the same associated data only.
///
/// # Errors
/// [`KeyEncryptionError`].
pub async fn seal(
    key: &dyn KeyEncryption,
    secret: &[u8],
    associated_data: &[u8],
) -> Result<Vec<u8>, KeyEncryptionError> {
    let unusable = |what| KeyEncryptionError::Answer { key: key.name().to_owned(), what };
    let mut data_key = Zeroizing::new([0; DATA_KEY_LEN]);
    platform::fill(&mut *data_key)?;
    let mut nonce = [0; NONCE_LEN];
    platform::fill(&mut nonce)?;
    let wrapped = key.encrypt(&*data_key, associated_data).await?;
    let length = u16::try_from(wrapped.len()).map_err(|_| unusable("the length"))?;
    let payload = Payload { msg: secret, aad: associated_data };
    // It fails for more than 64 GiB only.
    let sealed = Aes256Gcm::new((&*data_key).into()).encrypt(&Nonce::from(nonce), payload);
    let sealed = sealed.map_err(|_| unusable("the length"))?;
    let envelope = [&MAGIC[..], &length.to_be_bytes(), &wrapped, &nonce, &sealed].concat();
    if is_envelope(&envelope) { Ok(envelope) } else { Err(unusable("the length")) }
}

/// Opens an envelope.
///
/// # Errors
/// [`EnvelopeError`].
pub async fn open(
    key: &dyn KeyEncryption,
    envelope: &[u8],
    associated_data: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let (wrapped, nonce, sealed) = parse(envelope).ok_or(EnvelopeError::Malformed)?;
    let data_key = key.decrypt(wrapped, associated_data).await?;
    let cipher = Aes256Gcm::new_from_slice(&data_key).map_err(|_| EnvelopeError::Altered)?;
    let payload = Payload { msg: sealed, aad: associated_data };
    let opened = cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| EnvelopeError::Altered)?;
    Ok(Zeroizing::new(opened))
}

/// The wrapped data key, the nonce and the sealed secret.
fn parse(envelope: &[u8]) -> Option<(&[u8], &[u8; NONCE_LEN], &[u8])> {
    let rest = envelope.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (wrapped, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
    (sealed.len() >= TAG_LEN).then_some((wrapped, nonce, sealed))
}

#[cfg(test)]
mod tests;
