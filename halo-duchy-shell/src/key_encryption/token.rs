//! A key encryption key in a token, which it never leaves.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{KeyEncryption, KeyEncryptionError};
use crate::pkcs11::{Pkcs11Error, Pkcs11Uri, SealingKey};

/// An AES-256 key in a token that speaks PKCS #11. What it encrypts is a nonce, the ciphertext and the tag.
#[derive(Debug)]
pub(super) struct TokenKey {
    name: String,
    key: SealingKey,
}

impl TokenKey {
    /// The key that `uri` names.
    pub(super) fn open(uri: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        Ok(Self { name: uri.to_string(), key: SealingKey::open_key(uri)? })
    }

    fn error(&self, source: Pkcs11Error) -> KeyEncryptionError {
        let key = self.name.clone();
        match source {
            Pkcs11Error::Open => KeyEncryptionError::Open { key },
            source => KeyEncryptionError::Token { key, source },
        }
    }
}

#[async_trait]
impl KeyEncryption for TokenKey {
    fn name(&self) -> &str {
        &self.name
    }

    async fn encrypt(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        self.key.seal(key, associated_data).map_err(|error| self.error(error))
    }

    async fn decrypt(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        self.key.open(encrypted, associated_data).map_err(|error| self.error(error))
    }
}
