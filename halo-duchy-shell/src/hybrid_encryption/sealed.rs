//! Private keysets at rest: Tink's `EncryptedKeyset` under AES-GCM, as Tink's binary writer with an AEAD makes it.

use std::fmt;

use aes_gcm::aead::Aead;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use prost::Message;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{
    Entry, HybridEncryptionError, OpenError, Prefix, PrivateKeyset, decode_file, parse, serialise, tink,
};

const NONCE_LEN: usize = 12;
/// Of the keys that are made here: Tink's template `AES128_GCM`.
const KEY_LEN: usize = 16;
const TYPE: &str = "AesGcmKey";

/// The key that private keysets are encrypted under at rest: a Tink keyset of AES-GCM keys, of which the primary one
/// encrypts and any decrypts.
pub struct KeyEncryptionKey {
    primary: u32,
    keys: Vec<Entry<Key>>,
}

/// An AES key of 128 or 256 bits.
struct Key(Zeroizing<Vec<u8>>);

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncryptionKey").field("primary", &self.primary).finish_non_exhaustive()
    }
}

impl KeyEncryptionKey {
    /// A new key, as a cleartext binary keyset.
    ///
    /// # Security
    /// It is the secret itself.
    pub fn generate_keyset(rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
        let mut message = tink::AesGcmKey { version: 0, key_value: vec![0; KEY_LEN] };
        rng.fill_bytes(&mut message.key_value);
        let value = message.encode_to_vec();
        message.key_value.zeroize();
        let entry = Entry { id: rng.next_u32(), prefix: Prefix::Tink, key: () };
        let key = serialise(&entry, TYPE, value, tink::SYMMETRIC);
        let mut keyset = tink::Keyset { primary_key_id: entry.id, key: vec![key] };
        let bytes = Zeroizing::new(keyset.encode_to_vec());
        super::wipe(&mut keyset);
        bytes
    }

    /// Reads a cleartext keyset from a file, binary or JSON.
    ///
    /// # Errors
    /// If it is malformed, or an enabled key is no AES-GCM key, or the primary is not among them.
    pub fn parse_file(bytes: &[u8]) -> Result<Self, HybridEncryptionError> {
        let (primary, keys) = parse(decode_file(bytes)?, tink::SYMMETRIC, Key::parse)?;
        Ok(Self { primary, keys })
    }

    fn encrypt(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, HybridEncryptionError> {
        let entry = self.keys.iter().find(|entry| entry.id == self.primary);
        let entry = entry.ok_or(HybridEncryptionError::NoPrimaryKey(self.primary))?;
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let sealed = entry.key.seal(nonce, plaintext).ok_or(HybridEncryptionError::Seal(entry.id))?;
        Ok([entry.prefix(), nonce.to_vec(), sealed].concat())
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, HybridEncryptionError> {
        for entry in &self.keys {
            let Some(sealed) = ciphertext.strip_prefix(&entry.prefix()[..]) else { continue };
            if let Ok(plaintext) = entry.key.open(sealed) {
                return Ok(plaintext);
            }
        }
        Err(HybridEncryptionError::Open)
    }
}

impl Key {
    fn parse(name: &str, value: &[u8]) -> Option<Self> {
        let message = (name == TYPE).then(|| tink::AesGcmKey::decode(value).ok()).flatten()?;
        let key = Zeroizing::new(message.key_value);
        (message.version == 0 && matches!(key.len(), 16 | 32)).then_some(Self(key))
    }

    fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::from(nonce);
        match self.0.len() {
            16 => Aes128Gcm::new_from_slice(&self.0).ok()?.encrypt(&nonce, plaintext).ok(),
            _ => Aes256Gcm::new_from_slice(&self.0).ok()?.encrypt(&nonce, plaintext).ok(),
        }
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        let nonce = Nonce::from(*nonce);
        let opened = match self.0.len() {
            16 => Aes128Gcm::new_from_slice(&self.0).map_err(|_| OpenError)?.decrypt(&nonce, sealed),
            _ => Aes256Gcm::new_from_slice(&self.0).map_err(|_| OpenError)?.decrypt(&nonce, sealed),
        };
        opened.map(Zeroizing::new).map_err(|_| OpenError)
    }
}

impl PrivateKeyset {
    /// The keyset encrypted under `key`: a serialised `EncryptedKeyset`, with no associated data.
    ///
    /// # Errors
    /// If `key` cannot encrypt.
    pub fn seal(
        &self,
        key: &KeyEncryptionKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, HybridEncryptionError> {
        let mut keyset = self.to_keyset();
        let key_info = keyset.key.iter().map(|key| tink::KeyInfo {
            type_url: key.key_data.as_ref().map(|data| data.type_url.clone()).unwrap_or_default(),
            status: key.status,
            key_id: key.key_id,
            output_prefix_type: key.output_prefix_type,
        });
        let keyset_info =
            tink::KeysetInfo { primary_key_id: keyset.primary_key_id, key_info: key_info.collect() };
        super::wipe(&mut keyset);
        let encrypted_keyset = key.encrypt(&self.to_bytes(), rng)?;
        Ok(tink::EncryptedKeyset { encrypted_keyset, keyset_info: Some(keyset_info) }.encode_to_vec())
    }

    /// Opens what [`Self::seal`] made, or Tink.
    ///
    /// # Errors
    /// [`HybridEncryptionError::Open`] if it is not encrypted under `key`; as [`Self::parse`].
    pub fn unseal(sealed: &[u8], key: &KeyEncryptionKey) -> Result<Self, HybridEncryptionError> {
        super::check_length(sealed)?;
        let sealed =
            tink::EncryptedKeyset::decode(sealed).map_err(|_| HybridEncryptionError::MalformedKeyset)?;
        Self::parse(&key.decrypt(&sealed.encrypted_keyset)?)
    }

    /// The name that upstream gives a stored keyset: the FarmHash fingerprint of its primary public key, as a signed
    /// decimal number.
    pub fn key_id(&self) -> String {
        let keyset = self.public().to_keyset();
        let primary = keyset.key.iter().find(|key| key.key_id == keyset.primary_key_id);
        let value = primary.and_then(|key| key.key_data.as_ref()).map_or(&[][..], |data| &data.value);
        farmhash::fingerprint64(value).cast_signed().to_string()
    }
}
