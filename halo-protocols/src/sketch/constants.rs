//! The strings that hash to the points with a meaning, and the prefixes of random ones (upstream's
//! `common/crypto/constants.h`).

/// The key of a register that several people fell into, or whose key is not to be known.
pub(crate) const DESTROYED_REGISTER_KEY: &[u8] = b"destroyed_register_key";
/// Key and count of blinded-histogram noise.
pub(crate) const BLINDED_HISTOGRAM_NOISE_KEY: &[u8] = b"blinded_histogram_noise_register_key";
/// The id of all publisher noise.
pub(crate) const PUBLISHER_NOISE_ID: &[u8] = b"publisher_noise_register_id";
/// The id of all padding.
pub(crate) const PADDING_NOISE_ID: &[u8] = b"padding_noise_register_id";
/// Prefix of the random ids of blinded-histogram noise.
pub(crate) const BLINDED_HISTOGRAM_NOISE_PREFIX: &str = "blinded_histogram_noise";
/// Prefix of the random ids of reach noise.
pub(crate) const REACH_NOISE_PREFIX: &str = "reach_dp_noise";
/// Prefix of the random counts that replace real ones where only reach is asked for.
pub(crate) const RANDOM_COUNT_PREFIX: &str = "random_count";
