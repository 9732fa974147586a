//! RFC 9180 base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM; info and additional data are
//! empty. Ciphertext: encapsulated key (32 bytes) ‖ ciphertext ‖ tag.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{OpenError, tink};

type Suite = X25519HkdfSha256;
const ENCAPSULATED_LEN: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(<Suite as Kem>::PublicKey);

pub struct PrivateKey(<Suite as Kem>::PrivateKey);

impl PublicKey {
    /// `None` if the parameters are another suite's or the key has another length.
    pub fn parse(value: &tink::HpkePublicKey) -> Option<Self> {
        let params = value.params.as_ref()?;
        let ours = params.kem == tink::HPKE_X25519_SHA256
            && params.kdf == tink::HPKE_HKDF_SHA256
            && params.aead == tink::HPKE_AES_256_GCM;
        if value.version != 0 || !ours {
            return None;
        }
        <Suite as Kem>::PublicKey::from_bytes(&value.public_key).ok().map(Self)
    }

    pub fn to_message(&self) -> tink::HpkePublicKey {
        tink::HpkePublicKey {
            version: 0,
            params: Some(tink::HpkeParams {
                kem: tink::HPKE_X25519_SHA256,
                kdf: tink::HPKE_HKDF_SHA256,
                aead: tink::HPKE_AES_256_GCM,
            }),
            public_key: self.0.to_bytes().to_vec(),
        }
    }

    /// `None` if the key is a point of low order.
    pub fn seal(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Suite>(
            &OpModeS::Base,
            &self.0,
            &[],
            plaintext,
            &[],
            rng,
        )
        .ok()?;
        Some([&encapsulated.to_bytes()[..], &ciphertext].concat())
    }
}

impl PrivateKey {
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(Suite::gen_keypair_with_rng(rng).0)
    }

    /// `None` if the parts are malformed or do not belong together.
    pub fn parse(value: &tink::HpkePrivateKey) -> Option<Self> {
        let public = PublicKey::parse(value.public_key.as_ref()?)?;
        let key = Self(<Suite as Kem>::PrivateKey::from_bytes(&value.private_key).ok()?);
        (value.version == 0 && key.public() == public).then_some(key)
    }

    pub fn to_message(&self) -> tink::HpkePrivateKey {
        tink::HpkePrivateKey {
            version: 0,
            public_key: Some(self.public().to_message()),
            private_key: Zeroizing::new(self.0.to_bytes()).to_vec(),
        }
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(Suite::sk_to_pk(&self.0))
    }

    pub fn open(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (encapsulated, ciphertext) = ciphertext.split_at_checked(ENCAPSULATED_LEN).ok_or(OpenError)?;
        let encapsulated = <Suite as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| OpenError)?;
        single_shot_open::<AesGcm256, HkdfSha256, Suite>(
            &OpModeR::Base,
            &self.0,
            &encapsulated,
            &[],
            ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| OpenError)
    }
}
