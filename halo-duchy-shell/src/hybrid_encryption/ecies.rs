//! Tink's ECIES with P-256, HKDF-SHA256 and AES-128-GCM; context info is empty. Ciphertext: the ephemeral public
//! point (65 bytes, uncompressed) ‖ nonce (12 bytes) ‖ ciphertext ‖ tag, under the key
//! HKDF-SHA256(point ‖ shared x coordinate).

use aes_gcm::aead::Aead;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey as Point, Sec1Point, SecretKey};
use prost::Message;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{OpenError, tink};

const COORDINATE_LEN: usize = 32;
const POINT_LEN: usize = 1 + 2 * COORDINATE_LEN;
const KEY_LEN: usize = 16;
const NONCE_LEN: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    point: Point,
    salt: Vec<u8>,
}

pub struct PrivateKey {
    scalar: SecretKey,
    salt: Vec<u8>,
}

impl PublicKey {
    /// `None` if the parameters are another scheme's or the point is not on the curve.
    pub fn parse(value: &tink::EciesAeadHkdfPublicKey) -> Option<Self> {
        let params = value.params.as_ref()?;
        let kem = params.kem_params.as_ref()?;
        let dem = params.dem_params.as_ref()?.aead_dem.as_ref()?;
        let ours = kem.curve_type == tink::CURVE_P256
            && kem.hkdf_hash_type == tink::HASH_SHA256
            && params.ec_point_format == tink::POINT_UNCOMPRESSED
            && dem.type_url == format!("{}AesGcmKey", tink::TYPE_PREFIX)
            && tink::AesGcmKeyFormat::decode(&dem.value[..]).ok()?.key_size as usize == KEY_LEN;
        if value.version != 0 || !ours {
            return None;
        }
        let sec1 = [&[4][..], &fixed_len(&value.x)?, &fixed_len(&value.y)?].concat();
        Some(Self { point: Point::from_sec1_bytes(&sec1).ok()?, salt: kem.hkdf_salt.clone() })
    }

    pub fn to_message(&self) -> tink::EciesAeadHkdfPublicKey {
        let sec1 = self.point.to_sec1_point(false);
        // Tink writes coordinates with a leading zero byte, as some readers take them for signed integers.
        let coordinate = |start: usize| [&[0], &sec1.as_bytes()[start..start + COORDINATE_LEN]].concat();
        tink::EciesAeadHkdfPublicKey {
            version: 0,
            params: Some(tink::EciesAeadHkdfParams {
                kem_params: Some(tink::EciesHkdfKemParams {
                    curve_type: tink::CURVE_P256,
                    hkdf_hash_type: tink::HASH_SHA256,
                    hkdf_salt: self.salt.clone(),
                }),
                dem_params: Some(tink::EciesAeadDemParams {
                    aead_dem: Some(tink::KeyTemplate {
                        type_url: format!("{}AesGcmKey", tink::TYPE_PREFIX),
                        value: tink::AesGcmKeyFormat { key_size: KEY_LEN as u32, version: 0 }.encode_to_vec(),
                        output_prefix_type: tink::PREFIX_TINK,
                    }),
                }),
                ec_point_format: tink::POINT_UNCOMPRESSED,
            }),
            x: coordinate(1),
            y: coordinate(1 + COORDINATE_LEN),
        }
    }

    pub fn seal(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        let ephemeral = SecretKey::generate_from_rng(rng);
        let encapsulated = ephemeral.public_key().to_sec1_point(false);
        let cipher = derive(&encapsulated, &ephemeral, &self.point, &self.salt)?;
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let ciphertext = cipher.encrypt(&Nonce::from(nonce), plaintext).ok()?;
        Some([encapsulated.as_bytes(), &nonce, &ciphertext].concat())
    }
}

impl PrivateKey {
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self { scalar: SecretKey::generate_from_rng(rng), salt: Vec::new() }
    }

    /// `None` if the parts are malformed or do not belong together.
    pub fn parse(value: &tink::EciesAeadHkdfPrivateKey) -> Option<Self> {
        let public = PublicKey::parse(value.public_key.as_ref()?)?;
        let scalar = SecretKey::from_slice(&*Zeroizing::new(fixed_len(&value.key_value)?)).ok()?;
        (value.version == 0 && scalar.public_key() == public.point)
            .then_some(Self { scalar, salt: public.salt })
    }

    pub fn to_message(&self) -> tink::EciesAeadHkdfPrivateKey {
        let scalar = Zeroizing::new(self.scalar.to_bytes());
        tink::EciesAeadHkdfPrivateKey {
            version: 0,
            public_key: Some(self.public().to_message()),
            key_value: [&[0], &scalar[..]].concat(),
        }
    }

    pub fn public(&self) -> PublicKey {
        PublicKey { point: self.scalar.public_key(), salt: self.salt.clone() }
    }

    pub fn open(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (point, rest) = ciphertext.split_at_checked(POINT_LEN).ok_or(OpenError)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        let encapsulated = Sec1Point::from_bytes(point).map_err(|_| OpenError)?;
        let ephemeral = Point::from_sec1_bytes(point).map_err(|_| OpenError)?;
        let cipher = derive(&encapsulated, &self.scalar, &ephemeral, &self.salt).ok_or(OpenError)?;
        cipher.decrypt(&Nonce::from(*nonce), sealed).map(Zeroizing::new).map_err(|_| OpenError)
    }
}

/// The cipher that both sides derive from the ephemeral point and the Diffie–Hellman result.
fn derive(encapsulated: &Sec1Point, scalar: &SecretKey, point: &Point, salt: &[u8]) -> Option<Aes128Gcm> {
    let shared = scalar.diffie_hellman(point);
    let input = Zeroizing::new([encapsulated.as_bytes(), shared.raw_secret_bytes()].concat());
    let mut key = Zeroizing::new([0; KEY_LEN]);
    Hkdf::<Sha256>::new(Some(salt), &input).expand(&[], &mut *key).ok()?;
    Aes128Gcm::new_from_slice(&*key).ok()
}

/// An unsigned big-endian integer of any length (Tink's writers differ) as 32 bytes.
fn fixed_len(integer: &[u8]) -> Option<[u8; COORDINATE_LEN]> {
    let significant = &integer[integer.iter().position(|byte| *byte != 0).unwrap_or(integer.len())..];
    let mut fixed = [0; COORDINATE_LEN];
    fixed[COORDINATE_LEN.checked_sub(significant.len())?..].copy_from_slice(significant);
    Some(fixed)
}
