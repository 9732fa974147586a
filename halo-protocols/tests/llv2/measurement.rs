//! What is measured and with which noise, and what any computation of duchies starts with.

use halo_crypto::Group;
use halo_crypto::noise::{DistributedNoise, NoiseParameters, PrivacyParameters};
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::kernel::{KernelContext, combine_el_gamal_public_keys};
use halo_protocols::proto::any_sketch::crypto::{self, CombineElGamalPublicKeysRequest};
use halo_protocols::proto::duchy::{
    DifferentialPrivacyParams, ElGamalKeyPair, ElGamalPublicKey, NoiseMechanism,
};
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;

#[derive(Clone, Debug)]
pub struct Measurement {
    pub maximum_frequency: i32,
    pub total_sketches_count: i32,
    pub sketch: LiquidLegionsSketchParameters,
    pub width: f32,
    pub noise: Option<Noise>,
}

#[derive(Clone, Copy, Debug)]
pub struct Noise {
    pub mechanism: NoiseMechanism,
    pub blind_histogram: DifferentialPrivacyParams,
    pub publisher: DifferentialPrivacyParams,
    pub reach: DifferentialPrivacyParams,
    pub frequency: DifferentialPrivacyParams,
}

impl Noise {
    /// A mechanism with the same (ε, δ) for everything.
    pub fn uniform(mechanism: NoiseMechanism, epsilon: f64, delta: f64) -> Self {
        let privacy = DifferentialPrivacyParams { epsilon, delta };
        Self { mechanism, blind_histogram: privacy, publisher: privacy, reach: privacy, frequency: privacy }
    }

    /// Little noise, so that many draws are cheap, but several values of each.
    pub fn little(mechanism: NoiseMechanism) -> Self {
        match mechanism {
            NoiseMechanism::Geometric => Self::uniform(mechanism, 1.5, 0.9),
            _ => Self::uniform(mechanism, 2.0, 0.5),
        }
    }

    pub fn distribution(
        &self,
        privacy: DifferentialPrivacyParams,
        contributors: usize,
        sensitivity: u32,
    ) -> DistributedNoise {
        let mechanism = match self.mechanism {
            NoiseMechanism::Geometric => halo_crypto::noise::NoiseMechanism::Geometric,
            _ => halo_crypto::noise::NoiseMechanism::DiscreteGaussian,
        };
        let DifferentialPrivacyParams { epsilon, delta } = privacy;
        let parameters = NoiseParameters {
            privacy: PrivacyParameters { epsilon, delta },
            contributors: contributors as u32,
            sensitivity,
        };
        DistributedNoise::new(mechanism, &parameters).unwrap()
    }
}

/// A context with a seed for tests.
pub fn context(seed: u8) -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::new([seed; 32]))
}

/// The sum of some duchies' public keys.
pub fn combine<G: Group>(pairs: &[ElGamalKeyPair]) -> ElGamalPublicKey {
    let key = |pair: &ElGamalKeyPair| {
        let key = pair.public_key.clone().unwrap();
        crypto::ElGamalPublicKey { generator: key.generator, element: key.element }
    };
    let request = CombineElGamalPublicKeysRequest {
        curve_id: G::CURVE_ID,
        el_gamal_keys: pairs.iter().map(key).collect(),
    };
    let sum = combine_el_gamal_public_keys::<G>(&request, &context(0)).unwrap().el_gamal_keys.unwrap();
    ElGamalPublicKey { generator: sum.generator, element: sum.element }
}
