//! Hybrid encryption compatible with Tink: what measurement results and the seeds of secret shares are sealed with.
//!
//! Keys travel as binary Tink keysets; files may also have the JSON that Tink's tools write, in the clear. Two schemes
//! are in use (docs/consent-and-envelopes.md#envelopes): HPKE (`DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM`) and
//! ECIES (`ECIES_P256_HKDF_HMAC_SHA256_AES128_GCM`), both with empty context info. A ciphertext of a key with Tink's
//! output prefix starts with `01` and the key's id.
//!
//! ```
//! use getrandom::SysRng;
//! use getrandom::rand_core::UnwrapErr;
//! use halo_duchy_shell::hybrid_encryption::{PrivateKeyset, PublicKeyset, Scheme};
//!
//! # fn main() -> Result<(), halo_duchy_shell::hybrid_encryption::HybridEncryptionError> {
//! let mut rng = UnwrapErr(SysRng);
//! let recipient = PrivateKeyset::generate(Scheme::Hpke, &mut rng);
//! let published = recipient.public().to_bytes();
//!
//! let sealed = PublicKeyset::parse(&published)?.encrypt(b"reach 1234", &mut rng)?;
//! assert_eq!(recipient.decrypt(&sealed)?.as_slice(), b"reach 1234");
//! # Ok(())
//! # }
//! ```

mod ecies;
mod hpke;
mod json;
mod sealed;
mod tink;

pub use sealed::KeyEncryptionKey;
pub(crate) use sealed::encrypted_part;

use std::fmt;

use prost::Message;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// The longest keyset that is read, in bytes: some hundred keys.
pub const MAXIMUM_KEYSET_BYTES: usize = 64 << 10;

/// The most keys that a keyset may have, of whatever status.
pub const MAXIMUM_KEYS: usize = 100;

/// A hybrid encryption scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM`.
    Hpke,
    /// `ECIES_P256_HKDF_HMAC_SHA256_AES128_GCM`.
    Ecies,
}

/// Why a keyset or a ciphertext was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HybridEncryptionError {
    /// The bytes are no keyset.
    #[error("not a Tink keyset in the clear")]
    MalformedKeyset,
    /// The keyset is longer than [`MAXIMUM_KEYSET_BYTES`].
    #[error("the keyset has {0} bytes, more than {MAXIMUM_KEYSET_BYTES}")]
    KeysetLength(usize),
    /// The keyset has more keys than [`MAXIMUM_KEYS`].
    #[error("the keyset has {0} keys, more than {MAXIMUM_KEYS}")]
    TooManyKeys(usize),
    /// A key has a type, parameters or material that are not supported.
    #[error("key {key_id} of type `{type_url}` is malformed or not supported")]
    UnsupportedKey {
        /// Id within the keyset.
        key_id: u32,
        /// What Tink calls the type.
        type_url: String,
    },
    /// Two usable keys of the keyset have one id.
    #[error("two keys have the id {0}")]
    DuplicateKey(u32),
    /// The primary key is missing or not enabled.
    #[error("the keyset has no enabled key {0}, which it names as its primary")]
    NoPrimaryKey(u32),
    /// A keyset that is to take another's place lacks its primary key.
    #[error(
        "the keyset lacks the key {0}, the primary of the one in force, by which private keys are encrypted"
    )]
    PrimaryDropped(u32),
    /// The public key cannot be encrypted to.
    #[error("encryption to key {0} failed")]
    Seal(u32),
    /// No key of the keyset opens the ciphertext.
    #[error("the ciphertext is not one of this keyset, or was altered")]
    Open,
}

/// A ciphertext that a key does not open; why must not be told.
struct OpenError;

/// What precedes the ciphertexts of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// `01` and the key's id in four bytes.
    Tink,
    /// Nothing.
    Raw,
}

/// A usable key with its place in the keyset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<K> {
    id: u32,
    prefix: Prefix,
    key: K,
}

