//! Where the seeds of stages come from.

use halo_crypto::prg::StreamSeed;

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
    /// The seed for one attempt at `stage`.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn seed(&self, duchy: &str, computation: &str, stage: &str) -> Result<StreamSeed, getrandom::Error> {
        match self {
            Self::OperatingSystem => {
                let mut seed = zeroize::Zeroizing::new([0; 32]);
                getrandom::fill(&mut *seed)?;
                Ok(StreamSeed::new(*seed))
            }
            Self::Reproducible(seed) => {
                let labels = [duchy, computation, stage];
                Ok(labels.iter().fold(seed.clone(), |seed, label| seed.derive(label.as_bytes())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

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
    fn seeds_of_the_operating_system_do_not_repeat() {
        let source = SeedSource::OperatingSystem;
        assert_ne!(first(&source, ["a", "b", "c"]), first(&source, ["a", "b", "c"]));
    }
}
