//! Where the seeds of stages come from.

use std::fmt;

use halo_crypto::prg::StreamSeed;
use rand_core::Rng;
use sha2::{Digest, Sha256};

use crate::platform;

/// The source of the seed that each stage of each computation draws its random choices from.
#[derive(Clone, Debug, Default)]
pub enum SeedSource {
    /// Fresh from the operating system every time.
    #[default]
    OperatingSystem,
    /// Derived from one seed: the same computation at the same duchy gives the same bytes again.
    ///
    /// # Security
    /// For trials only. Whoever knows the seed knows every key.
    Reproducible(StreamSeed),
}

impl SeedSource {
    /// The seed for `stage` where the duchy keeps a `secret` of that computation that nobody else ever knows: every attempt
    /// has the same. So an attempt that follows a crash computes, from the same data, the same bytes, and draws no other
    /// noise; data that has changed meets other randomness all the same
    /// ([`KernelContext`](halo_protocols::kernel::KernelContext)).
    ///
    /// The secret is hashed, so it may have any length and encoding; it must be as hard to guess as a secret key, which is
    /// what mills give: the ElGamal key of the computation (up to 32 bytes, leading zeros left out), of a share shuffle the
    /// private key that opens seeds (a Tink keyset).
    pub fn of_stage(&self, secret: &[u8], duchy: &str, computation: &str, stage: &str) -> StreamSeed {
        let root = match self {
            Self::OperatingSystem => {
                let secret =
                    Sha256::new().chain_update(b"halo-duchy stage secret v1").chain_update(secret).finalize();
                StreamSeed::new(secret.into())
            }
            Self::Reproducible(seed) => seed.clone(),
        };
        derive(&root, [duchy, computation, stage])
    }

    /// The seed for one attempt at `stage`.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn seed(&self, duchy: &str, computation: &str, stage: &str) -> Result<StreamSeed, getrandom::Error> {
        match self {
            Self::OperatingSystem => {
                let mut seed = zeroize::Zeroizing::new([0; 32]);
                platform::fill(&mut *seed)?;
                Ok(StreamSeed::new(*seed))
            }
            Self::Reproducible(seed) => Ok(derive(seed, [duchy, computation, stage])),
        }
    }
}

fn derive(root: &StreamSeed, labels: [&str; 3]) -> StreamSeed {
    labels.iter().fold(root.clone(), |seed, label| seed.derive(label.as_bytes()))
}

/// What may be told of a seed: a digest of a stream of its own, by which two seeds can be compared and from which nothing
/// else that they lead to can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// The commitment to `seed`.
    pub fn of(seed: &StreamSeed) -> Self {
        let mut drawn = zeroize::Zeroizing::new([0; 32]);
        seed.stream("commitment to a seed", 0).fill_bytes(&mut *drawn);
        Self(Sha256::digest(*drawn).into())
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(source: &SeedSource, labels: [&str; 3]) -> u64 {
        let [duchy, computation, stage] = labels;
        source.seed(duchy, computation, stage).expect("randomness").stream("test", 0).next_u64()
    }

    #[test]
    fn reproducible_seeds_repeat_and_differ_by_label() {
        let source = SeedSource::Reproducible(StreamSeed::new([7; 32]));
        assert_eq!(first(&source, ["a", "b", "c"]), first(&source, ["a", "b", "c"]));
        for other in [["x", "b", "c"], ["a", "x", "c"], ["a", "b", "x"], ["ab", "", "c"]] {
            assert_ne!(first(&source, ["a", "b", "c"]), first(&source, other), "{other:?}");
        }
    }

    #[test]
    fn a_secret_gives_every_attempt_at_a_stage_the_same_seed() {
        let source = SeedSource::OperatingSystem;
        let first = |secret: &[u8], [duchy, computation, stage]: [&str; 3]| {
            Commitment::of(&source.of_stage(secret, duchy, computation, stage))
        };
        assert_eq!(first(&[1; 32], ["a", "b", "c"]), first(&[1; 32], ["a", "b", "c"]));
        assert_ne!(first(&[1; 32], ["a", "b", "c"]), first(&[2; 32], ["a", "b", "c"]));
        for other in [["x", "b", "c"], ["a", "x", "c"], ["a", "b", "x"], ["ab", "", "c"]] {
            assert_ne!(first(&[1; 32], ["a", "b", "c"]), first(&[1; 32], other), "{other:?}");
        }
    }

    #[test]
    fn a_commitment_is_neither_the_seed_nor_a_stream_of_it() {
        let seed = StreamSeed::new([7; 32]);
        let shown = Commitment::of(&seed).to_string();
        assert_ne!(shown, hex::encode([7; 32]));
        let mut stream = [0; 32];
        seed.stream("commitment to a seed", 0).fill_bytes(&mut stream);
        assert_ne!(shown, hex::encode(stream));
    }

    #[test]
    fn seeds_of_the_operating_system_do_not_repeat() {
        let source = SeedSource::OperatingSystem;
        assert_ne!(first(&source, ["a", "b", "c"]), first(&source, ["a", "b", "c"]));
    }
}