impl<K> Entry<K> {
    fn prefix(&self) -> Vec<u8> {
        match self.prefix {
            Prefix::Tink => [&[1][..], &self.id.to_be_bytes()].concat(),
            Prefix::Raw => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PublicKey {
    Hpke(hpke::PublicKey),
    Ecies(ecies::PublicKey),
}

enum PrivateKey {
    Hpke(hpke::PrivateKey),
    Ecies(ecies::PrivateKey),
}

/// The public halves of a keyset; it encrypts with the primary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeyset {
    primary: u32,
    keys: Vec<Entry<PublicKey>>,
}

/// A keyset with its private keys, wiped when dropped.
pub struct PrivateKeyset {
    primary: u32,
    keys: Vec<Entry<PrivateKey>>,
}

impl fmt::Debug for PrivateKeyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKeyset").field("primary", &self.primary).finish_non_exhaustive()
    }
}

impl PublicKeyset {
    /// Reads a binary keyset without secrets (`EncryptionPublicKey.data` of format `TINK_KEYSET`).
    ///
    /// # Errors
    /// If it is malformed, or an enabled key is unsupported, or the primary is not among them.
    pub fn parse(bytes: &[u8]) -> Result<Self, HybridEncryptionError> {
        Self::from_keyset(decode(bytes)?)
    }

    /// Reads a keyset without secrets from a file, binary or JSON.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_file(bytes: &[u8]) -> Result<Self, HybridEncryptionError> {
        Self::from_keyset(decode_file(bytes)?)
    }

    fn from_keyset(keyset: tink::Keyset) -> Result<Self, HybridEncryptionError> {
        let (primary, keys) = parse(keyset, tink::ASYMMETRIC_PUBLIC, PublicKey::parse)?;
        Ok(Self { primary, keys })
    }

    /// The binary keyset.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_keyset().encode_to_vec()
    }

    /// The keyset in JSON.
    pub fn to_json(&self) -> String {
        json::print(&self.to_keyset())
    }

    fn to_keyset(&self) -> tink::Keyset {
        let mut keyset = tink::Keyset { primary_key_id: self.primary, key: Vec::new() };
        for entry in &self.keys {
            let (name, value) = match &entry.key {
                PublicKey::Hpke(key) => ("HpkePublicKey", key.to_message().encode_to_vec()),
                PublicKey::Ecies(key) => ("EciesAeadHkdfPublicKey", key.to_message().encode_to_vec()),
            };
            keyset.key.push(serialise(entry, name, value, tink::ASYMMETRIC_PUBLIC));
        }
        keyset
    }

    /// Encrypts `plaintext` to the primary key.
    ///
    /// # Errors
    /// If the key is degenerate, such as an X25519 point of low order.
    pub fn encrypt(
        &self,
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, HybridEncryptionError> {
        let entry = self
            .keys
            .iter()
            .find(|entry| entry.id == self.primary)
            .ok_or(HybridEncryptionError::NoPrimaryKey(self.primary))?;
        let sealed = match &entry.key {
            PublicKey::Hpke(key) => key.seal(plaintext, rng),
            PublicKey::Ecies(key) => key.seal(plaintext, rng),
        };
        let sealed = sealed.ok_or(HybridEncryptionError::Seal(entry.id))?;
        Ok([entry.prefix(), sealed].concat())
    }
}

impl PrivateKeyset {
    /// A keyset of one new key, with Tink's output prefix and a random id.
    pub fn generate(scheme: Scheme, rng: &mut impl CryptoRng) -> Self {
        let key = match scheme {
            Scheme::Hpke => PrivateKey::Hpke(hpke::PrivateKey::generate(rng)),
            Scheme::Ecies => PrivateKey::Ecies(ecies::PrivateKey::generate(rng)),
        };
        let id = rng.next_u32();
        Self { primary: id, keys: vec![Entry { id, prefix: Prefix::Tink, key }] }
    }

    /// Reads a cleartext binary keyset with private keys.
    ///
    /// # Errors
    /// If it is malformed, or an enabled key is unsupported, or the primary is not among them.
    pub fn parse(bytes: &[u8]) -> Result<Self, HybridEncryptionError> {
        Self::from_keyset(decode(bytes)?)
    }

