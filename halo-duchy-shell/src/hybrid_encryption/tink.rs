//! The messages of a binary Tink keyset (`tink.proto`, `hpke.proto`, `ecies_aead_hkdf.proto`, `aes_gcm.proto` of
//! tink-crypto), as far as the two hybrid schemes need them.

use prost::Message;

pub const TYPE_PREFIX: &str = "type.googleapis.com/google.crypto.tink.";

pub const SYMMETRIC: i32 = 1;
pub const ASYMMETRIC_PRIVATE: i32 = 2;
pub const ASYMMETRIC_PUBLIC: i32 = 3;
pub const ENABLED: i32 = 1;
pub const PREFIX_TINK: i32 = 1;
pub const PREFIX_RAW: i32 = 3;
pub const HPKE_X25519_SHA256: i32 = 1;
pub const HPKE_HKDF_SHA256: i32 = 1;
pub const HPKE_AES_256_GCM: i32 = 2;
pub const CURVE_P256: i32 = 2;
pub const HASH_SHA256: i32 = 3;
pub const POINT_UNCOMPRESSED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct Keyset {
    #[prost(uint32, tag = "1")]
    pub primary_key_id: u32,
    #[prost(message, repeated, tag = "2")]
    pub key: Vec<Key>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Key {
    #[prost(message, optional, tag = "1")]
    pub key_data: Option<KeyData>,
    #[prost(int32, tag = "2")]
    pub status: i32,
    #[prost(uint32, tag = "3")]
    pub key_id: u32,
    #[prost(int32, tag = "4")]
    pub output_prefix_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyData {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub key_material_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyTemplate {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub output_prefix_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct HpkeParams {
    #[prost(int32, tag = "1")]
    pub kem: i32,
    #[prost(int32, tag = "2")]
    pub kdf: i32,
    #[prost(int32, tag = "3")]
    pub aead: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct HpkePublicKey {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, optional, tag = "2")]
    pub params: Option<HpkeParams>,
    #[prost(bytes = "vec", tag = "3")]
    pub public_key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HpkePrivateKey {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, optional, tag = "2")]
    pub public_key: Option<HpkePublicKey>,
    #[prost(bytes = "vec", tag = "3")]
    pub private_key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EciesHkdfKemParams {
    #[prost(int32, tag = "1")]
    pub curve_type: i32,
    #[prost(int32, tag = "2")]
    pub hkdf_hash_type: i32,
    #[prost(bytes = "vec", tag = "11")]
    pub hkdf_salt: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EciesAeadDemParams {
    #[prost(message, optional, tag = "2")]
    pub aead_dem: Option<KeyTemplate>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EciesAeadHkdfParams {
    #[prost(message, optional, tag = "1")]
    pub kem_params: Option<EciesHkdfKemParams>,
    #[prost(message, optional, tag = "2")]
    pub dem_params: Option<EciesAeadDemParams>,
    #[prost(int32, tag = "3")]
    pub ec_point_format: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct EciesAeadHkdfPublicKey {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, optional, tag = "2")]
    pub params: Option<EciesAeadHkdfParams>,
    #[prost(bytes = "vec", tag = "3")]
    pub x: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub y: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EciesAeadHkdfPrivateKey {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, optional, tag = "2")]
    pub public_key: Option<EciesAeadHkdfPublicKey>,
    #[prost(bytes = "vec", tag = "3")]
    pub key_value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AesGcmKeyFormat {
    #[prost(uint32, tag = "2")]
    pub key_size: u32,
    #[prost(uint32, tag = "3")]
    pub version: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct AesGcmKey {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub key_value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EncryptedKeyset {
    #[prost(bytes = "vec", tag = "2")]
    pub encrypted_keyset: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub keyset_info: Option<KeysetInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeysetInfo {
    #[prost(uint32, tag = "1")]
    pub primary_key_id: u32,
    #[prost(message, repeated, tag = "2")]
    pub key_info: Vec<KeyInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyInfo {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(int32, tag = "2")]
    pub status: i32,
    #[prost(uint32, tag = "3")]
    pub key_id: u32,
    #[prost(int32, tag = "4")]
    pub output_prefix_type: i32,
}
