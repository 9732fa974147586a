//! Pseudorandom generators: labelled streams for deterministic kernels, and the one that share-shuffle peers agree on.

mod candidate;
mod key_stream;
mod seed;
mod uniform;

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::Secret;

pub use candidate::DrawError;
pub use seed::{PrngSeed, PrngSeedError};
pub use uniform::UniformGenerator;

pub(crate) use key_stream::{BLOCK, KeyStream};

/// The one secret from which every random choice of a stage is derived.
///
/// A stage draws it once, from the operating system in production; every stream is then a function of the seed, a
/// purpose and an index (never of a thread), so the same seed and inputs give the same bytes again.
#[derive(Clone, Debug)]
pub struct StreamSeed(Secret<[u8; 32]>);

impl StreamSeed {
    /// Takes over 32 bytes drawn elsewhere.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Secret::new(seed))
    }

    /// Draws a seed.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::new(*seed)
    }

    /// A seed of its own for `label`: what is drawn below one label tells nothing of another's.
    #[must_use]
    pub fn derive(&self, label: &[u8]) -> Self {
        Self::new(self.digest(b"seed", label, 0))
    }

    /// The stream for `purpose` and `index`.
    pub fn stream(&self, purpose: &str, index: usize) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(self.digest(b"stream", purpose.as_bytes(), index as u64))
    }

    fn digest(&self, kind: &[u8], label: &[u8], index: u64) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"halo-crypto stream v1")
            .chain_update(self.0.expose())
            .chain_update((kind.len() as u64).to_be_bytes())
            .chain_update(kind)
            .chain_update((label.len() as u64).to_be_bytes())
            .chain_update(label)
            .chain_update(index.to_be_bytes())
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;

    fn start(mut stream: ChaCha20Rng) -> [u64; 4] {
        core::array::from_fn(|_| stream.next_u64())
    }

    #[test]
    fn a_stream_is_a_function_of_seed_purpose_and_index() {
        let seed = StreamSeed::new([1; 32]);
        assert_eq!(start(seed.stream("noise", 3)), start(seed.clone().stream("noise", 3)));

        let streams = [
            seed.stream("noise", 3),
            seed.stream("noise", 4),
            seed.stream("nonces", 3),
            seed.stream("", 3),
            StreamSeed::new([2; 32]).stream("noise", 3),
            seed.derive(b"noise").stream("noise", 3),
            seed.derive(b"").stream("noise", 3),
            seed.derive(b"noise").derive(b"").stream("noise", 3),
        ];
        let mut starts = streams.map(start);
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[0] != pair[1]));
    }

    /// A stored seed must mean the same in the next release, or a retried stage would not repeat its bytes. The words
    /// were computed by an independent script.
    #[test]
    fn streams_stay_what_they_are() {
        let stream = StreamSeed::new([7; 32]).derive(b"stage").stream("purpose", 1);
        assert_eq!(
            start(stream),
            [0x7c1698212ef0effb, 0xb10c4037a9e4546d, 0xeb86ed631878ac59, 0x8c09462131d5fd55]
        );
    }
}