    /// Reads a cleartext keyset with private keys from a file, binary or JSON.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_file(bytes: &[u8]) -> Result<Self, HybridEncryptionError> {
        Self::from_keyset(decode_file(bytes)?)
    }

    fn from_keyset(keyset: tink::Keyset) -> Result<Self, HybridEncryptionError> {
        let (primary, keys) = parse(keyset, tink::ASYMMETRIC_PRIVATE, PrivateKey::parse)?;
        Ok(Self { primary, keys })
    }

    /// The cleartext binary keyset.
    ///
    /// # Security
    /// It holds the private keys.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut keyset = self.to_keyset();
        let bytes = Zeroizing::new(keyset.encode_to_vec());
        wipe(&mut keyset);
        bytes
    }

    /// The cleartext keyset in JSON.
    ///
    /// # Security
    /// It holds the private keys.
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut keyset = self.to_keyset();
        let text = Zeroizing::new(json::print(&keyset));
        wipe(&mut keyset);
        text
    }

    fn to_keyset(&self) -> tink::Keyset {
        let mut keyset = tink::Keyset { primary_key_id: self.primary, key: Vec::new() };
        for entry in &self.keys {
            let (name, value) = match &entry.key {
                PrivateKey::Hpke(key) => {
                    let mut message = key.to_message();
                    let value = message.encode_to_vec();
                    message.private_key.zeroize();
                    ("HpkePrivateKey", value)
                }
                PrivateKey::Ecies(key) => {
                    let mut message = key.to_message();
                    let value = message.encode_to_vec();
                    message.key_value.zeroize();
                    ("EciesAeadHkdfPrivateKey", value)
                }
            };
            keyset.key.push(serialise(entry, name, value, tink::ASYMMETRIC_PRIVATE));
        }
        keyset
    }

    /// The keyset to publish.
    pub fn public(&self) -> PublicKeyset {
        let keys = self.keys.iter().map(|entry| Entry {
            id: entry.id,
            prefix: entry.prefix,
            key: match &entry.key {
                PrivateKey::Hpke(key) => PublicKey::Hpke(key.public()),
                PrivateKey::Ecies(key) => PublicKey::Ecies(key.public()),
            },
        });
        PublicKeyset { primary: self.primary, keys: keys.collect() }
    }

    /// Decrypts with whichever key the ciphertext is for: those whose prefix it has, then those without prefix.
    ///
    /// # Errors
    /// If no key opens it. Why is not told.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, HybridEncryptionError> {
        for wanted in [Prefix::Tink, Prefix::Raw] {
            for entry in self.keys.iter().filter(|entry| entry.prefix == wanted) {
                let Some(sealed) = ciphertext.strip_prefix(&entry.prefix()[..]) else { continue };
                let opened = match &entry.key {
                    PrivateKey::Hpke(key) => key.open(sealed),
                    PrivateKey::Ecies(key) => key.open(sealed),
                };
                if let Ok(plaintext) = opened {
                    return Ok(plaintext);
                }
            }
        }
        Err(HybridEncryptionError::Open)
    }
}

impl PublicKey {
    fn parse(name: &str, value: &[u8]) -> Option<Self> {
        match name {
            "HpkePublicKey" => hpke::PublicKey::parse(&Message::decode(value).ok()?).map(Self::Hpke),
            "EciesAeadHkdfPublicKey" => {
                ecies::PublicKey::parse(&Message::decode(value).ok()?).map(Self::Ecies)
            }
            _ => None,
        }
    }
}

impl PrivateKey {
    fn parse(name: &str, value: &[u8]) -> Option<Self> {
        match name {
            "HpkePrivateKey" => {
                let mut message = tink::HpkePrivateKey::decode(value).ok()?;
                let key = hpke::PrivateKey::parse(&message).map(Self::Hpke);
                message.private_key.zeroize();
                key
            }
            "EciesAeadHkdfPrivateKey" => {
                let mut message = tink::EciesAeadHkdfPrivateKey::decode(value).ok()?;
                let key = ecies::PrivateKey::parse(&message).map(Self::Ecies);
                message.key_value.zeroize();
                key
            }
            _ => None,
        }
    }
}

