//! Private keysets at rest: Tink's `EncryptedKeyset` under AES-GCM, as Tink's binary writer with an AEAD makes it.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use prost::Message;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
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

    /// Whether `newer` may take its place: what its primary key has encrypted must be opened by both.
    ///
    /// # Errors
    /// [`HybridEncryptionError::PrimaryDropped`].
    pub fn may_become(&self, newer: &Self) -> Result<(), HybridEncryptionError> {
        let is_kept = |own: &Entry<Key>| {
            newer
                .keys
                .iter()
                .any(|key| key.prefix() == own.prefix() && bool::from(key.key.0.ct_eq(&own.key.0)))
        };
        match self.keys.iter().find(|entry| entry.id == self.primary) {
            Some(own) if !is_kept(own) => Err(HybridEncryptionError::PrimaryDropped(self.primary)),
            _ => Ok(()),
        }
    }

    /// Encrypts under the primary key, as Tink does.
    ///
    /// # Errors
    /// If the primary key cannot encrypt so much.
    pub fn encrypt(
        &self,
        plaintext: &[u8],
        associated_data: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, HybridEncryptionError> {
        let entry = self.keys.iter().find(|entry| entry.id == self.primary);
        let entry = entry.ok_or(HybridEncryptionError::NoPrimaryKey(self.primary))?;
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: plaintext, aad: associated_data };
        let sealed = entry.key.seal(nonce, payload).ok_or(HybridEncryptionError::Seal(entry.id))?;
        Ok([entry.prefix(), nonce.to_vec(), sealed].concat())
    }

    /// Whether it has a key of the id with which `ciphertext` begins, or one that leaves none.
    pub fn knows(&self, ciphertext: &[u8]) -> bool {
        self.keys.iter().any(|entry| ciphertext.starts_with(&entry.prefix()))
    }

    /// Decrypts what [`Self::encrypt`] made, or Tink, with any of the keys.
    ///
    /// # Errors
    /// [`HybridEncryptionError::Open`] if none of them opens it with this associated data.
    pub fn decrypt(
        &self,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HybridEncryptionError> {
        for entry in &self.keys {
            let Some(sealed) = ciphertext.strip_prefix(&entry.prefix()[..]) else { continue };
            if let Ok(plaintext) = entry.key.open(sealed, associated_data) {
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

    fn seal(&self, nonce: [u8; NONCE_LEN], payload: Payload<'_, '_>) -> Option<Vec<u8>> {
        let nonce = Nonce::from(nonce);
        match self.0.len() {
            16 => Aes128Gcm::new_from_slice(&self.0).ok()?.encrypt(&nonce, payload).ok(),
            _ => Aes256Gcm::new_from_slice(&self.0).ok()?.encrypt(&nonce, payload).ok(),
        }
    }

    fn open(&self, sealed: &[u8], associated_data: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        let nonce = Nonce::from(*nonce);
        let payload = Payload { msg: sealed, aad: associated_data };
        let opened = match self.0.len() {
            16 => Aes128Gcm::new_from_slice(&self.0).map_err(|_| OpenError)?.decrypt(&nonce, payload),
            _ => Aes256Gcm::new_from_slice(&self.0).map_err(|_| OpenError)?.decrypt(&nonce, payload),
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
        Ok(self.sealed_as(key.encrypt(&self.to_bytes(), b"", rng)?))
    }

    /// The serialised `EncryptedKeyset`, given what an AEAD has made of [`Self::to_bytes`] without associated data.
    pub(crate) fn sealed_as(&self, encrypted_keyset: Vec<u8>) -> Vec<u8> {
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
        tink::EncryptedKeyset { encrypted_keyset, keyset_info: Some(keyset_info) }.encode_to_vec()
    }

    /// Opens what [`Self::seal`] made, or Tink.
    ///
    /// # Errors
    /// [`HybridEncryptionError::Open`] if it is not encrypted under `key`; as [`Self::parse`].
    pub fn unseal(sealed: &[u8], key: &KeyEncryptionKey) -> Result<Self, HybridEncryptionError> {
        Self::parse(&key.decrypt(&encrypted_part(sealed)?, b"")?)
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

/// What an AEAD has to open of a serialised `EncryptedKeyset`.
pub(crate) fn encrypted_part(sealed: &[u8]) -> Result<Vec<u8>, HybridEncryptionError> {
    super::check_length(sealed)?;
    let sealed = tink::EncryptedKeyset::decode(sealed).map_err(|_| HybridEncryptionError::MalformedKeyset)?;
    Ok(sealed.encrypted_keyset)
}