fn decode(bytes: &[u8]) -> Result<tink::Keyset, HybridEncryptionError> {
    check_length(bytes)?;
    tink::Keyset::decode(bytes).map_err(|_| HybridEncryptionError::MalformedKeyset)
}

/// A binary keyset cannot begin with a brace: as a tag that would begin a group.
fn decode_file(bytes: &[u8]) -> Result<tink::Keyset, HybridEncryptionError> {
    check_length(bytes)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        json::parse(bytes).ok_or(HybridEncryptionError::MalformedKeyset)
    } else {
        decode(bytes)
    }
}

fn check_length(bytes: &[u8]) -> Result<(), HybridEncryptionError> {
    let length = bytes.len();
    if length > MAXIMUM_KEYSET_BYTES { Err(HybridEncryptionError::KeysetLength(length)) } else { Ok(()) }
}

/// The primary's id and the enabled keys. Disabled and destroyed keys are passed over. Of the keyset nothing remains.
fn parse<K>(
    mut keyset: tink::Keyset,
    material: i32,
    parse_key: impl Fn(&str, &[u8]) -> Option<K>,
) -> Result<(u32, Vec<Entry<K>>), HybridEncryptionError> {
    let parsed = enabled(&keyset, material, parse_key);
    wipe(&mut keyset);
    let keys = parsed?;
    if !keys.iter().any(|entry| entry.id == keyset.primary_key_id) {
        return Err(HybridEncryptionError::NoPrimaryKey(keyset.primary_key_id));
    }
    Ok((keyset.primary_key_id, keys))
}

fn enabled<K>(
    keyset: &tink::Keyset,
    material: i32,
    parse_key: impl Fn(&str, &[u8]) -> Option<K>,
) -> Result<Vec<Entry<K>>, HybridEncryptionError> {
    if keyset.key.len() > MAXIMUM_KEYS {
        return Err(HybridEncryptionError::TooManyKeys(keyset.key.len()));
    }
    let mut keys: Vec<Entry<K>> = Vec::new();
    for key in keyset.key.iter().filter(|key| key.status == tink::ENABLED) {
        let data = key.key_data.as_ref().ok_or(HybridEncryptionError::MalformedKeyset)?;
        let prefix = match key.output_prefix_type {
            tink::PREFIX_TINK => Some(Prefix::Tink),
            tink::PREFIX_RAW => Some(Prefix::Raw),
            _ => None,
        };
        let parsed = data
            .type_url
            .strip_prefix(tink::TYPE_PREFIX)
            .filter(|_| data.key_material_type == material)
            .and_then(|name| parse_key(name, &data.value));
        let (Some(prefix), Some(parsed)) = (prefix, parsed) else {
            let type_url = data.type_url.clone();
            return Err(HybridEncryptionError::UnsupportedKey { key_id: key.key_id, type_url });
        };
        if keys.iter().any(|entry| entry.id == key.key_id) {
            return Err(HybridEncryptionError::DuplicateKey(key.key_id));
        }
        keys.push(Entry { id: key.key_id, prefix, key: parsed });
    }
    Ok(keys)
}

fn serialise<K>(entry: &Entry<K>, name: &str, value: Vec<u8>, material: i32) -> tink::Key {
    tink::Key {
        key_data: Some(tink::KeyData {
            type_url: format!("{}{name}", tink::TYPE_PREFIX),
            value,
            key_material_type: material,
        }),
        status: tink::ENABLED,
        key_id: entry.id,
        output_prefix_type: match entry.prefix {
            Prefix::Tink => tink::PREFIX_TINK,
            Prefix::Raw => tink::PREFIX_RAW,
        },
    }
}

/// Overwrites key material that was decoded or is about to be dropped.
fn wipe(keyset: &mut tink::Keyset) {
    for data in keyset.key.iter_mut().filter_map(|key| key.key_data.as_mut()) {
        data.value.zeroize();
    }
}

#[cfg(test)]
mod tests;
